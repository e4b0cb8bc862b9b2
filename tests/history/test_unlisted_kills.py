"""Test how the counter of the kernel and the list account for the same OOM kills."""

import random

import pytest

from pytest_tlsandbox.history.snapshot import ProcessSnapshot
from pytest_tlsandbox.history.unlisted_kills import UnlistedKills
from pytest_tlsandbox.types import KernelCount


def count(kills, number, position=0):
    snapshot = ProcessSnapshot(())
    snapshot.position = position
    kills.kernel_counts(KernelCount(number, own=True), snapshot)


def numbers(kills):
    return [kill.run.row.handle for kill in kills.open]


def test_kills_before_the_first_reading_are_not_known():
    kills = UnlistedKills()
    count(kills, 7)
    assert kills.open == []


def test_each_kill_that_only_the_kernel_counts_is_open():
    kills = UnlistedKills()
    count(kills, 7, 1)
    count(kills, 9, 2)
    count(kills, 9, 3)
    assert numbers(kills) == [8, 9]
    assert [(kill.position, kill.after) for kill in kills.open] == [(2, 1), (2, 1)]


def test_kill_that_the_list_shows_later_keeps_the_position_at_which_the_kernel_counted_it():
    kills = UnlistedKills()
    count(kills, 0, 1)
    count(kills, 1, 2)
    assert kills.list_shows(5) == 2
    assert kills.open == []


def test_kill_that_the_list_shows_first_is_not_open_when_the_kernel_counts_it():
    kills = UnlistedKills()
    count(kills, 0, 1)
    assert kills.list_shows(2) == 2
    count(kills, 1, 3)
    assert kills.open == []


def test_kill_that_the_kernel_did_not_count_does_not_hide_a_later_one():
    kills = UnlistedKills()
    count(kills, 0, 1)
    kills.list_shows(2)
    count(kills, 0, 3)
    count(kills, 1, 4)
    assert numbers(kills) == [1]


@pytest.mark.parametrize("lower", [0, 4])
def test_counter_that_fell_begins_anew(lower):
    kills = UnlistedKills()
    count(kills, 5, 1)
    count(kills, lower, 2)
    assert kills.open == []
    count(kills, lower + 1, 3)
    assert numbers(kills) == [lower + 1]


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
