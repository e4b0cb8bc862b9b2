"""What the history of runs decides: which run it was, what is new, and what nobody saw."""

from __future__ import annotations

import re

import pytest

from pytest_tlsandbox import by, errors
from pytest_tlsandbox.sandbox import Sandbox
from tests.support import T0, FakeClock, ScriptedLister, ended, managed, raw, signaled, snapshot

OOM = signaled(9, status="oom_killed", oom_killed=True)


def last(code=None, signal=None, *, oom=False, at=9000):
    return {"exit_code": code, "signal": signal, "oom_killed": oom, "ended_at": T0 + at}


def web(pid, status="running", start=0, name="web", **fields):
    """A row of a managed process; what is not a field of the row belongs to its supervisor."""
    own = ("status_of_row", "exit_code", "signal", "oom_killed", "ended_at")
    row = {key: fields.pop(key) for key in own if key in fields}
    if "status_of_row" in row:
        row["status"] = row.pop("status_of_row")
    supervised = managed(name, status, **fields)
    return raw(pid, name or "job", (), started_at=T0 + start, managed=supervised, **row)


def exited(code=1, at=9000):
    return {"status_of_row": "exited", "exit_code": code, "ended_at": T0 + at}


def killed(number, at=9000):
    return {"status_of_row": "signaled", "signal": number, "ended_at": T0 + at}


def box_of(script):
    return Sandbox(ScriptedLister(FakeClock(), script)).from_now()


def later(*rows, before=()):
    """A sandbox in which the rows of ``before`` were listed when the test began, and these now."""
    box = box_of({0: list(before), 1: list(rows)})
    box._client.clock.now += 1
    return box


def first_line(error, call):
    with pytest.raises(error) as caught:
        call()
    return caught.value.first_line


# Which processes match


def test_an_unnamed_managed_process_hides_no_other_match():
    unnamed = web(7, name=None)
    other = raw(8, "job", (), started_at=T0 + 1)
    box = box_of({0: [{**unnamed, **ended(0)}, other]})

    assert first_line(errors.AssertionFailed, lambda: box.assert_not_running(by(command="job")))
    both = box_of({0: [unnamed, other]})
    with pytest.raises(errors.AmbiguousProcess):
        both.assert_process(by(command="job"), status="running")
    with pytest.raises(errors.AmbiguousProcess):
        both.assert_process(lambda row: row.command == "job", status="running")


# What happened since a position


def test_an_end_before_a_restart_that_nobody_saw_is_inconclusive():
    row = web(8, "backing_off", 10_000, restart_count=1, last_exit=last(1, at=12_000))
    box = later({**row, **ended(1, ended_at=T0 + 12_000)}, before=[web(7)])

    assert first_line(errors.Inconclusive, box.assert_no_oom) == (
        "Not observed: the end of web, first run"
    )
    assert first_line(errors.Inconclusive, box.assert_no_crash)


def test_an_oom_flag_that_appears_on_an_old_end_is_new():
    box = later(raw(1, **ended(0, oom_killed=True)), before=[raw(1, **ended(0))])

    assert first_line(errors.ProcessOOMKilled, box.assert_no_oom) == (
        "OOM-killed: train.py (pid 1)"
    )


def test_a_restart_by_this_plugin_does_not_fail_later_tests():
    again = web(8, start=10_000, restart_count=1, last_exit=last(signal=15))
    over = web(
        8, "stopped", 10_000, restart_count=1, last_exit=last(0, at=12_000), **exited(0, 12_000)
    )
    box = box_of({0: [web(7)], 1: [again], 2: [over]})
    box._history.note_restart(box.list_processes()[0], snapshot(again)[0])
    box._client.clock.now += 2

    box.assert_no_oom()
    box.from_now().assert_no_oom(suspected=True)
    box.assert_no_restart()


def test_a_name_that_is_used_again_is_another_process():
    before = web(7, restart_count=3, last_exit=last(1, at=-5000))
    after = web(9, start=10_000, restart_count=2, last_exit=last(signal=11, at=12_000))
    box = later(after, before=[before])

    assert "Restarted: " in first_line(errors.ProcessRestarted, box.assert_no_restart)


