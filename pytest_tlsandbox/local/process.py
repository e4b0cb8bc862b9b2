"""Define one process of the sandbox, and its row in the format of the API."""

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
    """A started program.

    Attributes:
        pid: the process id.
        stdin: the server's end of the pipe; None if stdin is not a pipe.
        stdout: the server's end of the pipe; None if stdout is not a pipe.
        stderr: the server's end of the pipe; None if stderr is not a pipe.
        started_at: when the program started, in milliseconds since the epoch.

    """

    pid: int
    stdin: IO[bytes] | None
    stdout: IO[bytes] | None
    stderr: IO[bytes] | None
    started_at: int


class Manager(Protocol):
    """The object that manages the runs of a managed process; only one run is active at a time.

    Attributes:
        name: the name that selects the process in a URL path; None if only the pid selects it.
        run: the current run, or the last run.

    """

    name: str | None
    run: Process | None

    @property
    def has_ended(self) -> bool:
        """Whether the process has ended and no automatic restart will follow."""

    def describe(self, run: Process) -> dict[str, Any]:
        """Return the value of the field ``managed`` in a run's row."""

    def run_ended(self, run: Process) -> None:
        """Decide what happens after a run has ended."""

    async def restart(self) -> Process:
        """Start a new run and return it. If a run is active, end the active run first.

        This method also starts a process that was stopped.
        """

    async def stop(self) -> None:
        """Prevent further restarts, and end the current run in the background."""


class Process:
    """A process that the sandbox started, and its row in the table.

    Attributes:
        handle: a number that counts the starts from 1 and is never used again.
        pid: the pid, which is also the id of the process group and the session.
        managed: the manager that restarts the process; None if the process is not managed.
        started_at: when the process started, in milliseconds since the epoch.
        ended_at: when the process ended, in milliseconds since the epoch; None while the process
            runs.
        ended: an event that is set when the process has ended.
        changes: the object that reports new output and the end of the process.
        killed_here: whether the process received SIGKILL through this API.
        timed_out: whether the process received SIGKILL because its timeout expired.
        row_at_start: the row immediately after the start, even if the process has ended since.

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
        """Whether the process itself is running; its children may outlive it."""
        return self.status == "running"

    def outputs(self, stream: str) -> dict[str, OutputStream]:
        """Return a dictionary that maps the name of each requested stream to the stream.

        The name "output" requests both streams.
        """
        both = {"stdout": self.stdout, "stderr": self.stderr}
        return both if stream == "output" else {stream: both[stream]}

    async def ends_within(self, seconds: float) -> bool:
        """Wait up to ``seconds`` until the process ends, and return whether it has ended."""
        return await is_set_within(self.ended, seconds)

    def end(self, wait_status: int, oom_kills: int) -> None:
        """Record the end of the process.

        The number of OOM kills does not show whether the process or a child was the victim. The
        process counts as the victim if two conditions are met: a SIGKILL ended the process at most
        2 s after an OOM kill was counted, and this API did not send the SIGKILL. The kernel counts
        a kill before the victim has ended. If a child was the victim, the process usually survives
        the kill.

        Args:
            wait_status: the status from ``os.waitpid``.
            oom_kills: how many OOM kills of the process or its children have happened so far.

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
        """Record how many OOM kills of the process or its children have happened."""
        if count > self._oom_kills:
            self._oom_kills = count
            self.oom_killed = True
            self._counted_at = time.monotonic()

    def keep_no_output(self) -> int:
        """Discard the kept output and all later output. Return how many bytes were kept."""
        return self.stdout.keep_no_more() + self.stderr.keep_no_more()

    def row(self) -> bytes:
        """Return the row as JSON, with the fields of the API and ``oom_killed``.

        Every field is present, and an unknown value is null. Only the row of a managed process
        contains ``managed``.
        """
        stdin_writable = self.stdin is not None and self.stdin.writable
        managed = {} if self.managed is None else {"managed": self.managed.describe(self)}
        # A client may list a thousand rows a hundred times a second, and few of them change.
        state = (self.status, self.oom_killed, stdin_writable, managed)
        if self._cached is None or self._cached[0] != state:
            fields = {
                "handle": self.handle,
                "pid": self.pid,
                "status": self.status,
                "exit_code": self.exit_code,
                "signal": self.signal,
                # For the official CLI, the flag is evidence of an end (api-notes, "Ends").
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
    """Wait up to ``seconds`` for an event, and return whether the event is set."""
    try:
        return await asyncio.wait_for(event.wait(), seconds)
    except asyncio.TimeoutError:
        return False


def now_ms() -> int:
    """Return the current time in milliseconds since the epoch, as in the API."""
    return time.time_ns() // 1_000_000
