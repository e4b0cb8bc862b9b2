"""Arguments of helpers: each error is one sentence that says what is allowed."""

import math
import signal
from dataclasses import MISSING, fields
from pathlib import Path
from typing import get_type_hints
from unittest.mock import ANY, call

import pytest

from pytest_tlsandbox import HealthCheckOptions, RestartOptions
from pytest_tlsandbox.arguments.checks import (
    check_codes,
    check_number,
    check_pick,
    check_seconds,
    check_statuses,
    check_value,
)
from pytest_tlsandbox.errors import InvalidArgument, ProcessOOMKilled, RequestRefused
from pytest_tlsandbox.history.snapshot import FIELDS, check_fields
from pytest_tlsandbox.local.request_bodies import HealthCheck, Restart
from pytest_tlsandbox.waiting.selectors import by
from tests.support import OOM, box_of, failure, polls, process, raw

STATUS = "status must be one of running, exited, signaled, oom_killed; got"
RESTART = "restart must be a mapping with the keys policy, max_restarts, initial_backoff_ms, max_backoff_ms; got"
AS_RESTART = 'for example, write restart={"policy": "always"}'
AS_CHECK = 'for example, write health_check={"type": "http", "port": 8080}'
NOT_CONTAIN = "must not contain a NUL character or a lone surrogate, got one at position"
SIGNALED = 'wait_for_process(process, status="signaled")'
HTTP = {"type": "http", "port": 80}
start = call.start_process
CASES = [
    (call.wait_for_process("x", status="runing"), f"{STATUS} 'runing'; did you mean 'running'?"),
    (call.wait_for_process("x", status=[]), f"{STATUS} []"),
    (call.assert_process("x", status="Running"), f"{STATUS} 'Running'; did you mean 'running'?"),
    (call.wait_for_process("x", status=None), f"{STATUS} None"),
    (call.wait_for_process("x", status="killed"), f"{STATUS} 'killed'"),
    (call.wait_for_process("x", timeout=-1), "timeout must be >= 0 seconds, got -1"),
    (call.wait_for_process("x", timeout=math.inf), "timeout must be a number of seconds, got inf"),
    (call.wait_for_process("x", timeout="5s"), "timeout must be a number of seconds, got '5s'"),
    (call.wait_for_process("x", stable_for=True), "stable_for must be a number of seconds, got True"),
    (call.assert_stays("x", stable_for=0), "stable_for must be > 0 seconds, got 0"),
    (call.wait_for_exit("x", exit_code=-9),
     f"exit_code must be from 0 to 255, got -9; to wait for a signal that ends the process, use {SIGNALED}"),
    *(
        (call.wait_for_exit("x", exit_code=wrong),
         f'exit_code must be from 0 to 255, got {wrong}; pass "any" to accept every exit code')
        for wrong in (None, (), 1.0, 256, True)
    ),
    (call.wait_for_exit("x", pick="last"), "pick must be one of newest, oldest; got 'last'"),
    (call.wait_for_exit("x", since=0), 'since must be "test", a snapshot or None; got 0'),
    (call.from_now("x"), "baseline must be \"test\", a snapshot or None; got 'x'"),
    (call.assert_process("x"), "assert_process needs at least one expected field, such as exit_code=0"),
    (call.assert_process("x", exitcode=0), "a process has no field 'exitcode'; did you mean 'exit_code'?"),
    (lambda box: box.soft().assert_process("x", state="exited"),
     "a process has no field 'state'; did you mean 'status'?"),
    *(
        (call.send_signal(41, wrong), f"signal must be a number from 1 to 64, got {wrong!r}")
        for wrong in ("TERM", 0, 65)
    ),
    (call.wait_for_count("x", "4"), "count must be a number >= 0, got '4'; write 4"),
    (call.output(41, "stdrr"),
     "stream must be one of stdout, stderr, output; got 'stdrr'; did you mean 'stderr'?"),
    (start("sleep", [60]), "args[0] must be text, got 60; write '60'"),
    (start("cat", ["-n", Path("a.txt")]), "args[1] must be text, got a value of type PosixPath; write 'a.txt'"),
    (start("curl", [b"a secret"]), "args[0] must be text, got a value of type bytes"),
    (start("sh", ["-c", "a\0b"]), f"args[1] {NOT_CONTAIN} 1"),
    (start("cat", ["caf\udce9"]), f"args[0] {NOT_CONTAIN} 3"),
    (start("sh", "-c true"), "args must be a list of strings, got '-c true'"),
    (start("sleep", None), "args must be a list of strings, got None"),
    (start("env", env={"PIN": 1234}), "env['PIN'] must be text, got a value of type int"),
    (start("env", env={1: "A"}), "the name of a variable in env must be text, got 1; write '1'"),
    (start("env", env={"TOKEN": "a secret\0"}), f"env['TOKEN'] {NOT_CONTAIN} 8"),
    (start("env", env=["A=1"]), "env must be a mapping such as {'A': '1'}, got a list"),
    (start("sh", name=8), "name must be text, got 8; write '8'"),
    (start("sh", user=1000), "user must be text, got 1000; write '1000'"),
    (start("sh", stdin_mode="pip"),
     "stdin_mode must be one of closed, pipe; got 'pip'; did you mean 'pipe'?"),
    (start("sh", stdout_mode=None, stderr_mode=False),
     "stderr_mode must be one of capture, discard; got False"),
    (start("web", restart="never"), f"{RESTART} 'never'; {AS_RESTART}"),
    (start("web", restart={"polcy": "always"}),
     "restart: key must be one of policy, max_restarts, initial_backoff_ms, max_backoff_ms; got "
     "'polcy'; did you mean 'policy'?"),
    (start("web", restart={"policy": None}),
     "restart: policy must be one of on_failure, never, always; got None"),
    (start("web", restart={"max_restarts": "3"}),
     "restart: max_restarts must be a number from 0 to 4294967295, got '3'; write 3"),
    (start("web", restart={"max_backoff_ms": None}),
     "restart: max_backoff_ms must be a number from 0 to 4294967295, got None"),
    (start("web", health_check={}), f"health_check: missing key 'type'; {AS_CHECK}"),
    (start("web", health_check={"type": "tcp"}), f"health_check: missing key 'port'; {AS_CHECK}"),
    (start("web", health_check={"type": "https", "port": 443}),
     "health_check: type must be one of http, tcp; got 'https'; did you mean 'http'?"),
    (start("web", health_check={"type": "tcp", "port": 0}),
     "health_check: port must be a number from 1 to 65535, got 0"),
    (start("web", health_check={**HTTP, "path": 1}), "health_check: path must be text, got 1; write '1'"),
    (start(""), "command must not be empty"),
    (start(("env", "--token", "abc")),
     "command must be text, got a tuple; write command='env', args=['--token', '***']"),
    (start(["sleep"]), "command must be text, got a list; write command='sleep'"),
    (call.assert_process("x", exit_code=[0, "1"]), "exit_code must be a number, got '1'; write 1"),
    (call.assert_process("x", signal="TERM"), "signal must be a number, got 'TERM'"),
    (call.assert_process("x", args="60"), "args must be a list of strings, got '60'"),
    (call.assert_process("x", args=None), "args must be a list of strings, got None"),
    (call.assert_process("x", args=["60", 60]), "args must be text, got 60; write '60'"),
    (call.assert_process("x", command=b"--token=abc"), "command must be text, got a value of type bytes"),
    (call.assert_process("x", oom_killed="true"), "oom_killed must be a bool, got 'true'"),
    (call.assert_process("x", started_at=0), "started_at must be a datetime, got 0"),
    (call.assert_process("x", managed="web"), "managed must be a ManagedProcess, got 'web'"),
    (lambda box: box.wait_for_process(by(pid="60")), "pid must be a number, got '60'; write 60"),
    (call.wait_until("x"),
     "condition must be a function that takes one argument (the snapshot), got 'x'"),
    (call.wait_until(lambda: True),
     "condition must be a function that takes one argument (the snapshot), got <lambda>()"),
    (call.wait_until(math.dist),
     "condition must be a function that takes one argument (the snapshot), got dist(p, q, /)"),
    (call.wait_for_exit(lambda: True),
     "process must be a function that takes one argument (the process), got <lambda>()"),
]  # fmt: skip


