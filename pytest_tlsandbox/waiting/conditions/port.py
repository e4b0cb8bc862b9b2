"""The condition that a process accepts connections on a port."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from pytest_tlsandbox.errors import InfrastructureError, RequestRefused
from pytest_tlsandbox.waiting.conditions.condition import Pending, Result
from pytest_tlsandbox.waiting.conditions.output import failed_call
from pytest_tlsandbox.waiting.conditions.status import Stays

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_tlsandbox.messages.explanation import Explanation
    from pytest_tlsandbox.models import ProcessInfo
    from pytest_tlsandbox.types import PortState


@dataclass(eq=False, repr=False)
class AcceptsConnections(Stays):
    """A condition that is met if a port accepts connections while the process runs.

    If the selected process ends or is restarted, the condition can no longer be met.

    Attributes:
        port: the port.
        probe: a function that connects to the port of a process once.

    """

    statuses: tuple[str, ...] = field(default=("running",), init=False)
    port: int = field(kw_only=True)
    probe: Callable[[ProcessInfo], PortState] = field(kw_only=True)
    waits = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self._port = f"port {self.port}"
        self._taken = f"another process has {self._port}"
        self.wanted = f"connections on {self._port}"

    def met(self, row: ProcessInfo) -> Result:
        met = super().met(row)
        try:
            state = self.probe(row)
        except InfrastructureError as fault:
            without_tunnel = isinstance(fault, RequestRefused)
            hint = "start it with health_check=, and wait_for_process(process, healthy=True)"
            return failed_call(fault, f"Cannot probe {self._port}", row, hint * without_tunnel)
        if state == "open":
            return met
        what = self._taken.capitalize() if state == "taken" else f"No connection on {self._port}"
        explanation = replace(self._explain_delay(what, row), fields=())
        return Pending(lambda: explanation, until_end_of=row, probes=True)

    def _explain_end(self, row: ProcessInfo) -> Explanation:
        """Explain the end of the process, and mention whether another process has the port."""
        explanation = super()._explain_end(row)
        with contextlib.suppress(InfrastructureError):  # the addition is optional
            if self.probe(row) != "closed":
                subject = f"{explanation.subject}; {self._taken}"
                return replace(explanation, subject=subject, wanted="", fields=())
        return explanation
