"""One process of the sandbox: what is known of it, as the contract tells it."""

from __future__ import annotations

import json
import os
import signal
import time
from typing import TYPE_CHECKING, Literal, NamedTuple

from pytest_tlsandbox.local.pipes import InputPipe, OutputPipe

if TYPE_CHECKING:
    from pytest_tlsandbox.local.bodies import StartRequest

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
        killed_here: SIGKILL was sent to it through this API.
        row_at_start: its row when it had just been started; it may have ended since.

    """

    def __init__(
        self, handle: int, pid: int, request: StartRequest, started_at: int, pipes: Pipes
    ) -> None:
        self.handle = handle
        self.pid = pid
        self.status: Status = "running"
        self.exit_code: int | None = None
        self.signal: int | None = None
        self.oom_killed = False
        self._oom_kills = 0
        self._counted_at = -_VICTIM_DIES_WITHIN
        self.killed_here = False
        self.stdin = None if pipes.stdin is None else InputPipe(pipes.stdin)
        self.stdout = OutputPipe(pipes.stdout)
        self.stderr = OutputPipe(pipes.stderr)
        self._command = request.command
        self._args = request.args
        self._started_at = started_at
        self._ended_at: int | None = None
        self.row_at_start = self.row()

    @property
    def is_running(self) -> bool:
        """Whether the process itself has yet to end; its children may go on after it."""
        return self.status == "running"

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
        self._ended_at = max(now_ms(), self._started_at)
        self.note_oom_kills(oom_kills)
        code = os.waitstatus_to_exitcode(wait_status)
        if code >= 0:
            self.status = "exited"
            self.exit_code = code
            return
        self.signal = -code
        just_counted = time.monotonic() - self._counted_at < _VICTIM_DIES_WITHIN
        was_victim = just_counted and self.signal == signal.SIGKILL and not self.killed_here
        self.status = "oom_killed" if was_victim else "signaled"

    def note_oom_kills(self, count: int) -> None:
        """Take note of OOM kills among it and its children."""
        if count > self._oom_kills:
            self._oom_kills = count
            self.oom_killed = True
            self._counted_at = time.monotonic()

    def row(self) -> bytes:
        """Give its row as JSON: the contract's fields, and ``oom_killed`` (fact sheet 2.1).

        All of them are there; what is not known is null.
        """
        fields = {
            "handle": self.handle,
            "pid": self.pid,
            "status": self.status,
            "exit_code": self.exit_code,
            "signal": self.signal,
            # To readers of the list, the official CLI among them, the flag is evidence of an end.
            "oom_killed": self.oom_killed and not self.is_running,
            "stdin_writable": self.stdin is not None and self.stdin.writable,
            "command": self._command,
            "args": self._args,
            "started_at": self._started_at,
            "ended_at": self._ended_at,
        }
        return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()


def now_ms() -> int:
    """Tell the time in milliseconds since the epoch, as the contract does."""
    return time.time_ns() // 1_000_000
