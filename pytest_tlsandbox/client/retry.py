"""Decide which failed calls are retried, how long the pauses are, and when the retries end."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import TypeVar

from pytest_tlsandbox.clock import Clock
from pytest_tlsandbox.errors import InfrastructureError

OUTAGE_BUDGET = 30.0
"""Maximum seconds of retries, because a rollout takes 7 to 30 s (api-notes, "Errors")."""

TRY_AFTER_THE_BUDGET = 1.0
"""Seconds for which a caller retries after the budget is spent, to keep later tests fast."""

LONGEST_CALL = 5.0
"""Seconds that one call may take."""

_jitter = random.Random()  # does not affect the random numbers of tests

_LAST_CALL, _HURRIED_CALL = 0.5, 0.1
"""Seconds for the last call before a deadline, and for the last call before the test is killed."""
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 2.0
_INSTANT = 1e-6
"""Tolerance in seconds when comparing points in time, because sums of floats are inexact."""

T = TypeVar("T")


class OutageBudget:
    """The time that remains for retries while a sandbox does not answer.

    Attributes:
        spent: seconds that failed calls and the pauses between them took since the last successful
            call.

    """

    def __init__(self) -> None:
        self.spent = 0.0
        self._last_failure = -math.inf

    @property
    def left(self) -> float:
        """The number of seconds for which a caller may continue to retry."""
        left = OUTAGE_BUDGET - self.spent
        return left if left > _INSTANT else TRY_AFTER_THE_BUDGET

    def worth_a_try(self, now: float) -> bool:
        """Return whether to make an optional call now; optional calls are rare in a long outage."""
        is_over = self.spent >= OUTAGE_BUDGET - _INSTANT
        return not is_over or now - self._last_failure >= OUTAGE_BUDGET

    def failed(self, begun: float, ended: float) -> None:
        """Record a call that failed with a transient error.

        ``begun`` and ``ended`` are times in seconds of the monotonic clock.
        """
        follows = self._last_failure <= begun <= self._last_failure + LONGEST_CALL
        self.spent += ended - (self._last_failure if follows else begun)
        self._last_failure = ended

    def succeeded(self) -> None:
        """Record a successful call, which ends the outage."""
        self.spent, self._last_failure = 0.0, -math.inf


def pause_after(error: InfrastructureError, tries: int) -> float:
    """Return how long to wait after the n-th consecutive error.

    If the server requested a pause, this function returns its duration. Otherwise, the first pause
    is 0.1 s. Each further error doubles the pause, up to 2 s.

    Args:
        error: the error.
        tries: the number n of the error, from 1.

    Returns:
        The pause in seconds.

    """
    if error.retry_after is not None:
        return max(_FIRST_PAUSE, error.retry_after)
    return with_jitter(min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(tries - 1, 10)))


def with_jitter(pause: float) -> float:
    """Vary a pause by up to a tenth, so that many waits do not poll at the same time."""
    return pause * _jitter.uniform(0.9, 1.1)


def call_with_retries(
    call: Callable[[float], T],
    clock: Clock,
    patience: float = OUTAGE_BUDGET,
    until: float | None = None,
    *,
    only_undelivered: bool = False,
) -> T:
    """Repeat a call until it succeeds, fails with a final error, or exceeds the time for retries.

    Args:
        call: a function that makes the call, and whose argument is the number of seconds that the
            call may take.
        clock: the clock of the pauses.
        patience: the number of seconds for which transient errors are retried.
        until: an additional deadline for retries, in seconds on the clock; None for no additional
            deadline.
        only_undelivered: whether to repeat the call only if it certainly did not reach the sandbox.
            Starting a process twice is worse than not starting it.

    Returns:
        The result of the call.

    Raises:
        InfrastructureError: the last error.

    """
    end, shortest = clock.monotonic() + patience, _LAST_CALL
    if until is not None and until < end:
        end, shortest = until, _HURRIED_CALL

    tries = 0
    while True:
        try:
            return call(min(LONGEST_CALL, max(shortest, end - clock.monotonic())))
        except InfrastructureError as error:
            tries += 1
            left = end - clock.monotonic()
            pause = pause_after(error, tries)
            if error.retry_after is None:
                # Shorten the last pause, so that the last call is made at the end of the budget.
                # Then an outage that is as long as the budget does not cause an error.
                pause = max(0.0, min(pause, left))
            may_pass = error.transient and not (only_undelivered and error.delivered)
            if not may_pass or left <= _INSTANT or pause > left:
                raise
        clock.sleep(pause)
