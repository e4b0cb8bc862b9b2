"""Which runs the plugin infers from the rows that the API lists."""

from __future__ import annotations

import pytest

from pytest_tlsandbox import errors
from pytest_tlsandbox.messages.incidents import run_label
from tests.history.test_history import exited, first_line, last, later, watched, web
from tests.support import box_of, pass_time, snapshot


def runs_of(box, name="web"):
    """Return the runs of the newest generation with a name: label, pid and state."""
    row = [row for row in box.list_processes() if row.managed.id == name][-1]
    return [
        f"{run_label(run) or 'only run'}, {run.row.pid if run.row else 'hidden'}: {run.state}"
        for run in box._history.run_of(row).generation.runs
    ]


def backing_off(pid, start, count, **fields):
    """Return a row that exited with code 1 after 9 s, and waits for its restart."""
    at = start + 9000
    why = {"restart_count": count, "last_exit": last(1, at=at)}
    return web(pid, "backing_off", start, **why, **exited(1, at), **fields)


def running(pid, start, count, **fields):
    """Return the row of a running process whose previous run exited 1 s before its start."""
    shown = {"restart_count": count, "last_exit": last(1, at=start - 1000), **fields}
    return web(pid, "running", start, **shown)


FIRST = web(7)
EARLY = [[web(3, name="api")], [backing_off(3, 0, 1, name="api")]]
LATE = [[web(3, name="api")], [backing_off(3, 0, 0, name="api")]]
CASES = {
    "no hidden run": (
        [[FIRST], [running(8, 10_000, 1)]],
        ["first run, 7: exited 1", "restart 1, 8: running, restarted 1x"],
    ),
    "one hidden run": (
        [[FIRST], [running(9, 20_000, 2)]],
        [
            "first run, 7: ended, how is not known",
            "restart 1, hidden: exited 1",
            "restart 2, 9: running, restarted 2x",
        ],
    ),
    "four hidden runs": (
        [[FIRST], [running(9, 50_000, 5)]],
        [
            "first run, 7: ended, how is not known",
            "restarts 1 to 3, hidden: ended, how is not known",
            "restart 4, hidden: exited 1",
            "restart 5, 9: running, restarted 5x",
        ],
    ),
    "last exit is the known end": (
        [[web(7, **exited(1, 19_000))], [running(9, 20_000, 2)]],
        ["first run, 7: exited 1", "restart 1, 9: running, restarted 2x"],
    ),
    "the old row stays listed": (
        [
            [FIRST],
            [web(7, **exited()), running(9, 20_000, 2, last_exit={**last(1), "ended_at": None})],
        ],
        ["first run, 7: exited 1", "restart 1, 9: running, restarted 2x"],
    ),
    "count of the same row rises by 1": (
        [[FIRST], [running(7, 0, 1)]],
        ["first run, hidden: exited 1", "restart 1, 7: running, restarted 1x"],
    ),
    "count of the same row rises by 2": (
        [[FIRST], [running(7, 0, 2)]],
        [
            "first run, hidden: ended, how is not known",
            "restart 1, hidden: exited 1",
            "restart 2, 7: running, restarted 2x",
        ],
    ),
    "counted when it backs off": (
        [[FIRST], [backing_off(7, 0, 1)], [running(8, 10_000, 1)]],
        ["first run, 7: exited 1", "restart 1, 8: running, restarted 1x"],
    ),
    "counted when it backs off, and one hidden run": (
        [[FIRST], [backing_off(7, 0, 1)], [running(9, 20_000, 2)]],
        [
            "first run, 7: exited 1",
            "restart 1, hidden: exited 1",
            "restart 2, 9: running, restarted 2x",
        ],
    ),
    "counted when it restarts": (
        [[FIRST], [backing_off(7, 0, 0)], [running(8, 10_000, 1)]],
        ["first run, 7: exited 1", "restart 1, 8: running, restarted 1x"],
    ),
    "counted when it restarts, and one hidden run": (
        [[FIRST], [backing_off(7, 0, 0)], [running(9, 20_000, 2)]],
        [
            "first run, 7: exited 1",
            "restart 1, hidden: exited 1",
            "restart 2, 9: running, restarted 2x",
        ],
    ),
    "first seen backing off at 1": (
        [[], [backing_off(7, 0, 1)]],
        ["first run, hidden: ended, how is not known", "restart 1, 7: exited 1"],
    ),
    "first seen backing off at 2": (
        [[], [backing_off(7, 0, 2)]],
        [
            "first run, hidden: ended, how is not known",
            "restart 1, hidden: ended, how is not known",
            "restart 2, 7: exited 1",
        ],
    ),
    "first seen backing off at 3, counted when it backs off": (
        [[backing_off(7, 0, 3)], [running(8, 10_000, 3)]],
        [
            "restarts 0 to 1, hidden: ended, how is not known",
            "restart 2, 7: exited 1",
            "restart 3, 8: running, restarted 3x",
        ],
    ),
    "first seen backing off at 3, counted when it restarts": (
        [[backing_off(7, 0, 3)], [running(8, 10_000, 4)]],
        [
            "restarts 0 to 1, hidden: ended, how is not known",
            "restart 2, hidden: ended, how is not known",
            "restart 3, 7: exited 1",
            "restart 4, 8: running, restarted 4x",
        ],
    ),
    "another process counts when it backs off": (
        [*EARLY, [backing_off(7, 0, 1)]],
        ["only run, 7: exited 1"],
    ),
    "another process counts when it restarts": (
        [*LATE, [backing_off(7, 0, 1)]],
        ["first run, hidden: ended, how is not known", "restart 1, 7: exited 1"],
    ),
    "seen backing off before another process counts when it backs off": (
        [[], [EARLY[0][0], backing_off(7, 0, 3)], [EARLY[1][0], backing_off(7, 0, 3)]],
        ["restarts 0 to 1, hidden: ended, how is not known", "restart 2, 7: exited 1"],
    ),
    "seen backing off before another process counts when it restarts": (
        [[], [LATE[0][0], backing_off(7, 0, 3)], [LATE[1][0], backing_off(7, 0, 3)]],
        [
            "restarts 0 to 1, hidden: ended, how is not known",
            "restart 2, hidden: ended, how is not known",
            "restart 3, 7: exited 1",
        ],
    ),
    "backs off twice, counted when it backs off": (
        [[], [backing_off(7, 0, 3)], [backing_off(9, 40_000, 5)], [running(10, 50_000, 5)]],
        [
            "restarts 0 to 1, hidden: ended, how is not known",
            "restart 2, 7: exited 1",
            "restart 3, hidden: ended, how is not known",
            "restart 4, 9: exited 1",
            "restart 5, 10: running, restarted 5x",
        ],
    ),
    "backs off twice, counted when it restarts": (
        [[], [backing_off(7, 0, 3)], [backing_off(9, 40_000, 5)], [running(10, 50_000, 6)]],
        [
            "restarts 0 to 1, hidden: ended, how is not known",
            "restart 2, hidden: ended, how is not known",
            "restart 3, 7: exited 1",
            "restart 4, hidden: ended, how is not known",
            "restart 5, 9: exited 1",
            "restart 6, 10: running, restarted 6x",
        ],
    ),
    "backs off twice in a row": (
        [[], [backing_off(7, 0, 2)], [backing_off(8, 10_000, 3)]],
        [
            "first run, hidden: ended, how is not known",
            "restart 1, hidden: ended, how is not known",
            "restart 2, 7: exited 1",
            "restart 3, 8: exited 1",
        ],
    ),
    "backing off is listed again": (
        [
            [],
            [backing_off(7, 0, 1), FIRST | {"pid": 5, "handle": 5, "managed": None}],
            [backing_off(7, 0, 1)],
        ],
        ["first run, hidden: ended, how is not known", "restart 1, 7: exited 1"],
    ),
    "row changes while it backs off": (
        [
            [],
            [backing_off(7, 0, 1)],
            [backing_off(7, 0, 1, consecutive_health_failures=1)],
            [running(8, 10_000, 1)],
        ],
        ["first run, 7: exited 1", "restart 1, 8: running, restarted 1x"],
    ),
    "backs off at 2, and another process counts when it backs off": (
        [
            [FIRST, EARLY[0][0]],
            [backing_off(9, 20_000, 2), EARLY[0][0]],
            [backing_off(9, 20_000, 2), EARLY[1][0]],
        ],
        ["first run, 7: ended, how is not known", "restart 1, 9: exited 1"],
    ),
    "two older new rows have the count of the newest one": (
        [
            [],
            [
                running(7, 0, 2, last_exit=last(1, at=19_000), **exited(1)),
                running(8, 10_000, 2, last_exit=last(1, at=19_000), **exited(1, 19_000)),
                running(9, 20_000, 2),
            ],
        ],
        ["first run, 7: exited 1", "restart 1, 8: exited 1", "restart 2, 9: running, restarted 2x"],
    ),
    "requested restart is not counted": (
        [[FIRST], [running(8, 10_000, 0)]],
        ["first run, 7: exited 1", "restart 1, 8: running"],
    ),
    "requested restart is not counted, and a hidden run": (
        [[FIRST], [running(8, 10_000, 0)], [running(10, 30_000, 2)]],
        [
            "first run, 7: exited 1",
            "restart 1, 8: ended, how is not known",
            "restart 2, hidden: exited 1",
            "restart 3, 10: running, restarted 2x",
        ],
    ),
    "older new row has the count of the newest one": (
        [
            [FIRST],
            [
                web(
                    8,
                    start=10_000,
                    restart_count=2,
                    last_exit=last(1, at=19_000),
                    **exited(1, 19_000),
                ),
                running(9, 20_000, 2),
            ],
        ],
        [
            "first run, 7: ended, how is not known",
            "restart 1, 8: exited 1",
            "restart 2, 9: running, restarted 2x",
        ],
    ),
    "deployed again after it stopped": (
        [[web(7, "stopped", last_exit=last(0), **exited(0))], [running(9, 20_000, 2)]],
        [
            "first run, hidden: ended, how is not known",
            "restart 1, hidden: exited 1",
            "restart 2, 9: running, restarted 2x",
        ],
    ),
    "deployed again with the same count": (
        [[running(7, 0, 3)], [running(8, 20_000, 3)]],
        [
            "restarts 0 to 1, hidden: ended, how is not known",
            "restart 2, hidden: exited 1",
            "restart 3, 8: running, restarted 3x",
        ],
    ),
    "deployed again after a known end": (
        [[FIRST], [backing_off(7, 0, 0)], [running(8, 20_000, 1)]],
        ["first run, hidden: exited 1", "restart 1, 8: running, restarted 1x"],
    ),
    "deployed again after its row vanished": (
        [
            [FIRST, web(3, name="api")],
            [web(3, name="api")],
            [running(8, 10_000, 1), web(3, name="api")],
        ],
        ["first run, hidden: exited 1", "restart 1, 8: running, restarted 1x"],
    ),
    "ended at the moment it started": (
        [[], [web(7, "stopped", 9000, last_exit=last(1), **exited(1))]],
        ["only run, 7: exited 1"],
    ),
    "started at the moment of the last exit": (
        [[], [web(8, "stopped", 9000, restart_count=1, last_exit=last(1))]],
        ["first run, hidden: exited 1", "restart 1, 8: running, restarted 1x"],
    ),
    "last exit of an ended row is older": (
        [[FIRST], [web(8, start=10_000, restart_count=1, last_exit=last(3), **exited(1, 12_000))]],
        ["first run, 7: exited 3", "restart 1, 8: exited 1"],
    ),
}


