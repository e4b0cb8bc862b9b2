"""Conditions on absence: what they must observe, and for how long."""

from unittest.mock import call

import pytest

from pytest_tlsandbox.errors import Inconclusive
from pytest_tlsandbox.sandbox import Sandbox
from pytest_tlsandbox.testing import ScriptedLister
from tests.rows import OOM, T0, ended, managed, process, raw, signaled
from tests.support import assert_result, failure, make, pass_time, polls, result_of, unreachable
from tests.support import silent_box as box_of

RUNNING, OTHER, EXITED, LOST = raw(41), raw(42), raw(41, **ended(0)), raw(41, **ended(-1))
KILLED, KILLED_BY_OTHERS = raw(41, **OOM), raw(41, **signaled(9))
CRASHED = raw(41, **signaled(11))
UNREADABLE = [EXITED, {"pid": 77, "status": 3, "command": "x"}]
BACKING_OFF, STOPPED = (
    raw(7, **ended(1), managed=managed(status=status)) for status in ("backing_off", "stopped")
)


no_oom, not_running = call.assert_no_oom, call.assert_not_running


def later(call, *, killed=None):
    """Return a call 1 s after the test began, perhaps after the test killed a process."""

    def ask(box):
        box = box.from_now()
        if killed is not None:
            box._history.note_signals(process(killed), 9)
        return make(call, pass_time(box))

    return ask


def unknown_end(of: str) -> str:
    return f"Inconclusive: Cannot check for OOM kills: it is not known how {of} ended"


def unreadable(check: str, rows: str = "1 of 2 rows") -> str:
    return f"Inconclusive: Cannot check {check}: {rows} in the process list cannot be read"


NEXT, WEB = raw(43), raw(7, managed=managed())
LAST = {"signal": 9, "oom_killed": True, "ended_at": T0 + 4000}
AGAIN = raw(8, started_at=T0 + 9000, managed=managed(restart_count=1, last_exit=LAST))
FAILED = {"exit_code": 1, "ended_at": T0 + 4000}
THIRD_RESTART = raw(9, started_at=T0 + 9000, managed=managed(restart_count=3, last_exit=FAILED))
SICK = raw(8, managed=managed(health_status="unhealthy"))
OOM_KILLED = "ProcessOOMKilled: OOM-killed: train.py"
# For each check: what is listed, the call, the result, and when its last poll begins.
# fmt: off
CHECKS = [
    ([OTHER], no_oom(process(41)), "ProcessNotFound: No process matches pid 41", 1, 1.1),
    ([NEXT], no_oom("x.py"), 'ProcessNotFound: No process matches "x.py"', 0, 0),
    ([NEXT], no_oom(99), "ProcessNotFound: No process matches pid 99", 0, 0),
    ([NEXT], not_running(99), "passes", 0, 0),
    ([BACKING_OFF], not_running("web"), "AssertionFailed: Unexpectedly backing off: web", 0.2, 0.3),
    # The status may be out of date right after a kill.
    ({0: [RUNNING], 0.15: [KILLED_BY_OTHERS]}, not_running(41), "passes", 0.15, 0.3),

    ({0: UNREADABLE, 1: UNREADABLE}, later(not_running("none")), "passes", 1, 1),

    ({0: [RUNNING], 1: [NEXT]}, later(not_running(41)),
     "Inconclusive: Cannot check whether pid 41 is running: it is not known how train.py ended",
     2, 2.1),

    # How long the processes are polled.
    ([RUNNING], no_oom(), "passes", 0.2, 0.3),
    ([EXITED], no_oom(), "passes", 0, 0),
    ([STOPPED], no_oom(), "passes", 0, 0),
    ([BACKING_OFF], no_oom(), "passes", 0.2, 0.3),
    ({0: [RUNNING], 0.1: [KILLED]}, no_oom(), OOM_KILLED, 0.1, 0.2),
    ({0: [raw(41, **ended(None))], 0.1: [KILLED]}, no_oom(), OOM_KILLED, 0.1, 0.2),
    ({0: [raw(41, **signaled(1))], 0.1: [CRASHED]}, call.assert_no_incidents(),
     "ProcessCrashed: Crashed with SIGSEGV: train.py", 0.1, 0.2),
    ({0: [LOST], 0.5: [EXITED]}, no_oom(suspected=True), "passes", 0.5, 0.6),
    ([LOST], no_oom(suspected=True),
     "SuspectedOOMKill: End not known, possibly an OOM kill: train.py", 1, 1.1),
    ([raw(41, **ended(137))], no_oom(suspected=True),
     "SuspectedOOMKill: Exited 137, possibly an OOM kill: train.py", 0, 0),
    # Two polls are enough, even with an outage between them.
    ({0: [RUNNING], 0.01: unreachable(), 7: [RUNNING]}, no_oom(), "passes", 7, 9.5),

    # An unreadable row matters unless another pid is selected.
    (UNREADABLE, no_oom(), unreadable("for OOM kills"), 1, 1.1),
    (UNREADABLE, no_oom("train.py"), unreadable('for OOM kills of "train.py"'), 1, 1.1),
    (UNREADABLE, not_running("none"), unreadable('whether "none" is running'), 1, 1.1),
    (UNREADABLE, no_oom(41), "passes", 0, 0),
    (UNREADABLE, not_running(41), "passes", 0, 0),
    # What was unreadable or lost before the test does not matter.
    ({0: [LOST, *UNREADABLE], 1: [LOST, *UNREADABLE]}, later(no_oom()), "passes", 1, 1),
    ({0: UNREADABLE, 1: [*UNREADABLE, {"pid": 4}]}, later(no_oom()),
     unreadable("for OOM kills", "1 of 3 rows"), 2, 2.1),

    # All processes vanished, and the test did not kill them.
    ({0: [RUNNING, OTHER], 1: [NEXT]}, later(no_oom()), unknown_end("2 runs of train.py"), 2, 2.1),
    ({0: [RUNNING, OTHER], 1: [NEXT]}, later(no_oom(), killed=41), unknown_end("train.py"), 2, 2.1),
    ({0: [RUNNING], 1: [NEXT]}, later(no_oom(), killed=41), "passes", 1.2, 1.3),
    ({0: [EXITED], 1: [NEXT]}, later(no_oom()), "passes", 1.2, 1.3),
    ({0: [RUNNING, OTHER], 1: [OTHER]}, later(no_oom()), "passes", 1.2, 1.3),
    ({0: [OTHER], 1: [EXITED]}, later(no_oom()), unknown_end("train.py"), 2, 2.1),
    ({0: [OTHER], 1: [EXITED]}, later(no_oom(41)), "passes", 1, 1),
    ({0: [WEB], 1: [THIRD_RESTART]}, later(no_oom()), unknown_end("2 runs of web"), 1, 1),

    # A pid selects one run, but the restart that led to the pid counts.
    ({0: [WEB], 1: [AGAIN]}, later(no_oom(8)), "passes", 1.2, 1.3),
    ({0: [WEB], 1: [AGAIN]}, later(no_oom("web")),
     "ProcessOOMKilled: OOM-killed, then restarted: web", 1, 1),
    ({0: [WEB], 1: [AGAIN]}, later(call.assert_no_restart(8)),
     "ProcessRestarted: OOM-killed, then restarted: web", 1, 1),

    # Several selectors match the process.
    ([SICK], call.assert_no_incidents("web", "train.py"),
     "ProcessUnhealthy: Unhealthy: web", 0, 0.3),
]
# fmt: on


