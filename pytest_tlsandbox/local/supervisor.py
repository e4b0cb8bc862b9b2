"""The process table: starts, reaps, signals and kills real processes.

All of it runs on the event loop's thread, and so needs no locks, but for the fork: that one has a
thread of its own, because it takes a millisecond and because cgroup v1 is entered by thread.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

from pytest_tlsandbox.local import tree
from pytest_tlsandbox.local.environment import program_environment
from pytest_tlsandbox.local.process import Pipes, Process, now_ms

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psutil

    from pytest_tlsandbox.local.bodies import OutputMode, StartRequest
    from pytest_tlsandbox.local.memory import MemoryLimit

# So many ends at once hold up a request by some milliseconds.
_ENDS_IN_A_ROW = 32
_KILL_ROUNDS = 5
_CLOSE_SECONDS = 3.0


class SpawnFailed(Exception):
    """A program could not be started. The API does not tell why (daemon-captures.md)."""


class Supervisor:
    """Owns the processes of the sandbox, and every wait for a child of this server.

    SIGCHLD on the event loop is the one reaper. asyncio's child watchers must not be beside it: a
    server that is a subreaper loses exit codes to them.
    """

    def __init__(self, memory: MemoryLimit, token: str) -> None:
        self.memory = memory
        self._token = token
        self._table: list[Process] = []
        self._newest: dict[int, Process] = {}
        self._living: dict[int, Process] = {}
        # Held over a fork and its entry in the table, and over a wait: what a wait gives is then in
        # the table, or was never started here but is an orphan.
        self._forking = threading.Lock()
        self._spawner = ThreadPoolExecutor(1, thread_name_prefix="spawner")
        self._loop = asyncio.get_running_loop()
        self._loop.add_signal_handler(signal.SIGCHLD, self._reap)

    @property
    def total(self) -> int:
        """How many processes were ever started."""
        return len(self._table)

    @property
    def running(self) -> int:
        """How many of them are running."""
        return len(self._living)

    def processes(self) -> list[Process]:
        """List every process that was ever started, oldest first."""
        self._note_oom_kills()
        return self._table.copy()

    def find(self, pid: int) -> Process | None:
        """Find the process with that pid; the newest, if the system has used it again."""
        self._note_oom_kills()
        return self._newest.get(pid)

    async def start(self, request: StartRequest) -> Process:
        """Start a program. Raises SpawnFailed."""
        process = await self._loop.run_in_executor(self._spawner, self._spawn, request)
        process.stdout.watch()
        process.stderr.watch()
        return process

    def send_signal(self, process: Process, number: int) -> None:
        """Send a signal to the group of a running process."""
        if number == signal.SIGKILL:
            process.killed_here = True
        # All of it may have ended already, not yet reaped (macOS then says EPERM).
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)

    async def kill(self, process: Process) -> None:
        """Kill a running process, its group, and what has left the group by ``setsid``."""
        self._reap()  # what has been OOM-killed by now was not killed by us
        killed: set[psutil.Process] = set()
        for _ in range(_KILL_ROUNDS):
            # Who belongs to it is asked first: once it is dead, its children are no longer its own.
            found = await asyncio.to_thread(tree.members, process.pid, self._token, process.handle)
            if process.is_running:
                self.send_signal(process, signal.SIGKILL)
            tree.kill(found)
            if killed.issuperset(found):
                return
            killed.update(found)

    def close(self) -> None:
        """Kill all that was started here and all that came of it, and remove the memory limit.

        Takes 3 s at most: what cannot be killed (a process that hangs in the kernel) stays.
        """
        self._spawner.shutdown(cancel_futures=True)
        deadline = time.monotonic() + _CLOSE_SECONDS
        while time.monotonic() < deadline:
            found = tree.everything(self._token)
            tree.kill(found)
            while self._reap_next():
                pass
            if not found and not self._living:
                break
            time.sleep(0.005)
        self.memory.close()

    def _spawn(self, request: StartRequest) -> Process:
        with self._forking:
            handle = len(self._table) + 1
            try:
                with _pipes(request) as (ours, theirs):
                    started_at = now_ms()
                    pid = self._fork(handle, request, theirs)
            except (OSError, ValueError, subprocess.SubprocessError) as error:
                raise SpawnFailed from error
            process = Process(handle, pid, request, started_at, ours)
            self._table.append(process)
            self._newest[pid] = self._living[pid] = process
        return process

    def _fork(self, handle: int, request: StartRequest, streams: Pipes) -> int:
        mark = tree.mark(self._token, handle)
        environment = program_environment(request.env, mark)
        with self.memory.entering(handle) as launcher:
            if launcher and not _is_program(request, environment):
                raise FileNotFoundError(request.command)
            child = subprocess.Popen(
                [*launcher, request.command, *request.args],
                stdin=streams.stdin,
                stdout=streams.stdout,
                stderr=streams.stderr,
                cwd=request.working_dir,
                env=environment,
                start_new_session=True,
            )
        # The wait is ours: with a return code of its own, Popen will never ask for one.
        child.returncode = 0
        return child.pid

    def _reap(self) -> None:
        if all(self._reap_next() for _ in range(_ENDS_IN_A_ROW)):
            self._loop.call_soon(self._reap)

    def _reap_next(self) -> bool:
        with self._forking:
            try:
                pid, wait_status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            process = self._living.pop(pid, None)
        if process is not None:
            process.end(wait_status, self.memory.kills_of(process.handle))
            self.memory.leave(process.handle)
        return pid != 0

    def _note_oom_kills(self) -> None:
        kills = self.memory.kills()
        for process in self._table if kills else ():
            process.note_oom_kills(kills.get(process.handle, 0))


@contextmanager
def _pipes(request: StartRequest) -> Iterator[tuple[Pipes, Pipes]]:
    """Make our and the program's ends of its streams; only ours stay open, if all goes well."""
    devnull = subprocess.DEVNULL
    with ExitStack() as theirs, ExitStack() as ours:

        def output(mode: OutputMode) -> tuple[int | None, int]:
            if mode == "discard":
                return None, devnull
            reading, writing = os.pipe()
            ours.callback(os.close, reading)
            theirs.callback(os.close, writing)
            return reading, writing

        stdin: tuple[int | None, int] = None, devnull
        if request.stdin_mode == "pipe":
            reading, writing = os.pipe()
            ours.callback(os.close, writing)
            theirs.callback(os.close, reading)
            stdin = writing, reading
        stdout, stderr = output(request.stdout_mode), output(request.stderr_mode)
        yield (
            Pipes(stdin[0], stdout[0], stderr[0]),
            Pipes(stdin[1], stdout[1], stderr[1]),
        )
        ours.pop_all()


def _is_program(request: StartRequest, environment: dict[str, str]) -> bool:
    """Tell whether there is such a program, where a launcher would find out too late."""
    command = request.command
    if os.sep in command:
        command = os.path.join(request.working_dir or "", command)
    return shutil.which(command, path=environment.get("PATH")) is not None
