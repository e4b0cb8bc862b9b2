"""The schedule of polls, and when a wait ends."""

from __future__ import annotations

import itertools
import random

import pytest

from pytest_tlsandbox import errors
from tests.support import ended, failure, polls, raw, unreachable
from tests.support import silent_box as box_of

RUNNING = raw(41)
FAILED = raw(41, **ended(1))


def elapsed(box) -> float:
    return box._client.clock.now - 1000


# ------------------------------------------------------------------ the schedule


def test_first_poll_is_immediate_and_ends_the_wait_if_the_condition_is_met():
    box = box_of([RUNNING])

    assert box.wait_for_process("train.py").pid == 41
    assert polls(box) == [0.0]


def test_pause_between_polls_grows_from_50_to_250_ms_as_the_wait_continues():
    box = box_of([RUNNING])

    failure(lambda: box.wait_for_exit("train.py", timeout=20), errors.WaitTimedOut)

    pauses = [after - before for before, after in itertools.pairwise(polls(box))]
    for at, pause in list(zip(polls(box), pauses, strict=False))[:-1]:
        ideal = min(0.25, max(0.05, at * 0.05))
        assert 0.89 * ideal <= pause <= 1.11 * ideal or pause in (0.05, 0.25), at


@pytest.mark.parametrize("timeout", [0.0, 0.01, 0.3, 1.0, 5.0, 31.7])
@pytest.mark.parametrize("latency", [0.0, 0.06, 0.4])
def test_last_poll_starts_at_the_deadline(timeout, latency):
    box = box_of({0: [RUNNING]}, latency=latency)

    failure(lambda: box.wait_for_exit("train.py", timeout=timeout), errors.WaitTimedOut)

    assert polls(box)[-1] == pytest.approx(timeout, abs=1e-6)
    assert elapsed(box) <= timeout + 0.5


def test_wait_passes_if_the_condition_is_met_just_before_the_deadline():
    box = box_of({0: [RUNNING], 4.9999: [raw(41, **ended(0))]})

    assert box.wait_for_exit("train.py", timeout=5).exit_code == 0


def test_time_limit_of_a_poll_is_the_remaining_time_but_at_least_half_a_second():
    box = box_of({0: unreachable("no answer")}, latency=99)

    failure(lambda: box.wait_for_exit("train.py", timeout=2), errors.SandboxUnreachable)

    assert box._client.limits == [2.0, 0.5]
    assert elapsed(box) == pytest.approx(2.5)


def test_wait_ends_250_ms_before_pytest_timeout_and_reports_the_early_end():
    box = box_of([RUNNING])
    box._client.test_deadline = lambda: 1030.0

    error = failure(lambda: box.wait_for_exit("train.py", timeout=60), errors.WaitTimedOut)

    assert polls(box)[-1] == pytest.approx(29.75)
    # The last poll leaves 150 ms to report the failure.
    assert box._client.limits[-1] == pytest.approx(0.1)
    assert error.first_line == (
        "Still running after 29.8 s (wait of 60 s cut short by pytest-timeout), "
        "wanted exit code 0: train.py"
    )


def test_pytest_timeout_does_not_affect_a_wait_with_an_earlier_deadline():
    box = box_of([RUNNING])
    box._client.test_deadline = lambda: 1030.0

    error = failure(lambda: box.wait_for_exit("train.py", timeout=5), errors.WaitTimedOut)

    assert error.first_line == "Still running after 5 s, wanted exit code 0: train.py"


def test_wait_polls_once_even_if_pytest_timeout_will_fire_immediately():
    box = box_of([RUNNING])
    box._client.test_deadline = lambda: 1000.1

    failure(lambda: box.wait_for_exit("train.py", timeout=60), errors.WaitTimedOut)

    assert box._client.limits == [pytest.approx(0.02)]


# ---------------------------------------------------------------------- faults


@pytest.mark.parametrize(
    ("script", "timeout", "error"),
    [
        ({1: unreachable("503 SANDBOX_NOT_READY"), 28: [FAILED]}, 60, errors.UnexpectedExit),
        (
            {0: unreachable(), 20: [RUNNING], 23: unreachable(), 47: [FAILED]},
            120,
            errors.UnexpectedExit,
        ),
        ({4.99: unreachable()}, 5, errors.WaitTimedOut),
        ({2: unreachable()}, 5, errors.SandboxUnreachable),
    ],
    ids=["ridden out", "a new budget after a good poll", "one failed poll at the end", "too old"],
)
def test_wait_retries_transient_errors_and_keeps_the_last_result(script, timeout, error):
    box = box_of({0: [RUNNING], **script})

    failure(lambda: box.wait_for_exit(41, timeout=timeout), error)


def test_wait_ends_once_an_outage_has_lasted_30_s_even_if_its_timeout_is_longer():
    box = box_of({0: [RUNNING], 5: unreachable()})

    error = failure(lambda: box.wait_for_exit(41, timeout=120), errors.SandboxUnreachable)

    assert 35 <= elapsed(box) < 35.5
    assert error.first_line == "my-sandbox answered 502; could not list the processes for 30 s"
    assert error.snapshot is not None
    assert len(polls(box)) > 10


def test_permanent_error_ends_the_wait_immediately():
    refused = errors.AuthenticationFailed("my-sandbox rejected the API key (401)", label="401")
    box = box_of({0: [RUNNING], 1: refused})

    error = failure(lambda: box.wait_for_exit(41, timeout=120), errors.AuthenticationFailed)

    assert polls(box)[-1] < 1.1
    assert error.first_line == "my-sandbox rejected the API key (401)"


def test_wait_obeys_the_retry_after_header_until_its_deadline():
    box = box_of({0: unreachable("429", retry_after=3.0), 3: [RUNNING]})
    box.wait_for_process("train.py", timeout=10)
    assert polls(box) == [0.0, 3.0]

    box = box_of({0: unreachable("429", retry_after=3600.0)})
    failure(lambda: box.wait_for_process("train.py", timeout=2), errors.SandboxUnreachable)
    assert polls(box) == [0.0, 2.0]


def test_keyboard_interrupt_is_not_retried():
    box = box_of([RUNNING])

    def interrupt(_seconds):
        raise KeyboardInterrupt

    box._client.clock.sleep = interrupt
    with pytest.raises(KeyboardInterrupt):
        box.wait_for_exit("train.py")
    assert polls(box) == [0.0]


def test_polling_does_not_change_the_random_numbers_of_the_test():
    random.seed(7)
    expected = random.random()
    random.seed(7)
    box = box_of({0: [RUNNING], 5: [FAILED]})
    failure(lambda: box.wait_for_exit(41), errors.UnexpectedExit)

    assert random.random() == expected


def test_each_call_fails_within_one_second_once_an_outage_has_lasted_30_s():
    box = box_of({0: unreachable(), 40: [RUNNING]})
    ends = [0.0]
    for _ in range(3):
        failure(box.list_processes, errors.SandboxUnreachable)
        ends.append(elapsed(box))
    assert [round(end - start) for start, end in itertools.pairwise(ends)] == [30, 1, 1]

    box._client.clock.sleep(10)
    box.list_processes()
    assert box._client.outage.left == 30.0
