"""What a failure says to try, and what else it says in a case that is rare."""

from __future__ import annotations

import pytest

from pytest_tlsandbox import errors
from pytest_tlsandbox.sandbox import Sandbox
from pytest_tlsandbox.types import Screen
from pytest_tlsandbox.waiting.conditions.condition import MORE_MEMORY
from tests.support import T0, FakeClock, ScriptedLister, ended, managed, raw, signaled

OOM = {"status": "oom_killed", "signal": 9, "ended_at": T0 + 9000}


def told(ask, *listed):
    """Give the lines that a call tells of what is listed, by their first word."""
    script = dict(enumerate(listed)) if isinstance(listed[0], list) else {0: listed}
    box = Sandbox(ScriptedLister(FakeClock(), script), screen=Screen(columns=500))
    with pytest.raises(errors.TLSandboxError) as caught:
        ask(box)
    lines = [line.split(None, 1) for line in str(caught.value).splitlines()[1:]]
    return {word: rest[0] if rest else "" for word, *rest in filter(None, lines)}


@pytest.mark.parametrize(
    ("row", "hint"),
    [
        (raw(1, **OOM), MORE_MEMORY),
        (raw(1, **ended(7, oom_killed=True)), MORE_MEMORY),
        (raw(1, **ended(5)), "exit_code=5, if it is to end so"),
        (raw(1, **ended(0)), None),
        (raw(1, **signaled(15)), "who sent the signal? this test did not"),
    ],
    ids=["oom", "flag", "exit 5", "exit 0", "signal"],
)
def test_what_to_try_after_an_end(row, hint):
    assert told(lambda box: box.wait_for_exit(1, exit_code=3), row).get("try") == hint


def test_a_signal_that_the_test_sent_may_be_the_end_that_was_meant():
    def ask(box):
        box.send_signal(1, 15)
        box.wait_for_exit(1)

    assert told(ask, [raw(1)], [raw(1, **signaled(15))])["try"] == (
        'wait_for_process(process, status="signaled"), if that is the end that was meant: this test '
        "sent the signal"
    )


def test_more_time_is_no_help_where_a_supervisor_starts_it_again_and_again():
    row = raw(1, **ended(3), managed=managed(status="backing_off", restart_count=6))

    assert told(lambda box: box.wait_for_exit("web", timeout=0), row)["try"] == (
        "what it wrote last says why it ends; its supervisor starts it again"
    )


def test_more_time_may_help_where_a_managed_process_still_runs():
    row = raw(1, managed=managed(status="running"))

    assert told(lambda box: box.wait_for_exit("web", timeout=0), row)["try"] == (
        "a longer timeout=, if it only needs more time"
    )


def test_a_crash_that_is_over_is_asked_where_it_was_though_the_process_runs_again():
    last = {"signal": 11, "ended_at": T0 + 9000}
    row = raw(1, managed=managed(status="running", restart_count=1, last_exit=last))

    assert told(lambda box: box.assert_no_crash(), row)["try"] == (
        "what it wrote last; python -X faulthandler says where a crash was"
    )


def test_what_a_supervisor_starts_again_may_yet_run():
    row = raw(1, **ended(3), managed=managed(status="backing_off", restart_count=1))

    assert told(lambda box: box.assert_process("web", status="running"), row)["try"] == (
        "wait_for_process or wait_for_exit, if it only needs more time"
    )


@pytest.mark.parametrize(
    ("health", "hint"),
    [
        ({"health_status": "starting"}, "a longer timeout=, if it only needs more time"),
        (
            {"health_status": "unhealthy", "consecutive_health_failures": 3},
            "its health check by hand: it failed 3 times in a row",
        ),
        ({"health_status": "unhealthy"}, "its health check by hand: it fails"),
    ],
    ids=["starting", "counted", "not counted"],
)
def test_more_time_is_no_help_where_a_health_check_fails(health, hint):
    row = raw(1, managed=managed(status="running", **health))

    wait = told(lambda box: box.wait_for_process("web", healthy=True, timeout=0), row)

    assert wait["try"] == hint


