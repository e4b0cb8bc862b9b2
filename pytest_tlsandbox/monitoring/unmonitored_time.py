"""Intervals in which a sandbox was not monitored."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Gap:
    """An interval in which a sandbox was not monitored.

    Attributes:
        id: identifies the gap within the session. sandbox, label: the names of the sandbox in data
            and in messages.
        worker: the xdist worker in which the gap occurred, if any.
        why: the error, as one line. from_at, to_at: when the gap began and ended, by this machine's
            clock. from_test, to_test: the tests in which the gap began and ended; None outside of
            tests.
        guarded: whether a rule of the guard applied, so that the gap fails the session.
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
