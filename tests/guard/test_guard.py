"""When the guard looks, and whose a finding is."""

from __future__ import annotations

import pytest

from pytest_tlsandbox.errors import AuthenticationFailed, SandboxNotFound, SandboxNotRunning
from pytest_tlsandbox.guard import guard

from ..support import ended, managed, process, raw, signaled
from .boxes import ALL, OOM, REFUSED, Watch, oom

EXITED = {"exit_code": 1, "signal": None, "oom_killed": False, "ended_at": 1_710_000_005_000}


def test_a_test_is_looked_at_twice_and_the_last_look_is_the_next_baseline():
    watch = Watch(raw(1))
    watch.begin("a")
    assert watch.box.looks == 1  # there was no test before it
    baseline = watch.connection.baseline
    assert baseline is not None
    assert [row.pid for row in baseline] == [1]
    assert watch.call() == []
    assert watch.end("teardown") == []
    watch.end_test()
    assert watch.connection.baseline is None
    assert watch.box.looks == 3
    for name in "bcd":
        assert watch.test(name) == []
    assert watch.box.looks == 9
    assert [*watch.monitor.take_data()] == ["sandboxes"]
    assert watch.monitor.take_data() == {}


def test_what_happens_in_the_call_fails_the_call_and_is_told_once():
    watch = Watch(raw(1))
    watch.begin("a")
    assert watch.call(oom(1)) == ["oom 1"]
    assert watch.end("teardown") == []
    assert watch.test("b") == []
    assert watch.reported() == ["a, call: oom of train.py (pid 1), reported in the test"]


def test_an_oom_kill_is_of_the_test_in_which_it_happened_and_its_restart_of_a_later_one():
    last = {"exit_code": None, "signal": 9, "oom_killed": True, "ended_at": OOM["ended_at"]}
    waiting = managed(status="backing_off", last_exit=last)
    watch = Watch(raw(1, managed=managed()))
    assert watch.test("a", oom(1, managed=waiting)) == ["oom 1"]
    again = raw(
        2, started_at=OOM["ended_at"] + 10, managed=managed(restart_count=1, last_exit=last)
    )
    assert watch.test("b", again) == ["restart 1"]
    assert watch.reported()[-1] == "b, call: restart of web, first run, reported in the test"


def test_what_happens_in_a_teardown_is_of_that_test_and_not_of_the_next():
    watch = Watch(raw(1))
    watch.begin("a")
    assert watch.call() == []
    assert watch.end("teardown", oom(1)) == ["oom 1"]
    assert watch.test("b") == []
    assert watch.reported() == ["a, teardown: oom of train.py (pid 1), reported in the test"]


def test_what_happens_in_a_set_up_is_of_the_test_whose_set_up_ran():
    watch = Watch(raw(1))
    assert watch.test("a") == []
    watch.begin("b")
    watch.box.rows = [oom(1)]
    assert watch.call(fixtures=True) == ["oom 1"]


def test_a_set_up_that_fails_is_looked_at_as_well():
    watch = Watch(raw(1))
    watch.begin("a")
    assert watch.end("setup", oom(1)) == ["oom 1"]
    assert watch.reported() == ["a, setup: oom of train.py (pid 1), reported in the test"]


@pytest.mark.parametrize(
    "row",
    [
        oom(1),
        raw(1, **signaled(11)),
        raw(1, managed=managed(restart_count=3)),
        raw(1, managed=managed(health_status="unhealthy")),
        raw(1),
    ],
    ids=ALL,
)
def test_what_was_there_before_is_no_finding(row):
    watch = Watch(row)
    assert watch.test("a") == []
    assert watch.test("b") == []
    assert watch.reported() == []


@pytest.mark.parametrize(
    ("rule", "row"),
    [
        ("oom", oom(1)),
        ("crash", raw(1, **signaled(11))),
        ("restart", raw(2, managed=managed(restart_count=1, last_exit=EXITED))),
        ("unhealthy", raw(1, managed=managed(health_status="unhealthy"))),
    ],
)
def test_each_rule_finds_its_own_and_is_silent_where_it_is_not_on(rule, row):
    before = raw(1, managed=managed()) if "managed" in row else raw(1)
    assert Watch(before).test("a", row) == [f"{rule} 1"]
    others = tuple(name for name in ("oom", "crash", "restart", "unhealthy") if name != rule)
    assert Watch(before, rules=others).test("a", row) == []


