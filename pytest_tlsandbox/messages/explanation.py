"""What a check reports when it is not met, before it becomes text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_tlsandbox.errors import TLSandboxError
    from pytest_tlsandbox.history.runs import Run
    from pytest_tlsandbox.models import ProcessInfo


@dataclass(frozen=True)
class Field:
    """One field that was asked for: what was wanted of it, and what it was."""

    name: str
    wanted: str
    was: str
    wrong: bool = True


@dataclass(frozen=True)
class Listed:
    """A process listed as evidence, with why."""

    row: ProcessInfo
    remark: str = ""


@dataclass(frozen=True)
class Explanation:
    """What a check reports when it is not met.

    Attributes:
        error: what is raised for it.
        headline: what happened, and to which process, within about 50 characters.
        because: why it is certain.
        process: the one it is about.
        run: the run of it, if it was restarted.
        fields: what was asked for, wanted and was.
        listed: processes that belong to the evidence, under ``listed_as``.
        remarks: further facts, each with a label.
        hint: what to try.

    """

    error: type[TLSandboxError]
    headline: str
    because: str = ""
    process: ProcessInfo | None = None
    run: Run | None = None
    fields: tuple[Field, ...] = ()
    listed: tuple[Listed, ...] = ()
    listed_as: str = ""
    remarks: tuple[tuple[str, str], ...] = ()
    hint: str = ""
