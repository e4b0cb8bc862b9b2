"""Test that the server survives any input, and which user a program runs as."""

from __future__ import annotations

import os
import pwd
from typing import TYPE_CHECKING, Any

import pytest

from tests.contract.sandbox_api import refusal

from .conftest import Api, request_bytes, send_raw

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_tlsandbox.local.sandbox import LocalSandbox

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"
ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root may run a program as another user")


@pytest.fixture(autouse=True)
def _lives(api: Api) -> Iterator[None]:
    yield
    assert api.call("GET", "/health").json() == {"healthy": True}


UNUSABLE: dict[str, list[Any]] = {
    "command": ["/no/such/program", "no-such-program", "/", "", "x" * 100_000],
    "args": [["x" * 200_000], ["nul\0byte"]],
    "env": [{"A=B": "c"}, {"A": "\0"}],
    "working_dir": ["/no/such/folder", "/etc/passwd", "nul\0byte"],
}
NO_USERS = ["tl-user", "", "0:nobody", "nul\0byte", "99999999999", "4294967295"]


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        *(
            ({name: value}, "Failed to spawn process")
            for name in UNUSABLE
            for value in UNUSABLE[name]
        ),
        *(({"user": user}, f"user not found: {user}") for user in NO_USERS),
        ({"user": {"name": "nobody-here", "gid": 1}}, "user not found: nobody-here"),
    ],
)
def test_failed_start_returns_500_and_adds_no_process(api: Api, fields: Any, error: str) -> None:
    total = api.call("GET", "/info").json()["total_processes"]
    answer = api.call("POST", "/processes", json={"command": "true", **fields})
    assert refusal(answer) == (500, error, None)
    assert api.call("GET", "/info").json()["total_processes"] == total


@ROOT
@pytest.mark.parametrize(
    ("user", "ids"),
    [
        ("nobody", None),
        ("12345", "12345 12345 12345"),
        ("12345:67", "12345 67 67"),
        ({"uid": 12345, "gid": 67}, "12345 67 67"),
        ({"name": "nobody", "gid": 67}, None),
    ],
)
def test_program_runs_as_the_requested_user(api: Api, user: Any, ids: str | None) -> None:
    script = "echo $(id -u) $(id -g) $(id -G); echo $HOME $USER $LOGNAME"
    lines = api.printed("sh", "-c", script, user=user, env={"PATH": "/bin"})
    if ids is None:
        nobody = pwd.getpwnam("nobody")
        gid = 67 if isinstance(user, dict) else nobody.pw_gid
        groups = " ".join(map(str, sorted(os.getgrouplist("nobody", gid))))
        ids = f"{nobody.pw_uid} {gid} {groups}"
        assert lines[1] == f"{nobody.pw_dir} nobody nobody"
    assert lines[0] == ids


@ROOT
def test_kill_request_ends_a_process_of_another_user(api: Api) -> None:
    pid = api.start("/bin/sh", "-c", "setsid /bin/sleep 600 & exec /bin/sleep 600", user="nobody")
    assert api.kill(pid).status_code == 204
    assert api.ended(pid)["signal"] == 9


NOT_JSON = [b"", b"not json", b"[" * 100_000, b"{} x", b'{"x":"\xff"}', b'"\\ud800"']
UNREAD = "Failed to deserialize the JSON body into the target type: "
OTHER_TYPE = "Expected request with `Content-Type: application/json`"


@pytest.mark.parametrize("path", ["/processes", "/processes/run", "/processes/1/signal"])
@pytest.mark.parametrize(
    ("content_type", "body", "status", "text"),
    [
        *((JSON, body, 400, "Failed to parse the request body as JSON: ") for body in NOT_JSON),
        (JSON, b"[]", 422, UNREAD),
        (JSON, b"null", 422, UNREAD),
        ("APPLICATION/vnd.x+JSON; charset=utf-8", b"{}", 422, UNREAD),
        (JSON, b" " * (2**21 + 1), 413, "Failed to buffer the request body: length limit exceeded"),
        *((other, b"{}", 415, OTHER_TYPE) for other in (None, "text/json", "application/jsonx")),
    ],
)
def test_error_for_an_unreadable_body_is_plain_text(
    api: Api, path: str, content_type: str | None, body: bytes, status: int, text: str
) -> None:
    answer = api.call("POST", path, data=body, headers={"Content-Type": content_type})
    assert (answer.status_code, answer.headers["content-type"]) == (status, TEXT)
    assert answer.text.startswith(text)


SECONDS = ['"1"', "-0.5", "true", "1e999", "NaN"]
NUMBERS = ["1.0", '"15"', "null", "true", "2147483648"]


