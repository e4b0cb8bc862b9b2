"""One call over a real socket: its result, its time limit, and which data reports can show."""

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
from requests import exceptions as http

from pytest_tlsandbox.errors import ContractViolation, InfrastructureError, SandboxUnreachable
from tests.client.conftest import KEY
from tests.client.servers import CLOSE, HANG, READ, RESET, chunk, drip, reply
from tests.support import sample_of

BODY = b'{"processes": []}'
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
OPEN_ENDED = b"HTTP/1.1 200 OK\r\n\r\n"
EARLY_HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n"


def error_of(transport, method="GET", **options):
    with pytest.raises(InfrastructureError) as raised:
        transport.request(method, "/processes", **options)
    return raised.value


def assert_unreachable(fault, reason, label, fate):
    assert type(fault) is SandboxUnreachable
    assert str(fault) == f"my-sandbox cannot be reached: {reason}"
    assert fault.label == label
    assert (fault.transient, fault.delivered) == fate


# Good responses

GOOD = {
    "length": ([reply(200, BODY)], BODY, True),
    "chunked": ([CHUNKED, chunk(BODY[:4]), chunk(BODY[4:]), b"0\r\n\r\n"], BODY, True),
    "open-ended": ([OPEN_ENDED, BODY, CLOSE], BODY, False),
    "gzip": ([reply(200, gzip.compress(BODY), Content_Encoding="gzip")], BODY, True),
    "early hints": ([EARLY_HINTS, EARLY_HINTS, reply(200, BODY)], BODY, True),
    "201": ([reply(201, BODY)], BODY, True),
    "204": ([reply(204)], b"", True),
}


@pytest.mark.parametrize(("script", "body", "announced"), GOOD.values(), ids=GOOD)
def test_response_is_bytes_and_whether_they_are_known_to_be_all(
    serve, connect, script, body, announced
):
    answer = connect(serve(script)).request("GET", "/processes")

    assert answer.body == body
    assert answer.announced is announced


def test_one_connection_serves_many_calls(serve, connect):
    server = serve(reply(200, BODY))
    transport = connect(server)

    for _ in range(5):
        transport.request("GET", "/processes")

    assert (len(server.requests), server.connections) == (5, 1)


def test_redirect_is_not_followed(serve, connect):
    elsewhere = serve(reply(200, BODY))
    server = serve(reply(301, Location=elsewhere.url + "/api/v1/processes"))

    fault = error_of(connect(server))

    assert type(fault) is ContractViolation
    assert fault.label == "301"
    assert len(server.requests) == 1
    assert elsewhere.requests == []


DATES = {"Retry_After": "Sun, 06 Nov 1994 08:49:57 GMT", "Date": "Sun, 06 Nov 1994 08:49:37 GMT"}


@pytest.mark.parametrize(("headers", "seconds"), [({"Retry_After": "7"}, 7.0), (DATES, 20.0)])
def test_error_status_is_raised_with_the_time_that_the_server_asks_for(
    serve, connect, headers, seconds
):
    fault = error_of(connect(serve(reply(429, {"error": "slow down"}, **headers))))

    assert type(fault) is SandboxUnreachable
    assert str(fault) == "my-sandbox answered 429: slow down"
    assert (fault.transient, fault.delivered, fault.retry_after) == (True, False, seconds)


# Bad responses: the reason, the label, and (transient, delivered).

