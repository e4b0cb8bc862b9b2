"""Lives of processes, and what a sandbox lists of them at any moment. All times in seconds.

0 is the moment at which the test begins, and the baseline is taken.
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
        code, signal: as the kernel gave them; of an OOM kill the signal is 9.
        oom: "": it was none; else how the sandbox shows it: "status", "flag" or "child".
        lost_for: seconds for which the sandbox says -1 in place of the code; it never says more
            where that is infinite.

    """

    code: int | None = None
    signal: int | None = None
    oom: str = ""
    lost_for: float = 0.0


@dataclass(frozen=True)
class Run:
    """One run: of a process that is not managed, the only one."""

    pid: int
    handle: int
    start: float
    end: float | None
    how: End

    def wrote(self, t: float) -> bool:
        """Tell whether it has written "ready": it takes its time, and may end before."""
        at = self.start + READY_AFTER
        return at <= t and (self.end is None or at <= self.end)


def known_code(run: Run, t: float) -> int | None:
    """Give the exit code that is shown, if it is one."""
    if run.end is None or t < run.end + run.how.lost_for or run.how.signal is not None:
        return None
    return run.how.code


@dataclass(frozen=True)
class Life:
    """A process, over its restarts where it is managed; its row is ``reaped`` at some moment."""

    number: int
    command: str
    runs: tuple[Run, ...]
    managed: bool = False
    reaped: float | None = None
    most_restarts: int | None = None

    def run_at(self, t: float) -> Run | None:
        """Give the run that is listed: the last that has begun."""
        if self.reaped is not None and t >= self.reaped:
            return None
        begun = [run for run in self.runs if run.start <= t]
        return begun[-1] if begun else None

    def ends(self, since: float, until: float) -> list[Run]:
        """Give the runs that ended within that time."""
        return [run for run in self.runs if run.end is not None and since < run.end <= until]

    def alive(self, t: float) -> bool:
        """Tell whether it runs, or will be started again."""
        run = self.run_at(t)
        if run is None:
            return False
        return run.end is None or t < run.end or (self.managed and run is not self.runs[-1])

    def restarts(self, t: float) -> int:
        """Count as the daemon does: a restart counts from the end that it follows."""
        return sum(run.end is not None and run.end <= t for run in self.runs[:-1])

    def gave_up(self, t: float) -> bool:
        """Tell whether its supervisor has spent its restarts on a process that fails."""
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
    """Lives, the looks that fail, and the clock of the sandbox.

    ``outages``: from, to; every look that begins in one fails. ``refused``: the moment from which
    on the key is refused, if ever. ``offset``: hours.
    """

    lives: tuple[Life, ...]
    outages: tuple[tuple[float, float], ...] = ()
    refused: float = math.inf
    offset: float = 0.0
    latency: float = 0.0
    handles: bool = True
    _rows: dict[Any, ProcessInfo] = field(default_factory=dict)

    def rows(self, t: float) -> list[ProcessInfo]:
        """Give what is listed at a moment, in no order."""
        rows = [row for life in self.lives if (row := self.row(life, t)) is not None]
        random.Random(t).shuffle(rows)
        return rows

    def row(self, life: Life, t: float) -> ProcessInfo | None:
        """Give the row of a life, read from the wire."""
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
    """One look: when it began, and whether it succeeded."""

    at: float
    good: bool


class ModelLister:
    """Looks at a world; keeps what it did."""

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
            raise AuthenticationFailed("my-sandbox: the API key was refused (401)", label="401")
        if fails:
            raise SandboxUnreachable("my-sandbox answered 503", label="503", transient=True)
        self.outage.succeeded()
        seen = ProcessSnapshot(
            self.world.rows(at), sandbox=self.label, begun=begun, ended=self.clock.now
        )
        self.history.fold(seen)
        return seen

    def output(self, pid: int, stream: str = "output", *, limit: float | None = None) -> list[str]:
        """Give what the newest process with that pid has written: the route knows pids only."""
        if stream != "output":
            return []
        at = self.now
        listed = [run for life in self.world.lives if (run := life.run_at(at)) is not None]
        written = [
            run.wrote(at) for run in sorted(listed, key=lambda run: run.start) if run.pid == pid
        ]
        return ["ready"] if written and written[-1] else []


def baseline_of(world: World) -> ProcessSnapshot:
    """Look at the moment at which the test begins."""
    lister = ModelLister(world, 0.0)
    return ProcessSnapshot(
        world.rows(0.0), sandbox="my-sandbox", begun=lister.clock.now, ended=lister.clock.now
    )
