"""Test how the counter of the kernel and the list account for the same OOM kills."""

import random

import pytest

from pytest_tlsandbox.history.history import History
from pytest_tlsandbox.history.snapshot import ProcessSnapshot
from pytest_tlsandbox.history.unlisted_kills import UnlistedKills
from pytest_tlsandbox.types import UNLISTED_PID, KernelCount
from tests.support import raw, signaled
from tests.support import snapshot as listing


def count(kills, number, position=0):
    snapshot = ProcessSnapshot(())
    snapshot.position = position
    kills.kernel_counts(KernelCount(number, own=True), snapshot)


LISTED = "the list shows a kill"
CASES = {
    "kills before the first reading are not known": ([7], []),
    "the kernel counts two kills": ([7, 9, 9], [8, 9]),
    "the list shows a kill later": ([0, 1, LISTED], []),
    "the list shows a kill first": ([0, LISTED, 1], []),
    "the list shows a kill that the kernel did not count": ([0, LISTED, 0, 1], [1]),
    "the counter of another kernel starts at 0": ([5, 0, 1], [1]),
    "the counter of another kernel is lower": ([5, 4, 5], [5]),
}


@pytest.mark.parametrize(("steps", "numbers"), CASES.values(), ids=CASES)
def test_kills_that_only_the_kernel_counted_are_open(steps, numbers):
    kills = UnlistedKills()
    for position, step in enumerate(steps, start=1):
        if step == LISTED:
            kills.list_shows(position)
        else:
            count(kills, step, position)

    assert [kill.run.row.handle for kill, _ in kills.open] == numbers


def test_kill_keeps_the_position_at_which_it_was_first_shown():
    kills = UnlistedKills()
    count(kills, 0, 1)
    count(kills, 1, 2)

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


def test_open_kills_are_those_that_the_list_never_shows():
    """Kills happen, and become visible in the counter and, after some time, in the list."""
    for seed in range(1000):
        rng = random.Random(seed)
        events = []  # the time, and when the list shows it (None: never)
        for _ in range(rng.randint(0, 8)):
            at = rng.uniform(0, 100)
            events.append((at, None if rng.random() < 0.3 else at + rng.expovariate(0.2)))
        kills, shown, first = UnlistedKills(), 0, rng.uniform(0, 30)
        polls = sorted(rng.uniform(first, 100) for _ in range(rng.randint(1, 30)))
        for position, now in enumerate([first, *polls, 1000.0, 2000.0]):
            if position == 0 or rng.random() < 0.5 or now >= 1000:
                count(kills, sum(at <= now for at, _ in events), position)
            # The list is read at the same time as the counter, or a little later.
            listed = now + rng.choice([0, 0.01])
            new = [at for at, seen in events if seen is not None and seen <= listed]
            for _ in new[shown:]:
                if position:
                    kills.list_shows(position)
            shown = len(new)
        never = [at for at, seen in events if at > first and seen is None]
        # A kill before the first reading that the list shows later may stand for one of these.
        late = [at for at, seen in events if at <= first and seen is not None and seen > first]
        assert max(0, len(never) - len(late)) <= len(kills.open) <= len(never), seed
