"""The data of a test session, collected from test reports and from workers.

With xdist, the workers run the tests, and the controller collects the data. Without xdist, a
single process runs the tests and collects the data.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

import pytest

from pytest_tlsandbox.monitoring.plain_data import iso
from pytest_tlsandbox.redact import mask_text
from pytest_tlsandbox.settings import FACTS

_LONGEST_FAILURE, _LONGEST_LINE = 20_000, 500
"""Maximum number of characters of a failure that are kept, and of its first line."""


class SessionData:
    """The pytest plugin that collects the data of one session.

    The plugin runs in the process that reports the results.
    """

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
        self.unknown_ends: dict[tuple[str, str], dict[str, Any]] = {}
        """The processes whose exit code the sandbox lost, except processes that a test started."""
        self._gaps: dict[tuple[str | None, ...], dict[str, Any]] = {}
        self.outages: dict[tuple[str | None, ...], dict[str, Any]] = {}
        self.outputs: dict[tuple[str, str], dict[str, Any]] = {}
        self._running: dict[tuple[str | None, str], dict[str, Any]] = {}

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Record an error that happened during collection."""
        if report.failed:
            self.collection_errors.append(report.nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add the report of one phase of a test, and the data that is attached to the report."""
        facts = getattr(report, FACTS, {})
        self.add_data(facts)
        if hasattr(report, "context"):
            return  # the report of a subtest, which the report of its test follows
        node = getattr(report, "node", None)  # the worker, set by xdist
        worker = None if node is None else node.gateway.id
        if worker is not None:
            self.workers.setdefault(worker, {"id": worker, "lost": False})
        test = self._running.get((worker, report.nodeid))
        if report.when == "setup" or test is None:
            test = self._begin(worker, report.nodeid)
        if report.when not in ("setup", "call", "teardown"):
            test["outcome"] = "crashed"  # xdist made this report, because the worker died
            test["failure"] = {**_failure_of(report), "phase": "call"}
            return
        outcome = str(report.outcome)
        if hasattr(report, "wasxfail"):
            outcome = "xpassed" if report.passed else "xfailed"
        test["phases"].append((report.when, outcome, report.start, report.stop))
        test["outcome"] = _worst(test["outcome"], report.when, outcome)
        test["cause"] = test["cause"] or facts.get("cause")
        if report.failed and test["failure"] is None:
            test["failure"] = _failure_of(report)
        test["output_files"] += facts.get("output_files", ())

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object | None) -> None:
        """Add the final data from a worker, or record that the worker died."""
        output = getattr(node, "workeroutput", None)
        if output is None or error:
            self.workers[node.gateway.id] = {"id": node.gateway.id, "lost": True}
        self.add_data((output or {}).get(FACTS, {}))

    def add_data(self, data: Mapping[str, Any]) -> None:
        """Add the data that ``take_data`` returned. The data may come from a worker."""
        worker = data.get("worker")
        self.looks += data.get("looks", 0)
        for name, sandbox in data.get("sandboxes", {}).items():
            self.sandboxes.setdefault(name, {"name": name, **sandbox})
        for process in data.get("processes", ()):
            known = self.processes.setdefault((process["sandbox"], process["id"]), process)
            known["before_the_session"] &= process["before_the_session"]
            known["test"] = known["test"] or process["test"]
        self.changes += data.get("changes", ())
        self._found += data.get("findings", ())
        self._caused.update(data.get("caused", ()))
        for incident in data.get("incidents", ()):  # several workers may report the same incident
            key = tuple(incident[name] for name in ("sandbox", "process", "run", "rule", "what"))
            self.incidents.setdefault(key, incident)
        for unknown in data.get("unknown_ends", ()):
            self.unknown_ends[unknown["sandbox"], unknown["process"]] = unknown
        for kind, entries in (("gaps", self._gaps), ("outages", self.outages)):
            for new in data.get(kind, ()):  # or a newer state of a known entry
                key = worker, new["sandbox"], new.get("why"), new["from_at"]
                entries[key] = {**new, "worker": worker}
        for output in data.get("outputs", ()):
            self.outputs[output["sandbox"], output["process"]] = output["output"]

    @property
    def findings(self) -> list[dict[str, Any]]:
        """The findings without duplicates.

        For example, a finding of the session is a duplicate if a test has already reported the
        finding.
        """
        keys, duplicates = {*self._caused}, set()
        for finding in sorted(self._found, key=_precedence):
            if finding["reported_in"] == "session" and not keys.isdisjoint(finding["keys"]):
                duplicates.add(id(finding))
            keys.update(finding["keys"])
        return [finding for finding in self._found if id(finding) not in duplicates]

    @property
    def gaps(self) -> list[dict[str, Any]]:
        """The intervals in which a sandbox was not monitored, without duplicates."""
        merged: dict[tuple[str, str], dict[str, Any]] = {}
        for gap in self._gaps.values():
            label = self.sandboxes.get(gap["sandbox"], {}).get("label", gap["sandbox"])
            new = {**gap, "label": label, "tests": 0, "open": False, "times": []}
            same = merged.setdefault((gap["sandbox"], gap["why"]), new)
            same["tests"] += gap["tests"]
            same["guarded"] |= gap["guarded"]
            same["times"].append({key: gap[key] for key in ("worker", "from_at", "to_at")})
            if gap["to_at"] is None:
                same.update(open=True, to_test=None)
        return [*merged.values()]

    def _begin(self, worker: str | None, nodeid: str) -> dict[str, Any]:
        earlier = self._running.get((worker, nodeid))
        test: dict[str, Any] = {
            "id": nodeid,
            "attempt": 1 if earlier is None else earlier["attempt"] + 1,
            "worker": worker,
            "outcome": "passed",
            "cause": None,
            "output_files": [],
            "failure": None,
            "phases": [],
        }
        self._running[worker, nodeid] = test
        self.tests.append(test)
        return test


def _failure_of(report: pytest.TestReport) -> dict[str, Any]:
    """Return the phase of a failure, a line that summarizes the error, and the failure's text.

    The text includes the sections of the report that are about a sandbox.
    """
    crash = getattr(report.longrepr, "reprcrash", None)
    text = report.longreprtext
    sections = [f"{title}:\n{content}" for title, content in report.sections if "sandbox" in title]
    lines = (crash.message if crash else text).strip().splitlines() or [""]
    line = lines[0] if crash else lines[-1]
    # Mask the text before it is cut, because a mask needs the name that precedes a secret.
    whole = mask_text("\n\n".join([text, *sections]))
    beyond = len(whole) - _LONGEST_FAILURE
    kept = f"... {beyond:,} characters were cut\n" * (beyond > 0) + whole[-_LONGEST_FAILURE:]
    return {"phase": report.when, "line": mask_text(line[:_LONGEST_LINE]), "text": kept}


def _precedence(finding: Mapping[str, Any]) -> tuple[bool, bool]:
    """Return a sort key: findings of tests come first, then allowed findings, then all others."""
    return finding["reported_in"] == "session", finding["allowed"] is None


def _worst(so_far: str, phase: str, outcome: str) -> str:
    """Combine the outcome of a test so far with the outcome of its next phase."""
    if outcome == "passed" or so_far == "failed":
        return so_far
    if outcome == "failed" and phase != "call":
        return "error"
    return outcome
