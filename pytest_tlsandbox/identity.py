"""What tells one run of a process from every other."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pytest_tlsandbox.client.models import ProcessInfo

# The SDK and the wire may differ below the millisecond.
_SAME_MOMENT = timedelta(milliseconds=1)


class Identity(NamedTuple):
    """Handle, pid and start of a run: a pid alone is used again (fact sheet 2.2)."""

    handle: int | None
    pid: int
    started_at: datetime

    def same_run(self, other: Identity) -> bool:
        """Compare what both sides have: older daemons send no handle."""
        if self.handle is not None and other.handle is not None and self.handle != other.handle:
            return False
        return self.pid == other.pid and abs(self.started_at - other.started_at) < _SAME_MOMENT


def by_start(row: ProcessInfo) -> tuple[datetime, int, int]:
    """Return what sorts processes by their start."""
    return row.started_at, row.handle or 0, row.pid
