"""Soft checks: evaluated on the same snapshots and reported together."""

import pytest

from pytest_tlsandbox import errors
from tests.support import OOM as OOM_KILLED
from tests.support import box_of, ended, failure, polls, raw, unreachable

RUNNING = raw(41)
EXITED = raw(42, args=("prepare.py",), **ended(0))
FAILED = raw(43, args=("train.py", "--token=abc"), **ended(3))
OOM = raw(44, args=("worker.py",), **OOM_KILLED)

UNREADABLE = "rows in the process list cannot be read"


def soft_box(script):
    return box_of(script, latency=0.06)


# ------------------------------------------------------------------ on one snapshot


def test_soft_block_evaluates_all_checks_on_one_snapshot_when_the_block_ends():
    box = soft_box([EXITED])

    with box.soft() as check:
        results = [check.assert_process(42, exit_code=0), check.assert_not_running("prepare.py")]
        results += [check.assert_no_oom(), check.assert_no_crash()]
        results += [check.assert_no_restart(), check.assert_no_incidents()]
        assert (results, polls(box)) == ([None] * 6, [])

    assert polls(box) == [0.0]


def test_soft_block_error_contains_the_error_from_each_failed_check():
    box = soft_box([FAILED, OOM, {"pid": 9}])

    with pytest.raises(errors.ChecksFailed) as caught, box.soft() as check:
        check.assert_process(43, exit_code=0)
        check.assert_no_oom(44)
        check.assert_process("no such", exit_code=0)
        check.assert_no_restart()

    failures = caught.value.failures
    assert [(type(error), str(error)) for error in failures] == [
        (errors.AssertionFailed, "Exited 3, wanted 0: train.py"),
        (errors.ProcessOOMKilled, "OOM-killed: worker.py"),
        (errors.ProcessNotFound, 'No process matches "no such"'),
        (errors.Inconclusive, f"Cannot check for restarts: 1 of 3 {UNREADABLE}"),
    ]
    assert all(error.snapshot is caught.value.snapshot for error in failures)
    assert failures[0].wanted == "pid 43: exit_code=0"


def test_soft_check_ignores_incidents_before_the_baseline_unless_since_is_none():
    box = soft_box([OOM, RUNNING]).from_now()

    with box.soft() as check:
        check.assert_no_oom()

    with pytest.raises(errors.ChecksFailed), box.soft() as check:
        check.assert_no_oom(since=None)


# -------------------------------------------------------------------- settling time


def test_negative_check_in_a_soft_block_still_polls_for_200_ms():
    box = soft_box([RUNNING])

    with box.soft() as check:
        check.assert_process(41, status="running")
        check.assert_no_oom()

    assert 0.2 <= polls(box)[-1] < 0.4


def test_failed_check_does_not_shorten_the_polling_of_other_checks():
    box = soft_box({0: [RUNNING, FAILED], 0.1: [RUNNING, FAILED, OOM]})

    with pytest.raises(errors.ChecksFailed) as caught, box.soft() as check:
        check.assert_process(43, exit_code=0)
        check.assert_no_oom()

    assert len(caught.value.failures) == 2


def test_unfinished_check_does_not_change_the_result_of_a_finished_check():
    """The first check needs one poll; the second needs more time than pytest-timeout leaves."""
    box = soft_box([RUNNING])
    box._client.test_deadline = lambda: 1000.3

    with pytest.raises(errors.TLSandboxError) as caught, box.soft() as check:
        check.assert_process(41, status="running")
        check.assert_no_oom()

    assert caught.value.first_line.startswith("1 of 2 checks failed: Cannot be checked: ")


# ------------------------------------------------------------- infrastructure errors


def test_outage_at_the_end_of_a_soft_block_raises_an_infrastructure_error(monkeypatch):
    monkeypatch.setattr("pytest_tlsandbox.client.retry._jitter.uniform", lambda *_: 1.0)
    box = soft_box({0: unreachable()})

    with pytest.raises(errors.SandboxUnreachable) as caught, box.soft() as check:
        check.assert_no_oom()
        check.assert_process(41, status="running")

    assert caught.value.first_line == (
        "my-sandbox answered 502; could not list the processes for 30.1 s"
    )
    assert caught.value.wanted == "no OOM kills and status=running"
    assert (caught.value.label, caught.value.transient) == ("502", True)


def test_soft_block_is_inconclusive_if_all_failed_checks_are_inconclusive():
    box = soft_box([EXITED, {"pid": 9}])

    with pytest.raises(errors.Inconclusive) as caught, box.soft() as check:
        check.assert_no_oom()
        check.assert_process(42, exit_code=0)
        check.assert_no_crash()

    assert not isinstance(caught.value, AssertionError)
    first = f"Cannot check for OOM kills: 1 of 2 {UNREADABLE}"
    assert caught.value.first_line == f"2 of 3 checks failed; the first: {first}"
    assert caught.value.label == caught.value.first_line


# --------------------------------------------------------- exceptions in the block


class Broken(Exception):
    """An exception from the code of the test."""


@pytest.mark.parametrize("kind", [Broken, KeyboardInterrupt, SystemExit, pytest.skip.Exception])
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
    with pytest.raises(errors.InvalidArgument) as caught, soft_box([EXITED]).soft():
        pass

    assert str(caught.value) == (
        "soft(): the block contains no check; write `with tlsandbox.soft() as check:`, and call "
        "check.assert_process(...) in the block"
    )


def test_invalid_argument_of_a_soft_check_raises_an_error_immediately():
    box = soft_box([FAILED])

    with pytest.raises(errors.InvalidArgument) as caught, box.soft() as check:
        check.assert_process(43, exit_code=0)
        check.assert_process(43, exitcode=0)

    assert caught.value.first_line == (
        "a process has no field 'exitcode'; did you mean 'exit_code'?"
    )


# --------------------------------------------------------------------------- misuse


@pytest.mark.parametrize("entered", [True, False])
def test_check_outside_a_soft_block_is_rejected(entered):
    check = soft_box([EXITED]).soft()
    if entered:
        with check:
            check.assert_process(42, exit_code=0)

    assert str(failure(check.assert_no_oom, errors.InvalidArgument)) == (
        "soft(): a check was called outside the block; call each check inside the block `with "
        "tlsandbox.soft() as check:`, which evaluates all checks when the block ends"
    )


def test_nested_soft_block_evaluates_its_checks_when_the_nested_block_ends():
    box = soft_box([FAILED, OOM])

    with pytest.raises(errors.ChecksFailed) as caught, box.soft() as outer:
        outer.assert_process(43, exit_code=0)
        with pytest.raises(errors.ChecksFailed) as inside, box.soft() as inner:
            inner.assert_no_oom()

    assert [type(error) for error in inside.value.failures] == [errors.ProcessOOMKilled]
    assert [type(error) for error in caught.value.failures] == [errors.AssertionFailed]


def test_re_entered_soft_block_starts_without_checks():
    soft = soft_box([EXITED, FAILED]).soft()
    with pytest.raises(errors.ChecksFailed), soft as check:
        check.assert_process(43, exit_code=0)

    with soft as check:
        check.assert_process(42, exit_code=0)


def test_soft_check_in_code_without_a_module_is_evaluated():
    box = soft_box([FAILED])

    with pytest.raises(errors.ChecksFailed), box.soft() as check:
        exec("check.assert_process(43, exit_code=0)", {"check": check})
