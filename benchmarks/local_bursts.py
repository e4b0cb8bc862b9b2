"""Ten thousand short processes on the embedded sandbox, in bursts: no exit status may be lost.

Run it with ``.venv/bin/python benchmarks/local_bursts.py``. Goal: every exit code and signal is
right, none is left running, none is a zombie, and the server's memory ends where it was when the
table was first full. An older daemon of the service loses 0.2 to 0.7 % (fact sheet 2.3).
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from itertools import count, islice
from typing import TYPE_CHECKING

import psutil
import requests

from pytest_tlsandbox import start_local_sandbox
from pytest_tlsandbox.local.process_table import KEPT_ROWS

if TYPE_CHECKING:
    from collections.abc import Iterator

PROCESSES = 10_000
BURST = 500
CLIENTS = 4
SIGNALS = (1, 2, 3, 6, 9, 11, 15)


def main() -> None:
    """Run the bursts, check each end, and print."""
    with start_local_sandbox() as local, requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {local.api_key.reveal()}"
        session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=CLIENTS))
        url = f"{local.url}/api/v1/processes"
        server = psutil.Process(local.pid)
        wanted = islice(_ends(), PROCESSES)
        wrong = 0
        full = None
        began = time.perf_counter()
        while burst := list(islice(wanted, BURST)):
            with ThreadPoolExecutor(CLIENTS) as pool:
                handles = list(pool.map(lambda end: _start(session, url, end), burst))
            while True:
                rows = session.get(url, timeout=10).json()["processes"]
                if all(row["status"] != "running" for row in rows):
                    break
            ends = {row["handle"]: (row["exit_code"], row["signal"]) for row in rows}
            wrong += sum(ends[handle] != end for handle, end in zip(handles, burst, strict=True))
            if full is None and len(rows) == KEPT_ROWS:
                full = server.memory_info().rss
        seconds = time.perf_counter() - began
        info = session.get(f"{local.url}/api/v1/info", timeout=10).json()
        zombies = sum(child.status() == psutil.STATUS_ZOMBIE for child in server.children())
        print(f"{info['total_processes']} processes in {seconds:.1f} s, {wrong} wrong ends")
        print(f"{info['running_processes']} running, {zombies} zombies, {len(rows)} rows kept")
        print(f"RSS {(full or 0) / 2**20:.1f} MiB at the first {KEPT_ROWS} rows, ", end="")
        print(f"{server.memory_info().rss / 2**20:.1f} MiB at the end")


def _ends() -> Iterator[tuple[int | None, int | None]]:
    """Give ends without end, each an exit code or a signal."""
    for number in count():
        signal = SIGNALS[number // 4 % len(SIGNALS)]
        yield (None, signal) if number % 4 == 0 else (number % 256, None)


def _start(session: requests.Session, url: str, end: tuple[int | None, int | None]) -> int:
    code, signal = end
    script = f"exit {code}" if signal is None else f"kill -{signal} $$"
    body = {"command": "sh", "args": ["-c", script]}
    answer = session.post(url, json=body, timeout=10)
    answer.raise_for_status()
    handle: int = answer.json()["handle"]
    return handle


if __name__ == "__main__":
    main()
