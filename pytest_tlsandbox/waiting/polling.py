"""Poll, evaluate and sleep in a loop until the result is final or the deadline has passed.

tenacity drives the loop. This module adds features that tenacity lacks: a last poll that starts at
the deadline, a settling time for results, and a time budget for each outage.
"""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import tenacity

from pytest_tlsandbox.client.api import SandboxClient
from pytest_tlsandbox.client.retry import LONGEST_CALL, pause_after, with_jitter
from pytest_tlsandbox.errors import InfrastructureError, SandboxReplaced
from pytest_tlsandbox.formatting.text import count, printable, seconds
from pytest_tlsandbox.history.snapshot import ProcessSnapshot
from pytest_tlsandbox.history.timeline import Timeline
from pytest_tlsandbox.messages.explanation import Explanation
from pytest_tlsandbox.messages.failure import last_line
from pytest_tlsandbox.models import ProcessInfo
from pytest_tlsandbox.waiting.results import Condition, Impossible, Met, Pending, Result
from pytest_tlsandbox.waiting.wakeup import Wakeup

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
"""The maximum time in seconds by which outages may extend an assertion.

This time is twice the budget for one outage.
"""
_SAYING_INTERVAL = 15.0
"""Seconds between the progress reports of a wait."""
_LONGEST_READ = 0.5
"""The maximum duration of reading output for a progress report, in seconds."""
LONG_OUTAGE = 1.0
"""If an outage lasts at least this many seconds, the result before the outage no longer counts."""


