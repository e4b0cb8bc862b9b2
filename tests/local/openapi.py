"""Build the OpenAPI document of the routes of the embedded sandbox, with all possible responses.

``test_event_streams`` covers the events of the streams.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from pytest_tlsandbox.local.managed_process import HealthStatus, SupervisorStatus
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


class Entry(Answer):
    name: str
    is_dir: bool
    size: int | None
    modified_at: int


class Entries(Answer):
    path: str
    entries: list[Entry]


REQUESTS = (StartRequest, RunRequest, SignalRequest)
ANSWERS = (Error, Health, Info, Process, Processes, Success, Output, Entries)


def document() -> Schema:
    """Return the document."""
    models: tuple[Any, ...] = REQUESTS + ANSWERS
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


def _json(model: type) -> Schema:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{model.__name__}"}}}


TEXT: Schema = {"text/plain": {"schema": {"type": "string"}}}
BYTES: Schema = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
EVENTS: Schema = {"text/event-stream": {}}
ERROR = _json(Error)
# The server returns 400 for an unreadable pid, an unreadable body or a rejected request.
REFUSED = {400: {**ERROR, **TEXT}}
NOT_FOUND = {404: ERROR, **REFUSED}
TOO_LONG = {413: TEXT, **REFUSED}
UNREADABLE = {415: TEXT, 422: TEXT, **TOO_LONG}
FAILED = {500: ERROR}
FILE = {403: ERROR, **NOT_FOUND, **FAILED}

ONE = "/processes/{process}"
# The success, the errors and the body of each operation.
OPERATIONS: dict[str, tuple[int, Schema, Schema, Schema]] = {
    "get /health": (200, _json(Health), {}, {}),
    "get /info": (200, _json(Info), {}, {}),
    "get /processes": (200, _json(Processes), {}, {}),
    "post /processes": (
        201,
        _json(Process),
        {409: ERROR, **UNREADABLE, **FAILED},
        _json(StartRequest),
    ),
    "post /processes/run": (200, EVENTS, UNREADABLE | FAILED, _json(RunRequest)),
    f"get {ONE}": (200, _json(Process), NOT_FOUND, {}),
    f"delete {ONE}": (204, {}, NOT_FOUND | FAILED, {}),
    f"post {ONE}/signal": (200, _json(Success), NOT_FOUND | UNREADABLE, _json(SignalRequest)),
    f"post {ONE}/restart": (200, _json(Process), NOT_FOUND | FAILED, {}),
    f"post {ONE}/stdin": (204, {}, NOT_FOUND | TOO_LONG, BYTES),
    f"post {ONE}/stdin/close": (204, {}, NOT_FOUND, {}),
    "get /files": (200, BYTES, FILE, {}),
    "put /files": (204, {}, FILE, BYTES),
    "delete /files": (204, {}, FILE, {}),
    "get /files/list": (200, _json(Entries), FILE, {}),
    "get /tunnels/tcp": (101, {}, {502: ERROR, **REFUSED}, {}),
}
for stream in ("stdout", "stderr", "output"):
    OPERATIONS[f"get {ONE}/{stream}"] = (200, _json(Output), NOT_FOUND, {})
    OPERATIONS[f"get {ONE}/{stream}/follow"] = (200, EVENTS, NOT_FOUND, {})


def _parameters(path: str) -> list[Schema]:
    if path.startswith("/tunnels"):
        place, name = "query", "port"
        schema: Schema = {"type": "integer", "minimum": 1, "maximum": 65535}
    else:
        place, name = ("query", "path") if path.startswith("/files") else ("path", "process")
        schema = {"type": "string"}
    has_one = place == "query" or "{process}" in path
    return [{"name": name, "in": place, "required": True, "schema": schema}] if has_one else []


def _paths() -> Schema:
    paths: Schema = {}
    for operation, (status, answer, errors, body) in OPERATIONS.items():
        method, path = operation.split()
        item = paths.setdefault(path, {"parameters": _parameters(path)})
        item[method] = {
            "responses": {
                str(code): {"description": "answer", **({"content": content} if content else {})}
                for code, content in {status: answer, 401: ERROR, **errors}.items()
            },
            **({"requestBody": {"required": True, "content": body}} if body else {}),
        }
    return paths