def test_several_findings_of_one_test_are_told_together():
    watch = Watch(raw(1), raw(2))
    assert watch.test("a", oom(1), raw(2, **signaled(6))) == ["oom 1", "crash 2"]


def test_ends_that_only_a_suspicion_speaks_of_fail_nothing():
    watch = Watch(raw(1), raw(2), raw(3))
    after = raw(1, **signaled(9)), raw(2, **ended(137)), raw(3, **signaled(15))
    assert watch.test("a", *after) == []


def test_of_several_ends_behind_restarts_the_unseen_ones_are_not_passed_over():
    watch = Watch(raw(1, managed=managed()), rules=("oom", "crash"))
    row = raw(2, managed=managed(restart_count=3, last_exit=EXITED))
    assert watch.test("a", row) == ["oom 1", "oom 2"]
    findings = watch.monitor.take_data()["findings"]
    assert {finding["verdict"] for finding in findings} == {"Not observed"}
    assert [finding["name"] for finding in findings] == ["web, first run", "web, restart 1"]
    assert {finding["what"] for finding in findings} == {
        "it ended between two list calls, and the sandbox keeps the last end only"
    }


# Leaks


def test_what_begins_in_a_call_and_outlives_the_teardown_is_a_leak():
    watch = Watch()
    assert watch.test("a", raw(7)) == ["leak 7"]
    assert watch.clock.slept  # it was given the time to end
    assert sum(watch.clock.slept) == pytest.approx(0.5)
    assert watch.test("b") == []
    assert watch.reported() == ["a, teardown: leak of train.py (pid 7), reported in the test"]


def test_what_a_teardown_ends_is_no_leak():
    watch = Watch()
    watch.begin("a")
    assert watch.call(raw(7)) == []
    assert watch.end("teardown", raw(7, **signaled(9))) == []
    assert watch.clock.slept == []


def test_what_is_listed_as_running_for_a_moment_after_its_kill_is_no_leak():
    watch = Watch()
    watch.begin("a")
    watch.call(raw(7))
    watch.box.later = {watch.box.looks + 5: [raw(7, **signaled(9))]}
    assert watch.end("teardown") == []
    assert 0.07 < sum(watch.clock.slept) < 0.1


def test_what_a_fixture_begins_may_outlive_the_test():
    watch = Watch()
    watch.begin("a")
    watch.box.rows = [raw(7)]
    assert watch.call(fixtures=True) == []
    assert watch.end("teardown") == []
    assert watch.clock.slept == []


def test_what_a_fixture_of_wider_scope_begins_within_a_call_may_outlive_it_too():
    watch = Watch()
    watch.begin("a")
    watch.begin_call()
    with watch.guard.exempting():
        watch.box.rows = [raw(7)]
    assert watch.end("call", raw(7), raw(8)) == []
    assert watch.end("teardown") == ["leak 8"]


def test_what_begins_in_a_teardown_is_no_leak():
    watch = Watch()
    watch.begin("a")
    watch.call()
    assert watch.end("teardown", raw(7)) == []


def test_a_managed_process_that_waits_for_its_restart_is_a_leak():
    watch = Watch()
    assert watch.test("a", raw(7, **ended(1), managed=managed(status="backing_off"))) == ["leak 7"]


# Settling


def test_an_end_in_doubt_is_looked_at_until_it_is_known():
    watch = Watch(raw(1))
    watch.begin("a")
    watch.box.later = {5: [oom(1)]}
    assert watch.call(raw(1, **ended(-1))) == ["oom 1"]
    assert 0 < sum(watch.clock.slept) < 0.1


def test_an_end_that_stays_in_doubt_costs_half_a_second_and_is_found_once_it_is_known():
    watch = Watch(raw(1))
    watch.begin("a")
    assert watch.call(raw(1, **ended(-1))) == []
    assert sum(watch.clock.slept) == pytest.approx(0.5)
    assert watch.end("teardown", oom(1)) == ["oom 1"]


def test_a_lost_end_delays_only_one_test_and_is_reported_when_its_oom_kill_shows():
    watch = Watch(raw(1))
    assert watch.test("a", raw(1, **ended(-1))) == []
    slept = len(watch.clock.slept)
    assert watch.test("b") == []
    assert len(watch.clock.slept) == slept
    assert watch.test("c", oom(1)) == ["oom 1"]