@pytest.mark.parametrize(
    ("path", "field", "problem"),
    [
        ("", '"args":["b",1.5]', "args.1: Input should be a valid string"),
        ("", '"env":{"B":1}', "env.B: Input should be a valid string"),
        ("", '"stdin_mode":"inherit"', "stdin_mode: Input should be 'closed' or 'pipe'"),
        ("", '"user":{"uid":-1}', "user.UserSpec.uid: Input should be greater than or equal to 0"),
        (
            "",
            '"user":{"uid":4294967295}',
            "user.UserSpec.uid: Input should be less than 4294967295",
        ),
        ("", '"user":true', "user.str: Input should be a valid string"),
        ("", '"restart":{"max_restart":2}', "restart.max_restart: Unexpected keyword argument"),
        (
            "",
            '"restart":{"policy":"x"}',
            "restart.policy: Input should be 'on_failure', 'never' or",
        ),
        ("", '"restart":{"max_restarts":-1}', "restart.max_restarts: Input should be greater than"),
        ("", '"health_check":{"typ":"tcp"}', "health_check.type: Field required"),
        ("", '"health_check":{"port":65536}', "health_check.port: Input should be less than 65536"),
        ("", '"stop_grace_ms":1.5', "stop_grace_ms: Input should be a valid integer"),
        *(("/run", f'"timeout":{seconds}', "timeout: Input should be ") for seconds in SECONDS),
        *(("/1/signal", f'"signal":{number}', "signal: Input should be ") for number in NUMBERS),
    ],
)
def test_invalid_value_returns_422_with_the_field_name(
    api: Api, path: str, field: str, problem: str
) -> None:
    body = f'{{"command":"true",{field}}}'
    answer = api.call("POST", f"/processes{path}", data=body, headers={"Content-Type": JSON})
    assert (answer.status_code, problem in answer.text) == (422, True)


def test_null_and_unknown_fields_of_a_start_request_are_ignored(api: Api) -> None:
    fields = {"working_dir": None, "env": None, "user": None, "unknown": 1}
    assert api.run("true", **fields)["exit_code"] == 0


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("POST /processes", 413),
        ("POST /processes/{}/stdin", 413),
        ("PUT /files", 400),
        ("PUT /files?path=/refused", 403),
    ],
)
def test_server_reads_the_whole_request_body_before_rejecting_it(
    sandbox: LocalSandbox, sleeper: int, line: str, status: int
) -> None:
    # The body exceeds both socket buffers, so sending fails if the server does not read it.
    body = b" " * 2**23
    headers = "Connection: close", f"Content-Length: {len(body)}"
    request = request_bytes(sandbox, line.format(sleeper), *headers, body=body)
    with send_raw(sandbox, request) as client:
        assert int(client.recv(100).split()[1]) == status


def not_found(name: str) -> tuple[int, str]:
    return 404, f'{{"error":"Process {name} not found","code":"NOT_FOUND"}}'


NAMES = {"%31%32": "12", "a%2Fb": "a/b", "%25": "%", "%": "%", "%00": r"\u0000", "%FF": "\ufffd"}
TOO_LARGE = ["4294967296", str(2**40), "9" * 1000]


@pytest.mark.parametrize(
    ("segment", "told"),
    [
        *((segment, not_found(segment)) for segment in ("0", "999999", "nobody", "-2")),
        *((segment, not_found(name)) for segment, name in NAMES.items()),
        *((pid, (400, f'Invalid URL: Cannot parse `"{pid}"` to a `u32`')) for pid in TOO_LARGE),
    ],
)
@pytest.mark.parametrize(
    "request_line",
    ["GET {}", "DELETE {}", "POST {}/restart", "POST {}/stdin", "POST {}/stdin/close"],
)
def test_server_rejects_a_path_that_does_not_select_a_process(
    sandbox: LocalSandbox, segment: str, told: tuple[int, str], request_line: str
) -> None:
    line = request_line.format(f"/processes/{segment}")
    request = request_bytes(sandbox, line, "Connection: close", "Content-Length: 0")
    with send_raw(sandbox, request) as client:
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert (int(head.split()[1]), body.decode()) == told


@pytest.mark.parametrize("rest", ["stdout", "output/follow"])
def test_output_request_for_an_unknown_name_returns_404(api: Api, rest: str) -> None:
    answer = api.call("GET", f"/processes/nobody/{rest}")
    assert (answer.status_code, answer.text) == not_found("nobody")


@pytest.mark.parametrize(
    "sent",
    [
        b"\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"POST /api/v1/processes HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n{",
    ],
)
def test_server_survives_data_that_is_not_http(sandbox: LocalSandbox, sent: bytes) -> None:
    send_raw(sandbox, sent).close()


def test_invalid_utf8_bytes_in_stored_and_streamed_output_are_replaced(api: Api) -> None:
    pid = api.run("printf", r"a\n\377\376\nb\n")["pid"]
    lines = ["a", "\ufffd\ufffd", "b"]
    assert api.lines(pid) == lines
    followed = api.call("GET", f"/processes/{pid}/stdout/follow")
    assert [f'"line":"{line}"' in followed.content.decode() for line in lines] == [True] * 3
