"""Arguments of helpers: each error is one sentence that says what is allowed."""

import math
import signal
import traceback
from dataclasses import MISSING, fields
from pathlib import Path
from typing import get_type_hints
from unittest.mock import ANY, call

import pytest

from pytest_tlsandbox import HealthCheckOptions, RestartOptions
from pytest_tlsandbox.arguments.checks import (
    check_codes,
    check_pick,
    check_seconds,
    check_signal,
    check_statuses,
    check_value,
)
from pytest_tlsandbox.async_sandbox import AsyncSandbox
from pytest_tlsandbox.errors import InvalidArgument, ProcessOOMKilled, RequestRefused
from pytest_tlsandbox.history.snapshot import FIELDS, check_fields
from pytest_tlsandbox.local.request_bodies import HealthCheck, Restart
from pytest_tlsandbox.waiting.selectors import by
from tests.support import OOM, box_of, failure, polls, process, raw

STATUS = "status must be one of running, exited, signaled, oom_killed; got"
RESTART = "restart must be a mapping with the keys policy, max_restarts, initial_backoff_ms, max_backoff_ms"
SIGNAL = "signal must be a number from 1 to 64, such as 15 or signal.SIGTERM; got"
SIGNALED = 'wait_for_process(process, status="signaled")'
HEALTH = (
    "health_check must be a mapping with the keys type, port, path, initial_delay_ms, interval_ms, "
    "timeout_ms, failure_threshold"
)
HTTP = {"type": "http", "port": 80}
start = call.start_process
CASES = [
    (call.wait_for_process("x", status="runing"), f"{STATUS} 'runing'; did you mean 'running'?"),
    (call.wait_for_process("x", status=[]),
     "status must be one or more of running, exited, signaled, oom_killed; got no status"),
    (call.assert_process("x", status="Running"), f"{STATUS} 'Running'; did you mean 'running'?"),
    (call.wait_for_process("x", timeout=-1), "timeout must be >= 0 seconds, got -1"),
    (call.wait_for_process("x", timeout=math.inf), "timeout must be a finite number of seconds, got inf"),
    (call.wait_for_process("x", timeout="5s"), "timeout must be a number of seconds, got '5s'"),
    (call.wait_for_process("x", stable_for=True), "stable_for must be a number of seconds, got True"),
    (call.assert_stays("x", stable_for=0), "stable_for must be > 0 seconds, got 0"),
    (call.wait_for_exit("x", exit_code=-9),
     f"exit_code must be from 0 to 255, got -9; to wait for a signal that ends the process, use {SIGNALED}"),
    (call.wait_for_exit("x", exit_code=None),
     'exit_code must be from 0 to 255, got None; pass "any" to accept every exit code'),
    (call.wait_for_exit("x", exit_code=()), 'exit_code must be one or more codes, or "any"; got no code'),
    (call.wait_for_exit("x", pick="last"), 'pick must be "newest" or "oldest", got \'last\''),
    (call.wait_for_exit("x", since=0), 'since must be "test", a snapshot or None (the whole history); got 0'),
    (call.assert_process("x"), "assert_process needs at least one expected field, such as exit_code=0"),
    (call.assert_process("x", exitcode=0), "a process has no field 'exitcode'; did you mean 'exit_code'?"),
    (call.wait_until("x"), "condition must be a function that takes the snapshot, got 'x'"),
    (call.wait_for_exit("x", exit_code=1.0), "exit_code must be from 0 to 255, got 1.0"),
    (call.wait_for_process("x", status=None), f"{STATUS} None"),
    (call.wait_for_process("x", status="killed"), f"{STATUS} 'killed'"),
    (call.send_signal(41, "TERM"), f"{SIGNAL} 'TERM'"),
    (call.send_signal(41, 0), f"{SIGNAL} 0"),
    (call.send_signal(41, 65), f"{SIGNAL} 65"),
    (call.output(41, "stdrr"),
     "stream must be one of stdout, stderr, output; got 'stdrr'; did you mean 'stderr'?"),
    (start("sleep", [60]), "args[0] must be text, got 60; write '60'"),
    (start("cat", ["-n", Path("a.txt")]), "args[1] must be text, got a value of type PosixPath; write 'a.txt'"),
    (start("cat", [None]), "args[0] must be text, got None"),
    (start("curl", [b"a secret"]), "args[0] must be text, got a value of type bytes"),
    (start("env", env={"PIN": 1234}), "env['PIN'] must be text, got a value of type int"),
    (start("env", env={1: "A"}), "the name of a variable in env must be text, got 1; write '1'"),
    (start("env", env={"TOKEN=a secret": ""}), "the name of a variable in env must not contain '=', got a name that begins with 'TOKEN'"),
    (start("sh\0"), "command must not contain a NUL character, got one at position 2"),
    (start("sh", ["-c", "a\0b"]), "args[1] must not contain a NUL character, got one at position 1"),
    (start("env", env={"TOKEN": "a secret\0"}),
     "env['TOKEN'] must not contain a NUL character, got one at position 8"),
    (start("env", env={"A\0": "1"}), "the name of a variable in env must not contain a NUL character, got one at position 1"),
    (start("sh", working_dir="/tmp\0"), "working_dir must not contain a NUL character, got one at position 4"),
    (start("cat", ["caf\udce9"]),
     "args[0] must be valid Unicode text, got a lone surrogate at position 3"),
    (start("sh", working_dir=Path("/tmp")),
     "working_dir must be text, got a value of type PosixPath; write '/tmp'"),
    (start("sh", name=8), "name must be text, got 8; write '8'"),
    (start("sh", user=1000), "user must be text, got 1000; write '1000'"),
    (start("sh", stdin_mode="pip"), "stdin_mode: unknown mode 'pip'; did you mean 'pipe'?"),
    (start("sh", stdout_mode=None, stderr_mode=False),
     "stderr_mode: unknown mode False; expected one of capture, discard"),
    (start("web", restart="always"), f"{RESTART}; got 'always'; write restart={{\"policy\": \"always\"}}"),
    (start("web", restart="never"), f"{RESTART}; got 'never'; write restart={{\"policy\": \"never\"}}"),
    (start("web", restart=True), f"{RESTART}; got True; write restart={{\"policy\": \"always\"}}"),
    (start("web", restart={"polcy": "always"}), "restart: unknown key 'polcy'; did you mean 'policy'?"),
    (start("web", restart={3: "times"}),
     "restart: unknown key 3; expected one of policy, max_restarts, initial_backoff_ms, max_backoff_ms"),
    (start("web", restart={"policy": "alway"}), "restart: unknown policy 'alway'; did you mean 'always'?"),
    (start("web", restart={"policy": None}),
     "restart: unknown policy None; expected one of on_failure, never, always"),
    (start("web", restart={"max_restarts": "3"}),
     "restart: max_restarts must be an integer from 0 to 4294967295 or None, got '3'"),
    (start("web", restart={"max_backoff_ms": None}),
     "restart: max_backoff_ms must be an integer from 0 to 4294967295, got None"),
    (start("web", health_check="tcp"),
     f"{HEALTH}; got 'tcp'; write health_check={{\"type\": \"tcp\", \"port\": 8080}}"),
    (start("web", health_check={}),
     "health_check: missing key 'type'; for example, write health_check={\"type\": \"http\", \"port\": 8080}"),
    (start("web", health_check={"type": "tcp"}),
     "health_check: missing key 'port'; for example, write health_check={\"type\": \"http\", \"port\": 8080}"),
    (start("web", health_check={"type": "https", "port": 443}),
     "health_check: unknown type 'https'; did you mean 'http'?"),
    (start("web", health_check={"type": "tcp", "port": 0}),
     "health_check: port must be an integer from 1 to 65535, got 0"),
    (start("web", health_check={**HTTP, "path": 1}), "health_check: path must be text, got 1; write '1'"),
    (start("web", health_check={**HTTP, "interval": 5}),
     "health_check: unknown key 'interval'; did you mean 'interval_ms'?"),
    (start("web", health_check={**HTTP, "interval_ms": 0.5}),
     "health_check: interval_ms must be an integer from 0 to 4294967295, got 0.5"),
    (start("sh", "-c true"), "args must be a list of strings, got one string"),
    (start("sleep", None), "args must be a list of strings, got None"),
    (start("env", env=["A=1"]), "env must be a mapping such as {'A': '1'}, got a list"),
    (start(""), "command must not be empty"),
    (start(["sleep", "60"]), "command must be text, got a list; write command='sleep', args=['60']"),
    (start(("env", "--token", "abc")),
     "command must be text, got a tuple; write command='env', args=['--token', '***']"),
    (start(["sleep"]), "command must be text, got a list; write command='sleep'"),
    (call.from_now("x"), "baseline must be a snapshot or None (list the processes now), got 'x'"),
    (call.wait_for_output(41, ""),
     "pattern must not be empty, because an empty pattern matches every line"),
    (call.wait_for_output(41, "ready\n"),
     "pattern must be text without a line break, got 'ready\\n'; wait for one line at a time"),
    (call.assert_process("x", exit_code="0"), "exit_code must be a number, got '0'; write 0"),
    (call.assert_process("x", exit_code=[0, "1"]), "exit_code must be a number, got '1'; write 1"),
    (call.assert_process("x", signal="TERM"), "signal must be a number, got 'TERM'"),
    (call.assert_process("x", pid=None), "pid must be a number, got None"),
    (call.assert_process("x", args="60"), "args must be a list of strings, got one string"),
    (call.assert_process("x", args=None), "args must be a list of strings, got None"),
    (call.assert_process("x", args=["60", 60]), "args must be text, got 60; write '60'"),
    (call.assert_process("x", command=b"--token=abc"), "command must be text, got a value of type bytes"),
    (call.assert_process("x", oom_killed="true"), "oom_killed must be a bool, got 'true'"),
    (call.assert_process("x", started_at=0), "started_at must be a datetime, got 0"),
    (call.assert_process("x", managed="web"), "managed must be a ManagedProcess, got 'web'"),
    (lambda box: box.wait_for_process(by(pid="60")), "pid must be a number, got '60'; write 60"),
    (lambda box: box.wait_for_process(by(args="60")), "args must be a list of strings, got one string"),
    (lambda box: box.wait_for_process(by(name=60)), "name must be text, got 60; write '60'"),
    (start("sh", cwd="/tmp"), "start_process() has no argument 'cwd'; did you mean 'working_dir'?"),
    (call.wait_for_process("x", state="exited"),
     "wait_for_process() has no argument 'state'; did you mean 'status'?"),
    (call.wait_for_exit("x", state="exited"),
     "wait_for_exit() has no argument 'state'; expected one of process, exit_code, timeout, pick, since"),
    (call.assert_process("x", state="exited"), "a process has no field 'state'; did you mean 'status'?"),
    (lambda box: box.soft().assert_no_oom(suspect=True),
     "assert_no_oom() has no argument 'suspect'; did you mean 'suspected'?"),
    (lambda box: box.soft().assert_process("x", state="exited"),
     "a process has no field 'state'; did you mean 'status'?"),
    (call.list_processes(name="web"), "list_processes() has no argument 'name'"),
    (lambda box: by(nam="web"), "by() has no argument 'nam'; did you mean 'name'?"),
    (call.wait_for_exit("x", 0), "Sandbox.wait_for_exit() takes 2 positional arguments but 3 were given"),
    (call.assert_process(status="running"),
     "Sandbox.assert_process() missing 1 required positional argument: 'process'"),
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


@pytest.mark.parametrize(
    ("attribute", "message"),
    [
        (lambda box: box.wait_for_proces,
         "'Sandbox' object has no attribute 'wait_for_proces'; did you mean 'wait_for_process'?"),
        (lambda box: AsyncSandbox(box).assert_oom,
         "'AsyncSandbox' object has no attribute 'assert_oom'; did you mean 'assert_no_oom'?"),
        (lambda box: box.soft().assert_proces,
         "'Soft' object has no attribute 'assert_proces'; did you mean 'assert_process'?"),
        (lambda box: box.soft().wait_for_exit, "'Soft' object has no attribute 'wait_for_exit'"),
    ],
    ids=["sandbox", "awaitable", "soft", "nothing near"],
)  # fmt: skip
def test_calling_a_misspelt_method_raises_an_attribute_error_with_a_suggestion(attribute, message):
    box = box_of([])

    with pytest.raises(AttributeError) as caught:
        attribute(box)

    # As at the end of a traceback, where Python 3.12 and later add their suggestion to some errors.
    [line] = traceback.format_exception_only(caught.type, caught.value)
    assert line == f"AttributeError: {message}\n"
    assert not hasattr(box, "wait_for_proces")


def test_type_error_in_a_user_function_is_raised_unchanged():
    with pytest.raises(TypeError, match=r"^'int' object is not iterable$") as caught:
        box_of([raw(41)]).wait_until(lambda seen: list(seen[0].pid))

    assert caught.type is TypeError


def test_unknown_argument_raises_a_type_error():
    with pytest.raises(TypeError, match="did you mean 'timeout'"):
        box_of([]).wait_for_exit("x", time_out=1)


def test_valid_values_are_accepted():
    assert check_statuses("running") == ("running",)
    assert check_statuses(["exited", "signaled"]) == ("exited", "signaled")
    assert check_seconds("timeout", 5) == 5.0
    assert check_codes(0) == (0,)
    assert check_codes(range(3)) == (0, 1, 2)
    assert check_codes("any") is None
    assert check_pick("oldest") == "oldest"
    assert [check_signal(number) for number in (1, 64)] == [1, 64]


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


@pytest.fixture
def sent():
    return []


@pytest.fixture
def box(sent):
    """Return a sandbox that adds the body of each start, and each signal, to ``sent``."""
    box = box_of([raw(41)])
    box._client.start = lambda body: sent.append(body) or process(41)
    box._client.signal = lambda row, number: sent.append((row.pid, number))
    return box


def test_signal_argument_accepts_an_enum_member(box, sent):
    box.send_signal(41, signal.SIGTERM)

    assert sent == [(41, 15)]


def test_arguments_may_come_from_an_iterator(box, sent):
    box.start_process("sleep", (text for text in ["60"]))

    assert sent == [{"command": "sleep", "args": ["60"]}]


def test_starting_a_process_sends_the_options_unchanged(box, sent):
    options = {
        "user": {"uid": 1000},
        "stdin_mode": "pipe",
        "restart": {"policy": "on_failure", "max_restarts": None, "initial_backoff_ms": 0},
        "health_check": {"type": "tcp", "port": 65_535, "path": None},
    }

    with pytest.raises(RequestRefused, match="not support managed"):  # it returned no managed one
        box.start_process("web", **options)

    assert sent == [{"command": "web", "args": [], **options}]


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
