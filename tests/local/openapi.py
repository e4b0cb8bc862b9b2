"""The OpenAPI document of the embedded sandbox's routes: every answer that the server may give."""

from __future__ import annotations

from dataclasses import MISSING, fields
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from pytest_tlsandbox.local.bodies import HealthCheck, Management, Restart, RunRequest, StartRequest
from pytest_tlsandbox.local.health import HealthStatus
from pytest_tlsandbox.local.managed import SupervisorStatus
from pytest_tlsandbox.local.memory import Mechanism
from pytest_tlsandbox.local.process import Status
from pytest_tlsandbox.local.user import UserSpec

Schema = dict[str, Any]

_INT32: Schema = {"type": "integer", "minimum": -(2**31), "maximum": 2**31 - 1}
_UINT32: Schema = {"type": "integer", "minimum": 0, "maximum": 2**32 - 1}
_MOMENT: Schema = {"type": "integer", "minimum": 0, "description": "ms since the epoch"}
_TEXT: Schema = {"type": "string"}
_FLAG: Schema = {"type": "boolean"}
_SIMPLE: dict[Any, Schema] = {str: _TEXT, int: _UINT32, float: {"type": "number", "minimum": 0}}
_STREAM: Schema = {"enum": ["stdout", "stderr"]}
_SIGNALS: Schema = {"type": "integer", "minimum": 1, "maximum": 64}


def document(version: str) -> Schema:
    """Build the document, for a server of that version."""
    return {
        "openapi": "3.2.0",
        "info": {"title": "pytest-tlsandbox: the embedded sandbox", "version": version},
        "security": [{"bearerAuth": []}],
        "paths": {f"/api/v1{path}": item for path, item in _paths().items()},
        "components": {
            "securitySchemes": {"bearerAuth": {"type": "http", "scheme": "bearer"}},
            "schemas": {
                "Error": _object({"error": _TEXT}, code=_TEXT),
                "Process": _process(),
                "Output": _object(
                    {
                        "pid": _UINT32,
                        "lines": {"type": "array", "items": _TEXT},
                        "line_count": _UINT32,
                    }
                ),
                "Start": _start(),
                "Run": _run(),
            },
        },
    }