def test_nothing_is_settled_where_nothing_is_undecided():
    watch = Watch(raw(1), raw(2))
    assert watch.test("a", raw(1), raw(2, **ended(0)), raw(3, **ended(1))) == []
    assert watch.clock.slept == []


# Allowances


def test_what_a_marker_allows_is_told_with_its_reason_and_fails_nothing():
    watch = Watch(raw(1), raw(2))
    watch.begin("a", oom="the limit is under test")
    assert watch.call(oom(1), raw(2, **signaled(11))) == ["crash 2"]
    assert watch.reported() == [
        "a, call: oom of train.py (pid 1), reported in the test, allowed: the limit is under test",
        "a, call: crash of train.py (pid 2), reported in the test",
    ]


def test_a_block_allows_what_happens_within_it_and_no_more():
    watch = Watch(raw(1), raw(2))
    watch.begin("a")
    watch.begin_call()
    with watch.guard.allowing(("oom", "leak"), "meant"):
        watch.box.rows = [oom(1), raw(2), raw(3)]
    assert watch.end("call", oom(1), oom(2), raw(3), raw(4)) == ["oom 2"]
    assert watch.end("teardown") == ["leak 4"]
    assert watch.reported() == [
        "a, call: oom of train.py (pid 1), reported in the test, allowed: meant",
        "a, call: oom of train.py (pid 2), reported in the test",
        "a, teardown: leak of train.py (pid 3), reported in the test, allowed: meant",
        "a, teardown: leak of train.py (pid 4), reported in the test",
    ]


def test_a_block_allows_what_happened_in_it_also_where_it_is_left_by_an_error():
    watch = Watch(raw(1))
    watch.begin("a")
    watch.begin_call()
    with pytest.raises(ZeroDivisionError), watch.guard.allowing(("oom",), "meant"):
        watch.box.rows = [oom(1)]
        raise ZeroDivisionError
    assert watch.end("call") == []


def test_report_only_tells_and_fails_nothing():
    watch = Watch(raw(1), report_only=True)
    assert watch.test("a", oom(1)) == []
    assert watch.reported() == ["a, call: oom of train.py (pid 1), reported in the test"]


# Rules of one test


def test_a_test_without_rules_is_not_looked_at_and_its_end_is_no_ones():
    watch = Watch(raw(1), raw(2))
    assert watch.test("a") == []
    looks = watch.box.looks
    watch.begin("b", rules=())
    assert watch.call(oom(1), raw(2)) + watch.end("teardown") == []
    watch.end_test()
    assert watch.box.looks == looks
    assert watch.test("c") == []
    assert watch.test("d", oom(1), oom(2)) == ["oom 2"]


def test_without_rules_and_report_nothing_is_looked_at_at_all():
    watch = Watch(raw(1), rules=())
    assert watch.test("a", oom(1)) == []
    watch.monitor.end_session()
    assert watch.box.looks == 0


# Outside of tests


def test_what_happens_after_the_last_test_is_told_at_the_end():
    watch = Watch(raw(1))
    watch.test("a")
    watch.box.rows = [oom(1)]
    watch.monitor.end_session()
    assert watch.reported() == ["no test, None: oom of train.py (pid 1), reported in the session"]


def test_what_happens_in_a_test_that_is_broken_off_names_it():
    watch = Watch(raw(1))
    watch.begin("a")
    watch.begin_call()
    watch.box.rows = [oom(1)]
    watch.monitor.end_session()
    assert watch.reported() == ["a, call: oom of train.py (pid 1), reported in the session"]


# A shared sandbox


def test_in_a_shared_sandbox_only_what_the_test_started_is_pinned_on_it():
    watch = Watch(raw(1), shared=True)
    watch.begin("a")
    watch.box.history.note_start(process(2))
    assert watch.call(oom(1), oom(2)) == ["oom 2"]
    assert watch.reported() == [
        "no test, None: oom of train.py (pid 1), reported in the session",
        "a, call: oom of train.py (pid 2), reported in the test",
    ]


