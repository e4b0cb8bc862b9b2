"""The embedded sandbox as a server: list calls, bursts of short processes, and many live processes.

``bursts`` checks that every exit code and signal is right, and that no process is left running or
as a zombie. An older daemon of the service loses 0.15 to 0.7 % (api-notes, "Ends"). In ``scale``,
each call is timed from when it was due, so that the times show whether the server falls behind.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import count, islice

import psutil

from benchmarks.measuring import Result, Target
from pytest_tlsandbox import start_local_sandbox
from pytest_tlsandbox.client.address import locate
from pytest_tlsandbox.client.api import SandboxClient
from pytest_tlsandbox.client.transport import Transport

CLIENTS = 4
CALLS = 2000
PROCESSES, BURST = 10_000, 500
SIGNALS = (1, 2, 3, 6, 9, 11, 15)
ALIVE, CALLS_A_SECOND, SECONDS = 1000, 100, 30


def measure() -> list[Result]:
    """Run each measurement on a separate sandbox."""
    result = Result(
        "The embedded sandbox",
        f"{CALLS:,} list calls in turn; {PROCESSES:,} short processes; {CALLS_A_SECOND} list calls per "
        f"second for {SECONDS} s while {ALIVE:,} processes are alive.",
        ("what", "median", "p95", "p99", "longest", "memory of the server"),
    )
    for part in (_calls, _bursts, _scale):
        with start_local_sandbox() as local:
            transport = Transport(locate(local), local.api_key)
            with closing(SandboxClient(transport)) as client:
                part(result, client, psutil.Process(local.pid))
    return [result] if result.rows else []


def _calls(result: Result, client: SandboxClient, server: psutil.Process) -> None:
    """Time list calls on one connection."""
    for rows in (10, 100, 1000):
        while len(client.list()) < rows:
            client.start({"command": "true"})
        times = [_seconds_of_a_call(client, time.perf_counter()) for _ in range(CALLS)]
        median, p95, _ = _add_row(result, f"a call, {rows} rows", times, server)
        if rows == 10:
            result.targets += [
                Target("a call, 10 rows: median", median * 1000, 1, "ms"),
                Target("a call, 10 rows: p95", p95 * 1000, 5, "ms"),
            ]


def _seconds_of_a_call(client: SandboxClient, due: float) -> float:
    client.poll()
    return time.perf_counter() - due


def _bursts(result: Result, client: SandboxClient, server: psutil.Process) -> None:
    """Start short processes in bursts, and check how each of them ended."""
    wanted, wrong, times = islice(_ends(), PROCESSES), 0, []

    def start(end: tuple[int | None, int | None]) -> int:
        code, signal = end
        script = f"exit {code}" if signal is None else f"kill -{signal} $$"
        return client.start({"command": "sh", "args": ["-c", script]}).pid

    while burst := list(islice(wanted, BURST)):
        began = time.perf_counter()
        with ThreadPoolExecutor(CLIENTS) as pool:
            pids = list(pool.map(start, burst))
        while (snapshot := client.list()).alive:
            pass
        times.append(time.perf_counter() - began)
        ends = {row.pid: (row.exit_code, row.signal) for row in snapshot}
        wrong += sum(ends[pid] != end for pid, end in zip(pids, burst, strict=True))
    _add_row(result, f"a burst of {BURST} processes", times, server)
    left = len(server.children(recursive=True))
    result.targets += [
        Target(f"{PROCESSES:,} processes: wrong ends", wrong, 0, "processes"),
        Target(f"{PROCESSES:,} processes: left or zombies", left, 0, "processes"),
    ]


def _ends() -> Iterator[tuple[int | None, int | None]]:
    """Yield exit codes and signals endlessly."""
    for number in count():
        signal = SIGNALS[number // 4 % len(SIGNALS)]
        yield (None, signal) if number % 4 == 0 else (number % 256, None)


def _scale(result: Result, client: SandboxClient, server: psutil.Process) -> None:
    """List many processes again and again; a call that fails ends the benchmark."""
    for _ in range(ALIVE):
        client.start({"command": "sleep", "args": ["600"]})
    began = time.perf_counter()

    def call(number: int) -> float:
        due = began + number / CALLS_A_SECOND
        time.sleep(max(0, due - time.perf_counter()))
        return _seconds_of_a_call(client, due)

    with ThreadPoolExecutor(CLIENTS) as pool:
        times = list(pool.map(call, range(CALLS_A_SECOND * SECONDS)))
    _add_row(result, f"a call, {ALIVE:,} processes alive", times, server)


def _add_row(
    result: Result, what: str, times: Sequence[float], server: psutil.Process
) -> list[float]:
    """Add a row about these times, and return the median and the percentiles 95 and 99."""
    ordered = sorted(times)
    shown = [ordered[int(len(ordered) * share)] for share in (0.5, 0.95, 0.99)]
    figures = [f"{seconds * 1000:.2f} ms" for seconds in (*shown, ordered[-1])]
    result.rows.append((what, *figures, f"{server.memory_info().rss / 2**20:.1f} MiB"))
    return shown
