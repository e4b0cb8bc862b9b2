"""Test which runs the plugin infers from the rows that the API lists."""

import pytest

from .helpers import backing_off, history_of, last, over, running, web


def runs_of(history):
    """Return number, pid and state of the runs of the newest process with the name "web".

    The state is "ended" if it is not known how the run ended.
    """
    row = [row for row in history.last if row.managed.id == "web"][-1]
    shown = []
    for run in history.run_of(row).generation.runs:
        number = f"{run.number}-{run.number + run.times - 1}" if run.times > 1 else run.number
        pid = run.row.pid if run.row else "hidden"
        shown.append(f"{number}: {pid} {run.state.split(',')[0]}")
    return " | ".join(shown)


FIRST = web(7)
EARLY = [[web(3, name="api")], [backing_off(3, 0, 1, name="api")]]
LATE = [[web(3, name="api", restart_count=1)], [backing_off(3, 0, 1, name="api")]]
SHOWN_LATE = {"last_exit": last(1, 19_000)}
SECOND = web(8, start=10_000, end=2, at=19_000)
THIRD = web(9, start=20_000, end=3, at=29_000)
NO_TIME = {**last(1), "ended_at": None}
UNDATED = running(8, 10_000, 2, last_exit=NO_TIME)
AGAIN = running(8, 10_000, 1, last_exit=last(-15))
LAST, OVER = web(10, start=30_000, restart_count=3), web(7, end=1)

# fmt: off
CASES = {
    "row is listed twice": ([[FIRST, FIRST], [web(7, end=1)]], "0: 7 exited 1"),
    "counted when it backs off, and one hidden run": (
        [[FIRST], [backing_off(7, 0, 1)], [running(9, 20_000, 2)]],
        "0: 7 exited 1 | 1: hidden exited 1 | 2: 9 running"),
    "another process counts when it backs off": ([*EARLY, [backing_off(7, 0, 1)]], "0: 7 exited 1"),
    # If the daemon counts early, pid 7 is run 2, and two runs ended between the lists.
    "backs off at 3, and one hidden run, as another process counts late": (
        [[backing_off(7, 0, 3), LATE[0][0]], [running(10, 50_000, 5), LATE[0][0]],
         [running(10, 50_000, 5), LATE[1][0]]],
        "0-1: hidden ended | 2: hidden ended | 3: 7 exited 1 | 4: hidden exited 1 | 5: 10 running"),
    "row changes while it backs off": (
        [[], [backing_off(7, 0, 1)], [backing_off(7, 0, 1, consecutive_health_failures=1)],
         [running(8, 10_000, 1)]], "0: 7 exited 1 | 1: 8 running"),
    "two older new rows have the count of the newest one": (
        [[], [over(7, "running", code=0, count=2, **SHOWN_LATE), over(8, "running", 10_000, count=2),
              running(9, 20_000, 2)]], "0: 7 exited 0 | 1: 8 exited 1 | 2: 9 running"),
    "requested restart is not counted": (
        [[FIRST], [running(8, 10_000, 0)]], "0: 7 exited 1 | 1: 8 running"),
    "deployed again after it stopped": ([[over(7, code=0)], [running(9, 20_000, 2)]],
        "0: hidden ended | 1: hidden exited 1 | 2: 9 running"),
    "deployed again with the same count": ([[running(7, 0, 3)], [running(8, 20_000, 3)]],
        "0-1: hidden ended | 2: hidden exited 1 | 3: 8 running"),
    "deployed again after a known end": ([[FIRST], [backing_off(7, 0, 0)], [running(8, 20_000, 1)]],
        "0: hidden exited 1 | 1: 8 running"),
    "deployed again after its row vanished": (
        [[FIRST, EARLY[0][0]], EARLY[0], [running(8, 10_000, 1), EARLY[0][0]]],
        "0: hidden exited 1 | 1: 8 running"),
    "ended at the moment it started": (
        [[], [web(7, "stopped", 9000, last_exit=last(1), end=1)]], "0: 7 exited 1"),
    "started at the moment of the last exit": (
        [[], [web(8, "stopped", 9000, restart_count=1, last_exit=last(1))]],
        "0: hidden exited 1 | 1: 8 running"),
    "last exit of an ended row is older": (
        [[FIRST], [web(8, start=10_000, restart_count=1, last_exit=last(3), end=1, at=12_000)]],
        "0: 7 exited 3 | 1: 8 exited 1"),
    "previous run is still listed": ([[FIRST], [web(7, end=1), UNDATED]], "0: 7 exited 1 | 1: 8 running"),
    "previous run is still listed, and another one ended since": (
        [[FIRST], [backing_off(7, 0, 1)], [backing_off(7, 0, 1), running(9, 20_000, 2)]],
        "0: 7 exited 1 | 1: hidden exited 1 | 2: 9 running"),
    "row of an older run changes": (
        [[FIRST], [backing_off(7, 0, 0)], [backing_off(7, 0, 0), running(8, 10_000, 1)],
         [over(7), running(8, 10_000, 1)], [running(9, 20_000, 2)]],
        "0: 7 exited 1 | 1: 8 exited 1 | 2: 9 running"),
    "backs off at 3 and is still listed when the next run starts": (
        [[backing_off(7, 0, 3)], [backing_off(7, 0, 3), running(8, 10_000, 4, last_exit=NO_TIME)]],
        "0-1: hidden ended | 2: hidden ended | 3: 7 exited 1 | 4: 8 running"),
    "older row that still runs has the state of the newest one": (
        [[], [web(7, restart_count=2, last_exit=last(1)), running(8, 10_000, 2)]],
        "0: hidden ended | 1: 7 exited 1 | 2: 8 running"),
    "two processes have the same supervisor state": (
        [[], [running(7, 10_000, 2), running(8, 11_000, 2, name="api", last_exit=last(1))]],
        "0: hidden ended | 1: hidden exited 1 | 2: 7 running"),
    # Own actions.
    "restarted after its end, and the new row does not show the end": (
        [[FIRST], [web(7, "stopped", end=1)],
         ("restart", FIRST, web(8, start=10_000, restart_count=1))],
        "0: 7 exited 1 | 1: 8 running"),
    "first seen when this plugin restarts it": (
        [("restart", FIRST, AGAIN), [AGAIN]], "0: 7 signaled 15 (SIGTERM) | 1: 8 running"),
    "restarted by name, which another process uses now": (
        [[FIRST], [over(7, code=0), web(8, start=10_000)], ("restart", FIRST, running(9, 20_000, 1))],
        "0: 8 exited 1 | 1: 9 running"),
    "rows of two hidden runs, one after the other": (
        [[FIRST], ("restart", FIRST, LAST), [OVER, THIRD, LAST], [OVER, SECOND, THIRD, LAST]],
        "0: 7 exited 1 | 1: 8 exited 2 | 2: 9 exited 3 | 3: 10 running"),
}
# fmt: on


@pytest.mark.parametrize(("steps", "runs"), CASES.values(), ids=CASES.keys())
def test_history_finds_the_right_runs_after_several_list_calls_and_test_actions(steps, runs):
    assert runs_of(history_of(*steps)) == runs
