"""A wait that goes on says so, and logs what it sees."""

from __future__ import annotations

import logging

import pytest

from pytest_tlsandbox import errors
from pytest_tlsandbox.sandbox import Sandbox
from pytest_tlsandbox.types import Screen
from tests.support import FakeClock, ScriptedLister, ended, managed, raw

RUNNING = raw(41)


@pytest.fixture(autouse=True)
def _no_jitter(monkeypatch):
    monkeypatch.setattr("pytest_tlsandbox.waiting.polling.with_jitter", lambda pause: pause)
    monkeypatch.setattr("pytest_tlsandbox.client.retry.with_jitter", lambda pause: pause)


@pytest.fixture
def log(caplog):
    caplog.set_level(logging.DEBUG, logger="pytest_tlsandbox")
    return caplog


def said(script, ask, error=errors.TLSandboxError) -> list[str]:
    """What a wait says while it goes on."""
    lines: list[str] = []
    box = Sandbox(ScriptedLister(FakeClock(), script), screen=Screen(say=lines.append))
    if error is None:
        ask(box)
    else:
        with pytest.raises(error):
            ask(box)
    return lines


def logged(caplog, level: int) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == level]


def unreachable() -> errors.SandboxUnreachable:
    return errors.SandboxUnreachable("my-sandbox answered 502", label="502", transient=True)


# --------------------------------------------------------------- every fifteen seconds


def test_a_wait_of_50_s_says_three_times_how_it_stands_with_what_it_waits_for():
    assert said({0: [RUNNING]}, lambda box: box.wait_for_exit(41, timeout=50)) == [
        "waiting 15 of 50 s: Still running: train.py (pid 41), wanted exit code 0",
        "waiting 30 of 50 s: Still running: train.py (pid 41), wanted exit code 0",
        "waiting 45 of 50 s: Still running: train.py (pid 41), wanted exit code 0",
    ]


def test_it_says_what_is_not_found():
    assert said({0: [RUNNING]}, lambda box: box.wait_for_process("web", timeout=50)) == [
        'waiting 15 of 50 s: No process "web" in my-sandbox, wanted running',
        'waiting 30 of 50 s: No process "web" in my-sandbox, wanted running',
        'waiting 45 of 50 s: No process "web" in my-sandbox, wanted running',
    ]


def test_it_says_since_when_there_is_no_answer():
    script = {0: [RUNNING], 10: unreachable(), 38: [RUNNING]}

    assert said(script, lambda box: box.wait_for_exit(41, timeout=50)) == [
        "waiting 15 of 50 s: no answer since +10 s (502 x7), wanted exit code 0",
        "waiting 31 of 50 s: no answer since +10 s (502 x15), wanted exit code 0",
        "waiting 46 of 50 s: Still running: train.py (pid 41), wanted exit code 0",
    ]


def test_it_says_so_where_there_was_no_answer_at_all():
    assert said({0: unreachable()}, lambda box: box.wait_for_exit(41, timeout=20)) == [
        "waiting 15 of 20 s: no answer since +0 s (502 x12), wanted exit code 0"
    ]


def test_it_says_that_all_is_well_so_far_where_it_has_to_last():
    assert said(
        {0: [RUNNING]}, lambda box: box.wait_for_process(41, stable_for=20, timeout=30), None
    ) == ["waiting 15 of 30 s: so far as it should be, wanted running"]


def test_what_has_no_deadline_says_how_long_it_has_lasted_and_of_what_unit():
    assert said({0: [RUNNING]}, lambda box: box.assert_stays(41, stable_for=20), None) == [
        "waiting 15 s: so far as it should be, wanted running for 20 s"
    ]


def test_it_says_how_a_process_is_named_that_is_not_healthy_yet():
    starting = raw(7, command="web", args=(), managed=managed("web", health_status="starting"))

    assert said(
        {0: [starting]}, lambda box: box.wait_for_process("web", healthy=True, timeout=20)
    ) == ["waiting 15 of 20 s: Not healthy: web (pid 7) is starting, wanted running and healthy"]


def test_several_checks_that_are_judged_together_say_so_too():
    def ask(box):
        with box.soft() as check:
            check.assert_process(41, status="running")

    assert said({0: unreachable(), 20: [RUNNING]}, ask, None) == [
        "waiting 15 s: no answer since +0 s (502 x12), wanted status running"
    ]


