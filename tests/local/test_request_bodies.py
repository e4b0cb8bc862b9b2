"""Test how request bodies are parsed or rejected; ``test_routes`` covers the response bodies."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_tlsandbox.local.http_errors import ApiError, PlainTextError
from pytest_tlsandbox.local.request_bodies import (
    RunRequest,
    SignalRequest,
    StartRequest,
    UserSpec,
    parse_body,
)

JSON = "application/json"
UNREAD = "Failed to deserialize the JSON body into the target type: "


def rejection(model: Any, body: str | bytes, content_type: str = JSON) -> tuple[int, str]:
    """Return the status and the text of a plain-text response."""
    with pytest.raises(PlainTextError) as caught:
        parse_body(model, body.encode() if isinstance(body, str) else body, content_type)
    return caught.value.status, str(caught.value)


def test_every_field_of_a_start_request_is_parsed() -> None:
    body = b"""
        {"command": "sh", "args": ["-c", "\\u00e9"], "env": {"A": "b"}, "working_dir": "/tmp",
         "user": {"name": "app", "gid": 5}, "stdin_mode": "pipe", "stdout_mode": "discard",
         "stderr_mode": "capture"}
    """
    assert parse_body(StartRequest, body, "application/json; charset=utf-8") == StartRequest(
        command="sh",
        args=["-c", "\u00e9"],
        env={"A": "b"},
        working_dir="/tmp",
        user=UserSpec(name="app", gid=5),
        stdin_mode="pipe",
        stdout_mode="discard",
        stderr_mode="capture",
    )


@pytest.mark.parametrize("rest", ["", ',"working_dir":null,"env":null', ',"user":null,"x":1'])
def test_only_the_command_is_required_in_a_start_request(rest: str) -> None:
    body = f'{{"command":"true"{rest}}}'.encode()
    assert parse_body(StartRequest, body, JSON) == StartRequest("true")


@pytest.mark.parametrize("content_type", ["APPLICATION/JSON", "application/vnd.x+json"])
def test_every_json_content_type_is_accepted(content_type: str) -> None:
    assert parse_body(SignalRequest, b'{"signal":15}', content_type).signal == 15


@pytest.mark.parametrize(
    "content_type", ["", "text/json", "application/x-www-form-urlencoded", "application/jsonx"]
)
def test_content_type_other_than_json_returns_415(content_type: str) -> None:
    error = 415, "Expected request with `Content-Type: application/json`"
    assert rejection(StartRequest, '{"command":"true"}', content_type) == error


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ('"command":5', "command: Input should be a valid string"),
        ('"args":["b",1.5]', "args.1: Input should be a valid string"),
        ('"env":{"B":1}', "env.B: Input should be a valid string"),
        ('"stdin_mode":"inherit"', "stdin_mode: Input should be 'closed' or 'pipe'"),
        ('"user":{"uid":-1}', "user.UserSpec.uid: Input should be greater than or equal to 0"),
        ('"user":{"uid":"0"}', "user.UserSpec.uid: Input should be a valid integer"),
        ('"user":true', "user.str: Input should be a valid string"),
        ('"restart":"always"', "restart: Input should be an object"),
        (
            '"restart":{"policy":"sometimes"}',
            "restart.policy: Input should be 'on_failure', 'never' or 'always'",
        ),
        ('"restart":{"max_restarts":-1}', "restart.max_restarts: Input should be greater than or"),
        ('"health_check":{"port":1}', "health_check.type: Field required"),
        (
            '"health_check":{"type":"tcp","port":65536}',
            "health_check.port: Input should be less than 65536",
        ),
        ('"stop_grace_ms":1.5', "stop_grace_ms: Input should be a valid integer"),
    ],
)
def test_invalid_value_in_a_start_request_returns_422_with_the_field_name(
    fields: str, problem: str
) -> None:
    status, text = rejection(StartRequest, f'{{"command":"a",{fields}}}')
    assert (status, text.startswith(UNREAD), problem in text) == (422, True, True)


@pytest.mark.parametrize(
    ("model", "body"),
    [
        *((StartRequest, body) for body in ("[]", '"text"', "null", "{}")),
        *((SignalRequest, f'{{"signal":{n}}}') for n in ("1.0", '"15"', "null", "true", 2**31)),
        *(
            (RunRequest, f'{{"command":"true","timeout":{seconds}}}')
            for seconds in ('"1"', "-1", "-0.5", "true", "[]", "1e999", "NaN")
        ),
    ],
)
def test_json_body_with_a_wrong_type_or_value_returns_422(model: Any, body: str) -> None:
    status, text = rejection(model, body)
    assert (status, text.startswith(UNREAD)) == (422, True)


@pytest.mark.parametrize(
    "body",
    [
        "{",
        '{"command":"true",}',
        '{"command":"true"} x',
        '{"command":"\\ud800"}',
        b'{"command":"\xff"}',
        '{"x":' + "9" * 10_000 + "}",
    ],
)
def test_body_that_is_not_json_returns_400(body: str | bytes) -> None:
    status, text = rejection(StartRequest, body)
    assert (status, text[:34]) == (400, "Failed to parse the request body a")


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        (
            '"restart":{"policy":"always","max_restart":2}',
            "unknown key 'max_restart' in restart; "
            "expected one of policy, max_restarts, initial_backoff_ms, max_backoff_ms",
        ),
        (
            '"health_check":{"typ":"tcp","port":1}',
            "unknown key 'typ' in health_check; expected one of type, port, path, initial_delay_ms, "
            "interval_ms, timeout_ms, failure_threshold",
        ),
    ],
)
def test_unknown_key_in_a_nested_object_is_rejected(fields: str, error: str) -> None:
    with pytest.raises(ApiError) as caught:
        parse_body(StartRequest, f'{{"command":"a",{fields}}}'.encode(), JSON)
    assert (caught.value.status, caught.value.code, str(caught.value)) == (
        400,
        "UNKNOWN_FIELD",
        error,
    )