@pytest.mark.parametrize(("lists", "runs"), CASES.values(), ids=CASES.keys())
def test_rows_show_these_runs(lists, runs):
    assert runs_of(watched(*lists)) == runs


def restarted(*lists, count):
    """Return a sandbox whose test restarted pid 7 as pid 10, and that listed the lists since.

    The supervisor of pid 10 does not report its last exit.
    """
    new = web(10, start=30_000, restart_count=count)
    box = box_of({0: [FIRST], **{i + 1: [*rows, new] for i, rows in enumerate(lists)}})
    box._history.note_restart(box.list_processes()[0], snapshot(new)[0])
    for _ in lists:
        pass_time(box)
        box.list_processes()
    return box


SECOND = web(8, start=10_000, **exited(2, 19_000))
THIRD = web(9, start=20_000, **exited(3, 29_000))


@pytest.mark.parametrize(
    ("lists", "count", "runs"),
    [
        ([[THIRD]], 3, ["restart 1, hidden: ended, how is not known", "restart 2, 9: exited 3"]),
        (
            [[THIRD]],
            4,
            ["restarts 1 to 2, hidden: ended, how is not known", "restart 3, 9: exited 3"],
        ),
        ([[THIRD], [SECOND, THIRD]], 3, ["restart 1, 8: exited 2", "restart 2, 9: exited 3"]),
        ([[SECOND, THIRD]], 3, ["restart 1, 8: exited 2", "restart 2, 9: exited 3"]),
    ],
)
def test_row_that_is_listed_late_replaces_one_hidden_run(lists, count, runs):
    lists = [[web(7, **exited()), *rows] for rows in lists]

    shown = runs_of(restarted(*lists, count=count))

    assert shown[0] == "first run, 7: exited 1"
    assert shown[1:-1] == runs
    assert shown[-1].startswith(f"restart {count}, 10: running")


