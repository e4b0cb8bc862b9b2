"""Test that the server survives any input, and which user a program runs as."""

import itertools
import os
import pwd
from contextlib import closing
from http.client import HTTPConnection

import pytest

from tests.contract.sandbox_api import JSON, NOT_JSON, OTHER_FIELDS, OTHER_TYPE, TEXT, refusal

ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root may run a program as another user")


@pytest.fixture(autouse=True)
def _lives(api):
    yield
    assert api.call("GET", "/health").json() == {"healthy": True}


def connected(sandbox):
    return closing(HTTPConnection(sandbox.url.removeprefix("http://")))


def send_unchanged(sandbox, line, body=b""):
    """Send a request with ``http.client``, because requests would decode parts of the path.

    Args:
        sandbox: the sandbox.
        line: the method and the path below ``/api/v1``.
        body: the body.

    Returns:
        The status and the text of the answer.

    """
    method, path = line.split()
    headers = {"Authorization": f"Bearer {sandbox.api_key.reveal()}", "Connection": "close"}
    with connected(sandbox) as client:
        client.request(method, f"/api/v1{path}", body, headers)
        answer = client.getresponse()
        return answer.status, answer.read().decode()


UNUSABLE = {
    "command": ["/no/such/program", "no-such-program", "/", "", "x" * 100_000],
    "args": [["x" * 200_000], ["nul\0byte"]],
    "env": [{"A=B": "c"}, {"A": "\0"}],
    "working_dir": ["/no/such/folder", "/etc/passwd", "nul\0byte"],
}
SPAWN = "Failed to spawn process"
NO_USERS = ["tl-user", "", "0:nobody", "nul\0byte", "99999999999", "4294967295"]


@pytest.mark.parametrize(
    ("field", "value", "error"),
    [
        *((field, value, SPAWN) for field, values in UNUSABLE.items() for value in values),
        *(("user", user, f"user not found: {user}") for user in NO_USERS),
        ("user", {"name": "nobody-here", "gid": 1}, "user not found: nobody-here"),
    ],
)
def test_failed_start_returns_500_and_adds_no_process(api, field, value, error):
    total = api.call("GET", "/info").json()["total_processes"]
    answer = api.call("POST", "/processes", json={"command": "true", field: value})
    assert refusal(answer) == (500, error, None)
    assert api.call("GET", "/info").json()["total_processes"] == total


IDS = "echo $(id -u) $(id -g) $(id -G)"


@ROOT
@pytest.mark.parametrize("user", ["12345:67", {"uid": 12345, "gid": 67}, "12345"])
def test_program_runs_as_the_requested_ids(api, user):
    gid = "12345" if user == "12345" else "67"
    assert api.printed("sh", "-c", IDS, user=user) == [f"12345 {gid} {gid}"]


@ROOT
@pytest.mark.parametrize("gid", [None, 67])
def test_program_runs_as_the_requested_user_of_this_machine(api, gid):
    user = "nobody" if gid is None else {"name": "nobody", "gid": gid}
    script = f"{IDS}; echo $HOME $USER $LOGNAME"
    lines = api.printed("sh", "-c", script, user=user, env={"PATH": "/bin"})
    nobody = pwd.getpwnam("nobody")
    gid = gid or nobody.pw_gid
    groups = " ".join(map(str, sorted(os.getgrouplist("nobody", gid))))
    assert lines == [f"{nobody.pw_uid} {gid} {groups}", f"{nobody.pw_dir} nobody nobody"]


TOO_LONG = "Failed to buffer the request body: length limit exceeded"
BROKEN = [b"", b"not json", b"[" * 100_000, b"{} x", b'{"x":"\xff"}', b'"\\ud800"']


@pytest.mark.parametrize("path", ["/processes", "/processes/run", "/processes/1/signal"])
@pytest.mark.parametrize(
    ("content_type", "body", "status", "text"),
    [
        *((JSON, body, 400, NOT_JSON) for body in BROKEN),
        (JSON, b"[]", 422, OTHER_FIELDS),
        (JSON, b"null", 422, OTHER_FIELDS),
        ("APPLICATION/vnd.x+JSON; charset=utf-8", b"{}", 422, OTHER_FIELDS),
        (JSON, b" " * (2**21 + 1), 413, TOO_LONG),
        *((other, b"{}", 415, OTHER_TYPE) for other in (None, "text/json", "application/jsonx")),
    ],
)
def test_error_for_an_unreadable_body_is_plain_text(api, path, content_type, body, status, text):
    answer = api.call("POST", path, data=body, headers={"Content-Type": content_type})
    assert (answer.status_code, answer.headers["content-type"]) == (status, TEXT)
    assert answer.text.startswith(text)