@dataclass(eq=False, repr=False)
class Wait:
    """Polls until the result of a condition is final or the deadline has passed.

    A long wait reports its progress every 15 s.

    Attributes:
        condition: the condition that evaluates each snapshot.
        client: the client that lists the processes, reads output for progress reports, and provides
            the clock and the history.
        timeout: the seconds until the deadline; None for an assertion, which has no deadline.
        since: a position in the history; if the daemon was replaced after this position, the wait
            ends.
        say: a function that shows a progress report with the process's last line of output;
            with None, progress reports appear only in the log.
        may_be_cut: whether the wait ends early if pytest-timeout would otherwise kill the test.
        cut: whether pytest-timeout shortens this wait.
        result: the last result; None if no poll succeeded or an error ended the wait.
        final: whether the result is certain; False if the deadline cut the wait short.
        fault: the error that ended the wait; None if the wait ended with a result.
        timeline: the polls of the wait.
        seconds: the duration of the wait, in seconds.
        same_for: the number of seconds for which the result had stayed the same at the last poll.

    """

    condition: Condition
    client: SandboxClient
    timeout: float | None
    since: int | None = None
    say: Callable[[str], None] | None = None
    may_be_cut: bool = field(default=True, kw_only=True)
    cut: bool = field(default=False, init=False)
    result: Result | None = field(default=None, init=False)
    final: bool = field(default=False, init=False)
    fault: InfrastructureError | None = field(default=None, init=False)
    seconds: float = field(default=0.0, init=False)
    same_for: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        start = self.client.clock.monotonic()
        sooner = self.client.wait_deadline() if self.may_be_cut else None
        self._deadline = math.inf if self.timeout is None else start + self.timeout
        if sooner is not None and sooner < self._deadline:
            self.cut, self._deadline = True, max(start, sooner)
        self.timeline = Timeline(start, self.client.history)
        self._reported = self._last_begun = self._last_good = self._outage_ends = start
        self._same_since = self._unseen = 0.0
        self._wakeup = Wakeup(self.client, start)

    def run(self) -> Wait:
        """Wait until the result is final or the deadline has passed.

        Returns:
            This object. If an infrastructure error ended the wait, the attribute ``fault`` contains
            the error.

        Raises:
            InfrastructureError: a function of the user raised this error. All other errors that
                such a function raises are also passed on unchanged.

        """
        try:
            tenacity.Retrying(
                sleep=self._wakeup.sleep,
                retry=tenacity.retry_if_result(lambda over: not over),
                wait=self._pause,
                stop=self._is_over,
                # By default, tenacity would raise RetryError, whose text names a Future instead of
                # the cause.
                retry_error_callback=lambda _state: None,
            )(self._poll)
        finally:
            self._wakeup.close()
        self.seconds = self._now() - self.timeline.start
        outage = self.timeline.outage
        if self.fault is not None and outage is not None:
            short = self.fault.transient and self.seconds - outage.start < LONG_OUTAGE
            if short and self.result is not None:
                self.fault = None
            else:
                self.result = None
        return self

    def _now(self) -> float:
        return self.client.clock.monotonic()

    def _poll(self) -> bool:
        """Poll once, and return whether the result is final or the error is permanent."""
        asked, left = self._now(), self.client.outage.left
        if not self._has_not_changed(asked):
            try:
                snapshot = self._list()
            except InfrastructureError as fault:
                if self.timeline.outage is None:
                    self._outage_ends = asked + left
                self.fault = fault
                self.timeline.add_fault(fault, asked, self._now())
                logger.debug("poll of %s failed: %s", self.client.label, fault.label)
                self._report_progress()
                return not fault.transient
            self.fault = None
            self._wakeup.evaluated = snapshot.begun
            self.timeline.add(snapshot)
            logger.debug("poll of %s: %s", self.client.label, count(len(snapshot), "process"))
            self._settle(self.condition.evaluate(snapshot), snapshot)
        if not self.final:
            now = self._now()
            if now - self.timeline.start >= _UNNOTICED:
                # Assertions, which have no deadline, do not await the end of a process.
                self._wakeup.follow(self._awaited(), max(self._deadline - now, _LAST_POLL))
            self._report_progress()
        return self.final

    def _list(self) -> ProcessSnapshot:
        """List the processes, unless another wait has just listed them."""
        self._last_begun = begun = self._now()
        # The last poll sends a request at the deadline; other polls may share an earlier request.
        after = begun if self._is_last(begun) else self._wakeup.evaluated
        limit = self._time_for_a_poll(begun)
        # An assertion, which has no timeout, needs all evidence; a wait polls often.
        snapshot = self.client.poll(limit=limit, after=after, counts_kills=self.timeout is None)
        if self.since is not None and self.client.history.replaced_at > self.since:
            what = f"Sandbox {snapshot.sandbox} was replaced or restarted during this test"
            because = "none of the processes listed earlier is listed now"
            raise SandboxReplaced(f"{what}\n{because}", label="replaced")
        return snapshot

    def _has_not_changed(self, begun: float) -> bool:
        """Return whether the row of the awaited process is unchanged.

        The result of the wait depends only on the awaited process. If the row is unchanged, the
        wait does not need to list thousands of processes. After a change or an error, the wait
        needs the whole list.
        """
        row, last, woken = self._awaited(), self.timeline.last, self._wakeup
        if row is None or last is None or self.fault is not None or self._probes():
            return False
        needs_list = woken.heard or woken.noticed or begun - last.begun >= _LIST_INTERVAL
        if needs_list or len(last) < _LONG_LIST or self._is_last(begun):
            return False
        with contextlib.suppress(InfrastructureError):
            if self.client.get(row.pid, limit=self._time_for_a_poll(begun)) == row:
                self._last_good = self._now()
                return True
        return False

    def _awaited(self) -> ProcessInfo | None:
        """Return the only process whose end can change the result.

        If other processes can change the result too, return None.
        """
        return self.result.until_end_of if isinstance(self.result, Pending) else None

    def _probes(self) -> bool:
        return isinstance(self.result, Pending) and self.result.probes

    def _report_progress(self) -> None:
        now = self._now()
        if now - self._reported < _SAYING_INTERVAL:
            return
        self._reported = now
        outage, result = self.timeline.outage, self.result
        state, explanation = "as expected so far", None
        wanted = f", wanted {self.condition.wanted}"
        if outage is not None:
            state = f"no answer since +{seconds(outage.start)} ({outage})"
        elif isinstance(result, Met):
            explanation = result.unsettled
        elif result is not None:
            explanation = result.explain()
            state, wanted = explanation.what, explanation.headline.removeprefix(explanation.what)
        length = self._deadline - self.timeline.start
        until = " s" if length == math.inf else f" of {seconds(length)}"
        time = f"{now - self.timeline.start:.0f}{until}"
        logger.info("%s: waiting %s: %s", self.client.label, time, printable(state + wanted))
        if self.say is not None:
            if explanation is not None and (last := self._last_line(explanation)):
                wanted = f": {explanation.subject}: {last}"
            self.say(f"{time}: {state}{wanted}")

    def _last_line(self, explanation: Explanation) -> str:
        """Return the awaited process's last line of output, with secrets masked.

        The result is empty if no process is awaited, if the process has not written any output, or
        if the output cannot be read in time.
        """
        process, left = explanation.process, self._deadline - self._now()
        if process is not None and explanation.output and left > 0:
            with contextlib.suppress(InfrastructureError):  # the polls report an outage
                return last_line(self.client.output(process.pid, limit=min(_LONGEST_READ, left)))
        return ""

    def _settle(self, result: Result, snapshot: ProcessSnapshot) -> None:
        """Record a result, and decide whether it is final.

        A result is final if it is not pending and has stayed the same for its settling time. If the
        result has a ``longest_gap`` and the time between two polls exceeds this gap, the settling
        time starts again.
        """
        begun, before = snapshot.begun, self.result
        gap = begun - self._last_good
        if gap > LONG_OUTAGE:
            self._unseen += gap
        same = before is not None and (type(result), result.key) == (type(before), before.key)
        if not same or (isinstance(result, Met) and gap > result.longest_gap):
            self._same_since = begun
        self._last_good = snapshot.ended
        self.same_for = self._last_good - self._same_since
        self.result = result
        settled = begun - self._same_since >= result.settling_time
        self.final = settled and not isinstance(result, Pending)

    def _is_last(self, begun: float) -> bool:
        return begun >= self._deadline - _INSTANT

    def _time_for_a_poll(self, begun: float) -> float:
        if begun + LONGEST_CALL < self._deadline:
            return LONGEST_CALL
        if not self._is_last(begun):
            return self._deadline - begun
        killed = self.client.test_deadline() if self.cut else None
        return _LAST_POLL if killed is None else max(0.02, min(_LAST_POLL, killed - _SPARE - begun))

    def _pause(self, _state: tenacity.RetryCallState) -> float:
        """Return the number of seconds until the next poll.

        After a successful poll, the pause is 5 % of the time since the start, but at least 0.05 s
        and at most 0.25 s. The pause never extends beyond the deadline, or beyond the time at which
        the result is settled.
        """
        now = self._now()
        left = self._deadline - now
        if self.fault is not None:
            tries = len(self.timeline.outages[-1].faults)
            pause = min(pause_after(self.fault, tries), self._outage_ends - now)
        else:
            share = with_jitter((now - self.timeline.start) * _PAUSE_SHARE)
            pause = min(_LONGEST_PAUSE, max(_SHORTEST_PAUSE, share))
            # Shortly before the deadline, a wait with a stream must poll more often, because it
            # could overlook a long outage.
            if self._wakeup.following and left >= _NOTICED_PAUSE + LONG_OUTAGE:
                pause = _NOTICED_PAUSE
            if self._probes():
                pause = _SHORTEST_PAUSE
            if isinstance(self.result, (Met, Impossible)):
                due = self._same_since + self.result.settling_time
                # Add one millisecond, so that the poll begins after that time and not at it.
                pause = min(pause, due - now + 0.001)
        return max(0.0, left if left < pause + _CUT_CALL else pause)

    def _is_over(self, _state: tenacity.RetryCallState) -> bool:
        if self._is_last(self._last_begun):
            return True
        if self.timeline.outage is not None or self.result is None:
            return self._now() >= self._outage_ends - _INSTANT
        # During an outage, a change of the result would not be visible, so the outage does not
        # count.
        unseen = min(self._unseen, _LONGEST_UNSEEN)
        patience = self.result.settling_time + _LONGEST_WAVERING + unseen
        return self._deadline == math.inf and self._last_begun - self.timeline.start > patience
