"""Conditions on the status of one process: it reaches a status, or keeps it."""

from __future__ import annotations

import pytest

from pytest_tlsandbox import errors
from tests.support import (
    T0,
    dedented,
    ended,
    failure,
    managed,
    outcome,
    polls,
    raw,
    signaled,
    unreachable,
)
from tests.support import silent_box as box_of

RUNNING, FAILED = raw(41), raw(41, **ended(1))
WEB = {"command": "web", "args": ()}


def health(status, **more):
    return raw(2, managed=managed("web", health_status=status, **more))


# -------------------------------------------------------------------- wait_for_process


def test_wait_passes_when_the_process_has_any_of_the_expected_statuses():
    box = box_of([raw(1, **signaled(15))])

    assert box.wait_for_process(1, status=["exited", "signaled"]).signal == 15


def test_status_of_a_process_with_a_lost_exit_code_is_accepted_only_after_a_delay():
    box = box_of({0: [raw(1, **ended(-1))], 0.5: [raw(1, **signaled(9))]})

    line = "Killed by SIGKILL (not by this test), wanted exited: train.py"
    assert outcome(lambda: box.wait_for_process(1, status="exited")) == ("UnexpectedExit", line)


NO_CHECK = "No health check is configured, wanted running and healthy:"
LAST = {"exit_code": 1, "ended_at": T0 - 1000}
RESTARTED = raw(8, **WEB, managed=managed(restart_count=1, last_exit=LAST))
STARTING = raw(2, **ended(1), managed=managed(status="backing_off", health_status="starting"))


@pytest.mark.parametrize(
    ("row", "options", "error", "line"),
    [
        (RUNNING, {"healthy": True}, "AssertionFailed", f"{NO_CHECK} train.py"),
        (health("disabled"), {"healthy": True}, "AssertionFailed", f"{NO_CHECK} web"),
        (health("starting"), {"healthy": True}, "WaitTimedOut", "Still starting after 1 s, wanted running and healthy: web"),
        (STARTING, {"healthy": True}, "WaitTimedOut", "Still backing off after 1 s, wanted running and healthy: web"),
        (raw(2, managed=managed(status="starting")), {"status": "exited"}, "WaitTimedOut", "Still running after 1 s, wanted exited: web"),
        (RUNNING, {"stable_for": 5}, "WaitTimedOut", "Running for only 1 s, wanted a run time of 5 s: train.py"),
        (RESTARTED, {"stable_for": 5}, "WaitTimedOut", "Running for only 1 s, wanted a run time of 5 s: web"),
    ],
)  # fmt: skip
def test_error_shows_the_expected_and_the_actual_status(row, options, error, line):
    name = "web" if "managed" in row else 41
    assert outcome(lambda: box_of([row]).wait_for_process(name, timeout=1, **options)) == (
        error,
        line,
    )


def test_waiting_for_a_healthy_process_ends_when_the_health_check_passes():
    box = box_of({0: [health("starting")], 3: [health("healthy")]})

    assert box.wait_for_process("web", healthy=True).pid == 2


def test_stability_period_starts_again_after_a_restart():
    second = raw(8, **WEB, managed=managed(restart_count=1))
    box = box_of({0: [raw(7, **WEB, managed=managed())], 0.6: [second]})

    assert box.wait_for_process("web", stable_for=1, timeout=5).pid == 8
    assert 1.6 <= polls(box)[-1] < 1.8


@pytest.mark.parametrize(
    ("stable_for", "back", "took"),
    [(2, 20, (22, 30)), (5, 1.2, (6, 7.5)), (20, 1.2, (20, 21)), (20, 4, (24, 26.5))],
    ids=["outage", "a second", "less than a tenth of it", "more than that"],
)
def test_stability_period_starts_again_after_a_long_outage(stable_for, back, took):
    box = box_of({0: [RUNNING], 0.2: unreachable(), back: [RUNNING]})

    box.wait_for_process(41, stable_for=stable_for, timeout=60)

    assert took[0] <= polls(box)[-1] < took[1]


