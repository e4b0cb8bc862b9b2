"""Keep the output of a process, and write to its input.

All code runs on the thread of the event loop and never blocks that thread.
"""

import asyncio
import os
from typing import IO

OUTPUT_LIMIT = 10 * 1024 * 1024
"""Maximum bytes to keep of each stream; the limit of the service is not known."""

_CHUNK = 64 * 1024
# The most that a pipe holds by default (pipe-max-size), so an ended process cannot have left more.
# A grandchild that continues to write must not make us read forever.
_LEFT_BEHIND = 1024 * 1024


class ChangeNotifier:
    """Wakes tasks when a process changes.

    The notifier is separate from the process, so that a stream does not refer to its process. With
    such a reference, a process that was removed from the table would stay in memory until the next
    garbage collection.

    Attributes:
        next: an event that is set at the next change; a new event follows each change.

    """

    def __init__(self) -> None:
        self.next = asyncio.Event()

    def notify(self) -> None:
        """Report a change."""
        self.next.set()
        self.next = asyncio.Event()


class OutputStream:
    """The captured stdout or stderr of a process.

    The output is kept as bytes and split into lines on demand. This saves time if a program prints
    endlessly: each chunk is copied once, and no line objects are created.

    Attributes:
        first: the position of the oldest byte that is kept, in bytes from the start of the stream.
        kept: the bytes that are kept.

    """

    def __init__(self, pipe: IO[bytes] | None, changes: ChangeNotifier) -> None:
        """Read a pipe as output arrives, until its last writer closes it.

        If ``pipe`` is None, the output of the process is discarded.
        """
        self.first = 0
        self.kept = bytearray()
        self._changes = changes
        self._pipe = pipe
        if pipe is not None:
            os.set_blocking(pipe.fileno(), False)
            asyncio.get_running_loop().add_reader(pipe, self._read_chunk)

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
        end = len(self.kept) if with_rest else max(begin, self.kept.rfind(b"\n", begin) + 1)
        text = self.kept[begin:end].decode("utf-8", errors="replace")
        *lines, rest = text.split("\n")
        lines = [line.removesuffix("\r") for line in lines]
        return [*lines, rest] if rest else lines, self.first + end

    def _read_chunk(self) -> int:
        if self._pipe is None:
            return 0
        try:
            chunk = os.read(self._pipe.fileno(), _CHUNK)
        except BlockingIOError:
            return 0
        if chunk:
            self.kept += chunk
            # Discard the oldest lines until the stream is within its limit.
            excess = len(self.kept) - OUTPUT_LIMIT
            if excess > 0:
                line_end = self.kept.find(b"\n", excess - 1)
                cut = excess if line_end < 0 else line_end + 1
                del self.kept[:cut]
                self.first += cut
        else:
            asyncio.get_running_loop().remove_reader(self._pipe)
            self._pipe.close()
            self._pipe = None
        self._changes.notify()
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
                    self._wake_up.clear()
                    asyncio.get_running_loop().add_writer(self._pipe, self._stop_waiting)
                    await self._wake_up.wait()

    def close(self) -> None:
        """Close the server's end of the pipe, so that the process reads EOF from its stdin."""
        if self.writable:
            self._stop_waiting()
            self._pipe.close()

    def _stop_waiting(self) -> None:
        asyncio.get_running_loop().remove_writer(self._pipe)
        self._wake_up.set()
