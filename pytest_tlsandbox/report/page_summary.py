"""What the page of a report says in words: one line, then a list. All of it without a script."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

from pytest_tlsandbox.formatting.text import printable
from pytest_tlsandbox.formatting.words import capitalized, count, seconds
from pytest_tlsandbox.monitoring.summary_rows import ALLOWED, finding_rows, gap_row
from pytest_tlsandbox.report.timeline_rows import went_wrong

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    Data = Mapping[str, Any]
    """A part of the report, or of its picture."""

_MOST_LINES = 8
_MOST_LINKS = 8
_MOST_NAMED = 3
_NOT_GOOD = ("failed", "error", "crashed")
_VERBS = {
    "oom": ("was", "were", "OOM-killed"),
    "crash": ("", "", "crashed"),
    "restart": ("was", "were", "restarted"),
    "unhealthy": ("was", "were", "unhealthy"),
    "leak": ("was", "were", "left running"),
}


def headline(document: Data, picture: Data) -> str:
    """Say in a sentence or two what happened."""
    tests = document["tests"]
    failed = sum(test["outcome"] in _NOT_GOOD for test in tests)
    number = count(len(tests), "test")
    said = [f"{failed} of {number} failed." if failed else f"{number}, none failed."]
    wrong = [(called, row) for called, row in _rows(picture) if went_wrong(row)]
    # Rows with most trouble are named, where not all can be.
    wrong.sort(key=lambda named: -sum(named[1]["totals"].values()))
    shown = len(wrong) if len(wrong) <= _MOST_NAMED else 1
    told = [f"{called} {_happened(row)}" for called, row in wrong[:shown]]
    if others := [row for _, row in wrong[shown:]]:
        told.append(f"of {len(others)} others, {_listed([*_counted(others)])}")
    if told:
        said.append("; ".join(told) + ".")
    else:
        seen = sum(len(row["bars"]) for _, row in _rows(picture))
        nothing = f"Nothing was seen to go wrong with {count(seen, 'process')}."
        said.append(nothing if seen else "No process was seen.")
    if document["gaps"]:
        said.append("A sandbox was not watched for a time.")
    lost = [worker["id"] for worker in document["workers"] if worker["lost"]]
    if lost:
        said.append(f"{_listed(lost)} died.")
    elif not document["complete"]:
        said.append("The run was broken off.")
    return " ".join(said)


def about(document: Data, picture: Data) -> str:
    """Say what run it was."""
    names = [section["name"] for section in picture["sections"]]
    more = " ..." if len(names) > _MOST_NAMED else ""
    rules = ", ".join(document["guard"]["rules"])
    guard = f"guard: {rules}" if rules else "no guard"
    began = document["started_at"]
    parts = [
        ", ".join(names[:_MOST_NAMED]) + more or "no sandbox",
        f"{began[:10]} {began[11:19]} UTC",
        seconds(picture["span"] / 1000),
        count(len(document["workers"]), "worker") if document["workers"] else "",
        count(len(document["processes"]), "process"),
        guard + (", report only" if document["guard"]["report_only"] else ""),
        f"exit status {document['exit_status']}",
    ]
    return " \u00b7 ".join(filter(None, parts))


def found(document: Data, picture: Data) -> str:
    """List findings, tests that failed, what was not seen, what no rule judged, what was allowed.

    As HTML; each leads to its place in the picture.
    """
    findings = [*_findings(document, picture)]
    lines = [line for verdict, line in findings if verdict != ALLOWED]
    lines += [*_failed(document), *_unseen(document, picture), *_unjudged(picture)]
    lines += [line for verdict, line in findings if verdict == ALLOWED]
    shown, more = lines[:_MOST_LINES], lines[_MOST_LINES:]
    text = f'<dl class="found">{"".join(shown)}</dl>' if shown else ""
    if more:
        rest = f'<dl class="found">{"".join(more)}</dl>'
        text += f"<details><summary>and {len(more)} more</summary>{rest}</details>"
    return text


# ----------------------------------------------------------------- sentences


def _happened(row: Data) -> str:
    """Say what happened to the process of a row, and how often."""
    parts = []
    for kind, number in row["totals"].items():
        times = f" {number} times" if number > 1 else ""
        parts.append(_was(kind, 1) + times)
    return _listed(parts)


def _counted(rows: Sequence[Data]) -> Iterator[str]:
    """Say to how many processes each thing happened."""
    for kind in _VERBS:
        number = sum(kind in row["totals"] for row in rows)
        if number:
            yield f"{number} {_was(kind, number)}"


def _was(kind: str, number: int) -> str:
    was, were, what = _VERBS[kind]
    return f"{was if number == 1 else were} {what}".strip()


def _listed(parts: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))


def _rows(picture: Data) -> Iterator[tuple[str, Data]]:
    """Give each row with what its process is called; one name may be that of many."""
    several = len(picture["sections"]) > 1
    for section in picture["sections"]:
        for row in section["rows"]:
            called = (
                row["name"] if row["managed"] else f"{row['name']} (pid {row['bars'][0]['pid']})"
            )
            yield called + (f" in {section['name']}" if several else ""), row


# --------------------------------------------------------------------- lines


def _findings(document: Data, picture: Data) -> Iterator[tuple[str, str]]:
    """Tell each finding, with its verdict; of several of one kind about one process, their tests."""
    findings = document["findings"]
    told = [*finding_rows(findings)]
    loose = set(range(len(told)))
    for called, row, first in _placed(picture):
        groups: dict[str, dict[int, str]] = {}
        for place, bar in enumerate(row["bars"], first):
            for number in bar["findings"]:
                groups.setdefault(told[number][0], {})[number] = f"#p{place}"
        for verdict, places in groups.items():
            loose -= places.keys()
            if len(places) == 1:
                [(number, anchor)] = places.items()
                text = _link(anchor, ": ".join(told[number][1:]))
            else:
                tests: dict[str, str] = {}
                for number, anchor in places.items():
                    tests.setdefault(findings[number]["test"] or "no test", anchor)
                text = _some(called, [*tests.items()])
            yield verdict, _line(verdict, text)
    for number in sorted(loose):  # about what is not in the picture
        verdict, *rest = told[number]
        yield verdict, _line(verdict, html.escape(printable(": ".join(rest))))


def _failed(document: Data) -> Iterator[str]:
    failed = [
        (test["id"], f"#t{number}")
        for number, test in enumerate(document["tests"])
        if test["outcome"] in _NOT_GOOD
    ]
    if failed:
        yield _line("Failed", _some(count(len(failed), "test"), failed))
    for name in document["collection_errors"]:
        yield _line("Not collected", html.escape(printable(name)))


def _unseen(document: Data, picture: Data) -> Iterator[str]:
    labels = {box["name"]: box["label"] for box in document["sandboxes"]}
    for gap in document["gaps"]:
        verdict, where, _, why = gap_row(gap, labels.get(gap["sandbox"], gap["sandbox"]))
        yield _line(verdict, html.escape(printable(f"{where}: {why}")))
    for section in picture["sections"]:
        for outage in section["outages"]:
            where = f"{section['name']}, from {outage['test'] or 'outside of every test'}"
            yield _line("No answer", html.escape(f"{where}: {outage['faults']}"))


def _unjudged(picture: Data) -> Iterator[str]:
    """Tell what is marked in the picture and is no finding: there was no such rule."""
    for called, row, first in _placed(picture):
        if row["marks"] and not any(bar["findings"] for bar in row["bars"]):
            yield _line(
                "Seen", _link(f"#p{first}", f"{called} {_happened(row)}; no rule judged it")
            )


def _placed(picture: Data) -> Iterator[tuple[str, Data, int]]:
    """Give each row with the number of its first bar, as the script counts them."""
    first = 0
    for called, row in _rows(picture):
        yield called, row, first
        first += len(row["bars"])


def _some(what: str, tests: Sequence[tuple[str, str]]) -> str:
    """Give links to tests, as many as there is room for; a file that all are in is named once."""
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


def _line(verdict: str, text: str) -> str:
    faint = verdict in (ALLOWED, "Seen", "No answer")
    verdict = html.escape(printable(capitalized(verdict)))
    return f'<div class="{"faint" if faint else "wrong"}"><dt>{verdict}</dt><dd>{text}</dd></div>'
