"""Where all that a report holds stands in its picture: rows, bars, bands and marks.

Pure data, from data. Times are milliseconds from the start of the session, by the clock of the
machine that ran the tests: the one clock that several sandboxes and the tests have in common. What
a sandbox tells by its own is shifted by the difference between the two, where that can be judged.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pytest_tlsandbox.messages.text import printable
from pytest_tlsandbox.status import CRASH_SIGNALS, signal_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

_LONGEST_TEXT = 2000
_LONGEST_LINE = 400
_VERDICTS = {
    "oom": "OOM-killed",
    "crash": "Crashed",
    "restart": "Restarted",
    "unhealthy": "Unhealthy",
    "leak": "Left running",
}
"""What is marked where it happened; the words are those of the guard's verdicts."""


def picture_of(document: Mapping[str, Any]) -> dict[str, Any]:
    """Give the picture of a report."""
    start = _epoch(document["started_at"])
    workers = [worker["id"] for worker in document["workers"]]
    processes: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for process in document["processes"]:
        processes[process["sandbox"]].append(process)
    found: dict[tuple[str, str], list[tuple[int, Mapping[str, Any]]]] = defaultdict(list)
    for number, finding in enumerate(document["findings"]):
        found[finding["sandbox"], finding["process"]].append((number, finding))
    span = max(_epoch(document["ended_at"]) - start, 1)
    # What could not even be connected to is in none of the lists but that of the gaps.
    sandboxes = {box["name"]: box["label"] for box in document["sandboxes"]}
    for gap in document["gaps"]:
        sandboxes.setdefault(gap["sandbox"], gap["sandbox"])
    sections = []
    for name, label in sandboxes.items():
        offset = _offset(processes[name])
        axis = _Axis(start, span, offset)
        gaps = [*_gaps(document["gaps"], name, axis)]
        drawn = [process for process in processes[name] if not _had_ended(process, axis)]
        rows = [_row(runs, axis, found) for runs in _grouped(drawn).values()]
        sections.append(
            {
                "name": printable(name),
                "worker": _worker_of(name, label, workers),
                "offset": offset,
                "earlier": len(processes[name]) - len(drawn),
                "gaps": gaps,
                "outages": [*_outages(document["outages"], gaps, name, axis)],
                "rows": sorted(rows, key=_rank),
            }
        )
    return {
        "began": start,
        "span": span,
        "workers": workers,
        "tests": [*_tests(document["tests"], _Axis(start, span, None))],
        # Where something went wrong comes first.
        "sections": sorted(
            sections, key=lambda section: not any(map(_went_wrong, section["rows"]))
        ),
    }


class _Axis:
    """Places on the picture of what is told by the clock of the tests, or of one sandbox."""

    def __init__(self, start: int, span: int, offset: int | None) -> None:
        self.span = span
        self._start = start
        self._offset = offset

    def seen(self, time: str) -> int:
        """Give the place of a time by the clock of the tests."""
        return min(max(_epoch(time) - self._start, 0), self.span)

    def told(self, time: str | None) -> int | None:
        """Give the place of a time by the clock of the sandbox; it may be before the start."""
        if time is None or self._offset is None:
            return None
        return min(_epoch(time) + self._offset - self._start, self.span)


def _offset(processes: Sequence[Mapping[str, Any]]) -> int | None:
    """Judge how far the clock of the tests is ahead of the sandbox's.

    A change is seen after it happened: the smallest delay is the nearest to the truth.
    """
    return min(
        (
            _epoch(change["seen_at"]) - _epoch(change["at"])
            for process in processes
            if not process["before_the_session"]
            for change in process["changes"]
            if change["at"] is not None
        ),
        default=None,
    )


def _had_ended(process: Mapping[str, Any], axis: _Axis) -> bool:
    """Tell what was over before the session: a sandbox lists it for as long as it lives."""
    first = _listed(process)[0]
    if not process["before_the_session"] or not _has_ended(first):
        return False
    ended = axis.told(first["at"])
    return ended is None or ended <= 0


def _grouped(
    processes: Sequence[Mapping[str, Any]],
) -> Mapping[str, list[Mapping[str, Any]]]:
    """Put the runs of a managed process on one row, and any other on one of its own."""
    rows: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for process in sorted(processes, key=lambda process: _epoch(process["started_at"])):
        managed = process["managed"]
        rows[f"managed {managed['id']}" if managed else process["id"]].append(process)
    return rows


