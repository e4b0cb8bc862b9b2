"""How long the ready-made checks take for 200 sandboxes on one host, 50 ms away."""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import tempfile
import time

from benchmarks.measuring import Result, Target

SANDBOXES, DELAY, RUNS = 200, 0.05, 5
MOST_SECONDS = 3.0
BODY = b'{"processes": []}'
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
OPTIONS = ("-q", "--noconftest", "--pyargs", "pytest_tlsandbox.checks")
CHECKS = (sys.executable, "-m", "pytest", *OPTIONS)


def measure() -> list[Result]:
    """Time whole runs of pytest, and how long it takes until every sandbox was polled."""
    result = Result(
        "The ready-made checks",
        f"{SANDBOXES} sandboxes on one host, {DELAY * 1000:.0f} ms away; medians of {RUNS} runs.",
        ("all polled", "all of pytest"),
    )
    polling, whole = zip(*asyncio.run(_run_checks()), strict=True)
    seconds = statistics.median(whole)
    result.rows.append((f"{statistics.median(polling):.2f} s", f"{seconds:.2f} s"))
    result.targets.append(Target(f"{SANDBOXES * 6:,} tests", seconds, MOST_SECONDS, "s"))
    return [result]


async def _run_checks() -> list[tuple[float, float]]:
    """Serve the lists and run the checks; return the seconds of polling and of each whole run."""
    polled: list[float] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while request := await reader.readuntil(b"\r\n\r\n"):
                if b"/processes " in request:  # the others ask for the kernel's counter
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
    taken = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(RUNS):
            polled.clear()
            began = time.perf_counter()
            checks = await asyncio.create_subprocess_exec(
                *CHECKS, env=environment, cwd=folder, stdout=asyncio.subprocess.DEVNULL
            )
            if await checks.wait() != 0 or len(polled) != SANDBOXES:
                raise SystemExit(f"status {checks.returncode}, {len(polled)} polls")
            seconds = time.perf_counter() - began
            taken.append((max(polled) - min(polled) + DELAY, seconds))
    return taken
