"""Build the OpenAPI document of the routes of the embedded sandbox, with all possible responses.

``test_event_streams`` and the contract cover the events of the streams.
"""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, TypeAdapter, create_model

from pytest_tlsandbox.local import request_bodies as bodies
from pytest_tlsandbox.local.managed_process import HealthStatus, SupervisorStatus
from pytest_tlsandbox.local.memory_limit import Mechanism
from pytest_tlsandbox.local.process import Status

Int32 = Annotated[int, Field(ge=-(2**31), lt=2**31)]
UInt32 = Annotated[int, Field(ge=0, lt=2**32)]
Milliseconds = Annotated[int, Field(ge=0)]
SignalNumber = Annotated[int, Field(ge=1, le=64)]


def answer(model, optional=(), **types):
    """Return the model of a response body that contains exactly these fields."""
    fields = {key: (type_, None if key in optional else ...) for key, type_ in types.items()}
    return create_model(model, __config__=ConfigDict(extra="forbid"), **fields)


END = {"exit_code": Int32 | None, "signal": SignalNumber | None, "oom_killed": bool}
Error = answer("Error", ["code"], error=str, code=str)
Health = answer("Health", healthy=bool)
Memory = answer("Memory", mechanism=Mechanism, limit_bytes=int | None)
Counts = {"running_processes": UInt32, "total_processes": UInt32}
Info = answer("Info", version=str, uptime_secs=UInt32, memory=Memory, **Counts)
LastExit = answer("LastExit", ended_at=Milliseconds, **END)
Managed = answer(
    "Managed", id=str, name=str | None, status=SupervisorStatus, restart_count=UInt32,
    restart=bodies.Restart, health_check=bodies.HealthCheck | None, health_status=HealthStatus,
    consecutive_health_failures=UInt32, last_exit=LastExit | None, last_error=str | None,
    next_restart_at=Milliseconds | None,
)  # fmt: skip
Process = answer(
    "Process", ["managed"], handle=Annotated[int, Field(ge=1)], pid=UInt32, status=Status,
    stdin_writable=bool, command=str, args=list[str], started_at=Milliseconds,
    ended_at=Milliseconds | None, managed=Managed, **END,
)  # fmt: skip
Processes = answer("Processes", processes=list[Process])
Success = answer("Success", success=Literal[True])
Output = answer("Output", pid=UInt32, lines=list[str], line_count=UInt32)
Entry = answer("Entry", name=str, is_dir=bool, size=int | None, modified_at=int)
Entries = answer("Entries", path=str, entries=list[Entry])
REQUESTS = (bodies.StartRequest, bodies.RunRequest, bodies.SignalRequest)
ANSWERS = (Error, Health, Info, Process, Processes, Success, Output, Entries)


TEXT_VALUE, PORT = {"type": "string"}, {"type": "integer", "minimum": 1, "maximum": 65535}


def document(process=TEXT_VALUE):
    """Return the document; ``process`` is the schema of selectors of processes."""
    adapters = [(model, "validation", TypeAdapter(model)) for model in REQUESTS + ANSWERS]
    _, schemas = TypeAdapter.json_schemas(adapters, ref_template="#/components/schemas/{model}")
    bearer = {"bearerAuth": {"type": "http", "scheme": "bearer"}}
    return {
        "openapi": "3.2.0",
        "info": {"title": "pytest-tlsandbox: the embedded sandbox", "version": "0"},
        "security": [{"bearerAuth": []}],
        "paths": _paths(process),
        "components": {"securitySchemes": bearer, "schemas": schemas["$defs"]},
    }


def _json(model):
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{model.__name__}"}}}


TEXT = {"text/plain": {"schema": {"type": "string"}}}
BYTES = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
EVENTS = {"text/event-stream": {}}
ERROR = _json(Error)
# The server returns 400 for an unreadable pid, an unreadable body or a rejected request.
REFUSED = {400: {**ERROR, **TEXT}}
NOT_FOUND = {404: ERROR, **REFUSED}
TOO_LONG = {413: TEXT, **REFUSED}
UNREADABLE = {415: TEXT, 422: TEXT, **TOO_LONG}
FAILED = {500: ERROR}
STARTED = {409: ERROR, **UNREADABLE, **FAILED}
SIGNALED = NOT_FOUND | UNREADABLE
FILE = {403: ERROR, **NOT_FOUND, **FAILED}

ONE = "/processes/{process}"
# The success, the errors and the body of each operation.
OPERATIONS = {
    "get /health": (200, _json(Health), {}, {}),
    "get /info": (200, _json(Info), {}, {}),
    "get /processes": (200, _json(Processes), {}, {}),
    "post /processes": (201, _json(Process), STARTED, _json(bodies.StartRequest)),
    "post /processes/run": (200, EVENTS, UNREADABLE | FAILED, _json(bodies.RunRequest)),
    f"get {ONE}": (200, _json(Process), NOT_FOUND, {}),
    f"delete {ONE}": (204, {}, NOT_FOUND | FAILED, {}),
    f"post {ONE}/signal": (200, _json(Success), SIGNALED, _json(bodies.SignalRequest)),
    f"post {ONE}/restart": (200, _json(Process), NOT_FOUND | FAILED, {}),
    f"post {ONE}/stdin": (204, {}, NOT_FOUND | TOO_LONG, BYTES),
    f"post {ONE}/stdin/close": (204, {}, NOT_FOUND, {}),
    "get /files": (200, BYTES, FILE, {}),
    "put /files": (204, {}, FILE, BYTES),
    "delete /files": (204, {}, FILE, {}),
    "get /files/list": (200, _json(Entries), FILE, {}),
    "get /tunnels/tcp": (101, {}, {502: ERROR, **REFUSED}, {}),
}  # fmt: skip
for stream in ("stdout", "stderr", "output"):
    OPERATIONS[f"get {ONE}/{stream}"] = (200, _json(Output), NOT_FOUND, {})
    OPERATIONS[f"get {ONE}/{stream}/follow"] = (200, EVENTS, NOT_FOUND, {})


def _paths(process):
    parameters = {
        "/tunnels": {"in": "query", "name": "port", "required": True, "schema": PORT},
        "/files": {"in": "query", "name": "path", "required": True, "schema": TEXT_VALUE},
        ONE: {"in": "path", "name": "process", "required": True, "schema": process},
    }
    paths = {}
    for operation, (status, answer, errors, body) in OPERATIONS.items():
        method, path = operation.split()
        contents = {status: answer, 401: ERROR, **errors}
        responses = {str(code): {"description": "", "content": contents[code]} for code in contents}
        sent = {"requestBody": {"required": True, "content": body}} if body else {}
        found = [parameters[start] for start in parameters if path.startswith(start)]
        item = paths.setdefault(f"/api/v1{path}", {"parameters": found})
        item[method] = {"responses": responses, **sent}
    return paths
