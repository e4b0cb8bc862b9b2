"""Convert plain data to the sections, rows, bars and marks of the timeline.

Times are in milliseconds since the start of the session, as measured by the clock of the machine
that ran the tests. If a time comes from the clock of a sandbox, this module adds the estimated
difference between this clock and the clock of the test machine.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple
from urllib.parse import quote

from pytest_tlsandbox.monitoring.plain_data import epoch
from pytest_tlsandbox.types import CRASH_SIGNALS

Data = Mapping[str, Any]
"""A part of the report, or of the timeline."""
_Incidents = defaultdict[tuple[str, str], dict[tuple[str, int | None], dict[str, Any]]]
"""The incidents of each run by rule and affected run; the keys are a sandbox and a process."""

_LONGEST_TEXT = 2000
_LONGEST_LINE = 400
_MOST_STATES = 20
_LONGEST_FAILURE, _LEAST_FAILURE, _MOST_FAILURES = 8000, 1000, 100_000
"""Limits for the text of a failure, and for all of them, in characters: the page stays small."""
_UNEVENTFUL = ("exited", "signaled", "running")
"""How the runs of an uneventful row ended. The page folds these rows."""


class _Axis(NamedTuple):
    """Converts times to axis positions, which are milliseconds after ``start``.

    A time comes from the clock of the test machine or from the clock of a sandbox.

    ``offset`` is the time on the test machine's clock minus the time on the sandbox's clock, in
    milliseconds. If this difference is not known, ``offset`` is None.
    """

    start: int
    span: int
    offset: int | None = None

    def by_host_clock(self, time: str) -> int:
        """Return the axis position of a time on the test machine's clock."""
        return min(max(epoch(time) - self.start, 0), self.span)

    def position(self, time: str | None, seen_at: str) -> tuple[int, str]:
        """Return the axis position of an event, and how this position was determined.

        Args:
            time: when the event happened, on the sandbox's clock; None if this is not known.
            seen_at: when the event was seen, on the test machine's clock.

        Returns:
            The position of ``time`` and "sandbox" if possible, otherwise the position of
            ``seen_at`` and "seen".

        """
        if time is None or self.offset is None:
            return self.by_host_clock(seen_at), "seen"
        return min(max(epoch(time) + self.offset - self.start, 0), self.span), "sandbox"


def timeline_of(document: Data) -> Data:
    """Return the timeline of a report."""
    start = epoch(document["started_at"])
    axis = _Axis(start, max(epoch(document["ended_at"]) - start, 1))
    names = [box["name"] for box in document["sandboxes"]]
    names += [gap["sandbox"] for gap in document["gaps"]]  # without a connection, it has only gaps
    workers = [worker["id"] for worker in document["workers"]]
    workers.sort(key=lambda worker: (len(worker), worker))  # gw2 before gw10
    incidents = _incidents(document)
    sections = [_section(name, document, axis, incidents) for name in dict.fromkeys(names)]
    # Sandboxes with incidents come first.
    sections.sort(key=lambda section: not any(row["wrong"] for row in section["rows"]))
    tests = [*_tests(document["tests"], axis)]
    span = axis.span
    return {"began": start, "span": span, "workers": workers, "tests": tests, "sections": sections}


def _incidents(document: Data) -> _Incidents:
    """Return the incidents of each run, and the numbers of the findings for each incident.

    If a finding has no recorded incident, the finding counts as an incident. Leaks are an example.
    """
    found: _Incidents = defaultdict(dict)
    for incident in [*document["incidents"], *document["findings"]]:
        new = {**incident, "findings": [], "allowed": False}
        own = found[incident["sandbox"], incident["process"]]
        own.setdefault((incident["rule"], incident["run"]), new)
    for number, finding in enumerate(document["findings"]):
        known = found[finding["sandbox"], finding["process"]][finding["rule"], finding["run"]]
        known["findings"].append(number)
        known["allowed"] |= finding["allowed"] is not None
    return found


