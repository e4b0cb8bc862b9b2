"""How a finding is told where it fails a test: whole, as text."""

from __future__ import annotations

from typing import Any

from pytest_tlsandbox.errors import GuardFailure, ProcessOOMKilled
from pytest_tlsandbox.failing import Screen
from pytest_tlsandbox.guard.rules import Incident
from pytest_tlsandbox.guard.telling import Pinned, failure_of

from ..support import FakeClock, ended, managed, raw, signaled, snapshot
from .boxes import Box, oom


class Client(Box):
    """A box that has output to read."""

    def output(self, pid: int, stream: str, *, limit: float | None = None) -> list[str]:
        return {"stderr": ["shard 1/8 loaded", "shard 2/8 loaded"]}.get(stream, [])


def pinned(rule: str, row: dict[str, Any], what: str, phase: str = "call", **more: Any) -> Pinned:
    before, now = snapshot(raw(row["pid"]), at=5.0), snapshot(row, at=7.5)
    client: Any = Client(FakeClock())
    return Pinned(Incident(rule, now.processes[0], what, **more), phase, before, now, client)


def test_one_finding_is_told_as_a_failure_of_the_assertion_would_be():
    failure = failure_of([pinned("oom", oom(41), "the sandbox says so")], Screen(columns=300))
    assert type(failure) is ProcessOOMKilled
    assert (
        str(failure)
        == """\
OOM-killed in this test: train.py (pid 41)

  the sandbox says so
  process   python train.py
  lived     9 s, 16:00:00.000 to 16:00:09.000 (sandbox clock, UTC)
  timeline  +0 s running, 1 look | +2.5 s oom_killed, 1 look
  looks     2, 0 ms each
  seen      by the guard, after the call
  stderr    2 lines
            | shard 1/8 loaded
            | shard 2/8 loaded
  sandbox   my-sandbox
  try       more memory for the sandbox (memory_mb; of local, --tlsandbox-memory), or less for the process; tlsandbox_allow("oom", reason=...), if it is meant"""
    )
    assert failure.wanted == "no oom"
    assert failure.snapshot is not None
    assert [row.pid for row in failure.snapshot] == [41]
    assert failure.timeline is not None
    assert failure.timeline.looks == 2


def test_several_findings_are_listed_and_an_oom_comes_first():
    failure = failure_of(
        [
            pinned("crash", raw(7, **signaled(11)), "crashed with 11 (SIGSEGV)", "teardown"),
            pinned("oom", oom(41), "the sandbox says so", "teardown"),
        ],
        Screen(columns=300),
    )
    assert type(failure) is ProcessOOMKilled
    assert (
        str(failure)
        == """\
OOM-killed in the teardown of this test: train.py (pid 41) and 1 more

    pid 41  oom_killed             9 s  python train.py    OOM-killed: the sandbox says so
    pid 7   signaled 11 (SIGSEGV)  9 s  python train.py    crashed with 11 (SIGSEGV)
  looks    2, 0 ms each
  seen     by the guard, after the teardown
  sandbox  my-sandbox
  try      more memory for the sandbox (memory_mb; of local, --tlsandbox-memory), or less for the process; tlsandbox_allow("oom", reason=...), if it is meant; what it wrote last; python -X faulthandler says where a crash was; tlsandbox_allow("crash", reason=...), if it is meant"""
    )


GAVE_UP = raw(
    41,
    **ended(3),
    managed=managed(
        status="stopped", restart_count=2, restart={"policy": "on_failure", "max_restarts": 2}
    ),
)


def test_what_several_rules_find_of_one_process_is_told_once_and_with_its_output():
    found = [
        pinned("crash", GAVE_UP, "gave up after 2 restarts"),
        pinned("restart", GAVE_UP, "restarted 2 times and is stopped"),
    ]
    failure = failure_of(found, Screen(columns=300))
    assert (
        str(failure)
        == """\
Crashed in this test: web (pid 41)

  gave up after 2 restarts; restarted 2 times and is stopped
  process  python train.py
  lived    9 s, 16:00:00.000 to 16:00:09.000 (sandbox clock, UTC)
  managed  stopped, 2 restarts of at most 2, policy: on_failure
  looks    2, 0 ms each
  seen     by the guard, after the call
  stderr   2 lines
           | shard 1/8 loaded
           | shard 2/8 loaded
  sandbox  my-sandbox
  try      what it wrote last says why it ends; tlsandbox_allow("crash", reason=...), if it is meant; restart_process() for a restart that is meant: it is not counted; tlsandbox_allow("restart", reason=...), if it is meant"""
    )
    assert failure.wanted == "no crash and no restart"


def test_a_supervisor_that_gave_up_over_a_crash_leads_to_where_the_crash_was():
    row = {**GAVE_UP, **signaled(11)}
    failure = failure_of([pinned("crash", row, "crashed with 11 (SIGSEGV)")], Screen(columns=300))
    assert str(failure).splitlines()[-1] == (
        "  try      what it wrote last; python -X faulthandler says where a crash was; "
        'tlsandbox_allow("crash", reason=...), if it is meant'
    )


def test_among_several_processes_each_is_listed_once():
    found = [
        pinned("crash", GAVE_UP, "gave up after 2 restarts"),
        pinned("crash", raw(7, **signaled(11)), "crashed with 11 (SIGSEGV)"),
        pinned("restart", GAVE_UP, "restarted 2 times and is stopped"),
    ]
    assert (
        str(failure_of(found, Screen(columns=300)))
        == """\
Crashed in this test: web (pid 41) and 1 more

    pid 41  exited 3               9 s  [web] python train.py    Crashed: gave up after 2 restarts; restarted 2 times and is stopped
    pid 7   signaled 11 (SIGSEGV)  9 s  python train.py    crashed with 11 (SIGSEGV)
  looks    2, 0 ms each
  seen     by the guard, after the call
  sandbox  my-sandbox
  try      what it wrote last says why it ends; tlsandbox_allow("crash", reason=...), if it is meant; restart_process() for a restart that is meant: it is not counted; tlsandbox_allow("restart", reason=...), if it is meant"""
    )


def test_each_rule_has_its_verdict():
    web = raw(1, managed=managed(restart_count=1))
    told = {
        rule: failure_of([pinned(rule, row, "so it is", **more)], Screen(columns=300))
        for rule, row, more in (
            ("crash", raw(1, **signaled(6)), {}),
            ("restart", web, {}),
            ("unhealthy", web, {}),
            ("leak", raw(1), {"phase": "teardown"}),
            ("oom", raw(1, **ended(1), managed=managed(restart_count=3)), {"observed": False}),
        )
    }
    assert {rule: failure.first_line for rule, failure in told.items()} == {
        "crash": "Crashed in this test: train.py (pid 1)",
        "restart": "Restarted in this test: web (pid 1)",
        "unhealthy": "Unhealthy in this test: web (pid 1)",
        "leak": "Left running after this test: train.py (pid 1)",
        "oom": "Not observed in this test: web (pid 1)",
    }
    assert {type(failure) for failure in told.values()} == {GuardFailure}


def test_no_secret_of_a_command_line_is_told():
    row = raw(1, args=("train.py", "--token=tl_secret"), **signaled(6))
    assert "tl_secret" not in str(failure_of([pinned("crash", row, "so it is")], Screen(2, 300)))
