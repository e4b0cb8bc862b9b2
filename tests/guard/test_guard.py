"""Test when the guard polls, and to which test it attributes a finding."""

import pytest

from pytest_tlsandbox.errors import AuthenticationFailed, SandboxNotFound, SandboxNotRunning

from ..support import ended, process, raw, signaled
from .guarded_box import REFUSED, GuardedBox, in_call, oom


def test_guard_polls_twice_per_test_and_reuses_the_last_snapshot_as_the_next_baseline():
    guarded = in_call(raw(1))
    assert guarded.box.looks == 1  # because no test ran before
    assert [row.pid for row in guarded.connection.baseline] == [1]
    assert guarded.call() + guarded.teardown() == []
    assert guarded.box.looks == 3
    assert guarded.test("b") + guarded.test("c") + guarded.test("d") == []
    assert guarded.box.looks == 9
    assert [*guarded.monitor.take_data()] == ["sandboxes"]
    assert guarded.monitor.take_data() == {}


def test_guard_without_rules_does_not_poll_and_reports_no_findings():
    guarded = GuardedBox(raw(1), raw(2))
    assert guarded.test("a") == []
    looks = guarded.box.looks
    guarded.begin("b", rules=())
    assert guarded.call(oom(1), raw(2)) + guarded.teardown() == []
    assert guarded.box.looks == looks
    assert guarded.test("c") == []
    assert guarded.test("d", oom(1), oom(2)) == ["oom 2"]


# How long the guard polls at the end of a phase: the rows after the call and after the teardown,
# the rows of a later list call, the findings of both phases, and the seconds.
LOST = raw(1, **ended(-1))
KILLED = raw(7, **signaled(9))
POLLED = {
    "all exits are known": ([raw(1, **ended(1))], [], {}, [], 0, 0),
    "left running": ([raw(7)], [raw(7)], {}, ["leak 7"], 0.5, 0.5),
    "stopped in the teardown": ([raw(7)], [KILLED], {}, [], 0, 0),
    "killed, but still listed as running": ([raw(7)], [raw(7)], {7: [KILLED]}, [], 0.07, 0.1),
    "started in the teardown": ([], [raw(7)], {}, [], 0.2, 0.2),
    "lost exit code": ([LOST], [LOST], {}, [], 0.5, 0.5),
    "lost exit code, then an OOM kill": ([LOST], [oom(1)], {5: [oom(1)]}, ["oom 1"], 0.05, 0.1),
}


@pytest.mark.parametrize("case", POLLED.values(), ids=POLLED)
def test_guard_polls_again_only_until_the_rows_show_what_happened(case):
    after_call, after_teardown, later, found, least, most = case
    guarded = in_call(raw(1))
    guarded.box.later = later
    assert guarded.call(*after_call) + guarded.teardown(*after_teardown) == found
    assert least <= round(sum(guarded.clock.slept), 3) <= most


def test_guard_waits_once_for_a_lost_exit_code_but_still_reports_a_late_oom_kill():
    guarded = GuardedBox(raw(1))
    assert guarded.test("a", LOST) == []
    slept = len(guarded.clock.slept)
    assert guarded.test("b") == []
    assert len(guarded.clock.slept) == slept
    assert guarded.test("c", oom(1)) == ["oom 1"]


def test_allow_block_excuses_only_incidents_inside_the_block_even_if_the_block_raises():
    guarded = in_call(raw(1), raw(2))
    with pytest.raises(ZeroDivisionError), guarded.guard.allowing(("oom", "leak"), "meant"):
        guarded.box.rows = [oom(1), raw(2), raw(3)]
        raise ZeroDivisionError
    assert guarded.call(oom(1), oom(2), raw(3), raw(4)) == ["oom 2"]
    assert guarded.teardown() == ["leak 4"]
    assert guarded.reported() == [
        "a, call: oom of train.py (pid 1), reported in the test, allowed: meant",
        "a, call: oom of train.py (pid 2), reported in the test",
        "a, teardown: leak of train.py (pid 3), reported in the test, allowed: meant",
        "a, teardown: leak of train.py (pid 4), reported in the test",
    ]


# A shared sandbox


def test_incident_fails_a_test_in_a_shared_sandbox_only_if_that_test_started_the_process():
    guarded = in_call(raw(1), shared=True, rules=("oom",))
    guarded.box.history.note_start(process(2))
    guarded.box.history.note_start(process(3))
    assert guarded.call(oom(1), oom(2), raw(3)) == ["oom 2"]
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
    assert guarded.gap() == (str(REFUSED), "test 0", None, 300, True)


def test_guard_polls_an_unreachable_sandbox_once_per_test():
    guarded = GuardedBox(raw(1))
    guarded.box.fault = REFUSED
    guarded.test("a")
    looks = guarded.box.looks
    assert guarded.test("b") + guarded.test("c") == []
    assert guarded.box.looks == looks + 2
    assert guarded.box.outage.left == 8.0  # the guard used 22 of the 30 s; the rest is for helpers


