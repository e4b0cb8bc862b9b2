"""The rules for every condition on one process: several matches, its end, a missing row."""

import re
from datetime import datetime, timezone
from types import SimpleNamespace
from unittest.mock import call

import pytest

from pytest_tlsandbox.types import Screen
from pytest_tlsandbox.waiting.suggestions import MORE_MEMORY
from tests.rows import T0, ended, managed, process, raw, signaled, snapshot
from tests.support import assert_result, failure, make, result_of
from tests.support import box_of as writing_box
from tests.support import silent_box as box_of

RUNNING, EXITED, FAILED = raw(41), raw(41, **ended(0)), raw(41, **ended(1))
LOST = raw(41, **ended(-1))
TERMINATED, HUNG_UP = raw(41, **signaled(15)), raw(41, **signaled(1))
UNREADABLE = {"handle": 41, "pid": 41, "status": [], "command": "x", "started_at": T0}
NEXT = raw(42, started_at=T0 + 1000)
BACKING_OFF = raw(7, "web", (), **ended(1), managed=managed(status="backing_off"))
# A process that exits 3, its successor, which does too, and a third one, which exits 0.
SERIES = [raw(pid, started_at=T0 + pid, **ended(code)) for pid, code in [(1, 3), (2, 3), (3, 0)]]
SHELL = raw(41, command="sh", args=("-c", "x"), **ended(137, oom_killed=True))
MOMENT = datetime.fromtimestamp(T0 / 1000, timezone.utc)


exits, waits, has = call.wait_for_exit, call.wait_for_process, call.assert_process


def foreign(**fields):
    """Return a process object of another library."""
    return SimpleNamespace(pid=41, **{"started_at": MOMENT, **fields})


GONE = "ProcessNotFound: Disappeared from the process list, wanted exit code 0:"
NO_CODE = "Inconclusive: Exited, but no exit code was reported within 1 s; wanted"
NO_CAUSE = "Inconclusive: Ended (cause unknown), wanted exit code 0: train.py"
NOT_CHECKED = "Inconclusive: Cannot check for {} of pid 41: it is not known how train.py ended"
UNEXPECTED = "UnexpectedExit: Exited 1, wanted 0: train.py"
NOT_READ = (
    "Inconclusive: Cannot check for exit code 0: 1 of 1 row in the process list cannot be read"
)
FOREIGN = "UnexpectedExit: Killed by SIGTERM (not by this test)"
TWO = 'AmbiguousProcess: 2 processes match "train.py", wanted exactly one'
BOTH = [RUNNING, NEXT, raw(43, started_at=T0 + 2000, **ended(0))]

