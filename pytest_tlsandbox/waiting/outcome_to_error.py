"""Turn the outcome of a wait into the error that the helper raises."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pytest_tlsandbox import errors
from pytest_tlsandbox.formatting.text import count, seconds
from pytest_tlsandbox.messages.explanation import Explanation
from pytest_tlsandbox.messages.failure import (
    LONGEST_LINE,
    MOST_OUTPUT,
    OutputTail,
    render,
    render_several,
)
from pytest_tlsandbox.waiting.conditions.condition import Impossible, Met, Pending, Result

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

_HINTS: dict[type[errors.InfrastructureError], str] = {
    errors.AuthenticationFailed: "check TENSORLAKE_API_KEY, and that it belongs to this project",
    errors.SandboxNotFound: "check the id or URL given with --tlsandbox; a terminated sandbox is gone too",
    errors.ContractViolation: "is it the URL of a sandbox, and not of a console or a page to log in?",
    errors.SandboxNotRunning: "start a new one: its time-out may have ended it",
    errors.SandboxReplaced: "keep one sandbox for the whole test, and do not restart it",
    errors.SandboxUnreachable: "is the sandbox up? much memory in use can take its daemon down as well",
}
_BLOCKED_HINT = "pytest-socket blocks it: allow the host of the sandbox, as in allow_hosts"


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
        client: the sandbox; its output routes provide the last lines of the process.
        timeout: the timeout of the wait in seconds; None for an assertion, which has none.
        limit: the deadline of the wait.
        screen: the width and the verbosity of the message.

    Returns:
        The error, with ``wanted`` and the last snapshot.

    """
    took = seconds(outcome.seconds)
    cut = ""
    if limit.hard is not None and not outcome.final:
        cut = f" ({seconds(timeout)} cut by pytest-timeout)" if timeout else " (pytest-timeout)"
    stopped = _stopped(outcome, timeout) + cut
    if outcome.fault is not None:
        explanation = _of_fault(outcome.fault, outcome.timeline, client.label, took)
    elif isinstance(outcome.result, Pending):
        explanation = outcome.result.explain()
        explanation = replace(explanation, headline=f"{explanation.headline} after {took}{cut}")
        if cut:
            explanation = replace(
                explanation, hint="more time for the test: pytest-timeout ended the wait"
            )
        stopped = ""
    else:
        explanation = _explain(outcome)
    output = None
    if outcome.fault is None and explanation.process is not None:
        output = tail_of(explanation, client, outcome.timeline, limit)
    text = render(
        explanation,
        stopped=stopped,
        timeline=outcome.timeline,
        sandbox=client.label,
        output=output,
        verbosity=screen.verbosity,
        columns=screen.columns,
    )
    error = explanation.error(text)
    if isinstance(error, errors.InfrastructureError) and outcome.fault is not None:
        error.label, error.transient = outcome.fault.label, outcome.fault.transient
        error.outage = outcome.fault.outage
    return _with_data(error, explanation, wanted, outcome.timeline)


def error_of_several(
    checks: Sequence[tuple[str, str, Result]], outcome: Outcome, label: str, screen: Screen
) -> errors.TLSandboxError:
    """Return the error for checks that were evaluated together, each with its number.

    Args:
        checks: the name, the place in the test, and the result of each check.
        outcome: how the wait for all of them ended.
        label: the name of the sandbox.
        screen: the width and the verbosity of the message.

    Returns:
        A :class:`ChecksFailed`, or the infrastructure error if no check could be evaluated.

    """
    took = seconds(outcome.seconds)
    explanations = [
        (
            name,
            place,
            None
            if isinstance(result, Met) and (outcome.final or not result.settling_time)
            else _explain(replace(outcome, result=result)),
        )
        for name, place, result in checks
    ]
    failures = tuple(
        _with_data(explanation.error(explanation.headline), explanation, name, outcome.timeline)
        for name, _, explanation in explanations
        if explanation is not None
    )
    text = render_several(
        explanations,
        stopped="" if outcome.timeline.looks == 1 else f"judged on the last, after {took}",
        timeline=outcome.timeline,
        sandbox=label,
        verbosity=screen.verbosity,
        columns=screen.columns,
    )
    evaluated = any(isinstance(failure, errors.AssertionFailed) for failure in failures)
    error = errors.ChecksFailed(text) if evaluated else type(failures[0])(text)
    if isinstance(error, errors.ChecksFailed):
        error.failures = failures
    elif isinstance(error, errors.InfrastructureError):
        error.label = failures[0].first_line
    error.wanted = " and ".join(name for name, _, _ in checks)
    error.snapshot = outcome.timeline.last
    return error


