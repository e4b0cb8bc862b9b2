"""What requests say: their bodies, and the process that a path means."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from dataclasses import fields as fields_of
from typing import Literal, get_args
from urllib.parse import unquote_to_bytes

from pytest_tlsandbox.local.fields import Fields, Rejection, read_object
from pytest_tlsandbox.local.user import UserSpec, parse_user

StdinMode = Literal["closed", "pipe"]
OutputMode = Literal["capture", "discard"]
RestartPolicy = Literal["on_failure", "never", "always"]
HealthCheckType = Literal["http", "tcp"]

_INT32 = range(-(2**31), 2**31)
_UINT16 = range(2**16)
_UINT32 = range(2**32)


class Refusal(Exception):
    """A request that is understood, and answered with an error: ``{"error": ..., "code": ...}``."""

    def __init__(self, status: int, error: str, code: str | None = None) -> None:
        super().__init__(error)
        self.status = status
        self.body = {"error": error} if code is None else {"error": error, "code": code}


@dataclass(frozen=True)
class Restart:
    """When a managed process is started again (fact sheet 3.1)."""

    policy: RestartPolicy = "on_failure"
    max_restarts: int | None = None
    initial_backoff_ms: int = 500
    max_backoff_ms: int = 30_000


@dataclass(frozen=True)
class HealthCheck:
    """How a managed process is asked for its health (fact sheet 3.1)."""

    type: HealthCheckType
    port: int
    path: str | None = None
    initial_delay_ms: int = 5000
    interval_ms: int = 1000
    timeout_ms: int = 500
    failure_threshold: int = 3


@dataclass(frozen=True)
class Management:
    """What makes a process a managed one: a name, a restart policy or a health check."""

    name: str | None = None
    restart: Restart = field(default_factory=Restart)
    health_check: HealthCheck | None = None
    stop_grace_ms: int = 10_000


@dataclass(frozen=True)
class StartRequest:
    """The body of ``POST /processes`` (fact sheet section 4).

    Fields it does not have are ignored, as by the daemon; those that ``restart`` and
    ``health_check`` do not have are refused.
    """

    command: str
    args: list[str] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)
    working_dir: str | None = None
    user: UserSpec | None = None
    stdin_mode: StdinMode = "closed"
    stdout_mode: OutputMode = "capture"
    stderr_mode: OutputMode = "capture"
    management: Management | None = None


@dataclass(frozen=True)
class RunRequest:
    """The body of ``POST /processes/run``: what to start, and how many seconds it may take."""

    start: StartRequest
    timeout: float | None = None


def read_start(body: bytes, content_type: str) -> StartRequest:
    """Read the body of a start. Raises Rejection (400, 415, 422) and Refusal (400)."""
    fields = read_object(body, content_type)
    return StartRequest(
        command=fields.text("command"),
        args=fields.texts("args"),
        env=fields.text_map("env"),
        working_dir=fields.optional_text("working_dir"),
        user=_read_user(fields),
        stdin_mode=fields.choice("stdin_mode", get_args(StdinMode), default="closed"),
        stdout_mode=fields.choice("stdout_mode", get_args(OutputMode), default="capture"),
        stderr_mode=fields.choice("stderr_mode", get_args(OutputMode), default="capture"),
        management=_read_management(fields),
    )


def read_run(body: bytes, content_type: str) -> RunRequest:
    """Read the body of a run. Raises Rejection (400, 415, 422)."""
    fields = read_object(body, content_type)
    start = StartRequest(
        command=fields.text("command"),
        args=fields.texts("args"),
        env=fields.text_map("env"),
        working_dir=fields.optional_text("working_dir"),
        user=_read_user(fields),
    )
    return RunRequest(start, fields.optional_seconds("timeout"))


def read_signal(body: bytes, content_type: str) -> int:
    """Read the body of a signal: its number. Raises Rejection (400, 415, 422)."""
    return read_object(body, content_type).integer("signal", _INT32)


def read_process(segment: bytes) -> int | str:
    """Read which process a path means, from its segment as it came: a pid, or a name.

    All digits are a pid, an unsigned 32-bit number. Raises Rejection (400).
    """
    try:
        text = unquote_to_bytes(segment).decode("utf-8")
    except UnicodeDecodeError:
        raise Rejection(400, "Invalid URL: Invalid UTF-8 in `process`") from None
    if not _is_number(text):
        return text
    if len(text) < 20 and int(text) < 2**32:
        return int(text)
    raise Rejection(400, f'Invalid URL: Cannot parse `"{text}"` to a `u32`')


def _read_user(fields: Fields) -> UserSpec | None:
    if isinstance(fields.value("user"), str):
        return parse_user(fields.text("user"))
    spec = fields.section("user")
    if spec is None:
        return None
    name, uid = spec.optional_text("name"), spec.optional_integer("uid", _UINT32)
    if (name is None) == (uid is None):
        raise Refusal(400, "user must have either a name or a uid", "INVALID_USER")
    return UserSpec(name, uid, spec.optional_integer("gid", _UINT32))


def _read_management(fields: Fields) -> Management | None:
    name = fields.optional_text("name")
    restart, check = fields.section("restart"), fields.section("health_check")
    grace = fields.integer("stop_grace_ms", _UINT32, default=10_000)
    if name is None and restart is None and check is None:
        return None
    if name is not None and (not name or "/" in name or _is_number(name)):
        error = f"Invalid process name '{name}': not empty, no '/', and not digits only"
        raise Refusal(400, error, "INVALID_PROCESS_NAME")
    return Management(
        name=name,
        restart=Restart() if restart is None else _read_restart(restart),
        health_check=None if check is None else _read_health_check(check),
        stop_grace_ms=grace,
    )


def _read_restart(fields: Fields) -> Restart:
    _refuse_unknown("restart", fields, Restart)
    return Restart(
        policy=fields.choice("policy", get_args(RestartPolicy), default="on_failure"),
        max_restarts=fields.optional_integer("max_restarts", _UINT32),
        initial_backoff_ms=fields.integer("initial_backoff_ms", _UINT32, default=500),
        max_backoff_ms=fields.integer("max_backoff_ms", _UINT32, default=30_000),
    )


def _read_health_check(fields: Fields) -> HealthCheck:
    _refuse_unknown("health_check", fields, HealthCheck)
    return HealthCheck(
        type=fields.choice("type", get_args(HealthCheckType)),
        port=fields.integer("port", _UINT16),
        path=fields.optional_text("path"),
        initial_delay_ms=fields.integer("initial_delay_ms", _UINT32, default=5000),
        interval_ms=fields.integer("interval_ms", _UINT32, default=1000),
        timeout_ms=fields.integer("timeout_ms", _UINT32, default=500),
        failure_threshold=fields.integer("failure_threshold", _UINT32, default=3),
    )


def _refuse_unknown(part: str, fields: Fields, model: type[Restart | HealthCheck]) -> None:
    """Raise Refusal (400) for a key that means nothing: a limit that is misspelt is no limit."""
    known = [each.name for each in fields_of(model)]
    name = fields.unknown(known)
    if name is not None:
        near = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(known)}"
        raise Refusal(400, f"{part} has no '{name}'; {hint}", "UNKNOWN_FIELD")


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()
