"""The history: which run a row belongs to, which incidents are new, and which runs are hidden."""

from __future__ import annotations

import re

import pytest

from pytest_tlsandbox import by, errors
from pytest_tlsandbox.history.history import History
from pytest_tlsandbox.history.snapshot import ProcessSnapshot
from tests.support import T0, box_of, ended, failure, managed, pass_time, raw, signaled, snapshot


def last(code=None, signal=None, *, oom=False, at=9000):
    return {"exit_code": code, "signal": signal, "oom_killed": oom, "ended_at": T0 + at}


def web(pid, status="running", start=0, name="web", end=None, **supervised):
    """Return a row of a managed process; ``end`` contains the fields that show its end."""
    fields = {"started_at": T0 + start, "managed": managed(name, status, **supervised)}
    return raw(pid, name or "job", (), **fields, **(end or {}))


def exited(code=1, at=9000):
    return {"end": ended(code, ended_at=T0 + at)}


def killed(number, at=9000):
    return {"end": signaled(number, ended_at=T0 + at)}


def later(*rows, before=()):
    """Return a sandbox that listed ``before`` when the test began, and lists ``rows`` now."""
    return pass_time(box_of({0: list(before), 1: list(rows)}).from_now())


def watched(*lists):
    """Return a sandbox after one list call for each of the lists; the test began at the first."""
    box = box_of(dict(enumerate(lists))).from_now()
    for _ in lists:
        box.list_processes()
        pass_time(box)
    return box


def first_line(call, error) -> str:
    return failure(call, error).first_line


# Which processes match


def test_unnamed_managed_process_does_not_hide_another_match():
    unnamed = web(7, name=None)
    other = raw(8, "job", (), started_at=T0 + 1)
    box = box_of({0: [{**unnamed, **ended(0)}, other]})

    assert first_line(lambda: box.assert_not_running(by(command="job")), errors.AssertionFailed)
    both = box_of({0: [unnamed, other]})
    failure(
        lambda: both.assert_process(by(command="job"), status="running"), errors.AmbiguousProcess
    )
    failure(
        lambda: both.assert_process(lambda row: row.command == "job", status="running"),
        errors.AmbiguousProcess,
    )


# Incidents since a position


def test_unseen_end_before_a_restart_is_inconclusive():
    row = web(8, "backing_off", 10_000, restart_count=1, last_exit=last(1, at=12_000))
    box = later({**row, **ended(1, ended_at=T0 + 12_000)}, before=[web(7)])

    assert first_line(box.assert_no_oom, errors.Inconclusive) == (
        "Not observed: the end of web, first run"
    )
    assert first_line(box.assert_no_crash, errors.Inconclusive)


def test_oom_flag_that_appears_on_an_old_end_is_a_new_incident():
    box = later(raw(1, **ended(0, oom_killed=True)), before=[raw(1, **ended(0))])

    assert first_line(box.assert_no_oom, errors.ProcessOOMKilled) == (
        "OOM-killed: train.py (pid 1)"
    )


def test_restart_by_this_plugin_does_not_fail_later_tests():
    again = web(8, start=10_000, restart_count=1, last_exit=last(signal=15))
    over = web(
        8, "stopped", 10_000, restart_count=1, last_exit=last(0, at=12_000), **exited(0, 12_000)
    )
    box = box_of({0: [web(7)], 1: [again], 2: [over]})
    box._history.note_restart(box.list_processes()[0], snapshot(again)[0])
    pass_time(box, 2)

    box.assert_no_oom()
    box.from_now().assert_no_oom(suspected=True)
    box.assert_no_restart()


def test_restart_under_a_reused_name_fails_assert_no_restart():
    before = web(7, restart_count=3, last_exit=last(1, at=-5000))
    after = web(9, start=10_000, restart_count=2, last_exit=last(signal=11, at=12_000))
    box = later(after, before=[before])

    assert "Restarted: " in first_line(box.assert_no_restart, errors.ProcessRestarted)


