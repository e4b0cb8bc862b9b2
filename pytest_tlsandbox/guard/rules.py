"""Apply the rules of the guard to incidents, and describe the findings."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pytest_tlsandbox.formatting.processes import short_name
from pytest_tlsandbox.history import incidents as kinds
from pytest_tlsandbox.messages.incidents import describe, headline_of, run_name, shown_row
from pytest_tlsandbox.monitoring.incident_data import RULES, incident_data
from pytest_tlsandbox.monitoring.plain_data import identity_text
from pytest_tlsandbox.redact import mask_text
from pytest_tlsandbox.waiting.conditions import absence

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from pytest_tlsandbox.client.api import SandboxClient
    from pytest_tlsandbox.history.incidents import Incident
    from pytest_tlsandbox.history.runs import Generation, Run
    from pytest_tlsandbox.history.snapshot import ProcessSnapshot
    from pytest_tlsandbox.models import ProcessInfo
    from pytest_tlsandbox.monitoring.plain_data import Place

LEAK = "leak"
"""The name of the rule for processes that outlive their test, and of its kind of incident."""
_LEAK_VERDICT = "Left running"
_LEAK_HINT = "end it in the test, or in the fixture that started it"
_UNKNOWN_ENDS = (kinds.UNSEEN_END, kinds.LOST_END)


@dataclass(frozen=True)
class Finding:
    """An incident that the guard reports.

    Attributes:
        rule: the rule that reports the incident.
        incident: the incident.
        inconclusive: whether it is unknown how the run ended, so that another incident may be
            hidden.
        sandbox: the name of the sandbox within the session.
        place: the test to which the finding is attributed, if any.
        allowed: the reason of the marker or block that allows the finding, if any.
        before: an earlier snapshot, from before the incident was found.
        now: the snapshot in which the incident was found.
        client: the client of the sandbox, for reading output.
        reported_in: "test" if the finding fails a test, "session" if only the summary shows it.
        at: when the guard found the incident, by this machine's clock.

    """

    rule: str
    incident: Incident
    sandbox: str
    place: Place
    before: ProcessSnapshot
    now: ProcessSnapshot
    client: SandboxClient
    reported_in: str
    at: str
    inconclusive: bool = False
    allowed: str | None = None

    @property
    def row(self) -> ProcessInfo:
        """The row of the run, or the row of the next run if the run itself was never listed."""
        return shown_row(self.incident.run)

    @property
    def verdict(self) -> str:
        """The kind of finding in one or two words, such as "OOM-killed"."""
        if self.inconclusive:
            return "End not seen"
        return _LEAK_VERDICT if self.rule == LEAK else RULES[self.rule].verdict

    @property
    def happened(self) -> str:
        """What happened, such as "Crashed with SIGSEGV, then restarted"."""
        incident = self.incident
        if self.rule == LEAK or (self.inconclusive and incident.kind not in _UNKNOWN_ENDS):
            return self.verdict
        if incident.run.gave_up and incident.kind in (kinds.OOM, kinds.CRASH):
            incident = replace(incident, kind=kinds.GAVE_UP)  # how the last try ended
        return headline_of(incident)

    @property
    def what(self) -> str:
        """What happened, including the evidence."""
        if self.rule == LEAK:
            return "it began in this test and runs after its teardown"
        return describe(self.incident)

    @property
    def hint(self) -> str:
        """An action that may help, but does not weaken the test."""
        if self.inconclusive:
            return "list the processes in between"
        return _LEAK_HINT if self.rule == LEAK else absence.hint_of(RULES[self.rule], self.incident)

    @property
    def keys(self) -> list[str]:
        """The keys that identify the finding in the session; they are the same for all workers."""
        return [f"{self.sandbox} {key}" for key in keys_of(self.rule, self.incident)]

    def as_data(self, worker: str | None) -> dict[str, Any]:
        """Return the finding as plain data, which an xdist worker can send to the controller."""
        return {
            **incident_data(self.rule, self.incident),
            "verdict": self.verdict,
            "what": self.what,
            "headline": f"{self.happened}: {short_name(self.row)}",
            "keys": self.keys,
            "observed": not self.inconclusive,
            "sandbox": self.sandbox,
            **self.place._asdict(),
            "worker": worker,
            "reported_in": self.reported_in,
            "allowed": self.allowed,
            "at": self.at,
        }


def keys_of(rule: str, incident: Incident) -> list[str]:
    """Return the keys that identify an incident within its sandbox.

    If workers share a sandbox, they list its processes at different times. For example, one worker
    may list the run itself, a second worker may see only how the run ended, and a third worker may
    list only the next run. For this reason, each kind of observation has its own key.
    """
    run = incident.run
    keys = [] if run.row is None else [f"{rule} {identity_text(run.row)}"]
    if run.generation.id is None:
        return keys
    # Mask the text, because pytest --debug logs the data that a worker sends.
    supervisor = mask_text(run.generation.id)
    if run.end is not None and run.end.ended_at is not None:
        ended = int(run.end.ended_at.timestamp() * 1000)
        keys.append(f"{rule} {supervisor} {ended}")
    successor = run.successor
    if successor is not None and successor.row is not None and run.times == 1:
        keys.append(f"{rule} before {identity_text(successor.row)}")
    return keys or [f"{rule} {supervisor}#{run.number} {identity_text(shown_row(run))}"]


def apply_rules(
    rules: Iterable[str], incidents: Iterable[Incident], started: Collection[Generation]
) -> list[tuple[str, Incident, bool]]:
    """Apply all given rules except ``leak``, and return the incidents that they report.

    Args:
        rules: the rules to apply.
        incidents: the incidents.
        started: the processes that the test started; a lost exit code is inconclusive only for
            these processes.

    Returns:
        For each reported incident, the rule, the incident, and whether it is inconclusive.

    """
    rules = [name for name in rules if name != LEAK]
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


def unknown_ends(
    incidents: Iterable[Incident], started: Collection[Generation]
) -> list[dict[str, str]]:
    """Return the processes with a lost exit code, except processes that the test started."""
    return [
        {"process": identity_text(shown_row(incident.run)), "name": run_name(incident.run)}
        for incident in incidents
        if incident.kind == kinds.LOST_END
        and not incident.caused_here
        and incident.run.generation not in started
    ]


def is_declared(rule: str, run: Run) -> bool:
    """Return whether a test expected the incidents that a rule reports for a run."""
    return any(kind in run.declared for kind in (RULES[rule].kinds if rule in RULES else ()))
