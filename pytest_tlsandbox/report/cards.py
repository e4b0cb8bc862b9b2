"""Group the failures of a session by their cause, and explain each cause on one card.

A card contains the findings of a process and of its restarts. The card also contains the failed
tests that name this process as their cause. The worst card comes first.
"""

from __future__ import annotations

import html
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pytest_tlsandbox.formatting.text import capitalized, count, seconds
from pytest_tlsandbox.monitoring.summary_rows import describe_gap
from pytest_tlsandbox.report.timeline import page_text

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    Data = Mapping[str, Any]
    """A part of the report, or of its timeline."""

_BAD_OUTCOMES = ("failed", "error", "crashed")
_MOST_CARDS = 8
_MOST_TESTS = 6
_MOST_LINES = 4
_MOST_FACTS = 3
_MOST_NAMED = 3
_KINDS = ("sandbox", "oom", "crash", "exit", "unhealthy", "restart", "leak", "none")
"""The kinds of causes, worst first."""
_BADNESS = _KINDS.index


@dataclass
class Card:
    """One cause, with everything that it explains.

    Attributes:
        kind: one of the kinds of causes.
        what: what happened.
        process: the name of the process or the sandbox; "" if there is none.
        pids: the ids of the processes, in the order in which they started.
        anchor: the fragment of the link to the process; None if the timeline does not show it.
        facts: sentences about what happened before and after.
        tests: the numbers of the failed tests.
        output: the last lines that the process wrote; None if its output was not read.
        runs: for each process to which something happened, by id and number of the run: the kind,
            and the finding or the cause.
        verdicts: how often each rule found something, worst first.
        faint: whether nothing failed because of this cause.

    """

    kind: str
    what: str = ""
    process: str = ""
    pids: list[int] = field(default_factory=list)
    anchor: str | None = None
    facts: list[str] = field(default_factory=list)
    tests: list[int] = field(default_factory=list)
    output: list[str] | None = None
    runs: dict[tuple[str, int | None], tuple[str, Data]] = field(default_factory=dict)
    verdicts: dict[str, int] = field(default_factory=dict)
    faint: bool = False


def cards_of(document: Data, timeline: Data) -> list[Card]:
    """Return the cards of a report, the worst first."""
    places = _places(timeline)
    cards: dict[object, Card] = {}

    def card(kind: str, process: str | None, otherwise: object) -> Card:
        key = places[process][2] if process in places else (process or otherwise)
        found = cards.setdefault(key, Card(kind))
        found.kind = min(found.kind, kind, key=_BADNESS)
        return found

    for finding in sorted(_found(document), key=lambda finding: _BADNESS(finding["rule"])):
        found = card(finding["rule"], finding["process"], None)
        run = (finding["process"], finding["run"])
        found.runs.setdefault(run, (finding["rule"], finding))
        verdict = finding["verdict"]
        found.verdicts[verdict] = found.verdicts.get(verdict, 0) + 1
        found.process = found.process or finding["name"]
    for number, test in enumerate(document["tests"]):
        if test["outcome"] in _BAD_OUTCOMES:
            cause = test["cause"] or {"kind": "none", "process": None, "name": None, "run": None}
            found = card(cause["kind"], cause["process"], (cause["name"], _line_of(test)))
            found.tests.append(number)
            found.process = found.process or cause["name"] or ""
            run = (cause["process"], cause["run"])
            known, _ = found.runs.get(run, ("none", None))
            if cause["process"] and _BADNESS(cause["kind"]) < _BADNESS(known):
                found.runs[run] = (cause["kind"], cause)
    for found in cards.values():
        _describe(found, document, places)
    order = sorted(cards.values(), key=lambda card: (not card.tests, _BADNESS(card.kind)))
    explained = {process for card in cards.values() for process, _ in card.runs}
    others = _other_incidents(document, explained, places)
    return [*order, *_unmonitored(document, timeline), *others]


def _found(document: Data) -> Iterator[Data]:
    """Yield the findings that are not allowed, and other incidents that made a test fail."""
    known = {(each["process"], each["run"], each["rule"]) for each in document["findings"]}
    causes = {test["cause"]["process"] for test in document["tests"] if test["cause"]}
    for finding in document["findings"]:
        if finding["allowed"] is None:
            yield finding
    for each in document["incidents"]:
        key = (each["process"], each["run"], each["rule"])
        if each["process"] in causes and key not in known:
            yield each


