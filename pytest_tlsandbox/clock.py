"""The clock that every wait is measured by."""

from __future__ import annotations

import time


class Clock:
    """A monotonic clock and the sleep that goes with it, in seconds.

    The references are class attributes on purpose: freezegun replaces ``time.monotonic`` in every
    module that holds it by name, and a deadline on a clock that stands still never comes.
    """

    monotonic = staticmethod(time.monotonic)
    sleep = staticmethod(time.sleep)
