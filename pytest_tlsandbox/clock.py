"""Provide the clock for all waits, and cancel waits and calls."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator


class Cancelled(BaseException):
    """The caller was cancelled. This error ends the thread that works for the caller."""


class Cancellation:
    """Cancels a sleep or an API request of one thread. Any thread can call ``cancel``.

    Before a thread can be cancelled, it must use the object in a ``with`` statement. In a nested
    ``with`` statement, only the inner object can cancel the thread, so a new object shields the
    block from cancellation.

    Attributes:
        event: is set when the thread is cancelled.
        cut: the function to call when the thread is cancelled; by default, it does nothing.

    """

    def __init__(self) -> None:
        self.event = threading.Event()
        self.cut: Callable[[], object] = bool

    def __enter__(self) -> None:
        self._outer, _this_thread.cancellation = _this_thread.cancellation, self

    def __exit__(self, *_: object) -> None:
        _this_thread.cancellation = self._outer

    def cancel(self) -> None:
        """Cancel the thread, but do not wait until it ends."""
        self.event.set()
        self.cut()


class _Thread(threading.local):
    """Stores the cancellation object of the current thread; by default, nothing cancels it."""

    # Not a ContextVar, because importing its module adds 0.3 ms to every start of pytest.
    def __init__(self) -> None:
        self.cancellation = Cancellation()


_this_thread = _Thread()


@contextlib.contextmanager
def on_cancellation(cut: Callable[[], None]) -> Iterator[None]:
    """Call ``cut`` if the current thread is cancelled before or during the ``with`` block.

    ``cut`` must return immediately, and may be called twice, or shortly after the block. Blocks
    must not be nested.
    """
    cancellation = _this_thread.cancellation
    # Set the function before checking the event, so that a simultaneous call of cancel() is not
    # missed.
    cancellation.cut = cut
    if cancellation.event.is_set():
        cut()
    try:
        yield
    finally:
        cancellation.cut = bool


def _sleep(seconds: float) -> None:
    if _this_thread.cancellation.event.wait(seconds):
        raise Cancelled


def _wait(event: threading.Event, seconds: float) -> None:
    with on_cancellation(event.set):
        event.wait(seconds)
    _sleep(0)  # raises Cancelled if the thread was cancelled


class Clock:
    """A monotonic clock and functions that sleep; all times are in seconds.

    The functions are class attributes because freezegun replaces ``time.monotonic`` in every module
    that imports it by name. If the clock stood still, a wait would never reach its deadline.
    """

    monotonic = staticmethod(time.monotonic)
    sleep = staticmethod(_sleep)
    wait = staticmethod(_wait)
    """Sleep for a number of seconds, or until an event is set."""
