"""A report as one page for people: findings in words, and below them the picture.

The page is one file and asks for nothing: its policy allows its own style and its own script, by
their hashes, and no other. What is from the run reaches it as escaped text, or as JSON from which
the script makes text. Without the script, the words remain.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from importlib import resources
from string import Template
from typing import TYPE_CHECKING, Any

from pytest_tlsandbox.messages.text import printable
from pytest_tlsandbox.messages.words import capitalized, count, seconds
from pytest_tlsandbox.report.picture import picture_of
from pytest_tlsandbox.report.told import ALLOWED, tell_findings, tell_gap

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

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


def page_of(document: Mapping[str, Any]) -> str:
    """Give the page of a report."""
    picture = picture_of(document)
    places = _places(picture)
    picture["told"] = [
        printable(": ".join(filter(None, parts))) for parts in tell_findings(document["findings"])
    ]
    style = _file("timeline.css")
    script = _file("timeline-draw.js") + _file("timeline-act.js")
    headline = _headline(document, picture)
    return Template(_file("timeline.html")).substitute(
        policy=f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; "
        "img-src data:; base-uri 'none'; form-action 'none'",
        title=html.escape(headline),
        style=style,
        headline=html.escape(headline),
        about=html.escape(_about(document, picture)),
        found=_found(document, picture, places),
        data=_as_data(picture),
        script=script,
    )


def _file(name: str) -> str:
    return (resources.files(__package__) / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _as_data(value: object) -> str:
    """Give JSON that can end neither its element nor a line of the script it stands in."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text


def _places(picture: Mapping[str, Any]) -> dict[int, str]:
    """Give for each finding the anchor of its bar; number the bars, as the script does."""
    places: dict[int, str] = {}
    bars = (
        bar for section in picture["sections"] for row in section["rows"] for bar in row["bars"]
    )
    for number, bar in enumerate(bars):
        bar["number"] = number
        places.update(dict.fromkeys(bar["findings"], f"#p{number}"))
    return places


# ------------------------------------------------------------------ in words


def _headline(document: Mapping[str, Any], picture: Mapping[str, Any]) -> str:
    """Say in a sentence or two what happened."""
    tests = document["tests"]
    failed = sum(test["outcome"] in _NOT_GOOD for test in tests)
    if failed:
        said = [f"{failed} of {count(len(tests), 'test')} failed."]
    else:
        said = [f"{count(len(tests), 'test')}, none failed."]
    wrong = [row for row in _rows(picture) if any(not mark["allowed"] for mark in row["marks"])]
    named = wrong
    if len(wrong) > _MOST_NAMED:
        named = [max(wrong, key=lambda row: sum(row["totals"].values()))]
    told = [f"{row['called']} {_happened(row)}" for row in named]
    if others := [row for row in wrong if row not in named]:
        told.append(f"of {len(others)} others, {_listed([*_counted(others)])}")
    if told:
        said.append("; ".join(told) + ".")
    else:
        seen = sum(len(row["bars"]) for row in _rows(picture))
        nothing = f"Nothing was seen to go wrong with {count(seen, 'process')}."
        said.append(nothing if seen else "No process was seen.")
    if document["gaps"]:
        said.append("A sandbox was not watched for a time.")
    if not document["complete"]:
        said.append("The run was broken off.")
    return " ".join(said)


def _happened(row: Mapping[str, Any]) -> str:
    """Say what happened to the process of a row, and how often."""
    parts = []
    for kind, number in row["totals"].items():
        times = f" {number} times" if number > 1 else ""
        parts.append(_was(kind, 1) + times)
    return _listed(parts)


