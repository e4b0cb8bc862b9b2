"""Waits for and assertions on the status, the restarts and the fields of one process."""

from unittest.mock import call

import pytest

from pytest_tlsandbox import by, errors
from tests.rows import OOM, T0, ended, managed, raw, signaled
from tests.support import assert_result, failure, make, pass_time, polls, result_of, unreachable
from tests.support import silent_box as box_of


def web(pid=40, restarts=0, status="running", *, end=None, **supervised):
    """Return a row of a managed process; the run with pid 40 + n began n * 10 s later."""
    started_at = T0 + (pid - 40) * 10_000
    last = {"exit_code": 1, "ended_at": started_at - 1000} if restarts else None
    supervisor = managed(
        "web", status, **{"restart_count": restarts, "last_exit": last, **supervised}
    )
    return raw(pid, "web", (), started_at=started_at, managed=supervisor, **(end or {}))


RUNNING, PAUSED = raw(41), raw(41, status="paused")
EXITED, FAILED = raw(41, **ended(0)), raw(41, **ended(1))
TERMINATED = raw(41, **signaled(15))
AB = raw(41, args=("a", "b"))
FIRST, SECOND, THIRD = web(), web(41, 1), web(42, 2)
LOST_CODE = ended(-1)
BACKING_OFF = web(status="backing_off", end=ended(1))
STARTING, HEALTHY = web(health_status="starting"), web(health_status="healthy")
OLDER = raw(7, "web", (), started_at=T0 - 1000, managed=managed("other"))
TWO_WEBS = {0: [OLDER, FIRST], 1: [OLDER, SECOND]}
RESTARTED = {0: [FIRST], 1: [SECOND]}
FULL = web(restarts=5)
GAVE_UP = web(restarts=5, status="stopped", end=ended(1), last_error="restart limit reached")
# Another process that has ended, and two that start later, match the same text.
OTHER = raw(42, command="other", args=("train.py",), **ended(0))
LATER = [raw(pid, started_at=T0 + 5000) for pid in (43, 44)]
waits, stays, has = call.wait_for_process, call.assert_stays, call.assert_process


