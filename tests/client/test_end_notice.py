"""Test when the notice of an exit arrives, and that its stream leaves no thread behind."""

import signal
import threading

import pytest

from pytest_tlsandbox.client.end_notice import EndNotice
from tests.client.conftest import KEY
from tests.client.servers import READ, connected, reply
from tests.client.streams import ENDING, ENDLESS, STREAM, USELESS
from tests.support import raw


@pytest.fixture
def follow(serve, connect, request):
    """Return a function that follows a process on a server that plays a script."""

    def start(script, wake=lambda: None, limit=30):
        notice = EndNotice(connect(serve(script)), 41, limit, wake)
        request.addfinalizer(notice.close)
        return notice

    yield start
    wait_for_threads()


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


@pytest.mark.parametrize("script", ENDLESS.values(), ids=ENDLESS)
def test_data_does_not_trigger_the_notice_and_closing_the_stream_ends_its_thread(follow, script):
    woken = threading.Event()
    notice = follow(script, wake=woken.set)

    assert not woken.wait(0.1)
    notice.close()
    wait_for_threads()


@pytest.mark.parametrize("script", ENDLESS.values(), ids=ENDLESS)
def test_stream_ends_at_its_time_limit(follow, script):
    follow(script, limit=0.1)

    wait_for_threads()


def test_stream_request_sends_the_key_and_asks_for_uncompressed_data(serve, connect):
    server = serve(ENDING["eof"])
    EndNotice(connect(server), 41, 30, lambda: None)

    wait_for_threads()
    assert server.request.path == "/api/v1/processes/41/stderr/follow"
    assert server.request.headers.items() >= {
        ("accept", "text/event-stream"),
        ("accept-encoding", "identity"),
        ("authorization", f"Bearer {KEY}"),
    }


def test_interrupted_wait_closes_both_connections_at_once(serve):
    """Ctrl-C and pytest-timeout raise an error in a signal handler."""
    names = "followed", "listed", "stream closed", "list closed"
    happened = {name: threading.Event() for name in names}

    def until_hang_up(name, *head):
        yield from head
        try:
            yield READ
        finally:
            happened[name].set()

    def answer(request):
        if request.path.endswith("/follow"):
            happened["followed"].set()
            return until_hang_up("stream closed", STREAM)
        if not happened["followed"].is_set():
            return reply(200, {"processes": [raw(41)]})
        happened["listed"].set()
        return until_hang_up("list closed")

    def interrupt():
        assert happened["listed"].wait(20)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with connected(serve(answer=answer)) as box:
        with pytest.raises(KeyboardInterrupt):
            box.wait_for_exit(41, timeout=60)

        # A call may take 5 s, and the stream 60 s.
        assert happened["list closed"].wait(3)
        assert happened["stream closed"].wait(3)
        wait_for_threads()
