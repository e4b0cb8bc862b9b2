"""The schedule of polls, and when a wait ends."""

import itertools
import random

import pytest

from pytest_tlsandbox import errors
from tests.rows import ended, raw
from tests.support import failure, outcome, polls, unreachable
from tests.support import silent_box as box_of

RUNNING, FAILED = raw(41), raw(41, **ended(1))


def elapsed(box) -> float:
    return box._client.clock.now - 1000


# ------------------------------------------------------------------ the schedule


def test_pause_between_polls_grows_from_50_to_250_ms_as_the_wait_continues():
    box = box_of([RUNNING])

    failure(lambda: box.wait_for_exit("train.py", timeout=20), errors.WaitTimedOut)

    assert polls(box)[0] == 0.0
    for at, following in list(itertools.pairwise(polls(box)))[:-1]:
        ideal = min(0.25, max(0.05, at * 0.05))
        pause = following - at
        assert 0.89 * ideal <= pause <= 1.11 * ideal or pause in (0.05, 0.25), at


@pytest.mark.parametrize("timeout", [0.0, 0.01, 0.3, 1.0, 5.0, 31.7])
@pytest.mark.parametrize("latency", [0.0, 0.06, 0.4])
def test_last_poll_starts_at_the_deadline(timeout, latency):
    box = box_of({0: [RUNNING]}, latency=latency)

    failure(lambda: box.wait_for_exit("train.py", timeout=timeout), errors.WaitTimedOut)

    assert polls(box)[-1] == pytest.approx(timeout, abs=1e-6)
    assert elapsed(box) <= timeout + 0.5


def test_time_limit_of_a_poll_is_the_remaining_time_but_at_least_half_a_second():
    box = box_of({0: unreachable("no answer")}, latency=99)

    failure(lambda: box.wait_for_exit("train.py", timeout=2), errors.SandboxUnreachable)

    assert box._client.limits == [2.0, 0.5]
    assert elapsed(box) == pytest.approx(2.5)


# The last poll leaves 150 ms to report the failure.
KILLED = [(30, 60, 29.75, 0.1), (30, 5, 5, 0.5), (0.1, 60, 0, 0.02)]


@pytest.mark.parametrize(("killed", "timeout", "last_poll", "limit"), KILLED)
def test_wait_ends_250_ms_before_pytest_timeout_but_polls_once(killed, timeout, last_poll, limit):
    box = box_of([RUNNING])
    box._client.test_deadline = lambda: 1000.0 + killed

    failure(lambda: box.wait_for_exit("train.py", timeout=timeout), errors.WaitTimedOut)

    assert polls(box)[-1] == pytest.approx(last_poll)
    assert box._client.limits[-1] == pytest.approx(limit)


def test_polling_does_not_change_the_random_numbers_of_the_test():
    box, state = box_of({0: [RUNNING], 5: [FAILED]}), random.getstate()

    failure(lambda: box.wait_for_exit(41), errors.UnexpectedExit)

    assert random.getstate() == state


# ---------------------------------------------------------------------- faults


OUTAGES = [
    ({1: unreachable("503"), 28: [FAILED]}, 60, "UnexpectedExit"),
    # A good poll begins a new budget.
    ({0: unreachable(), 20: [RUNNING], 23: unreachable(), 47: [FAILED]}, 120, "UnexpectedExit"),
    ({4.99: unreachable()}, 5, "WaitTimedOut"),
    ({2: unreachable()}, 5, "SandboxUnreachable"),
]


@pytest.mark.parametrize(("script", "timeout", "error"), OUTAGES)
def test_wait_retries_transient_errors_and_keeps_the_last_result(script, timeout, error):
    box = box_of({0: [RUNNING], **script})

    assert outcome(lambda: box.wait_for_exit(41, timeout=timeout))[0] == error


def test_each_call_fails_within_one_second_once_an_outage_has_lasted_30_s():
    box = box_of({0: [RUNNING], 5: unreachable(), 45: [RUNNING]})

    error = failure(lambda: box.wait_for_exit(41, timeout=120), errors.SandboxUnreachable)
    assert error.first_line == "my-sandbox answered 502; could not list the processes for 30 s"
    assert error.snapshot is not None
    assert 35 <= elapsed(box) < 35.5
    assert len(polls(box)) > 10

    for _ in range(2):
        start = elapsed(box)
        failure(box.list_processes, errors.SandboxUnreachable)
        assert round(elapsed(box) - start) == 1

    box._client.clock.sleep(10)
    box.list_processes()
    assert box._client.outage.left == 30.0


def test_permanent_error_ends_the_wait_immediately():
    blocked = errors.SandboxUnreachable("blocked", label="SocketBlockedError")
    box = box_of({0: [RUNNING], 1: blocked})

    failure(lambda: box.wait_for_exit(41, timeout=120), errors.SandboxUnreachable)

    assert polls(box)[-1] < 1.1


@pytest.mark.parametrize(("retry_after", "second_poll"), [(3.0, 3.0), (3600.0, 10.0)])
def test_wait_obeys_the_retry_after_header_until_its_deadline(retry_after, second_poll):
    box = box_of({0: unreachable("429", retry_after=retry_after), 3: [RUNNING]})

    box.wait_for_process("train.py", timeout=10)

    assert polls(box) == [0.0, second_poll]