def test_signals_that_this_test_sends_to_a_managed_process_cause_no_incidents():
    script = {
        0: [web(7)],
        1: [web(8, start=10_000, restart_count=1, last_exit=last(signal=11))],
        2: [web(9, start=20_000, restart_count=2, last_exit=last(signal=9, at=19_000))],
    }
    box = box_of(script)
    box.send_signal("web", 11)
    pass_time(box)
    box.assert_no_crash()
    box.send_signal("web", 9)
    pass_time(box)

    box.assert_no_oom(suspected=True)
    box.assert_no_incidents()


def test_deliberately_stopped_supervisor_did_not_give_up():
    over = web(7, "stopped", restart_count=5, last_exit=last(signal=15), **killed(15))
    later(over, before=[web(7, restart_count=5)]).assert_no_crash()

    gave_up = {**over, "managed": {**over["managed"], "last_error": "restart limit reached"}}
    box = later(gave_up, before=[web(7, restart_count=5)])
    assert first_line(box.assert_no_crash, errors.ProcessCrashed) == "Crashed: web (pid 7)"


def test_supervisor_that_gave_up_after_an_oom_kill_counts_as_a_crash():
    over = web(7, "stopped", restart_count=5, end={"status": "oom_killed", "ended_at": T0 + 9000})
    box = later(over, before=[web(7, restart_count=5)])

    assert first_line(box.assert_no_crash, errors.ProcessCrashed) == "Crashed: web (pid 7)"


def test_supervisor_gave_up_even_if_the_end_appears_only_after_a_manual_restart():
    spent = {"restart_count": 5, "status": "stopped"}
    lost = web(7, **spent, **exited(None), last_exit=last())
    known = web(7, **spent, **exited(1), last_exit=last(1))
    again = web(8, start=10_000, restart_count=6, last_exit=last())
    box = watched([web(7, restart_count=5)], [lost], [lost, again], [known, again])

    assert first_line(box.assert_no_crash, errors.ProcessCrashed) == "Crashed: web, restart 5"


def test_supervisor_that_was_stopped_while_it_backed_off_did_not_give_up():
    kind = {"name": None, "restart": {"policy": "always", "max_restarts": 1}}
    ending = {**kind, "restart_count": 1, **exited(1), "last_exit": last(1)}
    second = {"restart_count": 2, **exited(1, 19_000), "last_exit": last(1, at=19_000)}
    box = watched(
        [web(7, **kind)],
        [web(7, "backing_off", **ending)],
        [web(7, "stopped", **ending)],
        [web(8, "backing_off", 10_000, **kind, **second)],
    )

    box.assert_no_crash()


def test_supervisor_that_gave_up_earlier_does_not_count_again_during_a_restart():
    spent = {"name": None, "restart_count": 5}
    why = {"last_exit": last(1), "last_error": "restart limit reached"}
    gave_up = web(7, "stopped", **spent, **exited(1), **why)
    ended_by_restart = {**killed(15, 19_000), "last_exit": last(signal=15, at=19_000)}
    restarting = web(8, "running", 10_000, **spent, **ended_by_restart)
    box = later(gave_up, restarting, before=[gave_up])

    box.assert_no_crash()


def test_end_that_was_visible_at_the_baseline_is_not_counted_again():
    waiting = web(7, "backing_off", last_exit=last(1), **exited(1))
    over = web(
        8, "stopped", 10_000, restart_count=1, last_exit=last(1, at=12_000), **exited(1, 12_000)
    )

    later(over, before=[waiting]).assert_no_oom()


def test_oom_kill_in_an_older_row_is_found():
    old, new = (
        web(7, "backing_off", last_exit=last(signal=9), **killed(9)),
        web(8, start=10_000, restart_count=1, last_exit=last(signal=9)),
    )
    shown = {**old, "status": "oom_killed", "oom_killed": True}
    box = later(shown, new, before=[web(7)])

    assert first_line(box.assert_no_oom, errors.ProcessOOMKilled) == "OOM-killed: web, first run"


