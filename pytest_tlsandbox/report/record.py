"""A test session as data: folded from the reports of tests and the facts they carry.

The document is described by ``report-1.schema.json`` beside this module.
"""

from __future__ import annotations

import contextlib
import platform
from datetime import datetime, timezone
from importlib import metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pytest

VERSION = 1
"""Of the schema; raised when a reader of the old one would misread the new."""


class Record:
    """What was seen of one session, by the one process that tells."""

    def __init__(self) -> None:
        self.started_at = _now()
        self.tests: list[dict[str, Any]] = []
        self.workers: dict[str, dict[str, Any]] = {}
        self.sandboxes: dict[str, dict[str, Any]] = {}
        self.processes: dict[tuple[str, str], dict[str, Any]] = {}
        self.changes: list[dict[str, Any]] = []
        self.collection_errors: list[str] = []
        self.looks = 0
        self._found: list[dict[str, Any]] = []
        self._meant: set[str] = set()
        self._unknown_ends: dict[tuple[str, str], dict[str, Any]] = {}
        self._gaps: dict[str, dict[str, Any]] = {}
        self._outages: dict[tuple[str | None, str, str], dict[str, Any]] = {}
        self._outputs: dict[tuple[str, str], dict[str, Any]] = {}
        self._running: dict[tuple[str | None, str], dict[str, Any]] = {}

    def add_report(self, report: pytest.TestReport) -> None:
        """Take in the report of one phase of a test."""
        if hasattr(report, "context"):
            return  # of a subtest: that of its test comes as well
        worker = getattr(report, "worker_id", None)
        if worker is not None:
            self.workers.setdefault(worker, {"id": worker, "lost": False})
        if report.when not in ("setup", "call", "teardown"):
            self._add_crash(report)
            return
        test = self._running.get((worker, report.nodeid))
        if report.when == "setup" or test is None:
            test = self._begin(worker, report.nodeid)
        outcome = _outcome_of(report)
        test["phases"].append(
            {
                "name": report.when,
                "outcome": outcome,
                "started_at": _time(getattr(report, "start", None)),
                "ended_at": _time(getattr(report, "stop", None)),
            }
        )
        test["outcome"] = _worst(test["outcome"], str(report.when), outcome)
        test["ended_at"] = test["phases"][-1]["ended_at"]
        test["started_at"] = test["phases"][0]["started_at"]

    def add_facts(self, facts: Mapping[str, Any]) -> None:
        """Take in what a report, or a worker's output, carries."""
        self.looks += facts.get("looks", 0)
        for name, sandbox in facts.get("sandboxes", {}).items():
            self.sandboxes.setdefault(name, {"name": name, **sandbox})
        for process in facts.get("processes", ()):
            self._add_process(process)
        self.changes += facts.get("changes", ())
        self._found += facts.get("findings", ())
        self._meant.update(facts.get("meant", ()))
        for unknown in facts.get("unknown_ends", ()):
            self._unknown_ends[unknown["sandbox"], unknown["process"]] = unknown
        for gap in facts.get("gaps", ()):
            self._gaps[gap["id"]] = gap
        for outage in facts.get("outages", ()):
            worker = facts.get("worker")
            met = {**outage, "worker": worker}
            self._outages[worker, outage["sandbox"], outage["from_at"]] = met
        for output in facts.get("outputs", ()):
            kept = {key: output[key] for key in ("stream", "lines", "total")}
            self._outputs[output["sandbox"], output["process"]] = kept

    def lose_worker(self, worker: str) -> None:
        """Take note that a worker died; what it had reported stays."""
        self.workers[worker] = {"id": worker, "lost": True}

    @property
    def findings(self) -> list[dict[str, Any]]:
        """Findings, each once: what a test is told of, allows, or did itself is not told again."""
        told = [finding for finding in self._found if finding["told"] == "test"]
        settled = self._meant.union(*(finding["keys"] for finding in told))
        allowed = {
            key
            for finding in self._found
            if finding["allowed"] is not None
            for key in finding["keys"]
        }
        kept = []
        for finding in self._found:
            if finding["told"] == "session":
                known = settled if finding["allowed"] is not None else settled | allowed
                if not known.isdisjoint(finding["keys"]):
                    continue
                settled.update(finding["keys"])
            kept.append(finding)
        return kept

    @property
    def unknown_ends(self) -> list[dict[str, Any]]:
        """Processes whose end a sandbox lost, and that no test answers for; each once."""
        return [*self._unknown_ends.values()]

    @property
    def gaps(self) -> list[dict[str, Any]]:
        """The times in which a sandbox was not watched, each once, whoever met it."""
        merged: dict[tuple[str, str], dict[str, Any]] = {}
        for gap in self._gaps.values():
            new = {**gap, "tests": 0, "times": []}
            same = merged.setdefault((gap["sandbox"], gap["why"]), new)
            same["tests"] += gap["tests"]
            same["guarded"] |= gap["guarded"]
            same["times"].append({key: gap[key] for key in ("worker", "from_at", "to_at")})
            if gap["open"]:
                same.update(open=True, to_test=None)
        return [*merged.values()]

    def document(
        self, *, exit_status: int, rules: tuple[str, ...], report_only: bool
    ) -> dict[str, Any]:
        """Give the session as the schema has it."""
        changes: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for change in sorted(self.changes, key=lambda change: change["seen_at"]):
            owner = (change["sandbox"], change["process"])
            told = {
                key: value for key, value in change.items() if key not in ("sandbox", "process")
            }
            same = changes.setdefault(owner, [])
            if not same or _state(same[-1]) != _state(told):  # several workers see the same
                same.append(told)
        finished = not any(worker["lost"] for worker in self.workers.values())
        return {
            "version": VERSION,
            "versions": _versions(),
            "started_at": self.started_at,
            "ended_at": _now(),
            "exit_status": exit_status,
            "complete": finished and exit_status in (0, 1, 5),
            "guard": {"rules": list(rules), "report_only": report_only},
            "workers": [*self.workers.values()],
            "sandboxes": [*self.sandboxes.values()],
            "collection_errors": self.collection_errors,
            "tests": self.tests,
            "processes": [
                {**process, "changes": changes.get(owner, []), "output": self._outputs.get(owner)}
                for owner, process in self.processes.items()
            ],
            "findings": [
                {key: value for key, value in finding.items() if key != "keys"}
                for finding in self.findings
            ],
            "unknown_ends": self.unknown_ends,
            "gaps": [
                {
                    key: value
                    for key, value in gap.items()
                    if key not in ("id", "label", "from_at", "to_at")
                }
                for gap in self.gaps
            ],
            "outages": sorted(self._outages.values(), key=lambda outage: outage["from_at"]),
        }

    def _begin(self, worker: str | None, nodeid: str) -> dict[str, Any]:
        earlier = self._running.get((worker, nodeid))
        test: dict[str, Any] = {
            "id": nodeid,
            "attempt": 1 if earlier is None else earlier["attempt"] + 1,
            "worker": worker,
            "outcome": "passed",
            "started_at": None,
            "ended_at": None,
            "phases": [],
        }
        self._running[worker, nodeid] = test
        self.tests.append(test)
        return test

    def _add_crash(self, report: pytest.TestReport) -> None:
        """Take in what xdist says of the test in which a worker died."""
        worker = getattr(getattr(report, "node", None), "gateway", None)
        name = getattr(worker, "id", None)
        test = self._running.get((name, report.nodeid)) or self._begin(name, report.nodeid)
        test["outcome"] = "crashed"

    def _add_process(self, process: dict[str, Any]) -> None:
        """Take in a process: what one worker found there another may have seen begin."""
        known = self.processes.setdefault((process["sandbox"], process["id"]), process)
        known["before_the_session"] = known["before_the_session"] and process["before_the_session"]
        if known["test"] is None:
            known["test"] = process["test"]


def _state(change: Mapping[str, Any]) -> dict[str, Any]:
    places = ("at", "seen_at", "test", "attempt", "phase")
    return {key: value for key, value in change.items() if key not in places}


def _outcome_of(report: pytest.TestReport) -> str:
    if hasattr(report, "wasxfail"):
        return "xpassed" if report.passed else "xfailed"
    return str(report.outcome)


def _worst(so_far: str, phase: str, outcome: str) -> str:
    """Give the outcome of a test after one more phase of it."""
    if outcome == "passed" or so_far == "failed":
        return so_far
    if outcome == "failed" and phase != "call":
        return "error"
    return outcome


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in (
        "pytest-tlsandbox",
        "pytest",
        "pytest-xdist",
        "pytest-rerunfailures",
        "pytest-timeout",
        "tensorlake",
    ):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name.replace("-", "_")] = metadata.version(name)
    return found


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else _iso(datetime.fromtimestamp(seconds, timezone.utc))


def _now() -> str:
    return _iso(datetime.now(timezone.utc))


def _iso(time: datetime) -> str:
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")
