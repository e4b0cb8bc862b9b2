"""Test that every route returns the status codes and bodies of the daemon (api-notes, "Calls")."""

from __future__ import annotations

import os
import signal
import socket
import time
from typing import TYPE_CHECKING, Any

import pytest
import requests

from tests.contract.sandbox_api import refusal

from .conftest import Api

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


@pytest.mark.parametrize("child", ["", "exec 3<&0; sleep 600 <&3 & echo $!;"])
def test_writing_to_an_ended_process_fails_even_if_a_child_holds_the_pipe(
    api: Api, child: str
) -> None:
    pid = api.start("sh", "-c", f"{child} sleep 0.2", stdin_mode="pipe")
    answer = refusal(api.send(pid, "stdin", data=b"x" * 2**20))
    assert answer == (400, "Process stdin is closed", "STDIN_NOT_WRITABLE")
    for line in api.lines(pid):
        os.kill(int(line), signal.SIGKILL)


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