def _paths() -> dict[str, Schema]:
    by_process = {
        "parameters": [
            {
                "name": "process",
                "in": "path",
                "required": True,
                "description": "a pid, or the name of a managed process",
                "schema": {"type": "string", "minLength": 1},
            }
        ]
    }
    found = {"404": _error(), "400": _plain_text()}
    body = {"413": _plain_text(), "400": _plain_text()}
    json_body = {**body, "415": _plain_text(), "422": _plain_text()}
    spawned = {"500": _error()}
    paths: dict[str, Schema] = {
        "/health": {"get": _operation({"200": _json(_object({"healthy": _FLAG}))})},
        "/info": {"get": _operation({"200": _json(_info())})},
        "/processes": {
            "get": _operation(
                {"200": _json(_object({"processes": {"type": "array", "items": _ref("Process")}}))}
            ),
            "post": _operation(
                {
                    "201": _json(_ref("Process")),
                    **json_body,
                    **spawned,
                    "400": _either_error(),
                    "409": _error(),
                },
                _json_content(_ref("Start")),
            ),
        },
        "/processes/run": {
            "post": _operation(
                {"200": _events(_run_event()), **json_body, **spawned, "400": _either_error()},
                _json_content(_ref("Run")),
            )
        },
        "/processes/{process}": {
            "get": _operation({"200": _json(_ref("Process")), **found}),
            "delete": _operation({"204": _empty(), **found, **spawned}),
        },
        "/processes/{process}/signal": {
            "post": _operation(
                {
                    "200": _json(_object({"success": {"const": True}})),
                    **json_body,
                    **found,
                    "400": _either_error(),
                },
                _json_content(
                    {
                        "type": "object",
                        "properties": {"signal": _INT32},
                        "required": ["signal"],
                    }
                ),
            )
        },
        "/processes/{process}/restart": {
            "post": _operation(
                {"200": _json(_ref("Process")), **found, **spawned, "400": _either_error()}
            )
        },
        "/processes/{process}/stdin": {
            "post": _operation(
                {"204": _empty(), **body, **found, "400": _either_error()},
                {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
            )
        },
        "/processes/{process}/stdin/close": {
            "post": _operation({"204": _empty(), **found, "400": _either_error()})
        },
    }
    for stream in ("stdout", "stderr", "output"):
        answers = {"200": _json(_ref("Output")), **found}
        paths[f"/processes/{{process}}/{stream}"] = {"get": _operation(answers)}
        follow = _operation({"200": _events(_follow_event(stream)), **found})
        paths[f"/processes/{{process}}/{stream}/follow"] = {"get": follow}
    return {
        path: {**item, **by_process} if "{process}" in path else item
        for path, item in paths.items()
    }


def _operation(answers: Schema, content: Schema | None = None) -> Schema:
    operation: Schema = {"responses": {"401": _error(), **answers}}
    if content is not None:
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _info() -> Schema:
    memory = {"mechanism": _enum(Mechanism), "limit_bytes": _nullable({"type": "integer"})}
    return _object(
        {
            "version": _TEXT,
            "uptime_secs": _UINT32,
            "running_processes": _UINT32,
            "total_processes": _UINT32,
            "memory": _object(memory),
        }
    )


def _process() -> Schema:
    return _object(
        {
            "handle": {"type": "integer", "minimum": 1},
            "pid": _UINT32,
            "status": _enum(Status),
            "exit_code": _nullable(_INT32),
            "signal": _nullable(_SIGNALS),
            "oom_killed": _FLAG,
            "stdin_writable": _FLAG,
            "command": _TEXT,
            "args": {"type": "array", "items": _TEXT},
            "started_at": _MOMENT,
            "ended_at": _nullable(_MOMENT),
        },
        managed=_managed(),
    )


def _managed() -> Schema:
    end = {
        "exit_code": _nullable(_INT32),
        "signal": _nullable(_SIGNALS),
        "oom_killed": _FLAG,
        "ended_at": _MOMENT,
    }
    return _object(
        {
            "id": _TEXT,
            "name": _nullable(_TEXT),
            "status": _enum(SupervisorStatus),
            "restart_count": _UINT32,
            "restart": _of_dataclass(Restart, is_answer=True),
            "health_check": _nullable(_of_dataclass(HealthCheck, is_answer=True)),
            "health_status": _enum(HealthStatus),
            "consecutive_health_failures": _UINT32,
            "last_exit": _nullable(_object(end)),
            "last_error": _nullable(_TEXT),
            "next_restart_at": _nullable(_MOMENT),
        }
    )


def _start() -> Schema:
    """Describe the body of a start: what makes it a managed process stands beside the rest."""
    start = _of_dataclass(StartRequest)
    management = _of_dataclass(Management)["properties"]
    properties = {
        **start["properties"],
        **management,
        # Null stands for none.
        "env": _nullable(start["properties"]["env"]),
        "restart": _nullable(management["restart"]),
    }
    del properties["management"]
    return {**start, "properties": properties}


def _run() -> Schema:
    start = _start()
    names = ("command", "args", "env", "working_dir", "user")
    properties = {name: start["properties"][name] for name in names}
    properties["timeout"] = _of_dataclass(RunRequest)["properties"]["timeout"]
    return {**start, "properties": properties}


def _of_dataclass(model: type, *, is_answer: bool = False) -> Schema:
    """Describe the object that a dataclass is read from; or, of an answer, written to.

    An answer has all of its fields and no other; in a request, others are ignored, but refused in
    an object within another.
    """
    properties = {name: _of_type(hint) for name, hint in get_type_hints(model).items()}
    if "port" in properties:
        properties["port"] = {**_UINT32, "maximum": 2**16 - 1}
    if is_answer:
        return _object(properties)
    required = [
        field.name
        for field in fields(model)
        if field.default is MISSING and field.default_factory is MISSING
    ]
    return {"type": "object", "properties": properties, "required": required}


def _of_type(hint: Any) -> Schema:
    if hint in _SIMPLE:
        return _SIMPLE[hint]
    if hint is UserSpec:
        group = _nullable(_UINT32)
        return {
            "anyOf": [
                _TEXT,
                _object({"name": _TEXT}, gid=group),
                _object({"uid": _UINT32}, gid=group),
            ]
        }
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return _enum(hint)
    if origin is list:
        return {"type": "array", "items": _of_type(arguments[0])}
    if origin is dict:
        return {"type": "object", "additionalProperties": _of_type(arguments[1])}
    if origin in (Union, UnionType):
        (inner,) = (argument for argument in arguments if argument is not NoneType)
        return _nullable(_of_type(inner))
    return {**_of_dataclass(hint), "additionalProperties": False}


def _object(required: Schema, **optional: Schema) -> Schema:
    """Describe an object that has no field but these."""
    return {
        "type": "object",
        "properties": {**required, **optional},
        "required": list(required),
        "additionalProperties": False,
    }


def _nullable(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _enum(literal: Any) -> Schema:
    return {"enum": list(get_args(literal))}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _json_content(schema: Schema) -> Schema:
    return {"application/json": {"schema": schema}}


def _json(schema: Schema) -> Schema:
    return {"description": "well", "content": _json_content(schema)}


def _error() -> Schema:
    return {"description": "refused", "content": _json_content(_ref("Error"))}


def _plain_text() -> Schema:
    return {"description": "not understood", "content": {"text/plain": {"schema": _TEXT}}}


def _either_error() -> Schema:
    content = {**_error()["content"], **_plain_text()["content"]}
    return {"description": "refused, or not understood", "content": content}


def _events(event: Schema) -> Schema:
    return {"description": "events", "content": {"text/event-stream": {"itemSchema": event}}}


def _follow_event(stream: str) -> Schema:
    source = {"stream": _STREAM} if stream == "output" else {}
    line = _object({"line": _TEXT, "timestamp": _MOMENT, **source})
    return {
        "anyOf": [
            _object({"event": {"const": "output"}, "data": _in_json(line)}),
            _object({"event": {"const": "eof"}, "data": _in_json(_object({}))}),
        ]
    }


def _run_event() -> Schema:
    end = {
        "oom_killed": _FLAG,
        "reason": {"enum": ["exited", "signaled", "oom_killed", "timed_out"]},
    }
    start = _object({"handle": _UINT32, "pid": _UINT32, "started_at": _MOMENT})
    line = _object({"line": _TEXT, "timestamp": _MOMENT, "stream": _STREAM})
    exited = _object({"exit_code": _INT32, **end})
    signaled = _object({"signal": _SIGNALS, **end})
    frame = _in_json({"anyOf": [start, line, exited, signaled]})
    # One without a name is a message, to those who read events.
    return _object({"data": frame}, event={"const": "message"})


def _in_json(schema: Schema) -> Schema:
    return {"type": "string", "contentMediaType": "application/json", "contentSchema": schema}


def _empty() -> Schema:
    return {"description": "done"}
