"""Tests that take no time: a clock that jumps, and waits that do not sleep."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING
from unittest import mock

from pytest_tlsandbox.clock import Clock

if TYPE_CHECKING:
    from collections.abc import Iterator


class FakeClock(Clock):
    """A clock on which a sleep takes no time: it only advances ``now``.

    Attributes:
        now: the time it shows, in seconds; set it to move it.
        slept: the sleeps there were, in seconds each.

    """

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now
        self.slept: list[float] = []

    def monotonic(self) -> float:
        """Return the current time of this clock."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Advance the clock by so many seconds."""
        self.slept.append(seconds)
        self.now += seconds


@contextlib.contextmanager
def no_sleep() -> Iterator[None]:
    """Make every wait and assertion in this context skip its pauses, as if they had passed.

    For rows that do not change with time, as from a proxy: a wait of 30 s then takes as long as its
    polls do. A real process gets no more time than that, and skipped pauses count against the timeout
    of pytest-timeout.
    """
    real_monotonic, real_sleep = Clock.monotonic, Clock.sleep
    skipped = [0.0]

    def monotonic() -> float:
        return real_monotonic() + skipped[0]

    def sleep(seconds: float) -> None:
        real_sleep(0)  # where a coroutine that was cancelled ends
        skipped[0] += seconds

    # By mock, since type checkers do not let static methods be assigned.
    with mock.patch.multiple(Clock, monotonic=staticmethod(monotonic), sleep=staticmethod(sleep)):
        yield
