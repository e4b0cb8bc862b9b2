"""Intervals in which a sandbox was not monitored."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass
class Gap:
    """An interval in which a sandbox was not monitored.

    Attributes:
        id: identifies the gap within the session.
        sandbox, label: the name of the sandbox in data, and in messages.
        worker: the xdist worker that met the gap, if any.
        why: the error, in one line.
        from_at, to_at: when it began and ended, by this machine's clock.
        from_test, to_test: the tests in which it began and ended; None outside of tests.
        guarded: whether a rule of the guard was in force, so that the gap fails the session.
        tests: how many tests were not monitored, or not from start to end.

    """

    id: str
    sandbox: str
    label: str
    worker: str | None
    why: str
    from_at: str
    from_test: str | None
    guarded: bool
    to_at: str | None = None
    to_test: str | None = None
    tests: int = 0
    open: bool = True


class Gaps:
    """The gaps that one process met."""

    def __init__(self, worker: str | None) -> None:
        self._worker = worker
        self._number = 0
        self._changed: dict[str, Gap] = {}

    def begin(
        self, sandbox: str, label: str, why: str, at: str, test: str | None, *, guarded: bool
    ) -> Gap:
        """Record that a sandbox is not monitored from now on."""
        self._number += 1
        name = f"{self._worker or 'main'}/{self._number}"
        gap = Gap(name, sandbox, label, self._worker, why, at, test, guarded)
        self._changed[name] = gap
        return gap

    def count_test(self, gap: Gap | None) -> None:
        """Record that a test ended in a gap, if the gap is open."""
        if gap is not None and gap.open:
            gap.tests += 1
            self._changed[gap.id] = gap

    def end(self, gap: Gap, at: str, test: str | None) -> None:
        """Record that the sandbox is monitored again."""
        self.count_test(gap)
        gap.open, gap.to_at, gap.to_test = False, at, test

    def take(self) -> list[dict[str, Any]]:
        """Return the gaps that changed since the last call, each whole."""
        changed, self._changed = self._changed, {}
        return [asdict(gap) for gap in changed.values()]
