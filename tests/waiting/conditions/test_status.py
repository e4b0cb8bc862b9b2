"""Conditions on the status of one process: it reaches a status, or keeps it."""

from __future__ import annotations

import re

import pytest

from pytest_tlsandbox import errors
from tests.support import (
    T0,
    box_of,
    ended,
    failure,
    managed,
    outcome,
    polls,
    raw,
    signaled,
    unreachable,
)

RUNNING, FAILED = raw(41), raw(41, **ended(1))
WEB = {"command": "web", "args": ()}


def health(status, **more):
    return raw(2, managed=managed("web", health_status=status, **more))


# -------------------------------------------------------------------- wait_for_process


def test_wait_passes_with_any_of_several_statuses():
    box = box_of([raw(1, **signaled(15))])

    assert box.wait_for_process(1, status=["exited", "signaled"]).signal == 15


def test_status_of_a_lost_end_counts_only_after_the_settling_time():
    box = box_of({0: [raw(1, **ended(-1))], 0.5: [raw(1, **signaled(9))]})

    assert outcome(lambda: box.wait_for_process(1, status="exited")) == (
        "UnexpectedExit",
        "Signaled 9 (SIGKILL): train.py (pid 1), wanted exited",
    )


@pytest.mark.parametrize(
    ("row", "options", "expected"),
    [
        (RUNNING, {"healthy": True}, ("AssertionFailed", "No health check: train.py (pid 41)")),
        (
            health("disabled"),
            {"healthy": True},
            ("AssertionFailed", "No health check: web (pid 2)"),
        ),
        (
            health("starting"),
            {"healthy": True, "timeout": 1},
            ("WaitTimedOut", "Not healthy: web (pid 2) is starting after 1 s"),
        ),
        (
            raw(2, **ended(1), managed=managed(status="backing_off", health_status="starting")),
            {"healthy": True, "timeout": 0},
            ("WaitTimedOut", "Still backing_off: web (pid 2) after 0 s"),
        ),
        (
            raw(2, managed=managed(status="starting")),
            {"status": "exited", "timeout": 0},
            ("WaitTimedOut", "Still running: web (pid 2) after 0 s"),
        ),
        (
            RUNNING,
            {"stable_for": 5, "timeout": 1},
            ("WaitTimedOut", "Not stable: train.py (pid 41), wanted 5 s, was so for 1 s"),
        ),
    ],
)
def test_status_that_is_not_reached_is_reported(row, options, expected):
    name = "web" if "managed" in row else 41

    assert outcome(lambda: box_of([row]).wait_for_process(name, **options)) == expected


def test_wait_with_healthy_waits_for_the_health_check():
    box = box_of({0: [health("starting")], 3: [health("healthy")]})

    assert box.wait_for_process("web", healthy=True).pid == 2


@pytest.mark.parametrize(
    ("row", "hint"),
    [
        (health("starting"), "a longer timeout=, if it only needs more time"),
        (
            health("unhealthy", consecutive_health_failures=3),
            "its health check by hand: it failed 3 times in a row",
        ),
        (health("unhealthy"), "its health check by hand: it fails"),
    ],
)
def test_hint_for_an_unhealthy_process_depends_on_its_health(row, hint):
    error = failure(lambda: box_of([row]).wait_for_process("web", healthy=True, timeout=0))

    assert str(error).endswith(f"  try      {hint}")


def test_restart_resets_stable_for():
    second = raw(8, **WEB, managed=managed(restart_count=1))
    box = box_of({0: [raw(7, **WEB, managed=managed())], 0.6: [second]})

    assert box.wait_for_process("web", stable_for=1, timeout=5).pid == 8
    assert 1.6 <= polls(box)[-1] < 1.8


def test_process_that_ends_before_it_is_stable_is_reported_as_ended():
    box = box_of({0: [RUNNING], 0.5: [FAILED]})

    failure(lambda: box.wait_for_process(41, stable_for=1), errors.UnexpectedExit)


