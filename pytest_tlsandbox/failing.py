"""From the outcome of a wait to the error that is raised for it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pytest_tlsandbox.conditions.verdicts import Hopeless, Pending, Satisfied
from pytest_tlsandbox.errors import (
    AuthenticationFailed,
    NotObserved,
    SandboxFault,
    SandboxNotFound,
    SandboxNotRunning,
    SandboxReplaced,
    SandboxUnreachable,
    TLSandboxError,
)
from pytest_tlsandbox.messages.failure import Finding, OutputTail, render
from pytest_tlsandbox.messages.words import count, seconds

if TYPE_CHECKING:
    from pytest_tlsandbox.client.models import ProcessInfo
    from pytest_tlsandbox.client.processes import SandboxClient, Stream
    from pytest_tlsandbox.timeline import Timeline
    from pytest_tlsandbox.waiting import Limit, Outcome

_STREAMS: tuple[Stream, ...] = ("stderr", "stdout")
_TAIL_LINES = 3
_TAIL_TIME = 1.0
_TAIL_MARGIN = 0.15

_HINTS: dict[type[SandboxFault], str] = {
    AuthenticationFailed: "check TENSORLAKE_API_KEY, and that it belongs to this project",
    SandboxNotFound: "check the id or URL given with --tlsandbox; a terminated sandbox is gone too",
    SandboxNotRunning: "resume the sandbox, or start a new one",
    SandboxReplaced: "keep one sandbox for the whole test, and do not restart it",
    SandboxUnreachable: "is the sandbox up? much memory in use can take its daemon down as well",
}


def failure_of(
    outcome: Outcome,
    wanted: str,
    client: SandboxClient,
    timeout: float | None,
    limit: Limit,
    verbosity: int,
) -> TLSandboxError:
    """Make the error for a wait that did not end well.

    ``wanted`` and ``timeout`` are what was asked for.
    """
    took = seconds(outcome.seconds)
    cut = ""
    if limit.hard is not None and not outcome.final:
        cut = f" ({seconds(timeout)} cut by pytest-timeout)" if timeout else " (pytest-timeout)"
    stopped = _stopped(outcome, timeout) + cut
    if outcome.fault is not None:
        finding = _of_fault(outcome.fault, outcome.timeline, client.label, took)
    elif isinstance(outcome.verdict, Pending):
        finding = outcome.verdict.finding
        finding = replace(finding, headline=f"{finding.headline} after {took}{cut}")
        stopped = ""
    elif isinstance(outcome.verdict, Hopeless):
        finding = outcome.verdict.finding
        if not outcome.final:
            finding = replace(finding, because="the deadline came before it could change")
    else:
        finding = _unsettled(outcome, took)
    output = None
    if outcome.fault is None and finding.process is not None:
        output = _tail(finding.process, client, outcome.timeline, limit)
    text = render(
        finding,
        stopped=stopped,
        timeline=outcome.timeline,
        sandbox=client.label,
        output=output,
        verbosity=verbosity,
    )
    error = finding.error(text)
    if isinstance(error, SandboxFault):
        error.label = outcome.fault.label if outcome.fault else finding.headline
        error.transient = outcome.fault is not None and outcome.fault.transient
    error.wanted = wanted
    error.snapshot = outcome.timeline.last
    error.timeline = outcome.timeline
    return error


def _stopped(outcome: Outcome, timeout: float | None) -> str:
    """Say how long it was tried for, where that says anything."""
    if timeout is not None:
        return f"stopped after {seconds(outcome.seconds)} of {seconds(timeout)}"
    if outcome.timeline.looks == 1 and not outcome.timeline.outages:
        return ""
    return f"stopped after {seconds(outcome.seconds)}"


def _of_fault(fault: SandboxFault, timeline: Timeline, label: str, took: str) -> Finding:
    """Tell a fault: what was asked in vain, or what the sandbox said."""
    first = timeline.outages[0] if timeline.outages else None
    remarks = [("faults", f"+{seconds(outage.start)} {outage}") for outage in timeline.outages]
    if timeline.last is not None:
        at = seconds(timeline.last.begun - timeline.start)
        remarks.append(("last good", f"+{at}, {count(len(timeline.last), 'process')} listed"))
    hint = _HINTS.get(type(fault), "")
    if not fault.transient or first is None:
        return Finding(type(fault), str(fault), remarks=tuple(remarks), hint=hint)
    succeeded = "has succeeded since" if timeline.looks else "succeeded in"
    time = seconds(timeline.outages[-1].start) if timeline.looks else took
    return Finding(
        type(fault),
        f"Not checked: no listing of {label} {succeeded} "
        f"{'+' if timeline.looks else ''}{time} ({timeline.outages[-1]})",
        because=str(fault),
        remarks=tuple(remarks),
        hint=hint,
    )


def _unsettled(outcome: Outcome, took: str) -> Finding:
    """Tell that what was wanted was there, and the time was too short to rely on it."""
    verdict = outcome.verdict
    if isinstance(verdict, Satisfied) and verdict.unsettled is not None:
        finding = verdict.unsettled
        return replace(finding, headline=f"{finding.headline}, stopped after {took}")
    return Finding(NotObserved, f"Not observed: the time ended after {took}, too soon to be sure")


def _tail(
    process: ProcessInfo, client: SandboxClient, timeline: Timeline, limit: Limit
) -> OutputTail | None:
    """Read the end of what a process wrote; a tail that cannot be had hides nothing else."""
    last = timeline.last
    rows = [row for row in last or () if row.pid == process.pid]
    if not rows or not rows[-1].identity.same_run(process.identity):
        return None  # no longer listed, or its pid is another's by now
    clock = client.clock
    end = clock.monotonic() + _TAIL_TIME
    if limit.hard is not None:
        end = min(end, limit.hard - _TAIL_MARGIN)
    try:
        for stream in _STREAMS:
            left = end - clock.monotonic()
            if left <= 0:
                return None
            lines = client.output(process.pid, stream, limit=left)
            if lines:
                return OutputTail(stream, tuple(lines[-_TAIL_LINES:]), len(lines))
    except SandboxFault:
        return None
    return OutputTail("output", (), 0)
