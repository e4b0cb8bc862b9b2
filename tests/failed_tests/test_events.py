"""What happened during a test, and which event is its likely cause, from scripted snapshots."""

from types import SimpleNamespace

import pytest

from pytest_tlsandbox.failed_tests.used_sandbox import UsedSandbox
from pytest_tlsandbox.history.history import History
from pytest_tlsandbox.monitoring.plain_data import WallClock

from ..support import OOM, T0, FakeClock, ended, managed, raw, signaled, snapshot


def job(pid=1, **fields):
    return raw(pid, "job.py", (), **fields)


def web(status="running", end=None, **supervised):
    return raw(2, "web", (), managed=managed("web", status, **supervised), **(end or {}))


def happened(*snapshots, before=1, ahead=0.0, declared=""):
    """Return time, text and kind of each event of a test.

    There is a snapshot every 10 s, from the start of the first processes on. The test begins just
    before the next one after the first ``before``. The sandbox's clock is ``ahead`` by some seconds.
    """
    clock = FakeClock(0.0)
    history = History(clock.monotonic)
    client = SimpleNamespace(clock=clock, history=history, label="my-sandbox", observers=[])
    wall_clock = WallClock(clock)
    wall_clock._offset = T0 / 1000 - ahead
    sandbox = UsedSandbox(SimpleNamespace(client=client, shared=False), wall_clock)
    for number, rows in enumerate(snapshots):
        clock.now = 10.0 * number - 1
        if number == before:
            sandbox.begin_test()
        clock.now += 1
        history.fold(snapshot(*rows, at=clock.now))
    for run in history.runs() if declared else ():
        run.declared |= {declared}
    return [(event.at, event.what, event.kind) for event in sandbox.events(()) if event.kind]


def test_exit_time_is_taken_from_the_sandbox_clock():
    assert happened([job()], [job(**ended(3))]) == [(9.0, "Exited 3: job.py", "exit")]


@pytest.mark.parametrize("ahead", [-3600.0, 15.0, 3600.0])
def test_exit_event_has_the_time_of_the_list_call_if_the_sandbox_clock_is_wrong(ahead):
    assert happened([job()], [job(**ended(3))], ahead=ahead) == [(10.0, "Exited 3: job.py", "exit")]


def test_exit_is_not_shown_if_the_sandbox_had_reported_it_before_the_test():
    before, after = job(**ended(3)), job(2, **ended(4, ended_at=T0 + 18500))
    assert happened([job(), job(2)], [before, job(2)], [before, after], before=2) == [
        (18.5, "Exited 4: job.py", "exit")
    ]


def test_exits_reported_by_the_first_list_call_are_shown_only_if_they_are_recent():
    old, new = job(**ended(3, ended_at=T0 - 9000)), job(2, **ended(4, ended_at=T0 - 500))
    assert happened([old, new], before=0) == [(-0.5, "Exited 4: job.py", "exit")]
    assert happened([old, new], before=0, ahead=3600.0) == []


AGAIN = {"pid": 3, "started_at": T0 + 9500}
LAST = {"exit_code": 1, "signal": None, "oom_killed": False, "ended_at": T0 + 9000}


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (job(), job(**ended(0)), []),
        (job(), job(**OOM), [(9.0, "OOM-killed: job.py", "oom")]),
        (job(**ended(1)), job(**ended(1, oom_killed=True)),
         [(9.0, "A child was OOM-killed: job.py", "oom")]),
        (job(), job(**signaled(9)), [(9.0, "Killed by SIGKILL: job.py", "exit")]),
        (job(), job(**signaled(11)), [(9.0, "Crashed with SIGSEGV: job.py", "crash")]),
        (job(), job(**ended(-1)), [(9.0, "End not known: job.py", "none")]),
        (job(), None, [(10.0, "No longer listed: job.py", "exit")]),
        (web(), web("backing_off", ended(1), last_exit=LAST), [(9.0, "Exited 1: web", "exit")]),
        (web(), {**web(restart_count=1, last_exit={**LAST, "exit_code": 0}), **AGAIN},
         [(9.0, "Exited 0, then restarted: web, first run", "restart")]),
        (web(), {**web(restart_count=3, last_exit=LAST), **AGAIN},
         [(10.0, "End not seen, then restarted: web, first run", "exit"),
          (10.0, "End not seen, then restarted: web, restart 1", "exit"),
          (9.0, "Exited 1, then restarted: web, restart 2", "exit")]),
        (web(), web("stopped", ended(1), restart_count=5, last_error="gave up"),
         [(9.0, "Exited 1; its supervisor gave up: web", "crash")]),
        (web(), web(health_status="unhealthy"), [(10.0, "Unhealthy: web", "none")]),
    ],
)  # fmt: skip
def test_each_kind_of_event_is_described(before, after, expected):
    keeper = raw(9, "keeper", ())  # or the sandbox would count as replaced
    assert happened([before, keeper], [row for row in (after, keeper) if row]) == expected


def test_incident_is_not_shown_as_a_cause_if_the_test_waited_for_it():
    assert happened([job()], [job(**OOM)], declared="oom") == []
    assert happened([job()], [job(**signaled(11))], declared="crash") == []


def test_replacement_of_the_sandbox_is_shown_as_a_cause_of_the_failure():
    [event] = happened([job(), job(2)], [job(1, started_at=T0 + 5000)])
    assert event == (10.0, "Another sandbox answers as my-sandbox", "sandbox")
