"""Run managed processes, including restarts and health checks.

The fields are the same as in the service (api-notes, "Managed processes"). The documentation of the
service does not define all details of the behavior. ``docs/reference/embedded-sandbox.md`` lists
the details that this module defines.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import signal
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any, Literal

from pytest_tlsandbox.local.asgi import ApiError
from pytest_tlsandbox.local.process import Process, is_set_within, now_ms
from pytest_tlsandbox.local.supervisor import Supervisor
from pytest_tlsandbox.local.tunnel import connect

if TYPE_CHECKING:
    from pytest_tlsandbox.local.request_bodies import HealthCheck, StartRequest

SupervisorStatus = Literal["starting", "running", "backing_off", "stopped"]
HealthStatus = Literal["disabled", "starting", "healthy", "unhealthy"]


class ManagedProcess:
    """A managed process with all its runs; only one run is active at a time.

    The protocol ``Manager`` defines the interface for other modules.

    Attributes:
        run: the current run, or the last run.

    """

    def __init__(self, supervisor: Supervisor, request: StartRequest) -> None:
        """Start the process.

        Raises:
            ApiError: 409 if another process uses the name, 500 if the program cannot be started.

        """
        other = supervisor.table.find(request.name)
        if other is not None and other.managed is not None and not other.managed.has_ended:
            raise ApiError(409, f"Process '{request.name}' already exists", "ALREADY_EXISTS")
        self._supervisor = supervisor
        self._request = request
        self._rules = request.restart_rules
        first_health: HealthStatus = "starting" if request.health_check else "disabled"
        self._first_health = {"health_status": first_health, "consecutive_health_failures": 0}
        # What ``describe`` returns; while a run is active, the status is that after its end.
        self._fields: dict[str, Any] = {
            "id": request.name or f"managed-{secrets.token_hex(4)}",
            "name": request.name,
            "restart": self._rules.model_dump(),
            "restart_count": 0,
            "health_check": request.health_check and request.health_check.model_dump(),
            "last_exit": None,
            "last_error": None,
        }
        self._set_status("starting")
        # Serializes restarts and stops.
        self._changing = asyncio.Lock()
        self.run = self._start_run()
        self._supervising = supervisor.run_in_background(self._supervise())

    @property
    def has_ended(self) -> bool:
        """Whether the process has ended and no automatic restart will follow."""
        return self._fields["status"] == "stopped" and not self.run.is_running

    def describe(self) -> dict[str, Any]:
        """Return the value of the field ``managed`` for the row of the last run."""
        if self.run.is_running:
            return {**self._fields, "status": "running"}
        return {**self._fields, **self._first_health, "last_exit": _exit_of(self.run)}

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
            self._supervising.cancel()
            self._set_status("starting")
            await self._end(self.run)
            self._fields["last_error"] = None
            try:
                self._replace_run()
            except ApiError as error:
                self._set_status("stopped", last_error=str(error))
                raise
            self._supervising = self._supervisor.run_in_background(self._supervise())
            return self.run

    async def stop(self) -> None:
        """Prevent further restarts, and end the current run in the background.

        The process group receives SIGTERM. When the run has ended or ``stop_grace_ms`` have passed,
        everything that belongs to the process receives SIGKILL.
        """
        async with self._changing:
            self._supervising.cancel()
            self._set_status("stopped", last_error=None)
            self._supervisor.run_in_background(self._end(self.run))

    async def _supervise(self) -> None:
        """Start the next run whenever a run has ended, until the restart policy forbids it.

        Each restart doubles the delay before the next restart, up to ``max_backoff_ms``.
        """
        rules = self._rules
        restarts = 0
        while True:
            await self.run.ended.wait()
            failed = self.run.exit_code != 0 or self._fields["health_status"] == "unhealthy"
            if rules.policy == "never" or (rules.policy == "on_failure" and not failed):
                return self._set_status("stopped")
            if restarts == rules.max_restarts:
                return self._set_status("stopped", last_error="restart limit reached")
            doubled = rules.initial_backoff_ms * 2 ** min(restarts, 32)
            delay = min(doubled, rules.max_backoff_ms)
            self._set_status("backing_off", next_restart_at=now_ms() + delay)
            await asyncio.sleep(delay / 1000)
            self._set_status("starting")
            restarts += 1
            # Children that the last run left behind may hold the port that the next run needs.
            await self._supervisor.kill(self.run)
            try:
                self._replace_run()
            except ApiError as error:
                self._fields["last_error"] = str(error)

    def _start_run(self) -> Process:
        run = self._supervisor.start(self._request, self)
        self._fields |= self._first_health
        if check := self._request.health_check:
            self._supervisor.run_in_background(self._check_health(run, check))
        return run

    def _replace_run(self) -> None:
        """Start the next run; its row replaces the row of the last run."""
        ended, self.run = self.run, self._start_run()
        self._supervisor.table.remove(ended)
        self._fields["last_exit"] = _exit_of(ended)
        self._fields["restart_count"] += 1

    async def _check_health(self, run: Process, check: HealthCheck) -> None:
        """Check the health of a run at regular intervals until the run ends.

        End an unhealthy run, unless the policy is "never". The run then counts as failed.
        """
        pause = check.initial_delay_ms / 1000
        while not await is_set_within(run.ended, pause):
            # An interval of 0 must not keep the server busy.
            pause = max(check.interval_ms / 1000, 0.01)
            has_passed = await _passes(check)
            if not run.is_running:
                return
            failures = 0 if has_passed else self._fields["consecutive_health_failures"] + 1
            self._fields["consecutive_health_failures"] = failures
            if has_passed:
                self._fields["health_status"] = "healthy"
            elif failures >= check.failure_threshold:
                self._fields["health_status"] = "unhealthy"
                # If nothing supervises the run, a request is already ending it.
                if not self._supervising.done() and self._rules.policy != "never":
                    error = f"the health check failed {failures} times in a row"
                    self._fields["last_error"] = error
                    await self._end(run)

    async def _end(self, run: Process) -> None:
        if run.is_running:
            await self._supervisor.send_signal(run, signal.SIGTERM)
            await is_set_within(run.ended, self._request.stop_grace_ms / 1000)
        await self._supervisor.kill(run)
        await run.ended.wait()

    def _set_status(self, status: SupervisorStatus, **fields: int | str | None) -> None:
        self._fields |= {"status": status, "next_restart_at": None, **fields}


def _exit_of(run: Process) -> dict[str, Any]:
    return {name: getattr(run, name) for name in ("exit_code", "signal", "oom_killed", "ended_at")}


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
        return re.match(rb"HTTP/1\.[01] [23]\d\d\b", await reader.readline()) is not None
