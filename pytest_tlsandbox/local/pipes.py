"""The pipes of a process: what it writes is kept, what it is to read is written.

All of it runs on the event loop's thread and never blocks it; only made may a pipe be elsewhere.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

OUTPUT_LIMIT = 10 * 1024 * 1024
"""Bytes kept of each stream; the oldest lines go first. What the service keeps is UNKNOWN."""

_CHUNK = 64 * 1024
# What a pipe can hold at most by default (pipe-max-size): a process that has ended has left no more
# than this, and a grandchild that goes on writing must not keep us here.
_LEFT_BEHIND = 1024 * 1024


class News:
    """Wakes all who wait for something new, and tells of output that came or went.

    Beside the process and not of it: a pipe that held on to its process would keep what the table
    has let go of, until a garbage collector comes by.
    """

    def __init__(self, output_changed: Callable[[int], None]) -> None:
        """``output_changed`` is told by how many bytes more is kept."""
        self._output_changed = output_changed
        self._next = asyncio.Event()

    @property
    def next(self) -> asyncio.Event:
        """An event that is set when something new comes; another one each time."""
        return self._next

    def tell(self, more_output: int) -> None:
        """Tell that something is new."""
        self._output_changed(more_output)
        self._next.set()
        self._next = asyncio.Event()


class OutputPipe:
    """The captured standard output or standard error of a process.

    Kept as bytes, and cut into lines when asked for: a program that prints without end costs a copy
    a chunk, not an object a line.

    Attributes:
        first: how many bytes came before the oldest one that is kept.

    """

    def __init__(self, fd: int | None, news: News) -> None:
        """Own the reading end of a pipe; None for a stream that is discarded."""
        self.first = 0
        self._kept = bytearray()
        self._limit = OUTPUT_LIMIT
        self._news = news
        self._fd = fd
        self._at_end = fd is None
        if fd is not None:
            os.set_blocking(fd, False)

    @property
    def size(self) -> int:
        """How many bytes are kept."""
        return len(self._kept)

    def watch(self) -> None:
        """Read whatever comes, until the last writer is gone."""
        if self._fd is not None:
            asyncio.get_running_loop().add_reader(self._fd, self._read_chunk)

    def drain(self) -> None:
        """Take in what is there already, so that an ended process has said all it had to say."""
        taken = 0
        while taken < _LEFT_BEHIND:
            size = self._read_chunk()
            if size == 0:
                return
            taken += size

    def lines(self) -> list[str]:
        """Give the lines so far. One without an end is held back until the stream has ended."""
        return self.lines_from(self.first, with_rest=self._at_end)[0]

    def lines_from(self, position: int, *, with_rest: bool) -> tuple[list[str], int]:
        r"""Give the lines that begin at a position or later, without their ends, and where to go on.

        Positions count the bytes of the stream. Lines end in ``\n`` or ``\r\n``; one without an end
        is left out, but for ``with_rest`` (fact sheet section 4). Bytes that are not UTF-8 are
        replaced; the old daemon stops capturing there (daemon-captures.md).
        """
        position = max(position, self.first)
        begin = position - self.first
        end = self._kept.rfind(b"\n", begin) + 1
        lines: list[str] = []
        if end > begin:
            text = self._kept[begin : end - 1].decode("utf-8", errors="replace")
            lines = [line.removesuffix("\r") for line in text.split("\n")]
            begin = end
        if with_rest and begin < len(self._kept):
            lines.append(self._kept[begin:].decode("utf-8", errors="replace"))
            begin = len(self._kept)
        return lines, self.first + begin

    def shrink_to(self, size: int) -> int:
        """Let go of the oldest lines, until so many bytes are left; gives how many went."""
        before = len(self._kept)
        self._drop_all_but(size)
        return before - len(self._kept)

    def keep_no_more(self) -> int:
        """Go on reading, so that nobody who writes is stopped, but keep nothing; see shrink_to."""
        self._limit = 0
        return self.shrink_to(0)

    def close(self) -> None:
        """Stop reading."""
        if self._fd is not None:
            asyncio.get_running_loop().remove_reader(self._fd)
            os.close(self._fd)
            self._fd = None
            self._at_end = True

    def _read_chunk(self) -> int:
        if self._fd is None:
            return 0
        try:
            chunk = os.read(self._fd, _CHUNK)
        except BlockingIOError:
            return 0
        before = len(self._kept)
        if chunk:
            self._kept += chunk
            self._drop_all_but(self._limit)
        else:
            self.close()
        self._news.tell(len(self._kept) - before)
        return len(chunk)

    def _drop_all_but(self, size: int) -> None:
        cut = len(self._kept) - size
        if cut > 0:
            line_end = self._kept.find(b"\n", cut - 1)
            cut = cut if line_end < 0 else line_end + 1
            del self._kept[:cut]
            self.first += cut


class InputPipe:
    """The standard input of a process that was started with ``stdin_mode: pipe``."""

    def __init__(self, fd: int) -> None:
        """Own the writing end of a pipe."""
        os.set_blocking(fd, False)
        self._fd: int | None = fd
        self._writing = asyncio.Lock()
        self._room: asyncio.Future[None] | None = None

    @property
    def writable(self) -> bool:
        """Whether it is still open on our side."""
        return self._fd is not None

    async def write(self, data: bytes) -> None:
        """Write all of ``data``, however long the process takes to read it.

        Raises BrokenPipeError if the pipe is closed, or gets closed on the way.
        """
        rest = memoryview(data)
        async with self._writing:
            while rest:
                if self._fd is None:
                    raise BrokenPipeError
                try:
                    rest = rest[os.write(self._fd, rest) :]
                except BlockingIOError:
                    await self._wait_for_room(self._fd)
                except BrokenPipeError:
                    self.close()
                    raise

    def close(self) -> None:
        """Close our end: the process reads the end of its input."""
        if self._fd is None:
            return
        if self._room is not None:
            asyncio.get_running_loop().remove_writer(self._fd)
            if not self._room.done():
                self._room.set_result(None)
        os.close(self._fd)
        self._fd = None

    async def _wait_for_room(self, fd: int) -> None:
        loop = asyncio.get_running_loop()
        self._room = loop.create_future()
        loop.add_writer(fd, self._has_room)
        try:
            await self._room
        finally:
            if self._fd is not None:
                loop.remove_writer(fd)
            self._room = None

    def _has_room(self) -> None:
        if self._room is not None and not self._room.done():
            self._room.set_result(None)
