"""Convert the outcome of a wait to the error that the helper raises."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pytest_tlsandbox import errors
from pytest_tlsandbox.client.api import SandboxClient
from pytest_tlsandbox.formatting.text import seconds, shorten
from pytest_tlsandbox.history.runs import Run
from pytest_tlsandbox.history.snapshot import newest_with_pid
from pytest_tlsandbox.history.timeline import Timeline
from pytest_tlsandbox.messages.explanation import Explanation, Listed, OutputTail
from pytest_tlsandbox.messages.failure import MOST_OUTPUT, Renderer, last_line
from pytest_tlsandbox.models import ProcessInfo
from pytest_tlsandbox.types import Screen, Stream
from pytest_tlsandbox.waiting.polling import Wait
from pytest_tlsandbox.waiting.results import Impossible, Met, Pending, Result
from pytest_tlsandbox.waiting.suggestions import MORE_LOCAL_MEMORY, MORE_MEMORY, hint_of

_STREAMS: tuple[Stream, ...] = ("stderr", "stdout")
_TAIL_TIME = 1.0
_TAIL_MARGIN = 0.15
_SHORTEST_READ = 0.02
_MOST_TAILS = 3
_LONGEST_LAST_LINE = 120

_OOM_KILLED = re.compile(r"OOM-killed(?: twice| \d+ times)?")


def error_of(wait: Wait, screen: Screen) -> errors.TLSandboxError:
    """Return the error for a wait whose condition was not met.

    Args:
        wait: the wait, which has ended.
        screen: the terminal, which determines the width and the verbosity of the message.

    Returns:
        The error, with its attributes ``wanted`` and ``snapshot``.

    """
    fault, took = wait.fault, seconds(wait.seconds)
    of = f" of {seconds(wait.timeout)}" if wait.timeout else ""
    explanation = _of_fault(fault, wait.timeline) if fault else _explain(wait.result, wait)
    was_cut = wait.cut and not wait.final and fault is None
    if isinstance(wait.result, Pending):
        # The text of a timeout is the same in each test run, so that failures can be grouped.
        cut = f"{took} (wait{of} cut short by pytest-timeout)"
        time = cut if was_cut else seconds(wait.timeout or 0.0)
        explanation = explanation._replace(what=f"{explanation.what} after {time}")
    elif was_cut:
        because = f"pytest-timeout ended the wait after {took}{of}"
        explanation = explanation._replace(because=because)
    if was_cut:
        hint = "raise the time limit of the test, for example with @pytest.mark.timeout(90)"
        explanation = explanation._replace(hint=hint)
    text = text_of(explanation, wait.client, wait.timeline, screen)
    error = _error(explanation, text, wait.condition.wanted, wait.timeline)
    if isinstance(error, errors.InfrastructureError) and fault is not None:
        error.label, error.transient, error.outage = fault.label, fault.transient, fault.outage
    return error


def text_of(
    explanation: Explanation, client: SandboxClient, timeline: Timeline, screen: Screen
) -> str:
    """Return the text of a failure, including the output of the process and the memory limit.

    Args:
        explanation: the result of the check.
        client: the client of the sandbox, which reads the process's last lines of output.
        timeline: the polls of the wait.
        screen: the terminal, which determines the width and the verbosity of the message.

    """
    tails = Tails(client)
    if explanation.process is None:
        listed = map(tails.with_last_line, explanation.listed[:_MOST_TAILS])
        explanation = explanation._replace(listed=(*listed, *explanation.listed[_MOST_TAILS:]))
    elif explanation.output:
        explanation = explanation._replace(tail=tails.read(explanation.process, explanation.run))
    return Renderer(timeline, screen, client.label).render(_with_limit(explanation, client))


def error_of_several(
    checks: Sequence[tuple[str, str, Result]], wait: Wait, screen: Screen
) -> errors.TLSandboxError:
    """Return one error that lists all failures of checks that were evaluated together.

    Args:
        checks: the name, the line in the test and the result of each check.
        wait: the wait for all checks, which has ended.
        screen: the terminal, which determines the width and the verbosity of the message.

    Returns:
        A :class:`ChecksFailed`, or an infrastructure error if no check could be evaluated.

    """
    passed: list[str] = []
    failed: list[tuple[int, str, Explanation]] = []
    failures: list[errors.TLSandboxError] = []
    client, timeline = wait.client, wait.timeline
    tails = Tails(client)
    for number, (name, place, result) in enumerate(checks, 1):
        if isinstance(result, Met) and (wait.final or not result.settling_time):
            passed.append(f"check {number} ({name})")
            continue
        explanation = _with_limit(_explain(result, wait), client)
        if explanation.output and len(failed) < _MOST_TAILS:
            tail = tails.read(explanation.process, explanation.run)
            explanation = explanation._replace(tail=tail)
        failed.append((number, place, explanation))
        failures.append(_error(explanation, explanation.headline, name, timeline))
    text = Renderer(timeline, screen, client.label).render_several(failed, passed)
    error = type(failures[0])(text)
    if any(isinstance(failure, errors.AssertionFailed) for failure in failures):
        error = several = errors.ChecksFailed(text)
        several.failures = tuple(failures)
    error.wanted, error.snapshot = " and ".join(name for name, _, _ in checks), timeline.last
    return error


def _with_limit(explanation: Explanation, client: SandboxClient) -> Explanation:
    """Add the memory limit, if known, to the explanation of a confirmed or suspected OOM kill."""
    if not client.memory_limit:
        return explanation
    limit = f"{client.memory_limit / 2**20:.0f} MiB"
    if explanation.error is errors.SuspectedOOMKill:
        return explanation._replace(remarks=(("memory limit", limit), *explanation.remarks))
    if not issubclass(explanation.error, errors.ProcessOOMKilled):
        return explanation
    what = _OOM_KILLED.sub(rf"\g<0> at a limit of {limit}", explanation.what, count=1)
    hint = explanation.hint.replace(MORE_MEMORY, MORE_LOCAL_MEMORY)
    return explanation._replace(what=what, hint=hint)


def _error(
    explanation: Explanation, text: str, wanted: str, timeline: Timeline
) -> errors.TLSandboxError:
    """Return the error with this text, and set the attributes that tests can use."""
    error, process = explanation.error(text), explanation.process
    error.wanted, error.snapshot = wanted, timeline.last
    error.run = explanation.run or (process and timeline.history.run_of(process))
    return error


def _explain(result: Result | None, wait: Wait) -> Explanation:
    """Explain why a condition was not met, or why it did not continue to hold for long enough."""
    if isinstance(result, Pending) or (isinstance(result, Impossible) and wait.final):
        return result.explain()
    if isinstance(result, Impossible):
        return result.explanation._replace(because="the wait ended before this was settled")
    if result is not None and result.unsettled is not None:
        explanation = result.unsettled
        return explanation._replace(what=f"{explanation.what} for only {seconds(wait.same_for)}")
    what = "Cannot be checked: the result did not settle"
    because = f"the wait ended after {seconds(wait.seconds)}"
    return Explanation(errors.Inconclusive, what, because=because)


def _of_fault(fault: errors.InfrastructureError, timeline: Timeline) -> Explanation:
    """Explain an infrastructure error."""
    what, _, because = str(fault).partition("\n")
    if fault.transient and timeline.outages:
        outage = timeline.outages[-1]
        what += f"; could not list the processes for {seconds(outage.end - outage.start)}"
    return Explanation(type(fault), what, because=because, hint=hint_of(fault))


class Tails:
    """Reads the last lines of output from the processes in one message.

    All reads together take at most 1 s. The last read ends at least 0.15 s before pytest-timeout
    would kill the test.

    Args:
        client: the client of the sandbox.
        end: the time at which the last read must end, in seconds on the clock of the client; None
            for 1 s from now.

    """

    def __init__(self, client: SandboxClient, end: float | None = None) -> None:
        self._client = client
        self._end = client.clock.monotonic() + _TAIL_TIME if end is None else end
        killed = client.test_deadline()
        if killed is not None:
            self._end = min(self._end, killed - _TAIL_MARGIN)

    def read(self, process: ProcessInfo | None, run: Run | None = None) -> OutputTail | None:
        """Return the last lines of output from a process, or from an earlier run of the process.

        If the output cannot be read, the tail explains why. This method does not raise an
        exception in this case, because the exception would replace the error of the wait.

        Returns:
            The tail; None if no process is given, its row is no longer listed, or another process
            now uses the pid.

        """
        process = process if run is None else run.row
        if process is None:
            return None
        newest = newest_with_pid(self._client.history.last, process.pid)
        if not (newest.identity.same_run(process.identity) if newest else run):
            return None
        try:
            for stream in _STREAMS:
                left = max(self._end - self._client.clock.monotonic(), _SHORTEST_READ)
                lines = self._client.output(process.pid, stream, limit=left)
                if lines:
                    return OutputTail(stream, tuple(lines[-MOST_OUTPUT:]), len(lines))
        except errors.InfrastructureError as fault:
            return OutputTail("output", unread=fault.label)
        unread = "" if newest else "the sandbox keeps no output of earlier runs"
        return OutputTail("output", unread=unread)

    def with_last_line(self, item: Listed) -> Listed:
        """Add the last line of output to the remark, if the output may explain the result."""
        tail = self.read(item.row) if item.output else None
        last = shorten(last_line(tail.lines), _LONGEST_LAST_LINE) if tail else ""
        told = f"last line: {last}" if last else ""
        return item._replace(remark="; ".join(filter(None, (item.remark, told))))
