"""The condition that a process accepts connections on a port."""

from __future__ import annotations

import contextlib
import math
from dataclasses import replace
from typing import TYPE_CHECKING

from pytest_tlsandbox.errors import InfrastructureError, RequestRefused
from pytest_tlsandbox.waiting.conditions.condition import Impossible, Met, Pending, Result
from pytest_tlsandbox.waiting.conditions.output import failed_call
from pytest_tlsandbox.waiting.conditions.process_condition import ProcessCondition
from pytest_tlsandbox.waiting.conditions.status import Stays

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_tlsandbox.messages.explanation import Explanation
    from pytest_tlsandbox.models import ProcessInfo
    from pytest_tlsandbox.types import Pick, PortState
    from pytest_tlsandbox.waiting.selectors import Selection, Selector


class AcceptsConnections(Stays):
    """A condition that is met if a port accepts connections while the process runs.

    If the selected process ends or is restarted, the condition can no longer be met.

    Args:
        selector: selects the process.
        port: the port.
        probe: a function that connects to the port of a process once.
        pick: which process to use if several match.

    """

    waits = True

    def __init__(
        self,
        selector: Selector,
        port: int,
        probe: Callable[[ProcessInfo], PortState],
        pick: Pick | None = None,
    ) -> None:
        super().__init__(selector, ("running",), 0.0, pick)
        self._longest_gap = math.inf
        self._probe = probe
        self._port = f"port {port}"
        self._taken = f"another process has {self._port}"
        self.wanted = f"connections on {self._port}"

    def met(self, row: ProcessInfo) -> Result:
        super().met(row)
        try:
            state = self._probe(row)
        except InfrastructureError as fault:
            without_tunnel = isinstance(fault, RequestRefused)
            hint = "start it with health_check=, and wait_for_process(process, healthy=True)"
            return failed_call(fault, f"Cannot probe {self._port}", row, hint * without_tunnel)
        if state == "open":
            return Met(row)
        what = self._taken.capitalize() if state == "taken" else f"No connection on {self._port}"
        explanation = replace(self._explain_delay(what, row), fields=())
        return Pending(lambda: explanation, until_end_of=row, probes=True)

    def alive(self, row: ProcessInfo) -> Result:
        if not row.ended:
            return super().alive(row)
        return Impossible(self._with_holder(self._explain_end(row), row))

    def ended(self, row: ProcessInfo, selection: Selection) -> Result:
        # Until a run was selected, a process that matches may still start, unlike in Stays.
        result = ProcessCondition.ended(self, row, selection)
        if not isinstance(result, Impossible):
            return result
        return replace(result, explanation=self._with_holder(result.explanation, row))

    def _with_holder(self, explanation: Explanation, row: ProcessInfo) -> Explanation:
        """If another process has the port, add this fact to the explanation."""
        with contextlib.suppress(InfrastructureError):  # the addition is optional
            if self._probe(row) != "closed":
                subject = f"{explanation.subject}; {self._taken}"
                return replace(explanation, subject=subject, wanted="", fields=())
        return explanation
