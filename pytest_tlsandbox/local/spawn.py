"""Start one program with its streams, user, environment and memory limit."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import sys
from subprocess import DEVNULL, PIPE, Popen, SubprocessError
from typing import TYPE_CHECKING, Any

from pytest_tlsandbox.local.asgi import ApiError
from pytest_tlsandbox.local.environment import MARK
from pytest_tlsandbox.local.memory_limit import MemoryLimit
from pytest_tlsandbox.local.process_tree import mark

if TYPE_CHECKING:
    from pytest_tlsandbox.local.request_bodies import StartRequest, UserSpec


def spawn(request: StartRequest, handle: int, token: str, memory: MemoryLimit) -> Popen[bytes]:
    """Start a program in a new session.

    The folder of the running interpreter comes first in PATH, so that ``python`` is the interpreter
    that runs the tests. If the request contains a PATH, the program gets this PATH unchanged.

    This function takes about 1 ms. Do not call this function on the main thread: with cgroup v1,
    the main thread must stay in its group (see ``memory_cgroup``).

    Args:
        request: the start request.
        handle: the handle of the new process.
        token: the token of the sandbox, for the mark (see ``process_tree``).
        memory: the memory limit.

    Returns:
        The process that was started. The caller must not call ``wait``, because the supervisor
        waits until the process ends.

    Raises:
        ApiError: 500 if the program cannot be started. Like the daemon's error, this error does not
            name the cause.

    """  # noqa: DOC501 - a FileNotFoundError is caught below
    ids, variables = _find_account(request.user)
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", os.defpath)])
    environment = {**os.environ, "PATH": path, **variables, **(request.env or {})}
    environment[MARK] = mark(token, handle)
    try:
        with memory.entering(handle) as launcher:
            # A launcher would notice a missing program too late, and lacks permissions as another
            # user.
            if launcher and (ids or not _is_program(request, environment)):
                raise FileNotFoundError(request.command)
            child = Popen(
                [*launcher, request.command, *request.args],
                bufsize=0,
                stdin=_stream(request.stdin_mode),
                stdout=_stream(request.stdout_mode),
                stderr=_stream(request.stderr_mode),
                cwd=request.working_dir,
                env=environment,
                start_new_session=True,
                **ids,
            )
    except (OSError, ValueError, SubprocessError) as error:
        raise ApiError(500, "Failed to spawn process") from error
    child.returncode = 0  # with a return code, Popen does not wait for the end
    return child


def _stream(mode: str) -> int:
    return PIPE if mode in ("pipe", "capture") else DEVNULL


def _is_program(request: StartRequest, environment: dict[str, str]) -> bool:
    command = request.command
    if os.sep in command:
        command = os.path.join(request.working_dir or "", command)
    return shutil.which(command, path=environment.get("PATH")) is not None


def _find_account(user: str | UserSpec | None) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the ids and the environment variables of a user.

    A name must exist on this machine, but a uid does not need to exist. If no group is requested,
    the program runs in the primary group of the user. A uid that does not exist has no primary
    group, so the gid is then the same number as the uid. Supplementary groups are set only if the
    server runs as root.

    Args:
        user: a name, "uid", "uid:gid" or an object; None for the user of the server.

    Returns:
        Arguments for ``Popen``, and HOME, USER and LOGNAME if the user exists.

    Raises:
        ApiError: 500 if the user does not exist.

    """
    if user is None:
        return {}, {}
    name, gid = (user, None) if isinstance(user, str) else (user.name, user.gid)
    uid = None if isinstance(user, str) else user.uid
    if ids := re.fullmatch(r"([0-9]{1,9})(?::([0-9]{1,9}))?", name or ""):
        uid, gid = int(ids[1]), int(ids[2]) if ids[2] else gid
    try:
        entry = pwd.getpwnam(name or "") if uid is None else pwd.getpwuid(uid)
    except (KeyError, ValueError):
        if uid is None:
            raise ApiError(500, f"user not found: {name}") from None
        gid = uid if gid is None else gid
        groups, variables = [gid], {}
    else:
        uid, gid = entry.pw_uid, entry.pw_gid if gid is None else gid
        groups = os.getgrouplist(entry.pw_name, gid)
        variables = {"HOME": entry.pw_dir, "USER": entry.pw_name, "LOGNAME": entry.pw_name}
    supplementary = {"extra_groups": groups} if os.geteuid() == 0 else {}
    return {"user": uid, "group": gid, **supplementary}, variables
