"""Conditions on one process, where the tables of bodies do not reach."""

from __future__ import annotations

import pytest

from pytest_tlsandbox import errors
from pytest_tlsandbox.sandbox import Sandbox
from tests.support import T0, FakeClock, ScriptedLister, ended, managed, raw, signaled


def box_of(*rows, **later):
    script = {0: list(rows), **{float(at[1:]): rows for at, rows in later.items()}}
    return Sandbox(ScriptedLister(FakeClock(), script))


def verdict(ask):
    with pytest.raises(errors.TLSandboxError) as caught:
        ask()
    return type(caught.value).__name__, caught.value.first_line


def test_several_that_fit_are_ambiguous_and_pick_chooses():
    box = box_of(raw(1), raw(2, started_at=T0 + 1000), raw(3, started_at=T0 + 2000, **ended(0)))

    assert verdict(lambda: box.wait_for_process("train.py")) == (
        "AmbiguousProcess",
        '2 processes are meant by "train.py"',
    )
    assert box.wait_for_process("train.py", pick="newest").pid == 2
    assert box.wait_for_process("train.py", pick="oldest").pid == 1
    assert box.wait_for_exit("train.py").pid == 3


def test_several_that_live_are_ambiguous_where_none_fits():
    box = box_of(raw(1), raw(2))

    assert verdict(lambda: box.wait_for_exit("train.py")) == (
        "AmbiguousProcess",
        '2 processes are meant by "train.py"',
    )
    assert verdict(lambda: box.wait_for_exit("train.py", pick="newest", timeout=0)) == (
        "WaitTimedOut",
        "Still running: train.py (pid 2) after 0 s",
    )


def test_one_of_several_statuses_will_do():
    box = box_of(raw(1, **signaled(15)))

    assert box.wait_for_process(1, status=["exited", "signaled"]).signal == 15


def test_healthy_needs_a_health_check():
    plain, unchecked = raw(1), raw(2, managed=managed("web"))

    for meant, row in ((1, plain), ("web", unchecked)):
        error, first_line = verdict(
            lambda row=row, meant=meant: box_of(row).wait_for_process(meant, healthy=True)
        )
        assert error == "ProcessMismatch"
        assert first_line.startswith("No health check: ")


def test_healthy_is_waited_for():
    starting = raw(2, managed=managed("web", health_status="starting"))
    healthy = raw(2, managed=managed("web", health_status="healthy"))

    assert box_of(starting, t3=[healthy]).wait_for_process("web", healthy=True).pid == 2
    assert verdict(lambda: box_of(starting).wait_for_process("web", healthy=True, timeout=1)) == (
        "WaitTimedOut",
        "Not healthy: web (pid 2) is starting after 1 s",
    )


def test_what_was_not_stable_for_long_enough_is_told_as_that():
    assert verdict(lambda: box_of(raw(1)).wait_for_process(1, stable_for=5, timeout=1)) == (
        "WaitTimedOut",
        "Not stable: train.py (pid 1), wanted 5 s, stopped after 1 s",
    )


def test_an_end_that_the_deadline_left_no_time_to_confirm_is_told_all_the_same():
    box = box_of(raw(1, **ended(3)))

    with pytest.raises(errors.WrongEnd) as caught:
        box.wait_for_exit("train.py", timeout=0.5)

    assert caught.value.first_line == "Exited 3: train.py (pid 1), wanted exit code 0"
    assert "stopped after 0.5 s of 0.5 s: the deadline came before it could change" in str(
        caught.value
    )


def test_a_managed_process_between_two_runs_is_still_backing_off():
    row = raw(7, **ended(1), managed=managed("web", status="backing_off", restart_count=1))

    assert verdict(lambda: box_of(row).wait_for_process("web", timeout=0)) == (
        "WaitTimedOut",
        "Still backing_off: web (pid 7) after 0 s",
    )
    assert verdict(lambda: box_of(row).assert_not_running("web")) == (
        "ProcessMismatch",
        "Still backing_off: web (pid 7)",
    )


def test_a_field_that_hangs_on_a_doubtful_end_is_an_unknown_end():
    box = box_of(raw(1, **ended(-1)))

    assert verdict(lambda: box.assert_process(1, exit_code=0))[0] == "UnknownEnd"
    assert box.assert_process(1, command="python").pid == 1
    assert verdict(lambda: box.assert_process(1, command="sh")) == (
        "ProcessMismatch",
        "train.py (pid 1) differs in command",
    )


def test_what_is_not_there_cannot_stay():
    assert verdict(lambda: box_of().assert_stays("train.py", seconds=1)) == (
        "ProcessNotFound",
        'No process "train.py" in my-sandbox',
    )


def test_an_object_that_was_never_listed_here_is_gone():
    process = box_of(raw(5)).list_processes().processes[0]

    assert verdict(lambda: box_of(raw(1)).wait_for_exit(process)) == (
        "ProcessNotFound",
        "Gone: pid 5 is no longer listed",
    )


def test_a_negative_assertion_on_a_process_that_is_not_there_says_so():
    box = box_of(raw(1))

    assert verdict(lambda: box.assert_no_oom("trian.py"))[0] == "ProcessNotFound"
    assert verdict(lambda: box.assert_no_crash(99))[0] == "ProcessNotFound"
    box.assert_not_running("trian.py")


def test_rows_that_were_odd_before_the_test_do_not_spoil_a_negative_assertion():
    odd = {"pid": 3}
    box = box_of(raw(1), odd, t1=[raw(1), odd, {"pid": 4}])
    box = box.from_now()

    box.assert_no_oom()
    box._client.clock.sleep(1)
    assert verdict(lambda: box.assert_no_oom()) == (
        "NotObserved",
        "Not observed: 1 row of my-sandbox cannot be read",
    )
