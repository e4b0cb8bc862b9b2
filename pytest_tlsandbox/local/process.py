"""One process of the sandbox: what is known of it, as the contract tells it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pytest_tlsandbox.local.pipes import InputPipe, News, OutputPipe

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_tlsandbox.local.bodies import StartRequest
    from pytest_tlsandbox.local.managed import ManagedProcess

Status = Literal["running", "exited", "signaled", "oom_killed"]

_VICTIM_DIES_WITHIN = 2.0


class Pipes(NamedTuple):
    """Our ends of the standard streams of a process, as file descriptors; None where not piped."""

    stdin: int | None
    stdout: int | None
    stderr: int | None


class Process:
    """A process that was started here, and its row in the table.

    Attributes:
        handle: counts from 1 in the order of the starts, and is never used again.
        pid: also the id of its process group and session.
        managed: who starts it again; None for a process that is not managed.
        started_at: in milliseconds since the epoch.
        ended_at: the same; None while it runs.
        ended: set when it has ended.
        news: of more output, and of its end.
        killed_here: SIGKILL was sent to it through this API.
        timed_out: SIGKILL was sent because its time was up.
        row_at_start: its row when it had just been started; it may have ended since.

    """

    def __init__(
        self,
        handle: int,
        pid: int,
        request: StartRequest,
        started_at: int,
        pipes: Pipes,
        *,
        managed: ManagedProcess | None = None,
        output_changed: Callable[[int], None],
    ) -> None:
        self.handle = handle
        self.pid = pid
        self.managed = managed
        self.status: Status = "running"
        self.exit_code: int | None = None
        self.signal: int | None = None
        self.oom_killed = False
        self._oom_kills = 0
        self._counted_at = -_VICTIM_DIES_WITHIN
        self.killed_here = False
        self.timed_out = False
        self.ended = asyncio.Event()
        self.news = News(output_changed)
        self.stdin = None if pipes.stdin is None else InputPipe(pipes.stdin)
        self.stdout = OutputPipe(pipes.stdout, self.news)
        self.stderr = OutputPipe(pipes.stderr, self.news)
        self._command = request.command
        self._args = request.args
        self.started_at = started_at
        self.ended_at: int | None = None
        self._cached: tuple[object, bytes] | None = None
        self.row_at_start = self.row()

    @property
    def is_running(self) -> bool:
        """Whether the process itself has yet to end; its children may go on after it."""
        return self.status == "running"

    async def ends_within(self, seconds: float) -> bool:
        """Wait for its end, for so many seconds at most; tell whether it has come."""
        try:
            await asyncio.wait_for(self.ended.wait(), seconds)
        except asyncio.TimeoutError:
            return False
        return True

    def end(self, wait_status: int, oom_kills: int) -> None:
        """Record the end, from what ``waitpid`` gave and the OOM kills counted by then.

        The counts do not tell the process from its children. It was the victim if it died of a
        SIGKILL that was not ours, at most 2 s after a kill was counted: a victim is counted first,
        and then takes its time to die. Of a child, the process itself lives on for longer.
        """
        self.stdout.drain()
        self.stderr.drain()
        if self.stdin is not None:
            self.stdin.close()
        self.ended_at = max(now_ms(), self.started_at)
        self.note_oom_kills(oom_kills)
        code = os.waitstatus_to_exitcode(wait_status)
        if code >= 0:
            self.status = "exited"
            self.exit_code = code
        else:
            self.signal = -code
            just_counted = time.monotonic() - self._counted_at < _VICTIM_DIES_WITHIN
            was_victim = just_counted and self.signal == signal.SIGKILL and not self.killed_here
            self.status = "oom_killed" if was_victim else "signaled"
        self.ended.set()
        self.news.tell(0)

    def note_oom_kills(self, count: int) -> None:
        """Take note of OOM kills among it and its children."""
        if count > self._oom_kills:
            self._oom_kills = count
            self.oom_killed = True
            self._counted_at = time.monotonic()

    def keep_no_output(self) -> int:
        """Let go of all its output, for good; gives how many bytes that were."""
        return self.stdout.keep_no_more() + self.stderr.keep_no_more()

    def row(self) -> bytes:
        """Give its row as JSON: the contract's fields, and ``oom_killed`` (fact sheet 2.1).

        All of them are there; what is not known is null. ``managed`` is only there where it is.
        """
        stdin_writable = self.stdin is not None and self.stdin.writable
        managed = None if self.managed is None else self.managed.describe(self)
        # A thousand rows are listed a hundred times a second, and hardly one of them has changed.
        state = (self.status, self.oom_killed, stdin_writable, managed)
        if self._cached is not None and self._cached[0] == state:
            return self._cached[1]
        fields: dict[str, Any] = {
            "handle": self.handle,
            "pid": self.pid,
            "status": self.status,
            "exit_code": self.exit_code,
            "signal": self.signal,
            # To readers of the list, the official CLI among them, the flag is evidence of an end.
            "oom_killed": self.oom_killed and not self.is_running,
            "stdin_writable": stdin_writable,
            "command": self._command,
            "args": self._args,
            "started_at": self.started_at,
            "ended_at": self.ended_at,
        }
        if managed is not None:
            fields["managed"] = managed
        row = json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()
        self._cached = state, row
        return row


def now_ms() -> int:
    """Tell the time in milliseconds since the epoch, as the contract does."""
    return time.time_ns() // 1_000_000
