"""Times in which a sandbox was not watched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass
class Gap:
    """A time in which a sandbox was not watched.

    Attributes:
        number: counts the gaps of this process.
        sandbox, label: what the rest of the facts, and what messages, call the sandbox.
        why: what was in the way, in one line.
        from_at, to_at: when it began and ended, by this machine's clock.
        since: the test in which it began; None outside of all.
        guarded: it was to be watched by a rule, and not for a report only.
        until: the test in which it ended, if it has.
        tests: how many tests were not watched, or not from start to end.

    """

    number: int
    sandbox: str
    label: str
    why: str
    from_at: str
    since: str | None
    guarded: bool
    to_at: str | None = None
    until: str | None = None
    tests: int = 0
    open: bool = True


class Gaps:
    """The gaps of one process; each is told again, under the same name, when more is known of it."""

    def __init__(self, worker: str | None) -> None:
        self._worker = worker
        self._number = 0
        self._changed: dict[int, Gap] = {}

    def begin(
        self, sandbox: str, label: str, why: str, at: str, since: str | None, *, guarded: bool
    ) -> Gap:
        """Take note that a sandbox is not watched from here on."""
        self._number += 1
        gap = Gap(self._number, sandbox, label, why, at, since, guarded)
        self._changed[gap.number] = gap
        return gap

    def miss(self, gap: Gap | None) -> None:
        """Take note that one more test went by, if the gap is open."""
        if gap is not None and gap.open:
            gap.tests += 1
            self._changed[gap.number] = gap

    def end(self, gap: Gap, at: str, test: str | None) -> None:
        """Take note that the sandbox is watched again."""
        self.miss(gap)
        gap.open, gap.to_at, gap.until = False, at, test

    def take(self) -> list[dict[str, Any]]:
        """Give as data what has changed since the last time."""
        changed, self._changed = self._changed, {}
        return [
            {
                "id": f"{self._worker or 'main'}/{gap.number}",
                "sandbox": gap.sandbox,
                "label": gap.label,
                "worker": self._worker,
                "why": gap.why,
                "from_at": gap.from_at,
                "to_at": gap.to_at,
                "from_test": gap.since,
                "to_test": gap.until,
                "tests": gap.tests,
                "open": gap.open,
                "guarded": gap.guarded,
            }
            for gap in changed.values()
        ]