@pytest.mark.parametrize(("script", "call", "expected", "earliest", "latest"), CHECKS)
def test_check_of_absence_has_the_expected_result(script, call, expected, earliest, latest):
    assert_result(box_of(script), call, expected, earliest, latest)


def test_assertion_waits_one_second_for_a_missing_process_unless_the_test_killed_it():
    box = box_of([OTHER], started=[process(41)])
    box._history.note_start(process(41))
    assert result_of(box.assert_no_oom) == unknown_end("train.py")
    assert 1.0 <= polls(box)[-1] <= 1.1
    for check in (no_oom(), not_running(41)):
        message = str(failure(lambda check=check: make(check, box), Inconclusive))
        assert "\n  it was alive and is no longer listed\n" in message

    box = box_of({0: [RUNNING], 1: [OTHER]}, started=[process(41)])
    box._history.note_start(process(41))
    box._history.note_signals(process(41), 9)
    assert result_of(pass_time(box).assert_no_oom) == "passes"


def test_check_in_a_shared_sandbox_ignores_processes_that_other_tests_started():
    box = box_of([SICK, EXITED], shared=True, started=[process(41)])

    box.assert_no_incidents()
    assert polls(box) == [0.0]


UNCERTAIN = [
    (KILLED_BY_OTHERS, "oom", "killed by a SIGKILL that this plugin did not send"),
    (KILLED_BY_OTHERS, "crash", None),
    (LOST, "oom", "the sandbox lost its exit code"),
    (LOST, "crash", "the sandbox lost its exit code"),
    (LOST, "restart", None),
]


@pytest.mark.parametrize(("row", "check", "logged"), UNCERTAIN)
def test_passed_check_logs_an_uncertain_end_only_if_the_end_matters(row, check, logged, caplog):
    caplog.set_level("INFO")

    getattr(box_of([row]), f"assert_no_{check}")()

    uncertain = [text for text in caplog.messages if text.startswith("uncertain end")]
    assert uncertain == ([f"uncertain end: train.py (pid 41): {logged}"] if logged else [])


class _Alternating(ScriptedLister):
    """Lists an unreadable row in every second poll."""

    def poll(self, **options):
        self._script = {0.0: [RUNNING, {"pid": 5}] if len(self.polls) % 2 else [RUNNING]}
        return super().poll(**options)


def test_assertion_whose_result_never_becomes_stable_is_inconclusive():
    box = Sandbox(_Alternating({}))

    expected = "Inconclusive: Cannot be checked: the result did not settle"
    assert result_of(box.assert_no_oom) == expected
    assert 5 < polls(box)[-1] < 6.5


def test_two_slow_polls_are_enough_for_a_negative_assertion():
    box = box_of([RUNNING], latency=1.2)

    box.assert_no_oom()

    assert len(polls(box)) == 2
