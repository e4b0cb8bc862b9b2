"""Test the calls of the process API over a real socket."""

import json

import pytest

from pytest_tlsandbox import errors
from tests.client.servers import CLOSE, OPEN_ENDED, READ, reply
from tests.support import T0, FakeClock, failure, managed, process, raw

LIST = reply(200, {"processes": [raw()]})
DONE = reply(204)
NOT_READY = reply(503, {"error": "sandbox is not ready", "code": "SANDBOX_NOT_READY"})
GATEWAY = reply(502, {"error": "Failed to proxy request", "code": "PROXY_ERROR"})
HTML = b"\n<!DOCTYPE html>please log in"
NOT_FOUND = reply(404, {"error": "Process 41 not found", "code": "NOT_FOUND"})


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def patient(client, clock):
    """Return a function that creates clients whose pauses take no time."""
    return lambda server: client(server, clock=clock)


CALLS = {
    "list": lambda client: client.list(),
    "start": lambda client: client.start({"command": "a"}),
    "signal": lambda client: client.signal(process(), 15),
    "restart": lambda client: client.restart(process()),
    "kill": lambda client: client.kill(process()),
    "output": lambda client: client.output(41),
}


# Retries


@pytest.mark.parametrize("start", [b'{"processes": [{"pid"', b""], ids=["cut", "empty"])
def test_truncated_list_without_a_content_length_is_retried(serve, patient, start):
    assert len(patient(serve([OPEN_ENDED, start, CLOSE], LIST)).list()) == 1


@pytest.mark.parametrize(("spent", "seconds"), [(0, 30.0), (30, 1.0)])
@pytest.mark.parametrize("call", ["list", "output"])
def test_call_fails_after_its_total_retry_time_is_over(serve, patient, clock, call, spent, seconds):
    start = clock.now
    client = patient(serve(NOT_READY))
    if spent:
        client.outage.failed(start - spent, start)

    error = failure(lambda: CALLS[call](client), errors.SandboxUnreachable)

    assert str(error) == "my-sandbox answered 503 SANDBOX_NOT_READY: sandbox is not ready"
    assert clock.now - start == pytest.approx(seconds)


@pytest.mark.parametrize(
    "call", [lambda client: client.poll(), lambda client: client.output(41, limit=1)]
)
def test_polls_and_output_requests_with_a_time_limit_are_not_retried(serve, patient, call):
    server = serve(NOT_READY, LIST)

    failure(lambda: call(patient(server)), errors.SandboxUnreachable)

    assert len(server.requests) == 1


# Responses

ANSWER_TO = "my-sandbox: the response to a {} request is an HTML page (29 bytes)"
REDIRECT = (
    "my-sandbox answered 301, a redirect; redirects are not followed, because the API key would be "
    "sent to the new address"
)
NO_LINES = "my-sandbox: the response with the output of pid 41 does not contain a 'lines' list"
NOT_LISTS = {
    b"": "an empty response (0 bytes)", b" \n": "an empty response (2 bytes)",
    HTML: "an HTML page (29 bytes)", b"hunter2": "text that is not JSON (7 bytes)",
    b'{"processes": [{"': "unexpected or incomplete JSON (17 bytes)",
    b"[" * 10**5: "unexpected or incomplete JSON (100000 bytes)",
}  # fmt: skip
NO_LISTS = b'{"data": []}', b"[]", b"null", b'{"processes": {}}'
NO_OUTPUTS = (
    b"", HTML, b"[]", b"{}", b'{"lines": null}', b'{"lines": [1]}', b'{"lines": "x"}', b"[" * 99_999,
)  # fmt: skip
# The call, the answer, the class, the label and the message of the error.
FINAL = [
    *(("list", [reply(200, body)], errors.ContractViolation, "not JSON", f"my-sandbox answered 200 with {what}, not a process list")
      for body, what in NOT_LISTS.items()),
    *(("list", [reply(200, body)], errors.ContractViolation, "no list", "my-sandbox answered 200 with JSON that does not contain a 'processes' list")
      for body in NO_LISTS),
    ("list", [OPEN_ENDED, HTML, CLOSE], errors.ContractViolation, "not JSON", "my-sandbox answered 200 with an HTML page (29 bytes), not a process list"),
    ("list", [DONE], errors.ContractViolation, "not JSON", "my-sandbox answered 204 with an empty response (0 bytes), not a process list"),
    ("start", [reply(201, {"ok": True})], errors.ContractViolation, "not a process", "The sandbox answered with unexpected or incomplete JSON (12 bytes), not a process"),
    ("signal", [reply(200, HTML)], errors.ContractViolation, "not JSON", ANSWER_TO.format("signal")),
    ("kill", [reply(200, HTML)], errors.ContractViolation, "not JSON", ANSWER_TO.format("kill")),
    ("kill", [reply(404, {"error": "Sandbox 'abc' not found"})], errors.SandboxNotFound, "404",
     "Sandbox my-sandbox does not exist or is not running (404)"),
    ("list", [reply(301, Location="http://127.0.0.1:9/")], errors.ContractViolation, "301", REDIRECT),
    *(("output", [reply(200, body)], errors.ContractViolation, NO_LINES, NO_LINES) for body in NO_OUTPUTS),
]  # fmt: skip


