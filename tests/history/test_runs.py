"""Runs: what is known about their ends, which signals explain them, and how they print."""

from __future__ import annotations

import pytest

from pytest_tlsandbox.history.history import History
from pytest_tlsandbox.history.runs import End
from pytest_tlsandbox.history.timeline import Timeline
from tests.support import OOM, T0, ended, managed, process, raw, signaled, snapshot

T9, T12 = (process(1, **ended(ended_at=T0 + at)).ended_at for at in (9000, 12_000))


def history_of(*lists):
    """Return a history of one list call in each second."""
    history = History(lambda: float(len(lists)))
    for at, rows in enumerate(lists):
        history.fold(snapshot(*rows, at=float(at)))
    return history


def last_exit(code=None, signal=None, *, oom=False):
    return {"exit_code": code, "signal": signal, "oom_killed": oom, "ended_at": T0 + 9000}


@pytest.mark.parametrize(
    ("first", "then", "known"),
    [
        (ended(1), ended(-1, ended_at=T0 + 12_000), End(1, None, False, T9)),
        (ended(-1), ended(1, ended_at=T0 + 12_000), End(1, None, False, T12)),
        (ended(-1), ended(None, ended_at=None), End(None, None, False, T9)),
        (ended(1, ended_at=None), ended(1), End(1, None, False, T9)),
        (ended(0, oom_killed=True), ended(0), End(0, None, True, T9, child=True)),
        (ended(0), ended(0, oom_killed=True), End(0, None, True, T9, child=True)),
        (OOM, signaled(9), End(None, 9, True, T9)),
        (signaled(9), OOM, End(None, 9, True, T9)),
    ],
)
def test_later_evidence_corrects_an_end_but_never_loses_it(first, then, known):
    history = history_of([raw(1)], [raw(1, **first)], [raw(1, **then)])

    assert history.runs()[0].end == known


@pytest.mark.parametrize(
    ("reported", "child"),
    [
        (last_exit(0, oom=True), True),
        (last_exit(signal=9, oom=True), False),
        (last_exit(137, 9, oom=True), False),
        (last_exit(oom=True), False),
        (last_exit(1), False),
    ],
)
def test_oom_kill_reported_by_a_supervisor_hit_a_child_if_the_process_exited(reported, child):
    after = managed("web", restart_count=1, last_exit=reported)
    again = raw(8, started_at=T0 + 10_000, managed=after)
    history = history_of([raw(7, managed=managed("web"))], [again])

    first, _ = history.runs()
    assert first.end.child is child


@pytest.mark.parametrize(
    ("supervisor", "explains_sigterm"), [(managed("web"), True), (None, False)]
)
def test_kill_of_a_managed_process_also_explains_an_end_by_sigterm(supervisor, explains_sigterm):
    history = history_of([raw(7, managed=supervisor)])
    run = history.note_kill(process(7, managed=supervisor))
    history.fold(snapshot(raw(7, managed=supervisor, **signaled(15)), at=1.0))

    assert run.ended_here is explains_sigterm


def test_signal_that_was_sent_before_a_kill_still_explains_the_end():
    web = managed("web")
    history = history_of([raw(7, managed=web)])
    history.note_signal(process(7, managed=web), 11)
    history.note_kill(process(7, managed=web))
    history.fold(snapshot(raw(7, managed=web, **signaled(11)), at=1.0))

    (crash,) = history.incidents(1)
    assert (crash.kind, crash.caused_here) == ("crash", True)


def test_signal_after_the_end_or_to_an_unknown_process_is_not_recorded():
    history = history_of([raw(1)], [raw(1, **signaled(None))])

    assert history.note_signal(process(1), 9) is None
    assert history.note_signal(process(2), 9) is None
    history.fold(snapshot(raw(1, **signaled(9)), at=2.0))
    assert not history.runs()[0].ended_here


def test_run_prints_its_number_its_name_and_its_end():
    web = {"managed": managed("web --token=abc")}
    after = managed("web --token=abc", restart_count=2, last_exit=last_exit(1))
    again = raw(9, started_at=T0 + 10_000, managed=after)
    history = history_of([raw(7, **web)], [again])

    _, hidden, newest = history.runs()[0].generation.runs
    assert repr(newest) == "<Run 2 of web --token=***: pid 9, no end seen>"
    assert repr(hidden) == f"<Run 1 of web --token=***: never listed, {hidden.end}>"
    assert "exit_code=1" in repr(hidden)


@pytest.mark.parametrize(
    ("row", "end"),
    [
        (ended(1, signal=9), End(1, None, False, T9)),
        (signaled(9, exit_code=0), End(None, 9, False, T9)),
        ({**OOM, "exit_code": 137}, End(137, 9, True, T9)),
    ],
)
def test_end_of_a_contradictory_row_follows_its_status(row, end):
    assert End.of_row(process(1, **row)) == end


def test_states_of_a_process_are_in_order_and_counted_from_its_first_poll():
    history = History(lambda: 0.0)
    wait, shorter = Timeline(0.0, history), Timeline(0.0, history)
    web = raw(7, managed=managed("web"))
    after = managed("web", restart_count=1, last_exit=last_exit(signal=9))
    again = raw(8, started_at=T0 + 10_000, managed=after)
    for at, rows in enumerate([[], [web], [{**web, **signaled(9)}, again], [again]]):
        seen = snapshot(*rows, at=float(at))
        history.fold(seen)
        wait.add(seen)
        if not at:
            shorter.add(seen)

    states = [(change.at, change.state, polls) for change, polls in wait.states(process(7))]
    assert states[:3] == [
        (1.0, "running", 1),
        (2.0, "signaled 9 (SIGKILL)", 0),
        (2.0, "running, restarted 1x", 2),
    ]
    assert shorter.states(process(7)) == []


def test_first_and_newest_states_and_runs_are_kept():
    flapping = history_of(*([raw(1), raw(2)] if at % 2 == 0 else [raw(2)] for at in range(150)))
    times = [change.at for change in flapping.vanished_with(1).changes]
    assert times == [0.0, *map(float, range(51, 150))]

    rows = []
    for count in range(150):
        web = managed("web", restart_count=count, last_exit=last_exit(1) if count else None)
        rows.append([raw(count + 1, started_at=T0 + 10_000 * count, managed=web)])
    runs = history_of(*rows).runs()[-1].generation.runs
    assert [run.number for run in runs] == [0, *range(51, 150)]


def test_end_that_no_list_call_saw_has_no_known_time():
    again = raw(8, started_at=T0 + 10_000, managed=managed("web"))
    history = history_of([raw(7, managed=managed("web"))], [again])

    first, _ = history.runs()
    assert [change.state for change in first.changes] == ["running", "ended, how is not known"]
    assert first.changes[-1].moment is None