def headline(document: Data, cards: Iterable[Card], timeline: Data) -> str:
    """Return one or two sentences that name the causes of the failures."""
    tests = document["tests"]
    failed = sum(test["outcome"] in _BAD_OUTCOMES for test in tests)
    number = count(len(tests), "test")
    causes = [card for card in cards if not card.faint and card.kind in _KINDS]
    sentences = [f"{number}, none failed" if tests else "No test ran"]
    if failed:
        sentences = [
            f"{failed} of {number} failed",
            *_causes([card for card in causes if card.tests]),
        ]
    if others := _causes([card for card in causes if not card.tests]):
        sentences += ["Not in a failed test: " + ", ".join(others)] if failed else others
    if not causes:
        runs = sum(len(row["bars"]) for section in timeline["sections"] for row in section["rows"])
        sentences.append(
            f"No incident in {count(runs, 'process')}" if runs else "No process was seen"
        )
    if document["gaps"]:
        sentences.append("A sandbox was not monitored for some time")
    lost = [worker["id"] for worker in document["workers"] if worker["lost"]]
    if lost:
        sentences.append(f"{_join(lost)} died")
    elif not document["complete"]:
        sentences.append("The run was broken off")
    return ". ".join(sentences) + "."


def list_of_cards(document: Data, cards: Sequence[Card]) -> str:
    """Return the cards as an HTML list; cards after the eighth are folded."""
    items = [_item(card, document) for card in cards]
    shown, more = items[:_MOST_CARDS], items[_MOST_CARDS:]
    text = f'<ol class="cards">{"".join(shown)}</ol>' if shown else ""
    if more:
        rest = f'<ol class="cards">{"".join(more)}</ol>'
        text += f"<details><summary>and {len(more)} more</summary>{rest}</details>"
    return text


# ------------------------------------------------------------------- contents


def _places(timeline: Data) -> dict[str | None, tuple[str, Data, int, Data | None]]:
    """Find each process in the timeline.

    Returns:
        For each process: the anchor of its bar, which the script of the page numbers in the same
        way, the bar, the number of its row, and the next bar in this row.

    """
    places: dict[str | None, tuple[str, Data, int, Data | None]] = {}
    rows = [row for section in timeline["sections"] for row in section["rows"]]
    for number, row in enumerate(rows):
        for bar, after in zip(row["bars"], [*row["bars"][1:], None], strict=True):
            places[bar["id"]] = (f"#p{len(places)}", bar, number, after)
    return places


def _describe(card: Card, document: Data, places: Mapping[Any, Any]) -> None:
    """Complete a card with facts about each run that has an incident of the worst kind."""
    worst = [process for (process, _), (kind, _) in card.runs.items() if kind == card.kind]
    known = [places[process] for process in dict.fromkeys(worst) if process in places]
    known.sort(key=lambda place: float(place[1]["from"]))
    card.process = page_text(card.process)
    if known:
        card.process, card.anchor = known[0][1]["name"], known[0][0]
        card.pids = [bar["pid"] for _, bar, _, _ in known]
        outputs = [bar["output"] and bar["output"]["lines"] for _, bar, _, _ in known]
        # Nothing is said about output that was not read, or only partly.
        card.output = next(filter(None, outputs), None if None in outputs else [])
    found = [run for kind, run in card.runs.values() if kind == card.kind and "verdict" in run]
    if found:
        card.what = _what(card, found)
    elif card.kind == "none":
        card.what = _line_of(document["tests"][card.tests[0]]) or "Failed"
        card.facts.append("No process failed.")
    elif card.kind == "sandbox":
        card.what = "Sandbox unreachable"
    elif known:
        card.what = capitalized(known[0][1]["state"])
    if not known:
        card.facts += {page_text(run["what"]) for _, run in card.runs.values() if "what" in run}
    card.facts += [_life(*place, several=len(known) > 1) for place in known[:_MOST_FACTS]]
    if card.kind == "oom" and known and (limit := _memory_limit(document, known[0][1]["id"])):
        card.facts.append(f"memory limit of the sandbox: {limit / 2**20:.0f} MiB")


def _what(card: Card, found: Sequence[Data]) -> str:
    """Return a short description of what happened.

    If only one run has an incident of the worst kind, the description is the headline of this
    incident. Otherwise, the description contains the number of incidents of each kind.
    """
    if len(found) == 1 and "headline" in found[0]:
        return page_text(str(found[0]["headline"]).rpartition(": ")[0])
    times = [what + (f" {n} times" if n > 1 else "") for what, n in card.verdicts.items()]
    return ", ".join([times[0], *(text[0].lower() + text[1:] for text in times[1:])])


def _life(_anchor: str, bar: Data, _row: int, after: Data | None, *, several: bool) -> str:
    text = f"pid {bar['pid']} " if several else ""
    text += "ran" if bar["ended"] != "open" else "still ran"
    if bar["begun"] == bar["ended"] == "sandbox":  # both by one clock
        text += f" {seconds((bar['to'] - bar['from']) / 1000)}"
    if bar["test"]:
        text += f", started in {bar['test'].rpartition('::')[2]}"
    if after is not None:
        pause = seconds(max(0, after["from"] - bar["to"]) / 1000)
        text += f"; restarted {pause} later as pid {after['pid']}"
    return text


