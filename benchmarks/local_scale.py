"""A thousand living processes on the embedded sandbox, and a hundred list calls a second.

Run it with ``.venv/bin/python benchmarks/local_scale.py``. Goal: no error in 30 s. A time runs from
the moment at which the call was due, so that a server that falls behind shows.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import requests

from pytest_tlsandbox import start_local_sandbox

ALIVE = 1000
CALLS_A_SECOND = 100
SECONDS = 30
CLIENTS = 4


def main() -> None:
    """Start, list, and print."""
    with start_local_sandbox() as local, requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {local.api_key.reveal()}"
        session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=CLIENTS))
        url = f"{local.url}/api/v1/processes"
        server = psutil.Process(local.pid)
        empty = server.memory_info().rss
        began = time.perf_counter()
        for _ in range(ALIVE):
            answer = session.post(url, json={"command": "sleep", "args": ["600"]}, timeout=10)
            answer.raise_for_status()
        print(f"{ALIVE} processes started in {time.perf_counter() - began:.1f} s")

        began = time.perf_counter()

        def call(number: int) -> tuple[float, bool]:
            due = began + number / CALLS_A_SECOND
            time.sleep(max(0, due - time.perf_counter()))
            try:
                answer = session.get(url, timeout=10)
                well = answer.ok and answer.content.count(b'"status":"running"') == ALIVE
            except requests.RequestException:
                well = False
            return time.perf_counter() - due, well

        with ThreadPoolExecutor(CLIENTS) as pool:
            results = list(pool.map(call, range(CALLS_A_SECOND * SECONDS)))
        seconds = time.perf_counter() - began
        times = sorted(took * 1000 for took, _ in results)
        errors = sum(not well for _, well in results)
        size = len(session.get(url, timeout=10).content)
        print(
            f"{len(results)} list calls of {size / 1000:.0f} kB in {seconds:.1f} s, {errors} errors"
        )
        print(f"median {times[len(times) // 2]:.1f} ms, ", end="")
        print(f"p99 {times[int(len(times) * 0.99)]:.1f} ms, longest {times[-1]:.1f} ms")
        rss = server.memory_info().rss
        print(f"RSS {empty / 2**20:.1f} MiB empty, {rss / 2**20:.1f} MiB at the end")
        began = time.perf_counter()
    print(f"closed in {time.perf_counter() - began:.1f} s")


if __name__ == "__main__":
    main()
