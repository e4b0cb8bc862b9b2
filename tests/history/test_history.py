"""Test which run a row belongs to, which incidents are new, and which runs are hidden."""

import re

import pytest

from pytest_tlsandbox import by, errors
from pytest_tlsandbox.history.history import History
from tests.support import T0, box_of, ended, failure, raw, signaled, snapshot

from .helpers import backing_off, history_of, last, over, running, watched, web


def incidents_of(history):
    """Return the incidents since the first list call, each as kind, name or pid, and run number."""
    shown = []
    for incident in history.incidents(history.first.position):
        run = incident.run
        mark = "assumed " if run.assumed else "own " if incident.caused_here else ""
        shown.append(f"{mark}{incident.kind} {run.generation.id or run.row.pid}/{run.number}")
    return ", ".join(shown)


FIRST, FULL, DB = web(7), web(7, restart_count=5), web(3, name="db")
NEW = web(8, start=10_000)
CRASHED = running(8, 10_000, 1, last_exit=last(-11))
KILLED = running(9, 20_000, 2, last_exit=last(-9, 19_000))
LATER, SEGFAULT = raw(9, started_at=T0 + 20_000), signaled(11, ended_at=T0 + 30_000)
STOPPED = running(8, 10_000, 1, last_exit=last(-15))
GAVE_UP = over(7, count=5, name=None, last_error="restart limit reached")
TWICE = {"name": None, "restart": {"policy": "always", "max_restarts": 1}}
LOST = web(7, "stopped", restart_count=5, last_exit=last(), end=None)
AGAIN = web(8, start=10_000, restart_count=6, last_exit=last())
ASSUMED = over(9, "backing_off", 10_000, count=2)
UNCOUNTED = [
    over(7, "running", code=0, name=None), over(8, "backing_off", 10_000, name=None),
    running(9, 20_000, 0, name=None),
]  # fmt: skip

