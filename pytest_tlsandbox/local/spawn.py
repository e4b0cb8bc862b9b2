"""Starts one program: its streams, its user, its environment, its place under the memory limit."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, NamedTuple

from pytest_tlsandbox.local import tree
from pytest_tlsandbox.local.environment import program_environment
from pytest_tlsandbox.local.process import Pipes, now_ms
from pytest_tlsandbox.local.user import find_account

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_tlsandbox.local.bodies import OutputMode, StartRequest
    from pytest_tlsandbox.local.memory import MemoryLimit


class SpawnFailed(Exception):
    """A program could not be started. The API does not tell why (daemon-captures.md)."""


class Spawned(NamedTuple):
    """A program that runs: its pid, our ends of its streams, and when it was started."""

    pid: int
    pipes: Pipes
    started_at: int


def spawn(request: StartRequest, handle: int, token: str, memory: MemoryLimit) -> Spawned:
    """Start a program, in a session of its own; takes about a millisecond.

    Not on the main thread: that of cgroup v1 must stay where it is (see ``cgroups``).
    Raises SpawnFailed, and UserNotFound.
    """
    account = None if request.user is None else find_account(request.user)
    home = {} if account is None else account.environment
    environment = program_environment({**home, **request.env}, tree.mark(token, handle))
    try:
        with _pipes(request) as (ours, theirs), memory.entering(handle) as launcher:
            # A launcher would find out too late, and could not enter as another user.
            if launcher and (account is not None or not _is_program(request, environment)):
                raise FileNotFoundError(request.command)
            started_at = now_ms()
            child = subprocess.Popen(
                [*launcher, request.command, *request.args],
                stdin=theirs.stdin,
                stdout=theirs.stdout,
                stderr=theirs.stderr,
                cwd=request.working_dir,
                env=environment,
                start_new_session=True,
                user=None if account is None else account.uid,
                group=None if account is None else account.gid,
                extra_groups=None if account is None else account.groups,
            )
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise SpawnFailed from error
    # The wait is ours: with a return code of its own, Popen will never ask for one.
    child.returncode = 0
    return Spawned(child.pid, ours, started_at)


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
    command = request.command
    if os.sep in command:
        command = os.path.join(request.working_dir or "", command)
    return shutil.which(command, path=environment.get("PATH")) is not None