def test_signals_that_this_test_sends_to_a_managed_process_are_no_incidents():
    script = {
        0: [web(7)],
        1: [web(8, start=10_000, restart_count=1, last_exit=last(signal=11))],
        2: [web(9, start=20_000, restart_count=2, last_exit=last(signal=9, at=19_000))],
    }
    box = box_of(script)
    box.send_signal("web", 11)
    box._client.clock.now += 1
    box.assert_no_crash()
    box.send_signal("web", 9)
    box._client.clock.now += 1

    box.assert_no_oom(suspected=True)
    box.assert_no_incidents()


def test_a_supervisor_that_was_stopped_on_purpose_did_not_give_up():
    over = web(
        7,
        "stopped",
        restart_count=5,
        last_exit=last(signal=15),
        **killed(15),
    )
    later(over, before=[web(7, restart_count=5)]).assert_no_crash()

    gave_up = {**over, "managed": {**over["managed"], "last_error": "restart limit reached"}}
    box = later(gave_up, before=[web(7, restart_count=5)])
    assert first_line(errors.ProcessCrashed, box.assert_no_crash) == "Crashed: web (pid 7)"


def test_a_supervisor_that_gave_up_after_an_oom_kill_is_a_crash():
    over = web(7, "stopped", restart_count=5, status_of_row="oom_killed", ended_at=T0 + 9000)
    box = later(over, before=[web(7, restart_count=5)])

    assert first_line(errors.ProcessCrashed, box.assert_no_crash) == "Crashed: web (pid 7)"


def test_a_supervisor_gave_up_although_its_end_showed_only_after_somebodys_restart():
    spent = {"restart_count": 5, "status": "stopped"}
    lost = web(7, **spent, **exited(None), last_exit=last())
    known = web(7, **spent, **exited(1), last_exit=last(1))
    again = web(8, start=10_000, restart_count=6, last_exit=last())
    box = box_of({0: [web(7, restart_count=5)], 1: [lost], 2: [lost, again], 3: [known, again]})
    for _ in range(4):
        box.list_processes()
        box._client.clock.now += 1

    assert first_line(errors.ProcessCrashed, box.assert_no_crash) == "Crashed: web, restart 5"


def test_a_supervisor_that_was_stopped_before_a_restart_did_not_give_up():
    kind = {"name": None, "restart": {"policy": "always", "max_restarts": 1}}
    ending = {**kind, "restart_count": 1, **exited(1), "last_exit": last(1)}
    second = {"restart_count": 2, **exited(1, 19_000), "last_exit": last(1, at=19_000)}
    script = {
        0: [web(7, **kind)],
        1: [web(7, "backing_off", **ending)],
        2: [web(7, "stopped", **ending)],
        3: [web(8, "backing_off", 10_000, **kind, **second)],
    }
    box = box_of(script)
    for _ in script:
        box.list_processes()
        box._client.clock.now += 1

    box.assert_no_crash()


def test_a_supervisor_that_gave_up_before_did_not_give_up_on_the_run_it_is_restarting():
    spent = {"name": None, "restart_count": 5}
    why = {"last_exit": last(1), "last_error": "restart limit reached"}
    gave_up = web(7, "stopped", **spent, **exited(1), **why)
    ended_by_restart = {**killed(15, 19_000), "last_exit": last(signal=15, at=19_000)}
    restarting = web(8, "running", 10_000, **spent, **ended_by_restart)
    box = later(gave_up, restarting, before=[gave_up])

    box.assert_no_crash()


def test_an_end_that_was_visible_at_the_baseline_is_not_counted_again():
    waiting = web(7, "backing_off", last_exit=last(1), **exited(1))
    over = web(
        8,
        "stopped",
        10_000,
        restart_count=1,
        last_exit=last(1, at=12_000),
        **exited(1, 12_000),
    )

    later(over, before=[waiting]).assert_no_oom()


