"""The complete message of a finding that fails a test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_tlsandbox.errors import GuardFailure, ProcessOOMKilled
from pytest_tlsandbox.guard.failures import error_for
from pytest_tlsandbox.types import Screen

from ..support import managed, raw, signaled
from .guarded_box import GuardedBox, oom

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
    """Return the error for a test in whose call, or teardown, the sandbox comes to list ``rows``."""
    guarded = GuardedBox(*before, **more)
    guarded.begin("a")
    if phase == "teardown":
        guarded.call()
    else:
        guarded.begin_call()
    guarded.clock.now += 2.5
    guarded.box.rows = [*rows]
    return error_for(guarded.findings(phase), Screen(columns=300))


def test_one_finding_is_reported_as_a_failure_of_the_assertion_would_be():
    error = failure(oom(41), before=(raw(41),))
    assert type(error) is ProcessOOMKilled
    assert (
        str(error)
        == """\
OOM-killed in this test: train.py (pid 41)

  the sandbox lists it as OOM-killed
  process   python train.py
  lived     9 s, 16:00:00.000 to 16:00:09.000 (sandbox clock, UTC)
  timeline  +0 s running, 1 look | +2.5 s oom_killed, 1 look
  looks     2, 0 ms each
  seen      by the guard, after the call
  stderr    2 lines
            | shard 1/8 loaded
            | shard 2/8 loaded
  sandbox   my-sandbox
  try       more memory for the sandbox (memory_mb; of local, --tlsandbox-memory), or less for the process; tlsandbox_allow("oom", reason=...), if it is expected, or wait_for_process(process, status="oom_killed")"""
    )
    assert error.wanted == "no oom"
    assert error.snapshot is not None
    assert [row.pid for row in error.snapshot] == [41]


def test_several_findings_are_listed_and_an_oom_comes_first():
    error = failure(raw(7, **signaled(11)), oom(41), phase="teardown", rules=("crash", "oom"))
    assert type(error) is ProcessOOMKilled
    assert (
        str(error)
        == """\
OOM-killed in the teardown of this test: train.py (pid 41) and 1 more

    pid 41  oom_killed             9 s  python train.py    OOM-killed: the sandbox lists it as OOM-killed
    pid 7   signaled 11 (SIGSEGV)  9 s  python train.py    crashed with 11 (SIGSEGV)
  looks    2, 0 ms each
  seen     by the guard, after the teardown
  sandbox  my-sandbox
  try      more memory for the sandbox (memory_mb; of local, --tlsandbox-memory), or less for the process; tlsandbox_allow("oom", reason=...), if it is expected, or wait_for_process(process, status="oom_killed"); what it wrote last; python -X faulthandler says where a crash was;
           tlsandbox_allow("crash", reason=...), if it is expected"""
    )


SEGV = {**EXITED, "exit_code": None, "signal": 11}
WEB = raw(41, managed=managed())
RESTARTED = raw(42, started_at=T5 + 100, managed=managed(restart_count=1, last_exit=SEGV))


def test_findings_of_several_rules_on_one_run_are_reported_once():
    error = failure(RESTARTED, before=(WEB,))
    assert (
        str(error)
        == """\
Crashed in this test: web, first run

  crashed with 11 (SIGSEGV), restarted as pid 42
  process   python train.py
  run       first run, pid 41, signaled 11 (SIGSEGV) at 16:00:05.000, ran 5 s, restarted as pid 42
  lived     5 s, 16:00:00.000 to 16:00:05.000 (sandbox clock, UTC)
  managed   running, 1 restart of at most 5, policy: on_failure, last end: signaled 11 (SIGSEGV) at 16:00:05.000
  timeline  +0 s    16:00:00.000  running, 1 look
            +2.5 s  16:00:05.000  signaled 11 (SIGSEGV)
            +2.5 s  16:00:05.100  running, restarted 1x, 1 look
  looks     2, 0 ms each
  seen      by the guard, after the call
  stderr    2 lines
            | shard 1/8 loaded
            | shard 2/8 loaded
  sandbox   my-sandbox
  try       what it wrote last; python -X faulthandler says where a crash was; tlsandbox_allow("crash", reason=...), if it is expected; restart_process() for a restart that is meant: it is not counted; tlsandbox_allow("restart", reason=...), if it is expected"""
    )
    assert error.wanted == "no crash and no restart"


def test_a_supervisor_that_gave_up_over_a_crash_leads_to_where_the_crash_was():
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
    lines = str(error).splitlines()
    assert lines[2] == "  crashed with 11 (SIGSEGV); its supervisor gave up after 2 restarts"
    assert lines[-1] == (
        "  try       what it wrote last; python -X faulthandler says where a crash was; "
        'tlsandbox_allow("crash", reason=...), if it is expected'
    )


def test_among_several_processes_each_run_is_listed_once():
    error = failure(RESTARTED, raw(7, **signaled(6)), before=(WEB, raw(7)))
    assert (
        str(error)
        == """\
Crashed in this test: train.py (pid 7) and 1 more

    pid 7   signaled 6 (SIGABRT)   9 s  python train.py    crashed with 6 (SIGABRT)
    pid 41  signaled 11 (SIGSEGV)  5 s  [web] python train.py    first run: crashed with 11 (SIGSEGV), restarted as pid 42
  looks    2, 0 ms each
  seen     by the guard, after the call
  sandbox  my-sandbox
  try      what it wrote last; python -X faulthandler says where a crash was; tlsandbox_allow("crash", reason=...), if it is expected; restart_process() for a restart that is meant: it is not counted; tlsandbox_allow("restart", reason=...), if it is expected"""
    )


def test_failure_names_the_kind_of_finding_of_each_rule():
    ended_runs = managed(restart_count=1, last_exit=EXITED)
    hidden = managed(restart_count=2, last_exit=EXITED)
    errors = {
        "crash": failure(raw(41, **signaled(6)), before=(raw(41),)),
        "restart": failure(raw(42, started_at=T5 + 1, managed=ended_runs), before=(WEB,)),
        "unhealthy": failure(raw(41, managed=managed(health_status="unhealthy")), before=(WEB,)),
        "oom": failure(raw(42, managed=hidden), before=(WEB,), rules=("oom",)),
    }
    assert {rule: error.first_line for rule, error in errors.items()} == {
        "crash": "Crashed in this test: train.py (pid 41)",
        "restart": "Restarted in this test: web, first run",
        "unhealthy": "Unhealthy in this test: web (pid 41)",
        "oom": "Not observed in this test: web, first run",
    }
    assert {type(error) for error in errors.values()} == {GuardFailure}


def test_process_that_a_test_leaves_running_is_reported_after_the_test():
    guarded = GuardedBox()
    guarded.begin("a")
    guarded.call(raw(1))
    error = error_for(guarded.findings("teardown"), Screen())
    assert error.first_line == "Left running after this test: train.py (pid 1)"
    assert type(error) is GuardFailure


def test_no_secret_of_a_command_line_is_shown():
    row = raw(1, args=("train.py", "--token=tl_secret"))
    assert "tl_secret" not in str(failure({**row, **signaled(6)}, before=(row,)))
