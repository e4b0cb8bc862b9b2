"""For how long the guard looks again, where one look leaves something undecided."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_tlsandbox.guard.rules import LEAK, has_doubts, is_living

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from pytest_tlsandbox.client.models import ProcessInfo
    from pytest_tlsandbox.evidence import Ledger
    from pytest_tlsandbox.guard.watching import Watched
    from pytest_tlsandbox.snapshot import ProcessSnapshot

LONGEST_SETTLING = 0.5
"""Seconds for which something undecided is looked at again."""
LEFTOVER_SETTLING = 0.2
"""The same for what a test has begun and not ended: it may just be ending."""
_PAUSE = 0.02
_INSTANT = 1e-6


def settled(
    watched: Watched, snapshot: ProcessSnapshot, undecided: Callable[[ProcessSnapshot], float]
) -> ProcessSnapshot:
    """Look again while something is undecided; ``undecided`` gives the seconds that it is worth."""
    clock = watched.connection.lister.clock
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
    """Give the seconds for which to look again at what is of the running test, or of one just over."""
    before = watched.baseline
    if before is None or not rules:
        return 0.0
    own = [row for row in now if watched.belongs_to_the_test(row)]
    doubted = doubted_for(before, own, watched.connection.ledger)
    if doubted or not over:
        return doubted
    if LEAK in rules and watched.left_running(now):
        return LONGEST_SETTLING
    earlier = watched.before_call
    begun = earlier is not None and any(
        is_living(row) and earlier.find(row.identity) is None for row in own
    )
    return LEFTOVER_SETTLING if begun else 0.0


def doubted_for(before: ProcessSnapshot, rows: Iterable[ProcessInfo], ledger: Ledger) -> float:
    """Give the seconds for which to look again at an end that may be told otherwise in a moment."""
    return LONGEST_SETTLING if has_doubts(before, rows, ledger) else 0.0
