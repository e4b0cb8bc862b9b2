"""Waits for and assertions on the status, the restarts and the fields of one process."""

from __future__ import annotations

import pytest

from pytest_tlsandbox import by, errors
from tests.support import (
    OOM,
    T0,
    assert_result,
    ended,
    failure,
    managed,
    polls,
    raw,
    result_of,
    signaled,
    unreachable,
)
from tests.support import silent_box as box_of


def web(pid=40, restarts=0, status="running", *, end=None, **supervised):
    """Return a row of a managed process; the run with pid 40 + n began n * 10 s later."""
    started_at = T0 + (pid - 40) * 10_000
    last = {"exit_code": 1, "ended_at": started_at - 1000} if restarts else None
    supervised = {"restart_count": restarts, "last_exit": last, **supervised}
    return raw(
        pid, "web", (), started_at=started_at, managed=managed("web", status, **supervised),
        **(end or {}),
    )  # fmt: skip


RUNNING, PAUSED = raw(41), raw(41, status="paused")
EXITED, FAILED = raw(41, **ended(0)), raw(41, **ended(1))
TERMINATED, KILLED, LOST = (raw(41, **end) for end in (signaled(15), signaled(9), ended(-1)))
AB = raw(41, args=("a", "b"))
FIRST, SECOND, THIRD = web(), web(41, 1), web(42, 2)
LOST_CODE = ended(-1)
BACKING_OFF = web(status="backing_off", end=ended(1))
STARTING, HEALTHY = web(health_status="starting"), web(health_status="healthy")
OLDER = raw(7, "web", (), started_at=T0 - 1000, managed=managed("other"))
TWO_WEBS = {0: [OLDER, FIRST], 1: [OLDER, SECOND]}
FULL = web(restarts=5)
GAVE_UP = web(restarts=5, status="stopped", end=ended(1), last_error="restart limit reached")
# Another process that has ended, and two that start later, match the same text.
OTHER = raw(42, command="other", args=("train.py",), **ended(0))
LATER = [raw(pid, started_at=T0 + 5000) for pid in (43, 44)]


def waits(who=41, timeout=1, **options):
    return lambda box: box.wait_for_process(who, timeout=timeout, **options)


def stays(stable_for, who=41, **options):
    return lambda box: box.assert_stays(who, stable_for=stable_for, **options)


def restart(who="web", count=1, **options):
    return lambda box: box.from_now().wait_for_restart(who, count, **options)


def has(who=41, **fields):
    return lambda box: box.assert_process(who, **fields)


def outage(until):
    return {0: [RUNNING], 0.2: unreachable(), until: [RUNNING]}


