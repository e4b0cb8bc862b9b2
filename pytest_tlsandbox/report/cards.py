"""Group the failures of a session by their cause, and explain each cause on one card.

A card contains the findings of a process and of its restarts. The card also contains the failed
tests that name this process as their cause. The worst card comes first.
"""

from __future__ import annotations

import html
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, zip_longest
from operator import itemgetter

from pytest_tlsandbox.formatting.processes import list_texts
from pytest_tlsandbox.formatting.text import capitalized, count, printable, seconds
from pytest_tlsandbox.monitoring.plain_data import describe_gap
from pytest_tlsandbox.report.timeline import Data

_BAD_OUTCOMES = ("failed", "error", "crashed")
_MOST_CARDS = 8
_MOST_TESTS = 6
_MOST_LINES = 4
_MOST_FACTS = 3
_MOST_NAMED = 3
_KINDS = ("sandbox", "oom", "crash", "exit", "unhealthy", "restart", "leak", "none")
"""The kinds of causes, worst first."""
_IDENTITY = itemgetter("process", "run", "rule")
"""Returns what an incident and the finding about it have in common."""


@dataclass
class Card:
    """One cause, with everything that it explains.

    Attributes:
        kind: the kind of the cause, which selects the colour of the card.
        what: what happened.
        process: the name of the process or the sandbox; "" if there is none.
        pids: the ids of the processes, in the order in which they started.
        anchor: the fragment of the link to the process; None if the timeline does not show it.
        facts: sentences about what happened before and after.
        tests: the numbers of the failed tests.
        output: the last lines that the process wrote, if its output was read.
        faint: whether nothing failed because of this cause.

    """

    kind: str
    what: str = ""
    process: str = ""
    pids: Sequence[int] = ()
    anchor: str | None = None
    facts: list[str] = field(default_factory=list)
    tests: Sequence[int] = ()
    output: Sequence[str] = ()
    faint: bool = False


def cards_of(document: Data, timeline: Data) -> tuple[list[Card], list[Card]]:
    """Return the cards of the causes, the worst first, and then the cards of everything else."""
    rows = [row["bars"] for section in timeline["sections"] for row in section["rows"]]
    bars_of = {bar["id"]: bars for bars in rows for bar in bars}
    # The script of the page numbers the bars in the same way.
    anchors = {bar["id"]: f"#p{number}" for number, bar in enumerate(chain.from_iterable(rows))}
    limit_of = {box["name"]: box["memory_limit"] for box in document["sandboxes"]}
    limits = {run["id"]: limit_of.get(run["sandbox"]) for run in document["processes"]}
    groups: dict[object, list[Data]] = defaultdict(list)
    events = [*_events(document)]
    for event in events:
        process = event["process"]
        bars = bars_of.get(process)
        groups[bars[0]["id"] if bars else process or (event["name"], event["line"])].append(event)
    causes = [_cause(group, bars_of.get(key, []), anchors, limits) for key, group in groups.items()]
    causes.sort(key=lambda card: (not card.tests, _KINDS.index(card.kind)))
    explained = {event["process"] for event in events}
    return causes, [*_others(document, timeline, explained, anchors)]


def _events(document: Data) -> Iterator[Data]:
    """Yield the events that failed the session.

    Yields:
        Findings that are not allowed, and other incidents that made a test fail, the worst first;
        then the cause of each failed test, with the number of the test and the line of its failure.

    """
    causes = {test["cause"]["process"] for test in document["tests"] if test["cause"]}
    found = [finding for finding in document["findings"] if finding["allowed"] is None]
    found += [each for each in _not_reported(document) if each["process"] in causes]
    yield from sorted(found, key=_badness)
    for number, test in enumerate(document["tests"]):
        if test["outcome"] in _BAD_OUTCOMES:
            cause = test["cause"] or {"kind": "none", "process": None, "name": None, "run": None}
            yield {**cause, "rule": cause["kind"], "number": number, "line": _line_of(test)}


def _badness(event: Data) -> int:
    return _KINDS.index(event["rule"])