SECONDS = ['"1"', "-0.5", "true", "1e999", "NaN"]
NUMBERS = ["1.0", '"15"', "null", "true", "2147483648"]


@pytest.mark.parametrize(
    ("path", "field", "name"),
    [
        ("", '"args":["b",1.5]', "args.1"),
        ("", '"env":{"B":1}', "env.B"),
        ("", '"stdin_mode":"inherit"', "stdin_mode"),
        ("", '"user":{"uid":-1}', "user.UserSpec.uid"),
        ("", '"user":{"uid":4294967295}', "user.UserSpec.uid"),
        ("", '"user":true', "user.str"),
        ("", '"restart":{"max_restart":2}', "restart.max_restart"),
        ("", '"restart":{"policy":"x"}', "restart.policy"),
        ("", '"restart":{"max_restarts":-1}', "restart.max_restarts"),
        ("", '"health_check":{"typ":"tcp"}', "health_check.type"),
        ("", '"health_check":{"port":65536}', "health_check.port"),
        ("", '"stop_grace_ms":1.5', "stop_grace_ms"),
        *(("/run", f'"timeout":{seconds}', "timeout") for seconds in SECONDS),
        *(("/1/signal", f'"signal":{number}', "signal") for number in NUMBERS),
    ],
)
def test_invalid_value_returns_422_with_the_field_name(api, path, field, name):
    body = f'{{"command":"true",{field}}}'
    answer = api.call("POST", f"/processes{path}", data=body, headers={"Content-Type": JSON})
    assert answer.status_code == 422
    assert f"{name}: " in answer.text


@pytest.mark.parametrize(
    ("line", "status", "text"),
    [
        ("POST /processes", 413, TOO_LONG),
        ("POST /processes/{}/stdin", 413, TOO_LONG),
        ("PUT /files", 400, "Failed to deserialize query string: missing field `path`"),
        ("PUT /files?path=/refused", 403, '{"error":"/refused cannot be written or deleted: '),
    ],
)
def test_server_reads_the_whole_body_before_rejecting_it(sandbox, sleeper, line, status, text):
    # The body exceeds both socket buffers, so sending fails if the server does not read it.
    answer = send_unchanged(sandbox, line.format(sleeper), b" " * 2**23)
    assert (answer[0], answer[1][: len(text)]) == (status, text)


NAMES = {"%31%32": "12", "a%2Fb": "a/b", "%25": "%", "%": "%", "%00": r"\u0000", "%FF": "\ufffd"}
NAMES |= {name: name for name in ("0", "999999", "nobody", "-2")}
TOO_LARGE = ["4294967296", str(2**40), "9" * 1000]
NOT_FOUND = '{"error":"Process %s not found","code":"NOT_FOUND"}'
REJECTED_PATHS = {name: (404, NOT_FOUND % decoded) for name, decoded in NAMES.items()}
for pid in TOO_LARGE:
    REJECTED_PATHS[pid] = 400, f'Invalid URL: Cannot parse `"{pid}"` to a `u32`'
SELECTING = ["GET {}", "DELETE {}", "POST {}/restart", "POST {}/stdin", "POST {}/stdin/close"]


@pytest.mark.parametrize(
    ("request_line", "segment"),
    [
        *itertools.product(SELECTING, REJECTED_PATHS),
        *itertools.product(["GET {}/stdout", "GET {}/output/follow"], ["nobody", *TOO_LARGE]),
    ],
)
def test_path_that_selects_no_process_is_rejected(sandbox, request_line, segment):
    line = request_line.format(f"/processes/{segment}")
    assert send_unchanged(sandbox, line) == REJECTED_PATHS[segment]


NOT_HTTP = [
    b"\r\n\r\n",
    b"GET\r\n\r\n",
    b"GET /\xff HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00",
    b"POST /api/v1/processes HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n{",
]


@pytest.mark.parametrize("sent", NOT_HTTP)
def test_server_survives_data_that_is_not_http(sandbox, sent):
    with connected(sandbox) as client:
        client.send(sent)
