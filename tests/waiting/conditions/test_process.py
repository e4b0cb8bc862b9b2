"""Conditions on one process, where the tables of bodies do not reach."""

from __future__ import annotations

import contextlib

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
        assert error == "AssertionFailed"
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
        "Not stable: train.py (pid 1), wanted 5 s, was so for 1 s",
    )


def test_an_end_that_the_deadline_left_no_time_to_confirm_is_told_all_the_same():
    box = box_of(raw(1, **ended(3)))

    with pytest.raises(errors.UnexpectedExit) as caught:
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
        "AssertionFailed",
        "Still backing_off: web (pid 7)",
    )


def test_a_field_that_hangs_on_a_doubtful_end_is_an_unknown_end():
    box = box_of(raw(1, **ended(-1)))

    assert verdict(lambda: box.assert_process(1, exit_code=0))[0] == "Inconclusive"
    assert box.assert_process(1, command="python").pid == 1
    assert verdict(lambda: box.assert_process(1, command="sh")) == (
        "AssertionFailed",
        "train.py (pid 1) differs in command",
    )


def test_what_is_not_there_cannot_stay():
    assert verdict(lambda: box_of().assert_stays("train.py", stable_for=1)) == (
        "ProcessNotFound",
        'No process "train.py" in my-sandbox',
    )


def test_an_object_that_was_never_listed_here_is_gone():
    process = box_of(raw(5)).list_processes().processes[0]

    assert verdict(lambda: box_of(raw(1)).wait_for_exit(process)) == (
        "ProcessNotFound",
        "Gone: train.py (pid 5) is no longer listed",
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
        "Inconclusive",
        "Not observed: 1 row of my-sandbox cannot be read",
    )


def test_a_row_that_cannot_be_read_any_more_is_not_gone():
    unreadable = {**raw(1), "args": 5}

    for meant in (1, box_of(raw(1)).list_processes().processes[0]):
        box = box_of(raw(1), t1=[unreadable])
        assert verdict(lambda box=box, meant=meant: box.wait_for_exit(meant)) == (
            "Inconclusive",
            "Not observed: 1 row of my-sandbox cannot be read",
        )


def test_a_row_that_cannot_be_read_spoils_nothing_that_is_said_of_another_run():
    box = box_of(raw(41), {**raw(42), "args": 5})

    box.assert_no_oom(41)
    assert verdict(lambda: box.assert_no_oom())[0] == "Inconclusive"
    assert verdict(lambda: box.assert_not_running("nothing"))[0] == "Inconclusive"


def test_an_exit_in_which_a_child_was_oom_killed_is_told_as_that():
    row = raw(1, command="sh", args=("-c", "train"), **ended(137, oom_killed=True))

    assert verdict(lambda: box_of(row).wait_for_exit(1)) == (
        "ProcessOOMKilled",
        "OOM-killed: a child of sh -c (pid 1), wanted exit code 0",
    )
    assert box_of(row).wait_for_exit(1, exit_code=137).pid == 1


def test_a_doubtful_end_is_looked_at_again_before_it_is_called_harmless():
    oom = signaled(9, status="oom_killed", oom_killed=True)
    box = box_of(raw(1, **ended(None)), **{"t0.5": [raw(1, **oom)]})
    assert verdict(lambda: box.assert_no_oom(1))[0] == "ProcessOOMKilled"

    box = box_of(raw(1, **signaled(1)), **{"t0.5": [raw(1, **signaled(11))]})
    assert verdict(lambda: box.assert_no_crash())[0] == "ProcessCrashed"


def test_a_doubtful_end_is_looked_at_again_before_it_is_called_suspicious():
    box = box_of(raw(1, **ended(-1)), **{"t0.5": [raw(1, **ended(0))]})

    box.assert_no_oom(suspected=True)


def test_what_lived_and_is_listed_no_more_may_have_been_killed():
    box = box_of(raw(41), t1=[]).from_now()
    box._client.clock.sleep(1)

    assert verdict(lambda: box.assert_no_oom()) == (
        "Inconclusive",
        "Not observed: the end of train.py (pid 41)",
    )


def test_one_row_that_someone_removed_is_no_alarm():
    box = box_of(raw(41), raw(42), t1=[raw(42)]).from_now()
    box._client.clock.sleep(1)

    box.assert_no_oom()


def test_an_assertion_does_not_waver_for_ever():
    script = {number / 10: [raw(1), raw(2)][: 1 + number % 2] for number in range(3000)}
    flapping = {number / 10: [raw(1), {"pid": 5}][: 1 + number % 2] for number in range(3000)}
    for rows, ask in (
        (script, lambda box: box.assert_not_running("train.py")),
        (flapping, lambda box: box.assert_no_oom()),
    ):
        clock = FakeClock()
        box = Sandbox(ScriptedLister(clock, rows))
        with contextlib.suppress(errors.TLSandboxError):
            ask(box)
        assert clock.now - 1000 < 8


def test_several_values_of_a_field_are_one_of_several():
    box = box_of(raw(1, **ended(1)))

    assert box.assert_process(1, status=["running", "exited"], exit_code=(0, 1)).pid == 1
    assert verdict(lambda: box.assert_process(1, exit_code=[0, 2]))[0] == "AssertionFailed"


def test_a_status_of_running_is_not_open_to_doubt():
    box = box_of(raw(1, **ended(-1)))

    assert verdict(lambda: box.assert_process(1, status="running"))[0] == "AssertionFailed"


def test_what_stays_is_judged_alone_once_it_was_found():
    rows = [raw(1), raw(2, command="other", args=("train.py",), **ended(0))]
    later = [raw(1, **ended(1)), raw(3, started_at=T0 + 5000), raw(4, started_at=T0 + 5000)]
    box = box_of(*rows, t1=later)

    error, first_line = verdict(lambda: box.assert_stays("train.py", stable_for=5))
    assert (error, first_line.partition(",")[0]) == (
        "UnexpectedExit",
        "Ended already: train.py (pid 1) ran 9 s and exited 1",
    )


def test_an_error_says_what_was_wanted():
    with pytest.raises(errors.WaitTimedOut) as caught:
        box_of(raw(1)).wait_for_exit(1, exit_code=(0, 3), timeout=0)

    assert caught.value.wanted == "exit code 0 or 3"


def test_a_signal_of_this_tests_own_is_named_as_that():
    box = box_of(raw(1), t1=[raw(1, **signaled(9))])
    box.kill_process(1)

    with pytest.raises(errors.UnexpectedExit) as caught:
        box.wait_for_exit(1)
    assert "signal             9 (SIGKILL), sent by this test" in str(caught.value)
