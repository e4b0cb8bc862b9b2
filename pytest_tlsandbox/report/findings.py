"""What was found and what was not watched, in the words that the terminal and the page share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_tlsandbox.formatting.processes import list_texts
from pytest_tlsandbox.formatting.text import count

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

ALLOWED = "allowed"
"""What stands in the place of a verdict where the finding was meant."""


def tell_findings(
    findings: Iterable[Mapping[str, Any]],
) -> Iterator[tuple[str, str, str, str]]:
    """Give for each finding: what it is, where, the process, what happened."""
    for finding in findings:
        where = f"{finding['test']} ({finding['phase']})" if finding["test"] else ""
        if finding["allowed"] is not None:
            what = f"{finding['verdict']}, allowed: {finding['allowed']}"
            yield ALLOWED, where or finding["sandbox"], finding["name"], what
        else:
            where = where or f"{finding['sandbox']}, in no test"
            yield finding["verdict"], where, finding["name"], finding["what"]


def tell_unknown_ends(ends: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str, str, str]]:
    """Give a row for ends that the sandbox lost, as those of findings: nobody answers for them."""
    if ends:
        names = list_texts([str(end["name"]) for end in ends])
        sandboxes = ", ".join(dict.fromkeys(str(end["sandbox"]) for end in ends))
        yield f"{count(len(ends), 'end')} unknown", sandboxes, names, ""


def tell_gap(gap: Mapping[str, Any], label: str) -> tuple[str, str, str, str]:
    """Give of a time in which a sandbox was not watched the same; ``label`` is the sandbox's."""
    end = gap["to_test"] or "the end"
    span = f"{label}, from {gap['from_test'] or 'the start'} to {end}"
    return "Not watched", f"{span}, {count(gap['tests'], 'test')}", "", gap["why"]
