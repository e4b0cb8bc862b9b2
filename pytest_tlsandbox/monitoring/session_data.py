"""The data of a test session, collected from test reports and from workers."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from pytest_tlsandbox.monitoring.plain_data import iso
from pytest_tlsandbox.redact import mask_text
from pytest_tlsandbox.settings import FACTS

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pytest

_LONGEST_FAILURE, _LONGEST_LINE = 20_000, 500
"""Maximum number of characters of a failure that are kept, and of its first line."""


class SessionData:
    """The data of one session, which is collected in the process that reports the results."""

    def __init__(self) -> None:
        self.started_at = iso(datetime.now(timezone.utc))
        self.tests: list[dict[str, Any]] = []
        self.workers: dict[str, dict[str, Any]] = {}
        self.sandboxes: dict[str, dict[str, Any]] = {}
        self.processes: dict[tuple[str, str], dict[str, Any]] = {}
        self.changes: list[dict[str, Any]] = []
        self.incidents: dict[tuple[object, ...], dict[str, Any]] = {}
        self.collection_errors: list[str] = []
        self.looks = 0
        self._found: list[dict[str, Any]] = []
        self._caused: set[str] = set()
        self._unknown_ends: dict[tuple[str, str], dict[str, Any]] = {}
        self._gaps: dict[str, dict[str, Any]] = {}
        self.outages: dict[tuple[str | None, str, str], dict[str, Any]] = {}
        self.outputs: dict[tuple[str, str], dict[str, Any]] = {}
        self._running: dict[tuple[str | None, str], dict[str, Any]] = {}

    def add_report(self, report: pytest.TestReport) -> None:
        """Add the test report of one phase."""
        if hasattr(report, "context"):
            return  # the report of a subtest, which the report of its test follows
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
        test["cause"] = test["cause"] or getattr(report, FACTS, {}).get("cause")
        if report.failed and test["failure"] is None:
            test["failure"] = _failure_of(report)

    def add_data(self, data: Mapping[str, Any]) -> None:
        """Add the data that ``take_data`` returned. The data may come from a worker."""
        self.looks += data.get("looks", 0)
        for name, sandbox in data.get("sandboxes", {}).items():
            self.sandboxes.setdefault(name, {"name": name, **sandbox})
        for process in data.get("processes", ()):
            self._add_process(process)
        self.changes += data.get("changes", ())
        self._found += data.get("findings", ())
        self._caused.update(data.get("caused", ()))
        for incident in data.get("incidents", ()):  # several workers may report the same incident
            key = tuple(incident[name] for name in ("sandbox", "process", "run", "rule", "what"))
            self.incidents.setdefault(key, incident)
        for unknown in data.get("unknown_ends", ()):
            self._unknown_ends[unknown["sandbox"], unknown["process"]] = unknown
        for gap in data.get("gaps", ()):
            self._gaps[gap["id"]] = gap
        for outage in data.get("outages", ()):
            worker = data.get("worker")
            seen = {**outage, "worker": worker}
            self.outages[worker, outage["sandbox"], outage["from_at"]] = seen
        for output in data.get("outputs", ()):
            kept = {key: output[key] for key in ("stream", "lines", "total")}
            self.outputs[output["sandbox"], output["process"]] = kept

    def lose_worker(self, worker: str) -> None:
        """Record that a worker died, but keep the data that the worker has already sent."""
        self.workers[worker] = {"id": worker, "lost": True}

    @property
    def findings(self) -> list[dict[str, Any]]:
        """The findings without duplicates.

        For example, a finding of the session is a duplicate if a test has already reported the
        finding.
        """
        of_tests = [finding for finding in self._found if finding["reported_in"] == "test"]
        settled = self._caused.union(*(finding["keys"] for finding in of_tests))
        allowed = {
            key
            for finding in self._found
            if finding["allowed"] is not None
            for key in finding["keys"]
        }
        kept = []
        for finding in self._found:
            if finding["reported_in"] == "session":
                known = settled if finding["allowed"] is not None else settled | allowed
                if not known.isdisjoint(finding["keys"]):
                    continue
                settled.update(finding["keys"])
            kept.append(finding)
        return kept

    @property
    def unknown_ends(self) -> list[dict[str, Any]]:
        """The processes whose exit code the sandbox lost, except processes that a test started."""
        return [*self._unknown_ends.values()]

    @property
    def gaps(self) -> list[dict[str, Any]]:
        """The intervals in which a sandbox was not monitored, without duplicates."""
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

    def _begin(self, worker: str | None, nodeid: str) -> dict[str, Any]:
        earlier = self._running.get((worker, nodeid))
        test: dict[str, Any] = {
            "id": nodeid,
            "attempt": 1 if earlier is None else earlier["attempt"] + 1,
            "worker": worker,
            "outcome": "passed",
            "started_at": None,
            "ended_at": None,
            "cause": None,
            "failure": None,
            "phases": [],
        }
        self._running[worker, nodeid] = test
        self.tests.append(test)
        return test

    def _add_crash(self, report: pytest.TestReport) -> None:
        """Add the report that xdist creates for a test during which a worker died."""
        worker = getattr(getattr(report, "node", None), "gateway", None)
        name = getattr(worker, "id", None)
        test = self._running.get((name, report.nodeid)) or self._begin(name, report.nodeid)
        test["outcome"] = "crashed"
        test["failure"] = {**_failure_of(report), "phase": "call"}

    def _add_process(self, process: dict[str, Any]) -> None:
        """Add a process. If the process is already known, merge the new data with the known data."""
        known = self.processes.setdefault((process["sandbox"], process["id"]), process)
        known["before_the_session"] = known["before_the_session"] and process["before_the_session"]
        if known["test"] is None:
            known["test"] = process["test"]


def _failure_of(report: pytest.TestReport) -> dict[str, Any]:
    """Return the first line of an error, and its whole text with what happened in the sandbox."""
    crash = getattr(report.longrepr, "reprcrash", None)
    text = report.longreprtext
    sections = [f"{title}:\n{content}" for title, content in report.sections if "sandbox" in title]
    lines = (crash.message if crash else text).strip().splitlines() or [""]
    line = lines[0] if crash else lines[-1]
    whole = "\n\n".join([text, *sections])
    beyond = len(whole) - _LONGEST_FAILURE
    kept = f"... {beyond:,} characters were cut\n" * (beyond > 0) + whole[-_LONGEST_FAILURE:]
    return {"phase": report.when, "line": mask_text(line[:_LONGEST_LINE]), "text": mask_text(kept)}


def _outcome_of(report: pytest.TestReport) -> str:
    if hasattr(report, "wasxfail"):
        return "xpassed" if report.passed else "xfailed"
    return str(report.outcome)


def _worst(so_far: str, phase: str, outcome: str) -> str:
    """Combine the outcome of a test so far with the outcome of its next phase."""
    if outcome == "passed" or so_far == "failed":
        return so_far
    if outcome == "failed" and phase != "call":
        return "error"
    return outcome


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else iso(datetime.fromtimestamp(seconds, timezone.utc))
