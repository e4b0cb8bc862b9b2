"""The condition on the exit code of one process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_tlsandbox.formatting.processes import signal_name
from pytest_tlsandbox.messages.explanation import Field
from pytest_tlsandbox.waiting.conditions.process_condition import ProcessCondition

if TYPE_CHECKING:
    from pytest_tlsandbox.models import ProcessInfo
    from pytest_tlsandbox.types import Pick
    from pytest_tlsandbox.waiting.selectors import Selector


class HasExited(ProcessCondition):
    """Met if the process exited with one of these codes; None: with any known code."""

    wants_an_end = True

    def __init__(
        self, selector: Selector, codes: tuple[int, ...] | None, pick: Pick | None = None
    ) -> None:
        super().__init__(selector, pick)
        self._codes = codes
        self._code_text = "any" if codes is None else " or ".join(map(str, codes))
        self.wanted = "any exit code" if codes is None else f"exit code {self._code_text}"

    def fits(self, row: ProcessInfo) -> bool:
        if row.state != "exited" or self._is_lost(row):
            return False
        return self._codes is None or row.exit_code in self._codes

    def fields(self, row: ProcessInfo) -> tuple[Field, ...]:
        code = "none" if row.exit_code is None else str(row.exit_code)
        status = Field("status", "exited", row.state, row.state != "exited")
        exit_code = Field("exit code", self._code_text, code, not self.fits(row))
        if row.signal is None:
            return (status, exit_code)
        ours = ", sent by this test" if self._was_sent_its_signal(row) else ""
        signal = Field("signal", "", signal_name(row.signal) + ours, wrong=False)
        return (status, exit_code, signal)
