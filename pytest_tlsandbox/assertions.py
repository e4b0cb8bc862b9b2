"""The assertions on absence, shared by ``Sandbox`` and the soft checks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from pytest_tlsandbox.arguments.checks import check_pick, must_be
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
"""Where a check starts: at the beginning of the test, at a snapshot, or (None) at the beginning of
the history."""


@explain_misuse
class Assertions:
    """Assertions that no process runs, or that no incident happened.

    Each one evaluates now and does not wait for a change. While a checked process is alive, the
    result must stay the same for 0.2 s; an uncertain end, for 1 s. Transient infrastructure errors
    are retried for up to 30 s.

    Args:
        baseline: the snapshot at the start of the test; None for all that is known.
        history: the history of the sandbox.
        shared: whether other xdist workers use the sandbox too.
        started: the processes that this test started.

    Attributes:
        baseline: the snapshot that ``since="test"`` stands for; None for all that is known.

    """

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
        """Assert that no selected process is alive, or about to be restarted by its supervisor.

        A process that never ran passes too.

        Args:
            process: selects the processes: text, a pid, a compiled regex, a process, ``by(...)`` or
                a function.
            since: "test" ignores processes that had ended, and rows that were unreadable, before
                the test began; a snapshot ignores those before the snapshot; None ignores none.

        Raises:
            AssertionFailed: a selected process is alive, or will be restarted.
            Inconclusive: a row cannot be read, or the process vanished before its end was seen.
            InfrastructureError: the processes could not be listed.
            InvalidArgument: an argument has a wrong type or value.

        """
        self._check(NotRunning(self._selector(process, since), self._since(since)))

    def assert_no_oom(
        self,
        *processes: Process,
        suspected: bool = False,
        all_processes: bool = False,
        since: Since = "test",
    ) -> None:
        """Assert that no process was OOM-killed since the test began.

        The check includes kills that a restart hides from the list of processes.

        Args:
            processes: selects the processes to check: text, pids, compiled regexes, processes,
                ``by(...)`` or functions. Without any, all processes are checked; on a sandbox that
                xdist workers share, those that this test started.
            suspected: also fail for an end that may be due to an OOM kill: a SIGKILL that this
                plugin did not send, exit code 137, or an end that the sandbox lost.
            all_processes: on a sandbox that xdist workers share, check all processes and not only
                those that this test started. It has no effect if ``processes`` are given.
            since: where the check starts: "test" at the start of the test, a snapshot at the time of
                that snapshot; None includes everything that is known.

        Raises:
            ProcessOOMKilled: a process was OOM-killed.
            SuspectedOOMKill: with ``suspected``, a process may have been OOM-killed.
            ProcessNotFound: one of ``processes`` matches nothing.
            Inconclusive: the observations do not decide the check.
            InfrastructureError: the processes could not be listed.
            InvalidArgument: an argument has a wrong type or value.

        """
        self._assert_none(
            (OOM,), processes, since, all_processes=all_processes, suspected=suspected
        )

    def assert_no_crash(
        self, *processes: Process, all_processes: bool = False, since: Since = "test"
    ) -> None:
        """Assert that no process crashed and no supervisor gave up since the test began.

        A process crashed if SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGSYS or SIGTRAP ended it.
        A supervisor gives up when a failing process has used up all its restarts. An end by a
        signal that this plugin sent does not count.

        Args:
            processes: selects the processes to check: text, pids, compiled regexes, processes,
                ``by(...)`` or functions. Without any, all processes are checked; on a sandbox that
                xdist workers share, those that this test started.
            all_processes: on a sandbox that xdist workers share, check all processes and not only
                those that this test started. It has no effect if ``processes`` are given.
            since: where the check starts: "test" at the start of the test, a snapshot at the time of
                that snapshot; None includes everything that is known.

        Raises:
            ProcessCrashed: a process crashed, or its supervisor gave up.
            ProcessNotFound: one of ``processes`` matches nothing.
            Inconclusive: the observations do not decide the check.
            InfrastructureError: the processes could not be listed.
            InvalidArgument: an argument has a wrong type or value.

        """
        self._assert_none((CRASH,), processes, since, all_processes=all_processes)

    def assert_no_restart(
        self, *processes: Process, all_processes: bool = False, since: Since = "test"
    ) -> None:
        """Assert that no supervisor restarted a managed process since the test began.

        A restart that this plugin requested does not count, and neither does the restart after a
        run that it killed.

        Args:
            processes: selects the processes to check: text, pids, compiled regexes, processes,
                ``by(...)`` or functions. Without any, all processes are checked; on a sandbox that
                xdist workers share, those that this test started.
            all_processes: on a sandbox that xdist workers share, check all processes and not only
                those that this test started. It has no effect if ``processes`` are given.
            since: where the check starts: "test" at the start of the test, a snapshot at the time of
                that snapshot; None includes everything that is known.

        Raises:
            ProcessRestarted: a process was restarted, by its supervisor or by another client.
            ProcessNotFound: one of ``processes`` matches nothing.
            Inconclusive: the observations do not decide the check.
            InfrastructureError: the processes could not be listed.
            InvalidArgument: an argument has a wrong type or value.

        """
        self._assert_none((RESTART,), processes, since, all_processes=all_processes)

    def assert_no_incidents(
        self, *processes: Process, all_processes: bool = False, since: Since = "test"
    ) -> None:
        """Assert that no OOM kill, crash or restart happened, and that no health check fails now.

        This is :meth:`assert_no_oom`, :meth:`assert_no_crash` and :meth:`assert_no_restart`
        together, on the same snapshots. A health check that failed earlier does not count.

        Args:
            processes: selects the processes to check: text, pids, compiled regexes, processes,
                ``by(...)`` or functions. Without any, all processes are checked; on a sandbox that
                xdist workers share, those that this test started.
            all_processes: on a sandbox that xdist workers share, check all processes and not only
                those that this test started. It has no effect if ``processes`` are given.
            since: where the check starts: "test" at the start of the test, a snapshot at the time of
                that snapshot; None includes everything that is known.

        Raises:
            ProcessOOMKilled: a process was OOM-killed. If several of these four errors apply, the
                first one is raised.
            ProcessCrashed: a process crashed, or its supervisor gave up.
            ProcessRestarted: a process was restarted.
            ProcessUnhealthy: a health check fails.
            ProcessNotFound: one of ``processes`` matches nothing.
            Inconclusive: the observations do not decide the check.
            InfrastructureError: the processes could not be listed.
            InvalidArgument: an argument has a wrong type or value.

        """
        self._assert_none(
            (OOM, CRASH, RESTART, UNHEALTHY), processes, since, all_processes=all_processes
        )

    def _check(self, condition: Condition) -> Any:
        """Evaluate a condition: return its value or raise; None if it is only recorded."""
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
        raise InvalidArgument(must_be("since", '"test", a snapshot or None (all there is)', since))

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
