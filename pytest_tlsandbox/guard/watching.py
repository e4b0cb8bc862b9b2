"""One sandbox that is watched: a look when one is due, and what an outage may cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_tlsandbox.client.retry import LONGEST_CALL
from pytest_tlsandbox.errors import InfrastructureError, TLSandboxError
from pytest_tlsandbox.guard.rules import LEAK
from pytest_tlsandbox.history.incidents import Incident
from pytest_tlsandbox.process_control import is_terminated

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_tlsandbox.connections import Connection
    from pytest_tlsandbox.guard.unmonitored import Gap
    from pytest_tlsandbox.history.runs import Generation, Run
    from pytest_tlsandbox.history.snapshot import ProcessSnapshot

FIRST_PATIENCE = 22.0
"""Seconds for which the first outage is ridden out; later ones get one try a test."""
ONE_TRY = 1.0
"""Seconds such a try may take, while any of the budget is left."""
_SHORTEST_TRY = 0.05


class Watched:
    """A sandbox that the guard monitors, and the snapshots that it compares.

    Attributes:
        name: what tells it from every other sandbox of the session.
        baseline: the last snapshot, which is the next test's start; None if there was no answer.
        position: the position in the history up to which incidents were reported; None before.
        before_call, after_call: snapshots at the start and the end of the call phase, if taken.
        allowed: from which to which position a block of the test allows which rules, and why.
        exempt: from which to which position processes began that may outlive the test.
        is_new: no test has begun since the guard monitors it.
        ended: the moment on the clock from which on it gave no answer, if the suite has ended it.

    """

    def __init__(self, connection: Connection, name: str) -> None:
        self.connection = connection
        self.client = connection.client
        self.name = name
        self.baseline: ProcessSnapshot | None = None
        self.position: int | None = None
        self.before_call: ProcessSnapshot | None = None
        self.after_call: ProcessSnapshot | None = None
        self.allowed: list[tuple[int, int, Sequence[str], str]] = []
        self.exempt: list[tuple[int, int]] = []
        self.gap: Gap | None = None
        self.fault: TLSandboxError | None = None
        self.is_new = True
        self.ended: float | None = None
        self._started = 0
        self._tried_in_vain = False

    @property
    def label(self) -> str:
        """What messages call the sandbox."""
        return self.client.label

    def begin_test(self) -> None:
        """Forget what belongs to the test before."""
        self.is_new = False
        self.before_call = self.after_call = None
        self.allowed.clear()
        self.exempt.clear()
        self._tried_in_vain = False
        self._started = len(self.client.history.started)

    @property
    def started(self) -> set[Generation]:
        """What the running test has started through this plugin."""
        return {run.generation for run in self.client.history.started[self._started :]}

    def belongs_to_the_test(self, run: Run) -> bool:
        """Return whether an incident of a run is attributed to the running test.

        Every one is, except in a sandbox that others use too: there, only of what the test started
        through this plugin.
        """
        return not self.connection.shared or run.generation in self.started

    def allowance_of(self, rule: str, incident: Incident) -> str | None:
        """Return the reason of the block that allows an incident, if one does."""
        begun = incident.run.generation.first_seen
        position = begun if rule == LEAK else incident.position
        return next(
            (
                reason
                for start, end, rules, reason in self.allowed
                if start < position <= end and rule in rules
            ),
            None,
        )

    def began(self, now: ProcessSnapshot) -> list[Run]:
        """Return what began in the call phase and is alive, or will be started again."""
        before = self.before_call
        if before is None:
            return []
        runs = [
            run
            for row in now
            if not before.holds(row) and (run := self.client.history.run_of(row)) is not None
        ]
        return [
            generation.newest
            for generation in dict.fromkeys(run.generation for run in runs)
            if generation.alive
            and generation.first_seen > (before.position or 0)
            and self.belongs_to_the_test(generation.newest)
        ]

    def left_running(self, now: ProcessSnapshot) -> list[Incident]:
        """Return what the test has begun in its call and has not ended."""
        after = self.after_call
        if after is None:
            return []
        return [
            Incident(LEAK, run, now.position or 0, now.begun)
            for run in self.began(now)
            if run.generation.first_seen <= (after.position or 0)
            and not any(begun < run.generation.first_seen <= ended for begun, ended in self.exempt)
        ]

    def look(self, *, patient: bool = True) -> ProcessSnapshot | None:
        """Look; None, and the reason in ``fault``, where there is no good answer.

        An outage is ridden out once. From then on it is one try each, and only as long as the
        session has spent no more on outages than one budget.
        """
        lister, clock, outage = self.client, self.client.clock, self.client.outage
        in_outage = self.gap is not None and self.gap.open
        begun = clock.monotonic()
        if (in_outage and self._tried_in_vain) or not outage.worth_a_try(begun):
            return None
        once = in_outage or not patient
        try:
            try:
                limit = min(ONE_TRY if once else LONGEST_CALL, outage.left)
                end = lister.wait_deadline()  # before the test itself would be killed
                if end is not None:
                    limit = min(limit, max(_SHORTEST_TRY, end - begun))
                snapshot = lister.poll(limit=limit)
            except InfrastructureError as fault:
                if once or not fault.transient or self._has_ended(fault):
                    raise
                patience = FIRST_PATIENCE - outage.spent
                snapshot = lister.list(patience=max(0.0, patience))
        except InfrastructureError as fault:
            self.fault = fault
            if self._has_ended(fault):
                self.ended = begun
                return None
            self._tried_in_vain = True
            return None
        self.fault = None
        return snapshot

    def _has_ended(self, fault: InfrastructureError) -> bool:
        """Tell that the suite has ended its own sandbox: nothing is wrong with one that is no more."""
        connection = self.connection
        if not connection.of_suite or (self.gap is not None and self.gap.open):
            return False
        return is_terminated(fault) or (fault.label == "refused" and connection.loopback)
