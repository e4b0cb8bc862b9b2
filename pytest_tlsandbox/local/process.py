"""Define one process of the sandbox, and its row in the format of the API."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import suppress
from dataclasses import InitVar, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from pytest_tlsandbox.local.asgi import to_json
from pytest_tlsandbox.local.standard_streams import ChangeNotifier, InputStream, OutputStream

if TYPE_CHECKING:
    from subprocess import Popen

    from pytest_tlsandbox.local.request_bodies import StartRequest

Status = Literal["running", "exited", "signaled", "oom_killed"]


class Manager(Protocol):
    """The object that manages the runs of a managed process; only one run is active at a time."""

    @property
    def has_ended(self) -> bool:
        """Whether the process has ended and no automatic restart will follow."""

    def describe(self) -> dict[str, Any]:
        """Return the value of the field ``managed`` in the row of the last run."""

    async def restart(self) -> Process:
        """Start a new run and return it. If a run is active, end the active run first.

        This method also starts a process that was stopped.
        """

    async def stop(self) -> None:
        """Prevent further restarts, and end the current run in the background."""


@dataclass(eq=False)
class Process:
    """A process that the sandbox started, and its row in the table.

    Attributes:
        handle: a number that counts the starts from 1 and is never used again.
        request: the start request.
        child: the started program, with the server's ends of its pipes.
        started_at: when the process started, in milliseconds since the epoch.
        managed: the manager that restarts the process; None if the process is not managed.
        pid: the pid, which is also the id of the process group and the session.
        ended_at: when the process ended, in milliseconds since the epoch; None while the process
            runs.
        ended: an event that is set when the process has ended.
        changes: the object that reports new output and the end of the process.
        killed_here: whether the process received SIGKILL through this API.
        timed_out: whether the process received SIGKILL because its timeout expired.

    """

    handle: int
    request: StartRequest
    child: InitVar[Popen[bytes]]
    started_at: int
    managed: Manager | None = None
    status: Status = "running"
    exit_code: int | None = None
    signal: int | None = None
    oom_killed: bool = False
    ended_at: int | None = None
    killed_here: bool = False
    timed_out: bool = False
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    changes: ChangeNotifier = field(default_factory=ChangeNotifier)
    _cached: tuple[object, bytes] | None = None

    def __post_init__(self, child: Popen[bytes]) -> None:
        self.pid = child.pid
        self.stdin = None if child.stdin is None else InputStream(child.stdin)
        self.stdout = OutputStream(child.stdout, self.changes)
        self.stderr = OutputStream(child.stderr, self.changes)

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

    def end(self, wait_status: int, oom_kills: int) -> None:
        """Record the end of the process.

        The number of OOM kills does not show whether the process or a child was the victim. If
        there was an OOM kill, and the process was killed by a SIGKILL that this API did not send,
        the process counts as the victim. If a child was the victim, the process usually survives.

        Args:
            wait_status: the status from ``os.waitpid``.
            oom_kills: how many OOM kills of the process or its children have happened.

        """
        self.stdout.drain()
        self.stderr.drain()
        if self.stdin is not None:
            self.stdin.close()
        self.ended_at = max(now_ms(), self.started_at)
        self.oom_killed = oom_kills > 0
        code = os.waitstatus_to_exitcode(wait_status)
        if code >= 0:
            self.status = "exited"
            self.exit_code = code
        else:
            self.signal = -code
            was_victim = self.oom_killed and code == -signal.SIGKILL and not self.killed_here
            self.status = "oom_killed" if was_victim else "signaled"
        self.ended.set()
        self.changes.notify()

    def row(self) -> bytes:
        """Return the row as JSON, with the fields of the API and ``oom_killed``.

        Every field is present, and an unknown value is null. Only the row of a managed process
        contains ``managed``.
        """
        stdin_writable = self.stdin is not None and self.stdin.writable
        managed = {} if self.managed is None else {"managed": self.managed.describe()}
        # A client may list a thousand rows a hundred times a second, and few of them change.
        state = (self.status, stdin_writable, managed)
        if self._cached is None or self._cached[0] != state:
            fields = {
                "handle": self.handle,
                "pid": self.pid,
                "status": self.status,
                "exit_code": self.exit_code,
                "signal": self.signal,
                "oom_killed": self.oom_killed,
                "stdin_writable": stdin_writable,
                "command": self.request.command,
                "args": self.request.args,
                "started_at": self.started_at,
                "ended_at": self.ended_at,
                **managed,
            }
            self._cached = state, to_json(fields)
        return self._cached[1]


async def is_set_within(event: asyncio.Event, seconds: float | None) -> bool:
    """Wait up to ``seconds`` (None: forever) for an event, and return whether the event is set."""
    with suppress(asyncio.TimeoutError):
        return await asyncio.wait_for(event.wait(), seconds)
    return False


def now_ms() -> int:
    """Return the current time in milliseconds since the epoch, as in the API."""
    return time.time_ns() // 1_000_000