def restart(who="web", count=1, **options):
    return lambda box: box.from_now().wait_for_restart(who, count, **options)


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
    ([TERMINATED], waits(41, status=["exited", "signaled"]), "pid 41", 0, 0),
    ({0: [STARTING], 3: [HEALTHY]}, waits("web", healthy=True), "pid 40", 3, 3.3),
    ([RUNNING], waits(41, healthy=True), f"{NO_CHECK}: train.py", 0, 0),
    ([FIRST], waits("web", healthy=True), f"{NO_CHECK}: web", 0, 0),
    ([STARTING], waits("web", healthy=True, timeout=1),
     f"WaitTimedOut: Still starting {NOT_HEALTHY}", 1, 1),
    ([web(status="backing_off", end=ended(1), health_status="starting")],
     waits("web", healthy=True, timeout=1), f"WaitTimedOut: Still backing off {NOT_HEALTHY}", 1, 1),
    ([web(status="starting")], waits("web", status="exited", timeout=1),
     "WaitTimedOut: Still running after 1 s, wanted exited: web", 1, 1),
    ([RUNNING], waits(41, stable_for=5, timeout=1), f"{TOO_SHORT}: train.py", 1, 1),
    ([SECOND], waits("web", stable_for=5, timeout=1), f"{TOO_SHORT}: web", 1, 1),
    # The run time begins anew after a restart, and after an outage of a tenth of it.
    ({0: [FIRST], 0.6: [SECOND]}, waits("web", stable_for=1), "pid 41", 1.6, 1.8),
    ({0: [FIRST], 0.6: [web(41, 1, last_exit=None)]}, waits("web", stable_for=5, timeout=1),
     "WaitTimedOut: Ended, then restarted and ran for only 0.4 s; wanted a run time of 5 s: web",
     1, 1),
    ({0: [FIRST], 0.6: [web(41, 1, "stopped", end=ended(0))]},
     waits("web", status=["running", "exited"], stable_for=5, timeout=1),
     "WaitTimedOut: Exited 1, then restarted and exited for only 0.4 s; "
     "wanted running or exited for 5 s: web", 1, 1),
    (outage(20), waits(41, timeout=60, stable_for=2), "pid 41", 22, 30),
    (outage(1.2), waits(41, timeout=60, stable_for=5), "pid 41", 6, 7.5),
    (outage(1.2), waits(41, timeout=60, stable_for=20), "pid 41", 20, 21),
    (outage(4), waits(41, timeout=60, stable_for=20), "pid 41", 24, 26.5),
    # A pid selects one run, whose end the supervisor of the next run reports.
    ({0: [FIRST], 0.5: [SECOND]}, waits(40, status="exited"), "pid 40", 0.5, 0.6),
    ([TERMINATED], waits("train.py"),
     f"{FOREIGN} before the wait began, wanted running: train.py", 2, 2.1),
    ({0: [], 1: [EXITED]}, waits("train.py"),
     "UnexpectedExit: Exited 0 after 9 s, wanted running: train.py", 3, 3.2),
    ({0: [PAUSED], 1: [TERMINATED]}, waits(41),
     f"{FOREIGN} after 9 s, wanted running: train.py", 1, 1.1),

    # assert_stays
    ([RUNNING], stays("train.py", stable_for=10), "pid 41", 10, 10.01),
    *(({0: [FIRST], 0.5: [SECOND, raw(43, "web", ())]}, stays(who, stable_for=5),
       "AssertionFailed: Exited 1, then restarted; wanted a run time of 5 s: web", 0.5, 0.6)
      for who in ("web", 40, by(command="web"))),
    # There is no time for a successor.
    ([FAILED], stays("train.py", stable_for=10),
     "UnexpectedExit: Exited 1 before the wait began, wanted a run time of 10 s: train.py", 0, 0),
    # Only the process that matched first counts.
    ({0: [RUNNING, OTHER], 3: [FAILED, *LATER]}, stays("train.py", stable_for=10),
     "UnexpectedExit: Exited 1 after 9 s, wanted a run time of 10 s: train.py", 3, 3.3),
    ([PAUSED], stays(41, stable_for=1, status=["running", "exited"]),
     "AssertionFailed: Paused, wanted running or exited for 1 s: train.py", 0, 0),

    # assert_process
    ([FAILED], has(41, exit_code=(0, 1)), "pid 41", 0, 0),
    ([FAILED], has(41, exit_code=[0, 2]),
     "AssertionFailed: Exited 1, wanted 0 or 2: train.py", 0, 0),
    ([AB], has(41, args=["a"]), "AssertionFailed: args[1] was b, wanted (absent): a", 0, 0),
    ([AB], has(41, args=["a", "b", "c"]),
     "AssertionFailed: args[2] was (absent), wanted c: a", 0, 0),
    ([AB], has(41, args=["a", "x"]), "AssertionFailed: args[1] was b, wanted x: a", 0, 0),
    ([AB], has(41, args=["c"]),
     "AssertionFailed: args[0] was a, wanted c (1 more field differs): a", 0, 0),
    ([raw(41, args=("--token=a",))], has(41, args=["--token=b"]),
     "AssertionFailed: args was a secret, wanted another secret: python --token=***", 0, 0),
    ({0: [BACKING_OFF | LOST_CODE], 0.6: [web(41, 1, "backing_off", end=LOST_CODE)]},
     has("web", exit_code=1),
     "Inconclusive: Exited, but no exit code was reported within 1 s; wanted exit_code=1: web",
     1.6, 1.7),
    ([raw(41, **OOM)], has(41, status="exited", exit_code=0),
     "AssertionFailed: OOM-killed, wanted status=exited and exit_code=0: train.py", 0, 0),
    ([raw(41, **OOM)], has(41, status="exited", command="sh"),
     "AssertionFailed: status was oom_killed, wanted exited (1 more field differs): train.py",
     0, 0),

    # wait_for_restart
    *(({0: [FIRST], 1: [BACKING_OFF], 2: [SECOND]}, restart(who), "pid 41", 2, 2.3)
      for who in ("web", 40, lambda row: row.command == "web")),
    ({0: [BACKING_OFF], 2: [SECOND]}, restart(40), "pid 41", 2, 2.3),
    ([web(status="stopped", end=ended(0))], restart(40),
     "UnexpectedExit: Exited 0 before the wait began, wanted 1 restart: web", 0, 0),
    ({0: [FIRST], 1: [THIRD]}, restart(count=2), "pid 42", 1, 1.1),
    # The restart may have happened before the call.
    (RESTARTED, lambda box: pass_time(box.from_now(), 5).wait_for_restart("web"), "pid 41", 5, 5),
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
    ([raw(40, "web", ())], restart(),
     "AssertionFailed: Has no supervisor, wanted 1 restart: web", 0, 0),
]
# fmt: on