def _row(
    runs: Sequence[Mapping[str, Any]],
    axis: _Axis,
    found: Mapping[tuple[str, str], list[tuple[int, Mapping[str, Any]]]],
) -> dict[str, Any]:
    bars: list[dict[str, Any]] = []
    marks: list[dict[str, Any]] = []
    for run, successor in zip(runs, [*runs[1:], None], strict=True):
        bar = _bar(run, _end(run, successor), axis)
        if bars:
            # Its end may have been seen only when the next run was.
            bars[-1]["to"] = max(bars[-1]["from"], min(bars[-1]["to"], bar["from"]))
        findings = found.get((run["sandbox"], run["id"]), [])
        bar["findings"] = [number for number, _ in findings]
        of_run = [*_restart(run, bar, runs[len(bars) - 1] if bars else None)]
        of_run += [*_incidents(run, bar, axis)]
        # How the run before ended may be told of this one.
        shown = {mark["kind"] for mark in of_run} | {bars[-1]["kind"] if bars else None}
        if successor is not None:
            shown.add("restart")  # at its start
        for _, finding in findings:
            if finding["rule"] not in shown:
                at = bar["from"] if finding["rule"] == "oom" else axis.seen(finding["at"])
                of_run.append(_mark(at, finding["rule"], finding["verdict"]))
        allowed = {finding["rule"] for _, finding in findings if finding["allowed"] is not None}
        marks += [{**mark, "bar": len(bars), "allowed": mark["kind"] in allowed} for mark in of_run]
        bars.append(bar)
    totals: Counter[str] = Counter()
    for mark in marks:
        totals[mark["kind"]] += mark["times"]
    managed = runs[0]["managed"] is not None
    return {
        "name": bars[0]["name"],
        # As messages call it: one name may be that of many.
        "called": bars[0]["name"] if managed else f"{bars[0]['name']} (pid {bars[0]['pid']})",
        "managed": managed,
        "bars": bars,
        "marks": sorted(marks, key=lambda mark: mark["at"]),
        "totals": {kind: totals[kind] for kind in _VERDICTS if totals[kind]},
    }


def _rank(row: Mapping[str, Any]) -> tuple[bool, bool, int]:
    """Order rows: where something went wrong, what is managed, the rest; each by its start."""
    return not _went_wrong(row), not row["managed"], row["bars"][0]["from"]


def _went_wrong(row: Mapping[str, Any]) -> bool:
    return any(not mark["allowed"] for mark in row["marks"])


