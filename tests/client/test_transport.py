"""Test a call over a real socket: its result, its error, and its time limit."""

import contextlib
import gzip
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from unittest import mock

import freezegun
import pytest
import urllib3
from urllib3 import exceptions as http

from pytest_tlsandbox.client.call_deadline import Call
from pytest_tlsandbox.errors import InfrastructureError, SandboxUnreachable
from tests.client.conftest import KEY
from tests.client.servers import CLOSE, HANG, OPEN_ENDED, READ, RESET, chunk, drip, reply

BODY = b'{"processes": []}'
OK = reply(200, BODY)
CHUNKED = reply(Content_Length=None, Transfer_Encoding="chunked")
EARLY_HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n"


def get(transport, path="/processes", limit=5):
    return transport.request("GET", path, limit=limit).body


def follow(transport):
    return list(transport.stream("/follow", Call(transport.clock.monotonic() + 30)))


def error_of(transport, method="GET", limit=5):
    """Return the error of a call; its traceback must not contain the frames that use the key."""
    with pytest.raises(InfrastructureError) as raised:
        transport.request(method, "/processes", limit=limit)
    assert [entry.name for entry in raised.traceback][1:] == ["request"]
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__
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
    "204": ([reply(204)], b"", True),
}


@pytest.mark.parametrize(("script", "body", "announced"), GOOD.values(), ids=GOOD)
def test_successful_response_is_returned(serve, connect, script, body, announced):
    answer = connect(serve(script)).request("GET", "/processes", limit=5)

    assert (answer.body, answer.announced) == (body, announced)


def test_calls_share_one_connection_and_send_no_cookies(serve, connect):
    server = serve(reply(200, BODY, Set_Cookie="seen=1; Path=/"))
    transport = connect(server)

    for path in ("/processes", "/processes", "/processes/41/output"):
        get(transport, path)

    assert [request.headers.get("cookie") for request in server.requests] == [None] * 3
    assert server.connections == 1


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


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(("script", "expected"), BAD.values(), ids=BAD)
def test_error_of_an_incomplete_response_states_why(serve, connect, script, expected, method):
    assert_unreachable(error_of(connect(serve(script)), method), *expected)


FAILED = [
    ("http://{unused}", "the connection was refused", "refused"),
    ("http://sandbox.invalid", "its host name is not known", "no such host"),
    ("https://x.example", "the proxy of this environment (HTTPS_PROXY) does not answer", "proxy"),
]


@pytest.mark.parametrize(("url", "reason", "label"), FAILED)
def test_failed_connection_is_transient(connect, unused_url, monkeypatch, url, reason, label):
    unused = unused_url.removeprefix("http://")
    monkeypatch.setenv("HTTPS_PROXY", f"http://user:hunter2@{unused}")

    assert_unreachable(error_of(connect(url.format(unused=unused))), reason, label, (True, False))


NOT_DELIVERED = (
    http.ClosedPoolError, http.ConnectTimeoutError, http.NameResolutionError,
    http.NewConnectionError, http.ProxyError,
)  # fmt: skip
DELIVERED = (http.ProtocolError, http.ReadTimeoutError, http.ResponseNotChunked, http.TimeoutError)
FATES = {
    **dict.fromkeys(NOT_DELIVERED, (True, False)),
    **dict.fromkeys(DELIVERED, (True, True)),
    # The key cannot be sent (ValueError), or pytest-socket blocks the socket (RuntimeError).
    **dict.fromkeys((http.SSLError, ValueError, RuntimeError), (False, False)),
}
"""Whether an error is transient, and whether the request may have arrived."""
HTTP_ERRORS = [
    kind for kind in vars(http).values() if isinstance(kind, type) and issubclass(kind, http.HTTPError)
]  # fmt: skip


@pytest.mark.parametrize(
    "kind", dict.fromkeys([*FATES, *HTTP_ERRORS]), ids=lambda kind: kind.__name__
)
def test_every_network_exception_becomes_an_error_of_the_plugin(connect, monkeypatch, kind):
    methods = {"__init__": Exception.__init__, "__str__": lambda _: KEY}
    failing = mock.Mock(side_effect=type(kind.__name__, (kind,), methods))
    monkeypatch.setattr(urllib3.HTTPConnectionPool, "urlopen", failing)

    fault = error_of(connect("http://127.0.0.1:1"))

    assert type(fault) is SandboxUnreachable
    assert str(fault).startswith("my-sandbox cannot be reached: ")
    assert KEY not in f"{fault} {fault.label}"
    assert (fault.transient, fault.delivered) == FATES.get(kind, (False, True))


