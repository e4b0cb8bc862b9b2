"""Poll, evaluate and sleep in a loop until the result is final or the deadline has passed.

tenacity drives the loop. This module adds features that tenacity lacks: a last poll that starts at
the deadline, a settling time for results, and a time budget for each outage.
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
"""Seconds between polls while a stream would show that the process has ended."""
_UNNOTICED = 0.1
"""Seconds after which a wait opens a stream to the process; most waits end earlier."""
_LONG_LIST = 100
"""If the list contains at least this many rows, a wait for one process mostly requests one row."""
_LIST_INTERVAL = 10.0
"""Seconds after which a wait for one process requests the whole list, to update the history."""
_LAST_POLL = 0.5
"""The maximum duration of the poll at the deadline, in seconds."""
_CUT_CALL = 0.1
"""If fewer seconds remain, the loop sleeps until the deadline and then polls for the last time."""
_SPARE = 0.15
"""Seconds between the last poll and pytest-timeout's deadline, to report the failure."""
_INSTANT = 1e-6
"""Tolerance in seconds when comparing points in time, because sums of floats are inexact."""
_LONGEST_WAVERING = 5.0
"""Seconds after the settling time until an assertion, which has no deadline, gives up."""
_LONGEST_UNSEEN = 60.0
"""Maximum seconds by which outages may extend an assertion: twice the budget for one outage."""
_SAYING_INTERVAL = 15.0
"""Seconds between the progress reports of a wait."""
_LONGEST_READ = 0.5
"""The maximum duration of reading output for a progress report, in seconds."""
LONGEST_STREAM = 600.0
"""Seconds for which a wait without a deadline follows a process."""
LONG_OUTAGE = 1.0
"""If an outage lasts at least this many seconds, the result before the outage no longer counts."""


@dataclass(frozen=True)
class Limit:
    """The deadline of a wait. All times are in seconds on the clock of the lister.

    Attributes:
        start: when the wait started.
        at: the deadline; None if the wait has no deadline.
        hard: the time at which pytest-timeout will kill the test, if that time shortens the wait;
            otherwise None.

    """

    start: float
    at: float | None
    hard: float | None = None