def test_an_older_row_that_stays_listed_is_not_passed_over():
    old, new = (
        web(7, "backing_off", last_exit=last(signal=9), **killed(9)),
        web(8, start=10_000, restart_count=1, last_exit=last(signal=9)),
    )
    shown = {**old, "status": "oom_killed", "oom_killed": True}
    box = later(shown, new, before=[web(7)])

    assert first_line(errors.ProcessOOMKilled, box.assert_no_oom) == "OOM-killed: web, first run"


def test_a_pid_stays_with_its_run_though_a_newer_one_is_listed():
    old = web(7, "backing_off", last_exit=last(1), **exited(1))
    new = web(8, start=10_000, restart_count=1, last_exit=last(1))
    box = box_of({0: [old], 0.5: [old, new]})

    assert box.assert_stays(7, stable_for=1, status="exited").pid == 7


def test_two_good_polls_settle_a_negative_assertion_however_far_apart_they_are():
    class Slow(ScriptedLister):
        def poll(self, *, limit=5.0):
            self.clock.now += 1.2
            return super().poll(limit=limit)

    clock = FakeClock()
    box = Sandbox(Slow(clock, {0: [raw(1)]}))
    start = clock.now

    box.assert_no_oom()

    assert clock.now - start < 5


# Ends that the sandbox lost


LOST = [ended(-1), ended(None), signaled(None)]


@pytest.mark.parametrize("end", LOST, ids=["-1", "no code", "no signal"])
def test_a_lost_end_counts_as_suspected_on_request(end):
    box = later(raw(1, **end), before=[raw(1)])

    assert first_line(errors.ProcessOOMKilled, lambda: box.assert_no_oom(suspected=True)) == (
        "Suspected to be OOM-killed: train.py (pid 1)"
    )


@pytest.mark.parametrize(
    "ask",
    [
        lambda box: box.wait_for_process(1, status="exited"),
        lambda box: box.assert_process(1, status="exited"),
        lambda box: box.assert_process(1, exit_code=-1),
        lambda box: box.assert_stays(1, stable_for=2, status="exited"),
        lambda box: box.wait_for_exit(1),
        lambda box: box.assert_no_crash(1),
        lambda box: box.assert_no_oom(1),
        lambda box: box.assert_no_incidents(1),
    ],
    ids=["wait", "status", "code", "stays", "exit", "crash", "oom", "healthy"],
)
def test_a_lost_end_is_inconclusive_for_a_process_that_the_call_names(ask):
    box = later(raw(1, **ended(-1)), before=[raw(1)])

    assert first_line(errors.Inconclusive, lambda: ask(box)).startswith(
        "Unknown end: train.py (pid 1)"
    )


def test_a_lost_end_of_a_process_that_nobody_asked_for_is_logged(caplog):
    box = later(raw(1, **ended(-1)), before=[raw(1)])

    with caplog.at_level("INFO", "pytest_tlsandbox"):
        box.assert_no_crash()

    assert "1 end unknown: train.py (pid 1)" in caplog.messages


def test_a_lost_end_is_inconclusive_for_a_process_that_the_test_started():
    box = box_of({0: [], 1: [raw(1)], 2: [raw(1, **ended(-1))]})
    box.start_process("python", ["train.py"])
    box._client.clock.now += 1

    assert first_line(errors.Inconclusive, box.assert_no_incidents)


# Rows that vanish


def test_a_process_whose_row_vanished_is_not_known_to_have_ended():
    box = box_of({0: [raw(1), raw(2)], 1: [raw(2)]})
    job = box.list_processes()[0]
    box._client.clock.now += 1

    assert first_line(errors.Inconclusive, lambda: box.assert_not_running(job)) == (
        "Not observed: the end of train.py (pid 1)"
    )


def test_a_process_that_this_plugin_killed_may_vanish():
    box = box_of({0: [raw(1), raw(2)], 1: [raw(2)]})
    job = box.list_processes()[0]
    box.kill_process(job)
    box._client.clock.now += 1

    box.assert_not_running(job)


