"""Start, reap, signal and kill real processes.

All code runs on the thread of the event loop, and therefore needs no locks. There are two
exceptions. First, the search for descendants runs on another thread, because it reads many files.
Second, forks run on another thread, because with cgroup v1 the thread that forks must enter the
group of the new process. The event loop waits for a fork, which takes about 1 ms. Therefore, the
reaper never sees a child that is not in the table yet.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pytest_tlsandbox.local import process_tree
from pytest_tlsandbox.local.memory_limit import MemoryLimit
from pytest_tlsandbox.local.process import Manager, Process, is_set_within, now_ms
from pytest_tlsandbox.local.process_table import ProcessTable
from pytest_tlsandbox.local.spawn import spawn

if TYPE_CHECKING:
    import psutil

    from pytest_tlsandbox.local.request_bodies import StartRequest

_KILL_ROUNDS = 5
_CLOSE_SECONDS = 3.0
_SIGNALS_SECONDS = 0.1
"""Seconds after which the event loop handles signals that it has missed while it waits for a fork."""


class Supervisor:
    """Owns the processes of the sandbox, and reaps every child of this server.

    The handler of SIGCHLD on the event loop is the only reaper. On Linux, the server is a
    subreaper. If the child watchers of asyncio ran as well, they would take exit codes away from
    this handler.

    Attributes:
        memory: the memory limit of all processes.
        table: the rows of the processes.
        living: the running processes by pid.

    """

    def __init__(self, memory: MemoryLimit, token: str) -> None:
        self.memory = memory
        self.table = ProcessTable()
        self._token = token
        self.living: dict[int, Process] = {}
        self._forks = ThreadPoolExecutor(1)
        asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, self._reap)
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, request: StartRequest, managed: Manager | None = None) -> Process:
        """Start a program.

        Args:
            request: the start request.
            managed: the manager of the process; None if the process is not managed.

        Returns:
            The process.

        Raises:
            ApiError: 500 if the program cannot be started.

        """
        handle, started_at = self.table.total + 1, now_ms()
        forked = self._forks.submit(spawn, request, handle, self._token, self.memory)
        # On Python 3.11, a thread that is traced, for example by coverage, makes no progress while a
        # signal waits for this thread. An endless wait could miss a signal that came before it.
        while not wait([forked], _SIGNALS_SECONDS).done:
            pass
        process = Process(handle, request, forked.result(), started_at, managed)
        self.table.add(process)
        self.living[process.pid] = process
        return process

    async def send_signal(self, process: Process, number: int) -> None:
        """Send a signal to the process group.

        For SIGKILL, this method calls ``kill``, which also reaches descendants outside the group.
        """
        if number == signal.SIGKILL:
            await self.kill(process)
        else:
            _signal_group(process, number)

    async def kill(self, process: Process) -> None:
        """Kill a process, its group, and descendants that left the group with ``setsid``.

        If the process has ended, this method kills the descendants that are still alive.
        """
        self._reap()  # so that an earlier OOM kill does not count as ours
        killed: set[psutil.Process] = set()
        for kill_round in range(_KILL_ROUNDS):
            # Find its children before the kill, because afterwards they have another parent.
            found = await self._members(process)
            if process.is_running:
                process.killed_here = True
                _signal_group(process, signal.SIGKILL)
            process_tree.kill(found)
            # One round is not enough: it can miss a process whose parent changes just then.
            if kill_round and killed.issuperset(found):
                return
            killed.update(found)

    async def listens(self, process: Process, port: int) -> bool:
        """Return whether a process or one of its descendants listens on a TCP port."""
        members = await self._members(process)
        return await asyncio.to_thread(any, (process_tree.listens(each, port) for each in members))

    async def _members(self, process: Process) -> list[psutil.Process]:
        pid = process.pid if process.is_running else None
        mark = process_tree.mark(self._token, process.handle)
        return await asyncio.to_thread(process_tree.members, pid, mark, set(self.living))

    async def limit_time(self, process: Process, seconds: float | None) -> None:
        """If a process does not end within ``seconds``, kill it and everything that belongs to it.

        If ``seconds`` is None, the time is not limited.
        """
        if not await is_set_within(process.ended, seconds):
            process.timed_out = True
            await self.kill(process)

    def run_in_background(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a coroutine as a task that nobody waits for."""
        task = asyncio.create_task(work)
        self._tasks.add(task)  # the loop keeps only a weak reference
        task.add_done_callback(self._tasks.discard)
        return task

    def close(self) -> None:
        """Kill all processes of the sandbox, and remove the memory limit.

        The call takes at most 3 s. This method cannot kill a process that hangs in the kernel.
        """
        deadline = time.monotonic() + _CLOSE_SECONDS
        while (found := process_tree.everything(self._token)) and time.monotonic() < deadline:
            process_tree.kill(found)
            time.sleep(0.005)
            self._reap()
        self.memory.close()

    def _reap(self) -> None:
        with suppress(ChildProcessError):  # there are no more children
            while True:
                pid, wait_status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                # An orphan has no row.
                if process := self.living.pop(pid, None):
                    process.end(wait_status, self.memory.kills_of(process.handle))
                    self.memory.leave(process.handle)
                    self.table.note_end(process)


def _signal_group(process: Process, number: int) -> None:
    # All members may have ended and wait to be reaped (macOS then reports EPERM).
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
