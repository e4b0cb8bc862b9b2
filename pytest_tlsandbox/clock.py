"""The clock that every wait is measured by, and how one is called off."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_time_sleep = time.sleep


class _Thread(threading.local):
    """What the thread that asks may be called off by."""

    # No ContextVar: its module takes 0.3 ms of every start of pytest.
    cancellation: Cancellation | None = None


_this_thread = _Thread()


class Cancelled(BaseException):
    """Nobody waits for the answer any more; ends the thread that looked for it."""


class Cancellation:
    """Calls off, from any thread, what another one does under it: its sleep, and its look.

    A thread is under one at a time.
    """

    def __init__(self) -> None:
        self._event = threading.Event()
        self._changing = threading.Lock()
        self._cuts: set[Callable[[], None]] = set()

    def __enter__(self) -> None:
        _this_thread.cancellation = self

    def __exit__(self, *_: object) -> None:
        _this_thread.cancellation = None

    def cancel(self) -> None:
        """Call it off. Does not wait for its end."""
        self._event.set()
        with self._changing:
            for cut in self._cuts:
                cut()

    def sleep(self, seconds: float) -> None:
        """Sleep, unless it is called off.

        Raises:
            Cancelled: it was, before or meanwhile.

        """
        if self._event.wait(seconds):
            raise Cancelled

    @contextlib.contextmanager
    def cutting(self, cut: Callable[[], None]) -> Iterator[None]:
        """Have ``cut`` called if it is called off meanwhile, or has been."""
        with self._changing:
            self._cuts.add(cut)
            if self._event.is_set():
                cut()
        try:
            yield
        finally:
            with self._changing:
                self._cuts.discard(cut)


def cutting(cut: Callable[[], None]) -> contextlib.AbstractContextManager[None]:
    """Have ``cut`` called if what is done inside is called off; it must not wait."""
    cancellation = _this_thread.cancellation
    return contextlib.nullcontext() if cancellation is None else cancellation.cutting(cut)


@contextlib.contextmanager
def uncut() -> Iterator[None]:
    """Do what is done inside to its end, also when it is called off."""
    cancellation, _this_thread.cancellation = _this_thread.cancellation, None
    try:
        yield
    finally:
        _this_thread.cancellation = cancellation


def _sleep(seconds: float) -> None:
    cancellation = _this_thread.cancellation
    if cancellation is None:
        _time_sleep(seconds)
    else:
        cancellation.sleep(seconds)


class Clock:
    """A monotonic clock and the sleep that goes with it, in seconds.

    The references are class attributes on purpose: freezegun replaces ``time.monotonic`` in every
    module that holds it by name, and a deadline on a clock that stands still never comes.
    """

    monotonic = staticmethod(time.monotonic)
    sleep = staticmethod(_sleep)