# An OOM kill behind a restart


def test_an_oom_kill_behind_a_restart_names_the_run_that_died_and_the_survivor():
    again = web(8, start=10_000, restart_count=1, last_exit=last(signal=9, oom=True))
    box = later(again, before=[web(7)])

    with pytest.raises(errors.ProcessOOMKilled) as caught:
        box.assert_no_oom()

    assert (
        str(caught.value)
        == """\
OOM-killed: web, first run

  it was OOM-killed, restarted as pid 8
  process  web
  run      first run, pid 7, OOM-killed at 16:00:09.000, ran 9 s, restarted as pid 8
  lived    9 s, 16:00:00.000 to 16:00:09.000 (sandbox clock, UTC)
  managed  running, 1 restart of at most 5, policy: on_failure, last end: OOM-killed at
           16:00:09.000
  looks    1, 0 ms each
  checked  1 process
  stderr   4 lines
           | first
           | second
           | third
           | Traceback: no memory
  sandbox  my-sandbox
  try      more memory for the sandbox (memory_mb; of local, --tlsandbox-memory), or less for the
           process"""
    )


def test_an_oom_kill_of_a_run_that_was_never_listed_says_so():
    again = web(9, start=20_000, restart_count=2, last_exit=last(signal=9, oom=True, at=19_000))
    box = later(again, before=[web(7)])

    with pytest.raises(errors.ProcessOOMKilled) as caught:
        box.assert_no_oom()

    text = str(caught.value)
    assert text.splitlines()[0] == "OOM-killed: web, restart 1"
    assert "run      restart 1, no list call saw it, so its pid is not known, OOM-killed" in text
    assert "output   not read: its pid is not known" in text


# Bounds


def test_older_rows_that_show_the_state_of_the_newest_run_hide_no_run():
    """The embedded sandbox lists them so for a moment."""
    now = {"restart_count": 1, "last_exit": last(1)}
    box = later(web(7, **now, **exited()), web(8, start=10_000, **now))

    box.assert_no_crash()
    line = first_line(errors.ProcessRestarted, box.assert_no_restart)
    assert line == "Restarted: web, first run"


def test_a_run_that_is_being_restarted_may_show_the_count_of_the_next_one():
    now = {"restart_count": 1, "last_exit": last(1)}
    box = later(web(7, "starting", **now, **exited()))

    box.assert_no_restart("web")


def test_no_run_came_after_the_end_that_the_supervisor_still_reports():
    """Some daemons count a restart before they wait for it, and another one if somebody asks."""
    ending = {"last_exit": last(1), "restart_count": 1}
    script = {
        0: [web(7)],
        1: [web(7, "backing_off", **ending, **exited())],
        2: [web(8, start=10_000, **{**ending, "restart_count": 2})],
    }
    box = box_of(script)
    for _ in script:
        box.list_processes()
        box._client.clock.now += 1

    box.assert_no_crash()


def test_a_run_that_backed_off_at_count_0_shows_how_the_daemon_counts():
    """Somebody restarted it by hand, and this daemon does not count that."""
    first = web(7, "running", **exited(), name=None, last_exit=last(0))
    ending = {"name": None, "last_exit": last(1, at=19_000)}
    waited = web(8, "backing_off", 10_000, **exited(1, 19_000), **ending)
    again = web(9, start=20_000, **ending)
    api = {"name": "api", "restart_count": 1, **exited(1, 39_000)}
    waiting = web(11, "backing_off", 30_000, **api, last_exit=last(1, at=39_000))
    box = box_of({0: [], 1: [first, waited, again], 2: [first, waited, again, waiting]})
    for _ in range(3):
        box.list_processes()
        box._client.clock.now += 1

    line = first_line(errors.ProcessRestarted, lambda: box.assert_no_restart("api"))
    assert line == "Restarted: api, first run"