# ------------------------------------------------------------------------ assert_stays


FOREIGN = "Killed by SIGTERM (not by this test)"


@pytest.mark.parametrize("name", [41, "train.py"])
@pytest.mark.parametrize(
    ("script", "what"),
    [
        ({0: [raw(41, **ended(0))]}, "Exited 0 before the wait began"),
        ({0: [raw(41, **signaled(15))]}, f"{FOREIGN} before the wait began"),
        ({0: [], 1: [raw(41, **ended(0))]}, "Exited 0 after 9 s"),
        ({0: [raw(41, status="paused")], 1: [raw(41, **signaled(15))]}, f"{FOREIGN} after 9 s"),
    ],
)
def test_message_says_whether_the_process_ended_before_or_during_the_wait(name, script, what):
    line = f"{what}, wanted running: train.py"
    assert outcome(lambda: box_of(script).wait_for_process(name)) == ("UnexpectedExit", line)


def test_stability_assertion_takes_exactly_the_requested_time():
    box = box_of([RUNNING])

    box.assert_stays("train.py", stable_for=10)

    assert polls(box)[-1] == pytest.approx(10.0, abs=0.01)


def test_stability_assertion_does_not_wait_for_a_successor_of_an_ended_process():
    box = box_of([FAILED])

    failure(lambda: box.assert_stays("train.py", stable_for=10), errors.UnexpectedExit)

    assert polls(box) == [0.0]


def test_stability_assertion_fails_at_the_first_change_of_the_process():
    other = raw(42, command="other", args=("train.py",), **ended(0))
    successors = [raw(pid, started_at=T0 + 5000) for pid in (43, 44)]
    box = box_of({0: [RUNNING, other], 3: [FAILED, *successors]})

    line = "Exited 1 after 9 s, wanted a run time of 10 s: train.py"
    assert outcome(lambda: box.assert_stays("train.py", stable_for=10)) == ("UnexpectedExit", line)
    assert polls(box)[-1] < 3.3


def test_stability_assertion_fails_if_the_process_was_restarted():
    first = raw(7, **WEB, managed=managed())
    last = {"exit_code": 1, "ended_at": T0 + 1000}
    supervised = managed(restart_count=1, last_exit=last)
    again = raw(8, **WEB, started_at=T0 + 1500, managed=supervised)
    assert box_of([first]).assert_stays("web", stable_for=1).pid == 7

    box = box_of({0: [first], 0.5: [again]})

    line = "Exited 1, then restarted; wanted a run time of 5 s: web"
    assert outcome(lambda: box.assert_stays("web", stable_for=5)) == ("AssertionFailed", line)


def test_stability_assertion_reports_the_expected_and_the_actual_status():
    box = box_of([raw(41, status="paused")])

    error = failure(lambda: box.assert_stays(41, stable_for=1, status=["running", "exited"]))

    assert str(error) == dedented("""
        Paused, wanted running or exited for 1 s: train.py

          process  python train.py
          run      pid 41, started 16:00:00.000 UTC
          output   stderr and stdout are empty
    """)


@pytest.mark.parametrize(
    ("gap", "stable_for", "took"), [(1.0, 3, 3), (1.01, 3, 4.01), (2.0, 20, 20)]
)
def test_stability_assertion_starts_again_after_a_long_gap_between_polls(gap, stable_for, took):
    box = box_of([RUNNING])
    clock = box._client.clock
    pauses, sleep = iter([gap]), clock.sleep
    clock.sleep = lambda seconds: sleep(next(pauses, seconds))

    box.assert_stays("train.py", stable_for=stable_for)

    assert polls(box)[-1] == pytest.approx(took, abs=0.01)


def test_stability_assertion_ends_even_if_outages_never_stop():
    box = box_of(
        {at: [RUNNING] if at % 11 == 0 else unreachable() for at in range(400)}, latency=0.9
    )

    failure(lambda: box.assert_stays("train.py", stable_for=300), errors.InfrastructureError)

    assert polls(box)[-1] < 100