@pytest.mark.parametrize(
    ("stable_for", "back", "took"),
    [(2, 20, (22, 30)), (5, 1.2, (6, 7.5)), (20, 1.2, (20, 21)), (20, 4, (24, 26.5))],
    ids=["outage", "a second", "less than a tenth of it", "more than that"],
)
def test_outage_longer_than_1_s_and_a_tenth_resets_stable_for(stable_for, back, took):
    box = box_of({0: [RUNNING], 0.2: unreachable(), back: [RUNNING]})

    box.wait_for_process(41, stable_for=stable_for, timeout=60)

    assert took[0] <= polls(box)[-1] < took[1]


# ------------------------------------------------------------------------ assert_stays


def test_assert_stays_takes_exactly_stable_for_seconds():
    box = box_of([RUNNING])

    box.assert_stays("train.py", stable_for=10)

    assert polls(box)[-1] == pytest.approx(10.0, abs=0.01)


def test_assert_stays_fails_at_the_first_change_of_the_run():
    other = raw(42, command="other", args=("train.py",), **ended(0))
    successors = [raw(pid, started_at=T0 + 5000) for pid in (43, 44)]
    box = box_of({0: [RUNNING, other], 3: [FAILED, *successors]})

    assert outcome(lambda: box.assert_stays("train.py", stable_for=10)) == (
        "UnexpectedExit",
        "Ended already: train.py (pid 41) ran 9 s and exited 1, wanted running for 10 s",
    )
    assert polls(box)[-1] < 3.3


@pytest.mark.parametrize(
    ("pid", "started_at"),
    # A daemon may restart a process in place: only the restart count of the row rises.
    [(8, T0 + 1500), (7, T0)],
)
def test_assert_stays_fails_if_the_process_was_restarted(pid, started_at):
    first = raw(7, **WEB, managed=managed())
    last = {"exit_code": 1, "ended_at": T0 + 1000}
    supervised = managed(restart_count=1, last_exit=last)
    again = raw(pid, **WEB, started_at=started_at, managed=supervised)
    assert box_of([first]).assert_stays("web", stable_for=1).pid == 7

    box = box_of({0: [first], 0.5: [again]})

    assert outcome(lambda: box.assert_stays("web", stable_for=5)) == (
        "AssertionFailed",
        f"Restarted: web (pid {pid}), wanted running for 5 s",
    )


def test_assert_stays_reports_expected_and_actual_status():
    box = box_of([raw(41, status="paused")])

    error = failure(
        lambda: box.assert_stays(41, stable_for=1, status=["running", "exited"]),
        errors.AssertionFailed,
    )

    assert error.first_line == "Paused: train.py (pid 41), wanted running or exited for 1 s"
    assert re.search(r"^ +status +running or exited +paused +<$", str(error), re.MULTILINE)
    assert "another: it was restarted" not in str(error)


def test_assert_stays_fails_if_the_process_is_not_listed():
    assert outcome(lambda: box_of([]).assert_stays("train.py", stable_for=1)) == (
        "ProcessNotFound",
        'No process "train.py" in my-sandbox',
    )


@pytest.mark.parametrize(("gap", "stable_for"), [(1.0, 3), (1.01, 3), (2.0, 20)])
def test_gap_longer_than_1_s_and_a_tenth_is_inconclusive(gap, stable_for):
    box = box_of([RUNNING])
    clock = box._client.clock
    pauses, sleep = iter([gap]), clock.sleep
    clock.sleep = lambda seconds: sleep(next(pauses, seconds))

    if gap != 1.01:
        box.assert_stays("train.py", stable_for=stable_for)
        return
    error = failure(lambda: box.assert_stays("train.py", stable_for=stable_for))
    assert isinstance(error, errors.Inconclusive)
    assert error.first_line == 'Not observed: 1 s between looks at "train.py"'
    assert "wanted no gap above 1 s" in str(error)
    assert "a longer stable_for= allows longer gaps: a tenth of it" in str(error)


def test_assert_stays_ends_despite_endless_outages():
    box = box_of(
        {at: [RUNNING] if at % 11 == 0 else unreachable() for at in range(400)}, latency=0.9
    )

    failure(lambda: box.assert_stays("train.py", stable_for=300), errors.InfrastructureError)

    assert polls(box)[-1] < 100
