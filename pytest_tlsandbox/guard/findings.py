"""The findings of the guard: find incidents according to rules, and describe them in an error."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pytest_tlsandbox.errors import AssertionFailed, GuardFailure, ProcessOOMKilled
from pytest_tlsandbox.formatting.processes import list_texts, short_name
from pytest_tlsandbox.formatting.text import shorten
from pytest_tlsandbox.history import incidents as kinds
from pytest_tlsandbox.history.incidents import LEAK, Incident
from pytest_tlsandbox.history.runs import Generation, Run
from pytest_tlsandbox.history.snapshot import ProcessSnapshot
from pytest_tlsandbox.history.timeline import Timeline
from pytest_tlsandbox.messages.explanation import Explanation
from pytest_tlsandbox.messages.incidents import describe, headline_of, shown_row
from pytest_tlsandbox.models import ProcessInfo
from pytest_tlsandbox.monitoring.monitor import Monitor, Observation
from pytest_tlsandbox.monitoring.plain_data import RULES, Place, identity_text, incident_data
from pytest_tlsandbox.redact import mask_text
from pytest_tlsandbox.types import Screen
from pytest_tlsandbox.waiting.conditions import absence
from pytest_tlsandbox.waiting.outcome_to_error import text_of

_LONGEST_FIRST_LINE = 100


@dataclass(frozen=True)
class Finding:
    """An incident that the guard reports.

    Attributes:
        rule: the rule that reports the incident.
        incident: the incident.
        inconclusive: whether it is unknown how the run ended, so that another incident may be
            hidden.
        seen: the observation in which the incident was found.
        place: the test to which the finding is attributed, if any.
        before: an earlier snapshot, from before the incident was found.
        allowed: the reason of the marker or block that allows the finding, if any.

    """

    rule: str
    incident: Incident
    inconclusive: bool
    seen: Observation
    place: Place
    before: ProcessSnapshot
    allowed: str | None

    @property
    def reported_in(self) -> str:
        """What reports the finding: "test" (the finding fails it) or "session" (the summary)."""
        return "test" if self.seen.ends_phase and self.place.test is not None else "session"

    @property
    def row(self) -> ProcessInfo:
        """The row of the run, or the row of the next run if the run itself was never listed."""
        return shown_row(self.incident.run)

    @property
    def verdict(self) -> str:
        """The kind of finding in one or two words, such as "OOM-killed"."""
        return "End not seen" if self.inconclusive else RULES[self.rule].verdict

    @property
    def happened(self) -> str:
        """What happened, such as "Crashed with SIGSEGV, then restarted"."""
        incident = self.incident
        if self.inconclusive and incident.kind not in (kinds.UNSEEN_END, kinds.LOST_END):
            return self.verdict
        if incident.run.gave_up and incident.kind in (kinds.OOM, kinds.CRASH):
            incident = replace(incident, kind=kinds.GAVE_UP)  # how the last try ended
        return headline_of(incident)

    @property
    def hint(self) -> str:
        """Advice on how to fix the problem without weakening the test."""
        if self.inconclusive:
            return "list the processes more often"
        if self.rule == LEAK:
            return "end the process in the test, or in the fixture that started it"
        return absence.hint_of(RULES[self.rule], self.incident)

    def as_data(self, monitor: Monitor) -> dict[str, Any]:
        """Return the finding as plain data, which an xdist worker can send to the controller."""
        return {
            **incident_data(self.rule, self.incident, self.seen.sandbox.name, self.place),
            "verdict": self.verdict,
            "headline": f"{self.happened}: {short_name(self.row)}",
            "keys": keys_of(self.seen.sandbox.name, self.rule, self.incident),
            "observed": not self.inconclusive,
            "worker": monitor.worker,
            "reported_in": self.reported_in,
            "allowed": self.allowed,
            "at": monitor.wall_clock.at(self.seen.snapshot.begun),
        }


def apply_rules(
    rules: Iterable[str], incidents: Iterable[Incident], started: Collection[Generation]
) -> list[tuple[str, Incident, bool]]:
    """Return all incidents that the given rules report, except leaks.

    Args:
        rules: the rules to apply.
        incidents: the incidents.
        started: the processes that the test started; a lost exit code is inconclusive only for
            these processes.

    Returns:
        For each reported incident, the rule, the incident, and whether it is inconclusive.

    """
    incidents = [incident for incident in incidents if not incident.caused_here]
    found = [
        (name, incident, incident.run.assumed)
        for name in rules
        for incident in incidents
        if incident.kind in RULES[name].kinds
    ]
    # A restart may be allowed, and does not show how the run before it ended.
    known = {incident.run for name, incident, _ in found if RULES[name].needs_ends}
    hiding = next((name for name in rules if RULES[name].needs_ends), None)
    if hiding is not None:
        found += [
            (hiding, incident, True)
            for incident in incidents
            if incident.run not in known
            and absence.is_inconclusive(incident, answers_for=incident.run.generation in started)
        ]
    return found


def keys_of(sandbox: str, rule: str, incident: Incident) -> list[str]:
    """Return the keys by which every worker identifies an incident in a sandbox.

    If workers share a sandbox, they list its processes at different times. For example, one worker
    may list the run itself, a second worker may see only how the run ended, and a third worker may
    list only the next run. For this reason, each kind of observation has its own key.
    """
    run, start = incident.run, f"{sandbox} {rule}"
    keys = [] if run.row is None else [f"{start} {identity_text(run.row)}"]
    if run.generation.id is None:
        return keys
    # Mask the text, because pytest --debug logs the data that a worker sends.
    supervisor = mask_text(run.generation.id)
    if run.end is not None and run.end.ended_at is not None:
        ended = int(run.end.ended_at.timestamp() * 1000)
        keys.append(f"{start} {supervisor} {ended}")
    successor = run.successor
    if successor is not None and successor.row is not None and run.times == 1:
        keys.append(f"{start} before {identity_text(successor.row)}")
    return keys or [f"{start} {supervisor}#{run.number} {identity_text(shown_row(run))}"]


def error_for(findings: Sequence[Finding], screen: Screen) -> AssertionFailed:
    """Return ``ProcessOOMKilled`` if a finding is a proven OOM kill, otherwise ``GuardFailure``.

    The attributes of the error (:class:`TLSandboxError`) refer to the sandbox of the first finding.
    """
    ordered = sorted(findings, key=lambda item: (item.inconclusive, item.rule != "oom"))
    first, client = ordered[0], ordered[0].seen.sandbox.client
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
    timeline = Timeline(first.before.begun, client.history)
    timeline.add(first.before)
    timeline.add(first.seen.snapshot)
    text = text_of(explanation._replace(output=rules != [LEAK]), client, timeline, screen)
    allowed = ", ".join(f'"{rule}"' for rule in rules)
    advice = f"expected? mark the test with tlsandbox_allow({allowed}, reason=...)"
    failure = error(f"{text}\n  {advice}")
    failure.wanted = f"no {' and no '.join(rules)}"
    failure.snapshot = first.seen.snapshot
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
