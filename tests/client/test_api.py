"""The calls of the process API, over a real socket."""

import json

import pytest

from pytest_tlsandbox.client.api import ProcessLister
from pytest_tlsandbox.errors import (
    AuthenticationFailed,
    ContractViolation,
    RequestRefused,
    SandboxNotFound,
    SandboxNotRunning,
    SandboxUnreachable,
)
from tests.client.servers import CLOSE, RESET, reply
from tests.support import T0, FakeClock, managed, process, raw

OPEN_ENDED = b"HTTP/1.1 200 OK\r\n\r\n"
LIST = reply(200, {"processes": [raw()]})
ROW = reply(201, raw())
DONE = reply(204, length=False)
NOT_READY = reply(503, {"error": "sandbox is not ready", "code": "SANDBOX_NOT_READY"})
GATEWAY = reply(502, {"error": "Failed to proxy request", "code": "PROXY_ERROR"})
HTML = b"<html>please log in</html>"


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def patient(client, clock):
    """Make clients whose pauses take no time."""
    return lambda server: client(server, clock=clock)


# Listing


def test_a_list_is_sorted_by_start_and_knows_its_sandbox(serve, patient, clock):
    rows = [raw(3, started_at=T0 + 2), raw(1, started_at=T0 + 1), raw(2), "odd"]

    seen = patient(serve(reply(200, {"processes": rows}))).list()

    assert [row.pid for row in seen] == [2, 1, 3]
    assert [str(row) for row in seen.unreadable] == ["row 3: row: not an object"]
    assert seen.sandbox == "my-sandbox"
    assert (seen.begun, seen.ended) == (clock.now, clock.now)


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param([NOT_READY], id="503"),
        pytest.param([GATEWAY], id="502"),
        pytest.param([reply(500)], id="500"),
        pytest.param([reply(504)], id="504"),
        pytest.param([reply(429)], id="429"),
        pytest.param([RESET], id="reset"),
        pytest.param([LIST[:-9], CLOSE], id="cut"),
        pytest.param([OPEN_ENDED, b'{"processes": [{"pid"', CLOSE], id="cut, length unknown"),
        pytest.param([OPEN_ENDED, CLOSE], id="nothing, length unknown"),
    ],
)
def test_a_list_rides_out_what_may_pass(serve, patient, clock, fault):
    server = serve(fault, fault, LIST)

    assert len(patient(server).list()) == 1
    assert len(server.requests) == 3
    assert clock.slept == pytest.approx([0.1, 0.2], rel=0.101)


def test_a_list_waits_as_long_as_the_server_asks(serve, patient, clock):
    busy = reply(429, {"error": "slow down"}, Retry_After="12")

    patient(serve(busy, busy, LIST)).list()

    assert clock.slept == [12.0, 12.0]


def test_a_list_gives_up_after_30_seconds(serve, patient, clock):
    start = clock.now

    with pytest.raises(SandboxUnreachable) as raised:
        patient(serve(NOT_READY)).list()

    assert str(raised.value) == ("my-sandbox answered 503 SANDBOX_NOT_READY: sandbox is not ready")
    assert clock.now - start == pytest.approx(30.0)