def test_row_that_is_listed_late_stays_a_run_of_its_own_if_no_run_is_hidden():
    box = restarted([web(7, **exited()), THIRD], count=1)

    assert {run.row.pid: run.state for run in box._history.runs()} == {
        7: "exited 1",
        9: "exited 3",
        10: "running, restarted 1x",
    }


def test_restart_by_name_restarts_the_newest_process_with_that_name():
    old = web(7, "stopped", last_exit=last(0), **exited(0))
    box = box_of({0: [FIRST], 1: [old, web(8, start=10_000)]})
    first = box.list_processes()[0]
    pass_time(box).list_processes()

    run = box._history.note_restart(first, snapshot(running(9, 20_000, 1))[0])

    assert [run.row.pid for run in run.generation.runs] == [8, 9]


def test_crash_of_a_run_that_no_list_call_saw_is_not_attributed_to_a_known_end():
    crashed = last(signal=11, at=19_000)
    box = later(running(9, 20_000, 2, last_exit=crashed), before=[backing_off(7, 0, 1)])

    assert first_line(box.assert_no_crash, errors.ProcessCrashed) == "Crashed: web, restart 1"
    assert [run.split(": ")[1] for run in runs_of(box)[-3:]] == [
        "exited 1",
        "signaled 11 (SIGSEGV)",
        "running, restarted 2x",
    ]


def test_run_between_two_that_back_off_stays_hidden_however_the_daemon_counts():
    lists = [[backing_off(7, 0, 3)], [backing_off(9, 40_000, 5)], [running(10, 50_000, 5)]]
    box = watched(*lists)

    line = first_line(box.assert_no_oom, errors.Inconclusive)
    assert line == "Not observed: the end of web, restart 3"


def test_assumed_run_is_not_inconclusive_once_it_is_known_that_it_did_not_exist():
    box = watched([], [EARLY[0][0], backing_off(7, 0, 1)], [EARLY[1][0], backing_off(7, 0, 1)])

    box.assert_no_oom("web")
    box.assert_no_restart("web")


def test_restart_of_a_process_whose_generation_was_forgotten_continues_it(monkeypatch):
    monkeypatch.setattr("pytest_tlsandbox.history.history._MOST_PAST_RUNS", 0)
    old = web(7, **exited())
    box = watched([FIRST], [old, running(8, 10_000, 1)], [old])

    run = box._history.note_restart(snapshot(old)[0], snapshot(running(9, 20_000, 2))[0])

    assert [each.row.pid for each in run.generation.runs if each.row] == [7, 8, 9]
