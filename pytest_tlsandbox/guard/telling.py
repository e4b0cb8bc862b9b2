"""Findings as the failure of a test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_tlsandbox.errors import GuardFailure, Judgement, ProcessOOMKilled
from pytest_tlsandbox.failing import tail_of
from pytest_tlsandbox.guard.rules import LEAK, hint_of, verdict_of
from pytest_tlsandbox.messages.failure import Finding, Listed, render
from pytest_tlsandbox.messages.words import named
from pytest_tlsandbox.timeline import Timeline
from pytest_tlsandbox.waiting import Limit

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pytest_tlsandbox.client.processes import SandboxClient
    from pytest_tlsandbox.failing import Screen
    from pytest_tlsandbox.guard.rules import Incident
    from pytest_tlsandbox.identity import Identity
    from pytest_tlsandbox.snapshot import ProcessSnapshot

_SEEN = {
    "setup": "by the guard, after the set-up failed",
    "call": "by the guard, after the call",
    "teardown": "by the guard, after the teardown",
}


@dataclass(frozen=True)
class Pinned:
    """A finding that fails the test it is of: between which two looks, after which phase."""

    incident: Incident
    phase: str
    before: ProcessSnapshot
    now: ProcessSnapshot
    client: SandboxClient


def failure_of(pinned: Sequence[Pinned], screen: Screen) -> Judgement:
    """Make the error for findings; an OOM kill comes first, and makes it ``ProcessOOMKilled``.

    It carries what :class:`TLSandboxError` says, of the sandbox of the first finding.
    """
    ordered = sorted(pinned, key=lambda item: item.incident.rule != "oom")
    first = ordered[0]
    rules: dict[str, Incident] = {}
    for item in ordered:
        rules.setdefault(item.incident.rule, item.incident)
    processes = _by_process(ordered)
    was_killed = first.incident.rule == "oom" and first.incident.observed
    error: type[Judgement] = ProcessOOMKilled if was_killed else GuardFailure
    timeline = Timeline(first.before.begun)
    timeline.add(first.before)
    timeline.add(first.now)
    alone = len(processes) == 1
    more = "" if alone else f" and {len(processes) - 1} more"
    finding = Finding(
        error,
        f"{verdict_of(first.incident)} {_when(first)}: {named(first.incident.row)}{more}",
        because="; ".join([first.incident.what, *map(_remark, ordered[1:])]) if alone else "",
        process=first.incident.row if alone else None,
        listed=()
        if alone
        else tuple(
            Listed(items[0].incident.row, "; ".join(map(_remark, items))) for items in processes
        ),
        remarks=(("seen", _SEEN[first.phase]),),
        hint="; ".join(map(hint_of, rules.values())),
    )
    clock = first.client.clock
    limit = Limit(clock.monotonic(), None, first.client.test_deadline())
    output = tail_of(first.incident.row, first.client, timeline, limit) if alone else None
    failure = error(
        render(
            finding,
            stopped="",
            timeline=timeline,
            sandbox=", ".join(dict.fromkeys(item.client.label for item in ordered)),
            output=output,
            verbosity=screen.verbosity,
            columns=screen.columns,
        )
    )
    failure.wanted = f"no {' and no '.join(rules)}"
    failure.snapshot, failure.timeline = first.now, timeline
    return failure


def _by_process(pinned: Iterable[Pinned]) -> list[list[Pinned]]:
    """Put together what was found of one process by several rules, each in the order given."""
    found: dict[tuple[str, Identity], list[Pinned]] = {}
    for item in pinned:
        found.setdefault((item.client.label, item.incident.row.identity), []).append(item)
    return [*found.values()]


def _when(item: Pinned) -> str:
    if item.incident.rule == LEAK:
        return "after this test"
    return "in the teardown of this test" if item.phase == "teardown" else "in this test"


def _remark(item: Pinned) -> str:
    verdict, what = verdict_of(item.incident), item.incident.what
    return what if verdict.lower() in what else f"{verdict}: {what}"
