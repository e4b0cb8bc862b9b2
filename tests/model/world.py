"""Simulate processes, and the rows that a sandbox lists for these processes at any time.

All times are in seconds. At time 0 the test begins and takes its baseline.
"""

import math
import random
from dataclasses import dataclass, field
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, NamedTuple

from pytest_tlsandbox.client.api import ProcessLister
from pytest_tlsandbox.errors import AuthenticationFailed, RequestRefused, SandboxUnreachable
from pytest_tlsandbox.history.snapshot import ProcessSnapshot
from tests.fakes.streams import AlarmClock, FakeNotice
from tests.support import T0, ended, managed, process, signaled

READY_AFTER = 0.3
SLOW = 4.0
"""Seconds: the pause of a wait with a stream, the grace period for a successor, and some calls."""


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


class Run(NamedTuple):
    """One run; an unmanaged process has only one. ``end`` is infinite if the run never ends."""

    pid: int
    handle: int
    start: float
    end: float
    how: End

    def wrote(self, t):
        """Return whether the run has written "ready": 0.3 s after its start, if still alive."""
        return self.start + READY_AFTER <= min(t, self.end)

    def lost(self, t):
        """Return whether the sandbox shows -1 instead of the exit code at time ``t``."""
        return self.end <= t < self.end + self.how.lost_for

    def code(self, t):
        """Return the exit code that the sandbox shows at time ``t``; None if it shows none."""
        return None if t < self.end or self.lost(t) else self.how.code


@dataclass(frozen=True, eq=False)
class Life:
    """A process with all its runs; the sandbox removes its row at ``reaped`` seconds, if ever."""

    number: int
    command: str
    runs: tuple[Run, ...]
    managed: bool = False
    reaped: float = math.inf
    most_restarts: int | None = None

    def run_at(self, t):
        """Return the listed run: the last one that has started."""
        begun = [run for run in self.runs if run.start <= t < self.reaped]
        return begun[-1] if begun else None

    def alive(self, t):
        """Return whether the process runs or will be restarted."""
        run = self.run_at(t)
        return run is not None and (t < run.end or (self.managed and run is not self.runs[-1]))


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
    _rows: dict[Any, Any] = field(default_factory=dict)

    @property
    def is_slow(self):
        """Whether every state can be polled and settled before the next one, without an outage."""
        runs = [run for life in self.lives for run in life.runs]
        times = {0.0, *(life.reaped for life in self.lives)}
        times |= {t for run in runs for t in (run.start, run.end, run.end + run.how.lost_for)}
        changes = sorted(t for t in times if 0 <= t < math.inf)
        distances = [after - before for before, after in pairwise(changes)]
        no_faults = not self.outages and self.refused == math.inf
        return no_faults and min(distances, default=math.inf) > SLOW

    def listed(self, t):
        """Return the lives that are listed at time ``t``, each with its run."""
        return [(life, run) for life in self.lives if (run := life.run_at(t)) is not None]

    def rows(self, t):
        """Return the rows that are listed at time ``t``, in random order."""
        rows = [self.row(life, run, t) for life, run in self.listed(t)]
        random.Random(t).shuffle(rows)
        return rows

    def row(self, life, run, t):
        """Return the row of a run at time ``t``, parsed from JSON."""
        key = (run.handle, run.end <= t, run.lost(t))
        if key not in self._rows:
            fields = self._end_fields(run, t) if run.end <= t else {}
            if life.managed:
                fields["managed"] = self._managed(life, run, t)
            handle, start = run.handle if self.handles else None, self.wire_time(run.start)
            row = process(run.pid, life.command, (), handle=handle, started_at=start, **fields)
            self._rows[key] = row
        return self._rows[key]

    def _end_fields(self, run, t):
        how, at = run.how, self.wire_time(run.end)
        if run.lost(t):
            return ended(-1, ended_at=at)
        if how.oom == "child":
            return ended(1, ended_at=at, oom_killed=True)
        if how.oom == "status":
            return signaled(9, ended_at=at, status="oom_killed")
        if how.signal is not None:
            return signaled(how.signal, ended_at=at, oom_killed=how.oom == "flag")
        return ended(how.code, ended_at=at)

    def _managed(self, life, run, t):
        index, over = life.runs.index(run), run.end <= t
        waits = over and run is not life.runs[-1]
        last = run if over else life.runs[index - 1] if index else None
        return managed(
            f"name-{life.number}",
            "backing_off" if waits else "stopped" if over else "running",
            restart_count=index + waits,
            restart={"policy": "on_failure", "max_restarts": life.most_restarts},
            last_exit=last and {
                "exit_code": -1 if last.lost(t) else last.how.code, "signal": last.how.signal,
                "oom_killed": bool(last.how.oom), "ended_at": self.wire_time(last.end),
            },
        )  # fmt: skip

    def wire_time(self, t):
        """Return a time by the clock of the sandbox, in milliseconds since 1970."""
        return T0 + int(self.offset * 3_600_000) + int(t * 1000)


class Poll(NamedTuple):
    """One poll: when it started, and whether it succeeded."""

    at: float
    good: bool


class ModelLister(ProcessLister):
    """Lists the processes of a world, and records its polls.

    ``stream``: whether the stream of a process ends with the process ("on"), earlier, because it is
    forged or cut ("early"), never ("missing"), or is not available ("off").
    """

    def __init__(self, world, now, stream="off"):
        self.clock = AlarmClock()
        address = SimpleNamespace(label="my-sandbox")
        super().__init__(SimpleNamespace(clock=self.clock, address=address, request=self._request))
        self.world = world
        self.stream = stream
        self.polls = []
        self._zero = self.clock.now - now

    @property
    def now(self):
        return self.clock.now - self._zero

    def _request(self, _method, path, limit):
        at = self.now
        refused = at >= self.world.refused
        fails = refused or any(start <= at < end for start, end in self.world.outages)
        if path == "/processes":
            self.polls.append(Poll(at, not fails))
        self.clock.now += min(self.world.latency, limit)
        if refused:
            raise AuthenticationFailed("my-sandbox rejected the API key (401)", label="401")
        if fails:
            raise SandboxUnreachable("my-sandbox answered 503", label="503", transient=True)
        return self.world.rows(at)

    def _read(self, rows):
        return ProcessSnapshot(rows, sandbox=self.label)

    def output(self, pid, stream="output", *, limit=None):
        """Return the output of the newest listed process with that pid, as the API does."""
        at = self.now
        runs = [run for _, run in self.world.listed(at) if run.pid == pid]
        newest = max(runs, key=lambda run: run.start, default=None)
        return ["ready"] if newest and stream == "output" and newest.wrote(at) else []

    def get(self, pid, *, limit):
        """Return the newest row with that pid, as the API does."""
        rows = [row for row in self._request("GET", f"/processes/{pid}", limit) if row.pid == pid]
        if not rows:
            raise RequestRefused("my-sandbox answered 404", label="404 NOT_FOUND")
        return max(rows, key=lambda row: row.started_at)

    def notice_end(self, pid, limit, wake):
        """Follow the newest run with that pid; the stream of an unknown pid ends immediately."""
        ends = [(run.start, run.end) for _, run in self.world.listed(self.now) if run.pid == pid]
        _, end = max(ends, default=(0.0, self.now))
        at = {"on": self._zero + end + 0.001, "early": self.clock.now + 0.3}.get(self.stream)
        return FakeNotice(self.clock, at, wake, live=self.stream != "off")
