"""Find the processes that a test started in its call phase, and the leaks among them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_tlsandbox.guard.rules import LEAK
from pytest_tlsandbox.history.incidents import Incident

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_tlsandbox.history.runs import Run
    from pytest_tlsandbox.history.snapshot import ProcessSnapshot
    from pytest_tlsandbox.monitoring.monitored_sandbox import MonitoredSandbox


def started_in_call(sandbox: MonitoredSandbox, now: ProcessSnapshot) -> list[Run]:
    """Return the runs that began in the call phase and that are alive or will be restarted."""
    before = sandbox.before_call
    if before is None:
        return []
    history = sandbox.client.history
    runs = [
        run for row in now if not before.holds(row) and (run := history.run_of(row)) is not None
    ]
    return [
        generation.newest
        for generation in dict.fromkeys(run.generation for run in runs)
        if generation.alive
        and generation.first_seen > (before.position or 0)
        and sandbox.belongs_to_the_test(generation.newest)
    ]


def leaks(
    sandbox: MonitoredSandbox, now: ProcessSnapshot, exempt: Iterable[tuple[int, int]]
) -> list[Incident]:
    """Return a leak for each run that began in the call phase of the test and is still running.

    ``exempt`` contains intervals of positions in the history. A run that begins in one of the
    intervals in ``exempt`` may outlive the test.
    """
    after = sandbox.after_call
    if after is None:
        return []
    return [
        Incident(LEAK, run, now.position or 0, now.begun)
        for run in started_in_call(sandbox, now)
        if run.generation.first_seen <= (after.position or 0)
        and not any(begun < run.generation.first_seen <= ended for begun, ended in exempt)
    ]
