"""A pytest plugin that completes the reports of failed tests; registered with the first sandbox.

It runs where tests run: in the only process, or in each xdist worker. Its wrapper of
``pytest_runtest_makereport`` is the outermost one, because it is registered after the guard's.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest

from pytest_tlsandbox.client.api import TIMEOUT_MARGIN
from pytest_tlsandbox.clock import Clock
from pytest_tlsandbox.errors import SandboxUnreachable, TLSandboxError
from pytest_tlsandbox.failed_tests import cause as causes
from pytest_tlsandbox.failed_tests.events import Happened
from pytest_tlsandbox.failed_tests.same_cause import SAME_CAUSE, FirstFailures, SameCauseSummary
from pytest_tlsandbox.failed_tests.section import TITLE, section_of
from pytest_tlsandbox.failed_tests.used_sandbox import UsedSandbox
from pytest_tlsandbox.integration.pytest_private import errors_of_test_case
from pytest_tlsandbox.messages.incidents import shown_row
from pytest_tlsandbox.monitoring.plain_data import WallClock, identity_text
from pytest_tlsandbox.redact import mask_text
from pytest_tlsandbox.settings import FACTS

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from pytest_tlsandbox.connections import Connection, Connections
    from pytest_tlsandbox.failed_tests.same_cause import FirstFailure
    from pytest_tlsandbox.settings import Settings

logger = logging.getLogger("pytest_tlsandbox")

_LONGEST = 1.0
"""Seconds in which a failed test may list processes and read their output."""


class FailedTests:
    """Adds to the report of a failed test what happened in its sandboxes, and the cause.

    Args:
        config: the configuration of pytest.
        settings: the settings of the session.
        connections: the connections of the session.
        monitored: returns whether the guard or the report polls every sandbox after each phase now.

    """

    def __init__(
        self,
        config: pytest.Config,
        settings: Settings,
        connections: Connections,
        monitored: Callable[[], bool],
    ) -> None:
        self._config, self._screen, self._monitored = config, connections.screen, monitored
        self._shows_section = not settings.no_section
        self._worker = getattr(config, "workerinput", {}).get("workerid", "")
        self._clock = Clock()
        self._wall_clock = WallClock(self._clock)
        self._sandboxes: dict[int, UsedSandbox] = {}
        self._being_set_up: list[str] = []
        self._of_fixture: dict[str, set[UsedSandbox]] = {}
        self._first_failures = FirstFailures()
        self._property: tuple[str, str] | None = None
        connections.on_use = self._note_use

    def begin_test(self) -> None:
        """Forget the data of the previous test; called before any fixture is set up."""
        self._property = None
        for sandbox in self._sandboxes.values():
            sandbox.begin_test()

    def _note_use(self, connection: Connection) -> None:
        key = id(connection.client)
        if key not in self._sandboxes:
            self._sandboxes[key] = UsedSandbox(connection, self._wall_clock)
        self._sandboxes[key].used = True
        if self._being_set_up:
            self._of_fixture[self._being_set_up[-1]].add(self._sandboxes[key])

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[Any]
    ) -> Generator[None, object, object]:
        """Note which sandboxes a fixture uses, for later tests that request it."""
        self._of_fixture[fixturedef.argname] = set()
        self._being_set_up.append(fixturedef.argname)
        try:
            return (yield)
        finally:
            self._being_set_up.pop()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Forget the failure of a test that is run again."""
        if str(report.outcome) == "rerun":
            self._first_failures.forget(report.nodeid)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Complete the report of a failed test."""
        failed_at = self._clock.monotonic()
        aside = errors_of_test_case(item)
        raised = aside[0] if aside else call.excinfo
        error = raised.value if raised and isinstance(raised.value, TLSandboxError) else None
        first = None
        if error is not None:
            first = self._first_failures.find(self._cause_in(error), error, item.nodeid)
            if first is not None:
                error.args = (f"same cause as {first['name']}: {first['text']}",)
        report = yield
        try:
            if report.failed:
                self._complete(item, report, error, first, failed_at)
        except Exception as bug:  # the error of the test is shown in any case
            logger.debug("a failed test could not be explained: %s", mask_text(repr(bug)))
        if self._property and (report.failed or report.when == "teardown"):
            report.user_properties.append(self._property)
        return report

    def _complete(
        self,
        item: pytest.Item,
        report: pytest.TestReport,
        error: TLSandboxError | None,
        first: FirstFailure | None,
        failed_at: float,
    ) -> None:
        monitored = self._monitored()
        names = getattr(item, "fixturenames", ())
        of_fixtures = set[UsedSandbox]().union(*(self._of_fixture.get(name, ()) for name in names))
        sandboxes = [
            each
            for each in self._sandboxes.values()
            if monitored
            or each.used
            or each in of_fixtures
            or each.history.position > each.position
        ]
        if not (sandboxes or error or monitored):
            return
        happened, deadline = Happened(), self._deadline(sandboxes)
        for sandbox in sandboxes:
            # An error with a snapshot was raised just after a list call.
            if self._shows_section and not (monitored or first or (error and error.snapshot)):
                sandbox.poll_once(deadline)
            happened.add(sandbox)
            sandbox.forget_events()
        facts: dict[str, Any] = getattr(report, FACTS, {})
        explained = {
            event.run
            for event in happened.events
            if event.run is not None
            and identity_text(shown_row(event.run))
            in [finding["process"] for finding in facts.get("findings", ())]
        }
        if error is None:
            cause = causes.cause_of_events(happened.events)
        else:
            down = self._sandbox_of(error)
            cause = causes.cause_of_error(error, None if down is None else down.label)
            failure = first or self._first_failure(item, error, down)
            self._first_failures.add(self._cause_in(error), error, failure)
            SameCauseSummary.register(self._config)
            facts = {**facts, SAME_CAUSE: failure}
            explained |= {each.run for each in [error, *getattr(error, "failures", ())] if each.run}
            if cause["kind"] == "sandbox":
                happened.events = [event for event in happened.events if event.kind != "sandbox"]
        self._property = self._property or ("tlsandbox_cause", causes.cause_text(cause))
        setattr(report, FACTS, {**facts, "cause": cause})
        if self._shows_section and first is None:
            text = section_of(happened, failed_at, deadline, self._screen, explained)
            report.sections += [(TITLE, text)] if text else []

    def _deadline(self, sandboxes: list[UsedSandbox]) -> float:
        now = self._clock.monotonic()
        limit = sandboxes[0].client.wait_deadline() if sandboxes else None
        if limit is None or now > limit + TIMEOUT_MARGIN:  # pytest-timeout ends a test only once
            return now + _LONGEST
        return min(now + _LONGEST, limit)

    def _cause_in(self, error: TLSandboxError) -> object:
        """Return the run or the outage that an error reports; None if it reports none."""
        run = error.run
        if run is not None:
            # The errors about a run that is alive may differ in what is wrong with it.
            return run if run.over else (run, type(error), error.wanted)
        down = self._sandbox_of(error)
        return down and down.outage and (down.label, down.outage[0])

    def _sandbox_of(self, error: TLSandboxError) -> UsedSandbox | None:
        """Return the sandbox whose outage an error reports; None if it reports none."""
        if causes.kind_of_error(error) != "sandbox":
            return None
        down = [sandbox for sandbox in self._sandboxes.values() if sandbox.outage]
        named = [sandbox for sandbox in down if sandbox.label in str(error)]
        return next(iter(named or down), None)

    def _first_failure(
        self, item: pytest.Item, error: TLSandboxError, down: UsedSandbox | None
    ) -> FirstFailure:
        text, key = error.first_line, f"{self._worker} {id(error)}"
        if error.run is not None:
            key = f"{identity_text(shown_row(error.run))} {error.run.number} {text}"
        elif down and down.outage:
            since = self._wall_clock.at(down.outage[0])[11:19]
            # Workers notice the outage of a shared sandbox at different moments.
            key = down.label if down.shared else f"{down.label} {self._worker} {since}"
            if isinstance(error, SandboxUnreachable):
                text = f"sandbox {down.label} unreachable since {since} UTC"
        name = item.nodeid.partition("::")[2] or item.name
        return {"key": key, "text": text, "test": item.nodeid, "name": name}
