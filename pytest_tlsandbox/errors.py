"""All errors that this package raises.

::

    TLSandboxError
    ├── AssertionFailed (AssertionError)  the processes are not as the test expects
    │   ├── ProcessNotFound             no process matches, or the process is no longer listed
    │   ├── AmbiguousProcess            several processes match where one must
    │   ├── WaitTimedOut                the condition was still possible at the deadline
    │   ├── UnexpectedExit              the process ended in another way than expected
    │   ├── ProcessOOMKilled            a process was killed because memory ran out
    │   ├── SuspectedOOMKill            SIGKILL or exit code 137, not proven to be an OOM kill
    │   ├── ProcessCrashed              a crash signal, or a supervisor that gave up
    │   ├── ProcessRestarted            a supervisor started a process again
    │   ├── ProcessUnhealthy            the health check of a managed process fails
    │   ├── ChecksFailed                some checks of a `soft()` block failed
    │   └── GuardFailure                the guard has findings
    ├── InfrastructureError             the processes could not be observed or controlled
    │   ├── SandboxUnreachable          no response, or an incomplete one
    │   ├── AuthenticationFailed        401, 403
    │   ├── SandboxNotFound             the sandbox does not exist at this address
    │   ├── SandboxNotRunning           it was terminated, or is suspended for too long
    │   ├── SandboxReplaced             another sandbox responds under the same name
    │   ├── ContractViolation           the response does not follow the API
    │   ├── RequestRefused              a call (start, signal ...) was rejected
    │   └── Inconclusive                the observations do not decide the check
    ├── InvalidArgument (ValueError, TypeError)  a wrong call of a helper
    ├── InvalidSetting (ValueError)     an option, ini key or environment variable
    └── LocalSandboxError               the embedded sandbox could not be started

An :class:`AssertionFailed` is a result about the program under test; an
:class:`InfrastructureError` is not. The first line of each message is complete without the rest.
"""

from __future__ import annotations

from typing import Any


class TLSandboxError(Exception):
    """Base class of the errors of this package.

    Attributes:
        snapshot: the last good snapshot (a ``ProcessSnapshot``); None if there was none.
        wanted: what the caller expected, in words; None if the error is not about an expectation.

    """

    snapshot: Any = None  # ProcessSnapshot raises these errors: its type would be an import cycle
    wanted: str | None = None

    def __init_subclass__(cls) -> None:
        """Show each error as ``pytest_tlsandbox.Name``, because a summary line has 80 columns."""
        cls.__module__ = "pytest_tlsandbox"

    @property
    def first_line(self) -> str:
        """The first line of the message: what happened, to which process."""
        return str(self).partition("\n")[0]


TLSandboxError.__module__ = "pytest_tlsandbox"


class AssertionFailed(TLSandboxError, AssertionError):
    """The processes are not as the test expects."""


class ProcessNotFound(AssertionFailed):
    """No process matches, or the process that matched is no longer listed."""


class AmbiguousProcess(AssertionFailed):
    """Several processes match where one must."""


class WaitTimedOut(AssertionFailed):
    """The condition was not met at the deadline, and was still possible."""


class UnexpectedExit(AssertionFailed):
    """The process ended in another way than expected."""


class ProcessOOMKilled(AssertionFailed):
    """A process was killed because memory ran out."""


class SuspectedOOMKill(AssertionFailed):
    """A process ended by a SIGKILL that this plugin did not send, with exit code 137, or unseen.

    Only ``assert_no_oom(suspected=True)`` raises it.
    """


class ProcessCrashed(AssertionFailed):
    """A crash signal ended a process, or its supervisor gave up."""


class ProcessRestarted(AssertionFailed):
    """A supervisor started a managed process again, and the test did not request it."""


class ProcessUnhealthy(AssertionFailed):
    """The health check of a managed process fails."""


class ChecksFailed(AssertionFailed):
    """Some checks of a ``soft()`` block failed.

    Attributes:
        failures: the error that each failed check would have raised alone.

    """

    failures: tuple[TLSandboxError, ...] = ()


class GuardFailure(AssertionFailed):
    """The guard has findings: incidents that the test neither caused nor allowed."""


class InfrastructureError(TLSandboxError):
    """The processes could not be observed or controlled.

    Attributes:
        label: the error in a word or two ("502", "reset"), as a timeline shows it.
        transient: whether a retry may succeed.
        retry_after: seconds that the server asked to wait before a retry; None if it did not ask.
        delivered: whether the request may have reached the sandbox and had its effect.

    """

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
        self.label = label or message
        self.transient = transient
        self.retry_after = retry_after
        self.delivered = delivered


class SandboxUnreachable(InfrastructureError):
    """The sandbox sent no response, or an incomplete one."""


class AuthenticationFailed(InfrastructureError):
    """The API key was rejected (401) or lacks a permission (403)."""


class SandboxNotFound(InfrastructureError):
    """The sandbox does not exist at this address."""


class SandboxNotRunning(InfrastructureError):
    """The sandbox was terminated, has failed, or was suspended for longer than the wait."""


class SandboxReplaced(InfrastructureError):
    """Another sandbox responds under the same name, or its daemon was restarted."""


class ContractViolation(InfrastructureError):
    """The response is complete and does not follow the API."""


class RequestRefused(InfrastructureError):
    """The sandbox rejected a call: a program it cannot start, a process it does not know."""


class Inconclusive(InfrastructureError):
    """The observations do not decide the check: too few polls, or an exit that the sandbox lost."""


class InvalidArgument(TLSandboxError, ValueError, TypeError):
    """A helper was called with an invalid value, or with an argument it does not have."""


class InvalidSetting(TLSandboxError, ValueError):
    """An option, an ini key or an environment variable is missing or invalid."""


class LocalSandboxError(TLSandboxError):
    """The embedded sandbox could not be started."""
