"""Test how the counter of the kernel and the list account for the same OOM kills."""

import pytest

from pytest_tlsandbox.history.history import History
from pytest_tlsandbox.history.snapshot import ProcessSnapshot
from pytest_tlsandbox.history.unlisted_kills import UnlistedKills
from pytest_tlsandbox.types import UNLISTED_PID, KernelCount
from tests.support import raw, signaled
from tests.support import snapshot as listing

LISTED = "the list shows a kill"
CASES = {
    "kills before the first reading are not known": ([7], []),
    "the kernel counts two kills": ([7, 9, 9], [8, 9]),
    "the list shows a kill later": ([0, 1, LISTED], []),
    "the list shows a kill first": ([0, LISTED, 1], []),
    "the list shows one of two kills first": ([0, LISTED, 2], [2]),
    "the list shows a kill that the kernel did not count": ([0, LISTED, 0, 1], [1]),
    "the counter of another kernel starts at 0": ([5, 0, 1], [1]),
    "the counter of another kernel is lower": ([5, 4, 5], [5]),
}


def kills_after(*steps):
    """Return the kills after some steps: the list shows a kill, or the counter has a value."""
    kills, snapshot = UnlistedKills(), ProcessSnapshot(())
    for position, step in enumerate(steps, start=1):
        snapshot.position = position
        if step == LISTED:
            kills.list_shows(position)
        else:
            kills.kernel_counts(KernelCount(step, own=True), snapshot)
    return kills


@pytest.mark.parametrize(("steps", "numbers"), CASES.values(), ids=CASES)
def test_kills_that_only_the_kernel_counted_are_open(steps, numbers):
    assert [kill.run.row.handle for kill, _ in kills_after(*steps).open] == numbers


def test_kill_keeps_the_position_at_which_it_was_first_shown():
    kills = kills_after(0, 1)

    assert [(kill.position, after) for kill, after in kills.open] == [(2, 1)]
    assert kills.list_shows(5) == 2
    assert kills.list_shows(6) == 6


ALIVE, KILLED, CRASHED = raw(1), raw(1, **signaled(9)), raw(2, **signaled(11))
SUSPECT, CRASH, UNLISTED = ("suspected_oom", 1), ("crash", 2), ("oom", UNLISTED_PID)
# The rows and the number of kills that the kernel has counted at each poll.
POLLS = {
    "a crash is no OOM kill": ([([raw(2)], 0), ([CRASHED], 1)], [CRASH, UNLISTED]),
    "a SIGKILL is one": (
        [([ALIVE, raw(2)], 0), ([KILLED, CRASHED], 1)], [CRASH, ("oom", 1)]),
    "a SIGKILL is one that the kernel counted earlier": (
        [([ALIVE], 0), ([ALIVE], 1), ([KILLED], 1)], [("oom", 1)]),
    "an earlier SIGKILL is none": (
        [([ALIVE], 0), ([KILLED], 0), ([KILLED], 1)], [SUSPECT, UNLISTED]),
}  # fmt: skip


@pytest.mark.parametrize(("polls", "expected"), POLLS.values(), ids=POLLS)
def test_kernel_counted_an_unlisted_process_unless_another_sigkill_explains_it(polls, expected):
    history = History(lambda: 0.0)
    for rows, kills in polls:
        shown = listing(*rows)
        shown.kernel = KernelCount(kills, own=True)
        history.fold(shown)

    found = [(incident.kind, incident.run.row.pid) for incident in history.incidents(0)]

    assert sorted(found) == sorted(expected)
