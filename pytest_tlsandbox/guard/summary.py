"""The guard's summary for the terminal and GitHub, and the guard's effect on the exit status."""

from __future__ import annotations

import contextlib
import os
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import pytest

from pytest_tlsandbox.formatting.processes import list_texts
from pytest_tlsandbox.formatting.text import count, printable, seconds
from pytest_tlsandbox.monitoring.plain_data import epoch, iso
from pytest_tlsandbox.monitoring.summary_rows import describe_gap
from pytest_tlsandbox.settings import FACTS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from pytest_tlsandbox.monitoring.session_data import SessionData
    from pytest_tlsandbox.settings import Settings

_MOST_LINES = 30
_MOST_ROWS = 50
"""Maximum number of rows in the table for GitHub, which drops summaries above one megabyte."""


class GuardSummary:
    """Prints all findings, and fails the session if findings are not attributed to a test."""

    def __init__(self, config: pytest.Config, settings: Settings, session: SessionData) -> None:
        self._config = config
        self._settings = settings
        self._session = session
        self._why: str | None = None
        self._ended = ""

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
        self._ended = iso(datetime.now(timezone.utc))
        self._why = self._reason()
        if self._why is not None and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        step_summary = os.environ.get("GITHUB_STEP_SUMMARY")
        if step_summary:
            with contextlib.suppress(OSError), open(step_summary, "a", encoding="utf-8") as file:
                file.write(self._markdown())

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the findings and the gaps.

        If there is nothing to report, print nothing, or a single line if pytest runs with -v.
        """
        findings = self._findings()
        lines = [self._count(findings)] if findings else []
        rows = [f"{where} - {text}" for where, text in map(self._row, findings)]
        rows += self._notes()
        lines += rows[:_MOST_LINES]
        if len(rows) > _MOST_LINES:
            lines.append(f"... and {len(rows) - _MOST_LINES} more")
        if not lines and self._settings.guard and self._config.get_verbosity() > 0:
            lines = [f"no findings: {self._extent()}"]
        if lines:
            terminalreporter.section("tlsandbox guard")
        for line in lines:
            terminalreporter.line(printable(line))
        if self._why is not None:
            terminalreporter.line(f"tlsandbox guard: session failed: {self._why}", red=True)

    def _reason(self) -> str | None:
        """Return why the guard fails the session, or None if the guard does not fail it.

        Findings that already fail a test do not count.
        """
        if self._settings.guard_report_only:
            return None
        loose = sum(map(_is_loose, self._findings()))
        parts = [f"{count(loose, 'finding')} outside all tests"] if loose else []
        guarded = [gap for gap in self._session.gaps if gap["guarded"]]
        for label in dict.fromkeys(gap["label"] for gap in guarded):
            of_one = [gap for gap in guarded if gap["label"] == label]
            times = [time for gap in of_one for time in gap["times"]]
            parts.append(
                f"sandbox {label} was not monitored for {self._duration(times)} "
                f"({count(len(of_one), 'gap')})"
            )
        return list_texts(parts) or None

    def _duration(self, times: Iterable[Mapping[str, Any]]) -> str:
        """Return how long a sandbox was not monitored.

        Overlapping intervals are not counted twice.
        """
        total = until = 0
        spans = ((epoch(time["from_at"]), epoch(time["to_at"] or self._ended)) for time in times)
        for begun, ended in sorted(spans):
            total += max(0, ended - max(begun, until))
            until = max(until, ended)
        return seconds(total / 1000)

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

    def _count(self, findings: Collection[Mapping[str, Any]]) -> str:
        """Return a count of the findings, such as "3 findings: 2 fail a test, 1 allowed"."""
        allowed = sum(finding["allowed"] is not None for finding in findings)
        loose = sum(map(_is_loose, findings))
        failing = len(findings) - allowed - loose
        if self._settings.guard_report_only:
            kinds = {f"{failing + loose} reported only": failing + loose}
        else:
            verb = "fails" if failing == 1 else "fail"
            kinds = {f"{failing} {verb} a test": failing, f"{loose} outside all tests": loose}
        kinds[f"{allowed} allowed"] = allowed
        parts = ", ".join(text for text, number in kinds.items() if number)
        return f"{count(len(findings), 'finding')}: {parts}"

    def _row(self, finding: Mapping[str, Any]) -> tuple[str, str]:
        """Return the test to which a finding is attributed, and the text of the finding."""
        allowed = finding["allowed"]
        excuse = f", allowed: {allowed}" if allowed is not None else ""
        place = self._place([finding["sandbox"]])
        return finding["test"] or "no test", f"{finding['headline']}{place}{excuse}"

    def _place(self, sandboxes: Iterable[str]) -> str:
        """Return the sandboxes' names in parentheses, or "" if the session uses one sandbox."""
        names = ", ".join(dict.fromkeys(sandboxes))
        return f" (sandbox {names})" if len(self._session.sandboxes) > 1 else ""

    def _notes(self) -> Iterator[str]:
        """Return a line about lost exit codes, if there are any, and a line for each gap."""
        ends = self._session.unknown_ends
        if ends:
            names = list_texts([end["name"] for end in ends])
            place = self._place(end["sandbox"] for end in ends)
            yield f"{count(len(ends), 'end')} unknown, no test fails for it: {names}{place}"
        for gap in self._session.gaps:
            duration = self._duration(gap["times"])
            yield f"not monitored for {duration}: {describe_gap(gap, gap['label'])}"

    def _extent(self) -> str:
        rules = ", ".join(self._settings.guard) or "no rules"
        names = ", ".join(self._session.sandboxes) or "no sandbox"
        tests = count(len(self._session.tests), "test")
        return f"{rules}; {tests}, {count(self._session.looks, 'poll')} of {names}"

    def _markdown(self) -> str:
        lines = ["### tlsandbox guard", ""]
        findings, notes = self._findings(), [*self._notes()]
        if not findings and not notes:
            return "\n".join([*lines, f"No findings: {_cell(self._extent())}.", "", ""])
        if findings:
            lines += [self._count(findings), "", "| test | finding |", "|---|---|"]
            rows = [*map(self._row, findings)]
            lines += [f"| {' | '.join(map(_cell, row))} |" for row in rows[:_MOST_ROWS]]
            if len(rows) > _MOST_ROWS:
                lines += ["", f"... and {len(rows) - _MOST_ROWS} more."]
            lines.append("")
        lines += [f"- {_cell(note)}" for note in notes]
        lines += [""] * bool(notes)
        if self._why is not None:
            lines += [f"Session failed: {_cell(self._why)}.", ""]
        return "\n".join([*lines, ""])


def _is_loose(finding: Mapping[str, Any]) -> bool:
    return finding["reported_in"] == "session" and finding["allowed"] is None


def _cell(text: str) -> str:
    """Return the text of a table cell with its markup escaped."""
    text = printable(text).replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")
    return text.replace("`", "\\`").replace("*", "\\*").replace("_", "\\_")
