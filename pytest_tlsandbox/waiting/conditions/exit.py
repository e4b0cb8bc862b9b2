"""A condition that checks whether one process exits with an expected code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_tlsandbox.formatting.processes import describe_state
from pytest_tlsandbox.formatting.text import shown
from pytest_tlsandbox.messages.explanation import Field
from pytest_tlsandbox.waiting.conditions.condition import CORRECTION_TIME, Met, Result
from pytest_tlsandbox.waiting.conditions.process_condition import ProcessCondition

if TYPE_CHECKING:
    from pytest_tlsandbox.models import ProcessInfo
    from pytest_tlsandbox.waiting.selectors import Selection


@dataclass(eq=False, repr=False)
class HasEnded(ProcessCondition):
    """A condition that is met if the process has ended and will not be restarted.

    The way in which the process ended does not matter. A process that is no longer listed also
    meets the condition.
    """

    def __post_init__(self) -> None:
        self.wanted, self.wants_an_end = "its end", True

    def ended(self, row: ProcessInfo, _selection: Selection) -> Result:
        return self.met(row)

    def _gone(self, row: ProcessInfo | None) -> Result:
        return Met(row, CORRECTION_TIME)


@dataclass(eq=False, repr=False)
class HasExited(ProcessCondition):
    """A condition that is met if a process exited with one of the given codes.

    If ``codes`` is None, every exit code meets the condition.
    """

    codes: tuple[int, ...] | None

    def __post_init__(self) -> None:
        self._code_text = "any" if self.codes is None else " or ".join(map(str, self.codes))
        self.wanted = "an exit code" if self.codes is None else f"exit code {self._code_text}"
        self.wants_an_end = True

    def fits(self, row: ProcessInfo) -> bool:
        return row.state == "exited" and (self.codes is None or row.exit_code in self.codes)

    def fields(self, row: ProcessInfo) -> tuple[Field, ...]:
        if row.state == "exited":
            wrong = not self.fits(row) or self._is_lost(row)
            return (Field("exit code", self._code_text, shown(row.exit_code), wrong),)
        ours = ", sent by this test" if row.signal and self._was_sent_its_signal(row) else ""
        return (Field("status", f"exited {self._code_text}", describe_state(row) + ours),)
