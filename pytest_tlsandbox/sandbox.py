"""Methods that wait for, check, start, signal and kill the processes of a sandbox."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast, get_args

from pytest_tlsandbox import arguments, process_control
from pytest_tlsandbox.assertions import Assertions, Since
from pytest_tlsandbox.client.api import SandboxClient
from pytest_tlsandbox.client.retry import LONGEST_CALL
from pytest_tlsandbox.errors import InvalidArgument
from pytest_tlsandbox.formatting.processes import named
from pytest_tlsandbox.formatting.text import count
from pytest_tlsandbox.history.snapshot import ProcessSnapshot
from pytest_tlsandbox.models import CompletedProcess, ProcessInfo
from pytest_tlsandbox.soft_checks import Soft, Together
from pytest_tlsandbox.types import SIGKILL, SIGTERM, Pick, Screen, Stream
from pytest_tlsandbox.waiting.conditions import output_and_port, status_and_fields
from pytest_tlsandbox.waiting.conditions.process_condition import ProcessCondition
from pytest_tlsandbox.waiting.conditions.process_list import Listing, NumberRuns, Until
from pytest_tlsandbox.waiting.outcome_to_error import error_of, error_of_several
from pytest_tlsandbox.waiting.polling import Wait, logger
from pytest_tlsandbox.waiting.results import Condition, Met
from pytest_tlsandbox.waiting.selectors import Process

if TYPE_CHECKING:
    from typing_extensions import Unpack


T = TypeVar("T")


class Sandbox(Assertions[ProcessInfo]):
    """The processes of one sandbox.

    Every ``wait_`` method polls until the result is certain or ``timeout`` (seconds) has passed.
    Every ``assert_`` method checks the current state; a check may take a few polls. Both ``wait_``
    and ``assert_`` methods retry transient errors for up to 30 s.

    To select a process, pass one of these values: text from its command line, the name of a managed
    process, a pid, a compiled regex, a process object that a helper returned, ``by(...)``, or a
    function. The function receives a process, and returns whether the process matches.

    All methods raise ``AssertionFailed`` (an AssertionError) if the processes are not as the test
    expects. They raise ``InfrastructureError`` if the processes could not be observed. They raise
    ``InvalidArgument`` if the call is invalid.

    Args:
        client: the connection to the sandbox, or a ``ScriptedLister``.
        timeout: the default timeout of waits, in seconds.
        baseline: the snapshot at the start of the test; if it is None, assertions check all known
            incidents.
        shared: whether other xdist workers use the sandbox too; if so, an assertion without
            ``processes`` checks only the processes that this test started.
        screen: the terminal for which messages are formatted.

    Attributes:
        baseline: the snapshot that ``since="test"`` stands for; if it is None, assertions check all
            known incidents.

    """

    def __init__(
        self,
        client: SandboxClient,
        *,
        timeout: float = 30.0,
        baseline: ProcessSnapshot | None = None,
        shared: bool = False,
        screen: Screen | None = None,
    ) -> None:
        super().__init__(baseline, client.history, [], shared)
        self._client = client
        self._timeout = timeout
        self._screen = screen or Screen()

    def __repr__(self) -> str:
        return f"<Sandbox {self._client.label}>"

    def from_now(self, baseline: ProcessSnapshot | None = None) -> Sandbox:
        """Return a sandbox object with a new baseline, so that assertions ignore earlier incidents.

        When the test ends, the plugin kills all processes that were started through the existing
        object or through the new object.

        Args:
            baseline: the snapshot to use as the baseline; if it is None, the call takes a snapshot
                now.

        Returns:
            A new sandbox object. The existing object keeps its baseline.

        Raises:
            InfrastructureError: the processes could not be listed.
            InvalidArgument: ``baseline`` is not a snapshot.

        """
        given = self._since(baseline, "baseline")
        later = copy.copy(self)
        later.baseline = self.list_processes() if given is None else given
        return later

    def list_processes(self) -> ProcessSnapshot:
        """List all processes of the sandbox, including processes from earlier tests.

        Returns:
            A snapshot of the processes, sorted by start time, and of the rows that could not be
            read.

        Raises:
            InfrastructureError: the processes could not be listed.

        """
        return cast("ProcessSnapshot", self._check(Listing()))

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
        """Wait until a process has the expected status.

        Args:
            process: the process, selected by text, pid, compiled regex, process object, ``by(...)``
                or function.
            status: the expected status, or a collection of accepted statuses: "running", "exited",
                "signaled" or "oom_killed".
            healthy: whether the health check of the process must pass too.
            stable_for: seconds for which the process must keep the status without a restart.
            timeout: seconds to wait; None for the default, which is 30 s unless
                ``--tlsandbox-timeout`` sets it.
            pick: the process to use if several match, "newest" or "oldest"; with None, the call
                raises ``AmbiguousProcess`` in this case.
            since: which ended processes to ignore. Pass "test" to ignore processes that ended
                before the test began, or a snapshot to ignore processes that ended before the
                snapshot was taken. Pass None to consider all processes. The argument has no effect
                on a process that is selected by pid, handle or object.

        Returns:
            The process, as the last poll listed it.

        Raises:
            WaitTimedOut: the process did not get the status in time, or did not keep it.
            ProcessNotFound: no process matches, or the process is no longer listed.
            AmbiguousProcess: several processes match.
            UnexpectedExit: the process ended in an unexpected way.
            ProcessOOMKilled: the process was OOM-killed.
            AssertionFailed: ``healthy`` is true, but the process has no health check.
            Inconclusive: the observations do not show how the process ended.
            InfrastructureError: the processes could not be listed.
            InvalidArgument: an argument has the wrong type or value.

        """
        selector, statuses = self._selector(process, since, pick), arguments.check_statuses(status)
        duration = arguments.check_seconds("stable_for", stable_for)
        condition = status_and_fields.HasStatus(selector, statuses, healthy, duration)
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
        """Wait until a process has exited with the expected code.

        Args:
            process: the process, selected by text, pid, compiled regex, process object, ``by(...)``
                or function.
            exit_code: the expected exit code, a collection of accepted exit codes, or "any".
            timeout: seconds to wait; None for the default, which is 30 s unless
                ``--tlsandbox-timeout`` sets it.
            pick: the process to use if several match, "newest" or "oldest"; with None, the call
                raises ``AmbiguousProcess`` in this case.
            since: which ended processes to ignore. Pass "test" to ignore processes that ended
                before the test began, or a snapshot to ignore processes that ended before the
                snapshot was taken. Pass None to consider all processes. The argument has no effect
                on a process that is selected by pid, handle or object.

        Returns:
            The process, as the last poll listed it.

        Raises:
            WaitTimedOut: the process did not exit in time.
            ProcessNotFound: no process matches, or the process is no longer listed.
            AmbiguousProcess: several processes match.
            UnexpectedExit: the process exited with another code, or a signal ended it.
            ProcessOOMKilled: the process was OOM-killed.
            Inconclusive: the sandbox lost the exit code (it reports -1 or no code).
            InfrastructureError: the processes could not be listed.
            InvalidArgument: an argument has the wrong type or value.

        """
        selector, codes = self._selector(process, since, pick), arguments.check_codes(exit_code)
        return self._process(status_and_fields.HasExited(selector, codes), self._seconds(timeout))

    def wait_for_output(
        self,
        process: Process,
        pattern: str | re.Pattern[str],
        *,
        timeout: float | None = None,
        pick: Pick | None = None,
        since: Since = "test",
    ) -> str:
        """Wait until a process has written a line that contains the text or matches the regex.

        Each poll reads both output streams from the beginning. The wait fails if the process ends
        without having written a matching line.

        Args:
            process: the process, selected by text, pid, compiled regex, process object, ``by(...)``
                or function.
            pattern: the text, or a compiled regex, to search for in each line.
            timeout: seconds to wait; None for the default, which is 30 s unless
                ``--tlsandbox-timeout`` sets it.
            pick: the process to use if several match, "newest" or "oldest"; with None, the call
                raises ``AmbiguousProcess`` in this case.
            since: which ended processes to ignore. Pass "test" to ignore processes that ended
                before the test began, or a snapshot to ignore processes that ended before the
                snapshot was taken. Pass None to consider all processes. The argument has no effect
                on a process that is selected by pid, handle or object.

        Returns:
            The first line that matches.

        Raises:
            WaitTimedOut: the process did not write a matching line in time.
            ProcessNotFound: no process matches, or the process is no longer listed.
            AmbiguousProcess: several processes match.
            UnexpectedExit: the process ended before it wrote a matching line.
            ProcessOOMKilled: the process was OOM-killed before it wrote a matching line.
            Inconclusive: another process now uses the pid, so the output of the selected process
                can no longer be read.
            InfrastructureError: the processes or the output could not be read.
            InvalidArgument: an argument has the wrong type or value.

        """
        selector, searched = self._selector(process, since, pick), arguments.check_pattern(pattern)
        seconds = self._seconds(timeout)
        read = self._limited(self._client.output, seconds)
        condition = output_and_port.HasWritten(selector, searched, read)
        return cast("str", self._check(condition, seconds))

    def wait_for_port(
        self,
        process: Process,
        port: int,
        *,
        timeout: float | None = None,
        pick: Pick | None = None,
        since: Since = "test",
    ) -> ProcessInfo:
        """Wait until a process accepts TCP connections on a port inside the sandbox.

        Each poll opens and closes a connection through the tunnel of the sandbox. For this reason,
        the port need not be exposed. The wait fails if the process ends or is restarted.

        The embedded sandbox reports whether another process uses the port. Other sandboxes do not
        report this. On these sandboxes, the wait also succeeds if another process accepts the
        connection while the selected process runs.

        Args:
            process: selects one process: text, a pid, a compiled regex, a process, ``by(...)`` or a
                function.
            port: the port, from 1 to 65535.
            timeout: seconds to wait; None for the default, which ``--tlsandbox-timeout`` sets
                (otherwise 30 s).
            pick: which process to use if several match, "newest" or "oldest". With None, the call
                raises ``AmbiguousProcess`` if several match.
            since: which ended processes to ignore. Pass "test" to ignore processes that ended
                before the test began, or a snapshot to ignore processes that ended before the
                snapshot was taken. Pass None to consider all processes. The argument has no effect
                on a process that is selected by pid, handle or object.

        Returns:
            The process, as the last poll listed it.

        Raises:
            WaitTimedOut: nothing accepted a connection in time.
            ProcessNotFound: no process matches, or the process is no longer listed.
            AmbiguousProcess: several processes match.
            UnexpectedExit: the process ended.
            ProcessOOMKilled: the process was OOM-killed.
            AssertionFailed: the process was restarted.
            RequestRefused: the sandbox has no tunnel to its ports.
            InfrastructureError: the processes could not be listed, or the port could not be probed.
            InvalidArgument: an argument has the wrong type or value.

        """
        selector, seconds = self._selector(process, since, pick), self._seconds(timeout)
        number = arguments.check_number("port", port, 1, 2**16 - 1)
        probe = self._limited(self._client.probe_port, seconds)
        condition = output_and_port.AcceptsConnections(selector, port=number, probe=probe)
        return self._process(condition, seconds)

    def wait_for_restart(
        self,
        process: Process,
        count: int = 1,
        *,
        timeout: float | None = None,
        pick: Pick | None = None,
        since: Since = "test",
    ) -> ProcessInfo:
        """Wait until a supervisor has restarted its process at least ``count`` times.

        Restarts that this plugin requested do not count. The guard does not report the restarts for
        which a test waited.

        Args:
            process: selects one process: text, a pid, a compiled regex, a process, ``by(...)`` or a
                function.
            count: the number of restarts, at least 1.
            timeout: seconds to wait; None for the default, which ``--tlsandbox-timeout`` sets
                (otherwise 30 s).
            pick: which process to use if several match, "newest" or "oldest". With None, the call
                raises ``AmbiguousProcess`` if several match.
            since: the point from which restarts are counted. Pass "test" to count from the start
                of the test, or a snapshot to count from the time of the snapshot. With None, all
                known restarts are counted.

        Returns:
            The process, as the last poll listed it.

        Raises:
            WaitTimedOut: the supervisor did not restart the process often enough in time.
            ProcessNotFound: no process matches, or the process is no longer listed.
            AmbiguousProcess: several processes match.
            UnexpectedExit: the process has ended, and its supervisor will not restart it again.
            ProcessOOMKilled: the process was OOM-killed, and its supervisor will not restart it
                again.
            AssertionFailed: the process has no supervisor.
            InfrastructureError: the processes could not be listed.
            InvalidArgument: an argument has the wrong type or value.

        """
        selector = self._selector(process, since, pick)
        number = arguments.check_number("count", count, 1)
        position = self._history.position_of(self._since(since))
        condition = status_and_fields.WasRestarted(selector, number, position)
        return self._process(condition, self._seconds(timeout))

    def wait_for_count(
        self, process: Process, count: int, *, timeout: float | None = None
    ) -> list[ProcessInfo]:
        """Wait until exactly ``count`` matching processes run.

        Args:
            process: selects processes: text, a compiled regex, ``by(...)`` or a function.
            count: the number of processes.
            timeout: seconds to wait; None for the default, which ``--tlsandbox-timeout`` sets
                (otherwise 30 s).

        Returns:
            The running processes, oldest first.

        Raises:
            WaitTimedOut: more or fewer processes ran until the deadline.
            ProcessNotFound: no process matched before the deadline.
            UnexpectedExit: all matching processes have ended.
            ProcessOOMKilled: all matching processes have ended, and at least one was OOM-killed.
            InfrastructureError: the processes could not be listed.
            InvalidArgument: an argument has the wrong type or value.

        """
        number = arguments.check_number("count", count, 0)
        condition = NumberRuns(self._selector(process, "test"), number)
        return cast("list[ProcessInfo]", self._check(condition, self._seconds(timeout)))

    def wait_until(
        self, condition: Callable[[ProcessSnapshot], T | None], *, timeout: float | None = None
    ) -> T:
        """Wait until ``condition(snapshot)`` is truthy.

        Args:
            condition: a function that is called with each snapshot of all processes of the sandbox,
                including processes from earlier tests; an exception from the function ends the wait
                at once.
            timeout: seconds to wait; None for the default, which is 30 s unless
                ``--tlsandbox-timeout`` sets it.

        Returns:
            The first truthy value that ``condition`` returns.

        Raises:
            WaitTimedOut: the condition did not become truthy in time.
            InfrastructureError: the processes could not be listed.
            InvalidArgument: an argument has the wrong type or value.

        """
        arguments.check_function("condition", condition, "the snapshot")
        return cast("T", self._check(Until(condition, self.baseline), self._seconds(timeout)))

    # ------------------------------------------------------------- assertions

    def assert_stays(
        self,
        process: Process,
        *,
        stable_for: float,
        status: str | Iterable[str] = "running",
        pick: Pick | None = None,
        since: Since = "test",
    ) -> ProcessInfo:
        """Assert that a process keeps the expected status for ``stable_for`` seconds.

        The assertion fails as soon as the status changes or the process is restarted. In contrast,
        ``wait_for_process(stable_for=...)`` can still succeed after a change. After each change,
        that wait begins a new period of ``stable_for`` seconds.

        If the time between two polls is longer than 1 s, and also longer than a tenth of
        ``stable_for``, the polls may have missed a change. In this case, the assertion begins a new
        period of ``stable_for`` seconds.

        Args:
            process: the process, selected by text, pid, compiled regex, process object, ``by(...)``
                or function.
            stable_for: the number of seconds, greater than 0, for which the process must keep the
                status.
            status: the expected status, or a collection of accepted statuses.
            pick: the process to use if several match, "newest" or "oldest"; with None, the call
                raises ``AmbiguousProcess`` in this case.
            since: which ended processes to ignore. Pass "test" to ignore processes that ended
                before the test began, or a snapshot to ignore processes that ended before the
                snapshot was taken. Pass None to consider all processes. The argument has no effect
                on a process that is selected by pid, handle or object.

        Returns:
            The process, as the last poll listed it.

        Raises:
            AssertionFailed: the status changed, or the process was restarted. If the process ended,
                the error is ``UnexpectedExit`` or ``ProcessOOMKilled``.
            ProcessNotFound: no process matches, or the process is no longer listed.
            AmbiguousProcess: several processes match.
            Inconclusive: the result did not settle, because new periods began again and again.
            InfrastructureError: the processes could not be listed.
            InvalidArgument: an argument has the wrong type or value.

        """
        duration = arguments.check_seconds("stable_for", stable_for)
        if duration == 0:
            raise InvalidArgument("argument 'stable_for' must be > 0 seconds, got 0")
        selector, statuses = self._selector(process, since, pick), arguments.check_statuses(status)
        return self._process(status_and_fields.Stays(selector, statuses, stable_for=duration))

    def soft(self) -> Soft:
        """Evaluate several checks on the same snapshots, and report all failures in one error.

        Begin a block with ``with tlsandbox.soft() as check:``. In the block, call
        ``check.assert_process(...)`` and other assertions of ``check``. ``check`` has all
        assertions except ``assert_stays``. When the block ends, the plugin evaluates all assertions
        of the block together.

        Returns:
            A context manager that raises ``ChecksFailed`` at the end of the block if a check
            failed.

        """
        return Soft(self.baseline, self._history, self._started, self._shared, self._check)

    # ---------------------------------------------------------------- arrange

    def start_process(
        self, command: str, args: Sequence[str] = (), **options: Unpack[arguments.StartOptions]
    ) -> ProcessInfo:
        """Start a program that the plugin kills when the test ends.

        If ``name``, ``restart`` or ``health_check`` is given, the sandbox starts a managed process,
        which runs under a supervisor. The plugin never repeats a start request that may have
        reached the sandbox. If an option is None, the sandbox uses its own default for that option.

        Args:
            command: the path of the program, or a name that the sandbox looks up on its PATH.
            args: the arguments of the program.
            options: how to start the program, such as ``env={"DEBUG": "1"}``. The options are env,
                working_dir, user, stdin_mode, stdout_mode, stderr_mode, name, restart and
                health_check; see ``StartOptions``.

        Returns:
            The process, as the sandbox described it in the response to the start request.

        Raises:
            RequestRefused: the sandbox cannot start the program, or does not support managed
                processes. If managed processes are not supported, the program runs without a
                supervisor.
            InfrastructureError: the sandbox did not send a valid response. If the attribute
                ``delivered`` of the error is true, the program may have started.
            InvalidArgument: an argument has the wrong type or value.

        """
        body = process_control.start_body(command, args, options)
        return process_control.start(self._client, self._started, body)

    def run_process(
        self,
        command: str,
        args: Sequence[str] = (),
        *,
        exit_code: int | Iterable[int] | Literal["any"] = 0,
        timeout: float | None = None,
        **options: Unpack[arguments.StartOptions],
    ) -> CompletedProcess:
        """Start a program, wait until it has exited with the expected code, and read its output.

        Args:
            command: the program: a path, or a name to find on PATH in the sandbox.
            args: its arguments.
            exit_code: the expected exit code, a collection of accepted exit codes, or "any".
            timeout: seconds to wait; None for the default, which ``--tlsandbox-timeout`` sets
                (otherwise 30 s). A program that still runs is killed when the test ends.
            options: the other options of ``start_process``.

        Returns:
            The ended process, with its output.

        Raises:
            WaitTimedOut: the process did not exit in time.
            UnexpectedExit: the process exited with another code, or a signal ended it.
            ProcessOOMKilled: the process was OOM-killed.
            Inconclusive: the sandbox lost the exit code (it reports -1 or no code). The error is
                also raised if another process now uses the pid, because then the output can no
                longer be read.
            RequestRefused: the sandbox cannot start the program.
            InfrastructureError: the sandbox did not send a valid response.
            InvalidArgument: an argument has the wrong type or value.

        """
        codes, seconds = arguments.check_codes(exit_code), self._seconds(timeout)
        process = self.start_process(command, args, **options)
        exited = status_and_fields.HasExited(self._selector(process, None), codes)
        row = self._process(exited, seconds)
        row = self._process(output_and_port.HasOutput(self._selector(row, "test")))
        outputs = process_control.read_output(row, self._client, "stdout", "stderr")
        stdout, stderr = map("\n".join, outputs)
        known = {name: getattr(row, name) for name in ProcessInfo.__dataclass_fields__}
        return CompletedProcess(**known, stdout=stdout, stderr=stderr)

    def stop_process(self, process: Process, grace: float = 5.0) -> ProcessInfo:
        """Send SIGTERM to a process, then SIGKILL if the process still runs after a grace period.

        For a managed process, the supervisor is stopped first, so that it does not start the
        program again. If the process is not managed and has already ended, the call sends no signal
        and returns the process. The guard treats the end of the process as deliberate unless the
        process crashes or is OOM-killed.

        Args:
            process: selects one process: text, a pid, a compiled regex, a process, ``by(...)`` or a
                function. If several processes match, the call uses the only living process. If all
                matching processes have ended, the call uses the newest one.
            grace: the grace period in seconds; 0 sends SIGKILL right after SIGTERM.

        Returns:
            The ended process. If the sandbox no longer lists the process, the result is the process
            as it was last listed.

        Raises:
            WaitTimedOut: the process has not ended even though it received SIGKILL.
            ProcessNotFound: no process matches.
            AmbiguousProcess: several living processes match.
            RequestRefused: the sandbox rejected a signal even though the process is running.
            InfrastructureError: the sandbox did not send a valid response.
            InvalidArgument: an argument has the wrong type or value.

        """
        seconds = arguments.check_seconds("grace", grace)
        row = self._find_one(process)
        ended = status_and_fields.HasEnded(self._selector(row, None))
        if row.managed is not None:
            process_control.kill(row, self._client)  # the supervisor sends SIGTERM
        elif not row.ended:
            process_control.stop(row, self._client, SIGTERM)
        outcome = self._wait(ended, seconds)
        if isinstance(outcome.result, Met) and outcome.final:
            return cast("ProcessInfo", outcome.result.value)
        process_control.stop(row, self._client, SIGKILL)
        return self._process(ended, self._timeout)

    def send_signal(self, process: Process, signal: int) -> None:
        """Send a signal to the process group of a process.

        Args:
            process: the process, selected by text, pid, compiled regex, process object, ``by(...)``
                or function; if several processes match, the call uses the only living process, or
                the newest process if all have ended.
            signal: the number of the signal, from 1 to 64, such as ``signal.SIGTERM``.

        Raises:
            ProcessNotFound: no process matches.
            AmbiguousProcess: several living processes match.
            RequestRefused: the process has ended, or the sandbox does not know it.
            InfrastructureError: the sandbox did not send a valid response. The signal may have been
                sent.
            InvalidArgument: an argument has the wrong type or value.

        """
        number = arguments.check_number("signal", signal, 1, 64)
        process_control.send_signal(self._find_one(process), self._client, number)

    def kill_process(self, process: Process) -> None:
        """Kill a process's process group, or stop a managed process's supervisor.

        When a supervisor is stopped, it sends SIGTERM to its process. If the process is still
        running after 10 s, the supervisor sends SIGKILL. The call also succeeds if the process has
        already ended. The call does not wait for the process to end.

        Args:
            process: the process, selected by text, pid, compiled regex, process object, ``by(...)``
                or function; if several processes match, the call uses the only living process, or
                the newest process if all have ended.

        Raises:
            ProcessNotFound: no process matches.
            AmbiguousProcess: several living processes match.
            InfrastructureError: the sandbox did not send a valid response. The process may have
                been killed.
            InvalidArgument: ``process`` has the wrong type.

        """
        process_control.kill(self._find_one(process), self._client)

    def restart_process(self, process: Process) -> ProcessInfo:
        """Restart a managed process.

        Args:
            process: the process, selected by text, pid, compiled regex, process object, ``by(...)``
                or function; if several processes match, the call uses the only living process, or
                the newest process if all have ended.

        Returns:
            The new run of the process, as the sandbox described it in the response to the restart
            request.

        Raises:
            ProcessNotFound: no process matches.
            AmbiguousProcess: several living processes match.
            RequestRefused: the sandbox does not know the process.
            InfrastructureError: the sandbox did not send a valid response. The process may have
                been restarted.
            InvalidArgument: the process is not managed, or ``process`` has the wrong type.

        """
        row = self._find_one(process)
        if row.managed is None:
            raise InvalidArgument(
                f"restart_process: {named(row)} is not a managed process; to make a process managed, pass "
                "name= or restart= to start_process"
            )
        new = self._client.restart(row)
        self._history.note_restart(row, new)
        return new

    def output(self, process: Process, stream: Stream = "output") -> list[str]:
        """Return the lines that a process has written so far.

        A sandbox may list a process as ended before it stores the last output of the process. For
        this reason, if the process has ended, the call reads the output again at intervals of 50
        ms. The call stops when the output no longer changes, or when 1 s has passed.

        Args:
            process: the process, selected by text, pid, compiled regex, process object, ``by(...)``
                or function; if several processes match, the call uses the only living process, or
                the newest process if all have ended.
            stream: "stdout", "stderr", or "output" for both.

        Returns:
            The lines, oldest first, without line breaks. For "output", all lines of stdout come
            before the lines of stderr.

        Raises:
            ProcessNotFound: no process matches.
            AmbiguousProcess: several living processes match.
            Inconclusive: another process now uses the pid, so the output of the selected process
                can no longer be read.
            InfrastructureError: the output could not be read.
            InvalidArgument: an argument has the wrong type or value.

        """
        arguments.check_choice("stream", stream, get_args(Stream))
        row = self._process(output_and_port.HasOutput(self._selector(process, "test")))
        return process_control.read_output(row, self._client, stream)[0]

    def kill_started(self) -> list[ProcessInfo]:
        """Kill the processes that were started through this object.

        The ``tlsandbox`` fixture calls this method when the test ends. After killing the processes,
        the call waits until the sandbox lists them as ended, but no longer than 3 s. If the call
        did not wait, the next test might still see the processes as alive.

        Returns:
            The processes that are still running afterwards. If the sandbox does not answer, the
            list contains the processes that may still be running. The list is empty if all
            processes have ended.

        """
        started, self._started[:] = [*self._started], []
        return process_control.kill_and_wait(started, self._client) if started else []

    # ---------------------------------------------------------------- engine

    def _find_one(self, process: Process) -> ProcessInfo:
        """Return the one living process that matches.

        If all matching processes have ended, return the newest of them.
        """
        return self._process(output_and_port.IsListed(self._selector(process, "test")))

    def _process(self, condition: Condition, timeout: float | None = None) -> ProcessInfo:
        return cast("ProcessInfo", self._check(condition, timeout))

    def _seconds(self, timeout: float | None) -> float:
        return self._timeout if timeout is None else arguments.check_seconds("timeout", timeout)

    def _limited(self, call: Callable[..., T], timeout: float) -> Callable[..., T]:
        """Return an API call of a wait, limited to the time that is left, but at least 0.5 s."""
        now = self._client.clock.monotonic
        end = now() + timeout
        return lambda *args: call(*args, limit=min(max(end - now(), 0.5), LONGEST_CALL))

    def _check(self, condition: Condition, timeout: float | None = None) -> Any:
        wait = self._wait(condition, timeout)
        if isinstance(wait.result, Met) and wait.final:
            polls = count(wait.timeline.looks, "poll")
            logger.info("%s: %s: yes, after %s", self._client.label, condition.wanted, polls)
            if isinstance(condition, (ProcessCondition, Together)):
                condition.declare(wait.result.value)
            return wait.result.value
        if isinstance(condition, Together) and wait.result is not None:
            raise error_of_several(condition.results, wait, self._screen)
        raise error_of(wait, self._screen)

    def _wait(self, condition: Condition, timeout: float | None) -> Wait:
        since = None if self.baseline is None else self._history.position_of(self.baseline)
        return Wait(condition, self._client, timeout, since, self._screen.say).run()
