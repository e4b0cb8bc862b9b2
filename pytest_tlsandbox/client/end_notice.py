"""Use a thread to follow a process's stderr, and notice immediately when the process ends."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Callable

from pytest_tlsandbox.client.call_deadline import Call
from pytest_tlsandbox.client.transport import Transport

_END = re.compile(rb"[\r\n]event: ?eof\s")
_OVERLAP = 16
"""Bytes of a chunk that are searched again with the next chunk, because ``_END`` may span both."""
_MOST_BYTES = 2**20
"""The number of bytes after which following a process costs more than it saves."""


class EndNotice:
    """Notices when a process ends.

    The sandbox closes the stderr stream of a process that has ended. The notice comes when the
    stream ends for any reason. If the stream is too long, the notice does not come. The notice may
    come early, late or never (api-notes, "Calls"). The notice does not prove that the process has
    ended, but it is a reason to list the processes again. The thread does not keep any data from
    the stream.

    Args:
        transport: the object that sends the request for the stream.
        pid: the process id.
        limit: seconds after which the process is no longer followed.
        wake: a function that the thread calls when the notice comes.

    Attributes:
        live: whether the stream is open, so that its end will be noticed.
        came: whether the notice has come.

    """

    def __init__(
        self, transport: Transport, pid: int, limit: float, wake: Callable[[], None]
    ) -> None:
        self.live = self.came = False
        self._transport = transport
        self._path = f"/processes/{pid}/stderr/follow"
        self._call = Call(transport.clock.monotonic() + limit)
        self._wake = wake
        threading.Thread(target=self._run, name="tlsandbox-end-notice", daemon=True).start()

    def close(self) -> None:
        """End the stream, but do not wait until the thread ends."""
        self._transport.watchdog.end(self._call)

    def _run(self) -> None:
        size, last = 0, b"\n"
        # If anything fails, the wait continues as if there were no stream.
        with (
            contextlib.suppress(Exception),
            contextlib.closing(self._transport.stream(self._path, self._call)) as stream,
        ):
            for chunk in stream:
                self.live = True
                size += len(chunk)
                last += chunk
                if _END.search(last) or size > _MOST_BYTES:
                    break
                last = last[-_OVERLAP:]
        self.live, self.came = False, self.live and size <= _MOST_BYTES
        if self.came:
            self._wake()