# fmt: off
CASES = {
    # Which incidents are new.
    "end that no list call saw before a restart": (
        [[FIRST], [backing_off(8, 10_000, 1)]], "unseen_end web/0, restart web/0"),
    "OOM flag that appears on an old end": (
        [[raw(1, **ended(0))], [raw(1, **ended(0, oom_killed=True))]], "oom 1/0"),
    "restart under a name that is used again": (
        [[running(7, 0, 3)], [running(9, 10_000, 2, last_exit=last(-11, 12_000))]],
        "unseen_end web/0, restart web/0, unseen_end web/3, crash web/1, restart web/1"),
    "end that was visible at the baseline": (
        [[over(7, "backing_off")], [over(8, start=10_000, count=1)]], "restart web/0"),
    **{f"end that the sandbox lost: {end}": ([[raw(1)], [raw(1, **end)]], "lost_end 1/0")
       for end in (ended(-1), ended(None), signaled(None))},

    # When a supervisor gave up.
    "supervisor that somebody stopped": ([[FULL], [over(7, code=-15, count=5)]], ""),
    "supervisor that reports that it gave up": (
        [[FULL], [over(7, code=-15, count=5, last_error="restart limit reached")]], "gave_up web/5"),
    "supervisor that gave up after an OOM kill": (
        [[FULL], [web(7, "stopped", restart_count=5) | {"status": "oom_killed", "ended_at": T0 + 9000}]],
        "oom web/5, gave_up web/5"),
    "supervisor that gave up, as an end shows only after another restart": (
        [[FULL], [LOST], [LOST, AGAIN], [over(7, count=5), AGAIN]], "restart web/5, gave_up web/5"),
    "supervisor that was stopped while it backed off": (
        [[web(7, **TWICE)], [backing_off(7, 0, 1, **TWICE)], [over(7, count=1, **TWICE)],
         [backing_off(8, 10_000, 2, **TWICE)]], "restart p-7f/0"),
    "supervisor that gave up earlier, and is restarted": (
        [[GAVE_UP], [GAVE_UP, over(8, "running", 10_000, code=-15, count=5, name=None)]], "restart p-7f/5"),

    # Which runs are hidden.
    "run that is being restarted, with the count of the next run": ([[], [over(7, "starting", count=1)]], ""),
    # Some daemons count a restart when the backoff begins, and again for a manual restart.
    "end that the supervisor still reports after the next restart": (
        [[FIRST], [backing_off(7, 0, 1)], [running(8, 10_000, 2)]], "restart web/0"),
    # Another client restarted the process, but this daemon does not count manual restarts.
    "process that backs off at count 0, which shows how the daemon counts": (
        [[], UNCOUNTED, [*UNCOUNTED, backing_off(11, 30_000, 1, name="api")]],
        "restart p-7f/0, restart p-7f/1, unseen_end api/0, restart api/0"),
    "restart that was counted and cancelled": (
        [[web(7, name=None)], [backing_off(7, 0, 1, name=None)], [over(7, count=1, name=None)],
         [running(9, 20_000, 3, name=None)]], "restart p-7f/0, restart p-7f/1"),
    "row that lags behind the restart count": (
        [[FIRST], [web(7, "stopped", restart_count=1, last_exit=last(1))]], ""),
    "ends one millisecond apart, of two runs": (
        [[FIRST], [over(7, code=-15), web(8, "stopped", 9000, end=-9, at=9001, last_exit=last(-9, 9001))]],
        "suspected_oom web/0"),
    "new deployment whose row does not show its end yet": ([[over(7, "backing_off", code=0)],
         [over(7, code=0), web(8, "backing_off", 10_000, last_exit=last(3, 11_000))]], ""),
    "run between two that back off, hidden however the daemon counts": (
        [[backing_off(7, 0, 3)], [backing_off(9, 40_000, 5)], [running(10, 50_000, 5)]],
        "restart web/2, unseen_end web/3, restart web/3, restart web/4"),
    "run that is hidden because another process shows that the daemon counts early": (
        [[backing_off(7, 0, 2), DB], [backing_off(7, 0, 2), backing_off(3, 0, 1, name="db")],
         [running(9, 30_000, 3, last_exit=last(1, 29_000)), backing_off(3, 0, 1, name="db")]],
        "restart web/1, restart web/2"),
    "run that is hidden only if the daemon counts early": (
        [[backing_off(7, 0, 3)], [running(10, 50_000, 5)]],
        "restart web/3, restart web/5, assumed unseen_end web/4, assumed restart web/4"),
    "assumed run, until the daemon is known to count early": (
        [[FIRST, DB], [web(7, end=1), DB], [ASSUMED, DB], [ASSUMED, backing_off(3, 0, 1, name="db")]],
        "restart web/0"),

    # Processes are sorted by their start.
    "two crashes that one list call shows": (
        [[FIRST], [CRASHED, LATER], [CRASHED | SEGFAULT, LATER | SEGFAULT]],
        "restart web/0, crash web/0, crash web/1, crash 9/0"),

    # Own actions.
    "ends and restarts after own signals": (
        [[FIRST], ("signals", FIRST, 11), [CRASHED], ("signals", CRASHED, 9), [KILLED]],
        "own restart web/0, own crash web/0, own restart web/1, own suspected_oom web/1"),
    "requested run that is listed before the request returns": (
        [[FIRST], [STOPPED], ("restart", FIRST, STOPPED)], "own restart web/0"),
    "crash that a requested restart found, after an own signal": (
        [[FIRST], ("signals", FIRST, 11), ("restart", FIRST, CRASHED), [CRASHED]],
        "own restart web/0, own crash web/0"),
    "requested restart of a process that has no supervisor": (
        [[raw(7)], ("restart", raw(7), LATER), [LATER]], "own unseen_end 7/0, own restart 7/0"),
    "process that was replaced by a start under its name": (
        [[FIRST], ("start", NEW), [NEW]], "unseen_end web/0"),
}
# fmt: on


@pytest.mark.parametrize(("steps", "incidents"), CASES.values(), ids=CASES.keys())
def test_history_finds_the_right_incidents_after_list_calls_and_test_actions(steps, incidents):
    assert incidents_of(history_of(*steps)) == incidents


def test_assumed_run_can_still_be_shown_after_it_turned_out_not_to_exist():
    history = history_of([FIRST, DB], [web(7, end=1), DB], [ASSUMED, DB])
    [assumed] = {each.run for each in history.incidents(0) if each.run.assumed}

    history.fold(snapshot(ASSUMED, backing_off(3, 0, 1, name="db"), at=3.0))
    before, after = assumed.generation.runs
    assert before.successor is after
    assert repr(assumed) == "<Run 2 of web: never listed, no end seen>"


def test_process_is_not_expected_to_restart_if_a_new_process_uses_its_name():
    old, new = over(7, "backing_off"), web(8, start=10_000)
    watched([old], [old, new]).assert_not_running(snapshot(old)[0])

    lagging = web(7, "stopped", last_exit=last(-15))
    new = raw(8, "web2", (), managed=new["managed"])
    watched([FIRST], [lagging, new]).assert_no_restart(re.compile("^web$"))


def test_unnamed_managed_process_does_not_hide_other_matching_processes():
    job, other = web(7, name=None), raw(8, "job", (), started_at=T0 + 1)
    box, both = watched([], [job | ended(0), other]), watched([], [job, other])

    failure(lambda: box.assert_not_running(by(command="job")), errors.AssertionFailed)
    for selector in (by(command="job"), lambda row: row.command == "job"):
        failure(lambda: both.assert_process(selector, status="running"), errors.AmbiguousProcess)  # noqa: B023


