"""Which processes of the machine belong to the sandbox, and to which of its processes.

A child stays findable in three ways: it descends from us; orphaned, it comes to us (Linux: the
server is a subreaper); and it inherits a mark in its environment, which also holds where there is no
subreaper (macOS), and shows whose an orphan was. The mark is not a secret.
"""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import psutil

from pytest_tlsandbox.local.environment import MARK

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

_LONGEST_EXEC = 0.5
"""Seconds."""
_HAS_SUBREAPER = sys.platform == "linux"


def mark(token: str, handle: int) -> str:
    """Return the mark of a process. The token is the sandbox's, and differs from any other's."""
    return f"{token}:{handle}"


def handle_of(process: psutil.Process, token: str) -> int | None:
    """Return the handle of the process it belongs to, by its mark or the mark of an ancestor.

    None for one whose whole line of living ancestors has cleared its environment.
    """
    candidate: psutil.Process | None = process
    while candidate is not None:
        owner, _, handle = _mark_of(candidate).partition(":")
        if owner == token:
            return int(handle)
        try:
            candidate = candidate.parent()
        except psutil.Error:
            return None  # it ended while we asked
    return None


def members(pid: int | None, own_mark: str, strangers: Collection[int]) -> list[psutil.Process]:
    """List what belongs to a process besides itself: descendants, and orphans that bear its mark.

    ``pid`` is None for a process that has ended. ``strangers`` are pids known to be another's: with
    a thousand processes alive, most of our children are.
    """
    orphans = [orphan for orphan in _orphans() if orphan.pid not in strangers]
    return [
        *([] if pid is None else _descendants(pid)),
        *(orphan for orphan in orphans if orphan.pid != pid and _mark_in_time(orphan) == own_mark),
    ]


def everything(token: str) -> list[psutil.Process]:
    """List every living process that was started by us or by one that was."""
    found = _descendants(None)
    if not _HAS_SUBREAPER:
        found += survivors(token)
    return [process for process in found if is_alive(process)]


def survivors(token: str) -> list[psutil.Process]:
    """List every process of the machine that bears the mark of a sandbox."""
    processes = psutil.process_iter()
    return [process for process in processes if _mark_of(process).startswith(f"{token}:")]


def is_alive(process: psutil.Process) -> bool:
    """Return whether a process is there and has not ended."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def kill(processes: Iterable[psutil.Process]) -> None:
    """Send SIGKILL to each; what has gone meanwhile is left out, also if its pid is used again."""
    for process in processes:
        with suppress(psutil.Error):
            process.kill()


def _descendants(pid: int | None) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return []


def _orphans() -> list[psutil.Process]:
    """List what may have lost its parent: our own children, or those of pid 1."""
    if _HAS_SUBREAPER:
        return psutil.Process().children()
    return [process for process in psutil.process_iter(["ppid"]) if process.info["ppid"] == 1]


def _mark_in_time(process: psutil.Process) -> str:
    """Return its mark, also if it is just about to become another program.

    For that moment, which is long on a busy machine, it has no environment at all: of 5,000 orphans
    that were killed at once, 4 got away.
    """
    end = time.monotonic() + _LONGEST_EXEC
    with suppress(psutil.Error, OSError):
        while not process.environ() and time.monotonic() < end:
            time.sleep(_LONGEST_EXEC / 100)
    return _mark_of(process)


def _mark_of(process: psutil.Process) -> str:
    try:
        return process.environ().get(MARK, "")
    except (psutil.Error, OSError):
        return ""  # gone, ended, or another user's