# For each call: what is listed, the result, and when its last poll begins.
# fmt: off
RESULTS = [
    # Several processes match.
    (BOTH, waits("train.py"), TWO, 0, 0),
    (BOTH, exits("train.py", exit_code=7), TWO, 0, 0),
    # Only one of three has exited.
    (BOTH, exits("train.py"), "pid 43", 0, 0),
    (BOTH, waits("train.py", pick="newest"), "pid 42", 0, 0),
    (BOTH, waits("train.py", pick="oldest"), "pid 41", 0, 0),
    (BOTH, exits("train.py", exit_code=7, pick="newest", timeout=0),
     "WaitTimedOut: Still running after 0 s, wanted exit code 7: train.py", 0, 0),
    # A pid selects the first run that was listed with it.
    ({0: [RUNNING], 1: [FAILED, raw(41, "web", (), handle=90, started_at=T0 + 60_000)]}, exits(41),
     UNEXPECTED, 1, 1.1),
    ({0: [], 1: [BACKING_OFF]}, exits(7), "UnexpectedExit: Exited 1, wanted 0: web", 1, 1.1),

    # The process has ended. Text and functions also select a successor that starts within 2 s.
    ({0: [RUNNING], 1: [FAILED]}, exits(41), UNEXPECTED, 1, 1.1),
    ({0: [RUNNING], 1: [FAILED]}, exits(process(41)), UNEXPECTED, 1, 1.1),
    ([FAILED], exits("train.py"), UNEXPECTED, 2, 2.1),
    ({0: [RUNNING], 1: [FAILED], 2.9: [FAILED, NEXT]}, exits("train.py", timeout=4),
     "WaitTimedOut: Still running after 4 s, wanted exit code 0: train.py", 4, 4),
    # The successor also fails.
    ({0: SERIES[:1], 1.5: SERIES[:2], 3: SERIES}, exits("train.py", pick="newest"),
     "pid 3", 3, 3.5),
    ([FAILED], exits("train.py", timeout=0.5), UNEXPECTED, 0.5, 0.5),
    ([SHELL], exits(41), 'ProcessOOMKilled: A child was OOM-killed, wanted exit code 0: "x"', 0, 0),
    ([SHELL], exits(41, exit_code=137), "pid 41", 0, 0),
    ([TERMINATED], exits(41, exit_code="any"), f"{FOREIGN}, wanted an exit code: train.py", 0, 0),
    ([TERMINATED], exits(41, exit_code=[0, 3]),
     f"{FOREIGN}, wanted exit code 0 or 3: train.py", 0, 0),
    ([TERMINATED], waits(41, status=["running", "exited"], healthy=True),
     f"{FOREIGN}, wanted running or exited and healthy: train.py", 0, 0),

    # It is not known how the process ended.
    ([LOST], exits(41), f"{NO_CODE} exit code 0: train.py", 1, 1.1),
    ([raw(41, **ended(None))], exits(41), f"{NO_CODE} exit code 0: train.py", 1, 1.1),
    ([raw(41, **signaled(None))], exits(41), NO_CAUSE, 1, 1.1),
    ([HUNG_UP], exits(41), NO_CAUSE, 1, 1.1),
    ([LOST], waits(41, status=["exited", "signaled"]),
     f"{NO_CODE} exited or signaled: train.py", 1, 1.1),
    ([LOST], has(41, status="signaled"), f"{NO_CODE} status=signaled: train.py", 1, 1.1),
    ([LOST], has(41, signal=9, args=["a", "b"]),
     f"{NO_CODE} signal=9 and args=['a', 'b']: train.py", 1, 1.1),
    ([LOST], has(41, exit_code=-1), f"{NO_CODE} exit_code=-1: train.py", 1, 1.1),
    ([LOST], call.assert_stays(41, stable_for=2, status="exited"),
     f"{NO_CODE} exited for 2 s: train.py", 1, 1.1),
    ([LOST], call.assert_no_crash(41), NOT_CHECKED.format("crashes"), 1, 1.1),
    ([LOST], call.assert_no_oom(41), NOT_CHECKED.format("OOM kills"), 1, 1.1),
    ([LOST], has(41, command="python"), "pid 41", 0, 0),
    ([LOST], has(41, status="running"),
     "AssertionFailed: status was exited, wanted running: train.py", 0, 0),
    # The exit codes of two processes are lost, and one of them is corrected.
    ({0: [LOST], 0.6: [NEXT | ended(-1)], 1.3: [NEXT | signaled(9)]},
     waits("train.py", status="exited", pick="newest"),
     "UnexpectedExit: Killed by SIGKILL (not by this test), wanted exited: train.py", 2.6, 2.7),
    # A signal that the sandbox may correct counts after 1 s, for each process.
    ({0: [HUNG_UP], 0.6: [NEXT | signaled(1)]},
     waits("train.py", status="signaled", pick="newest"), "pid 42", 1.6, 1.7),

    # The row is missing or unreadable.
    ({0: [RUNNING], 2: []}, exits(41), f"{GONE} train.py", 3, 3.3),
    ({0: [RUNNING], 2: [], 2.5: [RUNNING], 4: [EXITED]}, exits(41), "pid 41", 4, 4.3),
    ({0: [RUNNING], 1: [UNREADABLE]}, exits(41), NOT_READ, 2, 2.4),
    ({0: [RUNNING], 1: [UNREADABLE]}, exits(process(41)), NOT_READ, 2, 2.4),

    # Objects of another library.
    ([EXITED], exits(foreign(handle=41, managed=None)), "pid 41", 0, 0),
    ([EXITED], exits(foreign(handle=41, started_at=MOMENT.replace(tzinfo=None))), "pid 41", 0, 0),
    ([EXITED], exits(foreign()), "pid 41", 0, 0),
    ([EXITED], exits(foreign(handle=9)), f"{GONE} pid 41", 1, 1.1),
]
# fmt: on