CUT = ("the answer was cut short", "cut short", (True, True))
RESET_BY_PEER = ("the connection was reset", "reset", (True, True))
UNREADABLE = ("the answer is compressed and cannot be read", "bad encoding", (False, True))
BROKEN_GZIP = gzip.compress(BODY)[:10] + b"\xff" * 20
BAD = {
    "reset before headers": ([RESET], RESET_BY_PEER),
    "closed before headers": ([CLOSE], RESET_BY_PEER),
    "reset in headers": ([b"HTTP/1.1 200 OK\r\nContent-Le", RESET], RESET_BY_PEER),
    "reset in body": ([reply(200, BODY)[:-4], RESET], RESET_BY_PEER),
    "cut in body": ([reply(200, BODY)[:-4], CLOSE], CUT),
    "cut in a chunk": ([CHUNKED, chunk(BODY)[:-9], CLOSE], CUT),
    "cut between chunks": ([CHUNKED, chunk(BODY), CLOSE], CUT),
    "not gzip": ([reply(200, BODY, Content_Encoding="gzip")], UNREADABLE),
    "broken gzip": ([reply(200, BROKEN_GZIP, Content_Encoding="gzip")], UNREADABLE),
}


@pytest.mark.parametrize(("script", "expected"), BAD.values(), ids=BAD)
def test_error_of_an_incomplete_response_names_the_cause(serve, connect, script, expected):
    assert_unreachable(error_of(connect(serve(script))), *expected)


def test_service_that_does_not_speak_http_is_unreachable(serve, connect):
    fault = error_of(connect(serve([b"SSH-2.0-OpenSSH_9.6\r\n", CLOSE])))

    assert type(fault) is SandboxUnreachable


def test_port_where_nobody_listens_refuses(connect, unused_url):
    fault = error_of(connect(unused_url))

    assert_unreachable(fault, "the connection was refused", "refused", (True, False))


def test_unknown_host_name_is_transient(connect, monkeypatch):
    def unknown(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)

    fault = error_of(connect("https://abc.sandbox.tensorlake.ai"))

    assert_unreachable(fault, "its host name is not known", "no such host", (True, False))


def test_blocked_socket_is_final(serve, connect, monkeypatch):
    class SocketBlockedError(RuntimeError):
        """The error of pytest-socket."""

    class GuardedSocket(socket.socket):
        def __new__(cls, *_, **__):
            raise SocketBlockedError("A test tried to use socket.socket.")

    transport = connect(serve(reply()))
    with monkeypatch.context() as patched:
        patched.setattr(socket, "socket", GuardedSocket)
        fault = error_of(transport)

    name = "SocketBlockedError"
    reason = f"{name}: A test tried to use socket.socket."
    assert_unreachable(fault, reason, name, (False, False))


def subclasses(kind):
    for below in kind.__subclasses__():
        yield below
        yield from subclasses(below)


# Of the errors of requests: may it pass, may the request have arrived? All others are (False, True).
FATES = {
    "ChunkedEncodingError": (True, True),
    "ConnectTimeout": (True, False),
    "ConnectionError": (True, True),
    "ProxyError": (True, False),
    "ReadTimeout": (True, True),
    "SSLError": (False, False),
    "Timeout": (True, True),
}
OF_REQUESTS = {
    kind
    for kind in [http.RequestException, *subclasses(http.RequestException)]
    if kind.__module__.startswith("requests")
}


@pytest.mark.parametrize("kind", sorted(OF_REQUESTS, key=lambda kind: kind.__name__))
def test_every_error_of_requests_becomes_one_of_ours(connect, monkeypatch, kind):
    def fail(*_, **__):
        raise kind("Bearer " + KEY, KEY, 0) if kind is http.JSONDecodeError else kind(KEY)

    monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", fail)

    fault = error_of(connect("http://127.0.0.1:1"))

    assert type(fault) is SandboxUnreachable
    assert str(fault).startswith("my-sandbox cannot be reached: ")
    assert KEY not in f"{fault} {fault.label}"
    assert (fault.transient, fault.delivered) == FATES.get(kind.__name__, (False, True))


# TLS


def secure(serve, connect, certificate, *scripts):
    """Connect, and trust the server's certificate."""
    transport = connect(serve(*scripts, tls=certificate.context))
    transport._session.verify = certificate.path
    return transport


