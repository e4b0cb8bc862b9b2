"""The supervisor: starts, reaps, signals and kills real processes.

All of it runs on the event loop's thread, and so needs no locks, but for the fork: that one has a
thread of its own, because it takes a millisecond and because cgroup v1 is entered by thread.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from pytest_tlsandbox.local import process_tree
from pytest_tlsandbox.local.process import Manager, Process
from pytest_tlsandbox.local.process_table import ProcessTable
from pytest_tlsandbox.local.spawn import spawn

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine

    import psutil

    from pytest_tlsandbox.local.memory_limit import MemoryLimit
    from pytest_tlsandbox.local.request_bodies import StartRequest

# So many ends at once hold up a request by some milliseconds.
_ENDS_IN_A_ROW = 32
_KILL_ROUNDS = 5
_CLOSE_SECONDS = 3.0


class Supervisor:
    """Owns the processes of the sandbox, and every wait for a child of this server.

    SIGCHLD on the event loop is the one reaper. asyncio's child watchers must not be beside it: a
    server that is a subreaper loses exit codes to them.

    Attributes:
        memory: the limit they are started under.
        table: their rows.

    """

    def __init__(self, memory: MemoryLimit, token: str) -> None:
        self.memory = memory
        self.table = ProcessTable()
        self._token = token
        self._living: dict[int, Process] = {}
        self._forking = asyncio.Lock()
        self._spawner = ThreadPoolExecutor(1, thread_name_prefix="spawner")
        self._loop = asyncio.get_running_loop()
        self._loop.add_signal_handler(signal.SIGCHLD, self._reap)
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def running(self) -> int:
        """How many processes are running."""
        return len(self._living)

    def note_oom_kills(self) -> None:
        """Bring the rows up to date: who was OOM-killed, or had a child that was."""
        kills = self.memory.kills()
        for process in self.table.rows() if kills else ():
            process.note_oom_kills(kills.get(process.handle, 0))

    async def start(self, request: StartRequest, managed: Manager | None = None) -> Process:
        """Start a program. Raises ApiError: 409 while its name is in use, 500 if it fails."""
        async with self._no_reaping():
            self.table.check_name(managed)
            handle = self.table.total + 1
            spawned = await self._loop.run_in_executor(
                self._spawner, spawn, request, handle, self._token, self.memory
            )
            process = Process(handle, request, spawned, self.table.output_changed, managed)
            self.table.add(process)
            self._living[process.pid] = process
            process.stdout.watch()
            process.stderr.watch()
        return process

    async def send_signal(self, process: Process, number: int) -> None:
        """Send a signal to the group of a running process; SIGKILL reaches as far as a kill."""
        if number == signal.SIGKILL:
            await self.kill(process)
        else:
            _signal_group(process, number)

    async def kill(self, process: Process) -> None:
        """Kill a process, its group, and what has left the group by ``setsid``.

        If it has ended, that is what it has left behind.
        """
        async with self._no_reaping():
            # What has been OOM-killed by now was not killed by us.
            while self._reap_next():
                pass
        killed: set[psutil.Process] = set()
        for kill_round in range(_KILL_ROUNDS):
            # Who belongs to it is asked first: once it is dead, its children are no longer its own.
            pid = process.pid if process.is_running else None
            mark = process_tree.mark(self._token, process.handle)
            found = await asyncio.to_thread(
                process_tree.members, pid, mark, self._living.keys() - {pid}
            )
            if process.is_running:
                process.killed_here = True
                _signal_group(process, signal.SIGKILL)
            process_tree.kill(found)
            # Not after the first: one that changed its parent just then was seen under neither.
            if kill_round and killed.issuperset(found):
                return
            killed.update(found)

    async def limit_time(self, process: Process, seconds: float) -> None:
        """Kill a process, and all that belongs to it, unless it ends within so many seconds."""
        if not await process.ends_within(seconds):
            process.timed_out = True
            await self.kill(process)

    def run_in_background(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a task that nobody waits for."""
        task = self._loop.create_task(work)
        self._tasks.add(task)  # the loop itself would forget it
        task.add_done_callback(self._tasks.discard)
        return task

    def close(self) -> None:
        """Kill all that was started here and all that came of it, and remove the memory limit.

        Takes 3 s at most: what cannot be killed (a process that hangs in the kernel) stays.
        """
        self._spawner.shutdown(cancel_futures=True)
        deadline = time.monotonic() + _CLOSE_SECONDS
        while time.monotonic() < deadline:
            found = process_tree.everything(self._token)
            process_tree.kill(found)
            while _wait_for_any()[0]:
                pass
            if not found:
                break
            time.sleep(0.005)
        self.memory.close()

    @asynccontextmanager
    async def _no_reaping(self) -> AsyncIterator[None]:
        """Keep the reaper away, from a fork until its process is in the table.

        What a wait gives is then in the table, or was never started here but is an orphan.
        """
        try:
            async with self._forking:
                yield
        finally:
            self._reap()

    def _reap(self) -> None:
        if self._forking.locked():
            return
        if all(self._reap_next() for _ in range(_ENDS_IN_A_ROW)):
            self._loop.call_soon(self._reap)

    def _reap_next(self) -> bool:
        pid, wait_status = _wait_for_any()
        process = self._living.pop(pid, None)
        if process is not None:
            process.end(wait_status, self.memory.kills_of(process.handle))
            self.memory.leave(process.handle)
            if process.managed is None:
                self.table.note_end(process)
            else:
                process.managed.run_ended(process)
        return pid != 0


def _wait_for_any() -> tuple[int, int]:
    try:
        return os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return 0, 0


def _signal_group(process: Process, number: int) -> None:
    # All of it may have ended already, not yet reaped (macOS then says EPERM).
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
