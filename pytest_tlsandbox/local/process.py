"""One process of the sandbox: what is known about it, as the contract describes it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from typing import IO, TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from pytest_tlsandbox.local.standard_streams import ChangeNotifier, InputStream, OutputStream

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_tlsandbox.local.request_bodies import StartRequest

Status = Literal["running", "exited", "signaled", "oom_killed"]

_VICTIM_DIES_WITHIN = 2.0


class Spawned(NamedTuple):
    """A started program: its pid, our ends of its streams (None where not piped), its start."""

    pid: int
    stdin: IO[bytes] | None
    stdout: IO[bytes] | None
    stderr: IO[bytes] | None
    started_at: int


class Manager(Protocol):
    """What looks after the runs of a managed process, one after the other.

    Attributes:
        name: the name in a path; None if the process has only a pid.
        run: the current run, or the last one.

    """

    name: str | None
    run: Process | None

    @property
    def has_ended(self) -> bool:
        """Whether it has ended and will not be started again by itself."""

    def describe(self, run: Process) -> dict[str, Any]:
        """Return the ``managed`` part of the row of a run."""

    def run_ended(self, run: Process) -> None:
        """Decide what follows the end of a run."""

    async def restart(self) -> Process:
        """End the current run, and start another; also after the last one."""

    async def stop(self) -> None:
        """End the current run, and start no other."""


class Process:
    """A process that was started here, and its row in the table.

    Attributes:
        handle: counts from 1 in the order of the starts, and is never used again.
        pid: also the id of its process group and session.
        managed: what starts it again; None for a process that is not managed.
        started_at: in milliseconds since the epoch.
        ended_at: the same; None while it runs.
        ended: set when it has ended.
        changes: reports more output, and the end.
        killed_here: SIGKILL was sent to it through this API.
        timed_out: SIGKILL was sent because its time was up.
        row_at_start: its row when it had just been started; it may have ended since.

    """

    def __init__(
        self,
        handle: int,
        request: StartRequest,
        spawned: Spawned,
        output_changed: Callable[[int], None],
        managed: Manager | None = None,
    ) -> None:
        self.handle = handle
        self.pid = spawned.pid
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
        self.changes = ChangeNotifier(output_changed)
        self.stdin = None if spawned.stdin is None else InputStream(spawned.stdin)
        self.stdout = OutputStream(spawned.stdout, self.changes)
        self.stderr = OutputStream(spawned.stderr, self.changes)
        self._command = request.command
        self._args = request.args
        self.started_at = spawned.started_at
        self.ended_at: int | None = None
        self._cached: tuple[object, bytes] | None = None
        self.row_at_start = self.row()

    @property
    def is_running(self) -> bool:
        """Whether the process itself has yet to end; its children may go on after it."""
        return self.status == "running"

    def outputs(self, stream: str) -> dict[str, OutputStream]:
        """Return the outputs by name: the one called ``stream``, or both for ``output``."""
        both = {"stdout": self.stdout, "stderr": self.stderr}
        return both if stream == "output" else {stream: both[stream]}

    async def ends_within(self, seconds: float) -> bool:
        """Wait for the end for so many seconds at most; return whether the process has ended."""
        return await is_set_within(self.ended, seconds)

    def end(self, wait_status: int, oom_kills: int) -> None:
        """Record the end, from the status of ``waitpid`` and the OOM kills counted by then.

        The counts do not distinguish the process from its children. It was the victim if it died of
        a SIGKILL that was not ours, at most 2 s after a kill was counted: a victim is counted first,
        and then takes its time to die. If a child was the victim, the process lives on for longer.
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
        self.changes.notify(0)

    def note_oom_kills(self, count: int) -> None:
        """Record the number of OOM kills among the process and its children."""
        if count > self._oom_kills:
            self._oom_kills = count
            self.oom_killed = True
            self._counted_at = time.monotonic()

    def keep_no_output(self) -> int:
        """Let go of all output, for good; return how many bytes that were."""
        return self.stdout.keep_no_more() + self.stderr.keep_no_more()

    def row(self) -> bytes:
        """Return the row as JSON: the contract's fields, and ``oom_killed``.

        Every field is there; an unknown value is null. Only a managed process has ``managed``.
        """
        stdin_writable = self.stdin is not None and self.stdin.writable
        managed = {} if self.managed is None else {"managed": self.managed.describe(self)}
        # A thousand rows are listed a hundred times a second, and hardly one of them has changed.
        state = (self.status, self.oom_killed, stdin_writable, managed)
        if self._cached is None or self._cached[0] != state:
            fields = {
                "handle": self.handle,
                "pid": self.pid,
                "status": self.status,
                "exit_code": self.exit_code,
                "signal": self.signal,
                # To readers of the list, such as the official CLI, the flag is evidence of an end.
                "oom_killed": self.oom_killed and not self.is_running,
                "stdin_writable": stdin_writable,
                "command": self._command,
                "args": self._args,
                "started_at": self.started_at,
                "ended_at": self.ended_at,
                **managed,
            }
            row = json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()
            self._cached = state, row
        return self._cached[1]


async def is_set_within(event: asyncio.Event, seconds: float) -> bool:
    """Wait for an event for so many seconds at most; return whether it is set."""
    try:
        return await asyncio.wait_for(event.wait(), seconds)
    except asyncio.TimeoutError:
        return False


def now_ms() -> int:
    """Return the time in milliseconds since the epoch, as the contract does."""
    return time.time_ns() // 1_000_000
