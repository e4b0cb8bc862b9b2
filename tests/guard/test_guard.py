"""Test when the guard polls, and to which test it attributes a finding."""

from __future__ import annotations

import pytest

from pytest_tlsandbox.errors import AuthenticationFailed, SandboxNotFound, SandboxNotRunning

from ..support import ended, managed, process, raw, signaled
from .guarded_box import REFUSED, GuardedBox, in_call, oom

EXITED = {"exit_code": 1, "signal": None, "oom_killed": False, "ended_at": 1_710_000_005_000}


def test_guard_polls_twice_per_test_and_reuses_the_last_snapshot_as_the_next_baseline():
    guarded = in_call(raw(1))
    assert guarded.box.looks == 1  # because no test ran before
    baseline = guarded.connection.baseline
    assert baseline is not None
    assert [row.pid for row in baseline] == [1]
    assert guarded.end("call") == []
    assert guarded.end("teardown") == []
    guarded.end_test()
    assert guarded.box.looks == 3
    for name in "bcd":
        assert guarded.test(name) == []
    assert guarded.box.looks == 9
    assert [*guarded.monitor.take_data()] == ["sandboxes"]
    assert guarded.monitor.take_data() == {}


def test_guard_polls_after_a_failed_setup():
    guarded = GuardedBox(raw(1))
    guarded.begin("a")
    assert guarded.end("setup", oom(1)) == ["oom 1"]
    assert guarded.reported() == ["a, setup: oom of train.py (pid 1), reported in the test"]


@pytest.mark.parametrize(
    ("rule", "row"),
    [
        ("oom", oom(1)),
        ("crash", raw(1, **signaled(11))),
        ("restart", raw(2, managed=managed(restart_count=1, last_exit=EXITED))),
        ("unhealthy", raw(1, managed=managed(health_status="unhealthy"))),
    ],
)
def test_incident_is_reported_only_if_it_is_new_and_its_rule_is_enabled(rule, row):
    before = raw(1, managed=managed()) if "managed" in row else raw(1)
    assert GuardedBox(before).test("a", row) == [f"{rule} 1"]
    others = tuple(name for name in ("oom", "crash", "restart", "unhealthy") if name != rule)
    assert GuardedBox(before, rules=others).test("a", row) == []
    assert GuardedBox(row).test("a") == []


def test_suspected_oom_kills_and_crashes_are_not_findings():
    guarded = GuardedBox(raw(1), raw(2), raw(3))
    after = raw(1, **signaled(9)), raw(2, **ended(137)), raw(3, **signaled(15))
    assert guarded.test("a", *after) == []


def test_exits_that_happened_between_two_list_calls_are_reported():
    guarded = GuardedBox(raw(1, managed=managed()), rules=("oom", "crash"))
    row = raw(2, managed=managed(restart_count=3, last_exit=EXITED))
    assert guarded.test("a", row) == ["oom 1", "oom 2"]
    findings = guarded.monitor.take_data()["findings"]
    assert {finding["verdict"] for finding in findings} == {"End not seen"}
    assert [finding["name"] for finding in findings] == ["web, first run", "web, restart 1"]
    assert {finding["what"] for finding in findings} == {
        "it ended between two list calls, and the sandbox keeps only the last exit"
    }


# Leaks


def test_process_that_a_test_starts_and_leaves_running_is_a_leak():
    guarded = GuardedBox()
    assert guarded.test("a", raw(7)) == ["leak 7"]
    assert guarded.clock.slept  # the guard waited for the process to end
    assert sum(guarded.clock.slept) == pytest.approx(0.5)
    assert guarded.test("b") == []
    assert guarded.reported() == ["a, teardown: leak of train.py (pid 7), reported in the test"]


def test_process_that_the_teardown_stops_is_not_a_leak():
    guarded = in_call()
    assert guarded.end("call", raw(7)) == []
    assert guarded.end("teardown", raw(7, **signaled(9))) == []
    assert guarded.clock.slept == []


def test_killed_process_is_not_a_leak_even_if_it_is_still_listed_as_running():
    guarded = in_call()
    guarded.end("call", raw(7))
    guarded.box.later = {guarded.box.looks + 5: [raw(7, **signaled(9))]}
    assert guarded.end("teardown") == []
    assert 0.07 < sum(guarded.clock.slept) < 0.1


def test_process_that_starts_during_a_teardown_is_not_a_leak():
    guarded = in_call()
    guarded.end("call")
    assert guarded.end("teardown", raw(7)) == []


def test_managed_process_that_is_waiting_for_a_restart_is_a_leak():
    guarded = GuardedBox()
    assert guarded.test("a", raw(7, **ended(1), managed=managed(status="backing_off"))) == [
        "leak 7"
    ]


# Waiting for exit codes


def test_guard_polls_until_the_sandbox_reports_how_a_process_exited():
    guarded = in_call(raw(1))
    guarded.box.later = {5: [oom(1)]}
    assert guarded.end("call", raw(1, **ended(-1))) == ["oom 1"]
    assert 0 < sum(guarded.clock.slept) < 0.1