def test_a_restart_that_was_counted_and_cancelled_hides_no_run():
    ending = {"name": None, "last_exit": last(0), **exited(0)}
    script = {
        0: [web(7, name=None)],
        1: [web(7, "backing_off", restart_count=1, **ending)],
        2: [web(7, "stopped", restart_count=1, **ending)],
        3: [web(9, start=20_000, name=None, restart_count=3, last_exit=last(0, at=19_000))],
    }
    box = box_of(script)
    for _ in script:
        box.list_processes()
        box._client.clock.now += 1

    box.assert_no_crash()


def test_a_row_that_lags_behind_the_count_of_its_supervisor_hides_no_run():
    box = later(web(7, "stopped", restart_count=1, last_exit=last(1)), before=[web(7)])

    box.assert_no_restart()
    box.assert_no_crash()


def test_ends_one_millisecond_apart_are_of_two_processes():
    spent = web(7, "stopped", **killed(15), last_exit=last(signal=15))
    again = web(8, "stopped", 9000, **killed(9, 9001), last_exit=last(signal=9, at=9001))
    box = later(spent, again, before=[web(7)])

    box.assert_no_restart()


def test_a_deployment_that_ended_before_its_row_shows_it_is_not_a_restart():
    waiting = web(7, "backing_off", **exited(0), last_exit=last(0))
    stopped = web(7, "stopped", **exited(0), last_exit=last(0))
    again = web(8, "backing_off", 10_000, last_exit=last(3, at=11_000))
    box = later(stopped, again, before=[waiting])

    box.assert_no_restart()


def test_rows_that_are_listed_late_take_the_places_of_the_runs_that_nobody_had_seen():
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
    box._client.clock.now += 1

    box.list_processes()
    assert {run.row.pid: run.number for run in box._history.runs()} == {7: 0, 8: 1, 9: 2, 10: 3}
    box.assert_no_crash()


def test_a_start_under_a_name_that_was_in_use_ends_what_had_it():
    box = box_of({0: [web(7)], 1: [web(8, start=10_000)]})
    box.list_processes()
    box._history.note_start(snapshot(web(8, start=10_000))[0])
    box._client.clock.now += 1

    line = first_line(errors.Inconclusive, lambda: box.assert_no_crash("web"))
    assert line == "Not observed: the end of web (pid 7)"


def test_a_process_whose_name_was_taken_is_not_waiting_for_its_restart():
    old = web(7, "backing_off", last_exit=last(1), **exited())
    box = later(old, web(8, start=10_000), before=[old])
    row = snapshot(old)[0]

    box.assert_not_running(row)


def test_a_process_whose_row_lags_behind_its_end_stays_selected_when_its_name_is_taken():
    over = web(7, "stopped", last_exit=last(signal=15))
    box = later(over, raw(8, "web2", (), managed=managed("web")), before=[web(7)])
    box.assert_no_restart(re.compile("^web$"))


def test_a_deployment_that_came_and_went_unseen_keeps_the_order_of_its_runs():
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
    box._client.clock.now += 1

    box.list_processes()
    runs = {run.row.pid: run for run in box._history.runs()}
    assert runs[8].generation is runs[9].generation
    assert [run.row.pid for run in runs[9].generation.runs] == [8, 9]


def test_the_history_of_a_crash_loop_is_bounded():
    client = ScriptedLister(FakeClock(), {0: [web(1)]})
    history = client.history
    box = Sandbox(client).from_now()
    for turn in range(1, 500):
        start = turn * 1000
        row = web(turn + 1, start=start, restart_count=turn, last_exit=last(1, at=start - 500))
        client._script = {0: [row]}
        box.list_processes()

    assert len(history.run_of(box.list_processes()[0]).generation.runs) <= 101
    assert len(history.incidents(0)) == 499
    assert not history.forgot_since(0)


def test_a_snapshot_of_another_client_is_rejected():
    other = box_of({0: [raw(1)]}).list_processes()

    assert first_line(
        errors.InvalidArgument, lambda: box_of({0: [raw(1)]}).assert_no_oom(since=other)
    ) == ("since must be a snapshot of this sandbox, got a snapshot of another one")
