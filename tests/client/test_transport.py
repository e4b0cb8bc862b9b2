"""Test a call over a real socket: its result, its time limit, and the data that reports show."""

import contextlib
import gzip
import logging
import signal
import socket
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor

import freezegun
import pytest
import requests
import urllib3
from urllib3 import exceptions as http

from pytest_tlsandbox.errors import ContractViolation, InfrastructureError, SandboxUnreachable
from tests.client.conftest import KEY
from tests.client.servers import CLOSE, HANG, READ, RESET, chunk, drip, reply
from tests.fault_proxy.certificates import make_certificate
from tests.support import sample_of

BODY = b'{"processes": []}'
OK = reply(200, BODY)
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
OPEN_ENDED = b"HTTP/1.1 200 OK\r\n\r\n"
EARLY_HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n"


def get(transport, path="/processes", **options):
    return transport.request("GET", path, **options).body


def error_of(transport, method="GET", **options):
    with pytest.raises(InfrastructureError) as raised:
        transport.request(method, "/processes", **options)
    return raised.value


def assert_unreachable(fault, reason, label, fate):
    assert type(fault) is SandboxUnreachable
    assert str(fault) == f"my-sandbox cannot be reached: {reason}"
    assert (fault.label, (fault.transient, fault.delivered)) == (label, fate)


# Good responses

GOOD = {
    "length": ([OK], BODY, True),
    "chunked": ([CHUNKED, chunk(BODY[:4]), chunk(BODY[4:]), b"0\r\n\r\n"], BODY, True),
    "open-ended": ([OPEN_ENDED, BODY, CLOSE], BODY, False),
    "gzip": ([reply(200, gzip.compress(BODY), Content_Encoding="gzip")], BODY, True),
    "early hints": ([EARLY_HINTS, EARLY_HINTS, OK], BODY, True),
    "201": ([reply(201, BODY)], BODY, True),
    "204": ([reply(204)], b"", True),
}


@pytest.mark.parametrize(("script", "body", "announced"), GOOD.values(), ids=GOOD)
def test_successful_response_is_returned(serve, connect, script, body, announced):
    answer = connect(serve(script)).request("GET", "/processes")

    assert (answer.body, answer.announced) == (body, announced)


def test_calls_share_one_connection_and_send_no_cookies(serve, connect):
    server = serve(reply(200, BODY, Set_Cookie="seen=1; Path=/"))
    transport = connect(server)

    for path in ("/processes", "/processes", "/processes/41/output"):
        get(transport, path)

    assert [request.headers.get("cookie") for request in server.requests] == [None] * 3
    assert server.connections == 1


def test_redirect_is_not_followed(serve, connect):
    elsewhere = serve(OK)
    server = serve(reply(301, Location=elsewhere.url + "/api/v1/processes"))

    assert type(error_of(connect(server))) is ContractViolation

    assert (len(server.requests), elsewhere.requests) == (1, [])


# Bad responses: the reason, the label, and (transient, delivered).

CUT = ("the response was cut short", "cut short", (True, True))
RESET_BY_PEER = ("the connection was reset", "reset", (True, True))
UNREADABLE = ("the answer is compressed and cannot be read", "bad encoding", (False, True))
BROKEN_GZIP = gzip.compress(BODY)[:10] + b"\xff" * 20
BAD = {
    "reset before headers": ([RESET], RESET_BY_PEER),
    "closed before headers": ([CLOSE], RESET_BY_PEER),
    "reset in headers": ([b"HTTP/1.1 200 OK\r\nContent-Le", RESET], RESET_BY_PEER),
    "reset in body": ([OK[:-4], RESET], RESET_BY_PEER),
    "no HTTP": ([b"SSH-2.0-OpenSSH_9.6\r\n", CLOSE], RESET_BY_PEER),
    "cut in body": ([OK[:-4], CLOSE], CUT),
    "cut in a chunk": ([CHUNKED, chunk(BODY)[:-9], CLOSE], CUT),
    "cut between chunks": ([CHUNKED, chunk(BODY), CLOSE], CUT),
    "not gzip": ([reply(200, BODY, Content_Encoding="gzip")], UNREADABLE),
    "broken gzip": ([reply(200, BROKEN_GZIP, Content_Encoding="gzip")], UNREADABLE),
}


@pytest.mark.parametrize(("script", "expected"), BAD.values(), ids=BAD)
def test_error_for_an_incomplete_response_states_the_cause(serve, connect, script, expected):
    assert_unreachable(error_of(connect(serve(script))), *expected)


def test_refused_connection_is_a_transient_error(connect, unused_url):
    fault = error_of(connect(unused_url))

    assert_unreachable(fault, "the connection was refused", "refused", (True, False))


class SocketBlockedError(RuntimeError):
    """The error of pytest-socket; tests/companions uses the real plugin."""


