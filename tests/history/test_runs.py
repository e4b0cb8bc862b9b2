"""Test what is known about the end of a run, which signals explain it, and the repr of a run."""

import pytest

from pytest_tlsandbox.history.history import History
from pytest_tlsandbox.history.runs import End
from pytest_tlsandbox.history.timeline import Timeline
from tests.support import OOM, T0, box_of, ended, pass_time, process, raw, signaled, snapshot

from .helpers import history_of, last, running, web

T9, T12 = (process(1, **ended(ended_at=T0 + at)).ended_at for at in (9000, 12_000))
AT_12 = {"ended_at": T0 + 12_000}


CORRECTIONS = [
    (ended(1), ended(-1, **AT_12), End(1, None, False, T9)),
    (ended(-1), ended(1, **AT_12), End(1, None, False, T12)),
    (ended(-1), ended(None, ended_at=None), End(None, None, False, T9)),
    (ended(1, ended_at=None), ended(1), End(1, None, False, T9)),
    (ended(0, oom_killed=True), ended(0), End(0, None, True, T9, child=True)),
    (ended(0), ended(0, oom_killed=True), End(0, None, True, T9, child=True)),
    (OOM, signaled(9), End(None, 9, True, T9)),
    (signaled(9), OOM, End(None, 9, True, T9)),
    # The status takes precedence over contradicting fields.
    ({}, ended(1, signal=9), End(1, None, False, T9)),
    ({}, signaled(9, exit_code=0), End(None, 9, False, T9)),
    ({}, {**OOM, "exit_code": 137}, End(137, 9, True, T9)),
]


@pytest.mark.parametrize(("first", "then", "known"), CORRECTIONS)
def test_later_rows_can_correct_the_recorded_exit_of_a_run_but_cannot_remove_it(first, then, known):
    history = history_of([raw(1)], [raw(1, **first)], [raw(1, **then)])

    assert history.runs()[0].end == known


LAST_EXITS = [
    (last(0, oom=True), True),
    (last(-9, oom=True), False),
    (last(oom=True), False),
    (last(1), False),
]


@pytest.mark.parametrize(("reported", "child"), LAST_EXITS)
def test_oom_kill_is_attributed_to_a_child_if_the_process_itself_exited_normally(reported, child):
    first, _ = history_of([web(7)], [running(8, 10_000, 1, last_exit=reported)]).runs()

    assert first.end.child is child


SIGNALS = [
    pytest.param(web(7), (), 15, True, id="managed: SIGTERM, then SIGKILL"),
    pytest.param(raw(7), (), 15, False, id="unmanaged: SIGKILL"),
    pytest.param(web(7), (11,), 11, True, id="an earlier signal"),
]


@pytest.mark.parametrize(("row", "sent", "signal", "explained"), SIGNALS)
def test_end_was_caused_by_the_plugin_only_if_it_sent_the_signal(row, sent, signal, explained):
    box = box_of({0: [row], 1: [row | signaled(signal)]})
    for number in sent:
        box.send_signal(7, number)
    box.kill_process(7)

    job = pass_time(box).list_processes()[0]
    assert box._client.history.run_of(job).ended_here is explained


def test_signal_to_an_ended_or_unknown_process_is_not_recorded():
    signals = [("signals", raw(pid), 9) for pid in (1, 2)]
    history = history_of([raw(1)], [raw(1, **signaled(None))], *signals, [raw(1, **signaled(9))])

    assert not history.runs()[0].ended_here


def test_repr_of_a_run_masks_the_name_of_its_process():
    secret = {"name": "web --token=abc"}
    history = history_of([web(7, **secret)], [running(9, 10_000, 2, **secret)])

    _, hidden, newest = history.runs()[0].generation.runs
    assert repr(newest) == "<Run 2 of web --token=***: pid 9, no end seen>"
    assert repr(hidden) == f"<Run 1 of web --token=***: never listed, {hidden.end}>"


def test_states_of_a_process_during_a_wait_are_listed_in_order():
    history = History(lambda: 0.0)
    wait, shorter = Timeline(0.0, history), Timeline(0.0, history)
    again = running(8, 10_000, 1, last_exit=last(-9))
    for at, rows in enumerate([[], [web(7)], [web(7) | signaled(9), again], [again]]):
        seen = snapshot(*rows, at=float(at))
        history.fold(seen)
        wait.add(seen)
        if not at:
            shorter.add(seen)

    assert [(change.at, change.state) for change in wait.states(process(7))][:3] == [
        (1.0, "running"),
        (2.0, "signaled 9 (SIGKILL)"),
        (2.0, "running, restarted 1x"),
    ]
    assert shorter.states(process(7)) == Timeline(0.0, history).states(process(7)) == []


def test_run_records_when_its_state_changed_and_when_it_was_over():
    alive, over = raw(1), raw(1, **ended(1))
    run = history_of([alive], [alive], [over], [over], []).runs()[0]

    assert [tuple(change) for change in run.changes] == [
        (0, "running", run.row.started_at),
        (2, "exited 1", T9),
        (4, "not listed", None),
    ]
    assert run.over_at == 2
