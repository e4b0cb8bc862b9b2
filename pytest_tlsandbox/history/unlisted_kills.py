"""Match the OOM kills that the kernel counted with the OOM kills that the list shows."""

from __future__ import annotations

from datetime import datetime, timezone

from pytest_tlsandbox.history.incidents import OOM, SUSPECTED_OOM, Incident
from pytest_tlsandbox.history.runs import End, Generation, Run
from pytest_tlsandbox.history.snapshot import ProcessSnapshot
from pytest_tlsandbox.models import ProcessInfo
from pytest_tlsandbox.types import SIGKILL, UNLISTED_PID, KernelCount


class UnlistedKills:
    """Compares the counter of the kernel with the list.

    The two are read at the same time, so either may show a kill first. The kernel counts a kill
    before the list can show it. So a kill that the list showed before the counter was read is part
    of that count, or the kernel did not count it.

    Attributes:
        open: the kills that only the kernel has shown so far, oldest first; each is an incident,
            and the position at which the counter was read before. The incident is a suspected OOM
            kill if the kernel may be shared.

    """

    def __init__(self) -> None:
        self.open: list[tuple[Incident, int]] = []
        self._count: int | None = None
        self._read_at = 0
        self._ahead = 0
        """Kills that the list has shown since the counter was last read."""

    def kernel_counts(self, kernel: KernelCount, snapshot: ProcessSnapshot) -> None:
        """Record the counter and the snapshot that was taken at the same time.

        A counter that fell belongs to another kernel, and begins anew.
        """
        before, self._count = self._count, kernel.kills
        after, self._read_at = self._read_at, snapshot.position or 0
        ahead, self._ahead = self._ahead, 0
        if before is not None:
            kind = OOM if kernel.own else SUSPECTED_OOM
            for number in range(before + 1 + ahead, kernel.kills + 1):
                run = _run_of(number, snapshot.alive)
                self.open.append((Incident(kind, run, self._read_at, snapshot.begun), after))

    def list_shows(self, position: int) -> int:
        """Record that the list shows another kill.

        Returns:
            The position at which the kill became known: the given one, or that of the kernel.

        """
        if self.open:
            incident, _ = self.open.pop(0)
            return incident.position
        self._ahead += 1
        return position


def _run_of(number: int, running: tuple[ProcessInfo, ...]) -> Run:
    """Return a run that stands for the process of a kill.

    Args:
        number: the number of the kill, which all workers that share a sandbox have in common.
        running: the processes that were alive when the kill was noticed.

    """
    row = ProcessInfo(
        handle=number,
        pid=UNLISTED_PID,
        command="an unlisted process",
        status="oom_killed",
        started_at=datetime.fromtimestamp(0, timezone.utc),  # not known
    )
    end = End(exit_code=None, signal=SIGKILL, oom_killed=True, ended_at=None)
    generation = Generation(None)
    return generation.add(Run(generation, row=row, end=end, running_then=running))
