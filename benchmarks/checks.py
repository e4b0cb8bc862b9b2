"""How long the ready-made checks take for 200 sandboxes on one host, 50 ms away.

Goal: all sandboxes are polled concurrently, and the whole pytest run of 1,200 tests takes at most
3 s. Run it with ``python benchmarks/checks.py``.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import tempfile
import time

SANDBOXES, DELAY, RUNS = 200, 0.05, 5
ALLOWED = 3.0
BODY = b'{"processes": []}'
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
COMMAND = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--noconftest")


async def main() -> int:
    """Serve, run the checks and print; return 1 if they take too long."""
    polled: list[float] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                polled.append(time.perf_counter())
                await asyncio.sleep(DELAY)
                writer.write(ANSWER)
                await writer.drain()
        except (asyncio.IncompleteReadError, OSError):
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=SANDBOXES)
    port = server.sockets[0].getsockname()[1]
    environment = {
        **os.environ,
        "TENSORLAKE_API_KEY": "any",
        "TENSORLAKE_SANDBOX_PROXY_URL": f"http://127.0.0.1:{port}",
        "TLSANDBOX": " ".join(f"box-{number}" for number in range(SANDBOXES)),
    }
    whole, polling = [], []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(RUNS):
            polled.clear()
            began = time.perf_counter()
            checks = await asyncio.create_subprocess_exec(
                *COMMAND,
                "--pyargs",
                "pytest_tlsandbox.checks",
                env=environment,
                cwd=folder,
                stdout=asyncio.subprocess.DEVNULL,
            )
            if await checks.wait() != 0 or len(polled) != SANDBOXES:
                raise SystemExit(f"status {checks.returncode}, {len(polled)} polls")
            whole.append(time.perf_counter() - began)
            polling.append(max(polled) - min(polled) + DELAY)
    print(f"{SANDBOXES} sandboxes, {DELAY * 1000:.0f} ms away, median of {RUNS} runs")
    print(
        f"all polled in {statistics.median(polling):.2f} s, all of pytest {statistics.median(whole):.2f} s"
    )
    print(f"allowed: {ALLOWED} s")
    return 0 if statistics.median(whole) <= ALLOWED else 1


if __name__ == "__main__":
    raise SystemExit(asyncio.run(main()))