def subclasses(kind):
    for below in kind.__subclasses__():
        yield below
        yield from subclasses(below)


# Whether an error is transient, and whether the request may have arrived; default (False, True).
FATES = {
    "ClosedPoolError": (True, False),
    "ConnectTimeoutError": (True, False),
    "NameResolutionError": (True, False),
    "NewConnectionError": (True, False),
    "ProtocolError": (True, True),
    "ProxyError": (True, False),
    "ReadTimeoutError": (True, True),
    "ResponseNotChunked": (True, True),
    "SSLError": (False, False),
    "SocketBlockedError": (False, False),
    "TimeoutError": (True, True),
}
OF_URLLIB3 = {
    kind for kind in subclasses(http.HTTPError) if kind.__module__ == "urllib3.exceptions"
}


@pytest.mark.parametrize(
    "kind", sorted({*OF_URLLIB3, SocketBlockedError}, key=lambda kind: kind.__name__)
)
def test_every_network_exception_becomes_an_error_of_the_plugin(connect, monkeypatch, kind):
    def fail(*_, **__):
        raise type(
            kind.__name__, (kind,), {"__init__": Exception.__init__, "__str__": lambda _: KEY}
        )

    monkeypatch.setattr(urllib3.HTTPConnectionPool, "urlopen", fail)

    fault = error_of(connect("http://127.0.0.1:1"))

    assert type(fault) is SandboxUnreachable
    assert str(fault).startswith("my-sandbox cannot be reached: ")
    assert KEY not in f"{fault} {fault.label}"
    assert (fault.transient, fault.delivered) == FATES.get(kind.__name__, (False, True))


# TLS


def https(server):
    return server.url.replace("http:", "https:")


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_ca_bundle_from_the_environment_is_used(serve, connect, certificate, monkeypatch, variable):
    monkeypatch.setenv(variable, certificate.path)

    assert get(connect(serve(OK, tls=certificate.context))) == BODY


FLAWS = [
    ("self-signed", False, "self-signed certificate"),
    ("for another host", True, "the certificate is for another host"),
    ("expired", True, "the certificate has expired"),
]


@pytest.mark.parametrize(("flaw", "trusted", "reason"), FLAWS)
def test_invalid_certificate_is_a_permanent_error(
    serve, connect, tmp_path, monkeypatch, flaw, trusted, reason
):
    path = str(tmp_path / "certificate.pem")
    server = serve(reply(), tls=make_certificate(path, flaw))
    if trusted:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", path)

    fault = error_of(connect(server))

    assert_unreachable(fault, f"TLS failed ({reason})", "TLS", (False, False))
    assert server.requests == []


HANDSHAKES = [
    (reply(400), "the other side does not speak TLS", False),
    (b"", "the other side hung up", True),
]


@pytest.mark.parametrize(("answer", "reason", "transient"), HANDSHAKES)
def test_tls_handshake_error_names_the_cause(serve, connect, answer, reason, transient):
    fault = error_of(connect(https(serve(greeting=[READ, answer, CLOSE]))))

    assert_unreachable(fault, f"TLS failed ({reason})", "TLS", (transient, False))


# Time


def assert_ends_in_time(transport):
    """Make a call with a limit of 0.5 s; without a limit, the call would take at least 6 s."""
    start = time.clock_gettime(time.CLOCK_MONOTONIC)  # freezegun does not freeze this clock
    fault = error_of(transport, limit=0.5)
    assert 0.45 < time.clock_gettime(time.CLOCK_MONOTONIC) - start < 4
    assert type(fault) is SandboxUnreachable
    assert str(fault) == "my-sandbox did not answer within 0.5 s"
    assert (fault.label, fault.transient) == ("no answer", True)
    return fault


SPACES = b" " * 60
DRIPPING = drip(OK, 0.1)
SLOW = {
    "no headers": [HANG],
    "half of a body": [OK[:-4], HANG],
    "no last chunk": [CHUNKED, chunk(BODY), HANG],
    "a byte a second": drip(OK, 1),
    "dripping headers": drip(reply(200, BODY, X=SPACES.decode()), 0.1),
    "dripping body": [reply(200, SPACES)[:-60], *drip(SPACES, 0.1)],
    "dripping chunks": [CHUNKED, *drip(chunk(b"x") * 99, 0.1)],
    "dripping without an end": [OPEN_ENDED, *drip(SPACES, 0.1)],
    "dripping before it closes": [reply(200, SPACES, Connection="close")[:-60], *drip(SPACES, 0.1)],
}
SAMPLE = ("no headers", "no last chunk", "a byte a second", "dripping chunks", "dripping without an end")  # fmt: skip


@pytest.mark.parametrize("script", sample_of(SLOW, *SAMPLE))
def test_slow_call_ends_at_its_time_limit(serve, connect, script):
    assert assert_ends_in_time(connect(serve(script))).delivered


