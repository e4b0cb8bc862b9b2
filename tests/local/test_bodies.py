"""How request bodies are read and turned down; the captured ones are in test_routes."""

from __future__ import annotations

import pytest

from pytest_tlsandbox.local.bodies import Rejection, StartRequest, read_signal, read_start

JSON = "application/json"


def rejected(body: str | bytes, content_type: str = JSON) -> tuple[int, str]:
    with pytest.raises(Rejection) as caught:
        read_start(body if isinstance(body, bytes) else body.encode(), content_type)
    problem = caught.value.text.removeprefix("Failed to ").partition(": ")[2]
    return caught.value.status, problem


def test_every_field_of_a_start_is_read() -> None:
    body = b"""
        {"command": "sh", "args": ["-c", "\\u00e9"], "env": {"A": "b"}, "working_dir": "/tmp",
         "stdin_mode": "pipe", "stdout_mode": "discard", "stderr_mode": "capture"}
    """
    assert read_start(body, "application/json; charset=utf-8") == StartRequest(
        command="sh",
        args=["-c", "\u00e9"],
        env={"A": "b"},
        working_dir="/tmp",
        stdin_mode="pipe",
        stdout_mode="discard",
        stderr_mode="capture",
    )


def test_only_the_command_is_needed() -> None:
    assert read_start(b'{"command":"true"}', JSON) == StartRequest("true")


def test_null_stands_for_no_working_dir_and_no_env() -> None:
    body = b'{"command":"true","working_dir":null,"env":null}'
    assert read_start(body, JSON) == StartRequest("true")


@pytest.mark.parametrize("content_type", ["APPLICATION/JSON", "application/vnd.x+json"])
def test_every_json_content_type_is_one(content_type: str) -> None:
    assert read_signal(b'{"signal":15}', content_type) == 15


@pytest.mark.parametrize("content_type", ["", "text/json", "application/x-www-form-urlencoded"])
def test_any_other_content_type_is_415(content_type: str) -> None:
    assert rejected('{"command":"true"}', content_type)[0] == 415


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ('{"command":5}', "command: invalid type: integer `5`, expected a string"),
        ('{"command":null}', "command: invalid type: null, expected a string"),
        ('{"command":true}', "command: invalid type: boolean `true`, expected a string"),
        ('{"command":"a","args":"b"}', 'args: invalid type: string "b", expected a sequence'),
        ('{"command":"a","args":["b",1.5]}', "args[1]: invalid type: floating point `1.5`"),
        ('{"command":"a","env":[]}', "env: invalid type: sequence, expected a map"),
        ('{"command":"a","env":{"B":1}}', "env.B: invalid type: integer `1`, expected a string"),
        ('{"command":"a","stdout_mode":"pipe"}', "stdout_mode: unknown variant `pipe`"),
        ("[]", ".: invalid type: sequence, expected a map"),
        ('"text"', '.: invalid type: string "text", expected a map'),
    ],
)
def test_a_field_of_another_type_is_422(body: str, problem: str) -> None:
    status, text = rejected(body)
    assert status == 422
    assert text.startswith(problem)


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{",
        "not json",
        '{"command":"true"',
        '{"command":"true",}',
        '{"command" "true"}',
        '{"command":"true"} x',
        "{command:1}",
        '{"command":"\\ud800"}',
        '{"command":"true","x":NaN}',
        b'{"command":"\xff"}',
        '{"x":' + "[" * 100_000,
        '{"x":' + "9" * 10_000 + "}",
    ],
)
def test_what_is_no_json_is_400(body: str | bytes) -> None:
    assert rejected(body)[0] == 400


@pytest.mark.parametrize("number", ["1.0", '"15"', "null", "true", "2147483648"])
def test_a_signal_that_is_no_int32_is_422(number: str) -> None:
    with pytest.raises(Rejection) as caught:
        read_signal(f'{{"signal":{number}}}'.encode(), JSON)
    assert caught.value.status == 422
    assert "signal: invalid" in caught.value.text