def _not_reported(document: Data) -> list[Data]:
    """Return the incidents that are not findings."""
    known = {*map(_IDENTITY, document["findings"])}
    return [each for each in document["incidents"] if _IDENTITY(each) not in known]


def headline(document: Data, causes: Sequence[Card], timeline: Data) -> str:
    """Return one or two sentences that name the causes of the failures."""
    tests = document["tests"]
    failed = sum(test["outcome"] in _BAD_OUTCOMES for test in tests)
    number = count(len(tests), "test")
    sentences = [f"{number}, none failed" if tests else "No test ran"]
    others = _names([card for card in causes if not card.tests])
    if failed:
        of_tests = _names([card for card in causes if card.tests])
        sentences = [f"{failed} of {number} failed", *of_tests]
        others = ["Not in a failed test: " + ", ".join(others)] if others else []
    sentences += others
    if not causes:
        runs = sum(len(row["bars"]) for section in timeline["sections"] for row in section["rows"])
        sentences += [f"No incident in {count(runs, 'process')}" if runs else "No process was seen"]
    if document["gaps"]:
        sentences.append("A sandbox was not monitored for some time")
    lost = [worker["id"] for worker in document["workers"] if worker["lost"]]
    if lost:
        sentences.append(f"{' and '.join(lost)} died")
    elif not document["complete"]:
        sentences.append("The run was broken off")
    return ". ".join(sentences) + "."


def _names(cards: Sequence[Card]) -> list[str]:
    """Name the causes of a few cards with their processes, and count the causes of many cards."""
    texts = ["No process failed" if card.kind == "none" else card.what for card in cards]
    if len(cards) > _MOST_NAMED:
        return [f"{what} ({n})" if n > 1 else what for what, n in Counter(texts).items()]
    named = zip(texts, cards, strict=True)
    return [*dict.fromkeys(f"{what}: {card.process}".removesuffix(": ") for what, card in named)]


# ------------------------------------------------------------------- contents


def _cause(events: list[Data], bars: list[Data], anchors: Data, limits: Data) -> Card:
    """Return the card of a cause.

    Args:
        events: the events with this cause.
        bars: the bars in the row of the process; empty if the timeline does not show it.
        anchors: the anchor of each process in the timeline.
        limits: the memory limit, in bytes, of the sandbox of each process.

    """
    kind = min(events, key=_badness)["rule"]
    tests = [event["number"] for event in events if "number" in event]
    card = Card(kind, process=events[0]["name"] or "", tests=tests)
    worst = [event for event in events if event["rule"] == kind != "none"]
    processes = {event["process"] for event in worst}
    known = [each for each in zip_longest(bars, bars[1:]) if each[0]["id"] in processes]
    found = [event for event in worst if "verdict" in event]
    if found:
        card.what = _what(found, events)
    elif kind == "none":
        card.what = events[0]["line"] or "Failed"
        card.facts.append("No process failed.")
    elif kind == "sandbox":
        card.what = "Sandbox unreachable"
    elif known:
        card.what = capitalized(known[0][0]["state"])
    if not known:
        card.facts += dict.fromkeys(event["what"] for event in found)
        return card
    first, _ = known[0]
    card.process, card.anchor = first["name"], anchors[first["id"]]
    card.pids = [bar["pid"] for bar, _ in known]
    card.facts += [_life(*each, several=len(known) > 1) for each in known[:_MOST_FACTS]]
    if kind == "oom" and (limit := limits[first["id"]]):
        card.facts.append(f"memory limit of the sandbox: {limit / 2**20:.0f} MiB")
    outputs = [bar["output"] and bar["output"]["lines"] for bar, _ in known]
    card.output = next(filter(None, outputs), ())
    if not card.output:
        card.facts.append("Its output was not read." if None in outputs else "It wrote nothing.")
    return card


def _what(found: Sequence[Data], events: Sequence[Data]) -> str:
    """Return a short description of what happened.

    If only one run has an incident of the worst kind, the description is the headline of this
    incident. Otherwise, the description contains the number of incidents of each kind.
    """
    if len({*map(_IDENTITY, found)}) == 1 and "headline" in found[0]:
        return str(found[0]["headline"]).rpartition(": ")[0]
    verdicts = Counter(event["verdict"] for event in events if "verdict" in event)
    times = [what + (f" {n} times" if n > 1 else "") for what, n in verdicts.items()]
    return ", ".join([times[0], *(text[0].lower() + text[1:] for text in times[1:])])