def test_snapshot_from_another_sandbox_is_rejected_as_a_baseline():
    other, box = box_of([raw(1)]).list_processes(), box_of([raw(1)])

    assert str(failure(lambda: box.assert_no_oom(since=other), errors.InvalidArgument)) == (
        "argument 'since' must be a snapshot of this sandbox, got a snapshot of another sandbox"
    )


def test_runs_of_a_process_stay_in_order_even_if_the_first_row_is_listed_late():
    rows = [
        over(7, code=0), backing_off(8, 10_000, 0), over(9, start=20_000, code=0, count=1),
        web(10, start=30_000),
    ]  # fmt: skip
    history = history_of([FIRST], ("start", rows[3]), rows)

    run = history.run_of(snapshot(rows[2])[0])
    assert [each.row.pid for each in run.generation.runs] == [8, 9]


# Another sandbox that answers in place of the first one

JOB_3, OVER_4 = raw(41, handle=3), raw(42, handle=4, **ended(0))
OTHER = raw(50, handle=3, started_at=T0 + 60_000)
FRESH = raw(50, handle=9, started_at=T0 + 60_000)
WEB_3 = {**web(7), "handle": 3}


REPLACED = [
    ([[JOB_3, OVER_4], [OTHER]], True),
    ([[JOB_3, OVER_4], [OTHER, JOB_3]], False),
    ([[JOB_3, OVER_4], [OTHER, {"status": "running"}]], False),  # an unreadable row
    # A kill removes the row of a living process; other rows vanish only with the daemon.
    ([[JOB_3, OVER_4], [FRESH]], True),
    ([[JOB_3], [FRESH]], False),
    ([[JOB_3], ("signals", JOB_3, 9), [OTHER]], False),
    ([[JOB_3], ("signals", JOB_3, 15), [OTHER]], True),
    ([[JOB_3, OVER_4], [OVER_4]], False),
    ([[OVER_4], [OTHER]], False),
    ([[], [OTHER]], False),
    # A managed process may keep its handle across a restart.
    ([[WEB_3], [{**web(8), "handle": 3}]], False),
    ([[WEB_3], [{**web(8, name="db"), "handle": 3}]], True),
    ([[WEB_3], [raw(8, handle=3)]], True),
    ([[raw(41, handle=None)], [{**FRESH, "handle": None}]], False),
]


@pytest.mark.parametrize(("steps", "replaced"), REPLACED)
def test_sandbox_counts_as_replaced_if_all_rows_vanished_and_a_handle_was_reused(steps, replaced):
    history = history_of(*steps)
    assert (history.replaced_at == history.position) is replaced


# How the rest of the plugin finds a run


def test_row_that_vanished_and_reappeared_counts_as_listed():
    first, again = raw(1), raw(1, started_at=T0 + 5000)
    lists = [first, raw(2)], [raw(2)], [again, raw(2)], [raw(2)]

    assert history_of(*lists).vanished_with(1).row.identity == snapshot(again)[0].identity
    history = history_of(*lists, [again, raw(2)])
    assert history.vanished_with(1).row.identity == snapshot(first)[0].identity
    assert history.vanished_with(2) is None


def test_started_process_counts_as_vanished_if_the_next_list_call_does_not_show_it():
    assert history_of(("start", raw(1)), [raw(2)]).vanished_with(1)


def test_every_listed_run_is_known_even_if_it_never_changed():
    assert [run.row.pid for run in history_of([raw(1), raw(2)]).runs()] == [1, 2]


def test_run_is_found_even_if_its_handle_is_missing_or_its_row_has_vanished():
    identity = snapshot(JOB_3)[0].identity
    assert History(lambda: 0.0).find(identity) is None
    history = history_of([JOB_3, OVER_4])

    assert history.find(identity).row.pid == 41
    assert history.find(identity._replace(handle=None)).row.pid == 41
    assert history.find(identity._replace(pid=99)) is None
    history.fold(snapshot(OVER_4))
    assert history.find(identity).state == "not listed"


def test_change_in_the_row_of_an_older_run_does_not_change_the_supervisor_state():
    old, newest = backing_off(7, 0, 0), over(8, start=10_000, code=0, count=1)
    history = history_of([FIRST], [old], [old, newest], [old | {"oom_killed": True}, newest])

    run = history.run_of(snapshot(newest)[0])
    assert [each.end.oom_killed for each in run.generation.runs] == [True, False]
    assert not run.generation.alive


# Rows that cannot be read


@pytest.mark.parametrize(
    ("odd", "gone"),
    [({"pid": 1, "status": "running"}, [2]), ({"status": "running"}, []), (raw(4), [1, 2])],
    ids=["its pid", "no pid", "readable"],
)
def test_process_does_not_count_as_vanished_if_an_unreadable_row_may_describe_it(odd, gone):
    history = history_of([raw(1), raw(2), raw(3)], [raw(3), odd])

    assert [pid for pid in (1, 2) if history.vanished_with(pid)] == gone
