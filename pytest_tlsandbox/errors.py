"""All errors that this package raises.

::

    TLSandboxError
    ├── AssertionFailed (AssertionError)  the processes are not as the test expects
    │   ├── ProcessNotFound             no process matches, or the process is no longer listed
    │   ├── AmbiguousProcess            several processes match, but exactly one is required
    │   ├── WaitTimedOut                the condition was not met in time, but could still be met
    │   ├── UnexpectedExit              the process ended in an unexpected way
    │   ├── ProcessOOMKilled            a process was killed because memory ran out
    │   ├── SuspectedOOMKill            SIGKILL or exit code 137, not proven to be an OOM kill
    │   ├── ProcessCrashed              a crash signal, or a supervisor that gave up
    │   ├── ProcessRestarted            a supervisor started a process again
    │   ├── ProcessUnhealthy            the health check of a managed process fails
    │   ├── ChecksFailed                some checks of a `soft()` block failed
    │   └── GuardFailure                the guard has findings
    ├── InfrastructureError             the processes could not be observed or controlled
    │   ├── SandboxUnreachable          no response, or an incomplete response
    │   ├── AuthenticationFailed        401, 403
    │   ├── SandboxNotFound             the sandbox does not exist at this address
    │   ├── SandboxNotRunning           the sandbox was terminated, or was suspended for too long
    │   ├── SandboxReplaced             another sandbox now uses the same name
    │   ├── ContractViolation           the response does not follow the API
    │   ├── RequestRefused              a call (start, signal ...) was rejected
    │   └── Inconclusive                the observations are not sufficient to decide the outcome
    ├── InvalidArgument (ValueError, TypeError)  a helper was called with an invalid argument
    ├── InvalidSetting (ValueError)     an invalid option, ini key or environment variable
    └── LocalSandboxError               the embedded sandbox could not be started

An :class:`AssertionFailed` means that the processes are not as the test expects. An
:class:`InfrastructureError` means that the plugin could not observe or control the processes. The
first line of each message can be understood without the other lines.
"""

from __future__ import annotations

from typing import Any


class TLSandboxError(Exception):
    """Base class of this package's errors.

    Attributes:
        snapshot: the snapshot of the last successful poll (a ``ProcessSnapshot``); None if no poll
            succeeded.
        wanted: what the caller expected, in words; None if the error is not about an expectation.
        run: the run to which the error refers (a ``Run`` of the history); None if the error does
            not refer to a run.

    """

    snapshot: Any = None  # not ProcessSnapshot, because its module imports this module
    wanted: str | None = None
    run: Any = None

    def __init_subclass__(cls) -> None:
        """Shorten each error's name to ``pytest_tlsandbox.Name`` to save space in summary lines."""
        cls.__module__ = "pytest_tlsandbox"

    @property
    def first_line(self) -> str:
        """The first line of the message, which says what happened to which process."""
        return str(self).partition("\n")[0]


TLSandboxError.__module__ = "pytest_tlsandbox"


class AssertionFailed(TLSandboxError, AssertionError):
    """The processes are not as the test expects."""


class ProcessNotFound(AssertionFailed):
    """No process matches, or the process that matched is no longer listed."""


class AmbiguousProcess(AssertionFailed):
    """Several processes match, but exactly one is required."""


class WaitTimedOut(AssertionFailed):
    """The condition was not met before the deadline, but could still have been met later."""


class UnexpectedExit(AssertionFailed):
    """The process ended in an unexpected way."""


class ProcessOOMKilled(AssertionFailed):
    """A process was killed because memory ran out."""


class SuspectedOOMKill(AssertionFailed):
    """A process may have been OOM-killed, but there is no proof.

    There are three possible reasons for the suspicion: the process was killed by a SIGKILL that
    this plugin did not send, the process exited with code 137, or it is not known how the process
    ended. Only ``assert_no_oom(suspected=True)`` raises this error.
    """


class ProcessCrashed(AssertionFailed):
    """A crash signal ended a process, or its supervisor gave up."""


class ProcessRestarted(AssertionFailed):
    """A supervisor restarted a managed process even though the test did not request it."""


class ProcessUnhealthy(AssertionFailed):
    """The health check of a managed process is failing."""


class ChecksFailed(AssertionFailed):
    """Some checks of a ``soft()`` block failed.

    Attributes:
        failures: the errors that the failed checks would have raised outside the block.

    """

    failures: tuple[TLSandboxError, ...] = ()


class GuardFailure(AssertionFailed):
    """The guard found incidents that the test neither caused nor allowed."""


class InfrastructureError(TLSandboxError):
    """The processes could not be observed or controlled.

    Attributes:
        label: one or two words that name the error in a timeline, such as "502" or "reset".
        transient: whether a retry may succeed.
        retry_after: seconds to wait before a retry, as the server requested; None if the server did
            not request a pause.
        delivered: whether the request may have reached the sandbox and taken effect.
        outage: the outage during which the call failed; None if the outage is not known.

    """

    outage: Any = None

    def __init__(
        self,
        message: str,
        *,
        label: str = "",
        transient: bool = False,
        retry_after: float | None = None,
        delivered: bool = True,
    ) -> None:
        super().__init__(message)
        self.label = label or self.first_line
        self.transient = transient
        self.retry_after = retry_after
        self.delivered = delivered


class SandboxUnreachable(InfrastructureError):
    """The sandbox sent no response, or an incomplete response."""


class AuthenticationFailed(InfrastructureError):
    """The API key was rejected (401) or lacks a permission (403)."""


class SandboxNotFound(InfrastructureError):
    """The sandbox does not exist at this address."""


class SandboxNotRunning(InfrastructureError):
    """The sandbox was terminated, has failed, or was suspended and did not resume in time."""


class SandboxReplaced(InfrastructureError):
    """Another sandbox now uses the same name, or the daemon of the sandbox was restarted."""


class ContractViolation(InfrastructureError):
    """The response is complete, but does not follow the API."""


class RequestRefused(InfrastructureError):
    """The sandbox rejected a call, for example because it cannot start the program."""


class Inconclusive(InfrastructureError):
    """The result of the check is unknown, for example because the sandbox lost an exit code."""


class InvalidArgument(TLSandboxError, ValueError, TypeError):
    """A helper was called with an invalid value or an unknown argument."""


class InvalidSetting(TLSandboxError, ValueError):
    """An option, an ini key or an environment variable is missing or invalid."""


class LocalSandboxError(TLSandboxError):
    """The embedded sandbox could not be started."""
