"""Every route, code and body, against what the daemon was captured to answer (daemon-captures.md)."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from statistics import median
from typing import TYPE_CHECKING, Any

import pytest
import requests

from .conftest import Api, until

if TYPE_CHECKING:
    from pytest_tlsandbox.local.server import LocalSandbox

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"
UNREAD = "Failed to deserialize the JSON body into the target type"


def shape(answer: requests.Response) -> tuple[int, str | None, str]:
    return answer.status_code, answer.headers.get("content-type"), answer.text


def refusal(error: str, code: str | None = None) -> str:
    body = {"error": error} if code is None else {"error": error, "code": code}
    return json.dumps(body, separators=(",", ":"))


def test_health_is_a_flag(api: Api) -> None:
    assert shape(api.call("GET", "/health")) == (200, JSON, '{"healthy":true}')


def test_info_counts_the_processes_and_names_the_memory_limit(api: Api, sleeper: int) -> None:
    info = api.call("GET", "/info").json()
    assert info["running_processes"] >= 1
    assert info["total_processes"] >= info["running_processes"]
    assert isinstance(info["version"], str)
    assert isinstance(info["uptime_secs"], int)
    assert info["memory"] == {"mechanism": "none", "limit_bytes": None}


def test_a_row_has_every_field_of_the_contract(api: Api) -> None:
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


def test_handles_count_up_in_the_list(api: Api) -> None:
    for _ in range(3):
        api.start("true")
    handles = [row["handle"] for row in api.call("GET", "/processes").json()["processes"]]
    assert handles == sorted(set(handles))


def test_query_parameters_of_a_list_are_ignored(api: Api, sleeper: int) -> None:
    rows = api.call("GET", "/processes?limit=1&status=exited").json()["processes"]
    assert sleeper in [row["pid"] for row in rows]


def test_an_unknown_field_of_a_start_is_ignored(api: Api) -> None:
    answer = api.call("POST", "/processes", json={"command": "true", "shoe_size": 5})
    assert answer.status_code == 201


def test_env_and_working_dir_reach_the_program(api: Api) -> None:
    pid = api.start("sh", "-c", "echo $A; pwd", env={"A": "b"}, working_dir="/")
    api.ended(pid)
    assert api.lines(pid) == ["b", "/"]


def test_both_streams_are_kept_and_output_is_one_after_the_other(api: Api) -> None:
    pid = api.start("sh", "-c", "echo err >&2; echo out; exit 3")
    assert api.ended(pid)["exit_code"] == 3
    for stream, lines in {"stdout": ["out"], "stderr": ["err"], "output": ["out", "err"]}.items():
        answer = api.call("GET", f"/processes/{pid}/{stream}")
        expected = {"pid": pid, "lines": lines, "line_count": len(lines)}
        assert shape(answer) == (200, JSON, json.dumps(expected, separators=(",", ":")))


def test_a_discarded_stream_stays_empty(api: Api) -> None:
    pid = api.start("sh", "-c", "echo hidden; echo shown >&2", stdout_mode="discard")
    api.ended(pid)
    assert (api.lines(pid), api.lines(pid, "stderr")) == ([], ["shown"])


@pytest.mark.parametrize("stream", ["stdout", "stderr", "output"])
def test_output_of_an_unknown_pid_is_empty_and_not_404(api: Api, stream: str) -> None:
    answer = api.call("GET", f"/processes/999999/{stream}")
    assert shape(answer) == (200, JSON, '{"pid":999999,"lines":[],"line_count":0}')


def test_stdin_is_written_and_closed(api: Api) -> None:
    pid = api.start("cat", stdin_mode="pipe")
    assert api.get(pid)["stdin_writable"] is True
    assert shape(api.call("POST", f"/processes/{pid}/stdin", data=b"hello\nworld\n"))[::2] == (
        204,
        "",
    )
    assert api.lines(pid, at_least=2) == ["hello", "world"]
    assert shape(api.call("POST", f"/processes/{pid}/stdin/close"))[::2] == (204, "")
    row = api.ended(pid)
    assert (row["exit_code"], row["stdin_writable"]) == (0, False)
    assert api.call("POST", f"/processes/{pid}/stdin/close").status_code == 204
    assert shape(api.call("POST", f"/processes/{pid}/stdin", data=b"x")) == (
        400,
        JSON,
        refusal("Process stdin is closed", "STDIN_NOT_WRITABLE"),
    )


def test_more_stdin_than_a_pipe_holds_arrives_whole(api: Api) -> None:
    pid = api.start("wc", "-c", stdin_mode="pipe")
    assert api.call("POST", f"/processes/{pid}/stdin", data=b"x" * 2**21).status_code == 204
    api.call("POST", f"/processes/{pid}/stdin/close")
    api.ended(pid)
    assert api.lines(pid) == [str(2**21)]


def test_a_write_to_a_process_that_never_reads_ends_with_the_process(api: Api) -> None:
    pid = api.start("sleep", "0.2", stdin_mode="pipe")
    answer = api.call("POST", f"/processes/{pid}/stdin", data=b"x" * 2**20)
    assert answer.json()["error"] == "Process stdin is closed"


def test_a_write_ends_with_the_process_also_if_a_child_keeps_the_pipe(api: Api) -> None:
    pid = api.start("sh", "-c", "exec 3<&0; sleep 600 <&3 & echo $!; sleep 0.2", stdin_mode="pipe")
    answer = api.call("POST", f"/processes/{pid}/stdin", data=b"x" * 2**20)
    assert answer.json()["error"] == "Process stdin is closed"
    os.kill(int(api.lines(pid)[0]), signal.SIGKILL)


def test_stdin_that_was_never_piped_is_refused(api: Api, sleeper: int) -> None:
    error = "Process stdin is not writable"
    written = api.call("POST", f"/processes/{sleeper}/stdin", data=b"x")
    closed = api.call("POST", f"/processes/{sleeper}/stdin/close")
    assert shape(written) == (400, JSON, refusal(error, "STDIN_NOT_WRITABLE"))
    assert shape(closed) == (400, JSON, refusal(error))


def test_a_signal_is_sent_once_and_refused_after_the_end(api: Api) -> None:
    pid = api.start("sleep", "600")
    path = f"/processes/{pid}/signal"
    assert shape(api.call("POST", path, json={"signal": 15})) == (200, JSON, '{"success":true}')
    api.ended(pid)
    assert shape(api.call("POST", path, json={"signal": 15})) == (
        400,
        JSON,
        refusal(f"Process {pid} is not running"),
    )


@pytest.mark.parametrize("number", [0, 99, -1])
def test_an_invalid_signal_number_is_refused(api: Api, sleeper: int, number: int) -> None:
    answer = api.call("POST", f"/processes/{sleeper}/signal", json={"signal": number})
    assert shape(answer) == (400, JSON, refusal("Invalid signal number"))


def test_a_kill_is_204_and_500_after_the_end(api: Api) -> None:
    pid = api.start("sleep", "600")
    assert shape(api.call("DELETE", f"/processes/{pid}"))[::2] == (204, "")
    row = api.ended(pid)
    assert (row["status"], row["signal"]) == ("signaled", 9)
    answer = api.call("DELETE", f"/processes/{pid}")
    assert shape(answer) == (500, JSON, refusal(f"Process {pid} is not running"))


@pytest.mark.parametrize(
    ("method", "path", "options"),
    [
        ("GET", "", {}),
        ("DELETE", "", {}),
        ("POST", "/signal", {"json": {"signal": 15}}),
        ("POST", "/stdin", {"data": b"x"}),
        ("POST", "/stdin/close", {}),
    ],
)
def test_an_unknown_pid_is_404(api: Api, method: str, path: str, options: Any) -> None:
    answer = api.call(method, f"/processes/999999{path}", **options)
    assert shape(answer) == (404, JSON, refusal("Process 999999 not found", "NOT_FOUND"))


@pytest.mark.parametrize("pid", ["4294967296", str(2**40), "9" * 1000])
def test_a_pid_that_is_none_is_400_in_plain_text(api: Api, pid: str) -> None:
    answer = api.call("GET", f"/processes/{pid}")
    assert shape(answer) == (400, TEXT, f'Invalid URL: Cannot parse `"{pid}"` to a `u32`')


def test_pid_0_is_not_found(api: Api) -> None:
    assert api.call("DELETE", "/processes/0").status_code == 404


@pytest.mark.parametrize(
    "body",
    [
        {"command": "/no/such/program"},
        {"command": "no-such-program"},
        {"command": "true", "working_dir": "/no/such/dir"},
        {"command": ""},
        {"command": "true", "args": ["nul\0byte"]},
        {"command": "/"},
    ],
)
def test_a_program_that_cannot_be_started_is_500_without_a_cause(api: Api, body: Any) -> None:
    total = api.call("GET", "/info").json()["total_processes"]
    answer = api.call("POST", "/processes", json=body)
    assert shape(answer) == (500, JSON, refusal("Failed to spawn process"))
    assert api.call("GET", "/info").json()["total_processes"] == total


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        (
            '{"command":',
            400,
            "Failed to parse the request body as JSON: Expecting value: line 1 column 12 (char 11)",
        ),
        ('{"args":["x"]}', 422, f"{UNREAD}: .: missing field `command`"),
        (
            '{"command":"true","stdin_mode":"inherit"}',
            422,
            f"{UNREAD}: stdin_mode: unknown variant `inherit`, expected `closed` or `pipe`",
        ),
    ],
)
def test_a_body_that_is_no_start_is_told_in_plain_text(
    api: Api, body: str, status: int, text: str
) -> None:
    answer = api.call("POST", "/processes", data=body, headers={"Content-Type": JSON})
    assert shape(answer) == (status, TEXT, text)


def test_a_signal_without_a_number_is_422(api: Api, sleeper: int) -> None:
    answer = api.call("POST", f"/processes/{sleeper}/signal", json={})
    expected = f"{UNREAD}: .: missing field `signal`"
    assert shape(answer) == (422, TEXT, expected)


@pytest.mark.parametrize("headers", [{"Content-Type": "text/plain"}, {}])
def test_another_content_type_is_415(api: Api, headers: dict[str, str]) -> None:
    answer = api.call("POST", "/processes", data=b'{"command":"true"}', headers=headers)
    assert shape(answer) == (415, TEXT, "Expected request with `Content-Type: application/json`")


@pytest.mark.parametrize("path", ["/processes", "/processes/{pid}/stdin"])
def test_a_body_over_2_mib_is_413_and_the_connection_lives(
    api: Api, sleeper: int, path: str
) -> None:
    body = b" " * (2**21 + 1)
    answer = api.call("POST", path.format(pid=sleeper), data=body, headers={"Content-Type": JSON})
    assert answer.status_code == 413
    assert api.call("GET", "/health").status_code == 200


@pytest.mark.parametrize("path", ["/nope", "/processes/", "/processes/1/nope"])
def test_an_unknown_route_is_404_with_no_body(api: Api, path: str) -> None:
    assert shape(api.call("GET", path)) == (404, None, "")


def test_another_method_is_405_with_no_body(api: Api) -> None:
    answer = api.call("PUT", "/processes", json={})
    assert shape(answer) == (405, None, "")
    assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD", "POST"}


def test_head_is_answered(api: Api) -> None:
    answer = api.call("HEAD", "/processes")
    assert (answer.status_code, answer.text) == (200, "")


@pytest.mark.parametrize("given", [None, "Bearer wrong", "Bearer", "Basic {key}", "{key}"])
@pytest.mark.parametrize("path", ["/processes", "/health", "/info", "/nope"])
def test_no_route_answers_without_the_key(
    sandbox: LocalSandbox, path: str, given: str | None
) -> None:
    key = sandbox.api_key.reveal()
    headers = {} if given is None else {"Authorization": given.format(key=key)}
    answer = requests.get(f"{sandbox.url}/api/v1{path}", headers=headers, timeout=10)
    assert answer.status_code == 401
    assert answer.json()["code"] == "UNAUTHORIZED"
    assert key not in answer.text


@pytest.mark.parametrize(
    "headers", [{"Host": "local.local"}, {"X-Tensorlake-Sandbox-Id": "local"}, {}]
)
def test_every_way_to_address_the_sandbox_works(api: Api, headers: dict[str, str]) -> None:
    assert api.call("GET", "/health", headers=headers).status_code == 200


@pytest.mark.parametrize("headers", [{"Host": "x.local"}, {"X-Tensorlake-Sandbox-Id": "x"}])
def test_another_id_is_another_sandbox(api: Api, headers: dict[str, str]) -> None:
    answer = api.call("GET", "/processes", headers=headers)
    assert shape(answer) == (404, JSON, refusal("Sandbox 'x' not found", "SANDBOX_NOT_FOUND"))


def test_it_listens_on_the_loopback_interface_only(sandbox: LocalSandbox) -> None:
    port = int(sandbox.url.rpartition(":")[2])
    with socket.socket() as elsewhere:  # free on every other address
        elsewhere.bind(("127.0.0.2", port))


def test_a_kept_alive_request_is_not_held_up_by_nagle(api: Api, sleeper: int) -> None:
    def timed() -> float:
        began = time.perf_counter()
        assert api.call("GET", f"/processes/{sleeper}").status_code == 200
        return time.perf_counter() - began

    assert median(timed() for _ in range(100)) < 0.010  # 44 ms with it


def test_three_hundred_quick_processes_keep_their_exit_codes(api: Api) -> None:
    wanted = {api.start("sh", "-c", f"exit {n % 100}"): n % 100 for n in range(300)}

    def ended() -> Any:
        rows = api.call("GET", "/processes").json()["processes"]
        found = {row["pid"]: row for row in rows if row["pid"] in wanted}
        return all(row["status"] != "running" for row in found.values()) and found

    assert {pid: row["exit_code"] for pid, row in until(ended).items()} == wanted
