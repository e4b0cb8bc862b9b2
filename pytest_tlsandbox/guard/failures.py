"""Convert findings of the guard to an error that fails the test."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pytest_tlsandbox.errors import AssertionFailed, GuardFailure, ProcessOOMKilled
from pytest_tlsandbox.formatting.processes import list_texts, short_name
from pytest_tlsandbox.formatting.text import shorten
from pytest_tlsandbox.history.incidents import LEAK
from pytest_tlsandbox.history.timeline import Timeline
from pytest_tlsandbox.messages.explanation import Explanation
from pytest_tlsandbox.messages.incidents import describe
from pytest_tlsandbox.monitoring.incident_data import RULES
from pytest_tlsandbox.waiting.conditions import absence
from pytest_tlsandbox.waiting.outcome_to_error import text_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_tlsandbox.guard.rules import Finding
    from pytest_tlsandbox.history.runs import Run
    from pytest_tlsandbox.types import Screen

_LONGEST_FIRST_LINE = 100


def error_for(findings: Sequence[Finding], screen: Screen) -> AssertionFailed:
    """Return ``ProcessOOMKilled`` if a finding is a proven OOM kill, otherwise ``GuardFailure``.

    The attributes of the error (:class:`TLSandboxError`) refer to the sandbox of the first finding.
    """
    ordered = sorted(findings, key=lambda item: (item.inconclusive, item.rule != "oom"))
    first, client = ordered[0], ordered[0].sandbox.client
    rules = [*dict.fromkeys(item.rule for item in ordered)]
    distinct: dict[tuple[Run, str], Finding] = {}
    for item in ordered:  # several rules may report the same run
        distinct.setdefault((item.incident.run, item.happened), item)
    shown = [*distinct.values()]
    alone = len(shown) == 1
    was_killed = first.rule == "oom" and not first.inconclusive
    error: type[AssertionFailed] = ProcessOOMKilled if was_killed else GuardFailure
    phase = "setup failed" if first.place.phase == "setup" else first.place.phase
    needs_reason = first.inconclusive or (alone and first.rule == LEAK)
    explanation = Explanation(
        error,
        first.happened if alone else _several(shown),
        short_name(first.row) if alone else "",
        because=describe(first.incident) if needs_reason else "",
        remarks=(("found", f"by the guard, after the {phase}"),),
        hint="; ".join(filter(None, dict.fromkeys(item.hint for item in ordered))),
    )
    explanation = absence.with_evidence(explanation, [item.incident for item in shown])
    explanation = replace(explanation, output=rules != [LEAK])
    timeline = Timeline(first.before.begun, client.history)
    timeline.add(first.before)
    timeline.add(first.now)
    text = text_of(explanation, client, timeline, screen)
    allowed = ", ".join(f'"{rule}"' for rule in rules)
    failure = error(
        f"{text}\n  expected? mark the test with tlsandbox_allow({allowed}, reason=...)"
    )
    failure.wanted = f"no {' and no '.join(rules)}"
    failure.snapshot = first.now
    failure.run = first.incident.run
    return failure


def _several(findings: Sequence[Finding]) -> str:
    """Return the first line of the message about several findings."""
    first = findings[0]
    alike = {(item.rule, item.incident.run.generation) for item in findings}
    if len(alike) == 1 and not any(item.inconclusive for item in findings):
        name = RULES[first.rule].name([item.incident for item in findings])
        return f"{name}: {short_name(first.row)}"
    names: dict[str, list[str]] = {}
    for item in findings:
        names.setdefault(item.happened, []).append(short_name(item.row))
    texts = [f"{what}: {list_texts([*dict.fromkeys(of)])}" for what, of in names.items()]
    return shorten(f"{len(findings)} findings: {'; '.join(texts)}", _LONGEST_FIRST_LINE)