def run(call, box):
    """Make a call that ``mock.call`` recorded, or call a function of the sandbox."""
    if callable(call) and not isinstance(call, tuple):
        return call(box)
    name, args, options = call
    return getattr(box, name)(*args, **options)


@pytest.mark.parametrize(("call", "message"), CASES, ids=[message[:40] for _, message in CASES])
def test_invalid_call_is_rejected_before_any_request_is_sent(call, message):
    box = box_of([])

    assert str(failure(lambda: run(call, box), InvalidArgument)) == message
    assert polls(box) == []


def test_argument_checks_accept_valid_values():
    assert check_statuses(["exited", "signaled"]) == ("exited", "signaled")
    assert check_seconds("timeout", 5) == 5.0
    assert check_codes(range(3)) == (0, 1, 2)
    assert check_codes("any") is None
    assert check_pick("oldest") == "oldest"
    assert [check_number("signal", number, 1, 64) for number in (1, 64)] == [1, 64]


class Digits(str):
    """A text of the user that equals the number that it spells."""

    __slots__ = ()

    def __eq__(self, other):
        return str(self) == str(other)

    __hash__ = str.__hash__


@pytest.mark.parametrize("field", FIELDS)
def test_every_field_accepts_a_value_whose_class_overrides_equality(field):
    check_fields({field: ANY})
    check_fields({field: [ANY]})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("exit_code", Digits("0")), ("exit_code", True), ("exit_code", 0.0), ("exit_code", None),
        ("exit_code", range(3)), ("exit_code", {0, None}), ("signal", signal.SIGTERM),
        ("oom_killed", 1), ("args", ("-c", ANY)), ("name", ["web", None]), ("managed", None),
        ("status", ("exited", "signaled")),
    ],
)  # fmt: skip
def test_every_possible_value_of_a_field_is_accepted(field, value):
    check_value(field, value)


