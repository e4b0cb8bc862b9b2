"""The standard streams of a process: its output is kept, its input is written.

Everything runs on the event loop's thread and never blocks it; a stream may be created elsewhere.
"""

from __future__ import annotations

import asyncio
import os
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

OUTPUT_LIMIT = 10 * 1024 * 1024
"""Bytes kept of each stream; the oldest lines go first. What the service keeps is unknown."""

_CHUNK = 64 * 1024
# What a pipe can hold at most by default (pipe-max-size): a process that has ended has left no more
# than this, and a grandchild that goes on writing must not keep us here.
_LEFT_BEHIND = 1024 * 1024


class ChangeNotifier:
    """Wakes all who wait for a change of a process, and reports output that came or went.

    It is not the process itself: a stream that held on to its process would keep what the table has
    let go of, until a garbage collection.

    Attributes:
        next: set at the next change; each change has an event of its own.

    """

    def __init__(self, output_changed: Callable[[int], None]) -> None:
        """Call ``output_changed`` with how many more bytes of output are kept."""
        self._output_changed = output_changed
        self.next = asyncio.Event()

    def notify(self, more_output: int) -> None:
        """Report a change."""
        self._output_changed(more_output)
        self.next.set()
        self.next = asyncio.Event()


class OutputStream:
    """The captured standard output or standard error of a process.

    Kept as bytes, and cut into lines when asked for: a program that prints without end costs a copy
    a chunk, not an object a line.

    Attributes:
        first: how many bytes came before the oldest one that is kept.

    """

    def __init__(self, pipe: IO[bytes] | None, changes: ChangeNotifier) -> None:
        """Own the reading end of a pipe; None for a stream that is discarded."""
        self.first = 0
        self._kept = bytearray()
        self._limit = OUTPUT_LIMIT
        self._changes = changes
        self._pipe = pipe
        if pipe is not None:
            os.set_blocking(pipe.fileno(), False)

    @property
    def size(self) -> int:
        """How many bytes are kept."""
        return len(self._kept)

    def watch(self) -> None:
        """Read whatever comes, until the last writer is gone."""
        if self._pipe is not None:
            asyncio.get_running_loop().add_reader(self._pipe, self._read_chunk)

    def drain(self) -> None:
        """Read what is there already, so that the output of an ended process is complete."""
        taken = 0
        while taken < _LEFT_BEHIND and (size := self._read_chunk()):
            taken += size

    def lines(self) -> list[str]:
        """Return the lines so far. A line without an end is held back until the stream has ended."""
        return self.lines_from(self.first, with_rest=self._pipe is None)[0]

    def lines_from(self, position: int, *, with_rest: bool) -> tuple[list[str], int]:
        r"""Return the lines that begin at a position or later, and the position of the next ones.

        Positions count the bytes of the stream. Lines end in ``\n`` or ``\r\n``, which is cut off; a
        last line without an end is left out, unless ``with_rest``. Bytes that
        are not UTF-8 are replaced; the old daemon stops capturing there.
        """
        begin = max(position - self.first, 0)
        end = len(self._kept) if with_rest else self._kept.rfind(b"\n", begin) + 1
        if end <= begin:
            return [], self.first + begin
        text = self._kept[begin:end].decode("utf-8", errors="replace")
        *lines, rest = text.split("\n")
        lines = [line.removesuffix("\r") for line in lines]
        return [*lines, rest] if rest else lines, self.first + end

    def shrink_to(self, size: int) -> int:
        """Let go of the oldest lines until so many bytes are left; return how many bytes went."""
        cut = len(self._kept) - size
        if cut <= 0:
            return 0
        line_end = self._kept.find(b"\n", cut - 1)
        cut = cut if line_end < 0 else line_end + 1
        del self._kept[:cut]
        self.first += cut
        return cut

    def keep_no_more(self) -> int:
        """Go on reading, so that no writer is blocked, but keep nothing; see ``shrink_to``."""
        self._limit = 0
        return self.shrink_to(0)

    def _read_chunk(self) -> int:
        if self._pipe is None:
            return 0
        try:
            chunk = os.read(self._pipe.fileno(), _CHUNK)
        except BlockingIOError:
            return 0
        if chunk:
            self._kept += chunk
            self._changes.notify(len(chunk) - self.shrink_to(self._limit))
        else:
            asyncio.get_running_loop().remove_reader(self._pipe)
            self._pipe.close()
            self._pipe = None
            self._changes.notify(0)
        return len(chunk)


class InputStream:
    """The standard input of a process that was started with ``stdin_mode: pipe``."""

    def __init__(self, pipe: IO[bytes]) -> None:
        """Own the writing end of a pipe."""
        os.set_blocking(pipe.fileno(), False)
        self._pipe = pipe
        self._writing = asyncio.Lock()
        self._wake_up = asyncio.Event()

    @property
    def writable(self) -> bool:
        """Whether it is still open on our side."""
        return not self._pipe.closed

    async def write(self, data: bytes) -> None:
        """Write all of ``data``, however long the process takes to read it.

        Raises BrokenPipeError if the pipe is closed, or gets closed on the way.
        """
        rest = memoryview(data)
        async with self._writing:
            while rest:
                if not self.writable:
                    raise BrokenPipeError
                try:
                    rest = rest[os.write(self._pipe.fileno(), rest) :]
                except BlockingIOError:
                    await self._wait_for_room()
                except BrokenPipeError:
                    self.close()
                    raise

    def close(self) -> None:
        """Close our end: the process reads the end of its input."""
        if self.writable:
            asyncio.get_running_loop().remove_writer(self._pipe)
            self._pipe.close()
            self._wake_up.set()

    async def _wait_for_room(self) -> None:
        loop = asyncio.get_running_loop()
        self._wake_up.clear()
        loop.add_writer(self._pipe, self._wake_up.set)
        try:
            await self._wake_up.wait()
        finally:
            if self.writable:
                loop.remove_writer(self._pipe)