def test_pid_selects_its_run_even_if_a_newer_run_is_listed():
    old = web(7, "backing_off", last_exit=last(1), **exited(1))
    new = web(8, start=10_000, restart_count=1, last_exit=last(1))
    box = box_of({0: [old], 0.5: [old, new]})

    assert box.assert_stays(7, stable_for=1, status="exited").pid == 7


# Ends that the sandbox lost


LOST = [ended(-1), ended(None), signaled(None)]


@pytest.mark.parametrize("end", LOST, ids=["-1", "no code", "no signal"])
def test_lost_end_counts_as_suspected_oom_kill_on_request(end):
    box = later(raw(1, **end), before=[raw(1)])

    assert first_line(lambda: box.assert_no_oom(suspected=True), errors.ProcessOOMKilled) == (
        "Suspected to be OOM-killed: train.py (pid 1)"
    )


def test_lost_end_of_an_unselected_process_is_logged(caplog):
    box = later(raw(1, **ended(-1)), before=[raw(1)])

    with caplog.at_level("INFO", "pytest_tlsandbox"):
        box.assert_no_crash()

    assert "1 end unknown: train.py (pid 1)" in caplog.messages


def test_lost_end_of_a_process_that_the_test_started_is_inconclusive():
    box = box_of({0: [], 1: [raw(1)], 2: [raw(1, **ended(-1))]})
    box.start_process("python", ["train.py"])
    pass_time(box)

    assert first_line(box.assert_no_incidents, errors.Inconclusive)


# Rows that vanish


def test_assert_not_running_is_inconclusive_if_the_row_vanished():
    box = box_of({0: [raw(1), raw(2)], 1: [raw(2)]})
    job = box.list_processes()[0]
    pass_time(box)

    assert first_line(lambda: box.assert_not_running(job), errors.Inconclusive) == (
        "Not observed: the end of train.py (pid 1)"
    )


def test_assert_not_running_passes_if_a_killed_process_vanished():
    box = box_of({0: [raw(1), raw(2)], 1: [raw(2)]})
    job = box.list_processes()[0]
    box.kill_process(job)
    pass_time(box)

    box.assert_not_running(job)


# An OOM kill hidden by a restart


def test_oom_kill_of_a_hidden_run_is_reported_as_such():
    again = web(9, start=20_000, restart_count=2, last_exit=last(signal=9, oom=True, at=19_000))
    box = later(again, before=[web(7)])

    error = failure(lambda: box.assert_no_oom(), errors.ProcessOOMKilled)

    text = str(error)
    assert text.splitlines()[0] == "OOM-killed: web, restart 1"
    assert "run      restart 1, no list call saw it, so its pid is not known, OOM-killed" in text
    assert "output   not read: its pid is not known" in text


# Bounds


def test_older_rows_with_the_state_of_the_newest_run_add_no_hidden_run():
    """The embedded sandbox lists older rows like this for a moment."""
    now = {"restart_count": 1, "last_exit": last(1)}
    box = later(web(7, **now, **exited()), web(8, start=10_000, **now))

    box.assert_no_crash()
    line = first_line(box.assert_no_restart, errors.ProcessRestarted)
    assert line == "Restarted: web, first run"


def test_run_that_is_being_restarted_may_show_the_count_of_the_next_run():
    now = {"restart_count": 1, "last_exit": last(1)}
    box = later(web(7, "starting", **now, **exited()))

    box.assert_no_restart("web")


def test_no_hidden_run_is_added_after_the_end_that_the_supervisor_reports():
    """Some daemons count a restart when they start to back off, and again for a manual restart."""
    ending = {"last_exit": last(1), "restart_count": 1}
    box = watched(
        [web(7)],
        [web(7, "backing_off", **ending, **exited())],
        [web(8, start=10_000, **{**ending, "restart_count": 2})],
    )

    box.assert_no_crash()