def test_slow_call_over_tls_ends_at_its_time_limit(serve, connect, certificate, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", certificate.path)

    assert_ends_in_time(connect(serve(DRIPPING, tls=certificate.context)))


def test_slow_tls_handshake_ends_at_the_time_limit(serve, connect):
    server = serve(greeting=drip(b"\x16\x03\x03\x40\x00" + b"\x02\x00\x3f\xfc" + bytes(99), 0.1))

    assert_ends_in_time(connect(https(server)))


def test_slow_call_through_a_proxy_ends_at_its_time_limit(serve, connect, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", serve(DRIPPING).url)

    assert_ends_in_time(connect("https://sandbox.example"))


def test_call_ends_at_its_time_limit_even_if_freezegun_stops_the_clock(serve, connect):
    with freezegun.freeze_time("2024-03-09"):
        assert_ends_in_time(connect(serve(SLOW["dripping body"])))


def test_error_from_a_call_that_never_connected_says_that_the_call_was_not_delivered(connect):
    with contextlib.ExitStack() as opened:
        full = opened.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            waiting = opened.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())

        fault = error_of(connect(f"http://127.0.0.1:{full.getsockname()[1]}"), limit=0.3)

    assert type(fault) is SandboxUnreachable
    assert (fault.transient, fault.delivered) == (True, False)


@pytest.mark.parametrize("limit", [0.0, -1.0])
def test_call_fails_if_no_time_remains(serve, connect, limit):
    fault = error_of(connect(serve(OK)), limit=limit)

    assert (type(fault), fault.label, fault.transient) == (SandboxUnreachable, "no answer", True)


def test_call_after_an_aborted_call_receives_its_own_response(serve, connect):
    server = serve([OK[:-4], HANG], reply(200, b'{"second": 1}'))
    transport = connect(server)

    error_of(transport, limit=0.1)

    assert get(transport) == b'{"second": 1}'
    assert server.connections == 2


def test_aborting_a_call_does_not_mix_up_the_responses_of_concurrent_calls(serve, connect):
    def answer(request):
        return [HANG] if "hangs" in request.path else [0.02, reply(200, request.path.encode())]

    def ask(worker):
        together.wait(10)
        return [get(transport, f"/{worker}-{n}") for n in range(10)]

    transport, together = connect(serve(answer=answer)), threading.Barrier(16)
    with ThreadPoolExecutor(17) as pool:
        cut = pool.submit(get, transport, "/hangs", limit=0.1)
        answers = [*pool.map(ask, range(16))]

    assert str(cut.exception()) == "my-sandbox did not answer within 0.1 s"
    for worker, bodies in enumerate(answers):
        assert bodies == [f"/api/v1/{worker}-{n}".encode() for n in range(10)]


def watchdogs():
    return {thread for thread in threading.enumerate() if thread.name == "tlsandbox-watchdog"}


def test_watchdog_thread_starts_with_the_first_call_and_ends_with_the_transport(serve, connect):
    before = watchdogs()
    transport = connect(serve(OK))
    assert watchdogs() == before

    for _ in range(3):
        get(transport)
    (thread,) = watchdogs() - before
    assert thread.daemon
    transport.close()
    thread.join(5)

    assert not thread.is_alive()


# Proxies and other settings of the environment


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2"])
def test_requests_to_loopback_addresses_bypass_the_proxy(
    serve, connect, monkeypatch, variable, host
):
    server, proxy = serve(OK, host=host), serve(reply(502))
    monkeypatch.setenv(variable, proxy.url)

    assert get(connect(server)) == BODY
    assert proxy.requests == []


def test_hosts_in_the_no_proxy_variable_are_contacted_directly(serve, connect, monkeypatch):
    proxy = serve(OK)
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    monkeypatch.setenv("NO_PROXY", "sandbox.invalid")

    fault = error_of(connect("http://sandbox.invalid"))

    assert_unreachable(fault, "its host name is not known", "no such host", (True, False))
    assert proxy.requests == []


def test_http_client_reads_proxy_variables_from_the_environment_once(serve, connect, monkeypatch):
    """A test may set a proxy for the program under test, which the plugin must ignore."""
    first, second = serve(reply(502)), serve(reply(502))
    transport = connect("https://sandbox.example")

    for proxy in (first, second):
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        error_of(transport)

    assert (len(first.requests), second.requests) == (2, [])


def test_refused_connection_to_a_proxy_is_a_transient_error(connect, monkeypatch, unused_url):
    monkeypatch.setenv("HTTPS_PROXY", unused_url.replace("//", "//user:hunter2@"))

    fault = error_of(connect("https://sandbox.example"))

    reason = "the proxy of this environment (HTTPS_PROXY) does not answer"
    assert_unreachable(fault, reason, "proxy", (True, False))


# Places that could show the key


def seen_in(error):
    """Yield all texts of an error that a report could show: messages, and locals of frames."""
    shown = error
    while shown is not None:
        yield f"{shown!r} {vars(shown)}"
        for frame, _ in traceback.walk_tb(shown.__traceback__):
            if frame.f_code.co_filename != __file__:
                for name, value in frame.f_locals.items():
                    yield f"{frame.f_code.co_name}: {name} = {value!r}"
        shown = shown.__cause__ or (None if shown.__suppress_context__ else shown.__context__)


def assert_key_is_not_seen(error, key=KEY):
    assert [text for text in seen_in(error) if key in text] == []


def assert_no_frame_below_request(error):
    names = [frame.f_code.co_name for frame, _ in traceback.walk_tb(error.__traceback__)]
    assert names[1:] == ["request"]


def test_check_for_leaked_keys_detects_a_key_in_traceback_frames(serve):
    with pytest.raises(requests.ConnectionError) as raised:
        requests.get(serve([RESET]).url, headers={"Authorization": f"Bearer {KEY}"}, timeout=5)

    with pytest.raises(AssertionError):
        assert_key_is_not_seen(raised.value)


FAILING = {
    "401": [reply(401, {"message": "invalid credentials"})],
    "404": [reply(404)],
    "502": [reply(502)],
    "redirect": [reply(302, Location="http://127.0.0.1:1/")],
    "hangs": [HANG],
    "drips": drip(OK, 0.05),
    **{name: script for name, (script, _) in BAD.items()},
}


@pytest.mark.parametrize("script", FAILING.values(), ids=FAILING)
@pytest.mark.parametrize(("method", "body"), [("GET", None), ("POST", {"command": "a"})])
def test_traceback_frames_of_a_failed_call_hide_the_key(serve, connect, script, method, body):
    error = error_of(connect(serve(script)), method, json=body, limit=0.2)

    assert_key_is_not_seen(error)
    assert_no_frame_below_request(error)


def test_traceback_frames_of_a_failed_connection_hide_the_key(serve, connect, certificate):
    for place in ("http://127.0.0.1:1", "https://127.0.0.1:1", serve(tls=certificate.context)):
        assert_key_is_not_seen(error_of(connect(place)))


UNSENDABLE = ["sentinel\nsentinel", "sentinel\u2026sentinel", "sentinel sentinel"]


@pytest.mark.parametrize("key", UNSENDABLE)
def test_error_for_a_key_that_cannot_be_sent_does_not_show_the_key(serve, connect, key):
    assert_key_is_not_seen(error_of(connect(serve(reply(401)), key=key)), "sentinel")


@pytest.mark.parametrize("key", [KEY, "plain-sentinel"])
@pytest.mark.parametrize("status", [400, 401, 403, 500])
def test_key_that_the_server_echoes_is_not_shown(serve, connect, status, key):
    server = serve(reply(status, {"error": f"'{key}' is not a key", "code": "X"}))

    assert_key_is_not_seen(error_of(connect(server, key=key)), key)


def test_debug_log_masks_secrets_in_calls_and_never_shows_the_key(serve, connect, caplog):
    caplog.set_level(logging.DEBUG)
    transport = connect(serve([RESET], reply(401), reply(204)))

    error_of(transport)
    error_of(transport)
    transport.request("DELETE", "/processes/web%20--token%3Dabc")

    assert "GET /api/v1/processes" in caplog.text
    assert '"DELETE /api/v1/processes/web --token=*** HTTP/1.1" 204' in caplog.text
    assert KEY not in caplog.text


@pytest.mark.parametrize("script", [[HANG], [OK[:-4], HANG]], ids=["headers", "body"])
def test_ctrl_c_during_a_call_propagates_without_showing_the_key(serve, connect, script):
    def press(_):
        threading.Timer(0.1, signal.pthread_kill, (main.ident, signal.SIGINT)).start()
        return script

    main = threading.main_thread()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt) as raised:
            connect(serve(answer=press)).request("GET", "/processes")
    finally:
        signal.signal(signal.SIGINT, before)

    assert_key_is_not_seen(raised.value)
    assert_no_frame_below_request(raised.value)


def test_pytest_timeout_exception_during_a_call_propagates_unchanged(connect, monkeypatch):
    # pytest-timeout raises this exception from a signal handler, at any point of the code.
    monkeypatch.setattr(
        urllib3.HTTPConnectionPool, "urlopen", lambda *_, **__: pytest.fail("Timeout >1.0s")
    )

    with pytest.raises(pytest.fail.Exception, match=r"Timeout >1\.0s") as raised:
        connect("http://127.0.0.1:1").request("GET", "/processes")

    assert_no_frame_below_request(raised.value)