def _with_data(
    error: errors.TLSandboxError, explanation: Explanation, wanted: str, timeline: Timeline
) -> errors.TLSandboxError:
    if isinstance(error, errors.InfrastructureError) and error.label == str(error):
        error.label = explanation.headline  # a label must be a single line
    error.wanted = wanted
    error.snapshot = timeline.last
    error.run = explanation.run or timeline.run_of(explanation.process)
    return error


def _explain(outcome: Outcome) -> Explanation:
    """Explain a result that is not met, or was not met for long enough."""
    result = outcome.result
    if isinstance(result, Pending) or (isinstance(result, Impossible) and outcome.final):
        return result.explain()
    if isinstance(result, Impossible):
        return replace(result.explanation, because="the deadline came before it could change")
    if result is not None and result.unsettled is not None:
        explanation = result.unsettled
        stood = f"{explanation.headline}, was so for {seconds(outcome.same_for)}"
        return replace(explanation, headline=stood)
    took = seconds(outcome.seconds)
    return Explanation(
        errors.Inconclusive,
        f"Not observed: the time ended after {took}, too soon to be sure",
        hint="more time for the test",
    )


def _stopped(outcome: Outcome, timeout: float | None) -> str:
    """Return how long the wait took; empty if an assertion made only one poll."""
    if timeout is not None:
        return f"stopped after {seconds(outcome.seconds)} of {seconds(timeout)}"
    if outcome.timeline.looks + outcome.timeline.faults.total() == 1:
        return ""
    return f"stopped after {seconds(outcome.seconds)}"


def _of_fault(
    fault: errors.InfrastructureError, timeline: Timeline, label: str, took: str
) -> Explanation:
    """Explain an infrastructure error."""
    first = timeline.outages[0] if timeline.outages else None
    remarks = []
    if timeline.last is not None:
        at = seconds(timeline.last.begun - timeline.start)
        remarks.append(("last good", f"+{at}, {count(len(timeline.last), 'process')} listed"))
    hint = _HINTS.get(type(fault), "")
    if isinstance(fault, errors.SandboxNotRunning) and fault.transient:
        hint = (
            "traffic wakes a suspended sandbox, which takes seconds: wait longer, or resume it "
            "before the tests"
        )
    if isinstance(fault, errors.SandboxUnreachable) and not fault.transient:
        # The request did not reach the sandbox, so the hint about its memory does not apply.
        hint = _BLOCKED_HINT if fault.label.endswith("BlockedError") else ""
    if not fault.transient or first is None:
        headline, _, because = str(fault).partition("\n")
        return Explanation(type(fault), headline, because, remarks=tuple(remarks), hint=hint)
    succeeded = "has succeeded since" if timeline.looks else "succeeded in"
    time = seconds(timeline.outages[-1].start) if timeline.looks else took
    return Explanation(
        type(fault),
        f"Not checked: no listing of {label} {succeeded} "
        f"{'+' if timeline.looks else ''}{time} ({timeline.outages[-1]})",
        because=str(fault),
        remarks=tuple(remarks),
        hint=hint,
    )


def tail_of(
    explanation: Explanation, client: SandboxClient, timeline: Timeline, limit: Limit
) -> OutputTail | None:
    """Return the last lines of output of the explained process.

    A failed read does not replace the error of the wait: the tail then says why it is missing.

    Args:
        explanation: the explanation of the result; it names the process or the run.
        client: the sandbox.
        timeline: what the wait saw; its last snapshot shows whether the pid was used again.
        limit: the deadline of the wait. Reading takes at most 1 s and stops 0.15 s before the
            test would be killed.

    Returns:
        The tail; None if the explanation has no process or its row is no longer listed.

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
    return OutputTail("output", unread="" if rows else "the sandbox no longer has it")


def _last(lines: list[str]) -> tuple[str, ...]:
    """Return as many of the last lines as a message has room for."""
    last = lines[-MOST_OUTPUT:]
    size = 0
    for kept, line in enumerate(reversed(last)):
        size += min(len(line), LONGEST_LINE)
        if size > _TAIL_SIZE:
            return tuple(last[-kept:])
    return tuple(last)