def test_a_certificate_that_is_trusted_is_accepted(serve, connect, certificate):
    transport = secure(serve, connect, certificate, reply(200, BODY))

    assert transport.request("GET", "/processes").body == BODY


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_a_certificate_that_the_environment_names_is_trusted_on_this_machine_too(
    serve, connect, certificate, monkeypatch, variable
):
    monkeypatch.setenv(variable, certificate.path)
    transport = connect(serve(reply(200, BODY), tls=certificate.context))

    assert transport.request("GET", "/processes").body == BODY


def assert_final_tls_fault(fault, reason):
    assert_unreachable(fault, f"TLS failed ({reason})", "TLS", (False, False))


def test_a_self_signed_certificate_is_final(serve, connect, certificate):
    server = serve(reply(), tls=certificate.context)

    assert_final_tls_fault(error_of(connect(server)), "self-signed certificate")
    assert server.requests == []


def test_a_certificate_of_another_host_is_final(serve, connect, certificate_of_another):
    transport = secure(serve, connect, certificate_of_another, reply())

    assert_final_tls_fault(error_of(transport), "the certificate is for another host")


def test_https_to_a_server_of_plain_http_is_final(serve, connect):
    server = serve(greeting=[READ, b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", CLOSE])

    fault = error_of(connect(server.url.replace("http:", "https:")))

    assert_final_tls_fault(fault, "the other side does not speak TLS")


def test_a_peer_that_hangs_up_in_the_handshake_may_come_back(serve, connect):
    server = serve(greeting=[READ, CLOSE])

    fault = error_of(connect(server.url.replace("http:", "https:")))

    assert_unreachable(fault, "TLS failed (the other side hung up)", "TLS", (True, False))


# Time

LATE = "my-sandbox did not answer within 0.5 s"


def assert_ends_in_time(transport):
    """Each of these scripts takes 6 s or more."""
    start = time.monotonic()
    fault = error_of(transport, limit=0.5)
    assert 0.45 < time.monotonic() - start < 4
    assert type(fault) is SandboxUnreachable
    assert str(fault) == LATE
    assert fault.label == "no answer"
    assert fault.transient
    return fault


SPACES = b" " * 60
SLOW = {
    "no headers": [HANG],
    "half of a body": [reply(200, BODY)[:-4], HANG],
    "no last chunk": [CHUNKED, chunk(BODY), HANG],
    "a byte a second": drip(reply(200, BODY), 1),
    "dripping headers": drip(reply(200, BODY, X=SPACES.decode()), 0.1),
    "dripping body": [reply(200, SPACES)[:-60], *drip(SPACES, 0.1)],
    "dripping chunks": [CHUNKED, *drip(chunk(b"x") * 99, 0.1)],
    "dripping without an end": [OPEN_ENDED, *drip(SPACES, 0.1)],
    "dripping before it closes": [reply(200, SPACES, Connection="close")[:-60], *drip(SPACES, 0.1)],
}


@pytest.mark.parametrize(
    "script",
    sample_of(
        SLOW,
        "no headers",
        "no last chunk",
        "a byte a second",
        "dripping chunks",
        "dripping without an end",
    ),
)
def test_call_ends_at_its_limit(serve, connect, script):
    assert assert_ends_in_time(connect(serve(script))).delivered


def test_a_call_over_tls_ends_at_its_limit(serve, connect, certificate):
    assert_ends_in_time(secure(serve, connect, certificate, drip(reply(200, BODY), 0.1)))


def test_a_dripping_handshake_ends_at_the_limit(serve, connect):
    server = serve(greeting=drip(b"\x16\x03\x03\x40\x00" + b"\x02\x00\x3f\xfc" + bytes(99), 0.1))

    assert_ends_in_time(connect(server.url.replace("http:", "https:")))


def test_a_call_through_a_proxy_ends_at_its_limit(serve, connect, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", serve(drip(reply(200, BODY), 0.1)).url)

    assert_ends_in_time(connect("http://sandbox.example"))


def test_call_ends_at_its_limit_where_time_stands_still(serve, connect):
    transport = connect(serve(SLOW["dripping body"]))
    start = time.clock_gettime(time.CLOCK_MONOTONIC)

    with freezegun.freeze_time("2024-03-09"):
        assert str(error_of(transport, limit=0.5)) == LATE

    assert time.clock_gettime(time.CLOCK_MONOTONIC) - start < 5


def test_a_call_that_never_got_a_connection_was_not_delivered(connect):
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        try:
            for sock in waiting:
                sock.setblocking(False)
                sock.connect_ex(full.getsockname())

            fault = error_of(connect(f"http://127.0.0.1:{full.getsockname()[1]}"), limit=0.3)
        finally:
            for sock in waiting:
                sock.close()

    assert type(fault) is SandboxUnreachable
    assert fault.transient
    assert not fault.delivered


@pytest.mark.parametrize("limit", [0.0, -1.0])
def test_a_call_with_no_time_left_is_not_answered(serve, connect, limit):
    fault = error_of(connect(serve(reply(200, BODY))), limit=limit)

    assert type(fault) is SandboxUnreachable
    assert fault.label == "no answer"
    assert fault.transient


def test_call_after_a_cut_one_gets_its_own_answer(serve, connect):
    server = serve([reply(200, BODY)[:-4], HANG], reply(200, b'{"second": 1}'))
    transport = connect(server)

    error_of(transport, limit=0.1)

    assert transport.request("GET", "/processes").body == b'{"second": 1}'
    assert server.connections == 2


def test_a_call_that_is_cut_does_not_touch_those_beside_it(serve, connect):
    scripts = {"/api/v1/hangs": [HANG], "/api/v1/slow": [0.4, reply(200, b"slow")]}
    server = serve(answer=lambda request: scripts[request.path])
    transport = connect(server)

    with ThreadPoolExecutor(2) as pool:
        slow = pool.submit(transport.request, "GET", "/slow")
        hangs = pool.submit(transport.request, "GET", "/hangs", limit=0.1)

    assert slow.result().body == b"slow"
    assert str(hangs.exception()) == "my-sandbox did not answer within 0.1 s"


def test_sixteen_threads_share_a_transport_and_each_gets_its_own_answer(serve, connect):
    server = serve(answer=lambda request: [reply(200, request.path.encode())])
    transport = connect(server)
    together = threading.Barrier(16)

    def ask(worker):
        together.wait(10)
        return [transport.request("GET", f"/{worker}-{n}").body for n in range(10)]

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(ask, range(16)))

    assert answers == [
        [f"/api/v1/{worker}-{n}".encode() for n in range(10)] for worker in range(16)
    ]


def watchdogs():
    return {thread for thread in threading.enumerate() if thread.name == "tlsandbox-watchdog"}


def test_one_thread_watches_and_ends_when_the_transport_is_closed(serve, connect):
    before = watchdogs()
    server = serve(reply(200, BODY))
    transport = connect(server)
    assert watchdogs() == before, "no thread before the first call"

    for _ in range(3):
        transport.request("GET", "/processes")
    (thread,) = watchdogs() - before
    assert thread.daemon
    transport.close()
    thread.join(5)

    assert not thread.is_alive()


def test_closing_twice_or_before_any_call_succeeds(connect):
    transport = connect("http://127.0.0.1:1")

    transport.close()
    transport.close()


# Proxies and other settings of the environment


@pytest.fixture
def netrc(tmp_path, monkeypatch):
    path = tmp_path / "netrc"
    hosts = ("127.0.0.1", "127.0.0.2", "sandbox.example")
    path.write_text("".join(f"machine {host} login user password pw\n" for host in hosts))
    path.chmod(0o600)
    monkeypatch.setenv("NETRC", str(path))


@pytest.mark.usefixtures("netrc")
@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2"])
def test_the_key_wins_over_netrc(serve, connect, host):
    server = serve(reply(200, BODY), host=host)
    assert requests.utils.get_netrc_auth(server.url) == ("user", "pw")

    connect(server).request("GET", "/processes")

    assert server.request.headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.usefixtures("netrc")
def test_the_key_wins_over_netrc_on_another_machine(serve, connect, monkeypatch):
    proxy = serve(reply(200, BODY))
    monkeypatch.setenv("HTTP_PROXY", proxy.url)

    connect("http://sandbox.example").request("GET", "/processes")

    assert proxy.request.line == "GET http://sandbox.example/api/v1/processes HTTP/1.1"
    assert proxy.request.headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2"])
def test_proxy_of_the_environment_is_not_used_for_this_machine(
    serve, connect, monkeypatch, variable, host
):
    server, proxy = serve(reply(200, BODY), host=host), serve(reply(502))
    monkeypatch.setenv(variable, proxy.url)

    assert connect(server).request("GET", "/processes").body == BODY
    assert proxy.requests == []


def test_proxy_is_not_used_for_an_excepted_host(serve, connect, monkeypatch):
    proxy = serve(reply(200, BODY))
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    monkeypatch.setenv("NO_PROXY", "sandbox.invalid")

    assert error_of(connect("http://sandbox.invalid")).label == "no such host"
    assert proxy.requests == []


def test_the_environment_is_read_once_for_each_connection(serve, connect, monkeypatch):
    """A test may set a proxy for the program under test, which the plugin must ignore."""
    first, second = serve(reply(200, BODY)), serve(reply(200, BODY))
    monkeypatch.setenv("HTTP_PROXY", first.url)
    transport = connect("http://sandbox.example")
    transport.request("GET", "/processes")
    monkeypatch.setenv("HTTP_PROXY", second.url)

    transport.request("GET", "/processes")
    transport.request("GET", "/processes/41/output")

    assert (len(first.requests), second.requests) == (3, [])


def test_no_cookie_is_kept_as_the_official_sdk_keeps_none(serve, connect):
    server = serve(reply(200, BODY, Set_Cookie="seen=1; Path=/"))
    transport = connect(server)

    for path in ("/processes", "/processes", "/processes/41/output"):
        transport.request("GET", path)

    assert [request.headers.get("cookie") for request in server.requests] == [None] * 3


def test_proxy_that_refuses_may_come_back(connect, monkeypatch, unused_url):
    monkeypatch.setenv("HTTPS_PROXY", unused_url.replace("//", "//user:hunter2@"))

    fault = error_of(connect("https://sandbox.example"))

    reason = "the proxy of this environment (HTTPS_PROXY) does not answer"
    assert_unreachable(fault, reason, "proxy", (True, False))


# What can be seen of the key


def seen_in(error):
    """Return all that a report could show of an error: messages, and locals of other frames."""
    shown = error
    while shown is not None:
        yield repr(shown)
        yield repr(vars(shown))
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


def test_the_check_of_frames_sees_a_key_in_the_frames_of_requests(serve):
    server = serve([RESET])

    with pytest.raises(requests.ConnectionError) as raised:
        requests.get(server.url, headers={"Authorization": f"Bearer {KEY}"}, timeout=5)

    with pytest.raises(AssertionError):
        assert_key_is_not_seen(raised.value)


FAILING = {
    "401": [reply(401, {"message": "invalid credentials"})],
    "404": [reply(404)],
    "502": [reply(502)],
    "redirect": [reply(302, Location="http://127.0.0.1:1/")],
    "hangs": [HANG],
    "drips": drip(reply(200, BODY), 0.05),
    "reset": [RESET],
    "cut": [reply(200, BODY)[:-4], CLOSE],
    "chunk cut": [CHUNKED, chunk(BODY), CLOSE],
    "gzip": [reply(200, BODY, Content_Encoding="gzip")],
    "no http": [b"SSH-2.0-OpenSSH_9.6\r\n", CLOSE],
}


@pytest.mark.parametrize("script", FAILING.values(), ids=FAILING)
@pytest.mark.parametrize(("method", "body"), [("GET", None), ("POST", {"command": "a"})])
def test_no_frame_of_a_failing_call_shows_the_key(serve, connect, script, method, body):
    error = error_of(connect(serve(script)), method, json=body, limit=0.2)

    assert_key_is_not_seen(error)
    assert_no_frame_below_request(error)


def test_no_frame_of_a_call_that_cannot_connect_shows_the_key(serve, connect, certificate):
    secured = serve(reply(), tls=certificate.context)
    for place in ("http://127.0.0.1:1", "https://127.0.0.1:1", secured):
        assert_key_is_not_seen(error_of(connect(place)))


@pytest.mark.parametrize(
    "key", ["sentinel\nsentinel", "sentinel\u2026sentinel", "sentinel sentinel"]
)
def test_key_that_cannot_be_sent_is_not_shown(serve, connect, key):
    assert_key_is_not_seen(error_of(connect(serve(reply(401)), key=key)), "sentinel")


@pytest.mark.parametrize("key", [KEY, "plain-sentinel"])
@pytest.mark.parametrize("status", [400, 401, 403, 500])
def test_key_that_the_server_repeats_is_not_shown(serve, connect, status, key):
    server = serve(reply(status, {"error": f"'{key}' is not a key", "code": "X"}))

    assert_key_is_not_seen(error_of(connect(server, key=key)), key)


def test_the_log_does_not_show_the_key(serve, connect, caplog):
    caplog.set_level(logging.DEBUG)
    transport = connect(serve([RESET], reply(401), reply(200, BODY)))

    error_of(transport)
    error_of(transport)
    transport.request("GET", "/processes")

    assert "GET /api/v1/processes" in caplog.text
    assert KEY not in caplog.text


def test_the_log_shows_the_name_of_a_process_masked(serve, connect, caplog):
    caplog.set_level(logging.DEBUG)
    transport = connect(serve([reply(204)], [reply(204)]))

    transport.request("DELETE", "/processes/web%20--token%3Dabc")
    transport.request("DELETE", "/processes/web%20%2541")

    assert '"DELETE /api/v1/processes/web --token=*** HTTP/1.1" 204' in caplog.text
    assert '"DELETE /api/v1/processes/web%20%2541 HTTP/1.1" 204' in caplog.text


def test_a_transport_shows_its_sandbox_only(connect):
    assert repr(connect("http://127.0.0.1:1")) == "<Transport to my-sandbox>"


@pytest.mark.parametrize("script", [[HANG], [reply(200, BODY)[:-4], HANG]], ids=["headers", "body"])
def test_a_ctrl_c_during_a_call_comes_out_and_shows_no_key(serve, connect, script):
    main = threading.main_thread().ident
    assert main is not None
    assert threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def press(_):
        threading.Timer(0.1, signal.pthread_kill, (main, signal.SIGINT)).start()
        return script

    transport = connect(serve(answer=press))
    try:
        with pytest.raises(KeyboardInterrupt) as raised:
            transport.request("GET", "/processes")
    finally:
        signal.signal(signal.SIGINT, before)

    assert_key_is_not_seen(raised.value)
    assert_no_frame_below_request(raised.value)


def test_timeout_of_pytest_passes_through_unchanged(connect, monkeypatch):
    # pytest-timeout raises it from a signal handler, at any point of the code.
    def fail(*_, **__):
        pytest.fail("Timeout >1.0s")

    monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", fail)

    with pytest.raises(pytest.fail.Exception, match=r"Timeout >1\.0s") as raised:
        connect("http://127.0.0.1:1").request("GET", "/processes")

    assert_no_frame_below_request(raised.value)
