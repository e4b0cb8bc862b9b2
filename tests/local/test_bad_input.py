"""Whatever is sent is answered, and the server lives; and whom a program runs as."""

from __future__ import annotations

import os
import pwd
import socket
from typing import TYPE_CHECKING, Any

import pytest

from pytest_tlsandbox.local.bodies import read_start
from pytest_tlsandbox.local.user import UserSpec

from .conftest import Api

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_tlsandbox.local.server import LocalSandbox

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"
ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root may run a program as another user")


@pytest.fixture(autouse=True)
def _lives(api: Api) -> Iterator[None]:
    pid = api.call("GET", "/info").json()["total_processes"]
    yield
    assert api.call("GET", "/health").json() == {"healthy": True}
    assert api.call("GET", "/info").json()["total_processes"] >= pid


def start(api: Api, **fields: Any) -> tuple[int, str | None, Any]:
    answer = api.call("POST", "/processes", json={"command": "true", **fields})
    return answer.status_code, answer.headers["content-type"], answer.json()


@pytest.mark.parametrize(
    "fields",
    [
        {"command": "/no/such/program"},
        {"command": ""},
        {"command": "x" * 100_000},
        {"args": ["x" * 200_000]},
        {"args": ["nul\0byte"]},
        {"env": {"A=B": "c"}},
        {"env": {"A": "\0"}},
        {"working_dir": "/no/such/folder"},
        {"working_dir": "/etc/passwd"},
        {"working_dir": "nul\0byte"},
    ],
)
def test_what_cannot_be_started_is_500_without_a_cause(api: Api, fields: Any) -> None:
    assert start(api, **fields) == (500, JSON, {"error": "Failed to spawn process"})


@pytest.mark.parametrize(
    ("user", "told"),
    [
        ("tl-user", "tl-user"),
        ("", ""),
        ("0:nobody", "0:nobody"),
        ("nul\0byte", "nul\0byte"),
        ("99999999999", "99999999999"),
        ({"name": "nobody-here", "gid": 1}, "nobody-here:1"),
        ({"uid": 2**32 - 1}, "4294967295"),
    ],
)
def test_a_user_that_is_none_is_named(api: Api, user: Any, told: str) -> None:
    assert start(api, user=user) == (500, JSON, {"error": f"user not found: {told}"})


@pytest.mark.parametrize("user", [{}, {"gid": 5}, {"name": "root", "uid": 0}])
def test_a_user_with_no_name_or_two_is_refused(api: Api, user: Any) -> None:
    error = {"error": "user must have either a name or a uid", "code": "INVALID_USER"}
    assert start(api, user=user) == (400, JSON, error)


@pytest.mark.parametrize("user", ["5", "true", "[]", '{"uid":-1}', '{"uid":"0"}', '{"name":5}'])
def test_a_user_of_another_type_is_422(api: Api, user: str) -> None:
    body = f'{{"command":"true","user":{user}}}'
    answer = api.call("POST", "/processes", data=body, headers={"Content-Type": JSON})
    assert (answer.status_code, answer.headers["content-type"]) == (422, TEXT)


@pytest.mark.parametrize(
    ("user", "spec"),
    [
        ('"app"', UserSpec(name="app")),
        ('"1000"', UserSpec(uid=1000)),
        ('"1000:50"', UserSpec(uid=1000, gid=50)),
        ('{"uid":7}', UserSpec(uid=7)),
        ('{"name":"app","gid":5}', UserSpec(name="app", gid=5)),
        ("null", None),
    ],
)
def test_a_user_is_read_in_each_of_its_forms(user: str, spec: UserSpec | None) -> None:
    assert read_start(f'{{"command":"id","user":{user}}}'.encode(), JSON).user == spec


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
def test_a_program_runs_as_the_user_asked_for(api: Api, user: Any, ids: str | None) -> None:
    pid = api.start("sh", "-c", "echo $(id -u) $(id -g) $(id -G)", user=user, env={"PATH": "/bin"})
    api.ended(pid)
    if ids is None:
        nobody = pwd.getpwnam("nobody")
        gid = 67 if isinstance(user, dict) else nobody.pw_gid
        groups = " ".join(map(str, sorted(os.getgrouplist("nobody", gid))))
        ids = f"{nobody.pw_uid} {gid} {groups}"
    assert api.lines(pid) == [ids]