@pytest.mark.parametrize(("script", "call", "expected", "earliest", "latest"), RESULTS)
def test_check_of_a_state_has_the_expected_result(script, call, expected, earliest, latest):
    assert_result(box_of(script), call, expected, earliest, latest)


@pytest.mark.parametrize(("gap", "stable_for", "took"), [(1, 3, 3), (1.01, 3, 4.01), (2, 20, 20)])
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


OOM_CHILD = raw(41, **ended(1, oom_killed=True))
CRASHED = raw(41, **signaled(11, oom_killed=True))
OOM_BY_STATUS = waits(41, status=["exited", "oom_killed"])
OOM_BY_FIELD, WAIT = has(41, status="oom_killed"), call.wait_for_restart("web")
OOM_RESTART = {0: [FIRST], 1: [web(status="backing_off", end=OOM)], 2: [SECOND]}


DECLARED = [
    ([CRASHED], [has(41, signal=11), OOM_BY_STATUS], {"crash", "oom"}),
    ([CRASHED], [has(41, signal=11), OOM_BY_FIELD], {"crash", "oom"}),
    ([CRASHED], [OOM_BY_FIELD, has(41, signal=11)], {"crash", "oom"}),
    ([OOM_CHILD], [has(41, oom_killed=True)], {"oom"}),
    ([EXITED], [OOM_BY_STATUS], set()),
    ([TERMINATED], [has(41, status="signaled")], set()),
    (RESTARTED, [WAIT], {"restart"}),
    (OOM_RESTART, [waits("web", status="oom_killed"), WAIT], {"oom", "restart"}),
]


@pytest.mark.parametrize(("script", "calls", "declared"), DECLARED)
def test_guard_does_not_report_an_incident_that_the_test_named(script, calls, declared):
    box = box_of(script).from_now()

    for each in calls:
        make(each, box)

    assert box._history.run_of(box.baseline[0]).declared == declared


NOT_RESTARTED = "WaitTimedOut: 0 restarts after 1 s, wanted 1: web"


@pytest.fixture
def box():
    """Provide a sandbox whose process was restarted 4 s ago, after the test had begun."""
    return pass_time(box_of(RESTARTED).from_now(), 5)


def test_restart_before_the_test_does_not_count_unless_since_includes_it(box):
    later = box.from_now()

    assert result_of(lambda: later.wait_for_restart("web", timeout=1)) == NOT_RESTARTED
    assert later.wait_for_restart("web", since=box.baseline).pid == 41


def test_restart_that_the_plugin_requested_does_not_count(box):
    box._history.note_restart(box.baseline[0], box.list_processes()[0])

    assert result_of(lambda: box.wait_for_restart("web", timeout=1)) == NOT_RESTARTED
