"""Create the parts of the page that do not need a script, such as the headline."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

from pytest_tlsandbox.formatting.text import capitalized, count, printable, seconds
from pytest_tlsandbox.monitoring.summary_rows import ALLOWED, describe_gap, finding_rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    Data = Mapping[str, Any]
    """A part of the report, or of its timeline."""

_MOST_LINES = 8
_MOST_LINKS = 8
_MOST_NAMED = 3
_BAD_OUTCOMES = ("failed", "error", "crashed")
_VERBS = {
    "oom": "OOM-killed",
    "crash": "crashed",
    "restart": "restarted",
    "unhealthy": "unhealthy",
    "leak": "left running",
}


def headline(document: Data, timeline: Data) -> str:
    """Return one or two sentences that summarize the session."""
    tests = document["tests"]
    failed = sum(test["outcome"] in _BAD_OUTCOMES for test in tests)
    number = count(len(tests), "test")
    sentences = [f"{failed} of {number} failed." if failed else f"{number}, none failed."]
    wrong = [(name, row) for name, row in _rows(timeline) if row["wrong"]]
    # If not all rows can be named, name the rows with the most incidents.
    wrong.sort(key=lambda named: -sum(named[1]["totals"].values()))
    shown = len(wrong) if len(wrong) <= _MOST_NAMED else 1
    texts = [f"{name} {_incidents_of(row)}" for name, row in wrong[:shown]]
    if others := [row for _, row in wrong[shown:]]:
        texts.append(f"of {len(others)} others, {_join([*_incident_counts(others)])}")
    if texts:
        sentences.append("; ".join(texts) + ".")
    else:
        seen = sum(len(row["bars"]) for _, row in _rows(timeline))
        nothing = f"Nothing was seen to go wrong with {count(seen, 'process')}."
        sentences.append(nothing if seen else "No process was seen.")
    if document["gaps"]:
        sentences.append("A sandbox was not monitored for some time.")
    lost = [worker["id"] for worker in document["workers"] if worker["lost"]]
    if lost:
        sentences.append(f"{_join(lost)} died.")
    elif not document["complete"]:
        sentences.append("The run was broken off.")
    return " ".join(sentences)


def describe_run(document: Data, timeline: Data) -> str:
    """Return a line with the sandboxes, time, workers, guard and exit status of the session."""
    names = [section["name"] for section in timeline["sections"]]
    more = " ..." if len(names) > _MOST_NAMED else ""
    rules = ", ".join(document["guard"]["rules"])
    guard = f"guard: {rules}" if rules else "no guard"
    began = document["started_at"]
    parts = [
        ", ".join(names[:_MOST_NAMED]) + more or "no sandbox",
        f"{began[:10]} {began[11:19]} UTC",
        seconds(timeline["span"] / 1000),
        count(len(document["workers"]), "worker") if document["workers"] else "",
        count(len(document["processes"]), "process"),
        guard + (", report only" if document["guard"]["report_only"] else ""),
        f"exit status {document['exit_status']}",
    ]
    return " \u00b7 ".join(filter(None, parts))


def list_of_items(document: Data, timeline: Data) -> str:
    """Return an HTML list of findings, failed tests, gaps and incidents.

    The list ends with two groups: first the incidents that no rule reports, then the allowed
    findings. Each item links to its place in the timeline.
    """
    findings = [*_findings(document, timeline)]
    lines = [line for verdict, line in findings if verdict != ALLOWED]
    lines += [
        *_failed_tests(document),
        *_gaps_and_outages(document, timeline),
        *_incidents_without_rule(timeline),
    ]
    lines += [line for verdict, line in findings if verdict == ALLOWED]
    shown, more = lines[:_MOST_LINES], lines[_MOST_LINES:]
    text = f'<dl class="found">{"".join(shown)}</dl>' if shown else ""
    if more:
        rest = f'<dl class="found">{"".join(more)}</dl>'
        text += f"<details><summary>and {len(more)} more</summary>{rest}</details>"
    return text


# ----------------------------------------------------------------- sentences


def _incidents_of(row: Data) -> str:
    """Describe which kinds of incidents a row shows, and how often each kind happened."""
    parts = []
    for kind, number in row["totals"].items():
        times = f" {number} times" if number > 1 else ""
        parts.append(_verb(kind, 1) + times)
    return _join(parts)


def _incident_counts(rows: Sequence[Data]) -> Iterator[str]:
    """Yield each kind of incident with the number of affected processes."""
    for kind in _VERBS:
        number = sum(kind in row["totals"] for row in rows)
        if number:
            yield f"{number} {_verb(kind, number)}"


def _verb(kind: str, number: int) -> str:
    auxiliary = "" if kind == "crash" else "was " if number == 1 else "were "
    return auxiliary + _VERBS[kind]


def _join(parts: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))


def _rows(timeline: Data) -> Iterator[tuple[str, Data]]:
    """Yield each row together with a name that identifies the process of the row."""
    several = len(timeline["sections"]) > 1
    for section in timeline["sections"]:
        for row in section["rows"]:
            name = row["name"] if row["managed"] else f"{row['name']} (pid {row['bars'][0]['pid']})"
            yield name + (f" in {section['name']}" if several else ""), row


# --------------------------------------------------------------------- lines


def _findings(document: Data, timeline: Data) -> Iterator[tuple[str, str]]:
    """Yield HTML list items for findings.

    Findings of the same kind share one list item if they belong to the same process.
    """
    findings = document["findings"]
    texts = [*finding_rows(findings)]
    loose = set(range(len(texts)))
    for name, row, first in _rows_with_anchors(timeline):
        groups: dict[str, dict[int, str]] = {}
        for place, bar in enumerate(row["bars"], first):
            for number in bar["findings"]:
                groups.setdefault(texts[number][0], {})[number] = f"#p{place}"
        for verdict, places in groups.items():
            loose -= places.keys()
            if len(places) == 1:
                [(number, anchor)] = places.items()
                text = _link(anchor, ": ".join(texts[number][1:]))
            else:
                tests: dict[str, str] = {}
                for number, anchor in places.items():
                    tests.setdefault(findings[number]["test"] or "no test", anchor)
                text = _links(name, [*tests.items()])
            yield verdict, _item(verdict, text)
    for number in sorted(loose):  # findings of processes that are not in the timeline
        verdict, *rest = texts[number]
        yield verdict, _item(verdict, html.escape(printable(": ".join(rest))))


def _failed_tests(document: Data) -> Iterator[str]:
    failed = [
        (test["id"], f"#t{number}")
        for number, test in enumerate(document["tests"])
        if test["outcome"] in _BAD_OUTCOMES
    ]
    if failed:
        yield _item("Failed", _links(count(len(failed), "test"), failed))
    for name in document["collection_errors"]:
        yield _item("Not collected", html.escape(printable(name)))


def _gaps_and_outages(document: Data, timeline: Data) -> Iterator[str]:
    labels = {box["name"]: box["label"] for box in document["sandboxes"]}
    for gap in document["gaps"]:
        text = describe_gap(gap, labels.get(gap["sandbox"], gap["sandbox"]))
        yield _item("Not monitored", html.escape(printable(text)))
    for section in timeline["sections"]:
        for outage in section["outages"]:
            where = f"{section['name']}, from {outage['test'] or 'outside of every test'}"
            yield _item("No answer", html.escape(f"{where}: {outage['faults']}"))


def _incidents_without_rule(timeline: Data) -> Iterator[str]:
    """Yield HTML list items for incidents that no rule reports."""
    for name, row, first in _rows_with_anchors(timeline):
        if row["marks"] and not any(bar["findings"] for bar in row["bars"]):
            yield _item(
                "Seen", _link(f"#p{first}", f"{name} {_incidents_of(row)}; no rule applies to it")
            )


def _rows_with_anchors(timeline: Data) -> Iterator[tuple[str, Data, int]]:
    """Yield each row with its name and the number of its first bar.

    The first bar of the first row has the number 0, and the numbers continue from row to row. The
    page contains a script, which numbers the bars in the same way.
    """
    first = 0
    for name, row in _rows(timeline):
        yield name, row, first
        first += len(row["bars"])


def _links(what: str, tests: Sequence[tuple[str, str]]) -> str:
    """Return links to a limited number of tests.

    If all tests are in one file, the name of the file is shown only once.
    """
    files = {test.partition("::")[0] for test, _ in tests}
    if len(files) == 1 and all("::" in test for test, _ in tests):
        what += f" in {files.pop()}"
        tests = [(test.partition("::")[2], anchor) for test, anchor in tests]
    links = [_link(anchor, test) for test, anchor in tests[:_MOST_LINKS]]
    if len(tests) > _MOST_LINKS:
        links.append(f"and {len(tests) - _MOST_LINKS} more")
    return f"{html.escape(printable(what))}: {', '.join(links)}"


def _link(anchor: str, text: str) -> str:
    return f'<a href="{anchor}">{html.escape(printable(text))}</a>'


def _item(verdict: str, text: str) -> str:
    faint = verdict in (ALLOWED, "Seen", "No answer")
    verdict = html.escape(printable(capitalized(verdict)))
    return f'<div class="{"faint" if faint else "wrong"}"><dt>{verdict}</dt><dd>{text}</dd></div>'
