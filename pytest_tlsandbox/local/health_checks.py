"""Check the health of a managed process through its port on this machine."""

from __future__ import annotations

import asyncio
import re
from contextlib import closing
from typing import TYPE_CHECKING, Any, Literal

from pytest_tlsandbox.local.tunnel import connect

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from pytest_tlsandbox.local.process import Process
    from pytest_tlsandbox.local.request_bodies import HealthCheck

HealthStatus = Literal["disabled", "starting", "healthy", "unhealthy"]

# An interval of 0 must not keep the server busy.
_SHORTEST_INTERVAL = 0.01
_WELL = re.compile(rb"HTTP/1\.[01] [23]\d\d\b")


class Health:
    """The health of one run.

    Attributes:
        status: "starting" until a check succeeds or enough checks fail in a row; "disabled"
            without a health check.
        failures: number of failed checks in a row.

    """

    def __init__(self, check: HealthCheck | None) -> None:
        self.status: HealthStatus = "disabled" if check is None else "starting"
        self.failures = 0
        self._check = check

    async def watch(
        self, process: Process, replace: Callable[[Process], Coroutine[Any, Any, None]]
    ) -> None:
        """Check the health of a process at regular intervals until the process ends.

        If the process is unhealthy, call ``replace``.
        """
        check = self._check
        if check is None:
            return
        pause = check.initial_delay_ms / 1000
        while not await process.ends_within(pause):
            if await _answers(check):
                self.status, self.failures = "healthy", 0
            elif process.is_running:
                self.failures += 1
                if self.failures >= check.failure_threshold:
                    self.status = "unhealthy"
                    await replace(process)
            pause = max(check.interval_ms / 1000, _SHORTEST_INTERVAL)


async def _answers(check: HealthCheck) -> bool:
    try:
        return await asyncio.wait_for(_ask(check), check.timeout_ms / 1000)
    except (OSError, ValueError, asyncio.TimeoutError):
        return False


async def _ask(check: HealthCheck) -> bool:
    """Connect to the port and, for an HTTP check, send a request.

    Returns:
        Whether the check passes. An HTTP check passes for statuses from 200 to 399.

    Raises:
        OSError: the connection failed.
        ValueError: the response cannot be read.

    """
    reader, writer = await connect(check.port)
    with closing(writer):
        if check.type == "tcp":
            return True
        path = (check.path or "/").encode("utf-8")
        if not re.fullmatch(rb"[!-~]*", path):
            return False  # a request line cannot contain this path
        host = f"127.0.0.1:{check.port}".encode()
        target = path if path.startswith(b"/") else b"/" + path
        writer.write(b"GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n" % (target, host))
        return _WELL.match(await reader.readline()) is not None
