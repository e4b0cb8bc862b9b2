"""Start one program with its streams, user, environment and memory limit."""

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
    """Start a program in a new session.

    This function takes about 1 ms. Do not call this function on the main thread: with cgroup v1,
    the main thread must stay in its group (see ``memory_cgroup``).

    Args:
        request: the start request.
        handle: the handle of the new process.
        token: the token of the sandbox, for the mark (see ``process_tree``).
        memory: the memory limit.

    Returns:
        The process that was started.

    Raises:
        ApiError: 500 if the program cannot be started. Like the daemon's error, this error does not
            name the cause.

    """  # noqa: DOC501 - a FileNotFoundError is caught below
    account = find_account(request.user)
    mark = process_tree.mark(token, handle)
    environment = program_environment({**account.environment, **(request.env or {})}, mark)
    try:
        with memory.entering(handle) as launcher:
            # A launcher would notice a missing program too late, and lacks permissions as another
            # user.
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
    # The supervisor waits for the end; Popen does not wait if it has a return code.
    child.returncode = 0
    return Spawned(child.pid, child.stdin, child.stdout, child.stderr, started_at)


def _is_program(request: StartRequest, environment: dict[str, str]) -> bool:
    command = request.command
    if os.sep in command:
        command = os.path.join(request.working_dir or "", command)
    return shutil.which(command, path=environment.get("PATH")) is not None
