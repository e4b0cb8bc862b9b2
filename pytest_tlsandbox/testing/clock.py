"""Time that takes none: a clock that jumps, and waits that do not sleep."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING
from unittest import mock

from pytest_tlsandbox.clock import Clock

if TYPE_CHECKING:
    from collections.abc import Iterator


class FakeClock(Clock):
    """A clock on which a sleep takes no time at all: it only moves ``now`` on.

    Attributes:
        now: the time it shows, in seconds; set it to move it.
        slept: the sleeps there were, in seconds each.

    """

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now
        self.slept: list[float] = []

    def monotonic(self) -> float:
        """Give the time it shows."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Move the time on by so many seconds."""
        self.slept.append(seconds)
        self.now += seconds


@contextlib.contextmanager
def no_sleep() -> Iterator[None]:
    """Have every wait and assertion made inside skip its pauses, as if they had passed.

    For what does not change with time, such as rows that a proxy serves: a wait of 30 s then takes
    as long as its looks do. A real process gets no more time than that to do something, and what is
    skipped counts against a time-out of pytest-timeout.
    """
    real_monotonic, real_sleep = Clock.monotonic, Clock.sleep
    skipped = [0.0]

    def monotonic() -> float:
        return real_monotonic() + skipped[0]

    def sleep(seconds: float) -> None:
        real_sleep(0)  # where a coroutine that was cancelled ends
        skipped[0] += seconds

    # By mock, since static methods are no attributes to a type checker.
    with mock.patch.multiple(Clock, monotonic=staticmethod(monotonic), sleep=staticmethod(sleep)):
        yield