# TLS


def https(server):
    return server.url.replace("http:", "https:")


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_ca_bundle_from_the_environment_is_used(serve, connect, certificate, monkeypatch, variable):
    monkeypatch.setenv(variable, certificate.path)

    assert get(connect(serve(OK, tls=certificate.context))) == BODY


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
    """Make a call with a limit of 0.2 s; without a limit, the call would take at least 6 s."""
    start = time.clock_gettime(time.CLOCK_MONOTONIC)  # freezegun does not freeze this clock
    fault = error_of(transport, limit=0.2)
    assert 0.18 < time.clock_gettime(time.CLOCK_MONOTONIC) - start < 4
    assert type(fault) is SandboxUnreachable
    assert str(fault) == "my-sandbox did not answer within 0.2 s"
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


@pytest.mark.parametrize("script", SLOW.values(), ids=SLOW)
def test_slow_call_ends_at_its_time_limit(serve, connect, script):
    assert assert_ends_in_time(connect(serve(script))).delivered


def test_slow_call_over_tls_or_a_proxy_ends_in_time(serve, connect, certificate, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", certificate.path)
    monkeypatch.setenv("HTTPS_PROXY", serve(DRIPPING).url)
    hello = b"\x16\x03\x03\x40\x00" + b"\x02\x00\x3f\xfc" + bytes(99)

    assert_ends_in_time(connect(serve(DRIPPING, tls=certificate.context)))
    assert_ends_in_time(connect(https(serve(greeting=drip(hello, 0.1)))))
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


def test_aborting_a_call_does_not_mix_up_the_responses_of_other_calls(serve, connect):
    def answer(request):
        body = request.path.encode()
        return [OK[:-4], HANG] if b"hangs" in body else [0.02, reply(200, body)]

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
    assert get(transport, "/next") == b"/api/v1/next"


def test_watchdog_thread_ends_with_the_transport(serve, connect):
    transport = connect(serve(OK))
    get(transport)

    [thread] = [each for each in threading.enumerate() if each.name == "tlsandbox-watchdog"]
    assert thread.daemon
    transport.close()
    assert not thread.is_alive()


# Proxies and other settings of the environment


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2"])
def test_calls_to_loopback_bypass_the_proxy(serve, connect, monkeypatch, variable, host):
    server, proxy = serve(OK, host=host), serve(reply(502))
    monkeypatch.setenv(variable, proxy.url)
    transport = connect(server)

    assert (get(transport), b"".join(follow(transport))) == (BODY, BODY)
    assert proxy.requests == []


def test_hosts_in_the_no_proxy_variable_are_contacted_directly(serve, connect, monkeypatch):
    proxy = serve(OK)
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    monkeypatch.setenv("NO_PROXY", "sandbox.invalid")
    transport = connect("http://sandbox.invalid")

    assert error_of(transport).label == "no such host"
    assert proxy.requests == []


def test_proxy_variables_are_read_from_the_environment_once(serve, connect, monkeypatch):
    """A test may set a proxy for the program under test, which the plugin must ignore."""
    first, second = serve(reply(502)), serve(reply(502))
    transport = connect("https://sandbox.example")

    for proxy in (first, second):
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        error_of(transport)
        with pytest.raises(http.ProxyError):
            follow(transport)

    assert [request.path for request in first.requests] == ["sandbox.example:443"] * 4
    assert second.requests == []


# The second one is raised by pytest-timeout. A signal handler may raise either at any point.
@pytest.mark.parametrize("error", [KeyboardInterrupt(), pytest.fail.Exception("Timeout >1.0s")])
def test_interrupted_call_raises_without_frames_that_use_the_key(connect, monkeypatch, error):
    monkeypatch.setattr(urllib3.HTTPConnectionPool, "urlopen", mock.Mock(side_effect=error))

    with pytest.raises(type(error)) as raised:
        connect("http://127.0.0.1:1").request("GET", "/processes", limit=5)

    assert raised.value is error
    assert [entry.name for entry in raised.traceback][1:] == ["request"]