def test_backing_off_at_count_0_shows_how_the_daemon_counts():
    """Another client restarted the process, and this daemon does not count manual restarts."""
    first = web(7, "running", **exited(), name=None, last_exit=last(0))
    ending = {"name": None, "last_exit": last(1, at=19_000)}
    waited = web(8, "backing_off", 10_000, **exited(1, 19_000), **ending)
    again = web(9, start=20_000, **ending)
    api = {"name": "api", "restart_count": 1, **exited(1, 39_000)}
    waiting = web(11, "backing_off", 30_000, **api, last_exit=last(1, at=39_000))
    box = watched([], [first, waited, again], [first, waited, again, waiting])

    line = first_line(lambda: box.assert_no_restart("api"), errors.ProcessRestarted)
    assert line == "Restarted: api, first run"


def test_restart_that_was_counted_and_cancelled_adds_no_hidden_run():
    ending = {"name": None, "last_exit": last(0), **exited(0)}
    box = watched(
        [web(7, name=None)],
        [web(7, "backing_off", restart_count=1, **ending)],
        [web(7, "stopped", restart_count=1, **ending)],
        [web(9, start=20_000, name=None, restart_count=3, last_exit=last(0, at=19_000))],
    )

    box.assert_no_crash()


def test_row_that_lags_behind_the_restart_count_adds_no_hidden_run():
    box = later(web(7, "stopped", restart_count=1, last_exit=last(1)), before=[web(7)])

    box.assert_no_restart()
    box.assert_no_crash()


def test_ends_one_millisecond_apart_belong_to_two_runs():
    spent = web(7, "stopped", **killed(15), last_exit=last(signal=15))
    again = web(8, "stopped", 9000, **killed(9, 9001), last_exit=last(signal=9, at=9001))
    box = later(spent, again, before=[web(7)])

    box.assert_no_restart()


def test_new_deployment_whose_row_does_not_show_its_end_yet_is_not_a_restart():
    waiting = web(7, "backing_off", **exited(0), last_exit=last(0))
    stopped = web(7, "stopped", **exited(0), last_exit=last(0))
    again = web(8, "backing_off", 10_000, last_exit=last(3, at=11_000))
    box = later(stopped, again, before=[waiting])

    box.assert_no_restart()


def test_rows_that_are_listed_late_replace_hidden_runs():
    stopped = last(signal=15, at=39_000)
    rows = [
        web(7, "backing_off", **exited(1), last_exit=last(1)),
        web(
            8,
            "backing_off",
            10_000,
            **exited(0, 19_000),
            restart_count=1,
            last_exit=last(0, at=19_000),
        ),
        web(9, start=20_000, **killed(15, 39_000), restart_count=2, last_exit=stopped),
        web(10, start=40_000, restart_count=3, last_exit=stopped),
    ]
    box = box_of({0: rows[:1], 1: rows})
    box._history.note_restart(box.list_processes()[0], snapshot(rows[3])[0])
    pass_time(box)

    box.list_processes()
    assert {run.row.pid: run.number for run in box._history.runs()} == {7: 0, 8: 1, 9: 2, 10: 3}
    box.assert_no_crash()


def test_start_under_a_used_name_ends_the_process_that_had_the_name():
    box = box_of({0: [web(7)], 1: [web(8, start=10_000)]})
    box.list_processes()
    box._history.note_start(snapshot(web(8, start=10_000))[0])
    pass_time(box)

    line = first_line(lambda: box.assert_no_crash("web"), errors.Inconclusive)
    assert line == "Not observed: the end of web (pid 7)"


def test_process_whose_name_was_taken_does_not_wait_for_a_restart():
    old = web(7, "backing_off", last_exit=last(1), **exited())
    box = later(old, web(8, start=10_000), before=[old])
    row = snapshot(old)[0]

    box.assert_not_running(row)


