"""Follow the stderr of a process in a thread, to notice at once that the process ended."""

from __future__ import annotations

import contextlib
import re
import threading
from typing import TYPE_CHECKING

from pytest_tlsandbox.clock import on_cancellation

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from pytest_tlsandbox.client.transport import Stream
    from pytest_tlsandbox.clock import Clock

_END = re.compile(rb"[\r\n]event: ?eof\s")
_OVERLAP = 16
"""Bytes of a chunk that are searched again with the next one, because ``_END`` may span both."""
_MOST_BYTES = 2**20
"""After that much output, following costs more than it saves."""


class EndNotice:
    """Notices that a process ended: a sandbox then ends the stream of its stderr.

    A notice may be early, late, wrong or missing (api-notes, "Output"), so it only says when to
    list the processes again. The thread keeps nothing of the stream, and any error ends it.

    Args:
        open_stream: opens the stream.
        clock: the clock of the wait.

    Attributes:
        live: whether the stream is open, so that its end will be noticed.

    """

    def __init__(
        self, open_stream: Callable[[], AbstractContextManager[Stream]], clock: Clock
    ) -> None:
        self.live = False
        self._open_stream = open_stream
        self._clock = clock
        self._came = threading.Event()
        self._cut: Callable[[], None] | None = None
        self._closed = False
        threading.Thread(target=self._run, name="tlsandbox-end-notice", daemon=True).start()

    def wait(self, seconds: float) -> bool:
        """Sleep for ``seconds``, or until the notice comes; return whether it came."""
        with on_cancellation(self._came.set):
            came = self._came.wait(seconds)
        self._clock.sleep(0)  # ends a cancelled wait
        return came

    def close(self) -> None:
        """Close the stream without waiting for the end of the thread."""
        self._closed = True
        if self._cut is not None:
            self._cut()

    def _run(self) -> None:
        # Whatever fails, the wait goes on as it would without a stream.
        with contextlib.suppress(Exception), self._open_stream() as stream:
            self._cut = stream.cut
            if not self._closed:
                self._read(stream)
        self.live = False

    def _read(self, stream: Stream) -> None:
        size, last = 0, b"\n"
        for chunk in stream.chunks():
            self.live = True
            last += chunk
            if _END.search(last):
                break
            last = last[-_OVERLAP:]
            size += len(chunk)
            if size > _MOST_BYTES:
                return
        if self.live:
            self._came.set()
