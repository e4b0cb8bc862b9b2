"""For how long a verdict must stand before it is given, and of which run."""

from __future__ import annotations

from datetime import datetime, timezone
from types import SimpleNamespace

import pytest

from pytest_tlsandbox import errors
from pytest_tlsandbox.history.history import History
from pytest_tlsandbox.sandbox import Sandbox
from pytest_tlsandbox.waiting.conditions.condition import Met
from pytest_tlsandbox.waiting.conditions.output import IsListed
from pytest_tlsandbox.waiting.selectors import Selector
from tests.support import T0, FakeClock, ScriptedLister, ended, managed, raw, signaled, snapshot


def box_of(script):
    clock = FakeClock()
    begun = clock.now
    return Sandbox(ScriptedLister(clock, script)), lambda: clock.now - begun


def listed(process, rows):
    history = History(lambda: 0.0)
    history.fold(rows)
    return IsListed(Selector(process, history)).evaluate(rows)


def verdict(ask):
    with pytest.raises(errors.TLSandboxError) as caught:
        ask()
    return type(caught.value).__name__, caught.value.first_line


def test_an_end_in_doubt_is_no_status_before_it_has_stood():
    box, _ = box_of({0: [raw(1, **ended(-1))], 0.5: [raw(1, **signaled(9))]})

    assert verdict(lambda: box.wait_for_process(1, status="exited")) == (
        "UnexpectedExit",
        "Signaled 9 (SIGKILL): train.py (pid 1), wanted exited",
    )


def test_lost_end_that_is_not_corrected_is_not_a_status():
    box, elapsed = box_of({0: [raw(1, **ended(-1))]})

    assert verdict(lambda: box.wait_for_process(1, status=["exited", "signaled"])) == (
        "Inconclusive",
        "Unknown end: train.py (pid 1) exited -1",
    )
    assert 1 <= elapsed() < 1.2


def test_each_of_several_ends_in_doubt_has_to_stand_for_itself():
    first, second = raw(1, **ended(-1)), raw(2, started_at=T0 + 1000, **ended(-1))
    corrected = raw(2, started_at=T0 + 1000, **signaled(9))
    box, _ = box_of({0: [first], 0.6: [second], 1.3: [corrected]})

    assert verdict(lambda: box.wait_for_process("train.py", status="exited", pick="newest")) == (
        "UnexpectedExit",
        "Signaled 9 (SIGKILL): train.py (pid 2), wanted exited",
    )


def test_what_followed_a_failure_and_failed_too_leaves_time_for_another():
    rows = [raw(pid, started_at=T0 + pid, **ended(code)) for pid, code in ((1, 3), (2, 3), (3, 0))]
    box, elapsed = box_of({0: rows[:1], 1.5: rows[:2], 3: rows})

    assert box.wait_for_exit("train.py", pick="newest").pid == 3
    assert 3 <= elapsed() < 3.5


def test_stable_begins_anew_with_a_restart():
    box, elapsed = box_of(
        {0: [raw(7, managed=managed())], 0.6: [raw(8, managed=managed(restart_count=1))]}
    )

    assert box.wait_for_process("web", stable_for=1).pid == 8
    assert 1.6 <= elapsed() < 2


def test_a_doubt_from_before_the_test_costs_it_no_time():
    box, elapsed = box_of(
        {0: [raw(1, **ended(-1)), raw(2, managed=managed(status="stopped"), **ended(-1))]}
    )
    box = box.from_now()

    box.assert_no_oom()

    assert elapsed() == 0


def test_a_row_that_cannot_be_read_may_be_one_that_is_meant_by_text_and_is_none_with_another_pid():
    spoilt = {"handle": 9, "pid": 9, "status": []}
    box, _ = box_of({0: [raw(1), spoilt]})

    box.assert_no_oom(1)
    assert verdict(lambda: box.assert_no_oom("train.py")) == (
        "Inconclusive",
        "Not observed: 1 row of my-sandbox cannot be read",
    )


def test_one_that_cannot_be_read_any_more_is_told_as_that_alone():
    spoilt, other = {"handle": 1, "pid": 1, "status": []}, {"handle": 9, "pid": 9, "status": []}
    box, _ = box_of({0: [raw(1)], 0.1: [spoilt, other]})

    assert verdict(lambda: box.wait_for_exit(1)) == (
        "Inconclusive",
        "Not observed: 1 row of my-sandbox cannot be read",
    )


def test_what_is_alive_is_listed_before_what_has_ended():
    rows = snapshot(raw(1), raw(2, started_at=T0 + 1000, **ended(0)))

    judged = listed("train.py", rows)

    assert isinstance(judged, Met)
    assert judged.value.pid == 1


def test_what_is_about_to_be_started_again_is_listed_too():
    rows = snapshot(raw(1, **ended(1), managed=managed(status="backing_off")))

    judged = listed("web", rows)

    assert isinstance(judged, Met)
    assert judged.value.pid == 1


def test_an_object_of_another_library_is_one_run_by_its_handle_too():
    started_at = datetime.fromtimestamp(T0 / 1000, timezone.utc)
    meant = [SimpleNamespace(pid=1, handle=handle, started_at=started_at) for handle in (1, 9)]
    box, _ = box_of({0: [raw(1)]})

    assert box.assert_process(meant[0], status="running").pid == 1
    assert verdict(lambda: box.assert_process(meant[1], status="running")) == (
        "ProcessNotFound",
        "Gone: pid 1 is no longer listed",
    )


def test_an_object_that_has_a_pid_and_no_start_means_no_process():
    box, _ = box_of({0: [raw(1)]})

    assert verdict(lambda: box.assert_process(SimpleNamespace(pid=1), status="running")) == (
        "InvalidArgument",
        "process must be text, a pid, a compiled regex, a process that was listed or started, "
        "by(...) or a function, got a value of type SimpleNamespace",
    )


def test_wait_until_gives_what_its_function_gave():
    box, _ = box_of({0: [raw(1)]})

    assert box.wait_until(lambda seen: seen.find(seen.processes[0].identity)).pid == 1
