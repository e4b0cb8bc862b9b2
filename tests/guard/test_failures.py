"""Test the complete message of a finding that fails a test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pytest_tlsandbox.errors import GuardFailure, ProcessOOMKilled
from pytest_tlsandbox.guard.findings import error_for
from pytest_tlsandbox.types import Screen

from ..support import managed, raw, signaled
from .guarded_box import in_call, oom

if TYPE_CHECKING:
    from pytest_tlsandbox.errors import AssertionFailed

T5 = 1_710_000_005_000
EXITED = {"exit_code": 1, "signal": None, "oom_killed": False, "ended_at": T5}


def failure(
    *rows: dict[str, Any],
    before: tuple[dict[str, Any], ...] = (raw(7), raw(41)),
    phase: str = "call",
    **more: Any,
) -> AssertionFailed:
    """Return the error of a test if the sandbox lists ``rows`` after its call or teardown."""
    guarded = in_call(*before, **more)
    if phase == "teardown":
        guarded.end("call")
    guarded.clock.now += 2.5
    guarded.box.memory_limit = 96 * 2**20
    guarded.box.rows = [*rows]
    return error_for(guarded.findings(phase), Screen(columns=300))


def test_single_finding_is_reported_like_a_failed_assertion():
    error = failure(oom(41), before=(raw(41),))
    assert type(error) is ProcessOOMKilled
    assert (
        str(error)
        == """\
OOM-killed at a limit of 96 MiB: train.py; last output: shard 2/8 loaded

  stderr, 2 lines
  | shard 1/8 loaded
  | shard 2/8 loaded
  process  python train.py
  run      pid 41, ran 9 s until 16:00:09.000 UTC
  found    by the guard, after the call
  hint     raise --tlsandbox-memory if this memory use is expected
  expected? mark the test with tlsandbox_allow("oom", reason=...)"""
    )
    assert error.wanted == "no oom"
    assert error.snapshot is not None
    assert [row.pid for row in error.snapshot] == [41]


def test_oom_kills_come_first_in_a_list_of_several_findings():
    error = failure(raw(7, **signaled(11)), oom(41), phase="teardown", rules=("crash", "oom"))
    assert type(error) is ProcessOOMKilled
    assert (
        str(error)
        == """\
2 findings: OOM-killed at a limit of 96 MiB: train.py; Crashed with SIGSEGV: train.py

    pid 41  oom_killed             9 s  python train.py    last line: shard 2/8 loaded
    pid 7   signaled 11 (SIGSEGV)  9 s  python train.py    last line: shard 2/8 loaded
  found  by the guard, after the teardown
  hint   raise --tlsandbox-memory if this memory use is expected; use python -X faulthandler to see where the process crashed
  expected? mark the test with tlsandbox_allow("oom", "crash", reason=...)"""
    )


SEGV = {**EXITED, "exit_code": None, "signal": 11}
WEB = raw(41, managed=managed())
RESTARTED = raw(42, started_at=T5 + 100, managed=managed(restart_count=1, last_exit=SEGV))


def test_one_incident_that_violates_several_rules_is_reported_once():
    error = failure(RESTARTED, before=(WEB,))
    assert (
        str(error)
        == """\
Crashed with SIGSEGV, then restarted: web; last output: shard 2/8 loaded

  stderr, 2 lines
  | shard 1/8 loaded
  | shard 2/8 loaded
  process   python train.py
  run       pid 41 (first run), signaled 11 (SIGSEGV) at 16:00:05.000 UTC, ran 5 s, restarted as pid 42
  managed   running, 1 restart (limit: 5), policy: on_failure
  timeline  +0 s    running
            +2.5 s  signaled 11 (SIGSEGV)
            +2.5 s  running, restarted 1x
  found     by the guard, after the call
  hint      use python -X faulthandler to see where the process crashed
  expected? mark the test with tlsandbox_allow("crash", "restart", reason=...)"""
    )
    assert error.wanted == "no crash and no restart"


def test_finding_about_a_stopped_supervisor_names_the_crash_that_caused_the_stop():
    two = {"policy": "on_failure", "max_restarts": 2}
    before = managed(restart_count=2, restart=two, last_exit=EXITED)
    crashed = {**SEGV, "ended_at": T5 + 4000}
    error = failure(
        raw(
            41,
            started_at=T5 + 1000,
            **signaled(11),
            managed={**before, "status": "stopped", "last_exit": crashed},
        ),
        before=(raw(41, started_at=T5 + 1000, managed=before),),
    )
    assert error.first_line == (
        "Crashed with SIGSEGV (2 of 2 restarts used): web; last output: shard 2/8 loaded"
    )
    assert "  hint     use python -X faulthandler to see where the process crashed\n" in str(error)


def test_each_process_is_listed_only_once_if_several_processes_have_findings():
    error = failure(RESTARTED, raw(7, **signaled(6)), before=(WEB, raw(7)))
    assert (
        str(error)
        == """\
