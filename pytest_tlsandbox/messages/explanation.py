"""Describe the result of a failed check, before it is rendered as text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_tlsandbox.errors import TLSandboxError
    from pytest_tlsandbox.history.runs import Run
    from pytest_tlsandbox.models import ProcessInfo


@dataclass(frozen=True)
class Field:
    """The expected and the actual value of one checked field."""

    name: str
    wanted: str
    was: str
    wrong: bool = True


@dataclass(frozen=True)
class Listed:
    """A process listed as evidence; the remark says why."""

    row: ProcessInfo
    remark: str = ""


@dataclass(frozen=True)
class Explanation:
    """The result of a failed check.

    Attributes:
        error: the class of the error to raise.
        headline: what happened to which process, in about 50 characters.
        because: why the result is certain.
        process: the process that the check is about.
        run: the run that the check is about, if the process was restarted.
        fields: the checked fields, with expected and actual values.
        listed: processes that belong to the evidence.
        listed_as: the title above these processes.
        remarks: further facts, as pairs of label and text.
        hint: what the user can try.

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
