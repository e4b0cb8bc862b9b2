"""Every error this package raises.

::

    TLSandboxError
    ├── Judgement (AssertionError)      the processes are not as the test says
    │   ├── ProcessNotFound             nothing is meant by what was asked for, or it is gone
    │   ├── AmbiguousProcess            several are
    │   ├── WaitTimedOut                it was still possible at the deadline
    │   ├── WrongEnd                    it ended, and not as it should have
    │   ├── ProcessOOMKilled            it was killed for want of memory
    │   ├── ProcessCrashed              a crash signal, or its supervisor gave up
    │   ├── ProcessRestarted            its supervisor started it again
    │   ├── ProcessUnhealthy            its health check fails
    │   ├── ProcessMismatch             a field is not as given, or it still runs
    │   ├── ChecksFailed                some of several checks, told together
    │   └── GuardFailure                the guard found what the test did not look for
    ├── SandboxFault                    nothing can be said of the processes
    │   ├── SandboxUnreachable          no answer, or none that is one
    │   ├── AuthenticationFailed        401, 403
    │   ├── SandboxNotFound             there is no such sandbox at that address
    │   ├── SandboxNotRunning           it has been terminated, or sleeps for too long
    │   ├── SandboxReplaced             another one answers under the same name
    │   ├── ContractViolation           an answer that is not what the API promises
    │   ├── RequestRefused              a call (start, signal ...) was turned down
    │   ├── NotObserved                 too little was seen to say "it is so"
    │   └── UnknownEnd                  it ended; the sandbox does not know how
    ├── InvalidArgument (ValueError, TypeError)  a helper was called in a way that means nothing
    ├── InvalidSetting (ValueError)     an option, ini key or environment variable
    └── LocalSandboxError               the embedded sandbox could not be started

A test that fails raises a judgement, so that pytest shows a failure; a fault is no verdict on the
program under test. The first line of every message stands alone; the evidence follows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_tlsandbox.snapshot import ProcessSnapshot
    from pytest_tlsandbox.timeline import Timeline


class TLSandboxError(Exception):
    """What every error of this package is.

    Attributes:
        snapshot: the last good look at the processes, where there was one.
        timeline: the looks behind the verdict, where there were any.
        wanted: what was asked for, in words.

    """

    snapshot: ProcessSnapshot | None = None
    timeline: Timeline | None = None
    wanted: str | None = None

    def __init_subclass__(cls) -> None:
        """Show every error as ``pytest_tlsandbox.Name``: a summary line has 80 columns."""
        cls.__module__ = "pytest_tlsandbox"

    @property
    def first_line(self) -> str:
        """The verdict, alone."""
        return str(self).partition("\n")[0]


TLSandboxError.__module__ = "pytest_tlsandbox"


class Judgement(TLSandboxError, AssertionError):
    """The processes are not as the test says."""


class ProcessNotFound(Judgement):
    """No process is meant by what was asked for, or the one that was is no longer listed."""


class AmbiguousProcess(Judgement):
    """Several processes are meant where one must be."""


class WaitTimedOut(Judgement):
    """The deadline came while the answer was still open."""


class WrongEnd(Judgement):
    """The process ended, and not in the way that was asked for."""


class ProcessOOMKilled(Judgement):
    """A process was killed for want of memory."""


class ProcessCrashed(Judgement):
    """A process died of a crash signal, or its supervisor gave up."""


class ProcessRestarted(Judgement):
    """A managed process was started again behind the test's back."""


class ProcessUnhealthy(Judgement):
    """The health check of a managed process fails."""


class ProcessMismatch(Judgement):
    """A process is not as it was asserted to be."""


class ChecksFailed(Judgement):
    """Some of the checks in a block of ``soft()`` failed.

    Attributes:
        failures: the error that each would have raised alone.

    """

    failures: tuple[TLSandboxError, ...] = ()


class GuardFailure(Judgement):
    """The guard found that something happened to a process behind the test's back."""


class SandboxFault(TLSandboxError):
    """Nothing can be said of the processes.

    Attributes:
        label: the fault in a word or two ("502", "reset"), as a timeline shows it.
        transient: asking again may help.
        retry_after: seconds the server asked to wait, if it did.
        delivered: the request may have reached the sandbox, and been acted upon.

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


class SandboxUnreachable(SandboxFault):
    """The sandbox gave no answer, or none that is one."""


class AuthenticationFailed(SandboxFault):
    """The key was refused (401) or is not allowed to do this (403)."""


class SandboxNotFound(SandboxFault):
    """There is no such sandbox at that address."""


class SandboxNotRunning(SandboxFault):
    """The sandbox has been terminated, has failed, or slept for longer than we wait."""


class SandboxReplaced(SandboxFault):
    """Another sandbox answers under the same name, or its daemon was started anew."""


class ContractViolation(SandboxFault):
    """The answer is complete and is not what the API promises."""


class RequestRefused(SandboxFault):
    """The sandbox turned down a call: a program it cannot start, a process it does not know."""


class NotObserved(SandboxFault):
    """Too little was seen to say that it is so."""


class UnknownEnd(SandboxFault):
    """The process ended, and the sandbox does not know how."""


class InvalidArgument(TLSandboxError, ValueError, TypeError):
    """A helper was called with something that means nothing, or with arguments it does not have."""


class InvalidSetting(TLSandboxError, ValueError):
    """An option, an ini key or an environment variable is missing or means nothing."""


class LocalSandboxError(TLSandboxError):
    """The embedded sandbox could not be started."""
