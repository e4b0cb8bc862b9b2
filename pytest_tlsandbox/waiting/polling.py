"""The wait loop: poll, evaluate, sleep, until the result is final or the deadline has passed.

tenacity drives the loop. This module adds what tenacity lacks: a last poll that starts at the
deadline, a settling time for results, and a time budget for each outage.
"""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import tenacity

from pytest_tlsandbox.client.retry import LONGEST_CALL, is_transient, pause_after, with_jitter
from pytest_tlsandbox.errors import InfrastructureError, SandboxReplaced
from pytest_tlsandbox.formatting.text import count, printable, seconds
from pytest_tlsandbox.history.timeline import Timeline
from pytest_tlsandbox.messages.failure import LONGEST_LINE
from pytest_tlsandbox.redact import mask_text
from pytest_tlsandbox.waiting.conditions.condition import Impossible, Met, Pending, Result
from pytest_tlsandbox.waiting.wakeup import Wakeup

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from pytest_tlsandbox.client.api import SandboxClient
    from pytest_tlsandbox.history.snapshot import ProcessSnapshot
    from pytest_tlsandbox.messages.explanation import Explanation
    from pytest_tlsandbox.models import ProcessInfo
    from pytest_tlsandbox.waiting.conditions.condition import Condition

logger = logging.getLogger("pytest_tlsandbox")

_SHORTEST_PAUSE, _LONGEST_PAUSE, _PAUSE_SHARE = 0.05, 0.25, 0.05
_NOTICED_PAUSE = 1.0
"""Seconds between polls while a stream shows whether the process has ended."""
_UNNOTICED = 0.1
"""Seconds of a wait after which it opens such a stream: most waits end before."""
_LONG_LIST = 100
"""From this number of rows on, a wait for one process requests only its row, most of the time."""
_LIST_INTERVAL = 10.0
"""Seconds after which it requests the whole list again, so that the history stays complete."""
_LAST_POLL = 0.5
"""Longest duration in seconds of the poll at the deadline."""
_CUT_CALL = 0.1
"""If less than these seconds remain, the loop sleeps until the deadline for its last poll."""
_SPARE = 0.15
"""Seconds kept free after the last poll to report the failure before pytest-timeout acts."""
_INSTANT = 1e-6
"""Tolerance in seconds when comparing points in time: sums of floats are inexact."""
_LONGEST_WAVERING = 5.0
"""Seconds, beyond the settling time, that the result of an assertion may keep changing.

An assertion has no deadline."""
_LONGEST_UNSEEN = 60.0
"""Seconds that outages may add to that: twice the longest outage that an assertion survives."""
_SAYING_INTERVAL = 15.0
"""Seconds between the progress reports of a wait."""
_LONGEST_READ = 0.5
"""Longest duration in seconds of reading the output for a progress report."""
LONGEST_STREAM = 600.0
"""Seconds for which a process is followed in a wait without a deadline."""
LONG_OUTAGE = 1.0
"""Seconds without a successful poll after which the result before an outage no longer counts."""


@dataclass(frozen=True)
class Limit:
    """The deadline of a wait. All values are in seconds on the clock of the lister.

    Attributes:
        start: when the wait started.
        at: the deadline; None if the wait has none.
        hard: when pytest-timeout kills the test, if that shortened the wait; else None.

    """

    start: float
    at: float | None
    hard: float | None = None


@dataclass(frozen=True)
class Outcome:
    """How a wait ended.

    Attributes:
        result: the last result; None if no poll succeeded, or if an error ended the wait.
        final: whether the result is certain; False if the deadline cut the wait short.
        fault: the error that ended the wait; None if the wait ended with a result.
        timeline: what the wait saw.
        seconds: the duration of the wait.
        same_for: for how many seconds the result had not changed.

    """

    result: Result | None
    final: bool
    fault: InfrastructureError | None
    timeline: Timeline
    seconds: float
    same_for: float


def watch(
    condition: Condition,
    lister: SandboxClient,
    limit: Limit,
    since: int | None = None,
    say: Callable[[str], None] | None = None,
) -> Outcome:
    """Poll until the result of the condition is final or the deadline has passed.

    A long wait reports its progress every 15 s.

    Args:
        condition: evaluates each snapshot.
        lister: lists the processes, reads output for progress reports, and has the clock and the
            history.
        limit: the deadline.
        since: a position in the history. If the daemon was replaced after it, the wait ends.
        say: shows a progress report, with the last line of output of the process; None if only
            the log gets it.

    Returns:
        The outcome. It includes infrastructure errors; they are not raised.

    Raises:
        Exception: an error from a function of the user, unchanged.

    """
    return _Watch(condition, lister, limit, since, say).run()


