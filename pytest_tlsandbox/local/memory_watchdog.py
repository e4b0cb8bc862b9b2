"""Limit memory on machines whose cgroups are not writable.

If the processes exceed the limit, a thread kills the largest process.
"""

import sys
import threading
import time
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
        self._kills: Counter[int | None] = Counter()
        # The thread runs until the server exits.
        threading.Thread(target=self._watch, args=(limit_bytes, token), daemon=True).start()

    def kills_of(self, handle: int) -> int:
        """Return the number of kills that were counted for the process with the given handle."""
        return self._kills[handle]

    def kills(self) -> int:
        """Return the number of kills."""
        return sum(self._kills.values())

    def _watch(self, limit_bytes: int, token: str) -> None:
        victim: psutil.Process | None = None
        while True:
            time.sleep(_INTERVAL)
            is_dying = victim is not None and process_tree.is_alive(victim)
            if is_dying or _largest_if_over(limit_bytes, token, by_share=False) is None:
                continue
            victim = _largest_if_over(limit_bytes, token, by_share=True)
            if victim is not None:
                self._kills[process_tree.handle_of(victim, token)] += 1
                process_tree.kill([victim])


def _largest_if_over(limit_bytes: int, token: str, *, by_share: bool) -> psutil.Process | None:
    processes = process_tree.everything(token)
    sizes = {process: _size(process, by_share=by_share) for process in processes}
    return max(sizes, key=sizes.__getitem__) if sum(sizes.values()) > limit_bytes else None


def _size(process: psutil.Process, *, by_share: bool) -> int:
    with suppress(psutil.Error):
        if by_share and sys.platform == "linux":
            return int(process.memory_full_info().pss)
        return int(process.memory_info().rss)
    return 0
