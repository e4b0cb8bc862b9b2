"""The assertions that something is not so, for a sandbox and for a block of soft checks alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from pytest_tlsandbox.arguments.checks import check_pick, wrong
from pytest_tlsandbox.arguments.unknown_names import explain_misuse
from pytest_tlsandbox.errors import InvalidArgument
from pytest_tlsandbox.formatting.processes import list_texts
from pytest_tlsandbox.formatting.text import count
from pytest_tlsandbox.history.incidents import LOST_END, Incident
from pytest_tlsandbox.history.snapshot import Fields, ProcessSnapshot, check_fields
from pytest_tlsandbox.messages.incidents import describe, run_name
from pytest_tlsandbox.waiting.conditions.absence import (
    CRASH,
    OOM,
    RESTART,
    UNHEALTHY,
    NoIncident,
    NotRunning,
    Rule,
)
from pytest_tlsandbox.waiting.conditions.fields import HasFields
from pytest_tlsandbox.waiting.polling import logger
from pytest_tlsandbox.waiting.selectors import Process, Selector

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_tlsandbox.history.history import History
    from pytest_tlsandbox.models import ProcessInfo
    from pytest_tlsandbox.types import Pick
    from pytest_tlsandbox.waiting.conditions.condition import Condition

Since: TypeAlias = ProcessSnapshot | Literal["test"] | None
"""What an assertion looks back to: the start of the test, a snapshot, or (None) all there is."""


@explain_misuse
class Assertions:
    """The assertions on the processes of a sandbox; a subclass evaluates their conditions."""

    def __init__(
        self,
        *,
        baseline: ProcessSnapshot | None,
        history: History,
        shared: bool,
        started: list[ProcessInfo],
    ) -> None:
        self.baseline = baseline
        self._history = history
        self._shared = shared
        self._started = started

    def assert_not_running(self, process: Process, *, since: Since = "test") -> None:
        """Assert that nothing alive is meant, nor anything a supervisor will start again."""
        self._check(NotRunning(self._selector(process, since), self._since(since)))

    def assert_no_oom(
        self,
        *processes: Process,
        suspected: bool = False,
        all_processes: bool = False,
        since: Since = "test",
    ) -> None:
        """Assert that nothing was OOM-killed since the test began.

        Sees kills behind a restart too. ``suspected``: a SIGKILL not sent from here, exit code
        137 and a lost exit code fail as well. ``all_processes``: on a sandbox shared by xdist workers,
        judge all processes and not just this test's own.
        """
        self._assert_none(
            (OOM,), processes, since, all_processes=all_processes, suspected=suspected
        )

    def assert_no_crash(
        self, *processes: Process, all_processes: bool = False, since: Since = "test"
    ) -> None:
        """Assert that nothing died of a crash signal (SEGV, ABRT ...), and no supervisor gave up."""
        self._assert_none((CRASH,), processes, since, all_processes=all_processes)

    def assert_no_restart(
        self, *processes: Process, all_processes: bool = False, since: Since = "test"
    ) -> None:
        """Assert that no managed process was started again, but by this test."""
        self._assert_none((RESTART,), processes, since, all_processes=all_processes)

    def assert_no_incidents(
        self, *processes: Process, all_processes: bool = False, since: Since = "test"
    ) -> None:
        """Assert no OOM kill, no crash, no restart, and no failing health check."""
        self._assert_none(
            (OOM, CRASH, RESTART, UNHEALTHY), processes, since, all_processes=all_processes
        )

    def _check(self, condition: Condition) -> Any:
        """Return the value of a condition that is met, or raise; None if it is evaluated later."""
        raise NotImplementedError

    def _has_fields(
        self, process: Process, expected: Fields, pick: Pick | None, since: Since
    ) -> HasFields:
        if not expected:
            raise InvalidArgument(
                "assert_process needs at least one expected field, such as exit_code=0"
            )
        check_fields(expected)
        selector = self._selector(process, since)
        return HasFields(selector, dict(expected), check_pick(pick))

    def _selector(self, process: Process, since: Since) -> Selector:
        return Selector(process, self._history, self._since(since))

    def _since(self, since: Since) -> ProcessSnapshot | None:
        if isinstance(since, str) and since == "test":
            return self.baseline
        if isinstance(since, ProcessSnapshot) and since.history not in (None, self._history):
            raise InvalidArgument(
                "since must be a snapshot of this sandbox, got a snapshot of another one"
            )
        if since is None or isinstance(since, ProcessSnapshot):
            return since
        raise wrong("since", '"test", a snapshot or None (all there is)', since)

    def _assert_none(
        self,
        rules: Sequence[Rule],
        processes: Sequence[Process],
        since: Since,
        *,
        all_processes: bool,
        suspected: bool = False,
    ) -> None:
        baseline = self._since(since)
        condition = NoIncident(
            rules,
            self._history,
            self._history.position_of(baseline),
            selectors=[self._selector(process, since) for process in processes],
            started=self._started,
            only_started=self._shared and not all_processes,
            baseline=baseline,
            suspected=suspected,
        )
        shown: list[Incident] = self._check(condition) or []
        lost = [run_name(incident.run) for incident in shown if incident.kind == LOST_END]
        if lost:
            logger.info("%s unknown: %s", count(len(lost), "end"), list_texts(lost))
        for incident in shown:
            if incident.kind != LOST_END:
                logger.info("suspected: %s: %s", run_name(incident.run), describe(incident))
