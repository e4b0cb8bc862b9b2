"""How soon a wait notices the end of a process, and with how many calls.

Time and the network are simulated; the code that waits is the real code. A call takes the latency of
the network, and its answer shows the state at half of this time. The lifetimes vary at random.
"""

from __future__ import annotations

import contextlib
import itertools
import random
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any, cast
from unittest import mock

from benchmarks.measuring import Result, Target
from benchmarks.network import delayed
from benchmarks.serving import Rows
from benchmarks.serving import answer as served_answer
from pytest_tlsandbox import Sandbox, start_local_sandbox
from pytest_tlsandbox.client.address import Address, locate
from pytest_tlsandbox.client.api import SandboxClient
from pytest_tlsandbox.client.transport import Transport
from pytest_tlsandbox.history.snapshot import ProcessSnapshot
from pytest_tlsandbox.local.sandbox import LocalSandbox
from pytest_tlsandbox.models import ProcessInfo
from pytest_tlsandbox.testing import row
from pytest_tlsandbox.waiting import polling
from tests.fakes.streams import AlarmClock, FakeNotice
from tests.rows import ended, snapshot

LIVES = (0.2, 2.0, 10.0, 60.0)
NETWORKS = (0.0, 0.02, 0.06)
TRIALS = {0.2: 2000, 2.0: 1000, 10.0: 600, 60.0: 300}
OURS, ALONE = "this plugin", "by polling alone"
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
    if short:
        return [simulated, _bytes()]
    return [simulated, _bytes(), _in_real_time()]


def _mean(name: str, life: float, network: float, trials: int) -> tuple[float, float]:
    phases = random.Random(f"{name} {life} {network}")
    taken = [_trial(name, life * phases.uniform(0.75, 1.25), network) for _ in range(trials)]
    latencies, calls = zip(*taken, strict=True)
    return statistics.fmean(latencies), statistics.fmean(calls)


def _trial(name: str, life: float, network: float) -> tuple[float, int]:
    """Wait once for the end of a process; return the latency in seconds, and the number of calls."""
    lister = SimulatedLister(life, network)
    if name == OURS:
        Sandbox(lister, timeout=600).wait_for_exit(PID)
    else:
        pauses = SCHEDULES[name]()
        while not lister.poll()[0].ended:
            lister.clock.sleep(next(pauses))
    return lister.clock.now - life, lister.calls


PID = 41
_RUNNING, _ENDED = snapshot(row(PID)), snapshot(row(PID, **ended()))


class SimulatedLister(SandboxClient):
    """Lists one process, which ends after ``life`` seconds, over a network."""

    clock: AlarmClock

    def __init__(self, life: float, network: float) -> None:
        address = Address("simulated", "simulated:")
        super().__init__(cast("Transport", SimpleNamespace(address=address, clock=AlarmClock(0.0))))
        self.calls = self.rows = 0
        self._life = life
        self._network = network

    def notice_end(self, _pid: int, _limit: float, wake: Callable[[], None]) -> Any:
        """Return a notice that comes 1 ms and half a call after the exit (api-notes, "Calls")."""
        return FakeNotice(self.clock, self._life + 0.001 + self._network / 2, wake)

    def get(self, _pid: int, *, limit: float) -> ProcessInfo:
        """Return the row of the process."""
        self.rows += 1
        listed = self._list(limit)[0]
        self.calls -= 1
        return listed

    def _list(self, limit: float = 5.0, _counter: object = None) -> ProcessSnapshot:
        """Return the state at half of the time of the call."""
        assert limit > self._network
        self.calls += 1
        begun = self.clock.now
        seen = _ENDED if begun + self._network / 2 >= self._life else _RUNNING
        self.clock.now += self._network
        answer = ProcessSnapshot(seen.processes)
        answer.begun, answer.ended = begun, self.clock.now
        self.history.fold(answer)
        return answer


def _in_real_time() -> Result:
    """Measure real processes, whose ends have times of this machine's clock."""
    result = Result(
        "Notice, in real time",
        "The same with real processes on the embedded sandbox: median and longest time from the end "
        "that the sandbox reports to the return of `wait_for_exit`. Processes of 60 s are waited for "
        "at the same time, through a relay that adds 30 ms each way.",
        ("network", "lifetime", "processes", "median", "longest"),
    )

    def add_row(network: str, life: float, late: list[float]) -> float:
        median, longest = statistics.median(late) * 1000, max(late) * 1000
        cells = (f"{life:g} s", str(len(late)), f"{median:.1f} ms", f"{longest:.1f} ms")
        result.rows.append((network, *cells))
        return median

    with start_local_sandbox() as local, delayed(local.url, 0.03) as url:
        near, far = locate(local), Address("local", url)
        for life, count in ((0.2, 200), (2.0, 50)):
            late = [_late(local, near, life) for _ in range(count)]
            median = add_row("none", life, late)
            result.targets += [
                Target(f"{life:g} s: median", median, 5, "ms"),
                Target(f"{life:g} s: longest", max(late) * 1000, 30, "ms"),
            ]
        call = statistics.median(_seconds_of_a_call(local, far) for _ in range(20))
        with ThreadPoolExecutor(6) as pool:
            late = list(pool.map(lambda _: _late(local, far, 60.0), range(6)))
        what = f"60 s, over a network: median, with a call of {call * 1000:.1f} ms"
        median = add_row("relay", 60.0, late)
        result.targets.append(Target(what, median, call * 1500 + 5, "ms"))
    return result


def _late(local: LocalSandbox, address: Address, life: float) -> float:
    """Wait for a process; return how many seconds late the wait was."""
    with contextlib.closing(_client(local, address)) as client:
        sandbox = Sandbox(client, timeout=600)
        job = sandbox.start_process("sleep", [str(life * random.uniform(0.75, 1.25))])
        row = sandbox.wait_for_exit(job)
        now = time.time()
    assert row.ended_at is not None
    return now - row.ended_at.timestamp()


def _client(local: LocalSandbox, address: Address) -> SandboxClient:
    return SandboxClient(Transport(address, local.api_key))


def _seconds_of_a_call(local: LocalSandbox, address: Address) -> float:
    """Return the time of the second call of a client, which does not include the connection."""
    with contextlib.closing(_client(local, address)) as client:
        client.poll()
        began = time.perf_counter()
        client.poll()
        return time.perf_counter() - began


def _bytes() -> Result:
    """Count the calls of a wait of 120 s for one of 1,000 processes, in simulated time."""
    sizes = [len(served_answer(Rows(count).body())) for count in (1000, 1)]
    result = Result(
        "Bytes",
        f"The calls of a wait of 120 s in simulated time. A list of 1,000 processes has {sizes[0]:,} bytes, "
        f"a row and a stream without output have {sizes[1]:,} bytes, with headers.",
        ("wait", "lists", "rows", "bytes"),
    )
    total = {}
    for name in (OURS, ALONE):
        lister = SimulatedLister(119.0, 0.0)
        if name == ALONE:
            lister.notice_end = lambda *_: None  # type: ignore[method-assign]
        with mock.patch.object(polling, "_LONG_LIST", 1 if name == OURS else 1000):
            Sandbox(lister, timeout=120).wait_for_exit(PID)
        total[name] = lister.calls * sizes[0] + (lister.rows + 1) * sizes[1]
        result.rows.append((name, str(lister.calls), str(lister.rows), f"{total[name]:,}"))
    result.targets.append(Target("bytes of polling alone", total[OURS] / total[ALONE], 0.06))
    return result
