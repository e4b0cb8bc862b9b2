"""One sandbox that is watched: a look when one is due, and what an outage may cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_tlsandbox.arranging import is_over
from pytest_tlsandbox.client.retry import LONGEST_CALL, OUTAGE_BUDGET, PATIENCE_AFTER_AN_OUTAGE
from pytest_tlsandbox.errors import SandboxFault, TLSandboxError
from pytest_tlsandbox.guard.rules import left_running

if TYPE_CHECKING:
    from pytest_tlsandbox.client.models import ProcessInfo
    from pytest_tlsandbox.connections import Connection
    from pytest_tlsandbox.guard.gaps import Gap
    from pytest_tlsandbox.guard.rules import Incident
    from pytest_tlsandbox.snapshot import ProcessSnapshot

FIRST_PATIENCE = 22.0
"""Seconds for which the first outage is ridden out; later ones get one try a test."""
ONE_TRY = 1.0
"""Seconds such a try may take, while any of the budget is left."""
_SHORTEST_TRY = 0.05


class Watched:
    """A sandbox, and the looks that are compared.

    Attributes:
        name: what tells it from every other sandbox of the session.
        baseline: the last look, which is the next test's start; None if it was in vain.
        reference: the look that the next one is compared with.
        before_call, after_call: looks at the start and the end of the call phase, as far as taken.
        allowed: incidents, by key, that the test allows, with the reason.
        exempt: processes, as the rules name them, that may outlive the test.
        is_new: no test has begun since it is watched.
        ended: the moment on the clock from which on it gave no answer, where the suite has ended it.

    """

    def __init__(self, connection: Connection, name: str, *, budget: float = OUTAGE_BUDGET) -> None:
        self.connection = connection
        self.name = name
        self.baseline: ProcessSnapshot | None = None
        self.reference: ProcessSnapshot | None = None
        self.before_call: ProcessSnapshot | None = None
        self.after_call: ProcessSnapshot | None = None
        self.allowed: dict[str, str] = {}
        self.exempt: set[str] = set()
        self.gap: Gap | None = None
        self.fault: TLSandboxError | None = None
        self.is_new = True
        self.ended: float | None = None
        self._budget = budget
        self._started = 0
        self._tried_in_vain = False

    @property
    def label(self) -> str:
        """What messages call the sandbox."""
        return self.connection.lister.label

    def begin_test(self) -> None:
        """Forget what is of the test before."""
        self.is_new = False
        self.before_call = self.after_call = None
        self.allowed.clear()
        self.exempt.clear()
        self._tried_in_vain = False
        self._started = len(self.connection.ledger.started)

    def belongs_to_the_test(self, row: ProcessInfo) -> bool:
        """Tell whether what happens to a process is of the running test.

        All of it is, but in a sandbox that others use too: there, only what was started through
        this plugin in the test.
        """
        if not self.connection.shared:
            return True
        for started in self.connection.ledger.started[self._started :]:
            if row.identity.same_run(started.identity):
                return True
            if row.managed and started.managed and row.managed.id == started.managed.id:
                return True
        return False

    def left_running(self, now: ProcessSnapshot) -> list[Incident]:
        """Give what the test has begun in its call and has not ended."""
        if self.before_call is None or self.after_call is None:
            return []
        left = left_running(self.before_call, self.after_call, now, self.exempt)
        return [incident for incident in left if self.belongs_to_the_test(incident.row)]

    def look(self, *, patient: bool = True) -> ProcessSnapshot | None:
        """Look; None, and the reason in ``fault``, where there is no good answer.

        An outage is ridden out once. From then on it is one try each, and only as long as the
        session has spent no more on outages than one budget.
        """
        lister, clock = self.connection.lister, self.connection.lister.clock
        in_outage = self.gap is not None and self.gap.open
        if self._budget <= 0 or (in_outage and self._tried_in_vain):
            return None
        once = in_outage or not patient
        begun = clock.monotonic()
        try:
            try:
                limit = min(ONE_TRY if once else LONGEST_CALL, self._budget)
                end = lister.give_up_at()  # before the test itself would be killed
                if end is not None:
                    limit = min(limit, max(_SHORTEST_TRY, end - begun))
                snapshot = lister.look(limit=limit)
            except SandboxFault as fault:
                if once or not fault.transient or self._has_ended(fault):
                    raise
                patience = min(FIRST_PATIENCE, self._budget) - (clock.monotonic() - begun)
                snapshot = lister.list(patience=max(0.0, patience))
        except SandboxFault as fault:
            self.fault = fault
            if self._has_ended(fault):
                self.ended = begun
                return None
            self._tried_in_vain = True
            self._budget -= clock.monotonic() - begun
            # The helpers of a test need not find out once more.
            lister.patience = self.connection.client.patience = PATIENCE_AFTER_AN_OUTAGE
            return None
        self.fault = None
        return snapshot

    def _has_ended(self, fault: SandboxFault) -> bool:
        """Tell that the suite has ended its own sandbox: nothing is wrong with one that is no more."""
        connection = self.connection
        if not connection.of_suite or (self.gap is not None and self.gap.open):
            return False
        return is_over(fault) or (fault.label == "refused" and connection.loopback)
