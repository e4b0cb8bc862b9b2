"""A fake clock on which waits take no time, and a context manager that makes waits skip pauses."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from unittest import mock

from pytest_tlsandbox.clock import Clock


class FakeClock(Clock):
    """A clock on which a sleep takes no time and only advances ``now``.

    Args:
        now: the initial time in seconds.

    Attributes:
        now: the current time in seconds, which a test may set.
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
        """Advance the clock by ``seconds``, even if ``_event`` is set.

        Args:
            _event: the event, which is ignored.
            seconds: the duration of the wait.

        """
        self.sleep(seconds)


@contextlib.contextmanager
def no_sleep() -> Iterator[None]:
    """Make all waits and assertions in this ``with`` block skip their pauses.

    For each skipped pause, the clock of the waits advances by the length of the pause. For this
    reason, a wait of 30 s takes only as long as its polls. Use this function if the list of
    processes does not change with time. An example is a list from a recorded response. Skipped time
    does not give real processes time to run. The skipped pauses count towards the timeout of
    pytest-timeout.
    """
    real_monotonic, real_sleep = Clock.monotonic, Clock.sleep
    skipped = [0.0]

    def monotonic() -> float:
        return real_monotonic() + skipped[0]

    def sleep(seconds: float) -> None:
        real_sleep(0)  # raises Cancelled if the caller was cancelled
        skipped[0] += seconds

    wait = staticmethod(lambda _event, seconds: sleep(seconds))
    # Use mock, because type checkers reject an assignment to a static method.
    with mock.patch.multiple(
        Clock, monotonic=staticmethod(monotonic), sleep=staticmethod(sleep), wait=wait
    ):
        yield
