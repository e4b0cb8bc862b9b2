"""The cause of a failed test, as data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_tlsandbox import errors
from pytest_tlsandbox.failed_tests.used_sandbox import kind_of
from pytest_tlsandbox.messages.incidents import name_of, shown_row
from pytest_tlsandbox.monitoring.plain_data import identity_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_tlsandbox.failed_tests.used_sandbox import Event
    from pytest_tlsandbox.history.runs import Run

badness = ("sandbox", "oom", "crash", "exit", "restart", "none", "").index
"""Returns the rank of a kind of cause; the worst kind has the lowest rank."""
_KINDS: tuple[tuple[type[errors.TLSandboxError], str], ...] = (
    (errors.RequestRefused, "none"),
    (errors.Inconclusive, "none"),
    (errors.InfrastructureError, "sandbox"),
    (errors.LocalSandboxError, "sandbox"),
    (errors.ProcessOOMKilled, "oom"),
    (errors.ProcessCrashed, "crash"),
    (errors.ProcessRestarted, "restart"),
)


def kind_of_error(error: errors.TLSandboxError) -> str:
    """Return the kind of cause that one of this package's errors reports."""
    known = next((kind for of, kind in _KINDS if isinstance(error, of)), None)
    of_run = None if error.run is None else kind_of(error.run)
    return known or of_run or ("exit" if isinstance(error, errors.UnexpectedExit) else "none")


def cause_of_error(error: errors.TLSandboxError) -> dict[str, Any]:
    """Return the cause that one of this package's errors reports."""
    # If several checks failed, use the check with the worst cause.
    checks = getattr(error, "failures", None) or [error]
    failed = min(checks, key=lambda check: badness(kind_of_error(check)))
    kind = kind_of_error(failed)
    outage = getattr(failed, "outage", None)
    sandbox = getattr(failed.snapshot, "sandbox", None) if outage is None else outage.sandbox.label
    return _cause(kind, sandbox if kind == "sandbox" else None, failed.run, certain=True)


def cause_of_events(events: Iterable[Event]) -> dict[str, Any]:
    """Return the worst event as a possible cause.

    If several events are equally bad, the first of these events is the possible cause.
    """
    worst = min(events, key=lambda event: (badness(event.kind), event.at), default=None)
    if worst is None or worst.kind in ("none", ""):
        return _cause("none", None, None, certain=False)
    return _cause(worst.kind, worst.sandbox.label, worst.run, certain=False)


def _cause(kind: str, sandbox: str | None, run: Run | None, *, certain: bool) -> dict[str, Any]:
    """Return a cause in the format that the schema of the report defines."""
    return {
        "kind": kind,
        "name": sandbox if run is None else name_of(run),
        "process": None if run is None else identity_text(shown_row(run)),
        "run": None if run is None or run.generation.id is None else run.number,
        "certain": certain,
    }


def cause_text(cause: dict[str, Any]) -> str:
    """Return a cause as text for a JUnit property, such as "oom: train.py" or "none"."""
    kind, name = cause["kind"], cause["name"]
    text = kind if kind == "none" or name is None else f"{kind}: {name}"
    return text if kind == "none" or cause["certain"] else f"{text} (not certain)"
