"""Keep the output of a process, and write to its input.

All code runs on the thread of the event loop and never blocks that thread. There is one exception:
a stream may be created on another thread.
"""

from __future__ import annotations

import asyncio
import os
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

OUTPUT_LIMIT = 10 * 1024 * 1024
"""Maximum bytes to keep of each stream; the limit of the service is not known."""

_CHUNK = 64 * 1024
# The most that a pipe holds by default (pipe-max-size), so an ended process cannot have left more.
# A grandchild that continues to write must not make us read forever.
_LEFT_BEHIND = 1024 * 1024


class ChangeNotifier:
    """Wakes tasks when a process changes, and reports changes in the size of its output.

    The notifier is separate from the process. If a stream referred to its process, a process that
    was removed from the table would stay in memory until the next garbage collection.

    Attributes:
        next: an event that is set at the next change; a new event follows each change.

    """

    def __init__(self, output_changed: Callable[[int], None]) -> None:
        """Create a notifier.

        At each change, the notifier calls ``output_changed`` with the number of added bytes. The
        number is negative if the output became smaller.
        """
        self._output_changed = output_changed
        self.next = asyncio.Event()

    def notify(self, more_output: int) -> None:
        """Report a change.

        ``more_output`` is the change in the size of the output, in bytes. This number is negative
        if the output became smaller.
        """
        self._output_changed(more_output)
        self.next.set()
        self.next = asyncio.Event()


class OutputStream:
    """The captured stdout or stderr of a process.

    The output is kept as bytes and split into lines on demand. This saves time if a program prints
    endlessly: each chunk is copied once, and no line objects are created.

    Attributes:
        first: the position of the oldest byte that is kept, in bytes from the start of the stream.

    """

    def __init__(self, pipe: IO[bytes] | None, changes: ChangeNotifier) -> None:
        """Take ownership of the reading end of a pipe.

        If ``pipe`` is None, the output of the process is discarded.
        """
        self.first = 0
        self._kept = bytearray()
        self._limit = OUTPUT_LIMIT
        self._changes = changes
        self._pipe = pipe
        if pipe is not None:
            os.set_blocking(pipe.fileno(), False)

    @property
    def size(self) -> int:
        """The number of bytes that are kept."""
        return len(self._kept)

    def watch(self) -> None:
        """Read output as it arrives, until the last writer closes the pipe."""
        if self._pipe is not None:
            asyncio.get_running_loop().add_reader(self._pipe, self._read_chunk)

    def drain(self) -> None:
        """Read all available output, so that the output of an ended process is complete."""
        taken = 0
        while taken < _LEFT_BEHIND and (size := self._read_chunk()):
            taken += size

    def lines(self) -> list[str]:
        """Return the lines that are kept.

        While the stream is open, an incomplete last line is left out.
        """
        return self.lines_from(self.first, with_rest=self._pipe is None)[0]

    def lines_from(self, position: int, *, with_rest: bool) -> tuple[list[str], int]:
        r"""Return the lines that follow a position, and the position after the last returned line.

        The line break, ``\n`` or ``\r\n``, is removed. Bytes that are not UTF-8 are replaced. The
        old daemon, in contrast, stops the capture at such bytes (api-notes, "Calls").

        Args:
            position: the position in bytes from the start of the stream.
            with_rest: whether to include a last line without a line break.

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
        """Discard the oldest lines until at most ``size`` bytes remain.

        Returns:
            The number of discarded bytes.

        """
        cut = len(self._kept) - size
        if cut <= 0:
            return 0
        line_end = self._kept.find(b"\n", cut - 1)
        cut = cut if line_end < 0 else line_end + 1
        del self._kept[:cut]
        self.first += cut
        return cut

    def keep_no_more(self) -> int:
        """Discard the kept output and all later output.

        The stream is still read, so that no writer blocks.

        Returns:
            The number of bytes that were kept.

        """
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
    """The stdin of a process that was started with ``stdin_mode: pipe``."""

    def __init__(self, pipe: IO[bytes]) -> None:
        """Take ownership of the writing end of a pipe."""
        os.set_blocking(pipe.fileno(), False)
        self._pipe = pipe
        self._writing = asyncio.Lock()
        self._wake_up = asyncio.Event()

    @property
    def writable(self) -> bool:
        """Whether the server's end of the pipe is open."""
        return not self._pipe.closed

    async def write(self, data: bytes) -> None:
        """Write all of ``data``, no matter how long the process takes to read it.

        Raises:
            BrokenPipeError: the pipe is closed, before or during the write.

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
        """Close the server's end of the pipe, so that the process reads EOF from its stdin."""
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
