"""The pipes of a process: what it writes is kept, what it is to read is written.

All of it runs on the event loop's thread and never blocks it; only made may a pipe be elsewhere.
"""

from __future__ import annotations

import asyncio
import os

OUTPUT_LIMIT = 10 * 1024 * 1024
"""Bytes kept of each stream; the oldest lines go first. What the service keeps is UNKNOWN."""

_CHUNK = 64 * 1024
# What a pipe can hold at most by default (pipe-max-size): a process that has ended has left no more
# than this, and a grandchild that goes on writing must not keep us here.
_LEFT_BEHIND = 1024 * 1024


class OutputPipe:
    """The captured standard output or standard error of a process.

    Kept as bytes, and cut into lines when asked for: a program that prints without end costs a copy
    a chunk, not an object a line.
    """

    def __init__(self, fd: int | None) -> None:
        """Own the reading end of a pipe; None for a stream that is discarded."""
        self._kept = bytearray()
        self._fd = fd
        self._at_end = fd is None
        if fd is not None:
            os.set_blocking(fd, False)

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
        r"""Give the lines so far, without their ends (``\n`` or ``\r\n``).

        A line without an end is held back until the stream has ended (fact sheet section 4). Bytes
        that are not UTF-8 are replaced; the old daemon stops capturing there (daemon-captures.md).
        """
        text = self._kept.decode("utf-8", errors="replace")
        complete, line_end, rest = text.rpartition("\n")
        lines = [line.removesuffix("\r") for line in complete.split("\n")] if line_end else []
        if rest and self._at_end:
            lines.append(rest)
        return lines

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
        if not chunk:
            self.close()
            return 0
        self._kept += chunk
        if len(self._kept) > OUTPUT_LIMIT:
            self._drop_oldest()
        return len(chunk)

    def _drop_oldest(self) -> None:
        cut = len(self._kept) - OUTPUT_LIMIT
        line_end = self._kept.find(b"\n", cut - 1)
        del self._kept[: cut if line_end < 0 else line_end + 1]


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
