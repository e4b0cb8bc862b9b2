"""Map incidents to rules, and convert incidents to plain data for the guard and the report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_tlsandbox.errors import GuardFailure
from pytest_tlsandbox.history.incidents import LEAK
from pytest_tlsandbox.messages.incidents import run_name, shown_row
from pytest_tlsandbox.monitoring.plain_data import identity_text
from pytest_tlsandbox.waiting.conditions import absence

if TYPE_CHECKING:
    from pytest_tlsandbox.history.incidents import Incident

RULES = {
    "oom": absence.OOM,
    "crash": absence.CRASH,
    "restart": absence.RESTART,
    "unhealthy": absence.UNHEALTHY,
    LEAK: absence.Rule((LEAK,), GuardFailure, "Left running", "leaks"),
}
RULE_OF = {kind: name for name, rule in RULES.items() for kind in rule.kinds}
"""The name of the rule that reports each kind of incident; no rule reports the other kinds."""


def incident_data(rule: str, incident: Incident) -> dict[str, Any]:
    """Return the rule and the affected run of an incident as plain data."""
    run = incident.run
    return {
        "rule": rule,
        "process": identity_text(shown_row(run)),
        "run": run.number if run.generation.id is not None else None,
        "name": run_name(run),
    }
