"""The pytest plugin that adds causes and events to the reports of failed tests.

The plugin is registered when the session first uses a sandbox. Without xdist, the plugin runs in
the process of pytest. With xdist, the plugin runs in each worker, but not in the controller. The
guard is registered before this plugin. For this reason, this plugin's wrapper of
``pytest_runtest_makereport`` is the outermost wrapper.
"""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Generator, Iterable
from typing import Any

import pytest

from pytest_tlsandbox import errors
from pytest_tlsandbox.clock import Clock
from pytest_tlsandbox.connections import Connections
from pytest_tlsandbox.failed_tests.same_cause import SAME_CAUSE, FirstFailure, SameCauseSummary
from pytest_tlsandbox.failed_tests.section import TITLE, section_of
from pytest_tlsandbox.failed_tests.used_sandbox import Event, UsedSandbox, badness, kind_of
from pytest_tlsandbox.history.runs import Run
from pytest_tlsandbox.integration.pytest_private import errors_of_test_case
from pytest_tlsandbox.messages.incidents import name_of, shown_row
from pytest_tlsandbox.monitoring.plain_data import WallClock, identity_text
from pytest_tlsandbox.redact import mask_text
from pytest_tlsandbox.settings import FACTS

logger = logging.getLogger("pytest_tlsandbox")

_LONGEST = 1.0
"""The maximum time in seconds for listing processes and reading their output after a failure."""
_SETTLING = 0.1
"""Seconds before the list call, because a failing server closes its connections before it ends."""

_KINDS: dict[str, tuple[type[errors.TLSandboxError], ...]] = {
    "none": (errors.RequestRefused, errors.Inconclusive),
    "sandbox": (errors.InfrastructureError, errors.LocalSandboxError),
    "oom": (errors.ProcessOOMKilled,),
    "crash": (errors.ProcessCrashed,),
    "restart": (errors.ProcessRestarted,),
}
"""The errors that always have one kind of cause, whatever happened to their runs.

The order matters, because ``RequestRefused`` and ``Inconclusive`` are also infrastructure errors.
"""


class FailedTests:
    """Adds the cause of the failure and the sandbox events to the report of a failed test.

    Args:
        connections: the connections of the session.

    """

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._worker = os.environ.get("PYTEST_XDIST_WORKER", "")
        self._wall_clock = WallClock(Clock())
        self._sandboxes: list[UsedSandbox] = []
        self._of_fixture: dict[str, set[object]] = {}
        self._first_failures: dict[str, FirstFailure] = {}
        self._numbers = itertools.count()
        self._property: tuple[str, str] | None = None
        connections.on_use = lambda new: self._sandboxes.append(UsedSandbox(new, self._wall_clock))

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self) -> None:
        """Forget the data of the previous test, before any fixture is set up."""
        self._property = None
        for sandbox in self._sandboxes:
            sandbox.begin_test()

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[Any]
    ) -> Generator[None, object, object]:
        """Record which sandboxes a fixture calls, and which processes the fixture starts."""
        before = {each: each.history.position for each in self._sandboxes}
        try:
            return (yield)
        finally:
            of_fixture = self._of_fixture[fixturedef.argname] = set()
            for each in self._sandboxes:
                position = before.get(each, 0)
                if each.history.position > position:
                    started = [run for run in each.history.started if run.first_seen > position]
                    of_fixture.update([each, *started])

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Forget the failure of a test that will be rerun. pytest does not show such a failure."""
        if str(report.outcome) == "rerun":
            known = self._first_failures.items()
            self._first_failures = {key: of for key, of in known if of["test"] != report.nodeid}

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Add the cause and the events to the report of a failed test."""
        failed_at = Clock.monotonic()
        raised, may_fail = call.excinfo, item.get_closest_marker("xfail")
        if raised and not may_fail and not raised.errisinstance(pytest.skip.Exception):
            # pytest-timeout also cancels its timer, but only after the report, which may take a
            # second.
            item.config.hook.pytest_timeout_cancel_timer(item=item)
        aside = errors_of_test_case(item)
        error = _our_error(aside[0] if aside else call.excinfo)
        first = None if error is None else self._first_failures.get(self._key_of(error))
        if error is not None and first is not None and first["test"] != item.nodeid:
            error.args = (f"same cause as {first['name']}: {first['text']}",)
        report = yield
        try:
            if report.failed:
                # The guard may have replaced the error of the test.
                self._complete(item, report, _our_error(call.excinfo), failed_at)
        except Exception as bug:  # the error of the test is shown in any case
            logger.debug("a failed test could not be explained: %s", mask_text(repr(bug)))
        if self._property and (report.failed or report.when == "teardown"):
            report.user_properties.append(self._property)
        return report

    def _complete(
        self,
        item: pytest.Item,
        report: pytest.TestReport,
        error: errors.TLSandboxError | None,
        failed_at: float,
    ) -> None:
        """Add the cause of the failure and the events to the report.

        If another test has already shown the same error, the method leaves out the events.
        """
        names = getattr(item, "fixturenames", ())
        monitored = self._connections.on_connect is not None  # by the guard, or for the report
        of_fixtures = set[object]().union(*(self._of_fixture.get(name, ()) for name in names))
        sandboxes = [
            each
            for each in self._sandboxes
            if each in of_fixtures or each.was_called or (monitored and each.outage is None)
        ]
        if not (sandboxes or error or monitored):
            return
        first = None if error is None else self._first_failure(item, error)
        is_first = first is None or first["test"] == item.nodeid
        shows_section = is_first and not self._connections.settings.no_section
        deadline = Clock.monotonic() + _LONGEST
        # An error with a snapshot was raised just after a list call.
        up = [each for each in sandboxes if each.outage is None]
        if up and shows_section and not (error and error.snapshot):
            Clock.sleep(_SETTLING)
            for sandbox in up:
                sandbox.poll_once(deadline)
        events: list[Event] = []
        for sandbox in sandboxes:
            events += sandbox.events(run for run in sandbox.history.started if run in of_fixtures)
            sandbox.forget_events()
        facts: dict[str, Any] = {**getattr(report, FACTS, {})}
        explained: set[Run] = set()
        if error is None:
            cause = _cause_of_events(events)
        else:
            cause = _cause_of_error(error)
            facts[SAME_CAUSE] = first
            SameCauseSummary.register(item.config)
            explained = {each.run for each in [error, *getattr(error, "failures", ())] if each.run}
            found = {finding["process"] for finding in facts.get("findings", ())}  # of the guard
            runs = {event.run for event in events if event.run is not None}
            explained |= {run for run in runs if identity_text(shown_row(run)) in found}
            if cause["kind"] == "sandbox":
                events = [event for event in events if event.kind != "sandbox"]
        self._property = self._property or ("tlsandbox_cause", _cause_text(cause))
        setattr(report, FACTS, {**facts, "cause": cause})
        if shows_section:
            text = section_of(events, failed_at, deadline, self._connections.screen, explained)
            report.sections += [(TITLE, text)] if text else []

    def _first_failure(self, item: pytest.Item, error: errors.TLSandboxError) -> FirstFailure:
        """Return the session's first failure with the same cause as ``error``."""
        key, text = self._key_of(error), error.first_line
        if isinstance(error, errors.SandboxUnreachable) and error.outage is not None:
            since = self._wall_clock.at(error.outage.at)[11:19]
            text = f"sandbox {error.outage.sandbox.label} unreachable since {since} UTC"
        name = item.nodeid.partition("::")[2] or item.name
        new = {"key": key, "text": text, "test": item.nodeid, "name": name}
        return self._first_failures.setdefault(key, new)

    def _key_of(self, error: errors.TLSandboxError) -> str:
        """Return a text that is the same for all errors with the same cause in this session."""
        run, outage = error.run, getattr(error, "outage", None)
        if run is not None:
            key = f"{identity_text(shown_row(run))} {run.number}"
            # Errors about a living run may describe different problems.
            return key if run.over else f"{key} {type(error).__name__} {error.wanted}"
        if outage is not None:
            # Workers notice the outage of a shared sandbox at different times.
            worker = "" if outage.sandbox.shared else self._worker
            return f"{outage.sandbox.label} {outage.outage} {worker}"
        # A fixture of wider scope raises the same error again in each test.
        number: int = vars(error).setdefault("number", next(self._numbers))
        return f"{self._worker} {number}"


