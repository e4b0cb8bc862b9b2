"""The loop: look, judge, sleep; until the answer is certain, or the deadline has come.

tenacity drives it. What tenacity does not have is here: a last look that starts at the deadline, a
verdict that must stand for a while, an outage budget for each streak of faults.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import tenacity

from pytest_tlsandbox.client.retry import (
    LONGEST_CALL,
    is_transient,
    pause_after,
    with_jitter,
)
from pytest_tlsandbox.errors import InfrastructureError, SandboxReplaced
from pytest_tlsandbox.formatting.text import printable
from pytest_tlsandbox.formatting.words import count, seconds
from pytest_tlsandbox.history.timeline import Timeline
from pytest_tlsandbox.waiting.conditions.results import Impossible, Met, Pending, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from pytest_tlsandbox.client.api import ProcessLister
    from pytest_tlsandbox.history.snapshot import ProcessSnapshot
    from pytest_tlsandbox.waiting.conditions.results import Condition

logger = logging.getLogger("pytest_tlsandbox")

_SHORTEST_PAUSE, _LONGEST_PAUSE, _PAUSE_SHARE = 0.05, 0.25, 0.05
_LAST_LOOK = 0.5
"""Seconds the look at the deadline may take."""
_CUT_CALL = 0.1
"""A look is not begun when less than this would be left of it: the next one is the last."""
_SPARE = 0.15
"""Seconds left to the test's own time-out after the last look, to tell what was seen."""
_INSTANT = 1e-6
"""Two moments no further apart are the same: sums of floats need not meet a deadline exactly."""
_LONGEST_WAVERING = 5.0
"""Seconds after which an assertion, which has no deadline, takes no more changes of its verdict."""
_LONGEST_UNSEEN = 60.0
"""Seconds that all its outages together may add to that: two of the longest that are ridden out."""
_SAYING_INTERVAL = 15.0
"""Seconds after which a wait that goes on says so, and again."""
LONG_OUTAGE = 1.0
"""Without an answer for so long, what was seen before it is no answer any more."""


@dataclass(frozen=True)
class Limit:
    """When a wait ends: ``at`` on the clock, or never.

    ``hard`` is the moment the test itself would be killed, which is when the wait had to end
    sooner than it was asked to.
    """

    start: float
    at: float | None
    hard: float | None = None


@dataclass(frozen=True)
class Outcome:
    """How a wait ended.

    Attributes:
        verdict: the last one; None if no look succeeded, or the sandbox could not be asked in the
            end.
        final: it was certain, and not cut off by the deadline.
        fault: what ended the wait in place of a verdict.
        seconds: how long it took.
        stood_for: seconds for which the verdict had been the same.

    """

    verdict: Verdict | None
    final: bool
    fault: InfrastructureError | None
    timeline: Timeline
    seconds: float
    stood_for: float


def watch(
    condition: Condition,
    lister: ProcessLister,
    limit: Limit,
    since: int | None = None,
    say: Callable[[str], None] | None = None,
) -> Outcome:
    """Poll until the condition's verdict is certain; a long wait reports progress every 15 s.

    ``since``: a position in the history. If the daemon was replaced after it, that ends the wait.
    The outcome has everything, errors too; only what a function of the user raises is raised.
    """
    return _Watch(condition, lister, limit, since, say).run()