def test_process_with_a_lagging_row_stays_selected_when_its_name_is_taken():
    over = web(7, "stopped", last_exit=last(signal=15))
    box = later(over, raw(8, "web2", (), managed=managed("web")), before=[web(7)])
    box.assert_no_restart(re.compile("^web$"))


def test_unseen_deployment_keeps_the_order_of_its_runs():
    stopped = last(0, at=29_000)
    rows = [
        web(7, "stopped", last_exit=last(0), **exited(0)),
        web(8, "backing_off", 10_000, **exited(1, 19_000), last_exit=last(1, at=19_000)),
        web(9, "stopped", 20_000, **exited(0, 29_000), restart_count=1, last_exit=stopped),
        web(10, start=30_000),
    ]
    box = box_of({0: [web(7)], 1: rows})
    box.list_processes()
    box._history.note_start(snapshot(rows[3])[0])
    pass_time(box)

    box.list_processes()
    runs = {run.row.pid: run for run in box._history.runs()}
    assert runs[8].generation is runs[9].generation
    assert [run.row.pid for run in runs[9].generation.runs] == [8, 9]


def test_history_of_a_crash_loop_is_bounded():
    rows = [
        web(
            turn + 1,
            start=turn * 1000,
            restart_count=turn,
            last_exit=last(1, at=turn * 1000 - 500) if turn else None,
        )
        for turn in range(500)
    ]
    box = watched(*([row] for row in rows))
    history = box._history

    assert len(history.run_of(history.last[0]).generation.runs) <= 101
    assert len(history.incidents(0)) == 499
    assert not history.forgot_since(0)


def test_snapshot_of_another_client_is_rejected():
    other, box = box_of([raw(1)]).list_processes(), box_of([raw(1)])

    assert first_line(lambda: box.assert_no_oom(since=other), errors.InvalidArgument) == (
        "since must be a snapshot of this sandbox, got a snapshot of another sandbox"
    )


# Another sandbox that answers in place of the first one

JOB, OVER = raw(41, handle=3), raw(42, handle=4, **ended(0))
OTHER = raw(50, handle=3, started_at=T0 + 60_000)
FRESH = raw(50, handle=9, started_at=T0 + 60_000)


@pytest.mark.parametrize(
    ("before", "after", "replaced"),
    [
        ([JOB, OVER], [OTHER], True),
        ([JOB, OVER], [OTHER, JOB], False),
        # A kill removes the row of a living process; rows of ended ones vanish with the daemon.
        ([JOB, OVER], [FRESH], True),
        ([JOB], [FRESH], False),
        ([JOB, OVER], [OVER], False),
        ([OVER], [OTHER], False),
        ([], [OTHER], False),
        # A managed process may keep its handle across a restart.
        ([{**web(7), "handle": 3}], [{**web(8), "handle": 3}], False),
        ([{**web(7), "handle": 3}], [{**web(8, name="db"), "handle": 3}], True),
        ([{**web(7), "handle": 3}], [raw(8, handle=3)], True),
        ([raw(41, handle=None)], [raw(50, handle=None, started_at=T0 + 60_000)], False),
    ],
)
def test_sandbox_counts_as_replaced_if_all_rows_vanished_and_a_handle_was_reused(
    before, after, replaced
):
    history = History(lambda: 0.0)
    history.fold(snapshot(*before))
    history.fold(snapshot(*after))

    assert (history.replaced_at == history.position) is replaced


@pytest.mark.parametrize(("sent", "replaced"), [(9, False), (15, True)])
def test_sandbox_does_not_count_as_replaced_if_this_plugin_killed_the_living(sent, replaced):
    history = history_of([JOB])
    history.note_signal(snapshot(JOB)[0], sent)
    history.fold(snapshot(OTHER))

    assert (history.replaced_at > 0) is replaced


# How the rest of the plugin finds a run


