"""Fakes for waits on a fake clock that a stream wakes: the clock, and the notice of an end."""

from __future__ import annotations

import threading
from collections.abc import Callable
from operator import itemgetter

from pytest_tlsandbox.testing.clock import FakeClock


class AlarmClock(FakeClock):
    """A fake clock on which something happens at some times, also during a wait."""

    def __init__(self, now: float = 1000.0) -> None:
        super().__init__(now)
        self.alarms: list[tuple[float, Callable[[], None]]] = []

    def wait(self, event: threading.Event, seconds: float) -> None:
        until = self.now + seconds
        while self.alarms and not event.is_set():
            alarm = min(self.alarms, key=itemgetter(0))
            if alarm[0] > until:
                break
            self.alarms.remove(alarm)
            self.now = max(self.now, alarm[0])
            alarm[1]()
        if not event.is_set():
            self.now = until


class FakeNotice:
    """A notice that comes at a time on the clock of the test; None: never."""

    def __init__(
        self, clock: AlarmClock, at: float | None, wake: Callable[[], None], *, live: bool = True
    ) -> None:
        self.live, self.came, self.closed = live, False, False
        self._wake = wake
        if live and at is not None:
            clock.alarms.append((at, self.come))

    def come(self) -> None:
        if not self.closed:
            self.live, self.came = False, True
            self._wake()

    def close(self) -> None:
        self.closed = True
