"""Use a thread to follow a process's stderr, and notice immediately when the process ends."""

from __future__ import annotations

import contextlib
import re
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    End = Callable[[], None]
    OpenStream = Callable[[Callable[[End], None]], Generator[bytes]]

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
        open_stream: a function that yields the data of the stream. The thread passes a callback to
            this function. The callback receives another function, which ends the stream.
        wake: a function that the thread calls when the notice comes.

    Attributes:
        live: whether the stream is open, so that its end will be noticed.
        came: whether the notice has come.

    """

    def __init__(self, open_stream: OpenStream, wake: Callable[[], None]) -> None:
        self.live = self.came = False
        self._open_stream = open_stream
        self._wake = wake
        self._closed = False
        self._end: End | None = None
        threading.Thread(target=self._run, name="tlsandbox-end-notice", daemon=True).start()

    def close(self) -> None:
        """End the stream, but do not wait until the thread ends."""
        self._closed = True
        if self._end is not None:
            self._end()

    def _begun(self, end: End) -> None:
        self._end = end
        if self._closed:
            end()

    def _run(self) -> None:
        size, last = 0, b"\n"
        # If anything fails, the wait continues as if there were no stream.
        with (
            contextlib.suppress(Exception),
            contextlib.closing(self._open_stream(self._begun)) as stream,
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
