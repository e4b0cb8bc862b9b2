"""Soft checks: evaluated on the same snapshots and reported together."""

from unittest.mock import call

import pytest

from pytest_tlsandbox import errors
from tests.support import OOM as OOM_KILLED
from tests.support import ended, failure, make, polls, raw, result_of
from tests.support import silent_box as box_of

RUNNING = raw(41)
EXITED = raw(42, args=("prepare.py",), **ended(0))
FAILED = raw(43, args=("train.py", "--token=abc"), **ended(3))
OOM = raw(44, args=("worker.py",), **OOM_KILLED)
LOST = [raw(45, **ended(-1)), raw(46, **ended(-1))]
UNREADABLE = "rows in the process list cannot be read"


def succeeds(pid):
    return call.assert_process(pid, exit_code=0)


RUNS, SUCCEEDED = call.assert_process(41, status="running"), succeeds(42)
FAILS, NO_OOM = succeeds(43), call.assert_no_oom()
NO_CRASH, NO_RESTART = call.assert_no_crash(), call.assert_no_restart()


def evaluate(box, *checks):
    """Evaluate checks in one soft block; each is recorded by ``mock.call``."""
    with box.soft() as soft:
        for check in checks:
            assert make(check, soft) is None


ALL = (SUCCEEDED, NO_OOM, NO_CRASH, NO_RESTART, call.assert_no_incidents())
TWO = "ChecksFailed: 2 of 2 checks failed; the first: Exited 3, wanted 0: train.py"
# For each block: what is listed, the checks, the result, and when the last poll begins.
BLOCKS = [
    ([EXITED], (*ALL, call.assert_not_running("prepare.py")), "passes", 0),
    # A negative check needs 200 ms if a process is alive.
    ([RUNNING], (RUNS, NO_OOM), "passes", 0.2),
    # A failed check does not shorten the polling of the others.
    ({0: [RUNNING, FAILED], 0.1: [RUNNING, FAILED, OOM]}, (FAILS, NO_OOM), TWO, 0.1),
    # All failed checks are inconclusive.
    ([EXITED, {"pid": 9}], (NO_OOM, SUCCEEDED, NO_CRASH), "Inconclusive: 2 of 3 checks failed; "
        f"the first: Cannot check for OOM kills: 1 of 2 {UNREADABLE}", 1),
    # The time of 1 s until a lost exit code counts starts again with the second one.
    ({0: [LOST[0], raw(46)], 0.5: LOST}, [succeeds(45), succeeds(46)], "Inconclusive: 2 of 2 checks "
        "failed; the first: Exited, but no exit code was reported within 1 s; wanted exit_code=0: "
        "train.py", 1.5),
]  # fmt: skip


@pytest.mark.parametrize(("script", "checks", "expected", "at"), BLOCKS)
def test_checks_of_a_soft_block_are_evaluated_together_when_it_ends(script, checks, expected, at):
    box = box_of(script)

    assert result_of(lambda: evaluate(box, *checks)) == expected
    assert at <= polls(box)[-1] < at + 0.05


def test_soft_block_error_contains_the_error_from_each_failed_check():
    missing = call.assert_process("no such", exit_code=0)
    box = box_of([FAILED, OOM, {"pid": 9}])

    checks = (FAILS, call.assert_no_oom(44), missing, NO_RESTART)
    error = failure(lambda: evaluate(box, *checks), errors.ChecksFailed)

    assert [(type(each), str(each)) for each in error.failures] == [
        (errors.AssertionFailed, "Exited 3, wanted 0: train.py"),
        (errors.ProcessOOMKilled, "OOM-killed: worker.py"),
        (errors.ProcessNotFound, 'No process matches "no such"'),
        (errors.Inconclusive, f"Cannot check for restarts: 1 of 3 {UNREADABLE}"),
    ]
    assert all(each.snapshot is error.snapshot for each in error.failures)
    assert error.failures[3].label == error.failures[3].first_line
    assert error.failures[0].wanted == "pid 43: exit_code=0"


def test_soft_check_ignores_incidents_before_the_baseline_unless_since_is_none():
    box = box_of([OOM, RUNNING]).from_now()

    evaluate(box, NO_OOM)
    failure(lambda: evaluate(box, call.assert_no_oom(since=None)), errors.ChecksFailed)


def test_unfinished_check_does_not_change_the_result_of_a_finished_check():
    """The first check needs one poll; the second needs more time than pytest-timeout leaves."""
    box = box_of([RUNNING])
    box._client.test_deadline = lambda: 1000.3

    error = failure(lambda: evaluate(box, RUNS, NO_OOM))

    assert error.first_line.startswith("1 of 2 checks failed: Cannot be checked: ")


# ----------------------------------------------------------------- use of the block


@pytest.mark.parametrize("kind", [ZeroDivisionError, KeyboardInterrupt, pytest.skip.Exception])
def test_exception_in_a_soft_block_is_raised_unchanged_and_without_a_poll(kind):
    box = box_of([FAILED])
    error = kind("stop")

    with pytest.raises(BaseException) as caught, box.soft() as check:
        check.assert_process(43, exit_code=0)
        raise error

    assert caught.value is error
    assert getattr(caught.value, "__notes__", []) == []
    assert polls(box) == []


def test_soft_block_without_a_check_is_rejected():
    error = failure(lambda: evaluate(box_of([EXITED])), errors.InvalidArgument)

    assert str(error).startswith("soft(): the block contains no check; write ")


@pytest.mark.parametrize("entered", [True, False])
def test_check_outside_a_soft_block_is_rejected(entered):
    check = box_of([EXITED]).soft()
    if entered:
        with check:
            check.assert_process(42, exit_code=0)

    error = failure(check.assert_no_oom, errors.InvalidArgument)

    assert str(error).startswith("soft(): a check was called outside the block; call each check ")


def test_soft_check_in_code_without_a_module_is_evaluated():
    with pytest.raises(errors.ChecksFailed), box_of([FAILED]).soft() as check:
        exec("check.assert_process(43, exit_code=0)", {"check": check})