def _our_error(raised: pytest.ExceptionInfo[BaseException] | None) -> errors.TLSandboxError | None:
    return raised.value if raised and isinstance(raised.value, errors.TLSandboxError) else None


def _kind_of_error(error: errors.TLSandboxError) -> str:
    """Return the kind of cause that one of this package's errors reports."""
    known = next((kind for kind, of in _KINDS.items() if isinstance(error, of)), None)
    of_run = None if error.run is None else kind_of(error.run)
    return known or of_run or ("exit" if isinstance(error, errors.UnexpectedExit) else "none")


def _cause_of_error(error: errors.TLSandboxError) -> dict[str, Any]:
    """Return the cause that one of this package's errors reports."""
    # If several checks failed, use the check with the worst cause.
    checks = getattr(error, "failures", None) or [error]
    failed = min(checks, key=lambda check: badness(_kind_of_error(check)))
    kind = _kind_of_error(failed)
    outage = getattr(failed, "outage", None)
    sandbox = getattr(failed.snapshot, "sandbox", None) if outage is None else outage.sandbox.label
    return _cause(kind, sandbox if kind == "sandbox" else None, failed.run, certain=True)


def _cause_of_events(events: Iterable[Event]) -> dict[str, Any]:
    """Return the worst event as a possible cause.

    If several events are equally bad, the first of these events is the possible cause.
    """
    worst = min(events, key=lambda event: (badness(event.kind), event.at), default=None)
    if worst is None or worst.kind in ("none", ""):
        return _cause("none", None, None, certain=False)
    return _cause(worst.kind, worst.sandbox.label, worst.run, certain=False)


def _cause(kind: str, sandbox: str | None, run: Run | None, *, certain: bool) -> dict[str, Any]:
    """Return a cause in the format that the schema of the report defines."""
    return {
        "kind": kind,
        "name": sandbox if run is None else name_of(run),
        "process": None if run is None else identity_text(shown_row(run)),
        "run": None if run is None or run.generation.id is None else run.number,
        "certain": certain,
    }


def _cause_text(cause: dict[str, Any]) -> str:
    """Return a cause as text for a JUnit property, such as "oom: train.py" or "none"."""
    kind, name = cause["kind"], cause["name"]
    text = kind if kind == "none" or name is None else f"{kind}: {name}"
    return text if kind == "none" or cause["certain"] else f"{text} (not certain)"