FOREIGN = "UnexpectedExit: Killed by SIGTERM (not by this test)"
NO_CHECK = "AssertionFailed: No health check is configured, wanted running and healthy"
NOT_HEALTHY = "after 1 s, wanted running and healthy: web"
TOO_SHORT = "WaitTimedOut: Running for only 1 s, wanted a run time of 5 s"
# For each call: what is listed, the result, and when its last poll begins.
# fmt: off
RESULTS = [
    # wait_for_process
    ([TERMINATED], waits(status=["exited", "signaled"]), "pid 41", 0, 0),
    ({0: [LOST], 0.5: [KILLED]}, waits(status="exited"),
     "UnexpectedExit: Killed by SIGKILL (not by this test), wanted exited: train.py", 0.5, 0.7),
    ({0: [STARTING], 3: [HEALTHY]}, waits("web", 5, healthy=True), "pid 40", 3, 3.3),
    ([RUNNING], waits(healthy=True), f"{NO_CHECK}: train.py", 0, 0),
    ([FIRST], waits("web", healthy=True), f"{NO_CHECK}: web", 0, 0),
    ([STARTING], waits("web", healthy=True), f"WaitTimedOut: Still starting {NOT_HEALTHY}", 1, 1),
    ([web(status="backing_off", end=ended(1), health_status="starting")],
     waits("web", healthy=True), f"WaitTimedOut: Still backing off {NOT_HEALTHY}", 1, 1),
    ([web(status="starting")], waits("web", status="exited"),
     "WaitTimedOut: Still running after 1 s, wanted exited: web", 1, 1),
    ([RUNNING], waits(stable_for=5), f"{TOO_SHORT}: train.py", 1, 1),
    ([SECOND], waits("web", stable_for=5), f"{TOO_SHORT}: web", 1, 1),
    # The run time begins anew after a restart, and after an outage of a tenth of it.
    ({0: [FIRST], 0.6: [SECOND]}, waits("web", 5, stable_for=1), "pid 41", 1.6, 1.8),
    ({0: [FIRST], 0.6: [web(41, 1, last_exit=None)]}, waits("web", stable_for=5),
     "WaitTimedOut: Ended, then restarted and ran for only 0.4 s; wanted a run time of 5 s: web",
     1, 1),
    ({0: [FIRST], 0.6: [web(41, 1, "stopped", end=ended(0))]},
     waits("web", status=["running", "exited"], stable_for=5),
     "WaitTimedOut: Exited 1, then restarted and exited for only 0.4 s; "
     "wanted running or exited for 5 s: web", 1, 1),
    (outage(20), waits(timeout=60, stable_for=2), "pid 41", 22, 30),
    (outage(1.2), waits(timeout=60, stable_for=5), "pid 41", 6, 7.5),
    (outage(1.2), waits(timeout=60, stable_for=20), "pid 41", 20, 21),
    (outage(4), waits(timeout=60, stable_for=20), "pid 41", 24, 26.5),
    # A pid selects one run, whose end the supervisor of the next run reports.
    ({0: [FIRST], 0.5: [SECOND]}, waits(40, status="exited"), "pid 40", 0.5, 0.6),
    ({0: [FIRST], 0.5: [SECOND]}, lambda box: box.wait_for_exit(40),
     "UnexpectedExit: Exited 1, wanted 0: web", 0.5, 0.6),
    ([EXITED], waits(),
     "UnexpectedExit: Exited 0 before the wait began, wanted running: train.py", 0, 0),
    ([TERMINATED], waits("train.py", 5),
     f"{FOREIGN} before the wait began, wanted running: train.py", 2, 2.1),
    ({0: [], 1: [EXITED]}, waits("train.py", 5),
     "UnexpectedExit: Exited 0 after 9 s, wanted running: train.py", 3, 3.2),
    ({0: [PAUSED], 1: [TERMINATED]}, waits(timeout=5),
     f"{FOREIGN} after 9 s, wanted running: train.py", 1, 1.1),

    # assert_stays
    ([RUNNING], stays(10, "train.py"), "pid 41", 10, 10.01),
    *(({0: [FIRST], 0.5: [SECOND, raw(43, "web", ())]}, stays(5, who),
       "AssertionFailed: Exited 1, then restarted; wanted a run time of 5 s: web", 0.5, 0.6)
      for who in ("web", 40, by(command="web"))),
    # There is no time for a successor.
    ([FAILED], stays(10, "train.py"),
     "UnexpectedExit: Exited 1 before the wait began, wanted a run time of 10 s: train.py", 0, 0),
    # Only the process that matched first counts.
    ({0: [RUNNING, OTHER], 3: [FAILED, *LATER]}, stays(10, "train.py"),
     "UnexpectedExit: Exited 1 after 9 s, wanted a run time of 10 s: train.py", 3, 3.3),
    ([PAUSED], stays(1, status=["running", "exited"]),
     "AssertionFailed: Paused, wanted running or exited for 1 s: train.py", 0, 0),

    # assert_process
    ([FAILED], has(exit_code=(0, 1)), "pid 41", 0, 0),
    ([FAILED], has(exit_code=[0, 2]), "AssertionFailed: Exited 1, wanted 0 or 2: train.py", 0, 0),
    ([AB], has(args=["a"]), "AssertionFailed: args[1] was b, wanted (absent): a", 0, 0),
    ([AB], has(args=["a", "b", "c"]), "AssertionFailed: args[2] was (absent), wanted c: a", 0, 0),
    ([AB], has(args=["a", "x"]), "AssertionFailed: args[1] was b, wanted x: a", 0, 0),
    ([AB], has(args=["c"]),
     "AssertionFailed: args[0] was a, wanted c (1 more field differs): a", 0, 0),
    ([raw(41, args=("--token=a",))], has(args=["--token=b"]),
     "AssertionFailed: args was a secret, wanted another secret: python --token=***", 0, 0),
    ({0: [BACKING_OFF | LOST_CODE], 0.6: [web(41, 1, "backing_off", end=LOST_CODE)]},
     has("web", exit_code=1),
     "Inconclusive: Exited, but no exit code was reported within 1 s; wanted exit_code=1: web",
     1.6, 1.7),
    ([raw(41, **OOM)], has(status="exited", exit_code=0),
     "AssertionFailed: OOM-killed, wanted status=exited and exit_code=0: train.py", 0, 0),
    ([raw(41, **OOM)], has(status="exited", command="sh"),
     "AssertionFailed: status was oom_killed, wanted exited (1 more field differs): train.py",
     0, 0),

    # wait_for_restart
    *(({0: [FIRST], 1: [BACKING_OFF], 2: [SECOND]}, restart(who), "pid 41", 2, 2.3)
      for who in ("web", 40, lambda row: row.command == "web")),
    ({0: [BACKING_OFF], 2: [SECOND]}, restart(40), "pid 41", 2, 2.3),
    ([web(status="stopped", end=ended(0))], restart(40),
     "UnexpectedExit: Exited 0 before the wait began, wanted 1 restart: web", 0, 0),
    ({0: [FIRST], 1: [THIRD]}, restart(count=2), "pid 42", 1, 1.1),
    # The restart of another process that matches does not count.
    (TWO_WEBS, restart(by(command="web")),
     "AmbiguousProcess: 2 processes match by(command='web'), wanted exactly one", 0, 0),
    (TWO_WEBS, restart(by(command="web"), pick="newest"), "pid 41", 1, 1.1),
    (TWO_WEBS, restart(by(command="web"), pick="oldest", timeout=2),
     "WaitTimedOut: 0 restarts after 2 s, wanted 1: other", 2, 2),
    ({0: [FULL], 2: [GAVE_UP]}, restart(),
     "UnexpectedExit: Exited 1 (5 of 5 restarts used), wanted 1 restart: web", 2, 2.3),
    ({0: [FIRST], 2: [web(status="stopped", end=ended(0))]}, restart(),
     "UnexpectedExit: Exited 0 after 9 s, wanted 1 restart: web", 2, 2.3),
    ({0: [FIRST], 2: [web(status="stopped", end=OOM)]}, restart(),
     "ProcessOOMKilled: OOM-killed, wanted 1 restart: web", 2, 2.3),
    ([raw(40, "web", ())], restart(),
     "AssertionFailed: Has no supervisor, wanted 1 restart: web", 0, 0),
]
# fmt: on


