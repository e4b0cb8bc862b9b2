"""Test when the notice of an exit arrives, and that its stream leaves no thread behind."""

import threading
from functools import partial

import pytest

from pytest_tlsandbox.client.end_notice import EndNotice
from tests.client.conftest import KEY
from tests.client.servers import CLOSE, HANG, RESET, chunk, reply

STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
OPEN_ENDED = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
LINE = b'event: output\ndata: {"line": "event: eof", "timestamp": 0}\n\n'
END = b"event: eof\ndata: {}\n\n"


@pytest.fixture
def follow(serve, connect):
    """Return a function that follows a process on a server that plays a script."""
    notices = []

    def start(*script, wake=lambda: None):
        transport = connect(serve([*script]))
        path = "/processes/41/stderr/follow"
        notices.append(EndNotice(partial(transport.stream, path, 30), wake))
        return notices[-1]

    yield start
    for notice in notices:
        notice.close()
    wait_for_threads()


def wait_for_threads():
    for thread in threading.enumerate():
        if thread.name == "tlsandbox-end-notice":
            thread.join(10)
            assert not thread.is_alive()


ENDS = {
    "eof": [STREAM, chunk(LINE), chunk(END), HANG],
    "eof in two parts": [STREAM, chunk(LINE + END[:5]), chunk(END[5:]), HANG],
    "eof without chunks": [OPEN_ENDED, LINE, END, HANG],
    "eof with other line ends": [STREAM, chunk(b"event:eof\r\ndata:{}\r\n\r\n"), HANG],
    "no eof": [STREAM, chunk(LINE), chunk(b"")],
    "cut by a proxy": [STREAM, chunk(LINE), CLOSE],
    "reset": [STREAM, chunk(LINE), RESET],
    "HTML": [reply(200, b"<html>Sign in</html>")],
    "more than 1 MiB": [STREAM, chunk(b"x" * (2**20 + 1)), HANG],
}


@pytest.mark.parametrize("script", ENDS.values(), ids=ENDS)
def test_exit_notice_arrives_whenever_the_output_stream_ends(follow, script):
    woken = threading.Event()
    notice = follow(*script, wake=woken.set)

    assert woken.wait(10)
    assert notice.came
    assert not notice.live


REFUSALS = {
    "401": reply(401),
    "404": reply(404, b"{}"),
    "502": reply(502, b"<html>"),
    "redirect": reply(302, Location="http://127.0.0.1:9/"),
    "no HTTP": b"SSH-2.0-OpenSSH\r\n",
}


@pytest.mark.parametrize("answer", REFUSALS.values(), ids=REFUSALS)
def test_exit_notice_never_arrives_if_the_server_refuses_the_output_stream(follow, answer):
    notice = follow(answer, CLOSE)

    wait_for_threads()
    assert not notice.came
    assert not notice.live


def test_output_of_the_process_does_not_trigger_the_exit_notice(follow):
    woken = threading.Event()
    follow(STREAM, chunk(LINE * 3), HANG, wake=woken.set)

    assert not woken.wait(0.2)


@pytest.mark.parametrize("script", [[HANG], [STREAM, HANG], [STREAM, chunk(LINE), HANG]])
def test_closing_the_output_stream_stops_its_thread_even_if_the_server_is_silent(follow, script):
    follow(*script).close()

    wait_for_threads()


def test_stream_request_sends_the_key_and_asks_for_uncompressed_data(serve, connect):
    server = serve([STREAM, chunk(END), chunk(b"")])
    transport = connect(server)

    assert list(transport.stream("/x", 30, lambda end: None)) == [b"", END]
    assert server.request.headers.items() >= {
        ("accept", "text/event-stream"),
        ("accept-encoding", "identity"),
        ("authorization", f"Bearer {KEY}"),
    }