@dataclass(frozen=True)
class Outcome:
    """How a wait ended.

    Attributes:
        result: the last result; None if no poll succeeded or an error ended the wait.
        final: whether the result is certain; False if the deadline cut the wait short.
        fault: the error that ended the wait; None if the wait ended with a result.
        timeline: the polls of the wait.
        seconds: the duration of the wait, in seconds.
        same_for: the number of seconds for which the result had stayed the same when the wait
            ended.

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
        condition: the condition that evaluates each snapshot.
        lister: the client that lists the processes, reads output for progress reports, and provides
            the clock and the history.
        limit: the deadline.
        since: a position in the history; if the daemon was replaced after this position, the wait
            ends.
        say: a function that shows a progress report with the last line of output of the process;
            with None, progress reports appear only in the log.

    Returns:
        The outcome. Infrastructure errors are part of the outcome, and are not raised.

    Raises:
        Exception: a function of the user raised this error, which is passed on unchanged.

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
                # By default, tenacity would raise RetryError, whose text names a Future instead of
                # the cause.
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
        """Poll and evaluate once, and return whether the result is final."""
        heard = self._wakeup.heard
        asked = self._now()
        left = self.lister.outage.left
        if heard is None and self._has_not_changed(asked):
            self._last_begun = asked
            self._go_on()
            return False
        self._last_begun = begun = self._now() if heard is None else heard.begun
        try:
            # The last poll sends a request at the deadline; other polls may share an earlier
            # request.
            after = begun if self._is_last(begun) else self._wakeup.evaluated
            limit = self._time_for_a_poll(begun)
            snapshot = heard or self.lister.poll(limit=limit, after=after)
            if self.since is not None and self.lister.history.replaced_at > self.since:
                raise SandboxReplaced(
                    f"Sandbox {snapshot.sandbox} was replaced or restarted during this test\n"
                    "none of the processes listed earlier is listed now",
                    label="replaced",
                )
        except InfrastructureError as fault:
            if not self._faults_in_a_row:
                self._outage_ends = asked + left
            self._faults_in_a_row += 1
            self._last_fault = fault
            self._timeline.add_fault(fault, asked, self._now())
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
        """Return whether the row of the awaited process is unchanged.

        The result of the wait depends only on the awaited process. If the row is unchanged, the
        wait does not need to list thousands of processes. After a change or an error, the wait
        needs the whole list.
        """
        row, last = self._awaited, self._timeline.last
        if row is None or last is None or len(last) < _LONG_LIST:
            return False
        if self._probes or self._faults_in_a_row:
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
        """The awaited process: the result cannot change until this process ends.

        The value is None if other events can also change the result, or if the result is not
        pending.
        """
        return self._result.until_end_of if isinstance(self._result, Pending) else None

    @property
    def _probes(self) -> bool:
        return isinstance(self._result, Pending) and self._result.probes

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
        """Return the last line of output of the awaited process, with secrets masked.

        The result is empty if no process is awaited, if the process has not written any output, or
        if the output cannot be read in time.
        """
        process, at = explanation.process, self.limit.at
        left = _LONGEST_READ if at is None else min(_LONGEST_READ, at - self._now())
        if process is None or not explanation.output or left <= 0:
            return ""
        try:
            lines = self.lister.output(process.pid, limit=left)
        except InfrastructureError:
            return ""  # the wait continues, and its polls report an outage
        return mask_text(next(filter(str.strip, reversed(lines)), "").strip()[:LONGEST_LINE])

    def _settle(self, result: Result, snapshot: ProcessSnapshot) -> None:
        """Record a result, and decide whether it is final.

        A result is final if it is not pending and has stayed the same for its settling time. If the
        result has a ``longest_gap`` and the time between two polls exceeds this gap, the settling
        time starts again.
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

    def _is_nearly_over(self, now: float) -> bool:
        """Return whether the deadline is so near that a wait with a stream must poll more often.

        A wait with a stream usually pauses for longer between polls. Without this exception, it
        could overlook a long outage before the deadline.
        """
        return self.limit.at is not None and now > self.limit.at - _NOTICED_PAUSE - LONG_OUTAGE

    def _time_for_a_poll(self, begun: float) -> float:
        at, hard = self.limit.at, self.limit.hard
        if at is None or begun + LONGEST_CALL < at:
            return LONGEST_CALL
        if begun < at - _INSTANT:
            return at - begun
        return _LAST_POLL if hard is None else max(0.02, min(_LAST_POLL, hard - _SPARE - begun))

    def _pause(self, state: tenacity.RetryCallState) -> float:
        """Return the number of seconds until the next poll.

        After a successful poll, the pause is 5 % of the time since the start, but at least 0.05 s
        and at most 0.25 s. The pause never extends beyond the deadline, or beyond the time at which
        the result is settled.
        """
        now = self._now()
        error = state.outcome.exception() if state.outcome else None
        if error is not None:
            pause = pause_after(error, self._faults_in_a_row)
            pause = min(pause, self._outage_ends - now)
        else:
            share = with_jitter((now - self.limit.start) * _PAUSE_SHARE)
            pause = min(_LONGEST_PAUSE, max(_SHORTEST_PAUSE, share))
            if self._wakeup.following and not self._is_nearly_over(now):
                pause = _NOTICED_PAUSE
            if self._probes:
                pause = _SHORTEST_PAUSE
            if isinstance(self._result, (Met, Impossible)):
                due = self._same_since + self._result.settling_time
                # Add one millisecond, so that the poll begins after that time and not at it.
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
        # During an outage, a change of the result would not be visible, so the outage does not
        # count.
        patience = getattr(self._result, "settling_time", 0.0) + _LONGEST_WAVERING
        patience += min(self._unseen, _LONGEST_UNSEEN)
        return self.limit.at is None and self._last_begun - self._first_good > patience


def _key(result: Result) -> tuple[type[Any], Hashable]:
    return type(result), None if isinstance(result, Pending) else result.key
