"""Findings as the failure of a test."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_tlsandbox.errors import AssertionFailed, GuardFailure, ProcessOOMKilled
from pytest_tlsandbox.guard.rules import LEAK
from pytest_tlsandbox.history.timeline import Timeline
from pytest_tlsandbox.messages.explanation import Explanation, Listed
from pytest_tlsandbox.messages.failure import render
from pytest_tlsandbox.messages.incidents import ended_row, run_label, run_name
from pytest_tlsandbox.waiting.outcome_to_error import tail_of
from pytest_tlsandbox.waiting.polling import Limit

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pytest_tlsandbox.guard.rules import Finding
    from pytest_tlsandbox.history.runs import Run
    from pytest_tlsandbox.types import Screen

_SEEN = {
    "setup": "by the guard, after the set-up failed",
    "call": "by the guard, after the call",
    "teardown": "by the guard, after the teardown",
}


def error_for(findings: Sequence[Finding], screen: Screen) -> AssertionFailed:
    """Return the error for findings; an OOM kill comes first, and makes it ``ProcessOOMKilled``.

    Its attributes (:class:`TLSandboxError`) are from the sandbox of the first finding.
    """
    ordered = sorted(findings, key=lambda item: (item.inconclusive, item.rule != "oom"))
    first = ordered[0]
    run = first.incident.run
    hints = {item.rule: item.hint for item in reversed(ordered)}
    runs = _by_run(ordered)
    was_killed = first.rule == "oom" and not first.inconclusive
    error: type[AssertionFailed] = ProcessOOMKilled if was_killed else GuardFailure
    timeline = Timeline(first.before.begun, first.client.history)
    timeline.add(first.before)
    timeline.add(first.now)
    alone = len(runs) == 1
    more = "" if alone else f" and {len(runs) - 1} more"
    explanation = Explanation(
        error,
        f"{first.verdict} {_when(first)}: {run_name(run)}{more}",
        because=_remarks(ordered, first.verdict) if alone else "",
        process=(ended_row(run) or first.row) if alone else None,
        run=run if alone and (run.successor is not None or run.row is None) else None,
        listed=() if alone else tuple(map(_listed, runs)),
        remarks=(("seen", _SEEN[first.place.phase or "call"]),),
        hint="; ".join(hints[rule] for rule in dict.fromkeys(item.rule for item in ordered)),
    )
    clock = first.client.clock
    limit = Limit(clock.monotonic(), None, first.client.test_deadline())
    output = tail_of(explanation, first.client, timeline, limit) if alone else None
    failure = error(
        render(
            explanation,
            stopped="",
            timeline=timeline,
            sandbox=", ".join(dict.fromkeys(item.client.label for item in ordered)),
            output=output,
            verbosity=screen.verbosity,
            columns=screen.columns,
        )
    )
    failure.wanted = f"no {' and no '.join(dict.fromkeys(item.rule for item in ordered))}"
    failure.snapshot = first.now
    failure.run = run
    return failure


def _by_run(findings: Iterable[Finding]) -> list[list[Finding]]:
    """Group findings by run, in the given order."""
    found: dict[Run, list[Finding]] = {}
    for item in findings:
        found.setdefault(item.incident.run, []).append(item)
    return [*found.values()]


def _when(item: Finding) -> str:
    if item.rule == LEAK:
        return "after this test"
    return "in the teardown of this test" if item.place.phase == "teardown" else "in this test"


def _listed(findings: Sequence[Finding]) -> Listed:
    run = findings[0].incident.run
    hidden = run.successor is not None or run.row is None  # the row may be another run's
    label = f"{run_label(run)}: " if hidden else ""
    return Listed(ended_row(run) or findings[0].row, f"{label}{_remarks(findings)}")


def _remarks(findings: Sequence[Finding], headline: str = "") -> str:
    """Describe the findings of one run, with each verdict that the headline does not name."""
    # The other findings already name the run that followed, so a restart adds nothing.
    others = [item for item in findings if item.rule != "restart"] or findings
    return "; ".join(
        item.what
        if item.verdict == headline or item.verdict.lower() in item.what
        else f"{item.verdict}: {item.what}"
        for item in others
    )