@dataclass
class _Watch:
    condition: Condition
    lister: SandboxClient
    limit: Limit
    since: int | None
    say: Callable[[str], None] | None

    def __post_init__(self) -> None:
        start = self.limit.start
        self._reported = start
        self._clock = self.lister.clock
        self._timeline = Timeline(start, self.lister.history)
        self._result: Result | None = None
        self._same_since = 0.0
        self._final = False
        self._last_begun = start
        self._faults_in_a_row = 0
        self._outage_ends = start
        self._last_fault: InfrastructureError | None = None
        self._users_error: BaseException | None = None
        self._first_good = self._last_good = start
        self._unseen = 0.0
        self._wakeup = Wakeup(self.lister, start)

    def run(self) -> Outcome:
        fault = None
        try:
            tenacity.Retrying(
                sleep=self._wakeup.sleep,
                retry=tenacity.retry_if_exception(is_transient)
                | tenacity.retry_if_result(lambda final: not final),
                wait=self._pause,
                stop=self._is_over,
                # The default raises RetryError, which names a Future instead of the cause.
                retry_error_callback=lambda _state: None,
            )(self._poll)
        except InfrastructureError as error:
            fault = error
        finally:
            self._wakeup.close()
        if self._users_error is not None:
            raise self._users_error
        outage = self._timeline.outage
        if fault is None and outage is not None:
            lasted = self._now() - self.limit.start - outage.start
            if self._result is None or lasted >= LONG_OUTAGE:
                fault = self._last_fault
        return Outcome(
            None if fault else self._result,
            self._final,
            fault,
            self._timeline,
            self._now() - self.limit.start,
            self._last_good - self._same_since,
        )

    def _now(self) -> float:
        return self._clock.monotonic()

    def _poll(self) -> bool:
        """Poll and evaluate once; return whether the result is final."""
        heard = self._wakeup.heard
        self._last_begun = begun = self._now() if heard is None else heard.begun
        if heard is None and self._has_not_changed(begun):
            self._go_on()
            return False
        left = self.lister.outage.left
        try:
            # The last poll begins at the deadline; any other may share a request that began before.
            after = begun if self._is_last(begun) else self._wakeup.evaluated
            limit = self._time_for_a_poll(begun)
            snapshot = heard or self.lister.poll(limit=limit, after=after)
            if self.since is not None and self.lister.history.replaced_at > self.since:
                raise SandboxReplaced(
                    f"{snapshot.sandbox} was replaced or restarted\n"
                    "no process that was listed before is listed now",
                    label="replaced",
                )
        except InfrastructureError as fault:
            if not self._faults_in_a_row:
                self._outage_ends = begun + left
            self._faults_in_a_row += 1
            self._last_fault = fault
            self._timeline.add_fault(fault, begun, self._now())
            logger.debug("poll of %s failed: %s", self.lister.label, fault.label)
            self._report_progress()
            raise
        self._faults_in_a_row = 0
        self._wakeup.evaluated = snapshot.begun
        self._timeline.add(snapshot)
        logger.debug("poll of %s: %s", self.lister.label, count(len(snapshot), "process"))
        try:
            result = self.condition.evaluate(snapshot)
        except Exception as error:
            self._users_error = error
            return True
        self._settle(result, snapshot)
        if not self._final:
            self._go_on()
        return self._final

    def _go_on(self) -> None:
        """Prepare the pause before the next poll."""
        if self._now() - self.limit.start >= _UNNOTICED:
            at = self.limit.at
            left = LONGEST_STREAM if at is None else max(at - self._now(), _LAST_POLL)
            self._wakeup.follow(self._awaited, left)
        self._report_progress()

    def _has_not_changed(self, begun: float) -> bool:
        """Return whether the row of the one process that the result depends on is as before.

        It saves listing thousands of processes. Any change, and any error, needs the list.
        """
        row, last = self._awaited, self._timeline.last
        if row is None or last is None or len(last) < _LONG_LIST:
            return False
        if self._is_last(begun) or begun - last.begun >= _LIST_INTERVAL:
            return False
        with contextlib.suppress(InfrastructureError):
            if self.lister.get(row.pid, limit=self._time_for_a_poll(begun)) == row:
                self._last_good = self._now()
                return True
        return False

    @property
    def _awaited(self) -> ProcessInfo | None:
        """The process whose end the result waits for, if that is all it waits for."""
        return self._result.until_end_of if isinstance(self._result, Pending) else None

    def _report_progress(self) -> None:
        now = self._now()
        if now - self._reported < _SAYING_INTERVAL:
            return
        self._reported = now
        outage, result = self._timeline.outage, self._result
        wanted, explanation = f", wanted {self.condition.wanted}", None
        if outage is not None:
            state = f"no answer since +{seconds(outage.start)} ({outage})"
        elif isinstance(result, (Pending, Impossible)):
            explanation = result.explain()
            state, wanted = explanation.what, explanation.headline.removeprefix(explanation.what)
        else:
            explanation = result.unsettled if result is not None else None
            state = "no poll yet" if result is None else "as expected so far"
        until = (
            " s" if self.limit.at is None else f" of {seconds(self.limit.at - self.limit.start)}"
        )
        time = f"{now - self.limit.start:.0f}{until}"
        logger.info("%s: waiting %s: %s", self.lister.label, time, printable(state + wanted))
        if self.say is not None:
            if explanation is not None and (last := self._last_line(explanation)):
                wanted = f": {explanation.subject}: {last}"
            self.say(f"{time}: {state}{wanted}")

    def _last_line(self, explanation: Explanation) -> str:
        """Return the last line of output of the one process that the wait knows, masked.

        Return an empty text if there is no such process or line, or if it cannot be read in time.
        """
        process, at = explanation.process, self.limit.at
        left = _LONGEST_READ if at is None else min(_LONGEST_READ, at - self._now())
        if process is None or not explanation.output or left <= 0:
            return ""
        try:
            lines = self.lister.output(process.pid, limit=left)
        except InfrastructureError:
            return ""  # the wait goes on, and its polls report an outage
        return mask_text(next(filter(str.strip, reversed(lines)), "").strip()[:LONGEST_LINE])

    def _settle(self, result: Result, snapshot: ProcessSnapshot) -> None:
        """Record a result, and set whether it has been the same for its settling time.

        If the result has a longest gap, a longer time between two polls restarts the settling time.
        """
        begun = snapshot.begun
        gap = 0.0 if self._result is None else begun - self._last_good
        if self._result is None:
            self._first_good = begun
        if gap > LONG_OUTAGE:
            self._unseen += gap
        longest = result.longest_gap if isinstance(result, Met) else None
        unseen = longest is not None and gap > longest
        if self._result is None or _key(result) != _key(self._result) or unseen:
            self._same_since = begun
        self._last_good = snapshot.ended
        self._result = result
        self._final = (
            not isinstance(result, Pending) and begun - self._same_since >= result.settling_time
        )

    def _is_last(self, begun: float) -> bool:
        return self.limit.at is not None and begun >= self.limit.at - _INSTANT

    def _time_for_a_poll(self, begun: float) -> float:
        at, hard = self.limit.at, self.limit.hard
        if at is None or begun + LONGEST_CALL < at:
            return LONGEST_CALL
        if begun < at - _INSTANT:
            return at - begun
        return _LAST_POLL if hard is None else max(0.02, min(_LAST_POLL, hard - _SPARE - begun))

    def _pause(self, state: tenacity.RetryCallState) -> float:
        """Return the seconds until the next poll.

        After a success: 5 % of the time since the start, from 0.05 s to 0.25 s. Never beyond the
        moment at which the result would be settled, or the deadline.
        """
        now = self._now()
        error = state.outcome.exception() if state.outcome else None
        if error is not None:
            pause = pause_after(error, self._faults_in_a_row)
            pause = min(pause, self._outage_ends - now)
        else:
            share = with_jitter((now - self.limit.start) * _PAUSE_SHARE)
            pause = min(_LONGEST_PAUSE, max(_SHORTEST_PAUSE, share))
            if self._wakeup.following:
                pause = _NOTICED_PAUSE
            if isinstance(self._result, (Met, Impossible)):
                due = self._same_since + self._result.settling_time
                # One millisecond later, so that the poll begins after that moment and not at it.
                pause = min(pause, due - now + 0.001)
        if self.limit.at is not None:
            left = self.limit.at - now
            pause = left if left < pause + _CUT_CALL else pause
        return max(0.0, pause)

    def _is_over(self, _state: tenacity.RetryCallState) -> bool:
        if self._is_last(self._last_begun):
            return True
        if self._timeline.outage is not None:
            return self._now() >= self._outage_ends - _INSTANT
        # The result could not change visibly during an outage, so that time does not count.
        patience = getattr(self._result, "settling_time", 0.0) + _LONGEST_WAVERING
        patience += min(self._unseen, _LONGEST_UNSEEN)
        return self.limit.at is None and self._last_begun - self._first_good > patience


def _key(result: Result) -> tuple[type[Any], Hashable]:
    return type(result), None if isinstance(result, Pending) else result.key