def history_of(*lists):
    history = History(lambda: 0.0)
    for rows in lists:
        history.fold(snapshot(*rows))
    return history


def test_assert_not_running_by_pid_is_inconclusive_if_the_row_vanished():
    box = watched([raw(1), raw(2)], [raw(2)])

    assert first_line(lambda: box.assert_not_running(1), errors.Inconclusive) == (
        "Not observed: the end of train.py (pid 1)"
    )


def test_row_that_vanished_and_came_back_counts_as_listed():
    first, again = raw(1), raw(1, started_at=T0 + 5000)
    history = history_of([first, raw(2)], [raw(2)], [again, raw(2)], [raw(2)])
    assert history.vanished_with(1).row.identity == snapshot(again)[0].identity

    history.fold(snapshot(again, raw(2)))
    assert history.vanished_with(1).row.identity == snapshot(first)[0].identity
    assert history.vanished_with(2) is None


def test_run_is_found_without_its_handle_and_after_its_row_vanished():
    identity = snapshot(JOB)[0].identity
    assert History(lambda: 0.0).find(identity) is None
    history = history_of([JOB, OVER])

    assert history.find(identity).row.pid == 41
    assert history.find(identity._replace(handle=None)).row.pid == 41
    assert history.find(identity._replace(pid=99)) is None
    history.fold(snapshot(OVER))
    assert history.find(identity).state == "not listed"


# Answers of other calls than list calls


def test_restart_of_a_process_that_no_list_call_saw_is_no_incident():
    again = web(8, start=10_000, restart_count=1, last_exit=last(signal=15))
    history = History(lambda: 0.0)
    run = history.note_restart(snapshot(web(7))[0], snapshot(again)[0])
    history.fold(snapshot(again))

    first = run.generation.before(run)
    assert (first.row.pid, run.number) == (7, 1)
    assert all(incident.caused_here for incident in history.incidents(0))


def test_list_call_may_show_a_run_before_the_answer_to_its_start_or_restart():
    again = web(8, start=10_000, restart_count=1, last_exit=last(signal=15))
    box = watched([web(7)], [again, raw(1)])
    box._history.note_start(snapshot(raw(1))[0])
    box._history.note_restart(snapshot(web(7))[0], snapshot(again)[0])

    box.assert_no_restart()
    assert [run.number for run in box._history.started] == [0]
    assert sorted(run.row.pid for run in box._history.runs()) == [1, 7, 8]


# Which runs are hidden


@pytest.mark.parametrize("seen_before", [False, True])
def test_no_run_is_hidden_while_the_row_of_the_run_before_is_listed(seen_before):
    undated = {**last(1), "ended_at": None}
    again = web(8, start=10_000, restart_count=2, last_exit=undated)
    rows = snapshot(web(7, "running", **exited()), again)
    history = history_of([web(7)])
    if seen_before:
        history.fold(ProcessSnapshot(rows[:1]))  # the next list answer shares the unchanged row
    history.fold(rows)

    assert [run.number for run in history.runs()] == [0, 1]
    assert [incident.kind for incident in history.incidents(1)] == ["restart"]


def test_assumed_run_is_dropped_when_the_daemon_turns_out_to_count_early():
    ending = {"restart_count": 2, "last_exit": last(1, at=19_000)}
    waiting = web(9, "backing_off", 10_000, **exited(1, 19_000), **ending)
    db = {"name": "db", "restart_count": 1, "last_exit": last(1)}
    lists = [
        [web(7), web(3, name="db")],
        [web(7, **exited()), web(3, name="db")],
        [waiting, web(3, name="db")],
    ]
    box = watched(*lists)
    assert first_line(lambda: box.assert_no_crash("web"), errors.Inconclusive)

    box = watched(*lists, [waiting, web(3, "backing_off", **exited(), **db)])
    box.assert_no_crash("web")
    line = first_line(lambda: box.assert_no_restart("web"), errors.ProcessRestarted)
    assert line == "Restarted: web, first run"
    first, newest = box._history.run_of(snapshot(waiting)[0]).generation.runs
    assert first.successor is newest


