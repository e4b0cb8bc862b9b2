"""Convert plain data to the sections, rows, bars and marks of the timeline.

Times are in milliseconds since the start of the session, as measured by the clock of the machine
that ran the tests. If a time comes from the clock of a sandbox, this module adds the estimated
difference between this clock and the clock of the test machine.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

from pytest_tlsandbox.formatting.processes import signal_name
from pytest_tlsandbox.monitoring.plain_data import epoch
from pytest_tlsandbox.report.timeline_bars import (
    Axis,
    bar_of,
    end_of,
    had_ended,
    page_text,
    states_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    Data = Mapping[str, Any]
    """A part of the report, or of the timeline."""

_VERDICTS = {
    "oom": "OOM-killed",
    "crash": "Crashed",
    "restart": "Restarted",
    "unhealthy": "Unhealthy",
    "leak": "Left running",
}
"""The text of a mark for each rule."""
_LONGEST_FAILURE, _LEAST_FAILURE, _MOST_FAILURES = 8000, 1000, 100_000
"""Limits for the text of a failure, and for all of them, in characters: the page stays small."""
_UNEVENTFUL = ("exited", "signaled", "running")
"""How the runs of an uneventful row ended. The page folds these rows."""


def timeline_of(document: Data) -> dict[str, Any]:
    """Return the timeline of a report."""
    start = epoch(document["started_at"])
    span = max(epoch(document["ended_at"]) - start, 1)
    labels = {box["name"]: box["label"] for box in document["sandboxes"]}
    for gap in document["gaps"]:  # a sandbox without a connection has only gaps
        labels.setdefault(gap["sandbox"], gap["sandbox"])
    workers = [worker["id"] for worker in document["workers"]]
    workers.sort(key=lambda worker: (len(worker), worker))  # gw2 before gw10
    sections = [
        {
            "name": page_text(name),
            "worker": _worker_of(name, label, workers),
            **_section(name, document, start, span),
        }
        for name, label in labels.items()
    ]
    return {
        "began": start,
        "span": span,
        "workers": workers,
        "tests": [*_tests(document["tests"], Axis(start, span))],
        # Sandboxes with incidents come first.
        "sections": sorted(
            sections, key=lambda section: not any(row["wrong"] for row in section["rows"])
        ),
    }


def _section(sandbox: str, document: Data, start: int, span: int) -> dict[str, Any]:
    """Return the rows, the gaps and the outages of one sandbox."""
    runs = [run for run in document["processes"] if run["sandbox"] == sandbox]
    offset = _offset(runs)
    axis = Axis(start, span, offset)
    drawn = [run for run in runs if not had_ended(run, axis)]
    findings: dict[str, list[tuple[int, Data]]] = defaultdict(list)
    for number, finding in enumerate(document["findings"]):
        if finding["sandbox"] == sandbox:
            findings[finding["process"]].append((number, finding))
    incidents: dict[str, list[Data]] = defaultdict(list)
    for incident in document["incidents"]:
        if incident["sandbox"] == sandbox:
            incidents[incident["process"]].append(incident)
    causes = {test["cause"]["process"] for test in document["tests"] if test["cause"]}
    rows = [_row(group, axis, findings, incidents) for group in _grouped(drawn)]
    for row in rows:
        row["cause"] = any(bar["id"] in causes for bar in row["bars"])
        quiet = all(bar["kind"] in _UNEVENTFUL for bar in row["bars"])
        row["quiet"] = quiet and not (row["cause"] or row["marks"])
    gaps = [*_gaps(document["gaps"], sandbox, axis)]
    return {
        "offset": offset,
        "earlier": len(runs) - len(drawn),
        "gaps": gaps,
        "outages": [*_outages(document["outages"], gaps, sandbox, axis)],
        # The causes of failed tests come first, then other rows with incidents, then eventful rows.
        "rows": sorted(
            rows,
            key=lambda row: (
                not row["cause"],
                not row["wrong"],
                row["quiet"],
                row["bars"][0]["from"],
            ),
        ),
    }


def _offset(runs: Iterable[Data]) -> int | None:
    """Estimate by how much the clock of a sandbox is behind the clock of the test machine.

    The sandbox reports when each state change happened, and the test machine records when it saw
    the change. The difference between these two times also contains a delay, so the smallest
    difference is the best estimate.

    Args:
        runs: the runs of the sandbox.

    Returns:
        The difference in milliseconds; None if it cannot be estimated from any run.

    """
    return min(
        (
            epoch(change["seen_at"]) - epoch(change["at"])
            for run in runs
            if not run["before_the_session"]
            for change in run["changes"]
            if change["at"] is not None
        ),
        default=None,
    )


def _grouped(runs: Iterable[Data]) -> Iterable[list[Data]]:
    """Group the runs of each supervisor; every other run forms its own group."""
    groups: dict[tuple[str, str], list[Data]] = defaultdict(list)
    for run in sorted(runs, key=lambda run: epoch(run["started_at"])):
        managed = run["managed"]
        key = (managed["id"], managed["generation"]) if managed else ("", run["id"])
        groups[key].append(run)
    return groups.values()


def _row(
    runs: Sequence[Data],
    axis: Axis,
    findings: Mapping[str, list[tuple[int, Data]]],
    incidents: Mapping[str, list[Data]],
) -> dict[str, Any]:
    bars: list[dict[str, Any]] = []
    marks: list[dict[str, Any]] = []
    for number, run in enumerate(runs):
        before = runs[number - 1] if number else None
        successor = runs[number + 1] if number + 1 < len(runs) else None
        bar = bar_of(run, end_of(run), axis)
        if bars:
            # The end of a run may have been observed only together with the next run.
            bars[-1]["to"] = max(bars[-1]["from"], min(bars[-1]["to"], bar["from"]))
        own = findings.get(run["id"], [])
        bar["findings"] = [place for place, _ in own]
        seen = [*_restart_mark(run, bar, before), *_incident_marks(run, bar, axis)]
        shown = {mark["kind"] for mark in seen}
        if successor is not None:
            shown.add("restart")  # the mark is where the next run begins
        found = {(finding["rule"], finding["run"]): finding for _, finding in own}
        for incident in incidents.get(run["id"], ()):  # incidents that no rule of the guard reports
            found.setdefault((incident["rule"], incident["run"]), incident)
        seen += _finding_marks(found.values(), shown, run, bar, axis)
        allowed = {finding["rule"] for _, finding in own if finding["allowed"] is not None}
        ended = [] if before is None else findings.get(before["id"], [])
        restarts = [finding for _, finding in ended if finding["rule"] == "restart"]
        if restarts:  # a mark belongs to the next run
            allowed.discard("restart")
            allowed |= {"restart" for finding in restarts if finding["allowed"] is not None}
        marks += [{**mark, "bar": number, "allowed": mark["kind"] in allowed} for mark in seen]
        bars.append(bar)
    totals: Counter[str] = Counter()
    for mark in marks:
        totals[mark["kind"]] += mark["times"]
    return {
        "name": bars[0]["name"],
        "managed": runs[0]["managed"] is not None,
        "bars": bars,
        "wrong": not all(mark["allowed"] for mark in marks),
        "marks": sorted(marks, key=lambda mark: mark["at"]),
        "totals": {kind: totals[kind] for kind in _VERDICTS if totals[kind]},
    }


def _mark(at: int, kind: str, text: str, times: int = 1) -> dict[str, Any]:
    return {"at": at, "kind": kind, "text": text, "times": times}


def _restart_mark(run: Data, bar: Data, before: Data | None) -> Iterator[dict[str, Any]]:
    """If restarts preceded a run, mark the start of the run with the number of these restarts."""
    supervisor = states_of(run)[0]["supervisor"]
    if supervisor is None or (run["before_the_session"] and before is None):
        return
    times = supervisor["restarts"]
    if before is not None:
        times = max(1, times - states_of(before)[0]["supervisor"]["restarts"])
    if times > 0:
        more = f" {times} times" if times > 1 else ""
        yield _mark(bar["from"], "restart", _VERDICTS["restart"] + more, times)


def _incident_marks(run: Data, bar: Data, axis: Axis) -> Iterator[dict[str, Any]]:
    """Mark where a run was OOM-killed or crashed, and where its health check began to fail."""
    if bar["kind"] == "oom":
        yield _mark(bar["to"], "oom", _VERDICTS["oom"])
    elif bar["kind"] == "crash":
        name = signal_name(bar["signal"]).partition("(")[2].rstrip(")")
        yield _mark(bar["to"], "crash", f"{_VERDICTS['crash']}, {name}")
    unhealthy = False
    for change in states_of(run):
        was = unhealthy
        supervisor = change["supervisor"]
        unhealthy = supervisor is not None and supervisor["health"] == "unhealthy"
        if unhealthy and not was:
            at = max(axis.by_host_clock(change["seen_at"]), bar["from"])
            yield _mark(at, "unhealthy", _VERDICTS["unhealthy"])


def _finding_marks(
    findings: Iterable[Data], shown: set[str], run: Data, bar: Data, axis: Axis
) -> Iterator[dict[str, Any]]:
    """Mark each finding that has no mark yet. Examples are leaks and incidents of unlisted runs."""
    supervisor = states_of(run)[0]["supervisor"]
    for finding in findings:
        if finding["rule"] not in shown:
            # The run that was never listed came before this run.
            earlier = supervisor is not None and (finding["run"] or 0) < supervisor["restarts"]
            at = bar["from"] if earlier else axis.by_host_clock(finding["at"])
            gave_up = finding["what"].lower().startswith("gave up")
            yield _mark(at, finding["rule"], "Gave up" if gave_up else finding["verdict"])


def _tests(tests: Sequence[Data], axis: Axis) -> Iterator[dict[str, Any]]:
    failures = sum(test["failure"] is not None for test in tests)
    most = max(_LEAST_FAILURE, min(_LONGEST_FAILURE, _MOST_FAILURES // max(1, failures)))
    for test in tests:
        begun = axis.by_host_clock(test["started_at"]) if test["started_at"] else 0
        # If a worker died during a test, it is not known when the test ended.
        ended = axis.by_host_clock(test["ended_at"]) if test["ended_at"] else begun
        yield {
            "id": page_text(test["id"]),
            "attempt": test["attempt"],
            "worker": test["worker"],
            "outcome": test["outcome"],
            "from": begun,
            "to": max(begun, ended),
            "cause": test["cause"] and test["cause"]["process"],
            "failure": test["failure"] and _failure(test["failure"], most),
        }


def _failure(failure: Data, most: int) -> dict[str, Any]:
    """Return the first line and the text of a failure; its end matters most if it is too long."""
    text = failure["text"]
    beyond = len(text) - most
    lines = [page_text(line) for line in text[-most:].splitlines()]
    if beyond > 0:
        lines.insert(0, f"... {beyond:,} characters before this are in the JSON report")
    return {"phase": failure["phase"], "line": page_text(failure["line"]), "text": "\n".join(lines)}


def _gaps(gaps: Iterable[Data], sandbox: str, axis: Axis) -> Iterator[dict[str, Any]]:
    for gap in gaps:
        for time in gap["times"] if gap["sandbox"] == sandbox else ():
            yield {
                "from": axis.by_host_clock(time["from_at"]),
                "to": axis.span if time["to_at"] is None else axis.by_host_clock(time["to_at"]),
                "open": time["to_at"] is None,
                "why": page_text(gap["why"]),
            }


def _outages(
    outages: Iterable[Data], gaps: Iterable[Data], sandbox: str, axis: Axis
) -> Iterator[dict[str, Any]]:
    """Return the outages that do not lie within a gap."""
    for outage in outages:
        begun, ended = axis.by_host_clock(outage["from_at"]), axis.by_host_clock(outage["to_at"])
        within = any(gap["from"] <= begun and ended <= gap["to"] for gap in gaps)
        if outage["sandbox"] == sandbox and not within:
            yield {
                "from": begun,
                "to": ended,
                "faults": page_text(outage["faults"]),
                "test": None if outage["test"] is None else page_text(outage["test"]),
            }


def _worker_of(name: str, label: str, workers: Sequence[str]) -> str | None:
    """Return the worker to which a sandbox belongs, or None if there is no such worker.

    The timeline shows the tests of this worker behind the bars of the sandbox.
    """
    own = (
        worker for worker in workers if name == f"{label}@{worker}" or worker in label.split("-")
    )
    return next(own, None)
