"""What the stream of a process may do while a wait follows it; none of it may change a result."""

from __future__ import annotations

from tests.client.servers import HANG, RESET, chunk, reply
from tests.client.streams import COMMENT, END, GARBAGE, LINE, STREAM


class FakeOpenSourceDaemon:
    """A fake of the follow route of the open-source daemon, in front of the embedded sandbox.

    It rejects names, sends no comment at once, and sends ``eof`` late if a descendant of the process
    holds the pipe (api-notes, "Calls").

    Args:
        held_for: seconds for which a descendant holds the pipe after the process has ended.

    """

    def __init__(self, held_for=0.0):
        self.held_for = held_for

    def __call__(self, request, forwarded):
        """Return the script for one request."""
        process = request.path.split("/")[-3]
        if not process.isdigit():
            return [reply(400, b"Invalid URL: Cannot parse `name` to a `u32`")]
        return self._late(forwarded)

    def _late(self, forwarded):
        yield next(forwarded)
        for data in forwarded:
            if END in data:
                yield self.held_for
            if not data.startswith(chunk(COMMENT)):
                yield data


STREAMS = {
    "on": lambda _request, forwarded: forwarded,
    "off": lambda *_: [reply(404)],
    "early eof": lambda *_: [STREAM, chunk(LINE), chunk(END), chunk(b"")],
    "late eof": FakeOpenSourceDaemon(2.0),
    "garbage, no eof": lambda *_: [STREAM, chunk(GARBAGE), HANG],
    "cut": lambda *_: [STREAM, chunk(LINE + END[:9]), RESET],
}
"""By name: the script for a request for a stream, and the script that would forward it."""
