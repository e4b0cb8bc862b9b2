"""Findings and gaps as rows of text, which the terminal and the page of the report share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_tlsandbox.formatting.processes import list_texts
from pytest_tlsandbox.formatting.text import count

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

ALLOWED = "allowed"
"""The first text in the row of an allowed finding; other rows begin with the verdict."""


def finding_rows(
    findings: Iterable[Mapping[str, Any]],
) -> Iterator[tuple[str, str, str, str]]:
    """Return a row for each finding: the verdict, the place, the process, what happened."""
    for finding in findings:
        where = f"{finding['test']} ({finding['phase']})" if finding["test"] else ""
        if finding["allowed"] is not None:
            what = f"{finding['verdict']}, allowed: {finding['allowed']}"
            yield ALLOWED, where or finding["sandbox"], finding["name"], what
        else:
            where = where or f"{finding['sandbox']}, in no test"
            yield finding["verdict"], where, finding["name"], finding["what"]


def unknown_end_rows(ends: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str, str, str]]:
    """Return a row for ends that the sandbox lost, for which no test fails."""
    if ends:
        names = list_texts([str(end["name"]) for end in ends])
        sandboxes = ", ".join(dict.fromkeys(str(end["sandbox"]) for end in ends))
        yield f"{count(len(ends), 'end')} unknown", sandboxes, names, ""


def gap_row(gap: Mapping[str, Any], label: str) -> tuple[str, str, str, str]:
    """Return the row of an interval in which a sandbox was not monitored."""
    end = gap["to_test"] or "the end"
    span = f"{label}, from {gap['from_test'] or 'the start'} to {end}"
    return "Not watched", f"{span}, {count(gap['tests'], 'test')}", "", gap["why"]
