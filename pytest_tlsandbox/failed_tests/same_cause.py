"""If several failed tests share a cause, print the cause only once.

The module runs in the process that reports the results. With xdist, this process is the controller.
The controller does not use any sandbox, so this module does not import the code for sandboxes.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

import pytest

from pytest_tlsandbox.settings import FACTS

SAME_CAUSE = "same_cause"
"""The key in the facts of a report, and the attribute of an error, for the first failure."""
FirstFailure = dict[str, str]
"""The ``text`` and the ``key`` of the cause, and the id (``test``) and ``name`` of the test."""


class SameCauseSummary:
    """Hides repeated failures with the same cause, and prints how many tests share each cause."""

    def __init__(self) -> None:
        self._stats: dict[str, list[Any]] = {}
        """All reports of failures, while the repeated failures are hidden."""

    @classmethod
    def register(cls, config: pytest.Config) -> None:
        """Register the summary, but only once."""
        if not config.pluginmanager.has_plugin("tlsandbox-same-cause"):
            config.pluginmanager.register(cls(), "tlsandbox-same-cause")

    @pytest.hookimpl(specname="pytest_terminal_summary", wrapper=True, tryfirst=True)
    def pytest_hide_repeats(self, terminalreporter: pytest.TerminalReporter) -> Iterator[None]:
        """Hide failures with a repeated cause, but restore them before the short summary."""
        for outcome in ("failed", "error"):
            self._stats[outcome] = reports = terminalreporter.stats.get(outcome, [])
            terminalreporter.stats[outcome] = [
                each for each in reports if _first_failure(each).get("test") in (None, each.nodeid)
            ]
        yield

    @pytest.hookimpl(tryfirst=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print each cause that several tests share, and the number of these tests."""
        terminalreporter.stats.update(self._stats)
        causes: dict[str, tuple[FirstFailure, set[str]]] = {}
        for report in chain.from_iterable(self._stats.values()):
            if first := _first_failure(report):
                causes.setdefault(first["key"], (first, set()))[1].add(report.nodeid)
        several = [(first, tests) for first, tests in causes.values() if len(tests) > 1]
        if several:
            terminalreporter.section("tlsandbox same cause")
        for first, tests in several:
            terminalreporter.line(f"{len(tests)} tests, first {first['name']}: {first['text']}")


def _first_failure(report: Any) -> FirstFailure:
    """Return the first failure with the same cause, or an empty dict if there is no cause."""
    return getattr(report, FACTS, {}).get(SAME_CAUSE) or {}