@ROOT
def test_a_user_that_is_known_has_a_home(api: Api) -> None:
    script = "echo $HOME $USER $LOGNAME"
    nobody = pwd.getpwnam("nobody")
    pid = api.start("/bin/sh", "-c", script, user="nobody")
    asked = api.start("/bin/sh", "-c", script, user="nobody", env={"HOME": "/tmp"})
    api.ended(pid)
    api.ended(asked)
    assert api.lines(pid) == [f"{nobody.pw_dir} nobody nobody"]
    assert api.lines(asked) == ["/tmp nobody nobody"]


@ROOT
def test_what_runs_as_another_user_is_killed_with_its_children(api: Api) -> None:
    pid = api.start("/bin/sh", "-c", "setsid /bin/sleep 600 & exec /bin/sleep 600", user="nobody")
    assert api.call("DELETE", f"/processes/{pid}").status_code == 204
    assert api.ended(pid)["signal"] == 9


@pytest.mark.parametrize("path", ["/processes", "/processes/run", "/processes/1/signal"])
@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"not json", 400),
        (b"\xff\xfe", 400),
        (b'{"command":"\xff"}', 400),
        (b"[" * 100_000, 400),
        (b"[]", 422),
        (b"null", 422),
        (b"{}", 422),
        (b" " * (2**21 + 1), 413),
    ],
)
def test_a_body_that_is_none_is_told_in_plain_text(
    api: Api, path: str, body: bytes, status: int
) -> None:
    answer = api.call("POST", path, data=body, headers={"Content-Type": JSON})
    assert (answer.status_code, answer.headers["content-type"]) == (status, TEXT)


@pytest.mark.parametrize(
    ("segment", "status", "told"),
    [
        ("0", 404, '{"error":"Process 0 not found","code":"NOT_FOUND"}'),
        (str(2**40), 400, f'Invalid URL: Cannot parse `"{2**40}"` to a `u32`'),
        ("%31%32", 404, '{"error":"Process 12 not found","code":"NOT_FOUND"}'),
        ("a%2Fb", 404, '{"error":"Process a/b not found","code":"NOT_FOUND"}'),
        ("%25", 404, '{"error":"Process % not found","code":"NOT_FOUND"}'),
        ("%", 404, '{"error":"Process % not found","code":"NOT_FOUND"}'),
        ("%00", 404, '{"error":"Process \\u0000 not found","code":"NOT_FOUND"}'),
        ("%FF", 400, "Invalid URL: Invalid UTF-8 in `process`"),
    ],
)
@pytest.mark.parametrize(
    ("method", "rest"), [("GET", ""), ("DELETE", ""), ("POST", "/restart"), ("POST", "/stdin")]
)
def test_a_process_that_is_none_is_told(
    sandbox: LocalSandbox, segment: str, status: int, told: str, method: str, rest: str
) -> None:
    # By hand: every client library would put the path right first.
    host, port = sandbox.url.removeprefix("http://").split(":")
    request = (
        f"{method} /api/v1/processes/{segment}{rest} HTTP/1.1\r\nHost: local.local\r\n"
        f"Authorization: Bearer {sandbox.api_key.reveal()}\r\n"
        "Connection: close\r\nContent-Length: 0\r\n\r\n"
    )
    with socket.create_connection((host, int(port))) as client:
        client.sendall(request.encode())
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert (int(head.split()[1]), body.decode()) == (status, told)


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
def test_what_is_no_http_is_survived(sandbox: LocalSandbox, sent: bytes) -> None:
    host, port = sandbox.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as client:
        client.sendall(sent)


def test_output_that_is_not_utf8_is_replaced_everywhere(api: Api) -> None:
    pid = api.start("printf", r"a\n\377\376\nb\n")
    api.ended(pid)
    lines = ["a", "\ufffd\ufffd", "b"]
    assert api.lines(pid) == lines
    followed = api.call("GET", f"/processes/{pid}/stdout/follow")
    assert [f'"line":"{line}"' in followed.content.decode() for line in lines] == [True] * 3
