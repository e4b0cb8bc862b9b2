"""Waits that take no time: a fake clock, and a context in which waits skip their pauses."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING
from unittest import mock

from pytest_tlsandbox.clock import Clock

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator


class FakeClock(Clock):
    """A clock on which a sleep takes no time: it only advances ``now``.

    Args:
        now: the time at the start, in seconds.

    Attributes:
        now: the current time in seconds; a test may set it.
        slept: the duration of each sleep so far, in seconds.

    """

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now
        self.slept: list[float] = []

    def monotonic(self) -> float:
        """Return the current time of this clock in seconds."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Advance the clock.

        Args:
            seconds: the duration of the sleep.

        """
        self.slept.append(seconds)
        self.now += seconds

    def wait(self, _event: threading.Event, seconds: float) -> None:
        """Advance the clock by ``seconds``: nothing sets an event while no time passes."""
        self.sleep(seconds)


@contextlib.contextmanager
def no_sleep() -> Iterator[None]:
    """Make every wait and assertion in this ``with`` block skip its pauses, as if they had passed.

    Use it for a list that does not change with time, for example from a recorded response: a wait of
    30 s then takes only as long as its polls. A real process does not get the skipped time. The
    skipped pauses count against the timeout of pytest-timeout.
    """
    real_monotonic, real_sleep = Clock.monotonic, Clock.sleep
    skipped = [0.0]

    def monotonic() -> float:
        return real_monotonic() + skipped[0]

    def sleep(seconds: float) -> None:
        real_sleep(0)  # a cancelled coroutine ends here
        skipped[0] += seconds

    def wait(_event: threading.Event, seconds: float) -> None:
        sleep(seconds)

    # With mock, because type checkers reject an assignment to a static method.
    with mock.patch.multiple(
        Clock,
        monotonic=staticmethod(monotonic),
        sleep=staticmethod(sleep),
        wait=staticmethod(wait),
    ):
        yield