class _Watch:
    def __init__(
        self,
        condition: Condition,
        lister: ProcessLister,
        limit: Limit,
        since: int | None,
        say: Callable[[str], None] | None,
    ) -> None:
        self._condition = condition
        self._lister = lister
        self._limit = limit
        self._since = since
        self._say = say
        self._said = limit.start
        self._clock = lister.clock
        self._timeline = Timeline(limit.start, lister.history)
        self._verdict: Verdict | None = None
        self._stands_since = 0.0
        self._final = False
        self._last_begun = limit.start
        self._faults_in_a_row = 0
        self._outage_ends = limit.start
        self._last_fault: InfrastructureError | None = None
        self._users_error: BaseException | None = None
        self._first_good = self._last_good = limit.start
        self._unseen = 0.0

    def run(self) -> Outcome:
        fault = None
        try:
            tenacity.Retrying(
                sleep=self._clock.sleep,
                retry=tenacity.retry_if_exception(is_transient)
                | tenacity.retry_if_result(lambda final: not final),
                wait=self._pause,
                stop=self._is_over,
                # Without it: RetryError, which names a Future and no cause.
                retry_error_callback=lambda _state: None,
            )(self._look)
        except InfrastructureError as error:
            fault = error
        if self._users_error is not None:
            raise self._users_error
        outage = self._timeline.outage
        if fault is None and outage is not None:
            lasted = self._now() - self._limit.start - outage.start
            if self._verdict is None or lasted >= LONG_OUTAGE:
                fault = self._last_fault
        return Outcome(
            None if fault else self._verdict,
            self._final,
            fault,
            self._timeline,
            self._now() - self._limit.start,
            self._last_good - self._stands_since,
        )

    def _now(self) -> float:
        return self._clock.monotonic()

    def _look(self) -> bool:
        """Look once and judge; tell whether the verdict is final."""
        self._last_begun = begun = self._now()
        left = self._lister.outage.left
        try:
            snapshot = self._lister.poll(limit=self._time_for_a_look(begun))
            if self._since is not None and self._lister.history.replaced_at > self._since:
                raise SandboxReplaced(
                    f"Replaced: another sandbox answers as {snapshot.sandbox}\n"
                    "nothing of what was listed before is listed any more",
                    label="replaced",
                )
        except InfrastructureError as fault:
            if not self._faults_in_a_row:
                self._outage_ends = begun + left
            self._faults_in_a_row += 1
            self._last_fault = fault
            self._timeline.add_fault(fault, begun, self._now())
            logger.debug("look at %s failed: %s", self._lister.label, fault.label)
            self._say_how_it_goes()
            raise
        self._faults_in_a_row = 0
        self._timeline.add(snapshot)
        logger.debug("look at %s: %s", self._lister.label, count(len(snapshot), "process"))
        try:
            verdict = self._condition.judge(snapshot)
        except Exception as error:
            self._users_error = error
            return True
        self._settle(verdict, snapshot)
        if not self._final:
            self._say_how_it_goes()
        return self._final

    def _say_how_it_goes(self) -> None:
        now = self._now()
        if now - self._said < _SAYING_INTERVAL:
            return
        self._said = now
        outage = self._timeline.outage
        if outage is not None:
            state = f"no answer since +{seconds(outage.start)} ({outage})"
        elif isinstance(self._verdict, Pending):
            state = self._verdict.tell().headline
        else:
            state = "so far as it should be" if self._verdict else "no look yet"
        until = (
            " s" if self._limit.at is None else f" of {seconds(self._limit.at - self._limit.start)}"
        )
        text = f"waiting {now - self._limit.start:.0f}{until}: {state}, wanted {self._condition.wanted}"
        text = printable(text)
        logger.info("%s: %s", self._lister.label, text)
        if self._say is not None:
            self._say(text)

    def _settle(self, verdict: Verdict, snapshot: ProcessSnapshot) -> None:
        """Decide whether a verdict has stood, unchanged, for as long as it must.

        If a condition must hold without interruption, a long time without a poll begins it anew.
        """
        begun = snapshot.begun
        gap = 0.0 if self._verdict is None else begun - self._last_good
        if self._verdict is None:
            self._first_good = begun
        if gap > LONG_OUTAGE:
            self._unseen += gap
        longest = verdict.longest_gap if isinstance(verdict, Met) else None
        unseen = longest is not None and gap > longest
        if self._verdict is None or _key(verdict) != _key(self._verdict) or unseen:
            self._stands_since = begun
        self._last_good = snapshot.ended
        self._verdict = verdict
        self._final = (
            not isinstance(verdict, Pending) and begun - self._stands_since >= verdict.stands_for
        )

    def _time_for_a_look(self, begun: float) -> float:
        at, hard = self._limit.at, self._limit.hard
        if at is None or begun + LONGEST_CALL < at:
            return LONGEST_CALL
        if begun < at - _INSTANT:
            return at - begun
        return _LAST_LOOK if hard is None else max(0.02, min(_LAST_LOOK, hard - _SPARE - begun))

    def _pause(self, state: tenacity.RetryCallState) -> float:
        """Seconds until the next look: 5 % of what has passed, cut to meet the deadline."""
        now = self._now()
        error = state.outcome.exception() if state.outcome else None
        if error is not None:
            pause = pause_after(error, self._faults_in_a_row)
            pause = min(pause, self._outage_ends - now)
        else:
            share = with_jitter((now - self._limit.start) * _PAUSE_SHARE)
            pause = min(_LONGEST_PAUSE, max(_SHORTEST_PAUSE, share))
            if isinstance(self._verdict, (Met, Impossible)):
                due = self._stands_since + self._verdict.stands_for
                # A millisecond over, so that the look begins after the moment, not on it.
                pause = min(pause, due - now + 0.001)
        if self._limit.at is not None:
            left = self._limit.at - now
            pause = left if left < pause + _CUT_CALL else pause
        return max(0.0, pause)

    def _is_over(self, _state: tenacity.RetryCallState) -> bool:
        if self._limit.at is not None and self._last_begun >= self._limit.at - _INSTANT:
            return True
        if self._timeline.outage is not None:
            return self._now() >= self._outage_ends - _INSTANT
        # What an outage took is not time in which a verdict wavered.
        patience = getattr(self._verdict, "stands_for", 0.0) + _LONGEST_WAVERING
        patience += min(self._unseen, _LONGEST_UNSEEN)
        return self._limit.at is None and self._last_begun - self._first_good > patience


def _key(verdict: Verdict) -> tuple[type[Any], Hashable]:
    return type(verdict), None if isinstance(verdict, Pending) else verdict.key
