"""Starts one program: its streams, its user, its environment, its place under the memory limit."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

from pytest_tlsandbox.local import process_tree
from pytest_tlsandbox.local.environment import program_environment
from pytest_tlsandbox.local.http_errors import ApiError
from pytest_tlsandbox.local.process import Spawned, now_ms
from pytest_tlsandbox.local.user_accounts import find_account

if TYPE_CHECKING:
    from pytest_tlsandbox.local.memory_limit import MemoryLimit
    from pytest_tlsandbox.local.request_bodies import StartRequest

_STREAMS = {
    "pipe": subprocess.PIPE,
    "capture": subprocess.PIPE,
    "closed": subprocess.DEVNULL,
    "discard": subprocess.DEVNULL,
}


def spawn(request: StartRequest, handle: int, token: str, memory: MemoryLimit) -> Spawned:
    """Start a program, in a session of its own; takes about a millisecond.

    Not on the main thread: its cgroup v1 must stay the same (see ``memory_cgroup``). Raises ApiError
    (500), as the daemon does: without the cause.
    """
    account = find_account(request.user)
    mark = process_tree.mark(token, handle)
    environment = program_environment({**account.environment, **(request.env or {})}, mark)
    try:
        with memory.entering(handle) as launcher:
            # A launcher would find out too late, and could not enter as another user.
            if launcher and (account.uid is not None or not _is_program(request, environment)):
                raise FileNotFoundError(request.command)
            started_at = now_ms()
            child = subprocess.Popen(
                [*launcher, request.command, *request.args],
                bufsize=0,
                stdin=_STREAMS[request.stdin_mode],
                stdout=_STREAMS[request.stdout_mode],
                stderr=_STREAMS[request.stderr_mode],
                cwd=request.working_dir,
                env=environment,
                start_new_session=True,
                user=account.uid,
                group=account.gid,
                extra_groups=account.groups,
            )
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise ApiError(500, "Failed to spawn process") from error
    # The supervisor waits for the end: with a return code of its own, Popen will never wait.
    child.returncode = 0
    return Spawned(child.pid, child.stdin, child.stdout, child.stderr, started_at)


def _is_program(request: StartRequest, environment: dict[str, str]) -> bool:
    command = request.command
    if os.sep in command:
        command = os.path.join(request.working_dir or "", command)
    return shutil.which(command, path=environment.get("PATH")) is not None