def test_incidents_of_one_list_call_are_in_the_order_of_the_starts():
    again = {"restart_count": 1, "last_exit": last(1)}
    newest = web(8, start=10_000, **again)
    job = raw(9, started_at=T0 + 20_000)
    crashed = {**newest, **signaled(11, ended_at=T0 + 30_000)}
    history = history_of(
        [web(7)], [newest, job], [crashed, {**job, **signaled(11, ended_at=T0 + 30_000)}]
    )

    assert [incident.run.row.pid for incident in history.incidents(2)] == [8, 9]


@pytest.mark.parametrize("before", [(), ([],)], ids=["first list call", "later list call"])
def test_older_row_with_the_last_exit_of_the_newest_run_keeps_its_own_end(before):
    now = {"restart_count": 1, "last_exit": last(3, at=19_000)}
    rows = [
        web(7, "stopped", **now, **exited(0)),
        web(8, "stopped", 10_000, **now, **exited(3, 19_000)),
    ]

    runs = history_of(*before, rows).runs()
    assert {run.row.pid: run.end.exit_code for run in runs} == {7: 0, 8: 3}


def test_process_that_was_started_and_restarted_before_the_first_list_call_has_two_runs():
    history = History(lambda: 0.0)
    first = history.note_start(snapshot(web(7))[0])
    history.fold(snapshot(web(8, start=10_000, restart_count=1, last_exit=last(1))))

    assert [run.number for run in first.generation.runs] == [0, 1]
    assert first.end.exit_code == 1


def test_row_that_is_listed_twice_is_one_run():
    history = history_of([web(7), web(7)], [web(7, **exited(1))])

    assert [run.row.pid for run in history.runs()] == [7]


# What is kept


@pytest.mark.parametrize(
    ("odd", "gone"),
    [({"pid": 1, "status": "running"}, [2]), ({"status": "running"}, []), (raw(4), [1, 2])],
    ids=["its pid", "no pid", "readable"],
)
def test_process_does_not_count_as_vanished_if_its_row_may_be_unreadable(odd, gone):
    history = history_of([raw(1), raw(2), raw(3)], [raw(3), odd])

    assert [pid for pid in (1, 2) if history.vanished_with(pid)] == gone


def test_runs_that_vanished_first_are_forgotten_first(monkeypatch):
    monkeypatch.setattr("pytest_tlsandbox.history.history._MOST_PAST_RUNS", 2)
    rows = snapshot(*map(raw, range(1, 7)))
    history = History(lambda: 0.0)
    for pids in ([1, 2, 3, 4, 5, 6], [2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6], [1, 3, 4, 5, 6]):
        history.fold(ProcessSnapshot(row for row in rows if row.pid in pids))
    assert history.vanished_with(2)

    history.fold(ProcessSnapshot(row for row in rows if row.pid in (1, 5, 6)))
    known = [row.pid for row in rows if history.run_of(row)]
    assert known == [1, 3, 4, 5, 6]  # 1 came back


def test_check_that_looks_further_back_than_the_kept_incidents_is_recognized(monkeypatch):
    monkeypatch.setattr("pytest_tlsandbox.history.history._MOST_INCIDENTS", 4)
    living = [raw(pid) for pid in range(1, 6)]
    crashed = [raw(pid, **signaled(11)) for pid in range(1, 6)]
    history = history_of(*(crashed[:n] + living[n:] for n in range(5)))
    assert not history.forgot_since(0)

    history.fold(snapshot(*crashed, at=7.0))
    assert [history.forgot_since(position) for position in (2, 3)] == [True, False]
    incidents = history.incidents(3)
    assert [incident.position for incident in incidents] == [4, 5, 6]
    assert incidents[-1].at == 7.0
    assert incidents[-1].run.seen == {"crash": 6}