def _listed(run: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [change for change in run["changes"] if change["state"] != "not listed"]


def _end(run: Mapping[str, Any], successor: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Give how a run ended: as it was listed, or as its supervisor tells behind a restart."""
    listed = _listed(run)
    ends = [change for change in listed if _has_ended(change)]
    if ends:
        return {**ends[-1], "seen_at": ends[0]["seen_at"]}  # it may have been corrected
    if successor is None:
        return None
    first = _listed(successor)[0]
    # A run that is still listed has the count of those that came after it.
    before, after = listed[0]["supervisor"], first["supervisor"]
    if after["last_exit"] is None or after["restarts"] != before["restarts"] + 1:
        return None
    return {**after["last_exit"], "seen_at": first["seen_at"]}


def _has_ended(change: Mapping[str, Any]) -> bool:
    known = change["exit_code"] is not None or change["signal"] is not None
    return known or change["state"] in ("exited", "signaled", "oom_killed")


def _bar(run: Mapping[str, Any], end: Mapping[str, Any] | None, axis: _Axis) -> dict[str, Any]:
    changes, listed = run["changes"], _listed(run)
    began = axis.told(run["started_at"])
    if run["before_the_session"] and (began is None or began <= 0):
        start, begun_by = 0, "before"
    elif began is not None:
        start, begun_by = max(began, 0), "sandbox"
    else:
        start, begun_by = axis.seen(listed[0]["seen_at"]), "seen"
    gone = changes[-1] if changes[-1]["state"] == "not listed" else None
    ended = axis.told(end["at"]) if end is not None else None
    if ended is not None:
        to, ended_by = ended, "sandbox"
    elif end is not None:
        to, ended_by = axis.seen(end["seen_at"]), "seen"
    elif gone is not None:
        to, ended_by = axis.seen(gone["seen_at"]), "gone"
    else:
        to, ended_by = axis.span, "open"
    lived = None
    if end is not None and end["at"] is not None:
        lived = _epoch(end["at"]) - _epoch(run["started_at"])
    supervisor = listed[-1]["supervisor"]
    return {
        "from": start,
        "to": max(to, start),
        "begun": begun_by,
        "ended": ended_by,
        "kind": _kind(end) if end is not None else "gone" if gone is not None else "running",
        "state": printable((end or listed[-1])["text"]),
        "signal": None if end is None else end["signal"],
        "name": printable(run["name"]),
        "command": _text(run["command_line"], _LONGEST_TEXT),
        "pid": run["pid"],
        "handle": run["handle"],
        "lived": lived,
        "test": None if run["test"] is None else printable(run["test"]),
        "supervisor": None if supervisor is None else _supervised(supervisor),
        "output": _output(run["output"]),
    }


def _kind(end: Mapping[str, Any]) -> str:
    if end["oom_killed"]:
        return "oom"
    if end["signal"] in CRASH_SIGNALS:
        return "crash"
    if end["signal"] is not None or end.get("state") == "signaled":
        return "signaled"
    return "exited" if end["exit_code"] == 0 else "failed"


def _mark(at: int, kind: str, text: str, times: int = 1) -> dict[str, Any]:
    return {"at": at, "kind": kind, "text": text, "times": times}


def _restart(
    run: Mapping[str, Any], bar: Mapping[str, Any], before: Mapping[str, Any] | None
) -> Iterator[dict[str, Any]]:
    """Mark the start of a run that its supervisor began anew, more than once if runs were not seen."""
    supervisor = _listed(run)[0]["supervisor"]
    if supervisor is None or (run["before_the_session"] and before is None):
        return
    times = supervisor["restarts"]
    if before is not None:
        times = max(1, times - _listed(before)[0]["supervisor"]["restarts"])
    if times > 0:
        more = f" {times} times" if times > 1 else ""
        yield _mark(bar["from"], "restart", _VERDICTS["restart"] + more, times)


def _incidents(
    run: Mapping[str, Any], bar: Mapping[str, Any], axis: _Axis
) -> Iterator[dict[str, Any]]:
    """Mark an OOM kill or a crash at the end of a run, and when its health check began to fail."""
    if bar["kind"] == "oom":
        yield _mark(bar["to"], "oom", _VERDICTS["oom"])
    elif bar["kind"] == "crash":
        name = signal_name(bar["signal"]).partition("(")[2].rstrip(")")
        yield _mark(bar["to"], "crash", f"{_VERDICTS['crash']}, {name}")
    unhealthy = False
    for change in _listed(run):
        was = unhealthy
        supervisor = change["supervisor"]
        unhealthy = supervisor is not None and supervisor["health"] == "unhealthy"
        if unhealthy and not was:
            at = max(axis.seen(change["seen_at"]), bar["from"])
            yield _mark(at, "unhealthy", _VERDICTS["unhealthy"])


def _supervised(supervisor: Mapping[str, Any]) -> str:
    restarts = supervisor["restarts"]
    text = f"supervisor {supervisor['status']}, restarted {restarts}x"
    if supervisor["health"] not in ("disabled", "unknown"):
        text += f", {supervisor['health']}"
    return printable(text)


def _output(output: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if output is None:
        return None
    lines = [_text(line, _LONGEST_LINE) for line in output["lines"]]
    return {"stream": output["stream"], "lines": lines, "total": output["total"]}


def _tests(tests: Iterable[Mapping[str, Any]], axis: _Axis) -> Iterator[dict[str, Any]]:
    for test in tests:
        begun = test["started_at"]
        start = 0 if begun is None else axis.seen(begun)
        yield {
            "id": printable(test["id"]),
            "attempt": test["attempt"],
            "worker": test["worker"],
            "outcome": test["outcome"],
            "from": start,
            # The end of one in which its worker died is not known.
            "to": max(start, axis.seen(test["ended_at"])) if test["ended_at"] else start,
        }


def _gaps(gaps: Iterable[Mapping[str, Any]], sandbox: str, axis: _Axis) -> Iterator[dict[str, Any]]:
    for gap in gaps:
        for time in gap["times"] if gap["sandbox"] == sandbox else ():
            to = axis.span if time["to_at"] is None else axis.seen(time["to_at"])
            yield {
                "from": axis.seen(time["from_at"]),
                "to": to,
                "open": time["to_at"] is None,
                "why": printable(gap["why"]),
            }


def _outages(
    outages: Iterable[Mapping[str, Any]],
    gaps: Sequence[Mapping[str, Any]],
    sandbox: str,
    axis: _Axis,
) -> Iterator[dict[str, Any]]:
    for outage in outages:
        if outage["sandbox"] != sandbox:
            continue
        begun, ended = axis.seen(outage["from_at"]), axis.seen(outage["to_at"])
        if any(gap["from"] <= begun and ended <= gap["to"] for gap in gaps):
            continue  # the gap tells it
        yield {
            "from": begun,
            "to": ended,
            "faults": printable(outage["faults"]),
            "test": None if outage["test"] is None else printable(outage["test"]),
        }


def _worker_of(name: str, label: str, workers: Sequence[str]) -> str | None:
    """Give the worker whose own a sandbox is, if it is: its tests are the bands behind the bars."""
    own = [
        worker for worker in workers if name == f"{label}@{worker}" or worker in label.split("-")
    ]
    return own[0] if own else None


def _text(text: str, most: int) -> str:
    beyond = len(text) - most
    shown = printable(text[:most])
    return f"{shown} ... and {beyond:,} characters more" if beyond > 0 else shown


def _epoch(time: str) -> int:
    """Give a time of the report as milliseconds; Python 3.10 does not read its Z."""
    return round(datetime.fromisoformat(time.replace("Z", "+00:00")).timestamp() * 1000)
