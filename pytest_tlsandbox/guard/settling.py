"""For how long the guard polls again, if one snapshot leaves something undecided."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_tlsandbox.guard.rules import LEAK

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pytest_tlsandbox.guard.watching import Watched
    from pytest_tlsandbox.history.snapshot import ProcessSnapshot

LONGEST_SETTLING = 0.5
"""Seconds for which something undecided is polled again."""
LEFTOVER_SETTLING = 0.2
"""The same for what a test has begun and not ended: it may just be ending."""
_PAUSE = 0.02
_INSTANT = 1e-6


def settled(
    watched: Watched, snapshot: ProcessSnapshot, undecided: Callable[[ProcessSnapshot], float]
) -> ProcessSnapshot:
    """Poll again while something is undecided; ``undecided`` returns the seconds to spend on it."""
    clock = watched.client.clock
    start = clock.monotonic()
    while (left := start + undecided(snapshot) - clock.monotonic()) > _INSTANT:
        clock.sleep(min(_PAUSE, left))
        again = watched.look()
        if again is None:
            break
        snapshot = again
    return snapshot


def undecided_for(
    watched: Watched, now: ProcessSnapshot, rules: Sequence[str], *, over: bool
) -> float:
    """Return the seconds to poll again for the running test, or (``over``) for one just over."""
    if watched.baseline is None or not rules:
        return 0.0
    corrected = undecided_end(watched, watched.baseline.position or 0)
    if corrected or not over:
        return corrected
    if LEAK in rules and watched.left_running(now):
        return LONGEST_SETTLING
    return LEFTOVER_SETTLING if watched.began(now) else 0.0


def undecided_end(watched: Watched, since: int) -> float:
    """Return the seconds to poll again for ends that the sandbox may correct in a moment."""
    open_ends = any(
        incident.run.may_be_corrected and watched.belongs_to_the_test(incident.run)
        for incident in watched.client.history.incidents(since)
        if not incident.caused_here
    )
    return LONGEST_SETTLING if open_ends else 0.0
