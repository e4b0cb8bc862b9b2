"""Limit memory on machines whose cgroups are not writable.

If the processes exceed the limit, a thread kills the largest process.
"""

from __future__ import annotations

import sys
import threading
from collections import Counter
from contextlib import suppress

import psutil

from pytest_tlsandbox.local import process_tree
from pytest_tlsandbox.local.memory_limit import Mechanism, MemoryLimit

_INTERVAL = 0.05


class Watchdog(MemoryLimit):
    """Limit memory with a thread that measures all processes every 50 ms.

    The thread adds up the resident memory of the processes. If the sum is above the limit, the
    watchdog kills the largest process, as the kernel would. If the sandbox started an ancestor of
    the killed process, the kill is counted for this ancestor. Processes that allocate memory
    quickly can exceed the limit before the next poll.

    The sum may be too high, because memory that forked processes share is resident in each of them.
    Between the fork of a process and the execution of its program, the memory of the parent also
    counts twice. For this reason, the watchdog measures twice before it kills a process. On Linux, the second measurement divides
    shared memory among the processes that share it. On other systems, shared memory counts in full
    for each process, so the watchdog may kill a process too early.
    """

    mechanism: Mechanism = "watchdog"

    def __init__(self, limit_bytes: int, token: str) -> None:
        super().__init__(limit_bytes)
        self._limit = limit_bytes
        self._token = token
        self._kills: Counter[int | None] = Counter()
        self._victim: psutil.Process | None = None
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="memory-watchdog", daemon=True)
        self._thread.start()

    def kills_of(self, handle: int) -> int:
        """Return the number of kills that were counted for the process with the given handle."""
        return self._kills[handle]

    def kills(self) -> int:
        """Return the number of kills."""
        return sum(self._kills.values())

    def close(self) -> None:
        """Stop polling."""
        self._closed.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._closed.wait(_INTERVAL):
            victim_is_dying = self._victim is not None and process_tree.is_alive(self._victim)
            if victim_is_dying or self._largest_if_over(by_share=False) is None:
                continue
            self._victim = self._largest_if_over(by_share=True)
            if self._victim is not None:
                self._kills[process_tree.handle_of(self._victim, self._token)] += 1
                process_tree.kill([self._victim])

    def _largest_if_over(self, *, by_share: bool) -> psutil.Process | None:
        processes = process_tree.everything(self._token)
        sizes = {process: _size(process, by_share=by_share) for process in processes}
        return max(sizes, key=sizes.__getitem__) if sum(sizes.values()) > self._limit else None


def _size(process: psutil.Process, *, by_share: bool) -> int:
    with suppress(psutil.Error):
        if by_share and sys.platform == "linux":
            return int(process.memory_full_info().pss)
        return int(process.memory_info().rss)
    return 0