def test_in_a_shared_sandbox_a_process_of_an_earlier_test_is_not_this_ones():
    watch = Watch(shared=True)
    watch.begin("a")
    watch.box.history.note_start(process(2))
    watch.call(raw(2))
    watch.end("teardown")
    assert watch.test("b", oom(2)) == []
    assert watch.reported()[-1] == "no test, None: oom of train.py (pid 2), reported in the session"


def test_in_a_shared_sandbox_what_others_do_is_no_leak_and_settles_nothing():
    watch = Watch(shared=True)
    assert watch.test("a", raw(7), raw(8, **ended(-1))) == []
    assert watch.clock.slept == []


# Outages


@pytest.mark.parametrize("latency", [0.001, 60], ids=["refusing", "silent"])
@pytest.mark.parametrize("before", [0, 3], ids=["from the start", "after a while"])
def test_an_unreachable_sandbox_costs_a_suite_one_outage_budget(latency, before):
    watch = Watch(raw(1))
    for number in range(before):
        assert watch.test(f"good {number}") == []
    watch.box.fault, watch.box.latency = REFUSED, latency
    start = watch.clock.now
    for number in range(300):
        assert watch.test(f"test {number}") == []
    watch.monitor.end_session()
    assert watch.clock.now - start <= 30.5
    gap = watch.gap()
    assert gap["why"] == "my-sandbox cannot be reached: the connection was refused"
    assert (gap["from_test"], gap["to_test"], gap["tests"]) == ("test 0", None, 300)


def test_an_unreachable_sandbox_is_tried_once_a_test():
    watch = Watch(raw(1))
    watch.box.fault = REFUSED
    watch.test("a")
    looks = watch.box.looks
    for name in "bcd":
        watch.test(name)
    assert watch.box.looks == looks + 3
    assert watch.box.outage.left == 8.0  # the guard took 22 s of the 30 s; helpers have the rest


def test_a_fault_that_does_not_pass_is_not_waited_for():
    watch = Watch(raw(1))
    watch.box.fault = AuthenticationFailed("my-sandbox: 403")
    watch.test("a")
    assert watch.clock.slept == []
    assert [gap["why"] for gap in watch.monitor.take_data()["gaps"]] == ["my-sandbox: 403"]


def test_what_happened_while_no_one_looked_is_pinned_on_no_test():
    watch = Watch(raw(1), raw(2))
    watch.test("a")
    watch.box.fault = REFUSED
    watch.test("b")
    watch.box.fault = None
    watch.box.rows = [oom(1), raw(2)]
    assert watch.test("c") == []
    assert watch.test("d", oom(1), oom(2)) == ["oom 2"]
    facts = watch.monitor.take_data()
    assert [(found["test"], found["reported_in"]) for found in facts["findings"]] == [
        (None, "session"),
        ("d", "test"),
    ]
    [gap] = facts["gaps"]
    assert (gap["from_test"], gap["to_test"], gap["tests"]) == ("b", "c", 2)
    assert gap["from_at"] < gap["to_at"]


def test_a_sandbox_that_was_replaced_is_told_and_not_compared():
    watch = Watch(raw(41), raw(42))
    assert watch.test("a", raw(1, handle=41), oom(2, handle=42)) == []
    gap = watch.gap()
    assert gap["why"].startswith("it was replaced: ")
    assert (gap["from_test"], gap["to_test"]) == ("a", "a")
    assert watch.test("b", oom(1, handle=41), oom(2, handle=42)) == ["oom 1"]


def test_a_sandbox_that_lists_nothing_more_of_what_had_ended_is_another_as_well():
    watch = Watch(raw(41), raw(42, **ended(0)))
    assert watch.test("a", raw(1)) == []
    gap = watch.gap()
    assert gap["why"].startswith("it was replaced: ")


def test_an_oom_kill_in_a_sandbox_that_replaced_another_one_fails_the_test():
    watch = Watch(raw(41), raw(42, **ended(0)))
    watch.begin("a")
    watch.begin_call()
    watch.box.rows = [raw(1, handle=41)]
    watch.box.list()
    watch.box.rows = [oom(1, handle=41)]

    assert watch.end("call") == ["oom 1"]


def test_a_kill_that_takes_the_row_with_it_is_no_finding_and_no_gap():
    watch = Watch(raw(41))
    watch.begin("a")
    watch.call()
    watch.box.rows = []
    assert watch.end("teardown") == []
    watch.end_test()
    assert [*watch.monitor.take_data()] == ["sandboxes"]


