"""Lives of processes, and the rows that a sandbox lists for them at any time.

All times are in seconds. At time 0 the test begins and takes its baseline.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field
from typing import Any

from pytest_tlsandbox.client.api import ProcessLister
from pytest_tlsandbox.client.retry import OutageBudget
from pytest_tlsandbox.errors import AuthenticationFailed, SandboxUnreachable
from pytest_tlsandbox.history.history import History
from pytest_tlsandbox.history.snapshot import ProcessSnapshot
from pytest_tlsandbox.models import ProcessInfo
from tests.support import T0, FakeClock, process

READY_AFTER = 0.3
CRASH_SIGNALS = (4, 5, 6, 7, 8, 11, 31)


@dataclass(frozen=True)
class End:
    """How a run ended.

    Attributes:
        code: the exit code from the kernel; None if a signal ended the run.
        signal: the number of the signal from the kernel; 9 for an OOM kill.
        oom: "" if this is not an OOM kill; else how the sandbox shows it: "status", "flag" or
            "child".
        lost_for: for how many seconds the sandbox reports -1 instead of the code; infinite if it
            never reports the code.

    """

    code: int | None = None
    signal: int | None = None
    oom: str = ""
    lost_for: float = 0.0


@dataclass(frozen=True)
class Run:
    """One run; an unmanaged process has only one."""

    pid: int
    handle: int
    start: float
    end: float | None
    how: End

    def wrote(self, t: float) -> bool:
        """Return whether the run has written "ready": 0.3 s after its start, if still alive."""
        at = self.start + READY_AFTER
        return at <= t and (self.end is None or at <= self.end)


def known_code(run: Run, t: float) -> int | None:
    """Return the exit code that the sandbox shows at time ``t``; None if it shows none."""
    if run.end is None or t < run.end + run.how.lost_for or run.how.signal is not None:
        return None
    return run.how.code


@dataclass(frozen=True)
class Life:
    """A process with all its runs; the sandbox removes its row at ``reaped`` seconds, if ever."""

    number: int
    command: str
    runs: tuple[Run, ...]
    managed: bool = False
    reaped: float | None = None
    most_restarts: int | None = None

    def run_at(self, t: float) -> Run | None:
        """Return the listed run: the last one that has started."""
        if self.reaped is not None and t >= self.reaped:
            return None
        begun = [run for run in self.runs if run.start <= t]
        return begun[-1] if begun else None

    def ends(self, since: float, until: float) -> list[Run]:
        """Return the runs that ended after ``since`` and until ``until``."""
        return [run for run in self.runs if run.end is not None and since < run.end <= until]

    def alive(self, t: float) -> bool:
        """Return whether the process runs or will be restarted."""
        run = self.run_at(t)
        if run is None:
            return False
        return run.end is None or t < run.end or (self.managed and run is not self.runs[-1])

    def restarts(self, t: float) -> int:
        """Return the restart count; a restart counts from the end of the run before it."""
        return sum(run.end is not None and run.end <= t for run in self.runs[:-1])

    def gave_up(self, t: float) -> bool:
        """Return whether the supervisor has used up its restarts for a failing process."""
        last = self.runs[-1]
        return (
            self.managed
            and self.most_restarts is not None
            and last.end is not None
            and last.end <= t
            and len(self.runs) - 1 >= self.most_restarts
            and (last.how.signal is not None or known_code(last, t) not in (0, None))
        )


@dataclass
class World:
    """The lives, the outages and the clock of a sandbox.

    Attributes:
        lives: the processes.
        outages: start and end of each outage; every poll that starts in one fails.
        refused: when the sandbox starts to reject the key; infinite if never.
        offset: hours by which the clock of the sandbox is ahead.
        latency: duration of a list call.
        handles: whether rows have handles.

    """

    lives: tuple[Life, ...]
    outages: tuple[tuple[float, float], ...] = ()
    refused: float = math.inf
    offset: float = 0.0
    latency: float = 0.0
    handles: bool = True
    _rows: dict[Any, ProcessInfo] = field(default_factory=dict)

    def rows(self, t: float) -> list[ProcessInfo]:
        """Return the rows that are listed at time ``t``, in random order."""
        rows = [row for life in self.lives if (row := self.row(life, t)) is not None]
        random.Random(t).shuffle(rows)
        return rows

    def row(self, life: Life, t: float) -> ProcessInfo | None:
        """Return the row of a life at time ``t``, parsed from JSON; None if it is not listed."""
        run = life.run_at(t)
        if run is None:
            return None
        ended = run.end is not None and t >= run.end
        lost = ended and t < (run.end or 0.0) + run.how.lost_for
        key = (life.number, run.handle, ended, lost)
        if key not in self._rows:
            self._rows[key] = self._read(life, run, ended=ended, lost=lost)
        return self._rows[key]

    def _read(self, life: Life, run: Run, *, ended: bool, lost: bool) -> ProcessInfo:
        fields: dict[str, Any] = {"started_at": self._time(run.start)}
        if not self.handles:
            fields["handle"] = None
        else:
            fields["handle"] = run.handle
        if ended:
            fields.update(_end_fields(run.how, lost=lost), ended_at=self._time(run.end or 0.0))
        if life.managed:
            fields["managed"] = self._managed(life, run, ended=ended, lost=lost)
        return process(run.pid, life.command, (), **fields)

    def _managed(self, life: Life, run: Run, *, ended: bool, lost: bool) -> dict[str, Any]:
        index = life.runs.index(run)
        last = run if ended else life.runs[index - 1] if index else None
        over = ended and run is life.runs[-1]
        return {
            "id": f"managed-{life.number}",
            "name": f"name-{life.number}",
            "status": "stopped" if over else "backing_off" if ended else "running",
            "restart_count": index + (1 if ended and not over else 0),
            "restart": {"policy": "on_failure", "max_restarts": life.most_restarts},
            "health_status": "disabled",
            "last_exit": None
            if last is None
            else {
                "exit_code": -1 if lost else last.how.code,
                "signal": last.how.signal,
                "oom_killed": bool(last.how.oom),
                "ended_at": self._time(last.end or 0.0),
            },
        }

    def _time(self, t: float) -> int:
        return T0 + int(self.offset * 3_600_000) + int(t * 1000)


def _end_fields(how: End, *, lost: bool) -> dict[str, Any]:
    if lost:
        return {"status": "exited", "exit_code": -1}
    if how.oom == "status":
        return {"status": "oom_killed", "signal": 9}
    if how.oom == "flag":
        return {"status": "signaled", "signal": 9, "oom_killed": True}
    if how.oom == "child":
        return {"status": "exited", "exit_code": 1, "oom_killed": True}
    if how.signal is not None:
        return {"status": "signaled", "signal": how.signal}
    return {"status": "exited", "exit_code": how.code}


@dataclass(frozen=True)
class Look:
    """One poll: when it started, and whether it succeeded."""

    at: float
    good: bool


class ModelLister:
    """Lists the processes of a world, and records its polls."""

    label = "my-sandbox"
    test_deadline = staticmethod(lambda: None)
    wait_deadline = ProcessLister.wait_deadline

    def __init__(self, world: World, now: float) -> None:
        self.clock = FakeClock()
        self.history = History(self.clock.monotonic)
        self.outage = OutageBudget()
        self.world = world
        self.looks: list[Look] = []
        self._zero = self.clock.now - now

    @property
    def now(self) -> float:
        return self.clock.now - self._zero

    def poll(self, *, limit: float = 5.0) -> ProcessSnapshot:
        begun, at = self.clock.now, self.now
        fails = any(start <= at < end for start, end in self.world.outages)
        refused = at >= self.world.refused
        self.looks.append(Look(at, not fails and not refused))
        self.clock.now += min(self.world.latency, limit)
        if fails or refused:
            self.outage.failed(begun, self.clock.now)
        if refused:
            raise AuthenticationFailed("my-sandbox: the API key was rejected (401)", label="401")
        if fails:
            raise SandboxUnreachable("my-sandbox answered 503", label="503", transient=True)
        self.outage.succeeded()
        seen = ProcessSnapshot(
            self.world.rows(at), sandbox=self.label, begun=begun, ended=self.clock.now
        )
        self.history.fold(seen)
        return seen

    def output(self, pid: int, stream: str = "output", *, limit: float | None = None) -> list[str]:
        """Return the output of the newest listed process with that pid, as the API does."""
        if stream != "output":
            return []
        at = self.now
        listed = [run for life in self.world.lives if (run := life.run_at(at)) is not None]
        written = [
            run.wrote(at) for run in sorted(listed, key=lambda run: run.start) if run.pid == pid
        ]
        return ["ready"] if written and written[-1] else []


def baseline_of(world: World) -> ProcessSnapshot:
    """Return the snapshot at the time at which the test begins."""
    lister = ModelLister(world, 0.0)
    return ProcessSnapshot(
        world.rows(0.0), sandbox="my-sandbox", begun=lister.clock.now, ended=lister.clock.now
    )
