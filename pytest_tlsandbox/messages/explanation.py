"""Describe the result of a failed check, before it is rendered as text."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_tlsandbox.errors import TLSandboxError
from pytest_tlsandbox.formatting.text import separator_after
from pytest_tlsandbox.history.runs import Run
from pytest_tlsandbox.models import ProcessInfo


@dataclass(frozen=True)
class Field:
    """The expected and the actual value of a field that does not have its expected value."""

    name: str
    wanted: str
    was: str


@dataclass(frozen=True)
class Listed:
    """A process that a message lists as evidence.

    Attributes:
        row: the process.
        remark: why the message lists the process, in words.
        output: whether the process's last line of output may explain the result.

    """

    row: ProcessInfo
    remark: str = ""
    output: bool = False


@dataclass(frozen=True)
class Explanation:
    """The result of a failed check.

    Attributes:
        error: the class of the error to raise.
        what: what happened, such as "Exited 1", at the beginning of the message's first line.
        subject: the process, without its pid, or another detail.
        wanted: what was expected instead, unless ``what`` already says it.
        because: why the result is certain, unless ``what`` already says it.
        process: the process that the check is about.
        run: the run of that process, if the process was restarted.
        fields: the fields that do not have their expected values.
        listed: processes that belong to the evidence.
        listed_as: the title above the listed processes.
        remarks: further facts, as pairs of label and text.
        hint: an action that may help, but does not weaken the test.
        output: whether output of the process may explain the result.

    """

    error: type[TLSandboxError]
    what: str
    subject: str = ""
    wanted: str = ""
    because: str = ""
    process: ProcessInfo | None = None
    run: Run | None = None
    fields: tuple[Field, ...] = ()
    listed: tuple[Listed, ...] = ()
    listed_as: str = ""
    remarks: tuple[tuple[str, str], ...] = ()
    hint: str = ""
    output: bool = False

    @property
    def headline(self) -> str:
        """The first line of the message, such as "Exited 1, wanted 0: train.py"."""
        separator = separator_after(self.what)
        wanted = f"{separator} wanted {self.wanted}" if self.wanted else ""
        return f"{self.what}{wanted}" + (f": {self.subject}" if self.subject else "")
