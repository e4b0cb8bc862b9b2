"""Find processes on this machine that belong to the sandbox or to one process of the sandbox.

Three facts help to find a child of a process. First, the child is a descendant of the server.
Second, the server is a subreaper on Linux: if the parent of the child ends, the server becomes the
new parent. Third, the child inherits a mark in its environment. The mark shows to which process an
orphan belongs. The mark also works on macOS, which does not support subreapers. The mark is not a
secret.
"""

import sys
import time
from collections.abc import Collection, Iterable
from contextlib import suppress

import psutil

from pytest_tlsandbox.local.environment import MARK

_LONGEST_EXEC = 0.5
"""Maximum seconds for which a process lacks an environment while it executes a program."""
_HAS_SUBREAPER = sys.platform == "linux"


def mark(token: str, handle: int) -> str:
    """Return the mark of a process; ``token`` is the unique token of its sandbox."""
    return f"{token}:{handle}"


def handle_of(process: psutil.Process, token: str) -> int | None:
    """Return the handle under which the sandbox started a process or one of its ancestors.

    The handle is read from the mark of the process. If the process has no mark, the handle is read
    from the mark of its nearest marked ancestor. Return None if the process and all its living
    ancestors have cleared their environment.
    """
    with suppress(psutil.Error):  # it has just ended
        for candidate in (process, *process.parents()):
            owner, _, handle = _mark_of(candidate).partition(":")
            if owner == token:
                return int(handle)
    return None


def members(pid: int | None, own_mark: str, known: Collection[int]) -> list[psutil.Process]:
    """Return a process, its descendants, and the orphans that have the mark of the process.

    Args:
        pid: the pid of the process; None if it has ended.
        own_mark: the mark of the process.
        known: the pids of the processes that the sandbox started itself. These processes are not
            orphans, so their marks are not read. This saves time if many processes run, because
            the sandbox started most children of the server itself.

    """
    # In this order, because a descendant may become an orphan in the meantime.
    found = [] if pid is None else _family(pid)
    orphans = [process for process in _orphans() if process.pid not in known]
    return found + [orphan for orphan in orphans if _mark_of(orphan, _LONGEST_EXEC) == own_mark]


def everything(token: str) -> list[psutil.Process]:
    """Return all processes that the server or its descendants started, and that were not reaped."""
    return _family(None)[1:] + ([] if _HAS_SUBREAPER else survivors(token))


def survivors(token: str) -> list[psutil.Process]:
    """Return all processes on this machine that have a mark with the given token."""
    return [each for each in psutil.process_iter() if _mark_of(each).startswith(f"{token}:")]


def is_alive(process: psutil.Process) -> bool:
    """Return whether a process exists and has not ended."""
    with suppress(psutil.Error):
        return process.status() != psutil.STATUS_ZOMBIE
    return False


def listens(process: psutil.Process, port: int) -> bool:
    """Return whether a process listens on a TCP port.

    If the connections of the process cannot be read, the result is True.
    """
    try:
        # psutil renamed the method in version 6.
        connections = getattr(process, "net_connections", None) or process.connections
        ports = [tcp.laddr.port for tcp in connections("tcp") if tcp.status == psutil.CONN_LISTEN]
        return port in ports
    except psutil.Error as error:  # it may just have ended
        return isinstance(error, psutil.AccessDenied)


def kill(processes: Iterable[psutil.Process]) -> None:
    """Send SIGKILL to each process that has not ended.

    If the pid of an ended process now belongs to a new process, the new process is not killed.
    """
    for process in processes:
        with suppress(psutil.Error):
            process.kill()


def _family(pid: int | None) -> list[psutil.Process]:
    """Return a process (None: the server) and its descendants; an ended process has none."""
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    return []


def _orphans() -> list[psutil.Process]:
    """Return the processes that may be orphans.

    If the server is a subreaper, orphans are children of the server. Otherwise, they are children
    of pid 1.
    """
    if _HAS_SUBREAPER:
        return psutil.Process().children()
    return [process for process in psutil.process_iter(["ppid"]) if process.info["ppid"] == 1]


def _mark_of(process: psutil.Process, seconds: float = 0) -> str:
    """Return the mark of a process; wait up to ``seconds`` while the process has no environment.

    While a process starts to execute another program, the process has no environment. This state
    usually lasts for a moment, but may last longer on a busy machine. In a test in which the search
    for orphans did not wait, 4 of 5,000 orphans survived.
    """
    end = time.monotonic() + seconds
    with suppress(psutil.Error, OSError):  # it has ended, or belongs to another user
        while not (environment := process.environ()) and time.monotonic() < end:
            time.sleep(_LONGEST_EXEC / 100)
        return environment.get(MARK, "")
    return ""
