"""Run managed processes, including restarts and health checks.

The fields are the same as in the service (api-notes, "Managed processes"). The documentation of the
service does not define all details of the behavior. ``docs/local.md`` lists the details that this
module defines.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import signal
from contextlib import closing, suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal

from pytest_tlsandbox.local.asgi import ApiError
from pytest_tlsandbox.local.process import Process, is_set_within, now_ms
from pytest_tlsandbox.local.tunnel import connect

if TYPE_CHECKING:
    from pytest_tlsandbox.local.request_bodies import HealthCheck, StartRequest
    from pytest_tlsandbox.local.supervisor import Supervisor

SupervisorStatus = Literal["starting", "running", "backing_off", "stopped"]
HealthStatus = Literal["disabled", "starting", "healthy", "unhealthy"]

# What happens after a run has ended: the policy decides, a restart was requested, or nothing.
_Next = Literal["policy", "restart", "nothing"]

# An interval of 0 must not keep the server busy.
_SHORTEST_INTERVAL = 0.01
_WELL = re.compile(rb"HTTP/1\.[01] [23]\d\d\b")
_LAST_EXIT = ("exit_code", "signal", "oom_killed", "ended_at")


class ManagedProcess:
    """A managed process with all its runs; only one run is active at a time.

    The protocol ``Manager`` defines the interface for other modules.
    """

    def __init__(self, supervisor: Supervisor, request: StartRequest) -> None:
        self.name = request.name
        self.run: Process | None = None
        self.starts = 0
        self._id = request.name or f"managed-{secrets.token_hex(4)}"
        self._supervisor = supervisor
        self._request = request
        self._rules = request.restart_rules
        self._described = {
            "restart": asdict(self._rules),
            "health_check": request.health_check and asdict(request.health_check),
        }
        self._next: _Next = "policy"
        # Automatic restarts since the last requested restart.
        self._restarts = 0
        self._last_exit: dict[str, Any] | None = None
        self._last_error: str | None = None
        self._backing_off: asyncio.Task[None] | None = None
        self._next_restart_at: int | None = None
        # Serializes restarts and stops.
        self._changing = asyncio.Lock()
        self._forget_health()

    @property
    def has_ended(self) -> bool:
        """Whether the process has ended and no automatic restart will follow."""
        return self._next == "nothing" and not (self.run and self.run.is_running)

    def describe(self, run: Process) -> dict[str, Any]:
        """Return the value of the field ``managed`` for the row of a run."""
        return {
            "id": self._id,
            "name": self.name,
            "status": self._status(run),
            "restart_count": self.starts - 1,
            **self._described,
            "health_status": self._health_status,
            "consecutive_health_failures": self._health_failures,
            "last_exit": self._last_exit,
            "last_error": self._last_error,
            "next_restart_at": self._next_restart_at,
        }

    async def start(self) -> Process:
        """Start a run and its health check.

        Returns:
            The run.

        Raises:
            ApiError: 409 if another process uses the name, 500 if the program cannot be started.

        """
        run = await self._supervisor.start(self._request, self)
        self._supervisor.run_in_background(self._check_health(run))
        return run

    async def restart(self) -> Process:
        """End the current run as ``stop`` does, and start another run.

        A stopped process is started again. The restart increases ``restart_count``. The restart
        limit and the backoff are reset.

        Returns:
            The new run.

        Raises:
            ApiError: 500 if the program cannot be started.

        """
        async with self._changing:
            self._stop_waiting()
            self._next = "restart"
            if self.run is not None:
                await self._end(self.run)
            self._restarts = 0
            self._last_error = None
            self._next = "policy"
            try:
                return await self.start()
            except ApiError as error:
                self._stop(str(error))
                raise

    async def stop(self) -> None:
        """Prevent further restarts, and end the current run in the background.

        The process group receives SIGTERM. When the run has ended or ``stop_grace_ms`` have passed,
        everything that belongs to the process receives SIGKILL.
        """
        async with self._changing:
            self._stop_waiting()
            self._stop(None)
            if self.run is not None and self.run.is_running:
                self._supervisor.run_in_background(self._end(self.run))

    def run_ended(self, run: Process) -> None:
        """Decide what happens after a run has ended."""
        self._last_exit = {name: getattr(run, name) for name in _LAST_EXIT}
        failed = run.exit_code != 0 or self._health_status == "unhealthy"
        self._forget_health()
        if self._next == "nothing":
            self._supervisor.table.note_end(run)
        elif self._next == "policy":
            self._follow_policy(run, failed=failed)

    def _forget_health(self) -> None:
        has_check = self._request.health_check is not None
        self._health_status: HealthStatus = "starting" if has_check else "disabled"
        self._health_failures = 0

    async def _check_health(self, run: Process) -> None:
        """Check the health of a run at regular intervals until the run ends.

        End an unhealthy run, unless the policy is "never". The run then counts as failed.
        """
        check = self._request.health_check
        if check is None:
            return
        pause = check.initial_delay_ms / 1000
        while not await is_set_within(run.ended, pause):
            pause = max(check.interval_ms / 1000, _SHORTEST_INTERVAL)
            has_passed = await _passes(check)
            if not run.is_running:
                return
            self._health_failures = 0 if has_passed else self._health_failures + 1
            if has_passed:
                self._health_status = "healthy"
            elif self._health_failures >= check.failure_threshold:
                self._health_status = "unhealthy"
                if self._next == "policy" and self._rules.policy != "never":
                    times = self._health_failures
                    self._last_error = f"the health check failed {times} times in a row"
                    await self._end(run)

    def _follow_policy(self, run: Process, *, failed: bool) -> None:
        rules = self._rules
        if rules.policy == "never" or (rules.policy == "on_failure" and not failed):
            self._stop(self._last_error)
        elif rules.max_restarts is not None and self._restarts >= rules.max_restarts:
            self._stop("restart limit reached")
        else:
            self._backing_off = self._supervisor.run_in_background(self._back_off(run))

    async def _back_off(self, run: Process) -> None:
        """Start the next run after a delay.

        Each restart doubles the delay, up to ``max_backoff_ms``.
        """
        doubled = self._rules.initial_backoff_ms * 2 ** min(self._restarts, 32)
        delay = min(doubled, self._rules.max_backoff_ms)
        self._next_restart_at = now_ms() + delay
        await asyncio.sleep(delay / 1000)
        async with self._changing:
            self._backing_off = self._next_restart_at = None
            self._restarts += 1
            # Children that the last run left behind may hold the port that the next run needs.
            await self._supervisor.kill(run)
            try:
                await self.start()
            except ApiError as error:
                self._last_error = str(error)
                self._follow_policy(run, failed=True)

    async def _end(self, run: Process) -> None:
        if run.is_running:
            await self._supervisor.send_signal(run, signal.SIGTERM)
            await is_set_within(run.ended, self._request.stop_grace_ms / 1000)
        await self._supervisor.kill(run)
        await run.ended.wait()

    def _stop(self, error: str | None) -> None:
        self._last_error = error
        self._next = "nothing"
        if self.run is not None and not self.run.is_running:
            self._supervisor.table.note_end(self.run)

    def _stop_waiting(self) -> None:
        if self._backing_off is not None:
            self._backing_off.cancel()
        self._backing_off = self._next_restart_at = None

    def _status(self, run: Process) -> SupervisorStatus:
        if run.is_running:
            return "running"
        if self._next == "nothing":
            return "stopped"
        return "starting" if self._next_restart_at is None else "backing_off"


async def _passes(check: HealthCheck) -> bool:
    """Return whether a check passes now; an HTTP check passes for statuses from 200 to 399."""
    with suppress(OSError, ValueError, asyncio.TimeoutError):
        return await asyncio.wait_for(_ask(check), check.timeout_ms / 1000)
    return False


async def _ask(check: HealthCheck) -> bool:
    reader, writer = await connect(check.port)
    with closing(writer):
        if check.type == "tcp":
            return True
        path = "/" + (check.path or "").removeprefix("/")
        head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{check.port}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode())
        return _WELL.match(await reader.readline()) is not None
