"""Arguments of helpers: each error is one sentence that says what is allowed."""

import json
import math
import re
import signal
from pathlib import Path
from types import MappingProxyType
from typing import get_type_hints
from unittest.mock import ANY, call

import pytest

from pytest_tlsandbox import HealthCheckOptions, RestartOptions
from pytest_tlsandbox.errors import InvalidArgument, ProcessOOMKilled
from pytest_tlsandbox.history.snapshot import FIELDS, check_fields
from pytest_tlsandbox.local.request_bodies import HealthCheck, Restart
from pytest_tlsandbox.waiting.selectors import by
from tests.support import OOM, box_of, failure, make, managed, process, raw

STATUS = "argument 'status' must be one of running, exited, signaled, oom_killed; got"
RESTART = "argument 'restart' must be a mapping with the keys policy, max_restarts, initial_backoff_ms, max_backoff_ms; got"
AS_RESTART = 'for example, write restart={"policy": "always"}'
AS_CHECK = 'for example, write health_check={"type": "http", "port": 8080}'
NOT_CONTAIN = "must not contain a NUL character or a lone surrogate, got one at position"
EXIT_CODE = "argument 'exit_code' must be from 0 to 255, got"
SIGNALED = 'wait_for_process(process, status="signaled")'
PATTERN = (
    "argument 'pattern' must be a non-empty text without a line break or a compiled regex, got"
)
CONDITION = "argument 'condition' must be a function that takes one argument (the snapshot), got"
PREDICATE = "argument 'process' must be a function that takes one argument (the process), got"
SEVERAL = "a selector that can match several processes (text, a regex, by(...) or a function); got"
start, exits = call.start_process, call.wait_for_exit


async def coroutine(seen):
    return False


CASES = [
    (call.wait_for_process("x", status="runing"), f"{STATUS} 'runing'; did you mean 'running'?"),
    (call.wait_for_process("x", status=[]), f"{STATUS} []"),
    (call.wait_for_process("x", timeout=math.inf), "argument 'timeout' must be a number of seconds, got inf"),
    (call.wait_for_process("x", stable_for=True), "argument 'stable_for' must be a number of seconds, got True"),
    (call.assert_stays("x", stable_for=0), "argument 'stable_for' must be > 0 seconds, got 0"),
    (call.run_process("true", exit_code=-9),
     f"{EXIT_CODE} -9; to wait for a signal that ends the process, use {SIGNALED}"),
    (call.run_process("true", timeout=-1), "argument 'timeout' must be >= 0 seconds, got -1"),
    (call.run_process("true", name=3), "argument 'name' must be text, got 3; write '3'"),
    (call.stop_process(41, grace="5"), "argument 'grace' must be a number of seconds, got '5'"),
    *((exits("x", exit_code=wrong), f'{EXIT_CODE} {wrong}; pass "any" to accept every exit code')
      for wrong in (None, (), 1.0, True)),
    (exits("x", pick="last"), "argument 'pick' must be one of newest, oldest; got 'last'"),
    (exits("x", since=0), "argument 'since' must be \"test\", a snapshot or None; got 0"),
    (call.assert_process("x"), "assert_process needs at least one expected field, such as exit_code=0"),
    (lambda box: box.soft().assert_process("x", state="exited"),
     "a process has no field 'state'; did you mean 'status'?"),
    (call.send_signal(41, 65), "argument 'signal' must be a number from 1 to 64, got 65"),
    (call.wait_for_count("x", "4"), "argument 'count' must be a number >= 0, got '4'; write 4"),
    (call.wait_for_count("x", -1), "argument 'count' must be a number >= 0, got -1"),
    (call.wait_for_count("x", 1.5), "argument 'count' must be a number >= 0, got 1.5"),
    *((call.wait_for_count(one, 1), f"argument 'process' must be {SEVERAL} {label}")
      for one, label in ((41, "pid 41"), (process(41), "pid 41"), (by(pid=41), "by(pid=41)"))),
    (call.wait_for_restart("x", 0), "argument 'count' must be a number >= 1, got 0"),
    (call.wait_for_restart("x", True), "argument 'count' must be a number >= 1, got True"),
    *((call.wait_for_port("x", port), f"argument 'port' must be a number from 1 to 65535, got {port}")
      for port in (0, 65_536)),
    (call.wait_for_output(41, re.compile(b"ready")), f"{PATTERN} a value of type Pattern"),
    (call.wait_for_output(41, ""), f"{PATTERN} ''"),
    (call.wait_for_output(41, "ready\n"), f"{PATTERN} 'ready\\n'"),
    (call.output(41, "stdrr"),
     "argument 'stream' must be one of stdout, stderr, output; got 'stdrr'; did you mean 'stderr'?"),
    (start("cat", ["-n", Path("a.txt")]), "args[1] must be text, got a value of type PosixPath; write 'a.txt'"),
    (start("curl", [b"a secret"]), "args[0] must be text, got a value of type bytes"),
    (start("cat", ["caf\udce9"]), f"args[0] {NOT_CONTAIN} 3"),
    (start("sh", "-c true"), "argument 'args' must be a list of strings, got '-c true'"),
    (start("env", env={"PIN": 1234}), "env['PIN'] must be text, got a value of type int"),
    (start("env", env={1: "A"}), "each name in 'env' must be text, got 1; write '1'"),
    (start("env", env={"TOKEN": "a secret\0"}), f"env['TOKEN'] {NOT_CONTAIN} 8"),
    (start("env", env=["A=1"]), "argument 'env' must be a mapping such as {'A': '1'}, got a list"),
    (start("sh", cwd="/tmp"),
     "each option of start_process must be one of env, working_dir, user, stdin_mode, stdout_mode, "
     "stderr_mode, name, restart, health_check; got 'cwd'"),
    (start("sh", stdin_mode="pip"),
     "argument 'stdin_mode' must be one of closed, pipe; got 'pip'; did you mean 'pipe'?"),
    (start("web", restart="never"), f"{RESTART} 'never'; {AS_RESTART}"),
    (start("web", restart={"polcy": "always"}),
     "each key of 'restart' must be one of policy, max_restarts, initial_backoff_ms, max_backoff_ms; got "
     "'polcy'; did you mean 'policy'?"),
    (start("web", restart={"max_restarts": "3"}),
     "restart['max_restarts'] must be a number from 0 to 4294967295, got '3'; write 3"),
    (start("web", health_check={}), f"argument 'health_check' has no key 'type'; {AS_CHECK}"),
    (start("web", health_check={"type": "tcp", "port": 0}),
     "health_check['port'] must be a number from 1 to 65535, got 0"),
    (start(""), "argument 'command' must not be empty"),
    (start(("env", "--token", "abc")),
     "argument 'command' must be text, got a tuple; write command='env', args=['--token', '***']"),
    (call.assert_process("x", exit_code=[0, "1"]), "argument 'exit_code' must be a number, got '1'; write 1"),
    (call.assert_process("x", args=None), "argument 'args' must be a list of strings, got None"),
    (call.assert_process("x", args=["60", 60]), "argument 'args' must be text, got 60; write '60'"),
    (call.assert_process("x", command=b"--token=abc"), "argument 'command' must be text, got a value of type bytes"),
    (call.assert_process("x", oom_killed="true"), "argument 'oom_killed' must be a bool, got 'true'"),
    (call.assert_process("x", started_at=0), "argument 'started_at' must be a datetime, got 0"),
    (call.assert_process("x", managed="web"), "argument 'managed' must be a ManagedProcess, got 'web'"),
    (lambda box: box.wait_for_process(by(pid="60")), "argument 'pid' must be a number, got '60'; write 60"),
    (lambda _: by(), "by() needs at least one of name, command, args, pid, handle, got none"),
    (exits(" "), "argument 'process' must not be empty text, which would match every command line"),
    (exits(4.1),
     "argument 'process' must be text, a pid, a compiled regex, a process object, a by(...) selector "
     "or a function, got 4.1"),
    (exits(-1), "argument 'process' must be a pid >= 0, got -1"),
    (call.wait_until("x"), f"{CONDITION} 'x'"),
    (call.wait_until(math.dist), f"{CONDITION} dist(p, q, /)"),
    (exits(lambda: True), f"{PREDICATE} <lambda>()"),
    (exits(coroutine), f"{PREDICATE} a coroutine function, whose result is always truthy"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "message"), CASES, ids=[message[:50] for _, message in CASES])