@pytest.mark.parametrize(("script", "call", "expected", "earliest", "latest"), RESULTS)
def test_check_of_a_process_has_the_given_result(script, call, expected, earliest, latest):
    assert_result(box_of(script), call, expected, earliest, latest)


def test_selector_prefers_a_living_process_to_an_ended_process():
    box = box_of([raw(1), raw(2, started_at=T0 + 1000, **ended(0))])

    box.send_signal("train.py", 15)

    assert box._history.run_of(process(1)).sent == {15}


# -------------------------------------------------------------------------- messages


NOT_EXECUTABLE = 'make the program executable: exit code 126 of a shell means "permission denied"'
NOT_FOUND = 'check PATH and the spelling of the program: exit code 127 of a shell means "not found"'
CHILD_KILLED = "look for an OOM kill: a shell exits 137 if SIGKILL ended its child"
OTHER_PID = "select by text or managed name: a restarted process has a new pid"
REGEX = "use re.compile(...): the text looks like a regular expression, but is matched literally"


WAIT = "use wait_for_process() or wait_for_exit(), which wait for a change"


HINTS = [
    (raw(41, **ended(7, oom_killed=True)), exits(41), MORE_MEMORY),
    (raw(41, status="oom_killed"), has(41, status="exited"), MORE_MEMORY),
    (raw(41, **ended(7, oom_killed=True)), has(41, exit_code=0), MORE_MEMORY),
    (raw(41, **ended(126)), exits(41), NOT_EXECUTABLE),
    (raw(41, **ended(127)), exits(41), NOT_FOUND),
    (raw(41, **ended(137)), exits(41), CHILD_KILLED),
    (raw(41, "/opt/python/solver", **signaled(11)), exits(41), None),
    (FAILED, waits(41), None),
    (RUNNING, waits(41, timeout=1, stable_for=5), "pass a timeout= well above stable_for="),
    (RUNNING, exits(7, timeout=0), OTHER_PID),
    (RUNNING, exits(r"train\.py --lr \d+", timeout=0), REGEX),
    (RUNNING, has(41, command="sh"), None),
    (RUNNING, has(41, status="exited"), WAIT),
    (BACKING_OFF, has("web", status="running"), WAIT),
    (RUNNING, call.wait_for_restart(41), "start it with name= or restart="),
]  # fmt: skip


@pytest.mark.parametrize(("row", "call", "hint"), HINTS)
def test_hint_depends_on_how_the_process_ended_or_was_selected(row, call, hint):
    box = box_of([row], screen=Screen(columns=500))

    message = str(failure(lambda: make(call, box)))

    found = re.search(r"^  hint +(.*)", message, re.MULTILINE)
    assert (found and found[1]) == hint


def test_message_names_a_signal_that_this_test_sent():
    box = box_of({0: [RUNNING], 1: [TERMINATED]}, screen=Screen(columns=500))
    box.send_signal(41, 15)

    error = failure(lambda: box.wait_for_exit(41))

    assert error.first_line == "Killed by SIGTERM, wanted exit code 0: train.py"
    hint = 'use wait_for_process(process, status="signaled") if this signal should end the process'
    assert f"\n  hint     {hint}" in str(error)


def test_message_about_an_ended_process_shows_no_output_of_another_process_with_its_pid():
    box = writing_box({0: [FAILED, raw(41, "web", (), handle=90, started_at=T0 + 60_000)]})

    assert result_of(lambda: box.wait_for_exit(process(41))) == UNEXPECTED


@pytest.mark.parametrize(("row", "expected"), [(EXITED, "pid 41"), (FAILED, UNEXPECTED)])
def test_process_is_checked_although_a_later_list_call_of_another_thread_lacks_it(row, expected):
    box = box_of([row])
    box._history.fold(snapshot(at=5000))

    assert result_of(lambda: box.wait_for_exit(41)) == expected
