"""What one look costs: a list call on the embedded sandbox, over a kept connection.

Run it with ``.venv/bin/python benchmarks/list_call.py``. Goal: at 10 rows, a median under 1 ms and a
95th percentile under 5 ms.
"""

from __future__ import annotations

import statistics
import time

from pytest_tlsandbox import start_local_sandbox
from pytest_tlsandbox.client.address import locate
from pytest_tlsandbox.client.api import SandboxClient
from pytest_tlsandbox.client.transport import Transport

CALLS = 2000


def main() -> None:
    """Measure and print."""
    with start_local_sandbox() as local:
        address = locate(local)
        client = SandboxClient(Transport(address, local.api_key, user_agent="benchmark"))
        for rows in (10, 100, 1000):
            while len(client.list()) < rows:
                client.start({"command": "true"})
            times = []
            for _ in range(CALLS):
                start = time.perf_counter()
                client.poll()
                times.append((time.perf_counter() - start) * 1000)
            times.sort()
            median, p95 = statistics.median(times), times[int(CALLS * 0.95)]
            print(f"{rows:5} rows: median {median:.2f} ms, p95 {p95:.2f} ms ({CALLS} calls)")
        client.close()


if __name__ == "__main__":
    main()