def test_a_pid_that_is_not_listed_may_be_that_of_an_earlier_run():
    assert told(lambda box: box.wait_for_exit(7, timeout=0), raw(1))["try"] == (
        "a restarted process has another pid: mean it by text, or by its managed name"
    )


def test_a_process_given_by_text_that_looks_like_a_regex_is_reported_as_such():
    shown = told(lambda box: box.wait_for_process(r"train\.py --lr \d+", timeout=0), raw(1))

    assert shown["try"] == (
        "re.compile(...): the text looks like a regular expression, but is searched for literally; "
        "a text is looked for in command and arguments, joined by one space"
    )


def test_a_pid_given_as_text_is_reported_with_the_number_to_give():
    shown = told(lambda box: box.wait_for_process("41", timeout=0), raw(40), raw(41), raw(142))

    assert shown["nearest"] == ""
    assert shown["pid"].split("  ") == [
        "41",
        "running",
        "python train.py",
        "",
        "pid 41; the number 41 finds it, text does not",
    ]


def test_a_field_that_cannot_change_may_be_another_processs():
    assert told(lambda box: box.assert_process(1, command="sh"), raw(1))["try"] == (
        "by(...) or a longer text, if another process was meant"
    )


def test_output_of_a_run_whose_pid_is_anothers_is_to_be_read_before():
    row, other = raw(1, **ended(0)), raw(1, handle=2, started_at=T0 + 9000)

    def ask(box):
        [listed, _] = box.list_processes()
        box.wait_for_output(listed, "ready")

    assert told(ask, row, other)["try"] == (
        "read it before the process has ended, or give it a name"
    )


@pytest.mark.parametrize(
    ("end", "why"),
    [
        (ended(-1), "the sandbox does not say how it really ended"),
        (signaled(None), "the sandbox does not name the signal"),
        (signaled(1), "the sandbox gives this signal to good ends as well, and may put it right"),
    ],
    ids=["exit", "no signal", "hang-up"],
)
def test_an_unknown_end_says_why_it_is_one(end, why):
    box = Sandbox(ScriptedLister(FakeClock(), {0: [raw(1, **end)]}), screen=Screen(columns=500))

    with pytest.raises(errors.Inconclusive) as caught:
        box.wait_for_exit(1)

    assert f"{why}, and did not within 1 s" in str(caught.value)


def test_a_managed_one_that_gives_up_no_more_is_told_as_any_other_end():
    row = raw(1, **ended(3), managed=managed(status="stopped"))

    assert told(lambda box: box.wait_for_exit("web"), row)["try"] == (
        "exit_code=3, if it is to end so"
    )


def test_a_row_that_is_not_managed_is_still_in_its_own_state():
    box = Sandbox(ScriptedLister(FakeClock(), {0: [raw(1, managed=managed(status="starting"))]}))

    with pytest.raises(errors.WaitTimedOut) as caught:
        box.wait_for_exit("web", timeout=0)

    assert caught.value.first_line == "Still running: web (pid 1) after 0 s"


def test_healthy_is_no_matter_before_the_status_is_right():
    row = raw(1, **ended(1), managed=managed(status="backing_off", health_status="starting"))
    box = Sandbox(ScriptedLister(FakeClock(), {0: [row]}))

    with pytest.raises(errors.WaitTimedOut) as caught:
        box.wait_for_process("web", healthy=True, timeout=0)

    assert caught.value.first_line == "Still backing_off: web (pid 1) after 0 s"


def test_what_was_lost_with_the_daemon_says_so():
    def ask(box):
        box = box.from_now()
        box.wait_until(lambda seen: not len(seen))
        box.assert_no_oom()

    shown = told(ask, [raw(1), raw(2)], [])

    assert shown["stopped"] == "after 1 s"
    assert shown["pid"].endswith("it was alive, and is no longer listed")
    assert shown["try"] == (
        "was the sandbox or its daemon restarted, or the process removed by a kill?"
    )
