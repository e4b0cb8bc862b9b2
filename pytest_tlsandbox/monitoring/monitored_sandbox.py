"""Poll a monitored sandbox, and store its snapshots."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_tlsandbox.client.retry import LONGEST_CALL
from pytest_tlsandbox.connections import Connection
from pytest_tlsandbox.errors import InfrastructureError
from pytest_tlsandbox.history.runs import Generation, Run
from pytest_tlsandbox.history.snapshot import ProcessSnapshot
from pytest_tlsandbox.process_control import is_terminated

FIRST_PATIENCE = 22.0
"""Seconds for which the guard retries in the first outage; later, it tries once per test."""
ONE_TRY = 1.0
"""Maximum seconds for a poll without retries."""
_SHORTEST_TRY = 0.05


@dataclass
class Gap:
    """An interval in which a sandbox was not monitored.

    Attributes:
        sandbox: the name of the sandbox in data.
        why: the error, as one line.
        from_at: when the gap began, by this machine's clock.
        from_test: the test in which the gap began; None outside of tests.
        guarded: whether a rule of the guard applied; if so, the gap fails the session.
        to_at: when the gap ended, by this machine's clock; None if the gap is open.
        to_test: the test in which the gap ended; None outside of tests.
        tests: the number of tests that were not completely monitored.

    """

    sandbox: str
    why: str
    from_at: str
    from_test: str | None
    guarded: bool
    to_at: str | None = None
    to_test: str | None = None
    tests: int = 0


class MonitoredSandbox:
    """A sandbox that is polled before and after each test.

    Attributes:
        name: the name that identifies the sandbox within the session.
        baseline: the last snapshot, which becomes the baseline of the next test; None if the list
            call failed.
        position: the position in the history up to which incidents were reported; None if no
            incidents were reported.
        before_call: the snapshot at the start of the call phase, if taken.
        gap: the last interval in which the sandbox was not monitored, if any.
        why: why the last poll failed, as one line.
        is_new: whether no test has begun since the sandbox was added to the monitor.
        ended: the time, in seconds on the clock, since which the sandbox has not answered because
            the suite terminated it; None if the suite did not terminate the sandbox.

    """

    def __init__(self, connection: Connection, name: str) -> None:
        self.connection = connection
        self.client = connection.client
        self.name = name
        self.baseline: ProcessSnapshot | None = None
        self.position: int | None = None
        self.before_call: ProcessSnapshot | None = None
        self.gap: Gap | None = None
        self.why = ""
        self.is_new = True
        self.ended: float | None = None
        self._started = 0
        self._tried_in_vain = False

    @property
    def in_gap(self) -> bool:
        """Whether a gap is open, which means that the sandbox is not monitored now."""
        return self.gap is not None and self.gap.to_at is None

    def begin_test(self) -> None:
        """Forget the data of the previous test."""
        self.is_new = False
        self.before_call = None
        self._tried_in_vain = False
        self._started = len(self.client.history.started)

    @property
    def started(self) -> set[Generation]:
        """The processes that the running test has started through this plugin."""
        return {run.generation for run in self.client.history.started[self._started :]}

    def belongs_to_the_test(self, run: Run) -> bool:
        """Return whether an incident of a run is attributed to the running test.

        Every incident is attributed to the running test, unless workers share the sandbox. In a
        shared sandbox, an incident is attributed to the test only if the test started the process
        through this plugin.
        """
        return not self.connection.shared or run.generation in self.started

    def started_between(
        self, before: ProcessSnapshot | None, after: ProcessSnapshot | None
    ) -> list[Run]:
        """Return the runs that began between two snapshots, and that are alive or will be restarted.

        In a sandbox that workers share, the result contains only runs that the running test
        started. If a snapshot is missing, the result is empty.
        """
        if before is None or after is None:
            return []
        runs = [self.client.history.run_of(row) for row in after if not before.holds(row)]
        return [
            generation.newest
            for generation in dict.fromkeys(run.generation for run in runs if run is not None)
            if generation.alive
            and generation.first_seen > (before.position or 0)
            and self.belongs_to_the_test(generation.newest)
        ]

    def poll(self, *, patient: bool) -> ProcessSnapshot | None:
        """Return a snapshot; if an error occurs, set ``why`` and return None.

        Outside of gaps, this method retries transient errors if ``patient`` is true. In a gap, this
        method never retries: if a list call fails, this method does not list the processes again
        until the next test. After the outage budget is used up, this method lists the processes
        only if the last failed call was at least 30 s ago. If this method does not list the
        processes, it returns None immediately.
        """  # noqa: DOC501 - the error is caught below
        self.why = "no answer"
        client, outage = self.client, self.client.outage
        begun = client.clock.monotonic()
        if (self.in_gap and self._tried_in_vain) or not outage.worth_a_try(begun):
            return None
        once = self.in_gap or not patient
        limit = min(ONE_TRY if once else LONGEST_CALL, outage.left)
        end = client.wait_deadline()  # earlier than pytest-timeout would kill the test
        if end is not None:
            limit = min(limit, max(_SHORTEST_TRY, end - begun))
        try:
            try:
                return client.poll(limit=limit)
            except InfrastructureError as error:
                if once or not error.transient or self._has_ended(error):
                    raise
                return client.list(patience=max(0.0, FIRST_PATIENCE - outage.spent))
        except InfrastructureError as error:
            self.why, self._tried_in_vain = error.first_line, True
            if self._has_ended(error):
                self.ended = begun
            return None

    def _has_ended(self, error: InfrastructureError) -> bool:
        """Return whether an error means that the suite has terminated its own sandbox."""
        connection = self.connection
        if not connection.of_suite or self.in_gap:
            return False
        return is_terminated(error) or (error.label == "refused" and connection.loopback)
