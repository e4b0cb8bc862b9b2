"""Create the parts of the page that do not need a script, such as the headline."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

from pytest_tlsandbox.formatting.processes import list_texts
from pytest_tlsandbox.formatting.text import capitalized, count, printable, seconds
from pytest_tlsandbox.monitoring.summary_rows import ALLOWED, describe_gap, finding_rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    Data = Mapping[str, Any]
    """A part of the report, or of its timeline."""

_MOST_ITEMS = 8
_MOST_NAMED = 3
_BAD_OUTCOMES = ("failed", "error", "crashed")
_VERBS = {
    "oom": "was OOM-killed",
    "crash": "crashed",
    "restart": "was restarted",
    "unhealthy": "was unhealthy",
    "leak": "was left running",
}


def headline(document: Data, timeline: Data) -> str:
    """Return one or two sentences that summarize the session."""
    failed, number = len(_failed_tests(document)), count(len(document["tests"]), "test")
    sentences = [f"{failed} of {number} failed." if failed else f"{number}, none failed."]
    rows = [*_rows(timeline)]
    wrong = [f"{name} {_incidents_of(row)}" for name, row, _ in rows if row["wrong"]]
    if wrong:
        more = [f"{len(wrong) - _MOST_NAMED} more"] if len(wrong) > _MOST_NAMED else []
        sentences.append("; ".join(wrong[:_MOST_NAMED] + more) + ".")
    elif rows:
        processes = count(sum(len(row["bars"]) for _, row, _ in rows), "process")
        sentences.append(f"Nothing was seen to go wrong with {processes}.")
    else:
        sentences.append("No process was seen.")
    if document["gaps"]:
        sentences.append("A sandbox was not monitored for some time.")
    lost = [worker["id"] for worker in document["workers"] if worker["lost"]]
    if lost:
        sentences.append(f"{_join(lost)} died.")
    elif not document["complete"]:
        sentences.append("The run was broken off.")
    return " ".join(sentences)


def describe_run(document: Data, timeline: Data) -> str:
    """Return a line with the sandboxes, time, processes, guard and exit status of the session."""
    names = list_texts([section["name"] for section in timeline["sections"]])
    rules = ", ".join(document["guard"]["rules"])
    began = document["started_at"]
    parts = [
        names or "no sandbox",
        f"{began[:10]} {began[11:19]} UTC",
        seconds(timeline["span"] / 1000),
        count(len(document["processes"]), "process"),
        f"guard: {rules}" if rules else "no guard",
        f"exit status {document['exit_status']}",
    ]
    return " \u00b7 ".join(parts)


def list_of_items(document: Data, timeline: Data) -> str:
    """Return an HTML list of findings, failed tests, gaps and incidents.

    The list ends with two groups: first the incidents that no rule reports, then the allowed
    findings. Each item links to its place in the timeline.
    """
    findings, allowed = _findings(document, timeline)
    lines = [*findings, *_other_items(document, timeline), *allowed]
    text = f'<dl class="found">{"".join(lines[:_MOST_ITEMS])}</dl>' if lines else ""
    if more := lines[_MOST_ITEMS:]:
        rest = f'<dl class="found">{"".join(more)}</dl>'
        text += f"<details><summary>and {len(more)} more</summary>{rest}</details>"
    return text


def _incidents_of(row: Data) -> str:
    """Describe which kinds of incidents a row shows, and how often each kind happened."""
    return _join(
        [
            _VERBS[kind] + (f" {number} times" if number > 1 else "")
            for kind, number in row["totals"].items()
        ]
    )


def _join(parts: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))


def _rows(timeline: Data) -> Iterator[tuple[str, Data, int]]:
    """Yield each row with a name that identifies its process, and the number of its first bar.

    The first bar of the first row has the number 0, and the numbers continue from row to row. The
    page contains a script, which numbers the bars in the same way.
    """
    first = 0
    several = len(timeline["sections"]) > 1
    for section in timeline["sections"]:
        for row in section["rows"]:
            bar = row["bars"][0]
            name = bar["name"] if row["managed"] else f"{bar['name']} (pid {bar['pid']})"
            yield f"{name} in {section['name']}" if several else name, row, first
            first += len(row["bars"])


def _findings(document: Data, timeline: Data) -> tuple[list[str], list[str]]:
    """Return HTML list items for the findings: those that are not allowed, and the others."""
    anchors = {
        number: f"#p{place}"
        for _, row, first in _rows(timeline)
        for place, bar in enumerate(row["bars"], first)
        for number in bar["findings"]
    }
    findings: list[str] = []
    allowed: list[str] = []
    for number, (verdict, *rest) in enumerate(finding_rows(document["findings"])):
        item = _item(verdict, _link(anchors.get(number), ": ".join(rest)))
        (allowed if verdict == ALLOWED else findings).append(item)
    return findings, allowed


def _failed_tests(document: Data) -> list[str]:
    """Return a link to each failed test."""
    return [
        _link(f"#t{number}", test["id"])
        for number, test in enumerate(document["tests"])
        if test["outcome"] in _BAD_OUTCOMES
    ]


def _other_items(document: Data, timeline: Data) -> Iterator[str]:
    """Yield HTML list items for tests, gaps, outages, and incidents that no rule reports."""
    if links := _failed_tests(document):
        text = f"{count(len(links), 'test')}: {list_texts(links, _MOST_ITEMS)}"
        yield _item("Failed", text)
    for name in document["collection_errors"]:
        yield _item("Not collected", _link(None, name))
    labels = {box["name"]: box["label"] for box in document["sandboxes"]}
    for gap in document["gaps"]:
        text = describe_gap(gap, labels.get(gap["sandbox"], gap["sandbox"]))
        yield _item("Not monitored", _link(None, text))
    for section in timeline["sections"]:
        for outage in section["outages"]:
            where = f"{section['name']}, from {outage['test'] or 'outside of every test'}"
            yield _item("No answer", _link(None, f"{where}: {outage['faults']}"))
    for name, row, first in _rows(timeline):
        if row["marks"] and not any(bar["findings"] for bar in row["bars"]):
            text = f"{name} {_incidents_of(row)}; no rule applies to it"
            yield _item("Seen", _link(f"#p{first}", text))


def _link(anchor: str | None, text: str) -> str:
    """Return a text as HTML, which links to a place in the timeline if there is an anchor."""
    text = html.escape(printable(text))
    return f'<a href="{anchor}">{text}</a>' if anchor else text


def _item(verdict: str, text: str) -> str:
    faint = verdict in (ALLOWED, "Seen", "No answer")
    verdict = html.escape(printable(capitalized(verdict)))
    return f'<div class="{"faint" if faint else "wrong"}"><dt>{verdict}</dt><dd>{text}</dd></div>'
