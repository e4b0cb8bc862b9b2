"""How soon a wait notices the end of a process, and with how many calls.

Time and the network are simulated; the code that waits is the real code. A call takes the latency of
the network, and its answer shows the state at half of this time. The lifetimes vary at random.
"""

from __future__ import annotations

import itertools
import random
import statistics
import time
from typing import TYPE_CHECKING, Any, cast

from benchmarks.measuring import Result, Target
from pytest_tlsandbox import Sandbox, start_local_sandbox
from pytest_tlsandbox.client.address import Address, locate
from pytest_tlsandbox.client.api import SandboxClient
from pytest_tlsandbox.client.response_bodies import parse_list
from pytest_tlsandbox.client.transport import Transport
from pytest_tlsandbox.clock import Clock
from pytest_tlsandbox.history.snapshot import ProcessSnapshot

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator

LIVES = (0.2, 2.0, 10.0, 60.0)
NETWORKS = (0.0, 0.02, 0.06)
TRIALS = {0.2: 2000, 2.0: 1000, 10.0: 600, 60.0: 300}
OURS = "this plugin"
# Seconds between the end of one call and the start of the next call.
SCHEDULES: dict[str, Callable[[], Iterator[float]]] = {
    "loop, 1 s": lambda: itertools.repeat(1.0),
    "loop, 100 ms": lambda: itertools.repeat(0.1),
    "Gomega, 10 ms": lambda: itertools.repeat(0.01),
    "Playwright, 100 to 1000 ms": lambda: itertools.chain((0.1, 0.25, 0.5), itertools.repeat(1.0)),
}


def measure(*, short: bool = False) -> list[Result]:
    """Simulate each lifetime, network and schedule; then measure some lifetimes in real time."""
    simulated = Result(
        "Notice",
        "Mean time from the end of a process to the return of the helper, and mean number of calls; "
        "the time is simulated, the code that waits is real.",
        ("network", "schedule", *(f"lifetime {life:g} s" for life in LIVES)),
    )
    cells: dict[tuple[str, float, float], tuple[float, float]] = {}
    for network in NETWORKS:
        for name in (OURS, *SCHEDULES):
            row = [f"{network * 1000:.0f} ms", name]
            for life in LIVES:
                trials = TRIALS[life] // (10 if short else 1)
                latency, calls = cells[name, network, life] = _mean(name, life, network, trials)
                row.append(f"{latency * 1000:.0f} ms, {calls:.0f}")
            simulated.rows.append(row)
    latency, calls = cells[OURS, 0.06, 60.0]
    slow, quick = cells["loop, 1 s", 0.06, 60.0], cells["loop, 100 ms", 0.06, 60.0]
    simulated.targets += [
        Target("60 ms, 60 s: mean latency", latency * 1000, 95, "ms"),
        Target("60 ms, 60 s: calls", calls, 65, "calls"),
        Target("60 ms, 60 s: latency of a 1 s loop", latency / slow[0], 0.4),
        Target("60 ms, 60 s: calls of a 100 ms loop", calls / quick[1], 0.6),
    ]
    return [simulated] if short else [simulated, _in_real_time()]


def _mean(name: str, life: float, network: float, trials: int) -> tuple[float, float]:
    phases = random.Random(f"{name} {life} {network}")
    taken = [_trial(name, life * phases.uniform(0.75, 1.25), network) for _ in range(trials)]
    latencies, calls = zip(*taken, strict=True)
    return statistics.fmean(latencies), statistics.fmean(calls)


def _trial(name: str, life: float, network: float) -> tuple[float, int]:
    """Wait once for the end of a process; return the latency in seconds, and the number of calls."""
    clock = SimulatedClock()
    lister = SimulatedLister(clock, life, network)
    if name == OURS:
        Sandbox(lister, timeout=600).wait_for_exit(PID)
    else:
        pauses = SCHEDULES[name]()
        while not lister.poll()[0].ended:
            clock.sleep(next(pauses))
    return clock.now - life, lister.calls