@pytest.mark.parametrize(("call", "answer", "kind", "label", "message"), FINAL)
def test_final_error_is_raised_at_once(serve, patient, clock, call, answer, kind, label, message):
    server = serve(answer)

    error = failure(lambda: CALLS[call](patient(server)), kind)

    if call == "list" and label != "301":
        message += f"\nthe request was GET {server.url}/api/v1/processes"
    assert (str(error), error.label, error.transient) == (message, label, False)
    assert (len(server.requests), clock.slept) == (1, [])


def test_process_list_is_sorted_by_start_time_and_contains_the_sandbox_name(serve, patient, clock):
    rows = [raw(3, started_at=T0 + 2), raw(1, started_at=T0 + 1), raw(2), "odd"]

    seen = patient(serve(reply(200, {"processes": rows}))).list()

    assert [row.pid for row in seen] == [2, 1, 3]
    assert [str(row) for row in seen.unreadable] == ["row 3: row: not an object"]
    assert seen.sandbox == "my-sandbox"
    assert (seen.begun, seen.ended) == (clock.now, clock.now)


# A name that consists of dots would change the path, even if the dots were encoded.
NAMES = {
    None: "41", "web": "web", "web 1": "web%201", "a/b?c#d": "a%2Fb%3Fc%23d", "100%": "100%25",
    "größe": "gr%C3%B6%C3%9Fe", "web-1_x.y~z": "web-1_x.y~z", ".": "41", "..": "41",
}  # fmt: skip
ROWS = [(process(77), "77"), *((process(managed=managed(name)), NAMES[name]) for name in NAMES)]


@pytest.mark.parametrize(("row", "segment"), ROWS, ids=["unmanaged", *map(repr, NAMES)])
def test_request_path_contains_the_encoded_process_name_or_the_pid(serve, patient, row, segment):
    again = reply(200, raw(42, managed=managed("web", restart_count=1)))
    server = serve(reply(200, {"success": True}), DONE, again)
    client = patient(server)

    client.signal(row, 15)
    assert client.kill(row) is True
    assert client.restart(row).pid == 42

    assert [request.line for request in server.requests] == [
        f"POST /api/v1/processes/{segment}/signal HTTP/1.1",
        f"DELETE /api/v1/processes/{segment} HTTP/1.1",
        f"POST /api/v1/processes/{segment}/restart HTTP/1.1",
    ]
    assert json.loads(server.requests[0].body) == {"signal": 15}
    assert server.requests[2].headers["content-length"] == "0"


ENDED = reply(500, {"error": "Process 41 is not running"})


@pytest.mark.parametrize("answer", [ENDED, NOT_FOUND], ids=["listed", "not listed"])
def test_killing_an_ended_process_succeeds(serve, patient, answer):
    server = serve(answer)

    assert patient(server).kill(process()) is False
    assert len(server.requests) == 1


# Ports

UPGRADED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
TAKEN = reply(
    502, {"error": "Port 80 belongs to another process", "code": "PORT_OF_ANOTHER_PROCESS"}
)
NO_TUNNELS = (
    reply(404), reply(404, HTML), reply(404, {"error": "no route", "code": "NOT_FOUND"}), reply(405),
    reply(400, b"`Connection` header did not include 'upgrade'", Content_Type="text/plain"),
    reply(426), LIST,
)  # fmt: skip
PROBES = [
    *((UPGRADED, "open"), (TAKEN, "taken"), (GATEWAY, "closed"), (reply(502, HTML), "closed")),
    *((answer, errors.RequestRefused) for answer in NO_TUNNELS),
    (reply(401), errors.AuthenticationFailed),
    (reply(404, {"error": "x", "code": "SANDBOX_NOT_FOUND"}), errors.SandboxNotFound),
    *((answer, errors.SandboxUnreachable) for answer in (NOT_READY, CLOSE)),
]


@pytest.mark.parametrize(("answer", "result"), PROBES)
def test_probe_returns_the_state_of_a_port_or_raises_an_error(serve, patient, answer, result):
    server = serve((answer, CLOSE))
    client = patient(server)

    if isinstance(result, str):
        assert client.probe_port(process(), 80, limit=5) == result
        assert client.outage.spent == 0
    else:
        error = failure(lambda: client.probe_port(process(), 80, limit=5), result)
        assert error.transient == (result is errors.SandboxUnreachable)
    assert server.request.line == "GET /api/v1/tunnels/tcp?port=80 HTTP/1.1"
    headers = {"connection": "Upgrade", "upgrade": "websocket", "x-tlsandbox-process": "41"}
    assert server.request.headers.items() >= headers.items()


def test_connection_of_a_probe_is_not_reused(serve, patient):
    server = serve((UPGRADED, b"greeting of the service", READ), (UPGRADED, READ), LIST)
    client = patient(server)

    assert [client.probe_port(process(), 80, limit=5) for _ in range(2)] == ["open", "open"]
    assert len(client.list()) == 1
