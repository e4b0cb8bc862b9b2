"""The guard's summary for the terminal and GitHub, and the guard's effect on the exit status."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

import pytest

from pytest_tlsandbox.formatting.processes import list_texts
from pytest_tlsandbox.formatting.text import count, printable, seconds
from pytest_tlsandbox.monitoring.plain_data import describe_gap, epoch, iso
from pytest_tlsandbox.monitoring.session_data import SessionData
from pytest_tlsandbox.settings import FACTS, Settings

Data = Mapping[str, Any]
"""A finding, a gap, or an interval of a gap."""


class GuardSummary:
    """Prints all findings, and fails the session if findings are not attributed to a test."""

    def __init__(self, settings: Settings, session: SessionData) -> None:
        self._settings = settings
        self._session = session
        self._lines: list[str] = []
        self._failed: list[str] = []
        """Why the guard fails the session, as a line; empty if the guard does not fail it."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        """Return the outcome "OOM" for a test that failed because of an OOM kill."""
        if not report.failed or not getattr(report, FACTS, {}).get("oom"):
            return None
        return "failed" if report.when == "call" else "error", "O", "OOM"

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail the session if there are findings outside of tests, or if there are gaps.

        If the session already fails for another reason, its exit status does not change.
        """
        now = iso(datetime.now(timezone.utc))
        findings, gaps = self._findings(), self._session.gaps
        self._lines = [*map(printable, self._describe(findings, gaps, now))]
        why = "" if self._settings.guard_report_only else _why_session_fails(findings, gaps, now)
        if why:
            self._failed = [f"session failed: {printable(why)}"]
            if session.exitstatus == pytest.ExitCode.OK:
                session.exitstatus = pytest.ExitCode.TESTS_FAILED
        step_summary = os.environ.get("GITHUB_STEP_SUMMARY")
        if step_summary:
            lines = [*(self._lines or [self._nothing_found()]), *self._failed]
            # GitHub does not interpret markup in a block of code.
            with contextlib.suppress(OSError), open(step_summary, "a", encoding="utf-8") as file:
                file.write("\n".join(["### tlsandbox guard", "", "```text", *lines, "```", "", ""]))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the findings and the gaps.

        If there is nothing to report, print nothing. With pytest's option -v, print a single line
        instead.
        """
        lines, verbosity = self._lines, terminalreporter.config.get_verbosity()
        if self._settings.guard and verbosity > 0:
            lines = [*(lines or [self._nothing_found()]), *self._limits()]
        if lines:
            terminalreporter.section("tlsandbox guard")
        for line in lines:
            terminalreporter.line(line)
        for line in self._failed:
            terminalreporter.line(f"tlsandbox guard: {line}", red=True)

    def _findings(self) -> list[dict[str, Any]]:
        """Return the findings without duplicates.

        If several rules report the same run with the same headline, the result contains only the
        first of these findings.
        """
        of = ("sandbox", "test", "attempt", "process", "run", "headline", "allowed")
        found: dict[tuple[Any, ...], dict[str, Any]] = {}
        for finding in self._session.findings:
            found.setdefault(tuple(map(finding.get, of)), finding)
        return [*found.values()]

    def _describe(self, findings: Sequence[Data], gaps: Iterable[Data], now: str) -> list[str]:
        """Return a line that counts the findings, then a line for each finding and for each gap."""
        rows = []
        for finding in findings:
            excuse = f", allowed: {finding['allowed']}" if finding["allowed"] else ""
            text = f"{finding['headline']}{self._place([finding['sandbox']])}{excuse}"
            rows.append(f"{finding['test'] or 'no test'} - {text}")
        ends = self._session.unknown_ends.values()
        if ends:
            names = list_texts([end["name"] for end in ends])
            place = self._place(end["sandbox"] for end in ends)
            rows.append(f"{count(len(ends), 'end')} unknown, no test fails for it: {names}{place}")
        for gap in gaps:
            what = f"{gap['label']}, {describe_gap(gap)}"
            rows.append(f"not monitored for {_duration([gap], now)}: {what}")
        return [self._count(findings), *rows] if findings else rows

    def _count(self, findings: Sequence[Data]) -> str:
        """Return a count of the findings, such as "3 findings: 2 fail a test, 1 allowed"."""
        allowed = sum(finding["allowed"] is not None for finding in findings)
        loose = sum(map(_is_loose, findings))
        failing = len(findings) - allowed - loose
        verb = "fails" if failing == 1 else "fail"
        kinds = {f"{verb} a test": failing, "outside all tests": loose, "allowed": allowed}
        if self._settings.guard_report_only:
            kinds = {"reported only": failing + loose, "allowed": allowed}
        parts = ", ".join(f"{number} {kind}" for kind, number in kinds.items() if number)
        return f"{count(len(findings), 'finding')}: {parts}"

    def _place(self, sandboxes: Iterable[str]) -> str:
        """Return the sandboxes' names in parentheses, or "" if the session uses one sandbox."""
        names = ", ".join(dict.fromkeys(sandboxes))
        return f" (sandbox {names})" if len(self._session.sandboxes) > 1 else ""

    def _limits(self) -> Iterator[str]:
        """Yield a line for each sandbox whose kernel does not count OOM kills for the guard."""
        for name, box in self._session.sandboxes.items():
            if box.get("no_kernel_counter") and "oom" in self._settings.guard:
                limit = "OOM kills of processes that the sandbox does not list are not found"
                yield printable(f"{limit} (sandbox {name}): {box['no_kernel_counter']}")

    def _nothing_found(self) -> str:
        rules = ", ".join(self._settings.guard) or "no rules"
        names = ", ".join(self._session.sandboxes) or "no sandbox"
        tests = count(len(self._session.tests), "test")
        polls = count(self._session.looks, "poll")
        return printable(f"no findings: {rules}; {tests}, {polls} of {names}")


def _why_session_fails(findings: Iterable[Data], gaps: Iterable[Data], now: str) -> str:
    """Return why the guard fails the session, or "" if the guard does not fail it.

    Findings that already fail a test do not count.
    """
    loose = sum(map(_is_loose, findings))
    parts = [f"{count(loose, 'finding')} outside all tests"] if loose else []
    guarded: dict[str, list[Data]] = {}
    for gap in gaps:
        if gap["guarded"]:
            guarded.setdefault(gap["label"], []).append(gap)
    for label, of_one in guarded.items():
        duration = f"{_duration(of_one, now)} ({count(len(of_one), 'gap')})"
        parts.append(f"sandbox {label} was not monitored for {duration}")
    return list_texts(parts)


def _duration(gaps: Iterable[Data], now: str) -> str:
    """Return how long a sandbox was not monitored.

    Overlapping intervals are not counted twice. Open intervals end ``now``.
    """
    total = until = 0
    times = [time for gap in gaps for time in gap["times"]]
    intervals = [(epoch(time["from_at"]), epoch(time["to_at"] or now)) for time in times]
    for begun, ended in sorted(intervals):
        total += max(0, ended - max(begun, until))
        until = max(until, ended)
    return seconds(total / 1000)


def _is_loose(finding: Data) -> bool:
    return finding["reported_in"] == "session" and finding["allowed"] is None