def test_incident_during_a_monitoring_gap_is_attributed_to_no_test():
    guarded = GuardedBox(raw(1), raw(2))
    guarded.test("a")
    guarded.box.fault = REFUSED
    guarded.test("b")
    guarded.box.fault, guarded.box.rows = None, [oom(1), raw(2)]
    assert guarded.test("c") == []
    assert guarded.test("d", oom(1), oom(2)) == ["oom 2"]
    data = guarded.monitor.take_data()
    found = [(found["test"], found["reported_in"]) for found in data["findings"]]
    assert found == [(None, "session"), ("d", "test")]
    [gap] = data["gaps"]
    assert (gap["from_test"], gap["to_test"], gap["tests"]) == ("b", "c", 2)
    assert gap["from_at"] < gap["to_at"]


def test_replacement_of_a_sandbox_is_reported_as_a_gap_but_causes_no_finding():
    guarded = GuardedBox(raw(41), raw(42))
    assert guarded.test("a", raw(1, handle=41), oom(2, handle=42)) == []
    why, *tests = guarded.gap()
    assert why.startswith("it was replaced or restarted: ")
    assert tests == ["a", "a", 1, True]
    assert guarded.test("b", oom(1, handle=41), oom(2, handle=42)) == ["oom 1"]


def test_oom_kill_in_a_replacement_sandbox_fails_the_test():
    guarded = in_call(raw(41), raw(42, **ended(0)))
    guarded.box.rows = [raw(1, handle=41)]
    guarded.box.list()
    assert guarded.call(oom(1, handle=41)) == ["oom 1"]


def test_process_that_disappears_from_the_list_causes_neither_a_finding_nor_a_gap():
    guarded = GuardedBox(raw(41))
    guarded.box.later = {2: []}
    assert guarded.test("a") == []
    assert [*guarded.monitor.take_data()] == ["sandboxes"]


def test_guard_resumes_monitoring_after_an_outage_and_reports_the_gap():
    guarded = in_call(raw(1), raw(2), of_suite=True)
    guarded.call()
    guarded.box.fault = REFUSED
    guarded.teardown()
    guarded.begin("b")
    guarded.box.fault = None
    guarded.box.poll()  # a helper of the test reaches the sandbox again
    assert guarded.call(oom(1), raw(2)) == []  # nobody knows when the kill happened
    guarded.teardown()
    assert guarded.test("c", oom(1), oom(2)) == ["oom 2"]
    assert guarded.gap() == (str(REFUSED), "b", "b", 1, True)


# Sandboxes that the test suite ends

OVER = [
    SandboxNotRunning("Sandbox my-sandbox is terminated", label="409"),
    SandboxNotFound("No sandbox my-sandbox", label="404"),
    REFUSED,
]
SUSPENDED = SandboxNotRunning("my-sandbox is suspended", transient=True)
FORBIDDEN = AuthenticationFailed("my-sandbox: 403")


@pytest.mark.parametrize("fault", OVER, ids=["terminated", "not found", "refused"])
def test_guard_neither_polls_nor_reports_a_gap_after_a_fixture_has_ended_the_sandbox(fault):
    guarded = GuardedBox(raw(1), of_suite=True)
    assert guarded.test("a") == []
    guarded.begin("b")
    assert guarded.call(oom(1)) == ["oom 1"]
    guarded.box.fault = fault
    assert guarded.teardown() == []
    looks = guarded.box.looks
    assert guarded.test("c") == []
    guarded.monitor.end_session()
    assert guarded.box.looks == looks
    assert guarded.clock.slept == []
    assert "gaps" not in guarded.monitor.take_data()


@pytest.mark.parametrize(
    ("fault", "of_suite"), [(OVER[0], False), (FORBIDDEN, False), (SUSPENDED, True)]
)
def test_unavailable_sandbox_causes_a_gap_without_retries_unless_it_may_recover(fault, of_suite):
    guarded = in_call(raw(1), of_suite=of_suite)
    guarded.call()
    guarded.box.fault = fault
    guarded.teardown()
    assert guarded.gap() == (str(fault), "a", None, 1, True)
    assert bool(guarded.clock.slept) is fault.transient


@pytest.mark.parametrize("fails", [False, True])
def test_sandbox_that_ends_during_a_test_fails_the_session_if_earlier_tests_used_it(fails):
    guarded = GuardedBox(raw(1), of_suite=True)
    if fails:
        guarded.test("a")
    guarded.begin("b")
    guarded.box.fault = OVER[0]
    assert guarded.call() + guarded.teardown() == []
    guarded.test("c")
    why = (
        "it ended during the call; end it in a fixture, so that it is monitored until the call ends"
    )
    assert guarded.gap() == (why, "b", "b", 1, fails)