def test_starting_a_process_sends_the_options_unchanged():
    box, sent = box_of([]), []
    box._client.start = lambda body: sent.append(body) or process(41)
    options = {
        "user": {"uid": 1000},
        "stdin_mode": "pipe",
        "restart": {"policy": "on_failure", "max_restarts": None, "initial_backoff_ms": 0},
        "health_check": {"type": "tcp", "port": 65_535, "path": None},
    }

    box.start_process("sleep", (text for text in ["60"]))
    with pytest.raises(RequestRefused, match="not support managed"):  # it returned no managed one
        box.start_process("web", **options)

    started = {"command": "web", "args": [], **options}
    assert sent == [{"command": "sleep", "args": ["60"]}, started]


def test_plugin_and_embedded_sandbox_define_the_same_restart_and_health_check_fields():
    for types, accepted in [(RestartOptions, Restart), (HealthCheckOptions, HealthCheck)]:
        assert get_type_hints(types) == get_type_hints(accepted)
        required = {each.name for each in fields(accepted) if each.default is MISSING}
        assert types.__required_keys__ == required


def test_assertion_checks_only_processes_of_its_own_test_in_a_shared_sandbox():
    rows = [raw(41), raw(42, **OOM)]
    box = box_of(rows, shared=True)
    box.start_process("python", ["train.py"])

    box.assert_no_oom()
    failure(lambda: box.assert_no_oom(all_processes=True), ProcessOOMKilled)
    failure(box_of(rows).assert_no_oom, ProcessOOMKilled)
