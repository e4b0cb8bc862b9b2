"""Soft checks: evaluated on the same snapshots and reported together."""

from unittest.mock import call

import pytest

from pytest_tlsandbox import errors
from tests.support import OOM as OOM_KILLED
from tests.support import box_of, ended, failure, polls, raw

RUNNING = raw(41)
EXITED = raw(42, args=("prepare.py",), **ended(0))
FAILED = raw(43, args=("train.py", "--token=abc"), **ended(3))
OOM = raw(44, args=("worker.py",), **OOM_KILLED)
UNREADABLE = "rows in the process list cannot be read"

RUNS, SUCCEEDED = call.assert_process(41, status="running"), call.assert_process(42, exit_code=0)
FAILS = call.assert_process(43, exit_code=0)
NO_OOM, NO_CRASH, NO_RESTART = (
    call.assert_no_oom(),
    call.assert_no_crash(),
    call.assert_no_restart(),
)


def soft_box(script):
    return box_of(script, latency=0.06)


def evaluate(box, *checks):
    """Evaluate checks in one soft block; each is recorded by ``mock.call``."""
    with box.soft() as soft:
        return [getattr(soft, name)(*args, **options) for name, args, options in checks]


def soft_failure(box, *checks, error=errors.ChecksFailed):
    """Return the error of a soft block with these checks."""
    return failure(lambda: evaluate(box, *checks), error)


def test_soft_block_evaluates_all_checks_on_one_snapshot_when_the_block_ends():
    box = soft_box([EXITED])
    checks = [SUCCEEDED, NO_OOM, NO_CRASH, NO_RESTART, call.assert_not_running("prepare.py")]

    assert evaluate(box, *checks, call.assert_no_incidents()) == [None] * 6

    assert polls(box) == [0.0]


def test_soft_block_error_contains_the_error_from_each_failed_check():
    missing = call.assert_process("no such", exit_code=0)
    box = soft_box([FAILED, OOM, {"pid": 9}])

    error = soft_failure(box, FAILS, call.assert_no_oom(44), missing, NO_RESTART)

    assert [(type(each), str(each)) for each in error.failures] == [
        (errors.AssertionFailed, "Exited 3, wanted 0: train.py"),
        (errors.ProcessOOMKilled, "OOM-killed: worker.py"),
        (errors.ProcessNotFound, 'No process matches "no such"'),
        (errors.Inconclusive, f"Cannot check for restarts: 1 of 3 {UNREADABLE}"),
    ]
    assert all(each.snapshot is error.snapshot for each in error.failures)
    assert error.failures[0].wanted == "pid 43: exit_code=0"


def test_soft_check_ignores_incidents_before_the_baseline_unless_since_is_none():
    box = soft_box([OOM, RUNNING]).from_now()

    evaluate(box, NO_OOM)
    soft_failure(box, call.assert_no_oom(since=None))


# -------------------------------------------------------------------- settling time


def test_negative_check_in_a_soft_block_still_polls_for_200_ms():
    box = soft_box([RUNNING])

    evaluate(box, RUNS, NO_OOM)

    assert 0.2 <= polls(box)[-1] < 0.4


def test_failed_check_does_not_shorten_the_polling_of_other_checks():
    box = soft_box({0: [RUNNING, FAILED], 0.1: [RUNNING, FAILED, OOM]})

    assert len(soft_failure(box, FAILS, NO_OOM).failures) == 2


def test_unfinished_check_does_not_change_the_result_of_a_finished_check():
    """The first check needs one poll; the second needs more time than pytest-timeout leaves."""
    box = soft_box([RUNNING])
    box._client.test_deadline = lambda: 1000.3

    error = soft_failure(box, RUNS, NO_OOM, error=errors.TLSandboxError)

    assert error.first_line.startswith("1 of 2 checks failed: Cannot be checked: ")


def test_soft_block_is_inconclusive_if_all_failed_checks_are_inconclusive():
    box = soft_box([EXITED, {"pid": 9}])

    error = soft_failure(box, NO_OOM, SUCCEEDED, NO_CRASH, error=errors.Inconclusive)

    first = f"Cannot check for OOM kills: 1 of 2 {UNREADABLE}"
    assert error.first_line == f"2 of 3 checks failed; the first: {first}"
    assert error.label == error.first_line


# ----------------------------------------------------------------- use of the block


@pytest.mark.parametrize("kind", [ZeroDivisionError, KeyboardInterrupt, pytest.skip.Exception])
def test_exception_in_a_soft_block_is_raised_unchanged_and_without_a_poll(kind):
    box = soft_box([FAILED])
    error = kind("stop")

    with pytest.raises(BaseException) as caught, box.soft() as check:
        check.assert_process(43, exit_code=0)
        raise error

    assert caught.value is error
    assert getattr(caught.value, "__notes__", []) == []
    assert polls(box) == []


def test_soft_block_without_a_check_is_rejected():
    error = soft_failure(soft_box([EXITED]), error=errors.InvalidArgument)

    assert str(error).startswith("soft(): the block contains no check; write ")


@pytest.mark.parametrize("entered", [True, False])
def test_check_outside_a_soft_block_is_rejected(entered):
    check = soft_box([EXITED]).soft()
    if entered:
        with check:
            check.assert_process(42, exit_code=0)

    error = failure(check.assert_no_oom, errors.InvalidArgument)

    assert str(error).startswith("soft(): a check was called outside the block; call each check ")


def test_soft_check_in_code_without_a_module_is_evaluated():
    with pytest.raises(errors.ChecksFailed), soft_box([FAILED]).soft() as check:
        exec("check.assert_process(43, exit_code=0)", {"check": check})
