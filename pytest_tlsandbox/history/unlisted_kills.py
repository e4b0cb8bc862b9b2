"""Match the OOM kills that the kernel counted with the OOM kills that the list shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pytest_tlsandbox.models import ProcessInfo


class KernelCount(NamedTuple):
    """The OOM kills that a kernel has counted since it booted.

    Attributes:
        kills: the number of OOM kills.
        own: whether all of them happened in the sandbox; False if the sandbox may share the kernel
            with other sandboxes.

    """

    kills: int
    own: bool


class UnlistedKill(NamedTuple):
    """An OOM kill that the kernel counted, and that no listed process explains.

    Attributes:
        number: the number of the kill, in the order of the kernel.
        own: whether it happened in this sandbox; False if the kernel may be shared.
        position: the position in the history at which the counter showed it.
        at: the time of the position, in seconds of this machine's monotonic clock.
        running: the processes that were alive then.

    """

    number: int
    own: bool
    position: int
    at: float
    running: tuple[ProcessInfo, ...]


class UnlistedKills:
    """Compares the counter of the kernel with the list.

    The two are read at the same time, so either may show a kill first. The kernel counts a kill
    before the list can show it. So a kill that the list showed before the counter was read is part
    of that count, or the kernel did not count it.

    Attributes:
        open: the kills that only the kernel has shown so far, oldest first.

    """

    def __init__(self) -> None:
        self.open: list[UnlistedKill] = []
        self._count: int | None = None
        self._ahead = 0
        """Kills that the list has shown since the counter was last read."""

    def kernel_counts(
        self, count: int, *, own: bool, position: int, at: float, running: tuple[ProcessInfo, ...]
    ) -> None:
        """Record the counter. A counter that fell belongs to another kernel, and begins anew."""
        before, self._count = self._count, count
        ahead, self._ahead = self._ahead, 0
        if before is not None:
            numbers = range(before + 1 + ahead, count + 1)
            self.open += [UnlistedKill(number, own, position, at, running) for number in numbers]

    def list_shows(self, position: int) -> int:
        """Record that the list shows another kill.

        Returns:
            The position at which the kill became known: the given one, or that of the kernel.

        """
        if self.open:
            return self.open.pop(0).position
        self._ahead += 1
        return position
