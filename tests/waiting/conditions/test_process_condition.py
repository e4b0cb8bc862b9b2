"""The rules for every condition on one process: several matches, its end, a missing row."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from types import SimpleNamespace

import pytest

from pytest_tlsandbox import errors
from pytest_tlsandbox.types import Screen
from pytest_tlsandbox.waiting.conditions.condition import MORE_MEMORY
from tests.support import (
    OOM,
    T0,
    dedented,
    ended,
    failure,
    managed,
    outcome,
    polls,
    process,
    raw,
    signaled,
)
from tests.support import box_of as writing_box
from tests.support import silent_box as box_of

RUNNING, FAILED = raw(41), raw(41, **ended(1))
TWO = ("AmbiguousProcess", '2 processes match "train.py", wanted exactly one')
GONE = ("ProcessNotFound", "Disappeared from the process list, wanted exit code 0: train.py")
UNREADABLE = {"handle": 41, "pid": 41, "status": [], "command": "x", "started_at": T0}


def hint_of(script, ask) -> str | None:
    """Return the hint in the message of a failed call."""
    message = str(failure(lambda: ask(box_of(script, screen=Screen(columns=500)))))
    found = re.search(r"^  hint +(.*)", message, re.MULTILINE)
    return found and found[1]


# ------------------------------------------------------------------- several matches


def test_several_matches_raise_an_error_unless_the_pick_argument_selects_one():
    box = box_of([raw(1), raw(2, started_at=T0 + 1000), raw(3, started_at=T0 + 2000, **ended(0))])

    for call in (
        lambda: box.wait_for_process("train.py"),
        lambda: box.wait_for_exit("train.py", exit_code=7),
        lambda: box.assert_process("train.py", status="running"),
        lambda: box.assert_stays("train.py", stable_for=0.5),
        lambda: box.wait_for_output("train.py", "up"),
    ):
        assert outcome(call) == TWO
    assert box.wait_for_process("train.py", pick="newest").pid == 2
    assert box.wait_for_process("train.py", pick="oldest").pid == 1
    assert box.assert_process("train.py", status="running", pick="newest").pid == 2
    assert box.assert_stays("train.py", stable_for=0.5, pick="oldest").pid == 1
    assert box.wait_for_exit("train.py").pid == 3
    error = failure(lambda: box.wait_for_exit("train.py", exit_code=7, pick="newest", timeout=0))
    assert error.first_line == "Still running after 0 s, wanted exit code 7: train.py"


def test_selector_prefers_a_living_process_to_an_ended_process():
    box = box_of([raw(1), raw(2, started_at=T0 + 1000, **ended(0))])

    box.send_signal("train.py", 15)

    assert box._history.run_of(process(1)).sent == {15}


def test_process_object_from_another_library_selects_one_run():
    moment = datetime.fromtimestamp(T0 / 1000, timezone.utc)
    box = box_of([raw(41, **ended(0))])

    for fields in (
        {"handle": 41, "started_at": moment, "managed": None},
        {"handle": 41, "started_at": moment.replace(tzinfo=None)},
        {"started_at": moment},
    ):
        assert box.wait_for_exit(SimpleNamespace(pid=41, **fields)).pid == 41
    line = "Disappeared from the process list, wanted exit code 0: pid 41"
    for other in (SimpleNamespace(pid=41, handle=9, started_at=moment), process(41, handle=9)):
        assert outcome(lambda: box.wait_for_exit(other)) == ("ProcessNotFound", line)  # noqa: B023


def test_pid_selects_the_first_run_that_was_listed_with_that_pid():
    reused = raw(41, handle=90, command="web", args=(), started_at=T0 + 60_000)
    box = writing_box({0: [RUNNING], 1: [FAILED, reused]})
    error = failure(lambda: box.wait_for_exit(41), errors.UnexpectedExit)
    assert error.first_line == "Exited 1, wanted 0: train.py"  # without output of the other process

    waiting = raw(7, "web", (), **ended(1), managed=managed(status="backing_off"))
    box = box_of({0: [], 1: [waiting]})
    failure(lambda: box.wait_for_exit(7), errors.UnexpectedExit)
    assert 1.0 <= polls(box)[-1] <= 1.1


# ------------------------------------------------------------------------------ the end


@pytest.mark.parametrize("name", [41, process(41)], ids=["pid", "object"])
def test_waiting_for_a_pid_or_process_object_fails_when_the_selected_run_ends(name):
    box = box_of({0: [RUNNING], 1: [FAILED]})

    failure(lambda: box.wait_for_exit(name), errors.UnexpectedExit)

    assert polls(box)[-1] < 1.1


def test_wait_with_a_text_selector_waits_two_seconds_for_a_replacement_process():
    again = raw(42, started_at=T0 + 1000)
    box = box_of({0: [RUNNING], 1: [FAILED], 2.9: [FAILED, again]})
    box.wait_until(lambda seen: "exited" in str(seen))
    assert box.wait_for_process("train.py").pid == 42

    box = box_of([FAILED])
    failure(lambda: box.wait_for_process("train.py"), errors.UnexpectedExit)
    assert 2.0 <= polls(box)[-1] < 2.1


def test_grace_period_starts_again_if_the_replacement_process_also_fails():
    rows = [raw(pid, started_at=T0 + pid, **ended(code)) for pid, code in ((1, 3), (2, 3), (3, 0))]
    box = box_of({0: rows[:1], 1.5: rows[:2], 3: rows})

    assert box.wait_for_exit("train.py", pick="newest").pid == 3
    assert 3 <= polls(box)[-1] < 3.5


def test_wait_reports_the_exit_even_if_the_deadline_interrupts_the_grace_period():
    box = box_of([raw(1, **ended(3))])
    error = failure(lambda: box.wait_for_exit("train.py", timeout=0.5), errors.UnexpectedExit)

    assert error.first_line == "Exited 3, wanted 0: train.py"
    assert "\n  the wait ended before this was settled\n" in str(error)


def test_exit_after_an_oom_kill_of_a_child_is_reported_as_an_oom_kill():
    box = box_of([raw(1, command="sh", args=("-c", "x"), **ended(137, oom_killed=True))])

    line = 'A child was OOM-killed, wanted exit code 0: "x"'
    assert outcome(lambda: box.wait_for_exit(1)) == ("ProcessOOMKilled", line)
    assert box.wait_for_exit(1, exit_code=137).pid == 1


NO_CODE = "Exited, but no exit code was reported within 1 s"
UNKNOWN = "Ended (cause unknown)"
NO_SIGNAL = "  the sandbox did not confirm the signal within 1 s\n"


@pytest.mark.parametrize(
    ("end", "what", "why"),
    [
        (ended(-1), f"{NO_CODE};", ""),
        (ended(None), f"{NO_CODE};", ""),
        (signaled(None), f"{UNKNOWN},", NO_SIGNAL),
        (signaled(1), f"{UNKNOWN},", NO_SIGNAL),
    ],
)
def test_wait_reports_after_one_second_why_the_exit_of_a_process_is_unknown(end, what, why):
    box = box_of([raw(41, **end)], screen=Screen(columns=500))

    error = failure(lambda: box.wait_for_exit(41), errors.Inconclusive)

    assert error.first_line == f"{what} wanted exit code 0: train.py"
    assert f"\n\n{why}  process  python train.py\n" in str(error)
    assert 1.0 <= polls(box)[-1] <= 1.1


LOST = f"{NO_CODE}; wanted {{}}: train.py"
NOT_CHECKED = "Cannot check for {} of pid 41: it is not known how train.py ended"
OF_A_LOST_CODE = {
    LOST.format("exited or signaled"): lambda box: box.wait_for_process(41, status=["exited", "signaled"]),
    LOST.format("status=signaled"): lambda box: box.assert_process(41, status="signaled"),
    LOST.format("signal=9"): lambda box: box.assert_process(41, signal=9),
    LOST.format("exit_code=-1"): lambda box: box.assert_process(41, exit_code=-1),
    LOST.format("exit_code=0"): lambda box: box.assert_process(41, exit_code=0),
    LOST.format("exited for 2 s"): lambda box: box.assert_stays(41, stable_for=2, status="exited"),
    NOT_CHECKED.format("crashes"): lambda box: box.assert_no_crash(41),
    NOT_CHECKED.format("OOM kills"): lambda box: box.assert_no_oom(41),
}  # fmt: skip


@pytest.mark.parametrize(("first_line", "ask"), OF_A_LOST_CODE.items())
def test_exit_check_waits_one_second_for_a_lost_exit_code_to_be_corrected(first_line, ask):
    box = box_of([raw(41, **ended(-1))])

    assert outcome(lambda: ask(box)) == ("Inconclusive", first_line)
    assert 1.0 <= polls(box)[-1] <= 1.1


def test_lost_exit_code_does_not_delay_a_check_of_unrelated_fields():
    box = box_of([raw(1, **ended(-1))])

    assert box.assert_process(1, command="python").pid == 1
    failure(lambda: box.assert_process(1, status="running"), errors.AssertionFailed)
    assert polls(box) == [0.0, 0.0]


def test_wait_allows_one_second_for_the_correction_of_each_lost_exit_code():
    first, second = raw(1, **ended(-1)), raw(2, started_at=T0 + 1000, **ended(-1))
    corrected = raw(2, started_at=T0 + 1000, **signaled(9))
    box = box_of({0: [first], 0.6: [second], 1.3: [corrected]})

    assert outcome(lambda: box.wait_for_process("train.py", status="exited", pick="newest")) == (
        "UnexpectedExit",
        "Killed by SIGKILL (not by this test), wanted exited: train.py",
    )


# --------------------------------------------------------------- missing or unreadable


def test_process_counts_as_gone_if_it_is_missing_from_the_list_for_one_second():
    box = box_of({0: [RUNNING], 2: []})
    assert outcome(lambda: box.wait_for_exit(41)) == GONE
    assert 3.0 <= polls(box)[-1] < 3.3

    box = box_of({0: [RUNNING], 2: [], 2.5: [RUNNING], 4: [raw(41, **ended(0))]})
    assert box.wait_for_exit(41).exit_code == 0


@pytest.mark.parametrize("name", [41, process(41)], ids=["pid", "object"])
def test_process_whose_row_became_unreadable_is_not_reported_as_gone(name):
    other = {"handle": 9, "pid": 9, "status": []}
    box = box_of({0: [RUNNING], 1: [UNREADABLE, other]})

    line = "Cannot check for exit code 0: 1 of 2 rows in the process list cannot be read"
    assert outcome(lambda: box.wait_for_exit(name)) == ("Inconclusive", line)
    assert 2.0 <= polls(box)[-1] <= 2.4


def test_unreadable_rows_are_shown_if_no_process_matches():
    box = box_of([{"pid": 77, "status": 3, "command": "x"}, RUNNING])

    text = str(failure(lambda: box.assert_process("none", status="running")))

    assert re.search(r"^  unreadable +row 0 \(pid 77\): status: ", text, re.MULTILINE), text
    assert "1 process listed" in text


# -------------------------------------------------------------------------- messages


WANTED = {
    "an exit code": lambda box: box.wait_for_exit(41, exit_code="any"),
    "exit code 0 or 3": lambda box: box.wait_for_exit(41, exit_code=[0, 3]),
    "running or exited and healthy": lambda box: box.wait_for_process(41, status=["running", "exited"], healthy=True),
    "a run time of 2 s": lambda box: box.assert_stays(41, stable_for=2),
    "status=exited and exit_code=0": lambda box: box.assert_process(41, status="exited", exit_code=0),
}  # fmt: skip


@pytest.mark.parametrize(("wanted", "ask"), WANTED.items())
def test_wait_error_describes_the_expected_state_in_words(ask, wanted):
    assert failure(lambda: ask(box_of([raw(41, **signaled(15))]))).wanted == wanted


NOT_EXECUTABLE = 'make the program executable: exit code 126 of a shell means "permission denied"'
NOT_FOUND = 'check PATH and the spelling of the program: exit code 127 of a shell means "not found"'
CHILD_KILLED = "look for an OOM kill: a shell exits 137 if SIGKILL ended its child"


@pytest.mark.parametrize(
    ("row", "hint"),
    [
        (raw(1, **OOM), MORE_MEMORY),
        (raw(1, **ended(7, oom_killed=True)), MORE_MEMORY),
        (raw(1, **ended(5)), None),
        (raw(1, **ended(126)), NOT_EXECUTABLE),
        (raw(1, **ended(127)), NOT_FOUND),
        (raw(1, **ended(137)), CHILD_KILLED),
        (raw(1, **signaled(15)), None),
        (raw(1, **signaled(11)), "use python -X faulthandler to see where the process crashed"),
        (raw(1, "./solver", **signaled(11)), None),
        (raw(1), None),
    ],
)
def test_hint_in_an_error_depends_on_how_the_process_ended(row, hint):
    assert hint_of([row], lambda box: box.wait_for_exit(1, exit_code=3, timeout=3)) == hint


def test_message_names_a_signal_that_this_test_sent():
    box = box_of({0: [raw(1)], 1: [raw(1, **signaled(15))]})
    box.send_signal(1, 15)

    assert str(failure(lambda: box.wait_for_exit(1))) == dedented("""
        Killed by SIGTERM, wanted exit code 0: train.py

          process  python train.py
          run      pid 1, ran 9 s until 16:00:09.000 UTC
          output   stderr and stdout are empty
          hint     use wait_for_process(process, status="signaled") if this signal should end the process
    """)


OTHER_PID = "select by text or managed name: a restarted process has a new pid"
REGEX = "use re.compile(...): the text looks like a regular expression, but is matched literally"


@pytest.mark.parametrize(("name", "hint"), [(7, OTHER_PID), (r"train\.py --lr \d+", REGEX)])
def test_hint_about_a_missing_process_depends_on_the_selector(name, hint):
    assert hint_of([raw(1)], lambda box: box.wait_for_exit(name, timeout=0)) == hint
