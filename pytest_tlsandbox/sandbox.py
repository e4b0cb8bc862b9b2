"""The sandbox of a test: waits, assertions, and calls that start, signal and kill processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeVar

from pytest_tlsandbox import process_control
from pytest_tlsandbox.arguments.checks import (
    check_codes,
    check_condition,
    check_pattern,
    check_pick,
    check_seconds,
    check_signal,
    check_statuses,
    check_stream,
    wrong,
)
from pytest_tlsandbox.arguments.unknown_names import explain_misuse
from pytest_tlsandbox.assertions import Assertions
from pytest_tlsandbox.client.retry import LONGEST_CALL
from pytest_tlsandbox.errors import InvalidArgument, RequestRefused
from pytest_tlsandbox.formatting.processes import named
from pytest_tlsandbox.formatting.text import count
from pytest_tlsandbox.history.snapshot import ProcessSnapshot
from pytest_tlsandbox.soft_checks import Soft, Together
from pytest_tlsandbox.types import Screen
from pytest_tlsandbox.waiting.conditions.condition import Listing, Met, Until
from pytest_tlsandbox.waiting.conditions.exit import HasExited
from pytest_tlsandbox.waiting.conditions.output import HasOutput, HasWritten, IsListed
from pytest_tlsandbox.waiting.conditions.process_condition import ProcessCondition
from pytest_tlsandbox.waiting.conditions.status import HasStatus, Stays
from pytest_tlsandbox.waiting.outcome_to_error import error_of, error_of_several
from pytest_tlsandbox.waiting.polling import Limit, Outcome, logger, watch

if TYPE_CHECKING:
    import re
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from typing_extensions import Unpack

    from pytest_tlsandbox.arguments.start_options import HealthCheckOptions, RestartOptions
    from pytest_tlsandbox.assertions import Since
    from pytest_tlsandbox.client.api import SandboxClient
    from pytest_tlsandbox.history.snapshot import Fields
    from pytest_tlsandbox.models import ProcessInfo
    from pytest_tlsandbox.types import Pick, Stream
    from pytest_tlsandbox.waiting.conditions.condition import Condition
    from pytest_tlsandbox.waiting.selectors import Process

T = TypeVar("T")


@explain_misuse
class Sandbox(Assertions):
    """The processes of one sandbox.

    Every ``wait_`` polls until the result is certain or ``timeout`` (seconds) has passed; every
    ``assert_`` checks now, which may take a few polls. Both retry transient errors for up to 30 s.
    Select a process by text, pid, compiled regex, an object that was listed or started,
    ``by(...)``, or a predicate.

    All of them raise ``AssertionFailed`` (an AssertionError) if the processes are not as the test
    expects, ``InfrastructureError`` if they could not be observed, and ``InvalidArgument`` for an
    invalid call.
    """

    def __init__(
        self,
        client: SandboxClient,
        *,
        timeout: float = 30.0,
        baseline: ProcessSnapshot | None = None,
        shared: bool = False,
        started: list[ProcessInfo] | None = None,
        screen: Screen | None = None,
    ) -> None:
        super().__init__(
            baseline=baseline,
            history=client.history,
            shared=shared,
            started=[] if started is None else started,
        )
        self._client = client
        self._timeout = timeout
        self._screen = screen or Screen()

    def __repr__(self) -> str:
        return f"<Sandbox {self._client.label}>"

    def from_now(self, baseline: ProcessSnapshot | None = None) -> Sandbox:
        """Return the same sandbox with a baseline of this moment: earlier incidents do not count.

        ``baseline``: an earlier snapshot to use instead. The processes that are started through
        either sandbox are killed when the test ends.
        """
        if baseline is not None and not isinstance(baseline, ProcessSnapshot):
            raise wrong("baseline", "a snapshot or None (list the processes now)", baseline)
        return Sandbox(
            self._client,
            timeout=self._timeout,
            baseline=self.list_processes() if baseline is None else baseline,
            shared=self._shared,
            started=self._started,
            screen=self._screen,
        )

    def list_processes(self) -> ProcessSnapshot:
        """List all processes, sorted by their start."""
        seen: ProcessSnapshot = self._check(Listing())
        return seen

    # ------------------------------------------------------------------ waits

    def wait_for_process(
        self,
        process: Process,
        *,
        status: str | Iterable[str] = "running",
        healthy: bool = False,
        stable_for: float = 0.0,
        timeout: float | None = None,
        pick: Pick | None = None,
        since: Since = "test",
    ) -> ProcessInfo:
        """Wait until the process has that status (one or several); return the process.

        ``healthy``: its health check must pass too. ``stable_for``: it must stay so, without a
        restart, for as many seconds. ``pick``: which one to use if several match.
        """
        condition = HasStatus(
            self._selector(process, since),
            check_statuses(status),
            healthy=healthy,
            stable_for=check_seconds("stable_for", stable_for),
            pick=check_pick(pick),
        )
        return self._process(condition, self._seconds(timeout))

    def wait_for_exit(
        self,
        process: Process,
        *,
        exit_code: int | Iterable[int] | Literal["any"] = 0,
        timeout: float | None = None,
        pick: Pick | None = None,
        since: Since = "test",
    ) -> ProcessInfo:
        """Wait until the process has exited with that code (one, several, or "any").

        If the sandbox lost the code (-1, or none at all), the wait raises ``Inconclusive``.
        """
        condition = HasExited(
            self._selector(process, since),
            check_codes(exit_code),
            check_pick(pick),
        )
        return self._process(condition, self._seconds(timeout))

    def wait_for_output(
        self,
        process: Process,
        pattern: str | re.Pattern[str],
        *,
        timeout: float | None = None,
        pick: Pick | None = None,
        since: Since = "test",
    ) -> str:
        """Wait until a line of its output has that text, or matches the compiled regex; return the line.

        Each poll reads both streams from the start. The wait fails when the process ends.
        """
        seconds = self._seconds(timeout)
        end = self._client.clock.monotonic() + seconds

        def read(row: ProcessInfo) -> list[str]:
            left = end - self._client.clock.monotonic()
            return self._client.output(row.pid, limit=min(max(left, 0.5), LONGEST_CALL))

        condition = HasWritten(
            self._selector(process, since),
            check_pattern(pattern),
            read,
            check_pick(pick),
        )
        line: str = self._check(condition, seconds)
        return line

    def wait_until(
        self, condition: Callable[[ProcessSnapshot], T | None], *, timeout: float | None = None
    ) -> T:
        """Wait until ``condition(snapshot)`` is truthy; return its value.

        The snapshot has all processes of the sandbox, those of earlier tests too. An exception of the
        condition ends the wait at once.
        """
        check_condition(condition)
        value: T = self._check(Until(condition), self._seconds(timeout))
        return value

    # ------------------------------------------------------------- assertions

    def assert_process(
        self,
        /,
        process: Process,
        *,
        pick: Pick | None = None,
        since: Since = "test",
        **expected: Unpack[Fields],
    ) -> ProcessInfo:
        """Assert that every field has the given value (or one of several) now; return the process."""
        return self._process(self._has_fields(process, expected, pick, since))

    def assert_stays(
        self,
        process: Process,
        *,
        stable_for: float,
        status: str | Iterable[str] = "running",
        pick: Pick | None = None,
        since: Since = "test",
    ) -> ProcessInfo:
        """Assert that the same run keeps that status for ``stable_for`` seconds, from now on.

        Fails at the first change; ``wait_for_process(stable_for=...)`` starts again until its timeout.
        A gap between polls of more than 1 s, or a tenth of the time if that is more, is
        ``Inconclusive``.
        """
        duration = check_seconds("stable_for", stable_for)
        if duration == 0:
            raise InvalidArgument("stable_for must be > 0 seconds, got 0")
        condition = Stays(
            self._selector(process, since),
            check_statuses(status),
            duration,
            check_pick(pick),
        )
        return self._process(condition)

    def soft(self) -> Soft:
        """Return a context manager that checks several things on one snapshot and reports all failures.

        In ``with tlsandbox.soft() as check:`` call ``check.assert_process(...)`` and the other
        assertions, except ``assert_stays``. They are evaluated together when the block ends, and
        raise one ``ChecksFailed``.
        """
        return Soft(
            self._check_together,
            baseline=self.baseline,
            history=self._history,
            shared=self._shared,
            started=self._started,
        )

    # ---------------------------------------------------------------- arrange

    def start_process(
        self,
        command: str,
        args: Sequence[str] = (),
        *,
        env: Mapping[str, str] | None = None,
        working_dir: str | None = None,
        user: str | Mapping[str, object] | None = None,
        stdin_mode: Literal["closed", "pipe"] | None = None,
        stdout_mode: Literal["capture", "discard"] | None = None,
        stderr_mode: Literal["capture", "discard"] | None = None,
        name: str | None = None,
        restart: RestartOptions | None = None,
        health_check: HealthCheckOptions | None = None,
    ) -> ProcessInfo:
        """Start a program; it is killed when the test ends.

        ``name``, ``restart`` or ``health_check`` make it a managed process, which has a supervisor;
        ``RequestRefused`` if the sandbox ignores them. Never repeated if it may have started.
        """
        body = process_control.start_body(
            command,
            args,
            env=env,
            working_dir=working_dir,
            user=user,
            stdin_mode=stdin_mode,
            stdout_mode=stdout_mode,
            stderr_mode=stderr_mode,
            name=name,
            restart=restart,
            health_check=health_check,
        )
        process = process_control.start(self._client, body)
        self._history.note_start(process)
        self._started.append(process)
        process_control.check_managed(process, body, self._client)
        return process

    def send_signal(self, process: Process, signal: int) -> None:
        """Send a signal, by number, to the process group of a process."""
        number = check_signal(signal)
        row = self._find_one(process)
        run = self._history.note_signal(row, number)
        try:
            self._client.signal(row, number)
        except RequestRefused:
            if run is not None:
                run.forget(number)
            raise

    def kill_process(self, process: Process) -> None:
        """Kill a process, or stop the supervisor of a managed one. Killing an ended process succeeds."""
        process_control.kill(self._find_one(process), self._client)

    def restart_process(self, process: Process) -> ProcessInfo:
        """Restart a managed process; return its new run."""
        row = self._find_one(process)
        if row.managed is None:
            raise InvalidArgument(
                f"restart_process: {named(row)} is not managed; start it with name= or restart="
            )
        new = self._client.restart(row)
        self._history.note_restart(row, new)
        return new

    def output(self, process: Process, stream: Stream = "output") -> list[str]:
        """Return the lines that a process has written so far: "stdout", "stderr", or both ("output").

        For an ended process, read until two readings 50 ms apart agree, for at most 1 s.
        """
        stream = check_stream(stream)
        row = self._find_one(process, HasOutput)
        return process_control.read_output(row, self._client, stream)

    def kill_started(self) -> list[ProcessInfo]:
        """Kill the processes that were started through this object; return those that still run then.

        The ``tlsandbox`` fixture calls this when the test ends. It waits until the list shows the
        ends, since the next test must not find these processes alive.
        """
        started, self._started[:] = [*self._started], []
        return process_control.kill_and_wait(started, self._client) if started else []

    # ---------------------------------------------------------------- engine

    def _find_one(self, process: Process, kind: type[IsListed] = IsListed) -> ProcessInfo:
        """Return the one process that matches now: the living one, else the newest."""
        return self._process(kind(self._selector(process, "test")))

    def _process(self, condition: Condition, timeout: float | None = None) -> ProcessInfo:
        found: ProcessInfo = self._check(condition, timeout)
        return found

    def _seconds(self, timeout: float | None) -> float:
        return self._timeout if timeout is None else check_seconds("timeout", timeout)

    def _check(self, condition: Condition, timeout: float | None = None) -> Any:
        limit = self._limit(timeout)
        outcome = self._watch(condition, limit)
        if isinstance(outcome.result, Met) and outcome.final:
            if isinstance(condition, ProcessCondition):
                condition.declare(outcome.result.value)
            return outcome.result.value
        raise error_of(outcome, condition.wanted, self._client, timeout, limit, self._screen)

    def _check_together(self, checks: Together) -> None:
        limit = self._limit(None)
        outcome = self._watch(checks, limit)
        results = list(zip(checks.checks, checks.results, strict=False))
        if isinstance(outcome.result, Met) and outcome.final:
            for check, result in results:
                if isinstance(check.condition, ProcessCondition) and isinstance(result, Met):
                    check.condition.declare(result.value)
            return
        if outcome.result is None:
            raise error_of(outcome, checks.wanted, self._client, None, limit, self._screen)
        told = [(check.name, check.place, result) for check, result in results]
        raise error_of_several(told, outcome, self._client.label, self._screen)

    def _limit(self, timeout: float | None) -> Limit:
        start = self._client.clock.monotonic()
        at = None if timeout is None else start + timeout
        sooner = self._client.wait_deadline()
        if sooner is None or (at is not None and at <= sooner):
            return Limit(start, at)
        return Limit(start, max(start, sooner), self._client.test_deadline())

    def _watch(self, condition: Condition, limit: Limit) -> Outcome:
        since = None if self.baseline is None else self._history.position_of(self.baseline)
        outcome = watch(condition, self._client, limit, since, self._screen.say)
        if isinstance(outcome.result, Met) and outcome.final and outcome.timeline.last:
            logger.info(
                "%s: %s: yes, after %s at %s",
                self._client.label,
                condition.wanted,
                count(outcome.timeline.looks, "look"),
                count(len(outcome.timeline.last), "process"),
            )
        return outcome
