"""Describe findings and gaps as text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_tlsandbox.formatting.text import count

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

ALLOWED = "allowed"
"""The first cell in the row of an allowed finding; other rows begin with the kind of finding."""


def finding_rows(findings: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, str, str, str]]:
    """Yield a row for each finding.

    Yields:
        Four texts: the kind of finding, the place, the process, and what happened. If the finding
        is allowed, the first text is ``ALLOWED``. The place is the test to which the finding
        belongs. If the finding does not belong to a test, the place is the sandbox.

    """
    for finding in findings:
        where = f"{finding['test']} ({finding['phase']})" if finding["test"] else ""
        if finding["allowed"] is not None:
            what = f"{finding['verdict']}, allowed: {finding['allowed']}"
            yield ALLOWED, where or finding["sandbox"], finding["name"], what
        else:
            where = where or f"{finding['sandbox']}, in no test"
            yield finding["verdict"], where, finding["name"], finding["what"]


def describe_gap(gap: Mapping[str, Any], label: str) -> str:
    """Describe a gap by its sandbox, its range of tests, and its reason."""
    end = gap["to_test"] or "the end"
    tests = count(gap["tests"], "test")
    return f"{label}, from {gap['from_test'] or 'the start'} to {end}, {tests}: {gap['why']}"
