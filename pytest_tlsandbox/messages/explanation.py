"""Describe the result of a failed check, before it is rendered as text."""

from __future__ import annotations

from typing import NamedTuple

from pytest_tlsandbox.errors import TLSandboxError
from pytest_tlsandbox.formatting.text import separator_after
from pytest_tlsandbox.history.runs import Run
from pytest_tlsandbox.models import ProcessInfo


class Field(NamedTuple):
    """The expected and the actual value of a field that does not have its expected value."""

    name: str
    wanted: str
    was: str


class Listed(NamedTuple):
    """A process that a message lists as evidence.

    Attributes:
        row: the process.
        remark: why the message lists the process, in words.
        output: whether the process's last line of output may explain the result.

    """

    row: ProcessInfo
    remark: str = ""
    output: bool = False


class OutputTail(NamedTuple):
    """The last lines of a process's output.

    Attributes:
        stream: the label of the output in the message.
        lines: the last lines.
        total: the number of lines that the process has written.
        unread: why the output was not read; empty if it was read.

    """

    stream: str
    lines: tuple[str, ...] = ()
    total: int = 0
    unread: str = ""


class Explanation(NamedTuple):
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
        tail: the last lines of output of the process, if they were read.

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
    tail: OutputTail | None = None

    @property
    def headline(self) -> str:
        """The first line of the message, such as "Exited 1, wanted 0: train.py"."""
        separator = separator_after(self.what)
        wanted = f"{separator} wanted {self.wanted}" if self.wanted else ""
        return f"{self.what}{wanted}" + (f": {self.subject}" if self.subject else "")