def _life(bar: Data, after: Data | None, *, several: bool) -> str:
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


def _line_of(test: Data) -> str:
    return test["failure"]["line"] if test["failure"] else ""


def _others(document: Data, timeline: Data, explained: set[str], anchors: Data) -> Iterator[Card]:
    """Yield the cards of everything that is not a cause.

    Yields:
        Tests that were not collected; intervals without data; incidents that no rule reports;
        allowed findings.

    """
    for name in document["collection_errors"]:
        yield Card("collection", "Not collected", name)
    labels = {box["name"]: box["label"] for box in document["sandboxes"]}
    for gap in document["gaps"]:
        label = labels.get(gap["sandbox"], gap["sandbox"])
        yield Card("gap", "Not monitored", label, facts=[describe_gap(gap)])
    for section in timeline["sections"]:
        for outage in section["outages"]:
            where = f"from {outage['test'] or 'outside of every test'}: {outage['faults']}"
            yield Card("outage", "No answer", section["name"], facts=[where], faint=True)
    others = [each for each in _not_reported(document) if each["process"] not in explained]
    others += [finding for finding in document["findings"] if finding["allowed"] is not None]
    for each in others:
        reason = each.get("allowed")
        what = each["verdict"] + (", reported by no rule" if reason is None else ", allowed")
        facts, anchor = [reason] if reason else [], anchors.get(each["process"])
        yield Card(each["rule"], what, each["name"], anchor=anchor, facts=facts, faint=True)


# ----------------------------------------------------------------------- HTML


def list_of_cards(document: Data, cards: Sequence[Card]) -> str:
    """Return the cards as an HTML list; cards after the eighth are folded."""
    return _list("cards", [_item(card, document) for card in cards], _MOST_CARDS, "more")


def _list(css_class: str, items: Sequence[str], most: int, more: str) -> str:
    """Return an HTML list; the items after the first ``most`` are folded, and counted."""
    if not items:
        return ""
    text = f'<ul class="{css_class}">{"".join(items[:most])}</ul>'
    rest = _list(css_class, items[most:], len(items), more)
    summary = f"<summary>and {len(items) - most} {more}</summary>"
    return f"{text}<details>{summary}{rest}</details>" if rest else text


def _item(card: Card, document: Data) -> str:
    name = f"<bdi>{escaped(card.process)}</bdi>"
    if card.pids:
        name += f" (pid{'s' * (len(card.pids) > 1)} {list_texts([*map(str, card.pids)])})"
    if card.anchor:
        name = f'<a href="{card.anchor}">{name}</a>'
    parts = [f'<h2><span class="what">{escaped(card.what)}</span> {name}</h2>']
    if card.output:
        text = "\n".join(map(escaped, card.output[-_MOST_LINES:]))
        parts.append(f'<pre dir="ltr">{text}</pre>')
    links = [_test(number, document["tests"][number], card.what) for number in card.tests]
    parts.append(_list("tests", links, _MOST_TESTS, "more tests"))
    parts += [f"<p>{escaped(fact)}</p>" for fact in card.facts]
    return f'<li class="{"faint " if card.faint else ""}{card.kind}">{"".join(parts)}</li>'


def _test(number: int, test: Data, what: str) -> str:
    title, line = escaped(test["id"]), _line_of(test)
    verb = {"failed": "failed", "error": "error in", "crashed": "its worker died:"}[test["outcome"]]
    why = f': <span class="line">{escaped(line)}</span>' if line not in ("", what) else ""
    link = f'<a href="#t{number}" title="{title}"><bdi>{title.rpartition("::")[2]}</bdi></a>'
    return f"<li>{verb} {link}{why}</li>"


def escaped(text: str) -> str:
    """Return a text as HTML, without control characters."""
    return html.escape(printable(text))