def _memory_limit(document: Data, process: str) -> int | None:
    limits = {box["name"]: box["memory_limit"] for box in document["sandboxes"]}
    sandboxes = (each["sandbox"] for each in document["processes"] if each["id"] == process)
    return limits.get(next(sandboxes))


def _line_of(test: Data) -> str:
    failure = test.get("failure")
    return page_text(failure["line"]) if failure else ""


def _unmonitored(document: Data, timeline: Data) -> Iterator[Card]:
    """Yield cards for tests that were not collected, and for intervals without data."""
    for name in document["collection_errors"]:
        yield Card("collection", "Not collected", page_text(name))
    labels = {box["name"]: box["label"] for box in document["sandboxes"]}
    for gap in document["gaps"]:
        label = labels.get(gap["sandbox"], gap["sandbox"])
        text = describe_gap(gap, label).removeprefix(f"{label}, ")
        yield Card("gap", "Not monitored", page_text(label), facts=[page_text(text)])
    for section in timeline["sections"]:
        for outage in section["outages"]:
            where = f"from {outage['test'] or 'outside of every test'}: {outage['faults']}"
            yield Card("outage", "No answer", section["name"], facts=[where], faint=True)


def _other_incidents(
    document: Data, explained: Collection[str], places: Mapping[Any, Any]
) -> Iterator[Card]:
    """Yield cards for allowed findings, and for incidents that no rule reports."""
    findings = [finding for finding in document["findings"] if finding["allowed"] is not None]
    known = {(each["process"], each["rule"]) for each in findings}
    seen = [each for each in document["incidents"] if (each["process"], each["rule"]) not in known]
    for each in [*(each for each in seen if each["process"] not in explained), *findings]:
        place = places.get(each["process"])
        allowed = each.get("allowed")
        what = each["verdict"] + (", reported by no rule" if allowed is None else ", allowed")
        yield Card(
            each["rule"], what, page_text(each["name"]), anchor=place and place[0],
            facts=[page_text(allowed)] if allowed else [], faint=True,
        )  # fmt: skip


# ------------------------------------------------------------------ sentences


def _causes(cards: Sequence[Card]) -> list[str]:
    """Name the causes of a few cards with their processes, and count the causes of many cards."""
    texts = ["No process failed" if card.kind == "none" else card.what for card in cards]
    if len(cards) <= _MOST_NAMED:
        named = zip(texts, cards, strict=True)
        return [
            *dict.fromkeys(f"{what}: {card.process}".removesuffix(": ") for what, card in named)
        ]
    return [f"{what} ({n})" if n > 1 else what for what, n in Counter(texts).items()]


def _join(parts: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))


# ----------------------------------------------------------------------- HTML


def _item(card: Card, document: Data) -> str:
    name = f"<bdi>{html.escape(card.process)}</bdi>"
    if card.pids:
        more = f" and {len(card.pids) - _MOST_FACTS} more" if len(card.pids) > _MOST_FACTS else ""
        pids = ", ".join(map(str, card.pids[:_MOST_FACTS]))
        name += f" (pid{'s' * (len(card.pids) > 1)} {pids}{more})"
    if card.anchor:
        name = f'<a href="{card.anchor}">{name}</a>'
    parts = [f'<h2><span class="what">{html.escape(card.what)}</span> {name}</h2>']
    if card.output:
        text = "\n".join(card.output[-_MOST_LINES:])
        parts.append(f'<pre dir="ltr">{html.escape(text)}</pre>')
    links = [_test(number, document["tests"][number], card.what) for number in card.tests]
    if more_links := links[_MOST_TESTS:]:
        rest = f"<summary>and {len(more_links)} more tests</summary><ul>{''.join(more_links)}</ul>"
        links[_MOST_TESTS:] = [f"<li><details>{rest}</details></li>"]
    parts += [f"<ul>{''.join(links)}</ul>"] if links else []
    facts = [*card.facts]
    if card.anchor and not card.faint and not card.output:
        facts.append("Its output was not read." if card.output is None else "It wrote nothing.")
    parts += [f"<p>{html.escape(fact)}</p>" for fact in facts]
    return f'<li class="{"faint " if card.faint else ""}{card.kind}">{"".join(parts)}</li>'


def _test(number: int, test: Data, what: str) -> str:
    line = "" if _line_of(test) == what else html.escape(_line_of(test))
    name = html.escape(page_text(test["id"]).rpartition("::")[2])
    title = html.escape(page_text(test["id"]))
    verb = {"failed": "failed", "error": "error in", "crashed": "its worker died:"}[test["outcome"]]
    return (
        f'<li>{verb} <a href="#t{number}" title="{title}"><bdi>{name}</bdi></a>'
        + (f': <span class="line">{line}</span>' if line else "")
        + "</li>"
    )
