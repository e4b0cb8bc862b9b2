"""Define the assertions that ``Sandbox`` and soft checks share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeAlias, TypeVar, cast, get_args

from pytest_tlsandbox.arguments import argument_label, check_choice, must_be
from pytest_tlsandbox.errors import InvalidArgument
from pytest_tlsandbox.history.history import History
from pytest_tlsandbox.history.snapshot import Fields, ProcessSnapshot, check_fields
from pytest_tlsandbox.messages.incidents import describe, run_name
from pytest_tlsandbox.models import ProcessInfo
from pytest_tlsandbox.types import Pick
from pytest_tlsandbox.waiting.conditions import absence
from pytest_tlsandbox.waiting.conditions.status_and_fields import HasFields
from pytest_tlsandbox.waiting.polling import logger
from pytest_tlsandbox.waiting.results import Condition
from pytest_tlsandbox.waiting.selectors import Process, Selector

if TYPE_CHECKING:
    from typing_extensions import Unpack

Found = TypeVar("Found")
"""The result of ``assert_process``: the process, or None in a ``soft()`` block."""

Since: TypeAlias = ProcessSnapshot | Literal["test"] | None
"""The time from which incidents count: start of the test, time of a snapshot, or None for all."""

_ALL_RULES = (absence.OOM, absence.CRASH, absence.RESTART, absence.UNHEALTHY)
"""The rules of ``assert_no_incidents``."""


@dataclass(eq=False, repr=False)
class Assertions(Generic[Found]):
    """Asserts that no process is alive, or that no incident has happened.

    Each assertion checks the current state and does not wait for a change. If a checked process is
    alive, the result must stay the same for 0.2 s before the result counts. If it is uncertain how
    a process ended, the result must stay the same for 1 s before the result counts. Requests that
    fail with a transient infrastructure error are retried for up to 30 s.

    Args:
        baseline: the snapshot at the start of the test; if it is None, assertions check all known
            incidents.
        history: the history of the sandbox.
        started: the processes that this test started.
        shared: whether other xdist workers use the sandbox too.

    Attributes:
        baseline: the snapshot that ``since="test"`` stands for; if it is None, assertions check all
            known incidents.

    """

    baseline: ProcessSnapshot | None
    _history: History
    _started: list[ProcessInfo]
    _shared: bool

    def assert_process(
        self,
        /,
        process: Process,
        *,
        pick: Pick | None = None,
        since: Since = "test",
        **expected: Unpack[Fields],
    ) -> Found:
        """Assert that the fields of a process have the expected values now.

        Args:
            process: the process, selected by text, pid, compiled regex, process object, ``by(...)``
                or function.
            pick: the process to use if several match, "newest" or "oldest"; with None, the call
                raises ``AmbiguousProcess`` in this case.
            since: which ended processes to ignore. Pass "test" to ignore processes that ended
                before the test began, or a snapshot to ignore processes that ended before the
                snapshot was taken. Pass None to consider all processes. The argument has no effect
                on a process that is selected by pid, handle or object.
            expected: at least one field with its expected value, such as ``exit_code=0``. To
                accept several values, pass a tuple, list, set or range. The fields are args,
                command, ended_at, exit_code, handle, managed, name, oom_killed, pid, signal,
                started_at, status and stdin_writable.

        Returns:
            The process, as the last poll listed it; None in a ``soft()`` block.

        Raises:
            AssertionFailed: a field does not have the expected value. If the process ended in an
                unexpected way, the error is ``UnexpectedExit`` or ``ProcessOOMKilled``.
            ProcessNotFound: no process matches.
            AmbiguousProcess: several processes match.
            Inconclusive: the observations do not show how the process ended.
            InfrastructureError: the processes could not be listed.
            InvalidArgument: an argument has the wrong type or value.

        """
        if not expected:
            raise InvalidArgument(
                "assert_process needs at least one expected field, such as exit_code=0"
            )
        check_fields(expected)
        condition = HasFields(self._selector(process, since, pick), dict(expected))
        return cast("Found", self._check(condition))

    def assert_not_running(self, process: Process, *, since: Since = "test") -> None:
        """Assert that no selected process is alive or about to be restarted by its supervisor.

        The assertion also passes if no process has ever matched.

        Args:
            process: the processes, selected by text, pid, compiled regex, process object,
                ``by(...)`` or function.
            since: which processes and rows to ignore: with "test", processes that had ended and
                rows that were unreadable when the test began; with a snapshot, processes that had
                ended and rows that were unreadable when the snapshot was taken; with None, nothing.

        Raises:
            AssertionFailed: a selected process is alive, or will be restarted.
            Inconclusive: a row cannot be read, or a process vanished from the list before the list
                showed that the process had ended.
            InfrastructureError: the processes could not be listed.
            InvalidArgument: an argument has the wrong type or value.

        """
        self._check(absence.NotRunning(self._selector(process, since)))

    def assert_no_oom(
        self,
        *processes: Process,
        suspected: bool = False,
        all_processes: bool = False,
        since: Since = "test",
    ) -> None:
        """Assert that no process has been OOM-killed since the test began.

        If a process is restarted after an OOM kill, the process list may no longer show the kill.
        The assertion also detects such a kill.

        Args:
            processes: the processes to check, each selected by text, pid, compiled regex, process
                object, ``by(...)`` or function; if no process is given, the assertion checks all
                processes of the sandbox, or only the processes that this test started if xdist
                workers share the sandbox.
            suspected: whether the assertion also fails for a suspected OOM kill, which means that a
                process was killed by a SIGKILL that this plugin did not send, exited with code 137,
                or ended in a way that the sandbox does not know.
            all_processes: whether to check all processes, and not only the processes that this test
                started, if xdist workers share the sandbox and no ``processes`` are given.
            since: the time from which incidents count: with "test", from the start of the test;
                with a snapshot, from the time at which it was taken; with None, from the beginning.

        Raises:
            ProcessOOMKilled: a process was OOM-killed.
            SuspectedOOMKill: ``suspected`` is true, and a process may have been OOM-killed.
            ProcessNotFound: an item of ``processes`` does not match any process.
            Inconclusive: the observations are not sufficient to decide the outcome of the check.
            InfrastructureError: the processes could not be listed.
            InvalidArgument: an argument has the wrong type or value.

        """
        self._assert_none(
            (absence.OOM,), processes, since, all_processes=all_processes, suspected=suspected
        )

    def assert_no_crash(
        self, *processes: Process, all_processes: bool = False, since: Since = "test"
    ) -> None:
        """Assert that no process has crashed and no supervisor has given up since the test began.

        A process counts as crashed if SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGSYS or SIGTRAP
        ended it, unless this plugin sent the signal. A supervisor gives up if a process fails again
        after the maximum number of restarts.

        Args:
            processes: the processes to check, each selected by text, pid, compiled regex, process
                object, ``by(...)`` or function; if no process is given, the assertion checks all
                processes of the sandbox, or only the processes that this test started if xdist
                workers share the sandbox.
            all_processes: whether to check all processes, and not only the processes that this test
                started, if xdist workers share the sandbox and no ``processes`` are given.
            since: the time from which incidents count: with "test", from the start of the test;
                with a snapshot, from the time at which it was taken; with None, from the beginning.

        Raises:
            ProcessCrashed: a process crashed, or its supervisor gave up.
            ProcessNotFound: an item of ``processes`` does not match any process.
            Inconclusive: the observations are not sufficient to decide the outcome of the check.
            InfrastructureError: the processes could not be listed.
            InvalidArgument: an argument has the wrong type or value.

        """
        self._assert_none((absence.CRASH,), processes, since, all_processes=all_processes)

    def assert_no_restart(
        self, *processes: Process, all_processes: bool = False, since: Since = "test"
    ) -> None:
        """Assert that no managed process has been restarted since the test began.

        The assertion ignores restarts that this plugin requested. The assertion also ignores
        restarts of processes that this plugin killed.

        Args:
            processes: the processes to check, each selected by text, pid, compiled regex, process
                object, ``by(...)`` or function; if no process is given, the assertion checks all
                processes of the sandbox, or only the processes that this test started if xdist
                workers share the sandbox.
            all_processes: whether to check all processes, and not only the processes that this test
                started, if xdist workers share the sandbox and no ``processes`` are given.
            since: the time from which incidents count: with "test", from the start of the test;
                with a snapshot, from the time at which it was taken; with None, from the beginning.

        Raises:
            ProcessRestarted: a process was restarted, by its supervisor or by another client.
            ProcessNotFound: an item of ``processes`` does not match any process.
            Inconclusive: the observations are not sufficient to decide the outcome of the check.
            InfrastructureError: the processes could not be listed.
            InvalidArgument: an argument has the wrong type or value.

        """
        self._assert_none((absence.RESTART,), processes, since, all_processes=all_processes)

    def assert_no_incidents(
        self, *processes: Process, all_processes: bool = False, since: Since = "test"
    ) -> None:
        """Assert that there was no OOM kill, crash or restart and that no health check is failing.

        The assertion evaluates :meth:`assert_no_oom`, :meth:`assert_no_crash` and
        :meth:`assert_no_restart` on the same snapshots. The assertion ignores a health check that
        failed earlier but passes now.

        Args:
            processes: the processes to check, each selected by text, pid, compiled regex, process
                object, ``by(...)`` or function; if no process is given, the assertion checks all
                processes of the sandbox, or only the processes that this test started if xdist
                workers share the sandbox.
            all_processes: whether to check all processes, and not only the processes that this test
                started, if xdist workers share the sandbox and no ``processes`` are given.
            since: the time from which incidents count: with "test", from the start of the test;
                with a snapshot, from the time at which it was taken; with None, from the beginning.

        Raises:
            ProcessOOMKilled: a process was OOM-killed. If several of the first four errors in this
                list apply, the assertion raises the one that is listed first.
            ProcessCrashed: a process crashed, or its supervisor gave up.
            ProcessRestarted: a process was restarted.
            ProcessUnhealthy: a health check is failing.
            ProcessNotFound: an item of ``processes`` does not match any process.
            Inconclusive: the observations are not sufficient to decide the outcome of the check.
            InfrastructureError: the processes could not be listed.
            InvalidArgument: an argument has the wrong type or value.

        """
        self._assert_none(_ALL_RULES, processes, since, all_processes=all_processes)

    def _check(self, condition: Condition) -> Any:
        """Check a condition.

        ``Sandbox`` evaluates the condition and returns its value. Soft checks record the condition
        and return None.
        """
        raise NotImplementedError

    def _selector(self, process: Process, since: Since, pick: Pick | None = None) -> Selector:
        if pick is not None:
            check_choice("pick", pick, get_args(Pick))
        return Selector(process, self._history, self._since(since), pick)

    def _since(self, since: Since, name: str = "since") -> ProcessSnapshot | None:
        if isinstance(since, str) and since == "test":
            return self.baseline
        if isinstance(since, ProcessSnapshot) and since.history not in (None, self._history):
            raise InvalidArgument(
                f"{argument_label(name)} must be a snapshot of this sandbox, got a snapshot of another sandbox"
            )
        if since is None or isinstance(since, ProcessSnapshot):
            return since
        raise InvalidArgument(must_be(name, '"test", a snapshot or None', since))

    def _assert_none(
        self,
        rules: Sequence[absence.Rule],
        processes: Sequence[Process],
        since: Since,
        *,
        all_processes: bool,
        suspected: bool = False,
    ) -> None:
        condition = absence.NoIncident(
            rules,
            self._history,
            selectors=[self._selector(process, since) for process in processes],
            started=self._started,
            only_started=self._shared and not all_processes,
            baseline=self._since(since),
            suspected=suspected,
        )
        for incident in self._check(condition) or []:
            logger.info("uncertain end: %s: %s", run_name(incident.run), describe(incident))