def _counted(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
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


def _about(document: Mapping[str, Any], picture: Mapping[str, Any]) -> str:
    names = [box["label"] for box in document["sandboxes"]]
    rules = ", ".join(document["guard"]["rules"])
    shown = ", ".join(names[:_MOST_NAMED]) + (" ..." if len(names) > _MOST_NAMED else "")
    guard = f"guard: {rules}" if rules else "no guard"
    if document["guard"]["report_only"]:
        guard += ", report only"
    began = document["started_at"]
    parts = [
        printable(shown) or "no sandbox",
        f"{began[:10]} {began[11:19]} UTC",
        seconds(picture["span"] / 1000),
        count(len(document["processes"]), "process"),
        guard,
        f"exit status {document['exit_status']}",
    ]
    if document["workers"]:
        parts.insert(2, count(len(document["workers"]), "worker"))
    return " \u00b7 ".join(parts)


def _found(
    document: Mapping[str, Any], picture: Mapping[str, Any], places: Mapping[int, str]
) -> str:
    """Give the list of what went wrong: findings, gaps, what no rule judged, tests that failed."""
    found = [*_findings(document, picture, places)]
    lines = [line for verdict, line in found if verdict != ALLOWED]
    lines += [*_failed(document), *_gaps(document, picture), *_unjudged(picture)]
    lines += [line for verdict, line in found if verdict == ALLOWED]
    if not lines:
        return ""
    shown, more = lines[:_MOST_LINES], lines[_MOST_LINES:]
    text = f'<dl class="found">{"".join(shown)}</dl>'
    if more:
        rest = f'<dl class="found">{"".join(more)}</dl>'
        text += f"<details><summary>and {len(more)} more</summary>{rest}</details>"
    return text


def _findings(
    document: Mapping[str, Any], picture: Mapping[str, Any], places: Mapping[int, str]
) -> Iterator[tuple[str, str]]:
    """Tell each finding, with its verdict; of several of one kind about one process, the tests alone."""
    findings = document["findings"]
    told = [*tell_findings(findings)]
    groups: dict[tuple[str, int], list[int]] = {}
    for row_number, row in enumerate(_rows(picture)):
        for bar in row["bars"]:
            for number in bar["findings"]:
                groups.setdefault((told[number][0], row_number), []).append(number)
    names = [row["called"] for row in _rows(picture)]
    for (verdict, row_number), numbers in groups.items():
        style = ALLOWED if verdict == ALLOWED else "wrong"
        if len(numbers) == 1:
            number = numbers[0]
            text = _link(places[number], ": ".join(told[number][1:]))
        else:
            tests: dict[str, str] = {}
            for number in numbers:
                tests.setdefault(findings[number]["test"] or "no test", places[number])
            what = f"{names[row_number]}, found {len(numbers)} times"
            text = _some(what, [*tests.items()])
        yield verdict, _line(capitalized(verdict), text, style)
    for parts in (told[number] for number in range(len(told)) if number not in places):
        text = html.escape(printable(": ".join(parts[1:])))  # of what is not in the picture
        yield parts[0], _line(capitalized(parts[0]), text)


def _failed(document: Mapping[str, Any]) -> Iterator[str]:
    failed = [
        (test["id"], f"#t{number}")
        for number, test in enumerate(document["tests"])
        if test["outcome"] in _NOT_GOOD
    ]
    if failed:
        yield _line("Failed", _some(count(len(failed), "test"), failed))


def _unjudged(picture: Mapping[str, Any]) -> Iterator[str]:
    """Tell what is marked in the picture and is no finding: there was no such rule."""
    for row in _rows(picture):
        if row["marks"] and not any(bar["findings"] for bar in row["bars"]):
            text = f"{row['called']} {_happened(row)}; no rule judged it"
            yield _line("Seen", _link(f"#p{row['bars'][0]['number']}", text), "seen")


def _gaps(document: Mapping[str, Any], picture: Mapping[str, Any]) -> Iterator[str]:
    labels = {box["name"]: box["label"] for box in document["sandboxes"]}
    for gap in document["gaps"]:
        verdict, where, _, why = tell_gap(gap, labels.get(gap["sandbox"], gap["sandbox"]))
        yield _line(verdict, html.escape(printable(f"{where}: {why}")))
    for section in picture["sections"]:
        for outage in section["outages"]:
            where = f"{section['name']}, from {outage['test'] or 'outside of every test'}"
            yield _line("No answer", html.escape(f"{where}: {outage['faults']}"), "seen")


def _rows(picture: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    return (row for section in picture["sections"] for row in section["rows"])


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


def _line(verdict: str, text: str, style: str = "wrong") -> str:
    return f'<div class="{style}"><dt>{html.escape(verdict)}</dt><dd>{text}</dd></div>'
