"""Test that every route returns the status codes and bodies of the daemon (api-notes, "Calls")."""

from __future__ import annotations

import os
import signal
import socket
import time
from typing import TYPE_CHECKING, Any

import pytest
import requests

from .conftest import Api, outcome, refusal

if TYPE_CHECKING:
    from pytest_tlsandbox.local.sandbox import LocalSandbox

JSON = "application/json"


def shape(answer: requests.Response) -> tuple[int, str | None, str]:
    return answer.status_code, answer.headers.get("content-type"), answer.text


DONE = (204, None, "")


def test_row_contains_every_field_of_the_api_contract(api: Api) -> None:
    before = time.time_ns() // 1_000_000
    answer = api.call("POST", "/processes", json={"command": "true", "args": ["--flag"]})
    row = answer.json()
    assert answer.status_code == 201
    assert before <= row.pop("started_at") <= time.time_ns() // 1_000_000
    assert row.pop("handle") >= 1
    assert row.pop("pid") > 1
    assert row == {
        "status": "running",
        "exit_code": None,
        "signal": None,
        "oom_killed": False,
        "stdin_writable": False,
        "command": "true",
        "args": ["--flag"],
        "ended_at": None,
    }


def test_process_list_is_sorted_by_handle(api: Api) -> None:
    for _ in range(3):
        api.start("true")
    handles = [row["handle"] for row in api.rows()]
    assert handles == sorted(set(handles))


def test_list_call_ignores_query_parameters(api: Api, sleeper: int) -> None:
    rows = api.call("GET", "/processes?limit=1&status=exited").json()["processes"]
    assert sleeper in [row["pid"] for row in rows]


def test_output_contains_the_captured_stdout_followed_by_stderr(api: Api) -> None:
    pid = api.run("sh", "-c", "echo err >&2; echo out")["pid"]
    for stream, lines in {"stdout": '"out"', "stderr": '"err"', "output": '"out","err"'}.items():
        count = lines.count(",") + 1
        expected = f'{{"pid":{pid},"lines":[{lines}],"line_count":{count}}}'
        assert shape(api.call("GET", f"/processes/{pid}/{stream}")) == (200, JSON, expected)


def test_output_of_a_discarded_stream_is_empty(api: Api) -> None:
    pid = api.run("sh", "-c", "echo hidden; echo shown >&2", stdout_mode="discard")["pid"]
    assert (api.lines(pid), api.lines(pid, "stderr")) == ([], ["shown"])


def test_output_request_for_an_unknown_pid_returns_empty_output_instead_of_404(api: Api) -> None:
    answer = api.call("GET", "/processes/999999/output")
    assert shape(answer) == (200, JSON, '{"pid":999999,"lines":[],"line_count":0}')


def test_stdin_can_be_written_and_closed(api: Api) -> None:
    pid = api.start("wc", "-c", stdin_mode="pipe")
    assert api.get(pid)["stdin_writable"] is True
    assert shape(api.send(pid, "stdin", data=b"x" * 2**21)) == DONE  # larger than the pipe
    assert shape(api.send(pid, "stdin/close")) == DONE
    row = api.ended(pid)
    assert (row["exit_code"], row["stdin_writable"]) == (0, False)
    assert api.lines(pid) == [str(2**21)]
    assert shape(api.send(pid, "stdin/close")) == DONE
    closed = refusal(api.send(pid, "stdin", data=b"x"))
    assert closed == (400, "Process stdin is closed", "STDIN_NOT_WRITABLE")


@pytest.mark.parametrize("child", ["", "exec 3<&0; sleep 600 <&3 & echo $!;"])
def test_writing_to_an_ended_process_fails_even_if_a_child_holds_the_pipe(
    api: Api, child: str
) -> None:
    pid = api.start("sh", "-c", f"{child} sleep 0.2", stdin_mode="pipe")
    answer = refusal(api.send(pid, "stdin", data=b"x" * 2**20))
    assert answer == (400, "Process stdin is closed", "STDIN_NOT_WRITABLE")
    for line in api.lines(pid):
        os.kill(int(line), signal.SIGKILL)


def test_write_to_a_process_without_a_stdin_pipe_is_rejected(api: Api, sleeper: int) -> None:
    error = "Process stdin is not writable"
    assert refusal(api.send(sleeper, "stdin", data=b"x")) == (400, error, "STDIN_NOT_WRITABLE")
    assert refusal(api.send(sleeper, "stdin/close")) == (400, error, None)


def test_signal_and_kill_requests_succeed_only_until_the_process_has_ended(api: Api) -> None:
    pid = api.start("sh", "-c", "trap 'echo' TERM; echo; while :; do sleep 0.02; done")
    api.lines(pid, at_least=1)
    answer = api.send(pid, "signal", json={"signal": 15})
    assert shape(answer) == (200, JSON, '{"success":true}')
    api.lines(pid, at_least=2)
    assert shape(api.kill(pid)) == DONE
    assert outcome(api.ended(pid)) == ("signaled", None, 9, False)
    error = f"Process {pid} is not running"
    assert refusal(api.send(pid, "signal", json={"signal": 15})) == (400, error, None)
    assert refusal(api.kill(pid)) == (500, error, None)


@pytest.mark.parametrize("number", [0, 99, -1])
def test_invalid_signal_number_is_rejected(api: Api, sleeper: int, number: int) -> None:
    answer = api.send(sleeper, "signal", json={"signal": number})
    assert refusal(answer) == (400, "Invalid signal number", None)


@pytest.mark.parametrize("path", ["/nope", "/processes/", "/processes/1/nope", "/files/"])
def test_unknown_route_returns_404_without_a_body(api: Api, path: str) -> None:
    assert shape(api.call("GET", path)) == (404, None, "")


def test_unsupported_method_returns_405_without_a_body(api: Api) -> None:
    answer = api.call("PUT", "/processes", json={})
    assert shape(answer) == (405, None, "")
    assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD", "POST"}


def test_head_request_is_answered_without_a_body(api: Api) -> None:
    assert shape(api.call("HEAD", "/processes")) == (200, JSON, "")


@pytest.mark.parametrize("given", [None, "Bearer wrong", "Bearer", "Basic {key}", "{key}"])
@pytest.mark.parametrize("path", ["/processes", "/health", "/files?path=/", "/nope"])
def test_every_route_requires_the_key(api: Api, path: str, given: str | None) -> None:
    key = api.sandbox.api_key.reveal()
    headers = {"Authorization": given and given.format(key=key)}
    answer = api.call("GET", path, headers=headers)
    assert refusal(answer) == (401, "Missing or invalid API key", "UNAUTHORIZED")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "local.local"}, 200),
        ({"X-Tensorlake-Sandbox-Id": "local"}, 200),
        ({"Host": "x.local"}, 404),
        ({"X-Tensorlake-Sandbox-Id": "x"}, 404),
    ],
)
def test_request_for_another_sandbox_id_returns_404(api: Api, headers: Any, status: int) -> None:
    answer = api.call("GET", "/health", headers=headers)
    assert answer.status_code == status
    if status == 404:
        assert refusal(answer) == (404, "Sandbox 'x' not found", "SANDBOX_NOT_FOUND")


def test_server_listens_on_127_0_0_1_only(sandbox: LocalSandbox) -> None:
    port = int(sandbox.url.rpartition(":")[2])
    with socket.socket() as elsewhere:  # the port is free on other addresses
        elsewhere.bind(("127.0.0.2", port))
