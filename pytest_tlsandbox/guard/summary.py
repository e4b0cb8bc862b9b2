"""What the guard has to say in the end, from the one process that tells.

That is the process that runs the tests, or xdist's controller, which runs none.
"""

from __future__ import annotations

import contextlib
import os
from html import escape
from typing import TYPE_CHECKING, Any

import pytest

from pytest_tlsandbox.errors import TLSandboxError
from pytest_tlsandbox.formatting.text import capitalized, count, printable
from pytest_tlsandbox.guard.report_link import NAME, timeline_link
from pytest_tlsandbox.report.findings import tell_findings, tell_gap, tell_unknown_ends
from pytest_tlsandbox.report.record import Record
from pytest_tlsandbox.report.write import write_report
from pytest_tlsandbox.settings import FACTS, LOCAL

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from pytest_tlsandbox.guard.hooks import Watcher
    from pytest_tlsandbox.settings import Settings

_MOST_LINES = 30
_MOST_ROWS = 50
"""Of the table for GitHub, which drops a summary of more than a megabyte."""


class Teller:
    """Folds what the reports carry; writes the summary and the report; sets the exit status."""

    def __init__(self, config: pytest.Config, settings: Settings, watcher: Watcher) -> None:
        self._config = config
        self._settings = settings
        self._watcher = watcher
        self._record = Record()
        self._tests = 0
        self._why: str | None = None
        self._report_error: str | None = None
        self._report: Path | None = None

    @property
    def _has_workers(self) -> bool:
        return bool(self._config.getoption("dist", "no") != "no")

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        """Look at what xdist's workers will share: the controller sees what a dead one cannot tell."""
        if not self._has_workers:
            return
        for target in self._settings.targets:
            if target != LOCAL and "{worker}" not in target:
                with contextlib.suppress(TLSandboxError):
                    self._watcher.watch_from_afar(target)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self) -> None:
        """Begin the report; a run that never comes to its tests leaves that of an earlier one alone."""
        if self._settings.report is None or self._config.getoption("collectonly"):
            return
        self._report = self._settings.report
        # What an earlier run has left is no report of this one, however this one ends.
        with contextlib.suppress(OSError):
            self._report.unlink()

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        """Give a test that was failed by an OOM kill an outcome of its own."""
        if not report.failed or not getattr(report, FACTS, {}).get("oom"):
            return None
        return "failed" if report.when == "call" else "error", "O", "OOM"

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Take note of what could not be collected."""
        if report.failed:
            self._record.collection_errors.append(report.nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take in a report, and what it carries."""
        self._tests += report.when == "teardown"
        self._record.add_report(report)
        self._record.add_facts(getattr(report, FACTS, {}))

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object | None) -> None:
        """Take in what a worker says at its end, or that it has died."""
        output = getattr(node, "workeroutput", None)
        if output is None or error:
            self._record.lose_worker(node.gateway.id)
        self._record.add_facts((output or {}).get(FACTS, {}))

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail a session that was well, for what no test is to blame for; write the report."""
        facts = self._watcher.end()
        if self._has_workers:
            facts.pop("gaps", None)  # it is the workers that watch
        self._record.add_facts(facts)
        self._why = self._reason()
        if self._why is not None and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        if self._report is not None:
            document = self._record.document(
                exit_status=int(session.exitstatus),
                rules=self._settings.guard,
                report_only=self._settings.guard_report_only,
            )
            try:
                write_report(document, self._report)
            except OSError as error:
                self._report_error = error.strerror or type(error).__name__
                if session.exitstatus == pytest.ExitCode.OK:
                    session.exitstatus = pytest.ExitCode.TESTS_FAILED
        step_summary = os.environ.get("GITHUB_STEP_SUMMARY")
        if step_summary:
            with contextlib.suppress(OSError), open(step_summary, "a", encoding="utf-8") as file:
                file.write(self._markdown())

    @pytest.hookimpl(optionalhook=True)
    def pytest_html_results_summary(self, prefix: list[str]) -> None:
        """Have the report of pytest-html lead to the timeline."""
        link = timeline_link(self._config, self._report)
        if link is not None:
            prefix.append(f'<p><a href="{escape(link)}">{capitalized(NAME)}</a></p>')

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say what was found, allowed, or not watched; nothing where there is nothing to say."""
        lines = self._lines()
        report = self._report
        told = self._config.get_verbosity() > 0 and (self._settings.guard or report)
        if lines or told or self._report_error:
            terminalreporter.section("tlsandbox guard")
        for line in lines[:_MOST_LINES]:
            terminalreporter.line(line)
        if len(lines) > _MOST_LINES:
            terminalreporter.line(f"... and {len(lines) - _MOST_LINES} more")
        if told and not lines:
            terminalreporter.line(f"nothing found: {self._extent()}")
        if self._report_error is not None:
            terminalreporter.line(f"{report} could not be written: {self._report_error}", red=True)
        elif report is not None:
            terminalreporter.line(f"tlsandbox report: {report}")
        if self._why is not None:
            terminalreporter.line(f"tlsandbox guard: this session fails for {self._why}", red=True)

    # ------------------------------------------------------------------- text

    def _reason(self) -> str | None:
        """Say why the session fails, for what is no test's."""
        if self._settings.guard_report_only:
            return None
        loose = sum(_is_loose(finding) for finding in self._record.findings)
        gaps = sum(gap["guarded"] for gap in self._record.gaps)
        parts = [f"{count(loose, 'finding')} of no test"] if loose else []
        parts += [f"{count(gaps, 'time')} in which a sandbox was not watched"] if gaps else []
        return " and ".join(parts) or None

    def _extent(self) -> str:
        rules = ", ".join(self._settings.guard) or "no rules"
        names = ", ".join(self._record.sandboxes) or "no sandbox"
        looks = count(self._record.looks, "look")
        return f"{rules}; {count(self._tests, 'test')}, {looks} at {names}"

    def _lines(self) -> list[str]:
        rows = [*self._rows()]
        width = max((len(row[0]) for row in rows), default=0)
        return [printable(f"{row[0]:<{width}}  {': '.join(filter(None, row[1:]))}") for row in rows]

    def _rows(self) -> Iterable[tuple[str, str, str, str]]:
        """Give for each thing to tell: what it is, where, the process, what happened."""
        yield from tell_findings(self._record.findings)
        yield from tell_unknown_ends(self._record.unknown_ends)
        for gap in self._record.gaps:
            yield tell_gap(gap, gap["label"])

    def _markdown(self) -> str:
        rows = [*self._rows()]
        lines = ["### tlsandbox", ""]
        if not rows:
            return "\n".join([*lines, f"Nothing found: {_cell(self._extent())}.", "", ""])
        lines += ["| | where | process | what |", "|---|---|---|---|"]
        lines += [f"| {' | '.join(map(_cell, row))} |" for row in rows[:_MOST_ROWS]]
        if len(rows) > _MOST_ROWS:
            lines += ["", f"... and {len(rows) - _MOST_ROWS} more."]
        if self._why is not None:
            lines += ["", f"This session fails for {self._why}."]
        return "\n".join([*lines, "", ""])


def _is_loose(finding: Mapping[str, Any]) -> bool:
    return finding["told"] == "session" and finding["allowed"] is None


def _cell(text: str) -> str:
    """Keep a text within its cell, and from being taken for markup."""
    text = printable(text).replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")
    return text.replace("`", "\\`").replace("*", "\\*").replace("_", "\\_")
