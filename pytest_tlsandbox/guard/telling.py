"""A finding as the failure of a test."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_tlsandbox.errors import GuardFailure, ProcessOOMKilled
from pytest_tlsandbox.guard.rules import LEAK, hint_of, verdict_of
from pytest_tlsandbox.messages.table import align
from pytest_tlsandbox.messages.words import count, cut, moment, named, seconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_tlsandbox.client.models import ProcessInfo
    from pytest_tlsandbox.errors import Judgement
    from pytest_tlsandbox.guard.engine import Pinned

_WIDTH = 100
_MOST = 10
_SEEN = {
    "setup": "by the guard, after the set-up of this test failed",
    "call": "by the guard, after the call of this test",
    "teardown": "by the guard, after the teardown of this test",
}


def failure_of(pinned: Sequence[Pinned]) -> Judgement:
    """Make the error for findings; an OOM kill comes first, and makes it ``ProcessOOMKilled``."""
    ordered = sorted(pinned, key=lambda item: item.incident.rule != "oom")
    ooms = [item for item in ordered if item.incident.rule == "oom" and item.incident.observed]
    error = ProcessOOMKilled if ooms else GuardFailure
    return error(describe(ordered))


def describe(pinned: Sequence[Pinned]) -> str:
    """Tell findings: the first line is the verdict, the rest is what shows it."""
    first = pinned[0]
    more = f" and {len(pinned) - 1} more" if len(pinned) > 1 else ""
    lines = [f"{verdict_of(first.incident)} {_when(first)}: {named(first.incident.row)}{more}"]
    for item in pinned[:_MOST]:
        lines += ["", *("  " + line for line in align(_facts(item, alone=len(pinned) == 1)))]
    if len(pinned) > _MOST:
        lines += ["", f"  ... and {count(len(pinned) - _MOST, 'finding')} more"]
    return "\n".join(line.rstrip() for line in lines)


def _when(item: Pinned) -> str:
    if item.incident.rule == LEAK:
        return "after this test"
    return "in the teardown of this test" if item.phase == "teardown" else "in this test"


def _facts(item: Pinned, *, alone: bool) -> list[tuple[str, str]]:
    row, rule = item.incident.row, item.incident.rule
    handle = "" if row.handle is None else f"handle {row.handle}, "
    return [
        ("found" if alone else verdict_of(item.incident).lower(), item.incident.what),
        ("process", cut(f"{handle}pid {row.pid}   {row.masked_command_line}", _WIDTH)),
        ("lived", _lived(row)),
        ("seen", _SEEN[item.phase]),
        ("sandbox", item.sandbox),
        ("try", hint_of(rule)),
    ]


def _lived(row: ProcessInfo) -> str:
    since = f"since {moment(row.started_at)}"
    if row.lifetime is not None and row.ended_at is not None:
        lifetime = seconds(row.lifetime.total_seconds())
        since = f"{lifetime}, {moment(row.started_at)} to {moment(row.ended_at)}"
    return f"{since} (sandbox clock, UTC)"
