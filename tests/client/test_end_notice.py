"""Test when the notice of an exit arrives, and that its stream leaves no thread behind."""

import asyncio
import signal
import threading
import tracemalloc
from itertools import count, repeat

import pytest

from pytest_tlsandbox.async_sandbox import AsyncSandbox
from pytest_tlsandbox.client.call_deadline import Call
from pytest_tlsandbox.client.end_notice import EndNotice
from tests.client.conftest import KEY
from tests.client.servers import READ, chunk, connected, reply
from tests.client.streams import END, ENDING, ENDLESS, STREAM, USELESS
from tests.support import raw

PATH = "/processes/41/stderr/follow"


@pytest.fixture
def follow(serve, connect):
    """Return a function that follows a process on a server that plays a script."""
    notices = []

    def start(script, wake=lambda: None, limit=30, **options):
        transport = connect(serve(script, **options))
        notices.append(EndNotice(transport, 41, limit, wake))
        return notices[-1]

    yield start
    for notice in notices:
        notice.close()
    wait_for_threads()


def stream(transport, path=PATH, limit=30):
    return list(transport.stream(path, Call(transport.clock.monotonic() + limit)))


def wait_for_threads():
    for thread in threading.enumerate():
        if thread.name == "tlsandbox-end-notice":
            thread.join(10)
            assert not thread.is_alive()


@pytest.mark.parametrize("script", ENDING.values(), ids=ENDING)
def test_exit_notice_arrives_whenever_the_output_stream_ends(follow, script):
    woken = threading.Event()
    notice = follow(script, wake=woken.set)

    assert woken.wait(10)
    assert notice.came
    assert not notice.live


@pytest.mark.parametrize("script", USELESS.values(), ids=USELESS)
def test_exit_notice_never_arrives_if_the_output_stream_is_refused_or_too_long(follow, script):
    notice = follow(script)

    wait_for_threads()
    assert not notice.came
    assert not notice.live


def test_exit_notice_never_arrives_if_the_certificate_is_not_trusted(follow, certificate):
    notice = follow(ENDING["eof"], tls=certificate.context)

    wait_for_threads()
    assert not notice.came


@pytest.mark.parametrize("script", ENDLESS.values(), ids=ENDLESS)
def test_data_of_a_stream_does_not_trigger_the_exit_notice(follow, script):
    woken = threading.Event()
    follow(script, wake=woken.set)

    assert not woken.wait(0.2)


@pytest.mark.parametrize("script", ENDLESS.values(), ids=ENDLESS)
def test_closing_the_output_stream_stops_its_thread(follow, script):
    follow(script).close()

    wait_for_threads()


@pytest.mark.parametrize("script", ENDLESS.values(), ids=ENDLESS)
def test_stream_ends_at_its_time_limit(follow, script):
    follow(script, limit=0.2)

    wait_for_threads()


def test_memory_does_not_grow_with_the_output_of_the_process(follow):
    sent = count(1)
    lines = chunk(b"data: 1\n" * 2**17)
    script = (next(sent) and part for part in [STREAM, *repeat(lines, 100)])
    tracemalloc.start()
    follow(script)

    wait_for_threads()

    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * 2**20
    assert next(sent) < 50


def test_stream_request_sends_the_key_and_asks_for_uncompressed_data(serve, connect):
    server = serve([STREAM, chunk(END), chunk(b"")])
    transport = connect(server)

    assert stream(transport, "/x") == [b"", END]
    assert server.request.headers.items() >= {
        ("accept", "text/event-stream"),
        ("accept-encoding", "identity"),
        ("authorization", f"Bearer {KEY}"),
    }


# Proxies


def test_stream_uses_the_proxy_from_the_environment_variables(serve, connect, monkeypatch):
    proxy = serve(reply(502))
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)

    with pytest.raises(Exception, match="Tunnel connection failed"):
        stream(connect("https://sandbox.example"))

    assert proxy.request.path == "sandbox.example:443"


@pytest.mark.parametrize("is_local", [True, False])
def test_stream_bypasses_the_proxy_for_loopback_addresses_and_hosts_in_no_proxy(
    serve, connect, monkeypatch, unused_url, is_local
):
    proxy = serve(reply(502))
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    monkeypatch.setenv("NO_PROXY", "sandbox.invalid")
    transport = connect(unused_url if is_local else "http://sandbox.invalid")

    with pytest.raises(Exception, match=r"Failed to establish a new connection|Failed to resolve"):
        stream(transport, limit=5)

    assert proxy.requests == []


# Cancellation of a wait that follows a process while it lists the processes


class Silent:
    """Lists a process until it is followed; then sends nothing, and records who hangs up."""

    def __init__(self):
        names = "followed", "listed", "stream closed", "list closed"
        self.happened = {name: threading.Event() for name in names}

    def __call__(self, request):
        if request.path.endswith("/follow"):
            self.happened["followed"].set()
            return self._wait_for_hang_up("stream closed", STREAM)
        if not self.happened["followed"].is_set():
            return reply(200, {"processes": [raw(41)]})
        self.happened["listed"].set()
        return self._wait_for_hang_up("list closed")

    def _wait_for_hang_up(self, name, *head):
        yield from head
        try:
            yield READ
        finally:
            self.happened[name].set()


def cancel_task(box, listed):
    async def main():
        task = asyncio.create_task(AsyncSandbox(box).wait_for_exit(41, timeout=60))
        await asyncio.to_thread(listed.wait, 20)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(main())


def interrupt(number, handler, error):
    """Return a function that waits until a signal handler raises an error, as Ctrl-C does."""

    def wait(box, listed):
        def send():
            assert listed.wait(20)
            signal.pthread_kill(threading.main_thread().ident, number)

        before = signal.signal(number, handler)
        try:
            threading.Thread(target=send).start()
            with pytest.raises(error):
                box.wait_for_exit(41, timeout=60)
        finally:
            signal.signal(number, before)

    return wait


CANCELLED_BY = {
    "asyncio": cancel_task,
    "Ctrl-C": interrupt(signal.SIGINT, signal.default_int_handler, KeyboardInterrupt),
    "pytest-timeout": interrupt(
        signal.SIGALRM, lambda *_: pytest.fail("Timeout >1.0s"), pytest.fail.Exception
    ),
}


@pytest.mark.parametrize("cancelled_by", CANCELLED_BY.values(), ids=CANCELLED_BY)
def test_cancelled_wait_closes_both_connections_at_once(serve, cancelled_by):
    server = Silent()
    with connected(serve(answer=server)) as box:
        cancelled_by(box, server.happened["listed"])

        # A call may take 5 s, and the stream 60 s.
        assert server.happened["list closed"].wait(3)
        assert server.happened["stream closed"].wait(3)
        wait_for_threads()