def _section(sandbox: str, document: Data, axis: _Axis, incidents: _Incidents) -> Data:
    """Return the rows, the gaps and the outages of one sandbox."""
    runs = [run for run in document["processes"] if run["sandbox"] == sandbox]
    axis = axis._replace(offset=_offset(runs))
    drawn = [run for run in runs if not _had_ended(run, axis)]
    groups: dict[str, list[Data]] = defaultdict(list)  # by supervisor, or one run
    for run in sorted(drawn, key=lambda run: epoch(run["started_at"])):
        groups[run["managed"]["generation"] if run["managed"] else run["id"]].append(run)
    causes = {test["cause"]["process"] for test in document["tests"] if test["cause"]}
    rows = [_row(group, axis, incidents, causes) for group in groups.values()]
    # The causes of failed tests come first, then other rows with incidents; uneventful rows come
    # last. Rows of one kind stay sorted by the start of their first run.
    rows.sort(key=lambda row: (not row["cause"], not row["wrong"], row["quiet"]))
    gaps = [*_gaps(document, sandbox, axis)]
    outages = [*_outages(document, gaps, sandbox, axis)]
    # The tests of the worker to which the sandbox belongs form the background for its bars.
    parts = re.split("[@-]", sandbox)
    worker = next((each["id"] for each in document["workers"] if each["id"] in parts), None)
    return {
        "name": sandbox,
        "worker": worker,
        "offset": axis.offset,
        "earlier": len(runs) - len(drawn),
        "gaps": gaps,
        "outages": outages,
        "rows": rows,
    }


def _offset(runs: Iterable[Data]) -> int | None:
    """Estimate how far the clock of a sandbox is behind the clock of the test machine.

    The sandbox reports when each state change happened, and the test machine records when it saw
    the change. The difference between these two times also includes the delay until the test
    machine saw the change. For this reason, the smallest difference is the best estimate.

    Args:
        runs: the runs of the sandbox.

    Returns:
        The difference in milliseconds; None if it cannot be estimated from any run.

    """
    changes = [change for run in runs if not run["before_the_session"] for change in run["changes"]]
    delays = [epoch(change["seen_at"]) - epoch(change["at"]) for change in changes if change["at"]]
    return min(delays, default=None)


def _row(runs: Sequence[Data], axis: _Axis, incidents: _Incidents, causes: Container[str]) -> Data:
    bars = [_bar_of(run, axis) for run in runs]
    for bar, successor in pairwise(bars):
        # The end of a run may have been observed only together with the next run.
        bar["to"] = max(bar["from"], min(bar["to"], successor["from"]))
    marks: dict[tuple[object, ...], dict[str, Any]] = {}
    for number, run in enumerate(runs):
        own = incidents[run["sandbox"], run["id"]].values()
        bars[number]["findings"] = [place for incident in own for place in incident["findings"]]
        for incident in own:
            kind = incident["rule"]
            verdict = "Gave up" if "gave up" in incident["what"] else incident["verdict"]
            place, at = _place_of(incident, run, number, bars, axis)
            new = {"bar": place, "at": at, "kind": kind, "times": 0, "allowed": True}
            mark = marks.setdefault((place, at, kind, verdict), new)
            mark["times"] += incident.get("times", 1)
            mark["text"] = verdict if mark["times"] == 1 else f"{verdict} {mark['times']} times"
            mark["allowed"] &= incident["allowed"]
    cause = any(bar["id"] in causes for bar in bars)
    wrong = not all(mark["allowed"] for mark in marks.values())
    quiet = all(bar["kind"] in _UNEVENTFUL for bar in bars) and not (cause or marks)
    in_order = sorted(marks.values(), key=lambda mark: mark["at"])
    return {"bars": bars, "cause": cause, "wrong": wrong, "quiet": quiet, "marks": in_order}


def _place_of(
    incident: Data, run: Data, number: int, bars: Sequence[Data], axis: _Axis
) -> tuple[int, int]:
    """Return the number of the bar that gets an incident's mark, and the position of the mark."""
    bar = bars[number]
    supervisor = run["changes"][0]["supervisor"]
    if supervisor is not None and (incident["run"] or 0) < supervisor["restarts"]:
        return number, bar["from"]  # the affected run was never listed; this run came after it
    if incident["rule"] == "restart" and number + 1 < len(bars):
        return number + 1, bars[number + 1]["from"]
    if incident["rule"] in ("oom", "crash") and bar["ended"] in ("sandbox", "seen"):
        return number, bar["to"]
    return number, max(bar["from"], axis.by_host_clock(incident["at"]))


def _has_ended(change: Data) -> bool:
    """Return whether a change shows that the run ended."""
    known = change["exit_code"] is not None or change["signal"] is not None
    return known or change["state"] in ("exited", "signaled", "oom_killed")


def _had_ended(run: Data, axis: _Axis) -> bool:
    """Return whether a run had ended before the session began.

    A sandbox may still list such runs.
    """
    first = run["changes"][0]
    return _has_ended(first) and _is_earlier(run, *axis.position(first["at"], first["seen_at"]))


def _is_earlier(run: Data, position: int, determined_by: str) -> bool:
    """Return whether an event that the first snapshot showed happened before the session."""
    return bool(run["before_the_session"]) and (determined_by == "seen" or position == 0)