@pytest.mark.parametrize(("script", "call", "expected", "earliest", "latest"), RESULTS)
def test_check_of_a_state_has_the_expected_result_at_the_expected_time(
    script, call, expected, earliest, latest
):
    assert_result(box_of(script), call, expected, earliest, latest)


@pytest.mark.parametrize(
    ("gap", "stable_for", "took"), [(1.0, 3, 3), (1.01, 3, 4.01), (2.0, 20, 20)]
)
def test_stability_assertion_starts_again_after_a_long_gap_between_polls(gap, stable_for, took):
    box = box_of([RUNNING])
    clock = box._client.clock
    pauses, sleep = iter([gap]), clock.sleep
    clock.sleep = lambda seconds: sleep(next(pauses, seconds))

    box.assert_stays("train.py", stable_for=stable_for)

    assert polls(box)[-1] == pytest.approx(took, abs=0.01)


def test_stability_assertion_ends_even_if_outages_never_stop():
    script = {at: [RUNNING] if at % 11 == 0 else unreachable() for at in range(400)}
    box = box_of(script, latency=0.9)

    failure(lambda: box.assert_stays(41, stable_for=300), errors.InfrastructureError)
    assert polls(box)[-1] < 100


# -------------------------------------------------------------------- wait_for_restart


def restarted():
    """Return a sandbox whose process was restarted 4 s ago, after the test had begun."""
    box = box_of({0: [FIRST], 1: [SECOND]}).from_now()
    box._client.clock.now += 5
    return box


@pytest.fixture
def box():
    return restarted()


NOT_RESTARTED = "WaitTimedOut: 0 restarts after 1 s, wanted 1: web"


def test_guard_does_not_report_a_restart_for_which_the_test_waited():
    box = restarted()  # its polls are counted, so that no other thread may use it
    first = box._history.run_of(box.baseline[0])

    assert box.wait_for_restart("web").pid == 41
    assert polls(box) == [0.0, 5.0]
    assert first.declared == {"restart"}


OOM_CHILD = raw(41, **ended(1, oom_killed=True))
CRASHED = raw(41, **signaled(11, oom_killed=True))
OOM_BY_STATUS, OOM_BY_FIELD = waits(status=["exited", "oom_killed"]), has(status="oom_killed")


@pytest.mark.parametrize(
    ("row", "calls", "declared"),
    [
        (CRASHED, [has(signal=11), OOM_BY_STATUS], {"crash", "oom"}),
        (CRASHED, [has(signal=11), OOM_BY_FIELD], {"crash", "oom"}),
        (CRASHED, [OOM_BY_FIELD, has(signal=11)], {"crash", "oom"}),
        (OOM_CHILD, [has(oom_killed=True)], {"oom"}),
        (EXITED, [OOM_BY_STATUS], set()),
        (TERMINATED, [has(status="signaled")], set()),
    ],
)
def test_guard_does_not_report_an_incident_that_the_test_named(row, calls, declared):
    box = box_of([row])

    for call in calls:
        call(box)

    assert box._history.run_of(box.list_processes()[0]).declared == declared


def test_guard_does_not_report_an_oom_kill_and_its_restart_if_the_test_waited_for_both():
    script = {0: [FIRST], 1: [web(status="backing_off", end=OOM)], 2: [SECOND]}
    box = box_of(script).from_now()

    waits("web", 5, status="oom_killed")(box)
    box.wait_for_restart("web")

    assert box._history.run_of(box.baseline[0]).declared == {"oom", "restart"}


def test_restart_before_the_test_does_not_count_unless_since_includes_it(box):
    later = box.from_now()

    assert result_of(lambda: later.wait_for_restart("web", timeout=1)) == NOT_RESTARTED
    assert later.wait_for_restart("web", since=box.baseline).pid == 41


def test_restart_that_the_plugin_requested_does_not_count(box):
    box._history.note_restart(box.baseline[0], box.list_processes()[0])

    assert result_of(lambda: box.wait_for_restart("web", timeout=1)) == NOT_RESTARTED
