"""Measure the embedded sandbox: ``python -m benchmarks.local [calls] [bursts] [scale]``.

``calls`` measures list calls on a persistent connection. The target for 10 rows is a median under 1
ms and a 95th percentile under 5 ms.

``bursts``: ten thousand short processes. Goal: every exit code and signal is right, no process is left
running or as a zombie, and the server uses as much memory at the end as when the table was first full.
An older daemon of the service loses 0.15 to 0.7 % (api-notes, "Ends").

``scale``: a thousand running processes, and a hundred list calls per second. Goal: no error in 30
s. Each call is timed from when it was due, so that the times show whether the server falls behind.
"""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import count, islice
from typing import TYPE_CHECKING, Any

import psutil
import requests

from pytest_tlsandbox import start_local_sandbox
from pytest_tlsandbox.client.address import locate
from pytest_tlsandbox.client.api import SandboxClient
from pytest_tlsandbox.client.transport import Transport
from pytest_tlsandbox.local.process_table import KEPT_ROWS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pytest_tlsandbox.local.sandbox import LocalSandbox

CLIENTS = 4
CALLS = 2000
PROCESSES, BURST = 10_000, 500
SIGNALS = (1, 2, 3, 6, 9, 11, 15)
ALIVE, CALLS_A_SECOND, SECONDS = 1000, 100, 30


class Server:
    """An embedded sandbox, called over plain HTTP by ``CLIENTS`` threads."""

    def __init__(self, local: LocalSandbox, session: requests.Session) -> None:
        session.headers["Authorization"] = f"Bearer {local.api_key.reveal()}"
        session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=CLIENTS))
        self.url = f"{local.url}/api/v1"
        self.process = psutil.Process(local.pid)
        self.session = session

    def get(self, path: str = "processes") -> requests.Response:
        """Request the list of processes, or another path."""
        return self.session.get(f"{self.url}/{path}", timeout=10)

    def start(self, command: str, *args: str) -> int:
        """Start a process, and return its handle."""
        body = {"command": command, "args": args}
        answer = self.session.post(f"{self.url}/processes", json=body, timeout=10)
        answer.raise_for_status()
        handle: int = answer.json()["handle"]
        return handle

    def memory(self) -> str:
        """Return the resident memory of the server."""
        return f"{self.process.memory_info().rss / 2**20:.1f} MiB"


def calls(local: LocalSandbox, _server: Server) -> None:
    """Time list calls of the plugin's client."""
    client = SandboxClient(Transport(locate(local), local.api_key, user_agent="benchmark"))
    for rows in (10, 100, 1000):
        while len(client.list()) < rows:
            client.start({"command": "true"})
        times = []
        for _ in range(CALLS):
            began = time.perf_counter()
            client.poll()
            times.append(time.perf_counter() - began)
        print(f"{rows:5} rows: {_quantiles(times)} ({CALLS} calls)")
    client.close()


def bursts(_local: LocalSandbox, server: Server) -> None:
    """Run the bursts, check how each process ended, and print."""
    wanted = islice(_ends(), PROCESSES)
    wrong, full = 0, ""
    rows: list[dict[str, Any]] = []
    began = time.perf_counter()
    while burst := list(islice(wanted, BURST)):
        with ThreadPoolExecutor(CLIENTS) as pool:
            handles = list(pool.map(lambda end: server.start("sh", "-c", _script(*end)), burst))
        while not rows or any(row["status"] == "running" for row in rows):
            rows = server.get().json()["processes"]
        ends = {row["handle"]: (row["exit_code"], row["signal"]) for row in rows}
        wrong += sum(ends[handle] != end for handle, end in zip(handles, burst, strict=True))
        if not full and len(rows) == KEPT_ROWS:
            full = server.memory()
        kept, rows = len(rows), []
    seconds = time.perf_counter() - began
    info = server.get("info").json()
    zombies = sum(child.status() == psutil.STATUS_ZOMBIE for child in server.process.children())
    print(f"{info['total_processes']} processes in {seconds:.1f} s, {wrong} wrong ends")
    print(f"{info['running_processes']} running, {zombies} zombies, {kept} rows kept")
    print(f"RSS {full} at the first {KEPT_ROWS} rows, {server.memory()} at the end")


def _ends() -> Iterator[tuple[int | None, int | None]]:
    """Yield exit codes and signals endlessly."""
    for number in count():
        signal = SIGNALS[number // 4 % len(SIGNALS)]
        yield (None, signal) if number % 4 == 0 else (number % 256, None)


def _script(code: int | None, signal: int | None) -> str:
    return f"exit {code}" if signal is None else f"kill -{signal} $$"


def scale(_local: LocalSandbox, server: Server) -> None:
    """Start many processes, list them, and print the times."""
    empty = server.memory()
    began = time.perf_counter()
    for _ in range(ALIVE):
        server.start("sleep", "600")
    print(f"{ALIVE} processes started in {time.perf_counter() - began:.1f} s")
    began = time.perf_counter()

    def call(number: int) -> tuple[float, bool]:
        due = began + number / CALLS_A_SECOND
        time.sleep(max(0, due - time.perf_counter()))
        try:
            answer = server.get()
            good = answer.ok and answer.content.count(b'"status":"running"') == ALIVE
        except requests.RequestException:
            good = False
        return time.perf_counter() - due, good

    with ThreadPoolExecutor(CLIENTS) as pool:
        times, results = zip(*pool.map(call, range(CALLS_A_SECOND * SECONDS)), strict=True)
    seconds = time.perf_counter() - began
    size = len(server.get().content) / 1000
    print(
        f"{len(times)} list calls of {size:.0f} kB in {seconds:.1f} s, {results.count(False)} errors"
    )
    print(f"{_quantiles(times)}; RSS {empty} empty, {server.memory()} at the end")


def _quantiles(times: Sequence[float]) -> str:
    ms = sorted(took * 1000 for took in times)
    of = {"median": 0.5, "p95": 0.95, "p99": 0.99}
    figures = ", ".join(f"{name} {ms[int(len(ms) * share)]:.2f} ms" for name, share in of.items())
    return f"{figures}, longest {ms[-1]:.2f} ms"


ALL = {"calls": calls, "bursts": bursts, "scale": scale}


def main() -> None:
    """Run the named measurements, or all, each on a separate sandbox."""
    for name in sys.argv[1:] or ALL:
        with start_local_sandbox() as local, requests.Session() as session:
            ALL[name](local, Server(local, session))
            began = time.perf_counter()
        print(f"closed in {time.perf_counter() - began:.1f} s\n")


if __name__ == "__main__":
    main()
