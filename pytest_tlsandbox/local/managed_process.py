"""Run managed processes, including restarts and health checks.

The fields are the same as in the service (api-notes, "Managed processes"). The documentation of the
service does not define all details of the behavior. ``docs/local.md`` lists the details that this
module defines.
"""

from __future__ import annotations

import asyncio
import secrets
import signal
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal

from pytest_tlsandbox.local.health_checks import Health
from pytest_tlsandbox.local.http_errors import ApiError
from pytest_tlsandbox.local.process import Process, now_ms

if TYPE_CHECKING:
    from pytest_tlsandbox.local.request_bodies import StartRequest
    from pytest_tlsandbox.local.supervisor import Supervisor

SupervisorStatus = Literal["starting", "running", "backing_off", "stopped"]

# What happens after a run has ended: the policy decides, a restart was requested, or nothing.
_Next = Literal["policy", "restart", "nothing"]


class ManagedProcess:
    """A managed process with all its runs; only one run is active at a time.

    The protocol ``Manager`` defines the interface for other modules.
    """

    def __init__(self, supervisor: Supervisor, request: StartRequest) -> None:
        self.name = request.name
        self.run: Process | None = None
        self._id = request.name or f"managed-{secrets.token_hex(4)}"
        self._supervisor = supervisor
        self._request = request
        self._rules = request.restart_rules
        self._described = {
            "restart": asdict(self._rules),
            "health_check": request.health_check and asdict(request.health_check),
        }
        self._health = Health(request.health_check)
        self._next: _Next = "policy"
        self._restart_count = 0
        self._last_run: Process | None = None
        self._last_error: str | None = None
        self._backing_off: asyncio.Task[None] | None = None
        self._next_restart_at: int | None = None
        # Serializes restarts and stops.
        self._changing = asyncio.Lock()
        self._forget_restarts()

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
            "restart_count": self._restart_count,
            **self._described,
            "health_status": self._health.status,
            "consecutive_health_failures": self._health.failures,
            "last_exit": None if self._last_run is None else _describe_end(self._last_run),
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
        is_restart = self.run is not None
        self._restart_count += is_restart
        try:
            run = await self._supervisor.start(self._request, self)
        except BaseException:
            self._restart_count -= is_restart
            raise
        self._supervisor.run_in_background(self._health.watch(run, self._replace))
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
            self._forget_restarts()
            self._last_error = None
            self._next = "policy"
            try:
                return await self.start()
            except ApiError as error:
                self._stop(str(error))
                raise

    async def stop(self) -> None:
        """Prevent further restarts, and end the current run in the background.

        The process group receives SIGTERM. When the run ends, or after ``stop_grace_ms`` at the
        latest, everything that belongs to the process receives SIGKILL.
        """
        async with self._changing:
            self._stop_waiting()
            self._stop(None)
            if self.run is not None and self.run.is_running:
                self._supervisor.run_in_background(self._end(self.run))

    def run_ended(self, run: Process) -> None:
        """Decide what happens after a run has ended."""
        self._last_run = run
        failed = run.exit_code != 0 or self._health.status == "unhealthy"
        self._health = Health(self._request.health_check)
        if self._next == "nothing":
            self._supervisor.table.note_end(run)
        elif self._next == "policy":
            self._follow_policy(run, failed=failed)

    async def _replace(self, run: Process) -> None:
        """End an unhealthy run, unless the policy is "never".

        A run that is ended for this reason counts as failed.
        """
        if self._next == "policy" and self._rules.policy != "never":
            self._last_error = f"the health check failed {self._health.failures} times in a row"
            await self._end(run)

    def _follow_policy(self, run: Process, *, failed: bool) -> None:
        rules = self._rules
        if rules.policy == "never" or (rules.policy == "on_failure" and not failed):
            self._stop(self._last_error)
        elif rules.max_restarts is not None and self._tries >= rules.max_restarts:
            self._stop("restart limit reached")
        else:
            self._back_off(run)

    def _back_off(self, run: Process) -> None:
        """Schedule the next run. Each restart doubles the delay, up to ``max_backoff_ms``.

        If the run lasted longer than ``max_backoff_ms``, the delay starts again at its initial
        value.
        """
        longest = self._rules.max_backoff_ms
        if run.ended_at is not None and run.ended_at - run.started_at > longest:
            self._backoff_ms = min(self._rules.initial_backoff_ms, longest)
        self._next_restart_at = now_ms() + self._backoff_ms
        self._backing_off = self._supervisor.run_in_background(
            self._restart_after(self._backoff_ms / 1000, run)
        )
        self._backoff_ms = min(self._backoff_ms * 2, longest)

    async def _restart_after(self, seconds: float, run: Process) -> None:
        await asyncio.sleep(seconds)
        async with self._changing:
            self._backing_off = self._next_restart_at = None
            self._tries += 1
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
            await run.ends_within(self._request.stop_grace_ms / 1000)
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

    def _forget_restarts(self) -> None:
        """Reset the restart limit and the backoff."""
        self._tries = 0
        self._backoff_ms = min(self._rules.initial_backoff_ms, self._rules.max_backoff_ms)

    def _status(self, run: Process) -> SupervisorStatus:
        if run.is_running:
            return "running"
        if self._next == "nothing":
            return "stopped"
        return "starting" if self._backing_off is None else "backing_off"


def _describe_end(run: Process) -> dict[str, Any]:
    return {
        "exit_code": run.exit_code,
        "signal": run.signal,
        "oom_killed": run.oom_killed,
        "ended_at": run.ended_at,
    }