@pytest.mark.parametrize(
    ("answer", "kind", "message"),
    [
        pytest.param(
            [reply(401)],
            AuthenticationFailed,
            "my-sandbox: the API key was refused (401)",
            id="401",
        ),
        pytest.param(
            [reply(404, {"error": "Sandbox 'abc' not found or not running"})],
            SandboxNotFound,
            "No sandbox my-sandbox: it does not exist, or is not running (404)",
            id="no sandbox",
        ),
        pytest.param(
            [reply(409, {"sandbox_id": "abc", "status": "terminated", "reason": "Timeout"})],
            SandboxNotRunning,
            "Sandbox my-sandbox is terminated (Timeout)",
            id="terminated",
        ),
        pytest.param(
            [reply(200, HTML, Content_Type="text/html")],
            ContractViolation,
            "Not a process list: an HTML page (26 bytes)",
            id="HTML",
        ),
        pytest.param(
            [OPEN_ENDED, HTML, CLOSE],
            ContractViolation,
            "Not a process list: an HTML page (26 bytes)",
            id="HTML, length unknown",
        ),
        pytest.param(
            [reply(200, b'{"processes": [')],
            ContractViolation,
            "Not a process list: JSON of another shape, or cut short (15 bytes)",
            id="broken JSON of the length announced",
        ),
        pytest.param(
            [reply(200)],
            ContractViolation,
            "Not a process list: an empty answer (0 bytes)",
            id="nothing",
        ),
        pytest.param(
            [DONE], ContractViolation, "Not a process list: an empty answer (0 bytes)", id="204"
        ),
    ],
)
def test_a_list_ends_at_once_at_what_is_final(serve, patient, clock, answer, kind, message):
    server = serve(answer)

    with pytest.raises(kind) as raised:
        patient(server).list()

    assert str(raised.value) == message
    assert not raised.value.transient
    assert len(server.requests) == 1
    assert clock.slept == []


def test_a_look_is_one_try(serve, patient, clock):
    server = serve(NOT_READY, LIST)

    with pytest.raises(SandboxUnreachable):
        patient(server).look()

    assert len(server.requests) == 1


def test_a_list_of_unknown_length_that_is_whole_is_read(serve, patient):
    server = serve([OPEN_ENDED, b'{"processes": []}', CLOSE])

    assert len(patient(server).list()) == 0


def test_a_cut_list_of_unknown_length_says_so(serve, patient):
    server = serve([OPEN_ENDED, b'{"processes": [{"pid"', CLOSE])

    with pytest.raises(SandboxUnreachable) as raised:
        patient(server).look()

    assert str(raised.value) == "my-sandbox: the answer was cut short"
    assert raised.value.label == "cut short"


def test_a_lister_and_a_client_show_their_sandbox_only(connect, client):
    lister = ProcessLister(connect("http://127.0.0.1:1"))

    assert repr(lister) == "<ProcessLister of my-sandbox>"
    assert repr(client("http://127.0.0.1:1")) == "<SandboxClient of my-sandbox>"


# Starting


def test_a_process_is_started(serve, patient):
    server = serve(ROW)

    started = patient(server).start({"command": "python", "args": ["train.py"]})

    assert started == process()
    assert server.request.line == "POST /api/v1/processes HTTP/1.1"
    assert json.loads(server.request.body) == {"command": "python", "args": ["train.py"]}


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param([NOT_READY], id="not ready"),
        pytest.param([reply(503, {"code": "SANDBOX_UNREACHABLE"})], id="unreachable"),
        pytest.param([reply(503, {"code": "AUTH_SERVICE_UNAVAILABLE"})], id="auth"),
        pytest.param([reply(500, {"code": "SANDBOX_UPSTREAM_ERROR"})], id="upstream"),
        pytest.param([reply(429)], id="429"),
        pytest.param(
            [reply(400, {"error": "(status: suspending)", "code": "SANDBOX_NOT_RUNNING"})],
            id="suspending",
        ),
    ],
)
def test_a_start_that_certainly_did_not_arrive_is_repeated(serve, patient, fault):
    server = serve(fault, fault, ROW)

    assert patient(server).start({"command": "a"}).pid == 41
    assert len(server.requests) == 3


