"""Test which incidents the guard reports, for which run, and how a test can allow them."""

from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from pytest_tlsandbox.errors import ProcessOOMKilled
from pytest_tlsandbox.monitoring.session_data import SessionData
from pytest_tlsandbox.sandbox import Sandbox

from ..history.helpers import backing_off, last, over, running, web
from ..support import OOM, ended, raw, signaled, snapshot
from .guarded_box import ALL, GuardedBox, in_call, oom

RUNS, RESTARTED = web(7), running(8, 10_000, 1)
SICK = web(7, health_status="unhealthy")
KILLED_ONCE = running(8, 10_000, 1, last_exit=last(-9, oom=True))
KILLED_TWICE = backing_off(8, 10_000, 1, last_exit=last(-9, 19_000, oom=True)) | OOM
STOPPED = over(7, code=0)
REUSED = web(9, start=20_000)

# For each incident: the rows before and after the call of a test, and the findings.
# fmt: off
FINDINGS = {
    "OOM kill": (raw(1), oom(1), ["oom 1"]),
    "OOM kill of a child, reported after the end": (
        raw(1, **ended(0)), raw(1, **ended(0, oom_killed=True)), ["oom 1"]),
    "crash": (raw(1), raw(1, **signaled(11)), ["crash 1"]),
    "restart": (RUNS, RESTARTED, ["restart 7"]),
    "failing health check": (RUNS, SICK, ["unhealthy 7"]),
    "passing health check": (RUNS, web(7, health_status="healthy"), []),
    "failing health check of a new process": (
        STOPPED, web(9, start=20_000, health_status="unhealthy"), ["unhealthy 9", "leak 9"]),
    "process that is left running": (raw(1), raw(7), ["leak 7"]),
    "process that is left backing off": (raw(1), backing_off(7, 0, 0), ["leak 7"]),
    "suspected OOM kill": (raw(1), raw(1, **signaled(9)), []),
    "exit code 137": (raw(1), raw(1, **ended(137)), []),
    "SIGTERM": (raw(1), raw(1, **signaled(15)), []),
}
# fmt: on


@pytest.mark.parametrize(("before", "after", "found"), FINDINGS.values(), ids=FINDINGS)
def test_incident_is_reported_only_if_it_is_new_and_its_rule_is_enabled(before, after, found):
    assert GuardedBox(before).test("a", after) == found
    others = tuple(rule for rule in ALL if not any(each.startswith(rule) for each in found))
    assert GuardedBox(before, rules=others).test("a", after) == []
    assert GuardedBox(after).test("a") == []


def test_ends_that_no_list_call_saw_are_reported_by_the_rules_that_need_them():
    guarded = GuardedBox(RUNS, rules=("oom", "crash"))

    assert guarded.test("a", running(9, 20_000, 3)) == ["oom 7", "oom 9"]
    names = [finding["name"] for finding in guarded.monitor.take_data()["findings"]]
    assert names == ["web, first run", "web, restart 1"]


@pytest.mark.parametrize(
    ("now", "found"), [(RUNS, ["unhealthy 7"]), (RESTARTED, ["restart 7", "unhealthy 7"])]
)
def test_guard_reports_a_process_that_was_listed_as_unhealthy_but_has_recovered(now, found):
    guarded = in_call(RUNS)
    guarded.box.rows = [SICK]
    guarded.box.poll()

    assert sorted(guarded.call(now)) == found


def test_fixture_process_is_not_a_leak_even_if_it_reuses_a_name():
    guarded = in_call(STOPPED)
    set_up = contextmanager(guarded.guard.pytest_fixture_setup)
    with set_up(SimpleNamespace(scope="session")):
        guarded.box.rows = [REUSED]

    assert guarded.call() + guarded.teardown() == []


def test_allow_block_does_not_excuse_an_oom_kill_after_the_block():
    guarded = in_call(RUNS)
    with guarded.guard.allowing(("oom",), "the limit is under test"):
        guarded.box.rows = [over(7, "backing_off", last_exit=last(-9, oom=True)) | OOM]
    guarded.box.rows = [KILLED_ONCE]
    guarded.box.poll()

    assert guarded.call(KILLED_TWICE) == ["oom 8", "restart 7"]


def test_marker_of_the_last_test_does_not_excuse_an_incident_after_the_test():
    guarded = GuardedBox(RUNS)
    assert guarded.test("a", KILLED_ONCE, oom="meant", restart="meant") == []
    guarded.box.rows = [KILLED_TWICE]
    guarded.monitor.end_session()

    assert guarded.reported() == [
        "a, call: oom of web, first run, reported in the test, allowed: meant",
        "a, call: restart of web, first run, reported in the test, allowed: meant",
        "no test, None: oom of web (pid 8), reported in the session",
    ]


def test_marker_that_allows_restarts_does_not_excuse_an_oom_kill_hidden_by_a_restart():
    guarded = GuardedBox(RUNS, rules=("oom", "restart"))

    assert guarded.test("a", running(9, 20_000, 2), restart="expected") == ["oom 7"]


def test_incident_is_allowed_if_the_test_waited_for_it_or_asserted_it():
    guarded = in_call(raw(1), raw(2))
    guarded.box.rows = [oom(1), raw(2, **signaled(11))]
    Sandbox(guarded.box).wait_for_process(1, status="oom_killed")
    Sandbox(guarded.box).assert_process(2, signal=11)

    assert guarded.call() == []
    allowed = "reported in the test, allowed: the test waited for it, or asserted it"
    assert guarded.reported() == [
        f"a, call: oom of train.py (pid 1), {allowed}",
        f"a, call: crash of train.py (pid 2), {allowed}",
    ]


def test_incident_is_reported_even_if_the_test_catches_the_error():
    guarded = in_call(raw(1))
    guarded.box.rows = [oom(1)]
    with pytest.raises(ProcessOOMKilled):
        Sandbox(guarded.box).wait_for_exit(1)

    assert guarded.call() == ["oom 1"]


def test_lost_exit_code_is_reported_if_the_test_started_the_process_and_otherwise_counted():
    guarded = in_call()
    guarded.box.history.note_start(snapshot(raw(1))[0])
    guarded.call(raw(1, **ended(-1)), raw(2, **ended(-1)))

    record = SessionData()
    record.add_data(guarded.monitor.take_data())
    [finding] = record.findings
    assert (finding["verdict"], finding["test"]) == ("End not seen", "a")
    assert finding["name"] == "train.py (pid 1)"
    assert [unknown["name"] for unknown in record.unknown_ends.values()] == ["train.py (pid 2)"]
