"""Test the message of the findings that fail a test."""

import pytest

from pytest_tlsandbox.errors import GuardFailure, ProcessOOMKilled
from pytest_tlsandbox.guard.findings import error_for
from pytest_tlsandbox.types import Screen

from ..support import T0, dedented, managed, raw, signaled
from .guarded_box import ALL, in_call, oom

WEB = raw(41, managed=managed())
SEGV, EXITED = ({"ended_at": T0 + 5000, **end} for end in ({"signal": 11}, {"exit_code": 1}))


def again(restarts, last):
    """Return the row of a run after ``WEB``, which ended like this."""
    supervised = managed(restart_count=restarts, last_exit=last)
    return raw(42, started_at=T0 + 5100, managed=supervised)


RESTARTED = again(1, SEGV)
UNHEALTHY = raw(41, managed=managed(health_status="unhealthy", consecutive_health_failures=4))
TWO = {"restart_count": 2, "restart": {"policy": "on_failure", "max_restarts": 2}}
LAST_TRY = raw(41, managed=managed(**TWO, last_exit=EXITED))
GAVE_UP = raw(41, **signaled(11), managed=managed(status="stopped", **TWO, last_exit=SEGV))
MANY = [raw(pid, command=f"worker-{pid}.sh") for pid in range(9)]
CRASHES = [row | signaled(end) for row, end in zip(MANY, [6, 6, 6, 6, 11, 7, 8, 4, 5], strict=True)]
LEFT = [raw(1), raw(2, command="serve.sh", args=())]


def failure(before, after, rules=ALL, *, phase="call"):
    """Return the error of a test if the sandbox lists ``after`` after its call or teardown."""
    guarded = in_call(*before, rules=rules)
    if phase == "teardown":
        guarded.call(*LEFT)
    guarded.clock.now += 2.5
    guarded.box.memory_limit = 96 * 2**20
    return error_for(guarded.findings(phase, *after), Screen(columns=300))


def test_single_finding_is_reported_like_a_failed_assertion():
    error = failure([raw(41)], [oom(41)])
    assert type(error) is ProcessOOMKilled
    assert str(error) == dedented("""
        OOM-killed at a limit of 96 MiB: train.py; last output: shard 2/8 loaded

          stderr, 2 lines
          | shard 1/8 loaded
          | shard 2/8 loaded
          process  python train.py
          run      pid 41, ran 9 s until 16:00:09.000 UTC
          found    by the guard, after the call
          hint     raise --tlsandbox-memory if this memory use is expected
          expected? mark the test with tlsandbox_allow("oom", reason=...)
    """)
    assert error.wanted == "no oom"
    assert [row.pid for row in error.snapshot or ()] == [41]


def test_one_incident_that_violates_several_rules_is_reported_once():
    error = failure([WEB], [RESTARTED])
    assert str(error) == dedented("""
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
          expected? mark the test with tlsandbox_allow("crash", "restart", reason=...)
    """)
    assert error.wanted == "no crash and no restart"


def test_oom_kills_come_first_in_a_list_and_each_process_is_listed_once():
    error = failure([raw(7), raw(9), WEB], [raw(7, **signaled(6)), oom(9), RESTARTED])
    assert type(error) is ProcessOOMKilled
    last_line = "last line: shard 2/8 loaded"
    assert str(error) == dedented(f"""
        3 findings: OOM-killed at a limit of 96 MiB: train.py; Crashed with SIGABRT: train.py; Crashed with SIGSEGV, then restar…

            pid 9   oom_killed             9 s  python train.py    {last_line}
            pid 7   signaled 6 (SIGABRT)   9 s  python train.py    {last_line}
            pid 41  signaled 11 (SIGSEGV)  5 s  [web] python train.py    first run: crashed with 11 (SIGSEGV), restarted as pid 42
          found  by the guard, after the call
          hint   raise --tlsandbox-memory if this memory use is expected; use python -X faulthandler to see where the process crashed
          expected? mark the test with tlsandbox_allow("oom", "crash", "restart", reason=...)
    """)


def test_leaked_processes_are_listed_without_their_output():
    error = failure([], LEFT, phase="teardown")
    assert type(error) is GuardFailure
    assert str(error) == dedented("""
        2 findings: Left running: train.py, serve.sh

            pid 1  running  python train.py    it began in this test and runs after its teardown
            pid 2  running  serve.sh    it began in this test and runs after its teardown
          found  by the guard, after the teardown
          hint   end the process in the test, or in the fixture that started it
          expected? mark the test with tlsandbox_allow("leak", reason=...)
    """)


def test_several_hidden_ends_are_listed_with_the_reason_why_they_are_unknown():
    error = failure([WEB], [again(3, EXITED)], ("oom",))
    assert type(error) is GuardFailure
    assert str(error) == dedented("""
        2 findings: End not seen: web

          it ended between two list calls, and the sandbox reports only how the last run ended
            pid 41  ended                  [web] python train.py    first run
            pid 42  running, restarted 3x  [web] python train.py    restart 1
          found  by the guard, after the call
          hint   list the processes more often
          expected? mark the test with tlsandbox_allow("oom", reason=...)
    """)


# fmt: off
FIRST_LINES = {
    "Crashed with SIGSEGV (2 of 2 restarts used): web; last output: shard 2/8 loaded": (
        [LAST_TRY], [GAVE_UP], ("crash",)),
    "Exited 1, then restarted: web: shard 2/8 loaded": ([WEB], [again(1, EXITED)], ("restart",)),
    "Restarted 3 times (last run: exited 1): web": ([WEB], [again(3, EXITED)], ("restart",)),
    "Unhealthy after 4 failed health checks in a row: web; last output: shard 2/8 loaded": (
        [WEB], [UNHEALTHY], ("unhealthy",)),
    "9 findings: Crashed with SIGABRT: worker-0.sh, worker-1.sh, worker-2.sh and 1 more; Crashed with SI…": (
        MANY, CRASHES, ("crash",)),
}
# fmt: on


@pytest.mark.parametrize(("first_line", "case"), FIRST_LINES.items())
def test_first_line_of_the_message_names_the_incidents_and_the_processes(first_line, case):
    error = failure(*case)

    assert error.first_line == first_line
    assert type(error) is GuardFailure
    assert ("-X faulthandler" in str(error)) == first_line.startswith("Crashed")


def test_different_incidents_of_one_process_are_reported_as_separate_findings():
    guarded = in_call(WEB)
    guarded.box.rows = [UNHEALTHY]
    guarded.box.poll()
    error = error_for(guarded.findings("call", RESTARTED), Screen(columns=300))
    assert error.first_line == (
        "2 findings: Crashed with SIGSEGV, then restarted: web; Unhealthy: web"
    )