def test_invalid_call_is_rejected_before_any_request_is_sent(call, message):
    box = box_of([])

    assert str(failure(lambda: make(call, box), InvalidArgument)) == message
    assert box._client.requests == []


POSSIBLE = [
    *((field, value) for field in FIELDS for value in (ANY, [ANY])),  # may override equality
    ("exit_code", True), ("exit_code", 0.0), ("exit_code", None), ("exit_code", range(3)),
    ("exit_code", {0, None}), ("signal", signal.SIGTERM), ("oom_killed", 1), ("args", ("-c", ANY)),
    ("name", ["web", None]), ("managed", None), ("status", ("exited", "signaled")),
]  # fmt: skip


@pytest.mark.parametrize(("field", "value"), POSSIBLE)
def test_every_possible_value_of_a_field_is_accepted(field, value):
    check_fields({field: value})


def test_starting_a_process_sends_the_options_unchanged():
    box, sent = box_of([]), []
    box._client.start = lambda body: sent.append(json.dumps(body)) or process(managed=managed())
    options = {
        "env": {"DEBUG": "1"},
        "user": {"uid": 1000},
        "stdin_mode": "pipe",
        "restart": {"policy": "on_failure", "max_restarts": None, "initial_backoff_ms": 0},
        "health_check": {"type": "tcp", "port": 65_535, "path": None},
    }

    box.start_process("sleep", (text for text in ["60"]), name=None)
    box.start_process("web", **options | {"env": MappingProxyType(options["env"])})

    started = {"command": "web", "args": [], **options}
    assert [*map(json.loads, sent)] == [{"command": "sleep", "args": ["60"]}, started]


def test_plugin_and_embedded_sandbox_define_the_same_restart_and_health_check_fields():
    for types, accepted in [(RestartOptions, Restart), (HealthCheckOptions, HealthCheck)]:
        assert get_type_hints(types) == get_type_hints(accepted)
        required = {name for name, field in accepted.model_fields.items() if field.is_required()}
        assert types.__required_keys__ == required


def test_assertion_checks_only_processes_of_its_own_test_in_a_shared_sandbox():
    box = box_of([raw(41), raw(42, **OOM)], shared=True, started=[process(41)])

    box.assert_no_oom()
    failure(lambda: box.assert_no_oom(all_processes=True), ProcessOOMKilled)
