"""Tests that fail for the same cause: the first shows it, the others name the first.

xdist's controller, which uses no sandbox, imports this module too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pytest_tlsandbox.settings import FACTS

if TYPE_CHECKING:
    from collections.abc import Generator

    from pytest_tlsandbox.errors import TLSandboxError

SAME_CAUSE = "same_cause"
"""The key in the facts of a report, and the attribute of an error, with its first failure."""
FirstFailure = dict[str, str]
"""The cause in one line (``text``), its ``key`` in all workers; node id and ``name`` of the ``test``."""


class FirstFailures:
    """The first failed test of each cause, in one process.

    A cause is a run, an outage, or an error that a fixture of wider scope raises in each test.
    """

    def __init__(self) -> None:
        self._of: dict[object, FirstFailure] = {}

    def find(self, cause: object, error: TLSandboxError, test: str) -> FirstFailure | None:
        """Return the first failure if it was another test's; None if there is none."""
        first = self._of.get(cause) or vars(error).get(SAME_CAUSE)
        return None if first is None or first["test"] == test else first

    def add(self, cause: object, error: TLSandboxError, failure: FirstFailure) -> None:
        """Record the failure of a test, unless its cause has an earlier one."""
        if cause is not None:
            self._of.setdefault(cause, failure)
        vars(error).setdefault(SAME_CAUSE, failure)

    def forget(self, test: str) -> None:
        """Forget the failures of a test that is run again, because pytest does not show them."""
        self._of = {cause: first for cause, first in self._of.items() if first["test"] != test}


class SameCauseSummary:
    """Prints each cause of several failed tests once; in the only process, or xdist's controller."""

    def __init__(self) -> None:
        self._causes: dict[str, tuple[FirstFailure, set[str]]] = {}
        self._repeats = _Repeats()

    @classmethod
    def register(cls, config: pytest.Config) -> None:
        """Register the summary, once."""
        if not config.pluginmanager.has_plugin("tlsandbox-same-cause"):
            summary = cls()
            config.pluginmanager.register(summary, "tlsandbox-same-cause")
            config.pluginmanager.register(summary._repeats)  # noqa: SLF001 - its own

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add the cause of a failed test."""
        first = _first_failure_in(report)
        if report.failed and first is not None:
            self._causes.setdefault(first["key"], (first, set()))[1].add(report.nodeid)

    @pytest.hookimpl(tryfirst=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the causes, each with the number of tests."""
        terminalreporter.stats.update(self._repeats.stats)
        several = [(first, tests) for first, tests in self._causes.values() if len(tests) > 1]
        if several:
            terminalreporter.section("tlsandbox same cause")
        for first, tests in several:
            terminalreporter.line(f"{len(tests)} tests, first {first['name']}: {first['text']}")


class _Repeats:
    """Leaves failures out of what pytest shows in full if an earlier test has shown their cause.

    pytest shows failures before, and the short summary after, the hooks that are no wrappers.
    """

    def __init__(self) -> None:
        self.stats: dict[str, list[Any]] = {}

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_terminal_summary(
        self, terminalreporter: pytest.TerminalReporter
    ) -> Generator[None, None, None]:
        """Show each cause once."""
        for outcome in ("failed", "error"):
            self.stats[outcome] = terminalreporter.stats.get(outcome, [])
            terminalreporter.stats[outcome] = [
                report
                for report in self.stats[outcome]
                if (_first_failure_in(report) or {"test": report.nodeid})["test"] == report.nodeid
            ]
        yield


def _first_failure_in(report: pytest.TestReport) -> FirstFailure | None:
    found: FirstFailure | None = getattr(report, FACTS, {}).get(SAME_CAUSE)
    return found
