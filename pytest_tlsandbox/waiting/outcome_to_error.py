"""Convert the outcome of a wait to the error that the helper raises."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from pytest_tlsandbox import errors
from pytest_tlsandbox.formatting.text import count, cut, seconds
from pytest_tlsandbox.messages.explanation import Explanation
from pytest_tlsandbox.messages.failure import (
    LONGEST_LINE,
    MOST_OUTPUT,
    OutputTail,
    Renderer,
)
from pytest_tlsandbox.redact import mask_text
from pytest_tlsandbox.waiting.conditions.condition import (
    MORE_MEMORY,
    Impossible,
    Met,
    Pending,
    Result,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_tlsandbox.client.api import SandboxClient
    from pytest_tlsandbox.history.timeline import Timeline
    from pytest_tlsandbox.types import Screen, Stream
    from pytest_tlsandbox.waiting.polling import Limit, Outcome

_STREAMS: tuple[Stream, ...] = ("stderr", "stdout")
_TAIL_SIZE = 64 * 1024
_TAIL_TIME = 1.0
_TAIL_MARGIN = 0.15
_MOST_TAILS = 3
_LONGEST_LAST_LINE = 120

_HINTS: dict[type[errors.InfrastructureError], str] = {
    errors.AuthenticationFailed: "check that TENSORLAKE_API_KEY is valid and belongs to the project of the sandbox",
    errors.SandboxNotFound: "check the id or URL of the sandbox; it may have been terminated",
    errors.ContractViolation: "give the id or URL of a sandbox, not the URL of a console or a login page",
    errors.SandboxNotRunning: "start a new sandbox; this one may have reached its time limit",
    errors.SandboxReplaced: "check the time limit of the sandbox, and use a separate sandbox for each test run",
    errors.SandboxUnreachable: "check that the sandbox is running and not out of memory",
}
_MORE_LOCAL_MEMORY = "a higher --tlsandbox-memory, if the process is meant to use more memory"
_OOM_KILLED = re.compile(r"OOM-killed(?: twice| \d+ times)?")
_BLOCKED_HINT = "pytest-socket blocks it: add the host of the sandbox to its allow_hosts"


def error_of(
    outcome: Outcome,
    wanted: str,
    client: SandboxClient,
    timeout: float | None,
    limit: Limit,
    screen: Screen,
) -> errors.TLSandboxError:
    """Return the error for a wait whose condition was not met.

    Args:
        outcome: how the wait ended.
        wanted: what the caller expected, in words.
        client: the client of the sandbox, which reads the last lines of output of the process.
        timeout: the timeout of the wait in seconds; None for an assertion, which has no timeout.
        limit: the deadline of the wait.
        screen: the terminal, which determines the width and the verbosity of the message.

    Returns:
        The error, with its attributes ``wanted`` and ``snapshot``.

    """
    took = seconds(outcome.seconds)
    cut = limit.hard is not None and not outcome.final
    of = f" of {seconds(timeout)}" if timeout else ""
    stopped = f"stopped after {took}{of}"
    if outcome.fault is not None:
        explanation = _of_fault(outcome.fault, outcome.timeline, took)
    elif isinstance(outcome.result, Pending):
        explanation = outcome.result.explain()
        # The text of a timeout is the same in each test run, so that failures can be grouped.
        time = took if timeout is None else seconds(timeout)
        if cut:
            time = f"{took} (wait{of} cut short by pytest-timeout)"
        explanation = replace(explanation, what=f"{explanation.what} after {time}")
    else:
        explanation = _explain(outcome)
        if cut:
            because = f"pytest-timeout ended the wait after {took}{of}"
            explanation = replace(explanation, because=because)
    if cut and outcome.fault is None:
        hint = "raise the time limit of the test, for example with @pytest.mark.timeout(90)"
        explanation = replace(explanation, hint=hint)
    text = text_of(explanation, client, outcome.timeline, limit, screen, stopped=stopped)
    error = explanation.error(text)
    if isinstance(error, errors.InfrastructureError) and outcome.fault is not None:
        error.label, error.transient = outcome.fault.label, outcome.fault.transient
        error.outage = outcome.fault.outage
    return _with_data(error, explanation, wanted, outcome.timeline)


def text_of(
    explanation: Explanation,
    client: SandboxClient,
    timeline: Timeline,
    limit: Limit,
    screen: Screen,
    *,
    stopped: str = "",
) -> str:
    """Return the text of a failure, including the output of the process and the memory limit.

    Args:
        explanation: the result of the check.
        client: the client of the sandbox, which reads the last lines of output of the process.
        timeline: the polls of the wait.
        limit: the deadline of the wait.
        screen: the terminal, which determines the width and the verbosity of the message.
        stopped: a text that says when the wait stopped; empty to leave this information out.

    """
    output = None
    if explanation.output and explanation.process is not None:
        output = tail_of(explanation, client, timeline, limit)
    elif any(item.output for item in explanation.listed):
        explanation = _with_last_lines(explanation, client, timeline, limit)
    renderer = Renderer(timeline, screen, client.label, stopped)
    return renderer.render(_with_limit(explanation, client), output)


def error_of_several(
    checks: Sequence[tuple[str, str, Result]],
    outcome: Outcome,
    client: SandboxClient,
    limit: Limit,
    screen: Screen,
) -> errors.TLSandboxError:
    """Return one error that lists all failures of checks that were evaluated together.

    Args:
        checks: the name, the line in the test and the result of each check.
        outcome: how the wait for all checks ended.
        client: the client of the sandbox, which reads the last lines of output of processes.
        limit: the deadline of the wait.
        screen: the terminal, which determines the width and the verbosity of the message.

    Returns:
        A :class:`ChecksFailed`, or an infrastructure error if no check could be evaluated.

    """
    took = seconds(outcome.seconds)
    explanations = [
        (
            name,
            place,
            None
            if isinstance(result, Met) and (outcome.final or not result.settling_time)
            else _with_limit(_explain(replace(outcome, result=result)), client),
        )
        for name, place, result in checks
    ]
    timeline = outcome.timeline
    failed = [explanation for _, _, explanation in explanations if explanation is not None]
    outputs = {
        id(explanation): tail_of(explanation, client, timeline, limit)
        for explanation in [item for item in failed if item.output][:_MOST_TAILS]
    }
    failures = tuple(
        _with_data(explanation.error(explanation.headline), explanation, name, outcome.timeline)
        for name, _, explanation in explanations
        if explanation is not None
    )
    stopped = "" if timeline.looks == 1 else f"the last one, after {took}, gave the result"
    renderer = Renderer(timeline, screen, client.label, stopped)
    text = renderer.render_several(explanations, outputs)
    evaluated = any(isinstance(failure, errors.AssertionFailed) for failure in failures)
    error = errors.ChecksFailed(text) if evaluated else type(failures[0])(text)
    if isinstance(error, errors.ChecksFailed):
        error.failures = failures
    elif isinstance(error, errors.InfrastructureError):
        error.label = failures[0].first_line
    error.wanted = " and ".join(name for name, _, _ in checks)
    error.snapshot = outcome.timeline.last
    return error


def _with_limit(explanation: Explanation, client: SandboxClient) -> Explanation:
    """Add the memory limit, if known, to the explanation of a confirmed or suspected OOM kill."""
    if not client.memory_limit:
        return explanation
    limit = f"{client.memory_limit / 2**20:.0f} MiB"
    if explanation.error is errors.SuspectedOOMKill:
        return replace(explanation, remarks=(("memory limit", limit), *explanation.remarks))
    if not issubclass(explanation.error, errors.ProcessOOMKilled):
        return explanation
    what = _OOM_KILLED.sub(rf"\g<0> at a limit of {limit}", explanation.what, count=1)
    hint = explanation.hint.replace(MORE_MEMORY, _MORE_LOCAL_MEMORY)
    return replace(explanation, what=what, hint=hint)


def _with_data(
    error: errors.TLSandboxError, explanation: Explanation, wanted: str, timeline: Timeline
) -> errors.TLSandboxError:
    if isinstance(error, errors.InfrastructureError) and error.label == str(error):
        error.label = explanation.headline  # because a label must be a single line
    error.wanted = wanted
    error.snapshot = timeline.last
    error.run = explanation.run or timeline.run_of(explanation.process)
    return error


def _explain(outcome: Outcome) -> Explanation:
    """Explain why a condition was not met, or why it did not stay met for long enough."""
    result = outcome.result
    if isinstance(result, Pending) or (isinstance(result, Impossible) and outcome.final):
        return result.explain()
    if isinstance(result, Impossible):
        return replace(result.explanation, because="the wait ended before this was settled")
    if result is not None and result.unsettled is not None:
        explanation = result.unsettled
        return replace(explanation, what=f"{explanation.what} for only {seconds(outcome.same_for)}")
    return Explanation(
        errors.Inconclusive,
        "Cannot be checked: the result did not settle",
        because=f"the wait ended after {seconds(outcome.seconds)}",
    )


def _of_fault(fault: errors.InfrastructureError, timeline: Timeline, took: str) -> Explanation:
    """Explain an infrastructure error."""
    first = timeline.outages[0] if timeline.outages else None
    remarks = []
    if timeline.last is not None:
        at = seconds(timeline.last.begun - timeline.start)
        remarks.append(
            ("last poll", f"{count(len(timeline.last), 'process')}, {at} after the wait began")
        )
    hint = _HINTS.get(type(fault), "")
    if isinstance(fault, errors.SandboxNotRunning) and fault.transient:
        hint = (
            "resume the sandbox before the tests; if it is already resuming, pass a longer timeout="
        )
    if isinstance(fault, errors.SandboxUnreachable) and not fault.transient:
        # The request did not reach the sandbox, so the hint about the sandbox's memory does not
        # apply.
        hint = _BLOCKED_HINT if fault.label.endswith("BlockedError") else ""
    what, _, because = str(fault).partition("\n")
    if not fault.transient or first is None:
        return Explanation(type(fault), what, because=because, remarks=tuple(remarks), hint=hint)
    outage = timeline.outages[-1]
    lasted = seconds(outage.end - outage.start) if timeline.looks else took
    what = f"{what}; could not list the processes for {lasted}"
    remarks.append(("attempts", str(outage)))
    return Explanation(type(fault), what, because=because, remarks=tuple(remarks), hint=hint)


def tail_of(
    explanation: Explanation, client: SandboxClient, timeline: Timeline, limit: Limit
) -> OutputTail | None:
    """Return the last lines of output of the process to which an explanation refers.

    If the output cannot be read, the tail contains the reason. This function does not raise an
    exception in this case, because the exception would replace the error that the wait raises.

    Args:
        explanation: the explanation of the result, which refers to a process or a run.
        client: the client of the sandbox.
        timeline: the polls of the wait; the last snapshot shows whether the pid was reused.
        limit: the deadline of the wait; reading takes at most 1 s, and ends at least 0.15 s before
            the test would be killed.

    Returns:
        The tail; None if the explanation does not refer to a process, or its row is no longer
        listed.

    """
    process, run = explanation.process, explanation.run
    if process is None:
        return None
    if run is not None:
        if run.row is None:
            return OutputTail("output", unread="its pid is not known")
        process = run.row
    rows = [row for row in timeline.last or () if row.pid == process.pid]
    if rows and not rows[-1].identity.same_run(process.identity):
        return None if run is None else OutputTail("output", unread="its pid was used again")
    if not rows and run is None:
        return None
    clock = client.clock
    end = clock.monotonic() + _TAIL_TIME
    if limit.hard is not None:
        end = min(end, limit.hard - _TAIL_MARGIN)
    try:
        for stream in _STREAMS:
            left = end - clock.monotonic()
            if left <= 0:
                return OutputTail(stream, unread="no time was left")
            lines = client.output(process.pid, stream, limit=left)
            if lines:
                return OutputTail(stream, _last(lines), len(lines))
    except errors.InfrastructureError as fault:
        return OutputTail("output", unread=fault.label)
    return OutputTail(
        "output", unread="" if rows else "the sandbox keeps no output of earlier runs"
    )


def _with_last_lines(
    explanation: Explanation, client: SandboxClient, timeline: Timeline, limit: Limit
) -> Explanation:
    """Add a remark to each of the first three listed processes: its last line of output."""
    listed = []
    end = client.clock.monotonic() + _TAIL_TIME + _TAIL_MARGIN
    limit = replace(limit, hard=end if limit.hard is None else min(end, limit.hard))
    for item in explanation.listed[:_MOST_TAILS]:
        of_item = replace(explanation, process=item.row if item.output else None)
        tail = tail_of(of_item, client, timeline, limit)
        written = [line for line in (tail.lines if tail else ()) if line.strip()]
        last = ""
        if written:
            line = written[-1].strip()
            beyond = max(len(line) - LONGEST_LINE, 0)
            shown = cut(mask_text(line[:LONGEST_LINE]), _LONGEST_LAST_LINE, beyond=beyond)
            last = f"last line: {shown}"
        listed.append(replace(item, remark="; ".join(filter(None, (item.remark, last)))))
    return replace(explanation, listed=(*listed, *explanation.listed[_MOST_TAILS:]))


def _last(lines: list[str]) -> tuple[str, ...]:
    """Return as many of the last lines as fit in a message."""
    last = lines[-MOST_OUTPUT:]
    size = 0
    for kept, line in enumerate(reversed(last)):
        size += min(len(line), LONGEST_LINE)
        if size > _TAIL_SIZE:
            return tuple(last[-kept:])
    return tuple(last)
