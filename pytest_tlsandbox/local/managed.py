"""Managed processes: named, started again when they end, asked for their health.

Their fields are those of fact sheet section 3. What it leaves open is decided here, and listed in
``docs/local.md``.
"""

from __future__ import annotations

import asyncio
import secrets
import signal
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal

from pytest_tlsandbox.local.bodies import Refusal
from pytest_tlsandbox.local.health import Health
from pytest_tlsandbox.local.process import now_ms
from pytest_tlsandbox.local.spawn import SpawnFailed
from pytest_tlsandbox.local.user import UserNotFound

if TYPE_CHECKING:
    from pytest_tlsandbox.local.bodies import Management, StartRequest
    from pytest_tlsandbox.local.process import Process
    from pytest_tlsandbox.local.supervisor import Supervisor

SupervisorStatus = Literal["starting", "running", "backing_off", "stopped"]

# What is to follow on the end of a run: what the policy says, a run that somebody has asked for, or
# nothing.
_Next = Literal["policy", "restart", "nothing"]


async def start_managed(
    supervisor: Supervisor, request: StartRequest, management: Management
) -> Process:
    """Start a managed process.

    Raises Refusal (409) while its name is in use, SpawnFailed, and UserNotFound. Once the one that
    had the name before has stopped, this one takes its place.
    """
    named = supervisor.table.named
    managed = ManagedProcess(supervisor, request, management)
    if managed.name is None:
        return await managed.start()
    before = named.get(managed.name)
    if before is not None and not before.has_ended:
        raise Refusal(409, f"Process '{managed.name}' already exists", "ALREADY_EXISTS")
    named[managed.name] = managed
    try:
        process = await managed.start()
    except BaseException:
        if before is None:
            del named[managed.name]
        else:
            named[managed.name] = before
        raise
    if before is not None and before.run is not None:
        supervisor.table.remove(before.run)
    return process


class ManagedProcess:
    """A process over all its runs, one after the other.

    Attributes:
        name: what it can be called in a path; None for one that is called by its pid only.
        run: the current run, or the last one.

    """

    def __init__(
        self, supervisor: Supervisor, request: StartRequest, management: Management
    ) -> None:
        self.name = management.name
        self.run: Process | None = None
        self._id = management.name or f"managed-{secrets.token_hex(4)}"
        self._supervisor = supervisor
        self._request = request
        self._management = management
        self._health = Health(management.health_check)
        self._next: _Next = "policy"
        self._restart_count = 0
        self._tries = 0
        self._backoff_ms = self._first_backoff_ms
        self._backing_off: asyncio.TimerHandle | None = None
        self._next_restart_at: int | None = None
        self._last_run: Process | None = None
        self._last_error: str | None = None
        # What is done to it is done one after the other.
        self._changing = asyncio.Lock()

    @property
    def has_ended(self) -> bool:
        """Whether it has ended and will not be started again by itself."""
        running = self.run is not None and self.run.is_running
        return self._next == "nothing" and not running

    @property
    def _first_backoff_ms(self) -> int:
        restart = self._management.restart
        return min(restart.initial_backoff_ms, restart.max_backoff_ms)

    def describe(self, run: Process) -> dict[str, Any]:
        """Give the ``managed`` part of the row of a run (fact sheet 3.2)."""
        check = self._management.health_check
        return {
            "id": self._id,
            "name": self.name,
            "status": self._status(run),
            "restart_count": self._restart_count,
            "restart": asdict(self._management.restart),
            "health_check": None if check is None else asdict(check),
            "health_status": self._health.status,
            "consecutive_health_failures": self._health.failures,
            "last_exit": None if self._last_run is None else _describe_end(self._last_run),
            "last_error": self._last_error,
            "next_restart_at": self._next_restart_at,
        }

    async def start(self) -> Process:
        """Start a run. Raises SpawnFailed, and UserNotFound."""
        run = await self._supervisor.start(self._request, self)
        self._supervisor.run_in_background(self._health.watch(run))
        return run

    async def restart(self) -> Process:
        """End the current run as ``stop`` does, and start another; also after the last one.

        It is counted, and the limit and the backoff begin anew. Raises SpawnFailed, UserNotFound.
        """
        async with self._changing:
            self._stop_waiting()
            self._next = "restart"
            if self.run is not None:
                await self._end(self.run)
            self._tries = 0
            self._backoff_ms = self._first_backoff_ms
            self._last_error = None
            self._next = "policy"
            try:
                return await self._start_next()
            except (SpawnFailed, UserNotFound):
                self._stop("Failed to spawn process")
                raise

    async def stop(self) -> None:
        """Start it no more, and have the current run end.

        That goes on after the return: SIGTERM to its group and, once the grace is over, SIGKILL to
        all that belongs to it.
        """
        async with self._changing:
            self._stop_waiting()
            self._stop(None)
            if self.run is not None and self.run.is_running:
                self._supervisor.run_in_background(self._end(self.run))

    def run_ended(self, run: Process) -> None:
        """Do what is to follow on the end of a run."""
        self._last_run = run
        self._health = Health(self._management.health_check)
        if self._next == "nothing":
            self._supervisor.table.note_end(run)
        elif self._next == "policy":
            self._follow_policy(run, failed=run.exit_code != 0)

    def _follow_policy(self, run: Process, *, failed: bool) -> None:
        restart = self._management.restart
        if restart.policy == "never" or (restart.policy == "on_failure" and not failed):
            self._stop(self._last_error)
        elif restart.max_restarts is not None and self._tries >= restart.max_restarts:
            self._stop("restart limit reached")
        else:
            self._back_off(run)

    def _back_off(self, run: Process) -> None:
        """Wait, twice as long as before, unless the run was longer than the longest wait."""
        longest = self._management.restart.max_backoff_ms
        if run.ended_at is not None and run.ended_at - run.started_at > longest:
            self._backoff_ms = self._first_backoff_ms
        loop = asyncio.get_running_loop()
        self._next_restart_at = now_ms() + self._backoff_ms
        self._backing_off = loop.call_later(
            self._backoff_ms / 1000,
            lambda: self._supervisor.run_in_background(self._start_again()),
        )
        self._backoff_ms = min(self._backoff_ms * 2, longest)

    async def _start_again(self) -> None:
        async with self._changing:
            run = self.run
            if self._backing_off is None or run is None:
                return  # stopped, or started by hand, while this was waiting
            self._stop_waiting()
            self._tries += 1
            # What the last run has left behind may hold the port that the next one wants.
            await self._supervisor.kill(run)
            try:
                await self._start_next()
            except (SpawnFailed, UserNotFound):
                self._last_error = "Failed to spawn process"
                self._follow_policy(run, failed=True)

    async def _start_next(self) -> Process:
        self._restart_count += 1
        self._health = Health(self._management.health_check)
        try:
            return await self.start()
        except BaseException:
            self._restart_count -= 1
            raise

    async def _end(self, run: Process) -> None:
        if run.is_running:
            await self._supervisor.send_signal(run, signal.SIGTERM)
            await run.ends_within(self._management.stop_grace_ms / 1000)
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
        self._backing_off = None
        self._next_restart_at = None

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
