"""Intervals in which a sandbox was not monitored."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Gap:
    """An interval in which a sandbox was not monitored.

    Attributes:
        id: the id of the gap, which is unique within the session.
        sandbox: the name of the sandbox in data.
        label: the name of the sandbox in messages.
        worker: the xdist worker in which the gap occurred, if any.
        why: the error, as one line.
        from_at: when the gap began, by this machine's clock.
        from_test: the test in which the gap began; None outside of tests.
        guarded: whether a rule of the guard applied; if so, the gap fails the session.
        to_at: when the gap ended, by this machine's clock; None if the gap is open.
        to_test: the test in which the gap ended; None outside of tests.
        tests: the number of tests that were not completely monitored.

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
