"""Intervals in which a sandbox was not monitored."""

from __future__ import annotations

from dataclasses import dataclass


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