2 findings: Crashed with SIGABRT: train.py; Crashed with SIGSEGV, then restarted: web

    pid 7   signaled 6 (SIGABRT)   9 s  python train.py    last line: shard 2/8 loaded
    pid 41  signaled 11 (SIGSEGV)  5 s  [web] python train.py    first run: crashed with 11 (SIGSEGV), restarted as pid 42
  found  by the guard, after the call
  hint   use python -X faulthandler to see where the process crashed
  expected? mark the test with tlsandbox_allow("crash", "restart", reason=...)"""
    )


RESTARTED_ONCE = managed(restart_count=1, last_exit=EXITED)
RESTARTED_OFTEN = managed(restart_count=3, last_exit=EXITED)
UNHEALTHY = managed(health_status="unhealthy", consecutive_health_failures=4)


@pytest.mark.parametrize(
    ("rule", "row", "first_line"),
    [
        ("restart", raw(42, started_at=T5 + 1, managed=RESTARTED_ONCE), "Exited 1, then restarted: web: shard 2/8 loaded"),
        ("restart", raw(42, started_at=T5 + 1, managed=RESTARTED_OFTEN), "Restarted 3 times (last run: exited 1): web"),
        ("unhealthy", raw(41, managed=UNHEALTHY), "Unhealthy after 4 failed health checks in a row: web; last output: shard 2/8 loaded"),
    ],
)  # fmt: skip
def test_first_line_of_the_message_names_the_incident_and_the_process(rule, row, first_line):
    error = failure({"managed": managed(), **row}, before=(WEB,), rules=(rule,))

    assert error.first_line == first_line
    assert type(error) is GuardFailure


def test_different_incidents_of_one_process_are_reported_as_separate_findings():
    guarded = in_call(WEB)
    guarded.box.rows = [raw(41, managed=UNHEALTHY)]
    guarded.box.poll()
    error = error_for(guarded.findings("call", RESTARTED), Screen(columns=300))
    assert error.first_line == (
        "2 findings: Crashed with SIGSEGV, then restarted: web; Unhealthy: web"
    )


def test_first_line_is_shortened_if_there_are_many_findings():
    signals = (6, 6, 6, 6, 11, 7, 8, 4, 5)
    rows = [raw(pid, command=f"worker-{pid}.sh") for pid in range(len(signals))]
    ends = [{**row, **signaled(number)} for row, number in zip(rows, signals, strict=True)]

    assert failure(*ends, before=tuple(rows)).first_line == (
        "9 findings: Crashed with SIGABRT: worker-0.sh, worker-1.sh, worker-2.sh and 1 more; Crashed with SI…"
    )


def test_guard_reports_a_leaked_process_without_its_output():
    guarded = in_call()
    guarded.end("call", raw(1))
    error = error_for(guarded.findings("teardown"), Screen())
    assert (
        str(error)
        == """\
Left running: train.py

  it began in this test and runs after its teardown
  process  python train.py
  run      pid 1, started 16:00:00.000 UTC
  found    by the guard, after the teardown
  hint     end the process in the test, or in the fixture that started it
  expected? mark the test with tlsandbox_allow("leak", reason=...)"""
    )
    assert type(error) is GuardFailure


def test_several_leaked_processes_are_listed_without_their_output():
    guarded = in_call()
    guarded.end("call", raw(1), raw(2, command="serve.sh", args=[]))
    error = error_for(guarded.findings("teardown"), Screen(columns=300))
    assert (
        str(error)
        == """\
2 findings: Left running: train.py, serve.sh

    pid 1  running  python train.py    it began in this test and runs after its teardown
    pid 2  running  serve.sh    it began in this test and runs after its teardown
  found  by the guard, after the teardown
  hint   end the process in the test, or in the fixture that started it
  expected? mark the test with tlsandbox_allow("leak", reason=...)"""
    )


def test_several_hidden_ends_are_listed_with_the_reason_why_they_are_unknown():
    error = failure(raw(42, managed=RESTARTED_OFTEN), before=(WEB,), rules=("oom",))
    assert (
        str(error)
        == """\
2 findings: End not seen: web

  it ended between two list calls, and the sandbox reports only how the last run ended
    pid 41  ended                  [web] python train.py    first run
    pid 42  running, restarted 3x  [web] python train.py    restart 1
  found  by the guard, after the call
  hint   list the processes more often
  expected? mark the test with tlsandbox_allow("oom", reason=...)"""
    )
    assert type(error) is GuardFailure