def _bar_of(run: Data, axis: _Axis) -> dict[str, Any]:
    """Return the bar of a run."""
    begun, begun_by = axis.position(run["started_at"], run["changes"][0]["seen_at"])
    if _is_earlier(run, begun, begun_by):
        begun, begun_by = 0, "before"
    states = [change for change in run["changes"] if change["state"] != "not listed"]
    ends = [change for change in states if _has_ended(change)]
    last = ends[-1] if ends else states[-1]  # the sandbox may correct how a run ended
    gone = run["changes"][-1]
    if ends:
        (ended, ended_by), kind = axis.position(last["at"], ends[0]["seen_at"]), _kind(last)
    elif gone["state"] == "not listed":
        ended, ended_by, kind = axis.by_host_clock(gone["seen_at"]), "gone", "gone"
    else:
        ended, ended_by, kind = axis.span, "open", "running"
    output = run["output"]
    if output is not None:
        output = {**output, "lines": [_text(line, _LONGEST_LINE) for line in output["lines"]]}
    return {
        **_fields(run, "id", "name", "pid", "handle", "test"),
        "from": begun,
        "to": max(ended, begun),
        "begun": begun_by,
        "ended": ended_by,
        "kind": kind,
        "state": last["text"],
        "history": [_state(change, axis) for change in run["changes"][-_MOST_STATES:]],
        "command": _text(run["command_line"], _LONGEST_TEXT),
        "output": output,
    }


def _fields(data: Data, *names: str) -> dict[str, Any]:
    return {name: data[name] for name in names}


def _state(change: Data, axis: _Axis) -> tuple[int, str]:
    """Return the axis position of a change, and a description of the new state."""
    text = change.get("text", change["state"])
    if (supervisor := change.get("supervisor")) is not None:
        text += f"; supervisor {supervisor['status']}, restarted {supervisor['restarts']}x"
        if supervisor["health"] not in ("disabled", "unknown"):
            text += f", {supervisor['health']}"
    return axis.by_host_clock(change["seen_at"]), text


def _kind(end: Data) -> str:
    if end["oom_killed"]:
        return "oom"
    if end["signal"] in CRASH_SIGNALS:
        return "crash"
    if end["signal"] is not None or end["state"] == "signaled":
        return "signaled"
    return "exited" if end["exit_code"] == 0 else "failed"


def _text(text: str, most: int) -> str:
    beyond = len(text) - most
    return f"{text[:most]} ... and {beyond:,} characters more" if beyond > 0 else text


def _tests(tests: Sequence[Data], axis: _Axis) -> Iterator[Data]:
    failures = sum(test["failure"] is not None for test in tests)
    most = max(_LEAST_FAILURE, min(_LONGEST_FAILURE, _MOST_FAILURES // max(1, failures)))
    for test in tests:
        begun = axis.by_host_clock(test["started_at"]) if test["started_at"] else 0
        # If a worker died during a test, it is not known when the test ended.
        ended = axis.by_host_clock(test["ended_at"]) if test["ended_at"] else begun
        yield {
            **_fields(test, "id", "attempt", "worker", "outcome"),
            "files": [quote(file, errors="replace") for file in test["output_files"]] or None,
            "from": begun,
            "to": max(begun, ended),
            "cause": test["cause"] and test["cause"]["process"],
            "failure": test["failure"] and _failure(test["failure"], most),
        }


def _failure(failure: Data, most: int) -> Data:
    """Return the phase, the first line and all lines of a failure.

    If the text is too long, its start is left out, because its end is more important.
    """
    lines = failure["text"][-most:].splitlines()
    beyond = len(failure["text"]) - most
    if beyond > 0:
        lines.insert(0, f"... {beyond:,} characters before this are in the JSON report")
    return {**_fields(failure, "phase", "line"), "lines": lines}


def _gaps(document: Data, sandbox: str, axis: _Axis) -> Iterator[Data]:
    for gap in document["gaps"]:
        for time in gap["times"] if gap["sandbox"] == sandbox else ():
            begun = axis.by_host_clock(time["from_at"])
            ended = axis.span if time["to_at"] is None else axis.by_host_clock(time["to_at"])
            yield {"from": begun, "to": ended, "open": time["to_at"] is None, "why": gap["why"]}


def _outages(document: Data, gaps: Sequence[Data], sandbox: str, axis: _Axis) -> Iterator[Data]:
    """Return the outages that do not lie within a gap."""
    for outage in document["outages"]:
        begun, ended = axis.by_host_clock(outage["from_at"]), axis.by_host_clock(outage["to_at"])
        within = any(gap["from"] <= begun and ended <= gap["to"] for gap in gaps)
        if outage["sandbox"] == sandbox and not within:
            yield {"from": begun, "to": ended, **_fields(outage, "faults", "test")}