class SimulatedClock(Clock):
    """A clock on which a sleep takes no time."""

    def __init__(self) -> None:
        self.now = 0.0
        self.alarm: tuple[float, Callable[[], None]] | None = None

    def monotonic(self) -> float:
        """Return the simulated time."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Advance the simulated time."""
        self.now += seconds

    def wait(self, _event: threading.Event, seconds: float) -> None:
        """Advance the simulated time, but not beyond the alarm."""
        until = self.now + seconds
        if self.alarm is not None and self.alarm[0] <= until:
            (until, ring), self.alarm = self.alarm, None
            ring()
        self.now = max(self.now, until)


PID = 41
_ROW = (
    b'{"processes":[{"handle":1,"pid":41,"status":"%b","exit_code":%b,"signal":null,'
    b'"stdin_writable":false,"command":"job","args":[],"started_at":1710000000000,"ended_at":%b}]}'
)
_RUNNING = ProcessSnapshot(parse_list(_ROW % (b"running", b"null", b"null"))[0])
_ENDED = ProcessSnapshot(parse_list(_ROW % (b"exited", b"0", b"1710000000001"))[0])


class SimulatedNotice:
    """A notice that a process ended, which arrives half a call after that."""

    def __init__(self, clock: SimulatedClock, at: float, wake: Callable[[], None]) -> None:
        self.live, self.came = True, False
        self._wake = wake
        clock.alarm = (at, self._come)

    def _come(self) -> None:
        self.live, self.came = False, True
        self._wake()

    def close(self) -> None:
        """Do nothing, because no stream is open."""


class SimulatedLister(SandboxClient):
    """Lists one process, which ends after ``life`` seconds, over a network."""

    def __init__(self, clock: SimulatedClock, life: float, network: float) -> None:
        super().__init__(cast("Transport", _Wire(clock)))
        self.calls = 0
        self._now = clock
        self._life = life
        self._network = network

    def notice_end(self, _pid: int, _limit: float, wake: Callable[[], None]) -> Any:
        """Return a notice that comes 1 ms and half a call after the exit (api-notes, "Calls")."""
        return SimulatedNotice(self._now, self._life + 0.001 + self._network / 2, wake)

    def _list(self, limit: float = 5.0) -> ProcessSnapshot:
        """Return the state at half of the time of the call."""
        assert limit > self._network
        self.calls += 1
        begun = self._now.now
        seen = _ENDED if begun + self._network / 2 >= self._life else _RUNNING
        self._now.now += self._network
        snapshot = ProcessSnapshot(seen.processes)
        snapshot.begun, snapshot.ended = begun, self._now.now
        self.history.fold(snapshot)
        return snapshot


class _Wire:
    """The attributes of a transport that a lister needs if it sends nothing."""

    address = Address("simulated", "simulated:")

    def __init__(self, clock: SimulatedClock) -> None:
        self.clock = clock


def _in_real_time() -> Result:
    """Measure short lifetimes with real processes, whose ends have times of this machine's clock."""
    result = Result(
        "Notice, in real time",
        "The same with real processes on the embedded sandbox: median and longest time from the end "
        "that the sandbox reports to the return of `wait_for_exit`.",
        ("lifetime", "processes", "median", "longest", "simulated mean"),
    )
    with start_local_sandbox() as local:
        transport = Transport(locate(local), local.api_key, user_agent="pytest-tlsandbox")
        sandbox = Sandbox(SandboxClient(transport))
        for life, count in ((0.2, 40), (2.0, 10)):
            late = sorted(_wait_in_real_time(sandbox, life) for _ in range(count))
            simulated, _ = _mean(OURS, life, 0.0, 500)
            median, longest = statistics.median(late), late[-1]
            figures = (f"{seconds * 1000:.0f} ms" for seconds in (median, longest, simulated))
            result.rows.append((f"{life:g} s", str(count), *figures))
        transport.close()
    return result


def _wait_in_real_time(sandbox: Sandbox, life: float) -> float:
    job = sandbox.start_process("sleep", [str(life * random.uniform(0.75, 1.25))])
    ended = sandbox.wait_for_exit(job)
    assert ended.ended_at is not None
    return time.time() - ended.ended_at.timestamp()