def test_what_cannot_be_connected_to_is_told_once():
    watch = Watch()
    watch.begin("a")
    watch.monitor.add_unconnected("other", "no API key for other")
    watch.end_test()
    watch.test("b")
    gap = watch.gap()
    assert (gap["sandbox"], gap["why"]) == ("other", "no API key for other")
    assert (gap["from_test"], gap["to_test"], gap["tests"]) == ("a", None, 2)


def test_a_sandbox_of_one_worker_is_told_from_that_of_another():
    watch = Watch(raw(1), worker="gw1", recording=True)
    watch.begin("a")
    assert [*watch.monitor.take_data()["sandboxes"]] == ["my-sandbox@gw1"]
    shared = Watch(raw(1), worker="gw1", recording=True, shared=True)
    shared.begin("a")
    assert [*shared.monitor.take_data()["sandboxes"]] == ["my-sandbox"]


def test_the_longest_that_anything_is_settled_for_is_what_the_issue_allows():
    assert guard.LONGEST_SETTLING == 0.5


# A sandbox that the suite ends

OVER = [
    SandboxNotRunning("Sandbox my-sandbox is terminated", label="409"),
    SandboxNotFound("No sandbox my-sandbox", label="404"),
    REFUSED,
]


@pytest.mark.parametrize("fault", OVER, ids=["terminated", "not found", "refused"])
def test_a_sandbox_that_a_fixture_of_the_suite_ends_is_no_gap_and_is_not_asked_again(fault):
    watch = Watch(raw(1), of_suite=True)
    assert watch.test("a") == []
    watch.begin("b")
    assert watch.call(oom(1)) == ["oom 1"]
    watch.box.fault = fault
    assert watch.end("teardown") == []
    watch.end_test()
    looks = watch.box.looks
    assert watch.test("c") == []
    watch.monitor.end_session()

    assert watch.box.looks == looks
    assert watch.clock.slept == []
    assert "gaps" not in watch.monitor.take_data()


def test_a_sandbox_that_the_command_line_named_is_not_for_the_suite_to_end():
    watch = Watch(raw(1))
    watch.begin("a")
    watch.call()
    watch.box.fault = OVER[0]
    watch.end("teardown")

    gap = watch.gap()
    assert (gap["why"], gap["guarded"]) == ("Sandbox my-sandbox is terminated", True)


@pytest.mark.parametrize(("first", "fails"), [("b", False), ("a", True)])
def test_one_that_is_ended_within_a_call_is_told_and_fails_the_session_if_it_was_there_before(
    first, fails
):
    watch = Watch(raw(1), of_suite=True)
    if first == "a":
        watch.test("a")
    watch.begin("b")
    watch.box.fault = OVER[0]
    assert watch.call() == []
    assert watch.end("teardown") == []
    watch.end_test()
    watch.test("c")

    gap = watch.gap()
    assert gap["why"] == (
        "it was ended before the call was; ended by a fixture, it is watched to the end of the call"
    )
    assert (gap["from_test"], gap["to_test"], gap["tests"]) == ("b", "b", 1)
    assert gap["guarded"] is fails


def test_one_that_had_only_seemed_to_have_ended_is_watched_again_and_the_gap_is_told():
    watch = Watch(raw(1), raw(2), of_suite=True)
    watch.begin("a")
    watch.call()
    watch.box.fault = REFUSED
    watch.end("teardown")
    watch.end_test()
    watch.begin("b")
    watch.box.fault = None
    watch.box.look()  # a helper of the test finds it there
    assert watch.call(oom(1), raw(2)) == []  # whenever that was
    watch.end("teardown")
    watch.end_test()
    assert watch.test("c", oom(1), oom(2)) == ["oom 2"]

    gap = watch.gap()
    assert gap["why"] == "my-sandbox cannot be reached: the connection was refused"
    assert (gap["from_test"], gap["to_test"], gap["guarded"]) == ("b", "b", True)


def test_one_that_sleeps_has_not_ended():
    watch = Watch(raw(1), of_suite=True)
    watch.begin("a")
    watch.call()
    watch.box.fault = SandboxNotRunning("Sandbox my-sandbox is suspended", transient=True)
    watch.end("teardown")

    assert watch.clock.slept != []
    assert len(watch.monitor.take_data()["gaps"]) == 1
