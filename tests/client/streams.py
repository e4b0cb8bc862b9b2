"""Streams of a process as a server may send them: as scripts, by name."""

import random

from tests.client.servers import CLOSE, HANG, RESET, chunk, drip, reply

STREAM = reply(
    200, Content_Length=None, Content_Type="text/event-stream", Transfer_Encoding="chunked"
)
OPEN_ENDED = reply(200, Content_Length=None, Content_Type="text/event-stream")
LINE = b'event: output\ndata: {"line": "event: eof", "timestamp": 0}\n\n'
END = b"event: eof\ndata: {}\n\n"
COMMENT = b":\n\n"
GARBAGE = random.Random(1).randbytes(2**12).replace(b"\n", b"")

ENDING = {
    "eof": [STREAM, chunk(LINE), chunk(END), HANG],
    "eof in two parts": [STREAM, chunk(LINE + END[:5]), chunk(END[5:]), HANG],
    "eof without chunks": [OPEN_ENDED, LINE, END, HANG],
    "eof with other line ends": [STREAM, chunk(b"event:eof\r\ndata:{}\r\n\r\n"), HANG],
    "no eof": [STREAM, chunk(LINE), chunk(b"")],
    "cut by a proxy": [STREAM, chunk(LINE), CLOSE],
    "reset": [STREAM, chunk(LINE), RESET],
    "502 in the middle": [STREAM, chunk(LINE), reply(502, b"<html>")],
    "HTML": [reply(200, b"<html>Sign in</html>")],
}
ENDLESS = {
    "output": [STREAM, chunk(LINE * 3), HANG],
    "comments": [STREAM, *[chunk(COMMENT)] * 9, HANG],
    "garbage": [STREAM, chunk(GARBAGE), HANG],
    "a part of a line": [OPEN_ENDED, LINE[:9], HANG],
    "a drip": [OPEN_ENDED, *drip(b"x" * 2000, every=0.05)],
    "nothing": [STREAM, HANG],
    "no headers": [HANG],
}
USELESS = {
    "more than 1 MiB without a line break": [STREAM, chunk(b"x" * (2**20 + 1)), HANG],
    "401": [reply(401)],
    "404": [reply(404, b"{}")],
    "502": [reply(502, b"<html>")],
    "redirect": [reply(302, Location="http://127.0.0.1:9/")],
    "no HTTP": [b"SSH-2.0-OpenSSH\r\n", CLOSE],
}


def late_eof(_request, forwarded):
    """Send ``eof`` 2 s late, as a daemon does if a descendant of the process holds the pipe."""
    for data in forwarded:
        if END in data:
            yield 2.0
        yield data


STREAMS = {
    "on": lambda _request, forwarded: forwarded,
    "off": lambda *_: [reply(404)],
    "early eof": lambda *_: [STREAM, chunk(LINE), chunk(END), chunk(b"")],
    "late eof": late_eof,
    "garbage, no eof": lambda *_: [STREAM, chunk(GARBAGE), HANG],
    "cut": lambda *_: [STREAM, chunk(LINE + END[:9]), RESET],
}
"""By name: the script for a request for a stream, and the script that would forward it.

None of them may change the result of a wait.
"""