def test_guard_waits_once_for_a_lost_exit_code_but_still_reports_a_late_oom_kill():
    guarded = GuardedBox(raw(1))
    assert guarded.test("a", raw(1, **ended(-1))) == []
    slept = len(guarded.clock.slept)
    assert sum(guarded.clock.slept) == pytest.approx(0.5)
    assert guarded.test("b") == []
    assert len(guarded.clock.slept) == slept
    assert guarded.test("c", oom(1)) == ["oom 1"]


def test_guard_does_not_delay_a_test_if_all_exit_codes_are_known():
    guarded = GuardedBox(raw(1), raw(2))
    assert guarded.test("a", raw(1), raw(2, **ended(0)), raw(3, **ended(1))) == []
    assert guarded.clock.slept == []


# Allowances


def test_allow_block_excuses_only_incidents_inside_the_block():
    guarded = in_call(raw(1), raw(2))
    with guarded.guard.allowing(("oom", "leak"), "meant"):
        guarded.box.rows = [oom(1), raw(2), raw(3)]
    assert guarded.end("call", oom(1), oom(2), raw(3), raw(4)) == ["oom 2"]
    assert guarded.end("teardown") == ["leak 4"]
    assert guarded.reported() == [
        "a, call: oom of train.py (pid 1), reported in the test, allowed: meant",
        "a, call: oom of train.py (pid 2), reported in the test",
        "a, teardown: leak of train.py (pid 3), reported in the test, allowed: meant",
        "a, teardown: leak of train.py (pid 4), reported in the test",
    ]


def test_allow_block_that_raises_an_exception_still_excuses_its_incidents():
    guarded = in_call(raw(1))
    with pytest.raises(ZeroDivisionError), guarded.guard.allowing(("oom",), "meant"):
        guarded.box.rows = [oom(1)]
        raise ZeroDivisionError
    assert guarded.end("call") == []


# Rules of one test


def test_guard_without_rules_does_not_poll_and_reports_no_findings():
    guarded = GuardedBox(raw(1), raw(2))
    assert guarded.test("a") == []
    looks = guarded.box.looks
    guarded.begin("b", rules=())
    assert guarded.call(oom(1), raw(2)) + guarded.end("teardown") == []
    guarded.end_test()
    assert guarded.box.looks == looks
    assert guarded.test("c") == []
    assert guarded.test("d", oom(1), oom(2)) == ["oom 2"]


# A shared sandbox


def test_incident_fails_a_test_in_a_shared_sandbox_only_if_that_test_started_the_process():
    guarded = in_call(raw(1), shared=True, rules=("oom",))
    guarded.box.history.note_start(process(2))
    guarded.box.history.note_start(process(3))
    assert guarded.end("call", oom(1), oom(2), raw(3)) == ["oom 2"]
    guarded.end_test()
    assert guarded.test("b", oom(1), oom(2), oom(3)) == []
    assert guarded.reported() == [
        "no test, None: oom of train.py (pid 1), reported in the session",
        "a, call: oom of train.py (pid 2), reported in the test",
        "no test, None: oom of train.py (pid 3), reported in the session",
    ]


def test_processes_of_other_tests_are_not_leaks_in_a_shared_sandbox():
    guarded = GuardedBox(shared=True)
    assert guarded.test("a", raw(7), raw(8, **ended(-1))) == []
    assert guarded.clock.slept == []


# Outages


@pytest.mark.parametrize("latency", [0.001, 60], ids=["refusing", "silent"])
@pytest.mark.parametrize("before", [0, 3], ids=["from the start", "after a while"])
def test_unreachable_sandbox_delays_the_whole_suite_by_only_30_s(latency, before):
    guarded = GuardedBox(raw(1))
    for number in range(before):
        assert guarded.test(f"good {number}") == []
    guarded.box.fault, guarded.box.latency = REFUSED, latency
    start = guarded.clock.now
    for number in range(300):
        assert guarded.test(f"test {number}") == []
    guarded.monitor.end_session()
    assert guarded.clock.now - start <= 30.5
    gap = guarded.gap()
    assert gap["why"] == "my-sandbox cannot be reached: the connection was refused"
    assert (gap["from_test"], gap["to_test"], gap["tests"]) == ("test 0", None, 300)


def test_guard_polls_an_unreachable_sandbox_once_per_test():
    guarded = GuardedBox(raw(1))
    guarded.box.fault = REFUSED
    guarded.test("a")
    looks = guarded.box.looks
    for name in "bcd":
        guarded.test(name)
    assert guarded.box.looks == looks + 3
    assert guarded.box.outage.left == 8.0  # the guard used 22 of the 30 s; the rest is for helpers


def test_guard_does_not_wait_after_a_permanent_error():
    guarded = GuardedBox(raw(1))
    guarded.box.fault = AuthenticationFailed("my-sandbox: 403")
    guarded.test("a")
    assert guarded.clock.slept == []
    assert [gap["why"] for gap in guarded.monitor.take_data()["gaps"]] == ["my-sandbox: 403"]


