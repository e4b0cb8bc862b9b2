"""The memory limit where no cgroup can be written: a thread that looks, and kills the largest."""

from __future__ import annotations

import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psutil

from pytest_tlsandbox.local import tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pytest_tlsandbox.local.memory import Mechanism

    Measure = Callable[[psutil.Process], int]

_INTERVAL = 0.05
_KNOWS_SHARES = sys.platform == "linux"


class Watchdog:
    """Adds up the resident memory of all processes of the sandbox, every 50 ms.

    Over the limit, it kills the one that holds most, as the kernel would, and remembers whose it
    was. What grows by more than is free within 50 ms gets past it until the next look.

    What forked processes share is resident in each of them, and a ``vfork`` doubles its parent for a
    moment. So it looks twice before it kills, the second time at each one's share of what is shared
    (Linux; elsewhere shared memory counts for each, and it strikes early).
    """

    mechanism: Mechanism = "watchdog"

    def __init__(self, limit_bytes: int, token: str) -> None:
        self.limit_bytes: int | None = limit_bytes
        self._limit = limit_bytes
        self._token = token
        self._kills: dict[int, int] = {}
        self._victim: psutil.Process | None = None
        self._looking = threading.Lock()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="memory-watchdog", daemon=True)
        self._thread.start()

    @contextmanager
    def entering(self, handle: int) -> Iterator[list[str]]:  # noqa: ARG002
        """Keep from looking: until it is the program, a fork of ours looks as large as we are."""
        with self._looking:
            yield []

    def kills(self) -> Mapping[int, int]:
        """Count the kills so far of each process that had any."""
        return self._kills.copy()

    def kills_of(self, handle: int) -> int:
        """Count the kills so far among one process and its children."""
        return self._kills.get(handle, 0)

    def leave(self, handle: int) -> None:
        """Keep the count: children may outlive the process, and be killed."""

    def close(self) -> None:
        """Stop looking."""
        self._closed.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._closed.wait(_INTERVAL):
            with self._looking:
                if self._largest_if_over(_resident) is None or self._is_still_dying():
                    continue
                victim = self._largest_if_over(_share)
                if victim is not None:
                    self._kill(victim)

    def _largest_if_over(self, measure: Measure) -> psutil.Process | None:
        sizes = [(measure(process), process) for process in tree.everything(self._token)]
        if sum(size for size, _ in sizes) <= self._limit:
            return None
        return max(sizes, key=lambda sized: sized[0])[1]

    def _is_still_dying(self) -> bool:
        """Tell whether the last victim has yet to give back what it held."""
        return self._victim is not None and tree.is_alive(self._victim)

    def _kill(self, victim: psutil.Process) -> None:
        handle = tree.handle_of(victim, self._token)
        if handle is not None:
            self._kills[handle] = self._kills.get(handle, 0) + 1
        self._victim = victim
        tree.kill([victim])


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0


def _share(process: psutil.Process) -> int:
    if not _KNOWS_SHARES:
        return _resident(process)
    try:
        return int(process.memory_full_info().pss)
    except psutil.Error:
        return 0
