"""Read how many processes the kernel of a sandbox has OOM-killed, beside a list call."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from pytest_tlsandbox.client.transport import Transport
from pytest_tlsandbox.errors import InfrastructureError
from pytest_tlsandbox.types import KernelCount

_COUNTER = re.compile(rb"^oom_kill (\d{1,18})$", re.MULTILINE)
_OWN_MARK = re.compile(rb"^sandbox_only 1$", re.MULTILINE)
"""The line by which the embedded sandbox says that it counts only its own processes."""
_LONGEST_CALL = 1.0
"""Maximum seconds of a call, because a list call waits for it."""
_MOST_FAILURES = 3
"""Transient errors in a row after which the counter counts as unknown."""
_FIRST_KERNEL_THREAD = b"kthreadd\n"
"""The content of ``/proc/2/comm`` outside of containers, which number their processes anew."""


class KernelCounter:
    """Reads ``/proc/vmstat`` of a sandbox in a thread, so that a list call runs at the same time.

    Args:
        transport: sends the requests.

    Attributes:
        unknown: why the sandbox has no counter; "" if it has one, or if this is not known yet.

    """

    def __init__(self, transport: Transport) -> None:
        self.unknown = ""
        self._transport = transport
        self._own: bool | None = None
        self._failures = 0
        self._thread = ThreadPoolExecutor(1, "tlsandbox-kernel-counter")  # starts at the first call

    def start(self, limit: float) -> Callable[[], KernelCount | None]:
        """Begin to read the counter.

        Args:
            limit: the maximum duration of the call in seconds.

        Returns:
            A function that waits for the result. The result is None if the counter could not be
            read. If it can never be read, later calls make no request.

        """
        if self.unknown:
            return lambda: None
        return self._thread.submit(self._read, min(limit, _LONGEST_CALL)).result

    def close(self) -> None:
        """End the thread when the current call ends."""
        self._thread.shutdown(wait=False)

    def _read(self, limit: float) -> KernelCount | None:
        try:
            content = self._file("/proc/vmstat", limit)
            found = _COUNTER.search(content)
            if found is None:
                self.unknown = "/proc/vmstat of the sandbox does not count OOM kills"
                return None
            if self._own is None:
                self._own = _OWN_MARK.search(content) is not None or self._has_own_kernel(limit)
        except InfrastructureError as error:
            self._failures += 1
            if not error.transient or self._failures == _MOST_FAILURES:
                self.unknown = f"/proc/vmstat of the sandbox cannot be read: {error.first_line}"
            return None
        self._failures = 0
        return KernelCount(int(found[1]), self._own)

    def _has_own_kernel(self, limit: float) -> bool:
        """Return whether the daemon sees processes as the kernel numbers them.

        A container has its own numbers, and shares the kernel with its host.

        Raises:
            InfrastructureError: a transient error.

        """
        try:
            return self._file("/proc/2/comm", limit) == _FIRST_KERNEL_THREAD
        except InfrastructureError as error:
            if error.transient:
                raise
            return False

    def _file(self, path: str, limit: float) -> bytes:
        return self._transport.request("GET", f"/files?path={path}", limit=limit).body