def test_a_start_is_repeated_while_the_connection_is_refused(serve, client):
    server = serve(ROW)
    port = server.port
    server.close()
    revived = []

    class Reviver(FakeClock):
        def sleep(self, seconds):
            super().sleep(seconds)
            if len(self.slept) == 3:
                revived.append(serve(ROW, port=port))

    clock = Reviver()

    started = client(f"http://127.0.0.1:{port}", clock=clock).start({"command": "a"})

    assert started.pid == 41
    assert len(clock.slept) == 3
    assert len(revived[0].requests) == 1


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        pytest.param(
            [GATEWAY], "my-sandbox answered 502 PROXY_ERROR: Failed to proxy request", id="502"
        ),
        pytest.param(
            [reply(504)], "my-sandbox answered 504 with an empty answer (0 bytes)", id="504"
        ),
        pytest.param(
            [reply(503)], "my-sandbox answered 503 with an empty answer (0 bytes)", id="503"
        ),
        pytest.param([RESET], "my-sandbox cannot be reached: the connection was reset", id="reset"),
        pytest.param(
            [ROW[:-9], CLOSE], "my-sandbox cannot be reached: the answer was cut short", id="cut"
        ),
    ],
)
def test_a_start_that_may_have_arrived_is_not_repeated(serve, patient, answer, message):
    server = serve(answer, ROW)

    with pytest.raises(SandboxUnreachable) as raised:
        patient(server).start({"command": "a"})

    assert str(raised.value) == message
    assert len(server.requests) == 1


def test_a_start_that_is_refused_says_why(serve, patient):
    server = serve(reply(500, {"error": "Failed to spawn process"}))

    with pytest.raises(RequestRefused) as raised:
        patient(server).start({"command": "nonsense"})

    assert str(raised.value) == "my-sandbox answered 500: Failed to spawn process"
    assert len(server.requests) == 1


def test_a_start_whose_answer_is_no_process_breaks_the_contract(serve, patient):
    with pytest.raises(ContractViolation) as raised:
        patient(serve(reply(201, {"ok": True}))).start({"command": "a"})

    assert str(raised.value) == "Not a process: JSON of another shape, or cut short (12 bytes)"


# Signals, kills, restarts


@pytest.mark.parametrize(
    ("name", "segment"),
    [
        (None, "41"),
        ("web", "web"),
        ("web 1", "web%201"),
        ("a/b?c#d", "a%2Fb%3Fc%23d"),
        ("100%", "100%25"),
        ("größe", "gr%C3%B6%C3%9Fe"),
        ("web-1_x.y~z", "web-1_x.y~z"),
    ],
)
def test_a_managed_process_is_addressed_by_its_encoded_name(serve, patient, name, segment):
    row = process(managed=managed(name))
    server = serve(reply(200, {"success": True}), DONE, ROW)
    client = patient(server)

    client.signal(row, 15)
    client.kill(row)
    client.restart(row)

    assert [request.line for request in server.requests] == [
        f"POST /api/v1/processes/{segment}/signal HTTP/1.1",
        f"DELETE /api/v1/processes/{segment} HTTP/1.1",
        f"POST /api/v1/processes/{segment}/restart HTTP/1.1",
    ]


@pytest.mark.parametrize("name", [".", ".."])
def test_a_name_of_dots_does_not_lead_to_another_path(serve, patient, name):
    server = serve(DONE)

    patient(server).kill(process(managed=managed(name)))

    assert server.request.path != "/api/v1/processes/"
    assert server.request.path.startswith("/api/v1/processes/")


def test_an_unmanaged_process_is_addressed_by_its_pid(serve, patient):
    server = serve(DONE)

    patient(server).kill(process(77))

    assert server.request.line == "DELETE /api/v1/processes/77 HTTP/1.1"


def test_a_signal_is_sent_by_number(serve, patient):
    server = serve(reply(200, {"success": True}))

    patient(server).signal(process(), 15)

    assert json.loads(server.request.body) == {"signal": 15}


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (
            reply(404, {"error": "Process 41 not found", "code": "NOT_FOUND"}),
            "my-sandbox answered 404 NOT_FOUND: Process 41 not found",
        ),
        (
            reply(400, {"error": "Process 41 is not running"}),
            "my-sandbox answered 400: Process 41 is not running",
        ),
    ],
    ids=["reaped", "finished"],
)
def test_a_signal_to_what_has_ended_is_refused(serve, patient, answer, message):
    with pytest.raises(RequestRefused) as raised:
        patient(serve(answer)).signal(process(), 15)

    assert str(raised.value) == message