def test_what_takes_no_fifteen_seconds_says_nothing():
    assert said({0: [RUNNING]}, lambda box: box.wait_for_exit(41, timeout=14.9)) == []
    assert (
        said({0: [RUNNING], 15: [raw(41, **ended(0))]}, lambda box: box.wait_for_exit(41), None)
        == []
    )


def test_each_wait_counts_for_itself():
    def ask(box):
        for _ in range(3):
            with pytest.raises(errors.WaitTimedOut):
                box.wait_for_exit(41, timeout=14)

    assert said({0: [RUNNING]}, ask, None) == []


def test_what_is_said_has_one_line_without_control_characters():
    row = raw(41, command="a\x1b[31mb\nc\u202e", args=())

    lines = said({0: [row]}, lambda box: box.wait_for_exit("a\x1b", timeout=20))

    assert lines == [
        r"waiting 15 of 20 s: Still running: a\x1b[31mb\nc\u202e (pid 41), wanted exit code 0"
    ]


def test_a_state_that_the_sandbox_made_up_is_said_without_control_characters():
    row = raw(41, status="\x1b[31mpaused")

    lines = said({0: [row]}, lambda box: box.wait_for_exit(41, timeout=20))

    assert lines == [
        r"waiting 15 of 20 s: Still \x1b[31mpaused: train.py (pid 41), wanted exit code 0"
    ]


def test_no_secret_is_said():
    lines = said({0: [RUNNING]}, lambda box: box.wait_for_process("--token=abc123", timeout=20))

    assert len(lines) == 1
    assert "abc123" not in lines[0]


# ------------------------------------------------------------------------------ the log


def test_what_is_said_is_logged_with_the_sandbox_also_where_nothing_is_said(log):
    box = Sandbox(ScriptedLister(FakeClock(), {0: [RUNNING]}))
    with pytest.raises(errors.WaitTimedOut):
        box.wait_for_exit(41, timeout=50)

    assert logged(log, logging.INFO) == [
        "my-sandbox: waiting 15 of 50 s: Still running: train.py (pid 41), wanted exit code 0",
        "my-sandbox: waiting 30 of 50 s: Still running: train.py (pid 41), wanted exit code 0",
        "my-sandbox: waiting 45 of 50 s: Still running: train.py (pid 41), wanted exit code 0",
    ]
    assert {record.name for record in log.records} == {"pytest_tlsandbox"}


def test_changes_of_state_and_what_is_satisfied_are_logged_at_info_and_looks_at_debug(log):
    box = Sandbox(
        ScriptedLister(
            FakeClock(), {0: [RUNNING], 0.1: [RUNNING, raw(42)], 0.2: [raw(41, **ended(0))]}
        )
    )
    box.wait_for_exit(41)

    assert logged(log, logging.INFO) == [
        "my-sandbox: train.py (pid 42): running",
        "my-sandbox: train.py (pid 41): exited 0",
        "my-sandbox: train.py (pid 42): not listed",
        "my-sandbox: exit code 0: yes, after 5 looks at 1 process",
    ]
    assert logged(log, logging.DEBUG) == [
        "look at my-sandbox: 1 process",
        "look at my-sandbox: 1 process",
        "look at my-sandbox: 2 processes",
        "look at my-sandbox: 2 processes",
        "look at my-sandbox: 1 process",
    ]


def test_a_look_that_fails_is_logged_at_debug_with_its_fault(log):
    box = Sandbox(ScriptedLister(FakeClock(), {0: unreachable(), 0.1: [RUNNING]}))
    box.wait_for_process(41)

    assert logged(log, logging.DEBUG)[0] == "look at my-sandbox failed: 502"


def test_states_at_the_first_look_are_no_changes(log):
    box = Sandbox(ScriptedLister(FakeClock(), {0: [RUNNING, raw(42, **ended(1))]}))
    box.wait_for_process(41)

    assert logged(log, logging.INFO) == ["my-sandbox: running: yes, after 1 look at 2 processes"]


def test_a_hostile_state_is_escaped_in_the_log(log):
    box = Sandbox(
        ScriptedLister(FakeClock(), {0: [RUNNING], 0.1: [raw(41, status="\x1b[31mpaused")]})
    )
    with pytest.raises(errors.WaitTimedOut):
        box.wait_for_exit(41, timeout=0.2)

    assert "\x1b" not in "".join(logged(log, logging.INFO))
