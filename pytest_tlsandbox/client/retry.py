"""How faults are ridden out: what may be tried again, how soon, and for how long."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, TypeVar

import tenacity

from pytest_tlsandbox.errors import InfrastructureError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_tlsandbox.clock import Clock

OUTAGE_BUDGET = 30.0
"""Seconds a sandbox may give no good answer: a control-plane rollout lasts 7 to 30 (fact sheet 1.7)."""

TRY_AFTER_THE_BUDGET = 1.0
"""Seconds for which a caller tries once the budget is spent: not every test must wait for all of it."""

LONGEST_CALL = 5.0
"""Seconds after which a call that has not been answered is given up, and may be made again."""

_jitter = random.Random()  # its own: a seeded test must not change with the number of looks

_LAST_CALL, _HURRIED_CALL = 0.5, 0.1
"""Seconds that the last call has: enough for a new connection far away, if the test goes on after."""
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 2.0
_INSTANT = 1e-6
"""Two moments no further apart are the same: sums of floats need not meet a deadline exactly."""

T = TypeVar("T")


class OutageBudget:
    """How long callers may still retry while one sandbox does not answer; one for each sandbox.

    The time of failed calls, and the pauses between those that follow each other, add up to
    ``spent`` (seconds) until a call succeeds.
    """

    def __init__(self) -> None:
        self.spent = 0.0
        self._last_failure: float | None = None

    @property
    def left(self) -> float:
        """Seconds for which a caller that begins now may retry."""
        left = OUTAGE_BUDGET - self.spent
        return left if left > _INSTANT else TRY_AFTER_THE_BUDGET

    def worth_a_try(self, now: float) -> bool:
        """Return whether a caller that need not know should ask: not too often in a long outage."""
        last = self._last_failure
        return self.spent < OUTAGE_BUDGET - _INSTANT or (
            last is None or now - last >= OUTAGE_BUDGET
        )

    def failed(self, begun: float, ended: float) -> None:
        """Record a call that failed with a transient error, in seconds on the clock."""
        last = self._last_failure
        follows = last is not None and last <= begun <= last + LONGEST_CALL
        self.spent += ended - (last if follows and last is not None else begun)
        self._last_failure = ended

    def succeeded(self) -> None:
        """Record a call that was answered: the outage is over."""
        self.spent, self._last_failure = 0.0, None


def is_transient(error: BaseException) -> bool:
    """Tell a fault that may pass. Named positively: everything else, a Ctrl-C too, is final."""
    return isinstance(error, InfrastructureError) and error.transient


def pause_after(error: BaseException | None, tries: int) -> float:
    """Seconds to wait after the n-th fault in a row: what the server asked for, or doubling."""
    if isinstance(error, InfrastructureError) and error.retry_after is not None:
        return max(_FIRST_PAUSE, error.retry_after)
    doubled: float = _FIRST_PAUSE * 2 ** min(tries - 1, 10)
    return with_jitter(min(_LONGEST_PAUSE, doubled))


def with_jitter(pause: float) -> float:
    """Vary a pause by a tenth, so that many who wait do not ask in step."""
    return pause * _jitter.uniform(0.9, 1.1)


def persist(
    call: Callable[[float], T],
    clock: Clock,
    *,
    patience: float = OUTAGE_BUDGET,
    until: float | None = None,
    only_undelivered: bool = False,
) -> T:
    """Make a call until it succeeds, a fault is final, or ``patience`` (seconds) is at its end.

    ``call`` is given the seconds it may take. ``until``: a moment on the clock at which to give up
    before that. ``only_undelivered``: repeat only what certainly did not reach the sandbox, since
    starting a process twice is worse than not starting it.

    Raises:
        InfrastructureError: the last one.

    """
    end, shortest = clock.monotonic() + patience, _LAST_CALL
    if until is not None and until < end:
        end, shortest = until, _HURRIED_CALL

    def attempt() -> T:
        return call(min(LONGEST_CALL, max(shortest, end - clock.monotonic())))

    def may_pass(error: BaseException) -> bool:
        return is_transient(error) and not (
            only_undelivered and isinstance(error, InfrastructureError) and error.delivered
        )

    def fault(state: tenacity.RetryCallState) -> BaseException | None:
        return state.outcome.exception() if state.outcome else None

    def asked(state: tenacity.RetryCallState) -> bool:
        error = fault(state)
        return isinstance(error, InfrastructureError) and error.retry_after is not None

    def pause(state: tenacity.RetryCallState) -> float:
        seconds = pause_after(fault(state), state.attempt_number)
        # Cut, so that the last try is made at the end: an outage as long as the budget is ridden out.
        return seconds if asked(state) else max(0.0, min(seconds, end - clock.monotonic()))

    def is_over(state: tenacity.RetryCallState) -> bool:
        now = clock.monotonic()
        return now >= end - _INSTANT or (asked(state) and now + state.upcoming_sleep > end)

    return tenacity.Retrying(
        sleep=clock.sleep,
        retry=tenacity.retry_if_exception(may_pass),
        wait=pause,
        stop=is_over,
        reraise=True,
    )(attempt)