def test_a_signal_that_may_have_arrived_is_not_repeated(serve, patient):
    server = serve(GATEWAY, reply(200, {"success": True}))

    with pytest.raises(SandboxUnreachable):
        patient(server).signal(process(), 15)

    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "answer",
    [
        reply(500, {"error": "Process 41 is not running"}),
        reply(404, {"error": "Process 41 not found", "code": "NOT_FOUND"}),
    ],
    ids=["finished", "reaped"],
)
def test_a_kill_of_what_has_ended_is_well(serve, patient, answer):
    server = serve(answer)

    patient(server).kill(process())

    assert len(server.requests) == 1


def test_a_kill_is_repeated_until_it_is_answered(serve, patient):
    server = serve([RESET], GATEWAY, DONE)

    patient(server).kill(process())

    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (reply(404, {"error": "Sandbox 'abc' not found"}), SandboxNotFound),
        (reply(404), RequestRefused),
        (reply(401), AuthenticationFailed),
        (reply(405), RequestRefused),
    ],
    ids=["no sandbox", "no API", "401", "405"],
)
def test_a_kill_that_was_turned_down_for_another_reason_is_told(serve, patient, answer, kind):
    with pytest.raises(kind):
        patient(serve(answer)).kill(process())


@pytest.mark.parametrize("call", ["signal", "kill"])
def test_a_page_to_log_in_is_no_sign_that_it_was_done(serve, patient, call):
    client = patient(serve(reply(200, b"<!doctype html><title>Log in</title>")))

    with pytest.raises(ContractViolation) as raised:
        client.signal(process(41), 15) if call == "signal" else client.kill(process(41))

    assert str(raised.value) == (f"my-sandbox: the answer to a {call} is an HTML page (36 bytes)")


def test_a_call_is_given_up_soon_where_an_outage_was_ridden_out_in_vain(serve, patient, clock):
    start = clock.now
    client = patient(serve(NOT_READY))
    client.outage.failed(start - 30, start)

    with pytest.raises(SandboxUnreachable):
        client.output(41)

    assert clock.now - start == pytest.approx(1.0)


def test_a_restart_gives_the_new_run(serve, patient):
    server = serve(reply(200, raw(42, managed=managed("web", restart_count=1))))

    again = patient(server).restart(process(managed=managed("web")))

    assert again.pid == 42
    assert server.request.headers["content-length"] == "0"


# Output


@pytest.mark.parametrize("stream", ["stdout", "stderr", "output"])
def test_output_is_lines(serve, patient, stream):
    server = serve(reply(200, {"pid": 41, "lines": ["one", "", "zwölf"], "line_count": 3}))

    assert patient(server).output(41, stream) == ["one", "", "zwölf"]
    assert server.request.line == f"GET /api/v1/processes/41/{stream} HTTP/1.1"


def test_output_rides_out_what_may_pass(serve, patient):
    server = serve(GATEWAY, [RESET], reply(200, {"lines": []}))

    assert patient(server).output(41) == []
    assert len(server.requests) == 3


def test_output_with_a_limit_is_one_try(serve, patient):
    server = serve(GATEWAY, reply(200, {"lines": []}))

    with pytest.raises(SandboxUnreachable):
        patient(server).output(41, limit=1)

    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        HTML,
        b"[]",
        b"{}",
        b'{"lines": null}',
        b'{"lines": [1]}',
        b'{"lines": "x"}',
        b"[" * 99_999,
    ],
    ids=["empty", "html", "array", "object", "null", "number", "text", "deep"],
)
def test_output_without_lines_breaks_the_contract(serve, patient, body):
    with pytest.raises(ContractViolation) as raised:
        patient(serve(reply(200, body))).output(41)

    assert str(raised.value) == "my-sandbox: the output of pid 41 has no lines"


def test_a_closed_client_has_closed_its_transport(serve, client):
    made = client(serve(LIST))
    made.list()

    made.close()

    thread = made._transport._watchdog._thread
    assert thread is not None
    thread.join(5)
    assert not thread.is_alive()