def test_incident_during_a_monitoring_gap_is_attributed_to_no_test():
    guarded = GuardedBox(raw(1), raw(2))
    guarded.test("a")
    guarded.box.fault = REFUSED
    guarded.test("b")
    guarded.box.fault = None
    guarded.box.rows = [oom(1), raw(2)]
    assert guarded.test("c") == []
    assert guarded.test("d", oom(1), oom(2)) == ["oom 2"]
    facts = guarded.monitor.take_data()
    assert [(found["test"], found["reported_in"]) for found in facts["findings"]] == [
        (None, "session"),
        ("d", "test"),
    ]
    [gap] = facts["gaps"]
    assert (gap["from_test"], gap["to_test"], gap["tests"]) == ("b", "c", 2)
    assert gap["from_at"] < gap["to_at"]


def test_replacement_of_a_sandbox_is_reported_as_a_gap_but_causes_no_finding():
    guarded = GuardedBox(raw(41), raw(42))
    assert guarded.test("a", raw(1, handle=41), oom(2, handle=42)) == []
    gap = guarded.gap()
    assert gap["why"].startswith("it was replaced or restarted: ")
    assert (gap["from_test"], gap["to_test"]) == ("a", "a")
    assert guarded.test("b", oom(1, handle=41), oom(2, handle=42)) == ["oom 1"]


def test_oom_kill_in_a_replacement_sandbox_fails_the_test():
    guarded = in_call(raw(41), raw(42, **ended(0)))
    guarded.box.rows = [raw(1, handle=41)]
    guarded.box.list()
    guarded.box.rows = [oom(1, handle=41)]

    assert guarded.end("call") == ["oom 1"]


def test_process_that_disappears_from_the_list_causes_neither_a_finding_nor_a_gap():
    guarded = in_call(raw(41))
    guarded.end("call")
    guarded.box.rows = []
    assert guarded.end("teardown") == []
    guarded.end_test()
    assert [*guarded.monitor.take_data()] == ["sandboxes"]


# Sandboxes that the test suite ends

OVER = [
    SandboxNotRunning("Sandbox my-sandbox is terminated", label="409"),
    SandboxNotFound("No sandbox my-sandbox", label="404"),
    REFUSED,
]


@pytest.mark.parametrize("fault", OVER, ids=["terminated", "not found", "refused"])
def test_guard_neither_polls_nor_reports_a_gap_after_a_fixture_has_ended_the_sandbox(fault):
    guarded = GuardedBox(raw(1), of_suite=True)
    assert guarded.test("a") == []
    guarded.begin("b")
    assert guarded.call(oom(1)) == ["oom 1"]
    guarded.box.fault = fault
    assert guarded.end("teardown") == []
    guarded.end_test()
    looks = guarded.box.looks
    assert guarded.test("c") == []
    guarded.monitor.end_session()

    assert guarded.box.looks == looks
    assert guarded.clock.slept == []
    assert "gaps" not in guarded.monitor.take_data()


@pytest.mark.parametrize(
    ("fault", "of_suite"),
    [(OVER[0], False), (SandboxNotRunning("my-sandbox is suspended", transient=True), True)],
    ids=["not created by the suite", "suspended"],
)
def test_unavailable_sandbox_causes_a_gap_unless_the_suite_ended_it(fault, of_suite):
    guarded = in_call(raw(1), of_suite=of_suite)
    guarded.end("call")
    guarded.box.fault = fault
    guarded.end("teardown")

    gap = guarded.gap()
    assert (gap["why"], gap["guarded"]) == (str(fault), True)


@pytest.mark.parametrize(("first", "fails"), [("b", False), ("a", True)])
def test_sandbox_that_ends_during_a_test_fails_the_session_if_earlier_tests_used_it(first, fails):
    guarded = GuardedBox(raw(1), of_suite=True)
    if first == "a":
        guarded.test("a")
    guarded.begin("b")
    guarded.box.fault = OVER[0]
    assert guarded.call() == []
    assert guarded.end("teardown") == []
    guarded.end_test()
    guarded.test("c")

    gap = guarded.gap()
    assert gap["why"] == (
        "it ended during the call; end it in a fixture, so that it is monitored until the call ends"
    )
    assert (gap["from_test"], gap["to_test"], gap["tests"]) == ("b", "b", 1)
    assert gap["guarded"] is fails


def test_guard_resumes_monitoring_after_an_outage_and_reports_the_gap():
    guarded = in_call(raw(1), raw(2), of_suite=True)
    guarded.end("call")
    guarded.box.fault = REFUSED
    guarded.end("teardown")
    guarded.end_test()
    guarded.begin("b")
    guarded.box.fault = None
    guarded.box.poll()  # a helper of the test reaches the sandbox again
    assert guarded.call(oom(1), raw(2)) == []  # nobody knows when the kill happened
    guarded.end("teardown")
    guarded.end_test()
    assert guarded.test("c", oom(1), oom(2)) == ["oom 2"]

    gap = guarded.gap()
    assert gap["why"] == "my-sandbox cannot be reached: the connection was refused"
    assert (gap["from_test"], gap["to_test"], gap["guarded"]) == ("b", "b", True)
