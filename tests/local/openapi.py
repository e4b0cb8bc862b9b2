"""Build the OpenAPI document of the routes of the embedded sandbox, with all possible responses."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, Json, TypeAdapter

from pytest_tlsandbox.local.health_checks import HealthStatus
from pytest_tlsandbox.local.managed_process import SupervisorStatus
from pytest_tlsandbox.local.memory_limit import Mechanism
from pytest_tlsandbox.local.process import Status
from pytest_tlsandbox.local.request_bodies import (
    HealthCheck,
    Restart,
    RunRequest,
    SignalRequest,
    StartRequest,
)

Schema = dict[str, Any]

Int32 = Annotated[int, Field(ge=-(2**31), lt=2**31)]
UInt32 = Annotated[int, Field(ge=0, lt=2**32)]
Milliseconds = Annotated[int, Field(ge=0)]
SignalNumber = Annotated[int, Field(ge=1, le=64)]
OutputName = Literal["stdout", "stderr"]


class Answer(BaseModel):
    """A response body that allows no additional fields."""

    model_config = ConfigDict(extra="forbid")


class Error(Answer):
    error: str
    code: str | None = None


class Health(Answer):
    healthy: bool


class Memory(Answer):
    mechanism: Mechanism
    limit_bytes: int | None


class Info(Answer):
    version: str
    uptime_secs: UInt32
    running_processes: UInt32
    total_processes: UInt32
    memory: Memory


class LastExit(Answer):
    exit_code: Int32 | None
    signal: SignalNumber | None
    oom_killed: bool
    ended_at: Milliseconds


class Managed(Answer):
    id: str
    name: str | None
    status: SupervisorStatus
    restart_count: UInt32
    restart: Restart
    health_check: HealthCheck | None
    health_status: HealthStatus
    consecutive_health_failures: UInt32
    last_exit: LastExit | None
    last_error: str | None
    next_restart_at: Milliseconds | None


class Process(Answer):
    handle: Annotated[int, Field(ge=1)]
    pid: UInt32
    status: Status
    exit_code: Int32 | None
    signal: SignalNumber | None
    oom_killed: bool
    stdin_writable: bool
    command: str
    args: list[str]
    started_at: Milliseconds
    ended_at: Milliseconds | None
    managed: Managed | None = None


class Processes(Answer):
    processes: list[Process]


class Success(Answer):
    success: Literal[True]


class Output(Answer):
    pid: UInt32
    lines: list[str]
    line_count: UInt32


class Line(Answer):
    line: str
    timestamp: Milliseconds


class SourcedLine(Line):
    stream: OutputName


class Entry(Answer):
    name: str
    is_dir: bool
    size: int | None
    modified_at: int


class Entries(Answer):
    path: str
    entries: list[Entry]


class LineEvent(Answer):
    event: Literal["output"]
    data: Json[Line]


class SourcedLineEvent(Answer):
    event: Literal["output"]
    data: Json[SourcedLine]


class EndEvent(Answer):
    event: Literal["eof"]
    data: Json[Answer]


class RunStart(Answer):
    handle: UInt32
    pid: UInt32
    started_at: Milliseconds


class RunEnd(Answer):
    oom_killed: bool
    reason: Literal["exited", "signaled", "oom_killed", "timed_out"]


class Exited(RunEnd):
    exit_code: Int32


class Signaled(RunEnd):
    signal: SignalNumber


class RunEvent(Answer):
    data: Json[RunStart | SourcedLine | Exited | Signaled]
    # Clients treat an event without a name as a message.
    event: Literal["message"] = "message"


REQUESTS = (StartRequest, RunRequest, SignalRequest)
ANSWERS = (Error, Health, Info, Process, Processes, Success, Output, Entries)
EVENTS = (LineEvent, SourcedLineEvent, EndEvent, RunEvent)


def document() -> Schema:
    """Return the document."""
    models: tuple[Any, ...] = REQUESTS + ANSWERS + EVENTS
    adapters: Any = [(model, "validation", TypeAdapter(model)) for model in models]
    _, schemas = TypeAdapter.json_schemas(adapters, ref_template="#/components/schemas/{model}")
    return {
        "openapi": "3.2.0",
        "info": {"title": "pytest-tlsandbox: the embedded sandbox", "version": "0"},
        "security": [{"bearerAuth": []}],
        "paths": {f"/api/v1{path}": item for path, item in _paths().items()},
        "components": {
            "securitySchemes": {"bearerAuth": {"type": "http", "scheme": "bearer"}},
            "schemas": schemas["$defs"],
        },
    }


TEXT: Schema = {"text/plain": {"schema": {"type": "string"}}}
BYTES: Schema = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}


def _ref(model: type) -> Schema:
    return {"$ref": f"#/components/schemas/{model.__name__}"}


def _json(model: type) -> Schema:
    return {"application/json": {"schema": _ref(model)}}


def _events(*models: type) -> Schema:
    return {"text/event-stream": {"itemSchema": {"anyOf": [_ref(model) for model in models]}}}


ERROR = _json(Error)
# The server returns 400 for an unreadable pid, an unreadable body or a rejected request.
REFUSED = {400: {**ERROR, **TEXT}}
NOT_FOUND = {404: ERROR, **REFUSED}
TOO_LONG = {413: TEXT, **REFUSED}
UNREADABLE = {415: TEXT, 422: TEXT, **TOO_LONG}
FAILED = {500: ERROR}
FILE = {403: ERROR, **NOT_FOUND, **FAILED}


def _operation(
    status: int, answer: Schema, errors: dict[int, Schema], body: Schema | None = None
) -> Schema:
    responses = {
        str(status): {"description": "answer", **({"content": content} if content else {})}
        for status, content in {status: answer, 401: ERROR, **errors}.items()
    }
    return {
        "responses": responses,
        **({"requestBody": {"required": True, "content": body}} if body else {}),
    }


def _paths() -> dict[str, Schema]:
    one = "/processes/{process}"
    start = UNREADABLE | FAILED
    paths = {
        "/health": {"get": _operation(200, _json(Health), {})},
        "/info": {"get": _operation(200, _json(Info), {})},
        "/processes": {
            "get": _operation(200, _json(Processes), {}),
            "post": _operation(201, _json(Process), {409: ERROR, **start}, _json(StartRequest)),
        },
        "/processes/run": {"post": _operation(200, _events(RunEvent), start, _json(RunRequest))},
        one: {
            "get": _operation(200, _json(Process), NOT_FOUND),
            "delete": _operation(204, {}, NOT_FOUND | FAILED),
        },
        f"{one}/signal": {
            "post": _operation(200, _json(Success), NOT_FOUND | UNREADABLE, _json(SignalRequest))
        },
        f"{one}/restart": {"post": _operation(200, _json(Process), NOT_FOUND | FAILED)},
        f"{one}/stdin": {"post": _operation(204, {}, NOT_FOUND | TOO_LONG, BYTES)},
        f"{one}/stdin/close": {"post": _operation(204, {}, NOT_FOUND)},
    }
    for stream in ("stdout", "stderr", "output"):
        events = _events(SourcedLineEvent if stream == "output" else LineEvent, EndEvent)
        paths[f"{one}/{stream}"] = {"get": _operation(200, _json(Output), NOT_FOUND)}
        paths[f"{one}/{stream}/follow"] = {"get": _operation(200, events, NOT_FOUND)}
    paths["/files"] = {
        "get": _operation(200, BYTES, FILE),
        "put": _operation(204, {}, FILE, BYTES),
        "delete": _operation(204, {}, FILE),
    }
    paths["/files/list"] = {"get": _operation(200, _json(Entries), FILE)}
    paths["/tunnels/tcp"] = {"get": _operation(101, {}, {426: TEXT, 502: ERROR, **REFUSED})}
    for path, item in paths.items():
        place, name, schema = "path", "process", {"type": "string"}
        if path.startswith("/files"):
            place, name = "query", "path"
        elif path.startswith("/tunnels"):
            place, name, schema = (
                "query",
                "port",
                {"type": "integer", "minimum": 1, "maximum": 65535},
            )
        elif "{process}" not in path:
            continue
        item["parameters"] = [{"name": name, "in": place, "required": True, "schema": schema}]
    return paths
