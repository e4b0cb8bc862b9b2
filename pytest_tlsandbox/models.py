"""Models of the process list that a sandbox sends.

A missing field has the same meaning as null. The models ignore unknown fields, keep unknown
statuses, and reject wrong values. An unreadable row does not affect the other rows.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, StringConstraints
from pydantic.dataclasses import dataclass as model

from pytest_tlsandbox.redact import mask_args, mask_text
from pytest_tlsandbox.types import STATUSES, Identity

_ENDED = frozenset(STATUSES[1:])


def _in_utc(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        return moment.replace(tzinfo=timezone.utc)
    try:
        return moment.astimezone(timezone.utc)
    except OverflowError:
        raise ValueError("a time out of range") from None


Timestamp = Annotated[datetime, Field(strict=False), AfterValidator(_in_utc)]
# Null has the same meaning as a missing field, so it is replaced by the default.
Flag = Annotated[bool, BeforeValidator(lambda value: False if value is None else value)]
Count = Annotated[int, BeforeValidator(lambda value: 0 if value is None else value), Field(ge=0)]
Arguments = Annotated[list[str], BeforeValidator(lambda value: [] if value is None else value)]
# The text is interned because the rows of a long list repeat the same few words.
Word = Annotated[str, StringConstraints(to_lower=True), AfterValidator(sys.intern)]


def _describe_check(value: object) -> str | None:
    """Describe a health check in words, or return None if the value has an unexpected form."""
    if not isinstance(value, dict) or not value.get("type"):
        return None
    path = f" GET {value['path']}" if value.get("path") else ""
    return f"{value.get('type')} port {value.get('port')}{path}"


Health = Annotated[Word, BeforeValidator(lambda value: "disabled" if value is None else value)]


# The models are dataclasses with slots, because a row then uses a third of the memory of a
# BaseModel.
STRICT = ConfigDict(strict=True, hide_input_in_errors=True, defer_build=True)


@model(config=STRICT, frozen=True, kw_only=True, slots=True)
class RestartPolicy:
    """The rule by which a supervisor restarts a process.

    Attributes:
        policy: "never", "on_failure" or "always", in lower case; unknown words are kept.
        max_restarts: the maximum number of restarts; None for no limit.

    """

    policy: Word
    max_restarts: int | None = None


@model(config=STRICT, frozen=True, kw_only=True, slots=True)
class LastExit:
    """How the last run of a managed process ended. The sandbox does not report earlier runs.

    Attributes:
        exit_code: the exit code; None if a signal ended the run.
        signal: the number of the signal that ended the run; None if the run exited.
        oom_killed: whether the sandbox confirms an OOM kill.
        ended_at: when the run ended, in UTC by the clock of the sandbox; None if unknown.

    """

    exit_code: int | None = None
    signal: int | None = None
    oom_killed: Flag = False
    ended_at: Timestamp | None = None


@model(config=STRICT, frozen=True, kw_only=True, slots=True)
class ManagedProcess:
    """The state of a managed process's supervisor.

    Attributes:
        id: the id of the supervisor, which stays the same across restarts.
        name: the name that the process was started with; None if it was started without a name.
        status: the status of the supervisor, not of the process: "starting", "running",
            "backing_off" (waiting before a restart) or "stopped"; unknown words are kept.
        restart_count: the number of restarts.
        restart: the restart policy; None if the sandbox does not report it.
        health_status: "disabled" (no health check), "starting", "healthy" or "unhealthy"; unknown
            words are kept.
        health_check: the health check in words, such as "tcp port 8080"; None if the sandbox does
            not report it.
        consecutive_health_failures: the number of health checks that failed in a row.
        last_exit: how the last run ended; None if no run has ended yet.
        last_error: the error that the supervisor reports; None if it does not report an error.
        next_restart_at: when the next restart is due, in UTC by the clock of the sandbox; None if
            no restart is due.

    """

    id: str
    name: str | None = None
    status: Word
    restart_count: Count = 0
    restart: RestartPolicy | None = None
    health_status: Health = "disabled"
    health_check: Annotated[str | None, BeforeValidator(_describe_check)] = None
    consecutive_health_failures: Count = 0
    last_exit: LastExit | None = None
    last_error: str | None = None
    next_restart_at: Timestamp | None = None

    def __repr__(self) -> str:
        return f"<ManagedProcess {mask_text(self.name or self.id)} {self.status}>"


@model(config=STRICT, frozen=True, kw_only=True, slots=True)
class ProcessInfo:
    """One process, as shown in a row of the process list.

    Times are timezone-aware datetimes in UTC, by the clock of the sandbox. The object is immutable.
    If the row changes, later snapshots contain a new object. If the row does not change, later
    snapshots may contain the same object.

    Attributes:
        handle: the handle that the sandbox assigned to the run; None on older sandboxes.
        pid: the process id, which changes with each restart of a managed process.
        status: "running", "exited", "signaled" or "oom_killed", as the sandbox sent it, in lower
            case; unknown words are kept, and the property ``state`` corrects the status if other
            fields contradict it.
        exit_code: the exit code; None if the process is alive or a signal ended it; -1 if the
            sandbox lost the exit code.
        signal: the number of the signal that ended the process; None if no signal ended it.
        oom_killed: whether the sandbox confirms an OOM kill of the process or of one of its
            children.
        stdin_writable: whether the process accepts input.
        command: the program, without its arguments.
        args: the arguments, in order.
        started_at: when the process started.
        ended_at: when the process ended; None if it is alive.
        managed: the state of the supervisor; None if the process is not managed.

    """

    handle: int | None = None
    pid: int
    status: Word
    exit_code: int | None = None
    signal: int | None = None
    oom_killed: Flag = False
    stdin_writable: Flag = False
    command: str
    args: Arguments = field(default_factory=list)
    started_at: Timestamp
    ended_at: Timestamp | None = None
    managed: ManagedProcess | None = None

    @property
    def identity(self) -> Identity:
        """The handle, pid and start time, which identify this run; see ``ProcessSnapshot.find``."""
        return Identity(self.handle, self.pid, self.started_at)

    @property
    def command_line(self) -> str:
        """The command and its unmasked arguments, joined by spaces.

        Text selectors and regexes search this string.
        """
        return " ".join((self.command, *self.args))

    @property
    def masked_command_line(self) -> str:
        """The command and its arguments, joined by spaces, with ``***`` in place of secrets."""
        return " ".join((mask_text(self.command), *mask_args(self.args)))

    @property
    def ended(self) -> bool:
        """Whether any field shows that the process has ended; the status may still be "running"."""
        if self.status in _ENDED or self.oom_killed or self.ended_at is not None:
            return True
        return self.exit_code is not None or self.signal is not None

    @property
    def state(self) -> str:
        """The status, corrected if other fields contradict it.

        The state is "oom_killed" if ``oom_killed`` is true and the status is not "exited". If
        another field shows that the process has ended, but the status does not show this, the state
        is "exited" or "signaled". In all other cases, the state is equal to the status.
        """
        if self.oom_killed and self.status != "exited":
            return "oom_killed"
        if not self.ended or self.status in _ENDED:
            return self.status
        return "signaled" if self.signal is not None and self.exit_code is None else "exited"

    @property
    def lifetime(self) -> timedelta | None:
        """The duration from ``started_at`` to ``ended_at``, or None if ``ended_at`` is None."""
        return None if self.ended_at is None else self.ended_at - self.started_at

    def __repr__(self) -> str:
        name = f" {mask_text(self.managed.name)!r}" if self.managed and self.managed.name else ""
        return f"<ProcessInfo pid {self.pid}{name} {self.state}: {self.masked_command_line}>"


@model(config=STRICT, frozen=True, kw_only=True, slots=True, repr=False)
class CompletedProcess(ProcessInfo):
    """A process that has ended, with all of its output; ``run_process`` returns it.

    Attributes:
        stdout: the standard output; its lines are joined by line breaks.
        stderr: the standard error, in the same form.

    """

    stdout: str
    stderr: str


@dataclass(frozen=True)
class UnreadableRow:
    """A row that the plugin cannot read because the row does not follow the API.

    Attributes:
        position: the index of the row in the list, from 0.
        reason: the names of the wrong fields and what is wrong with each field, without the values.
        pid: the process id; None if the row has no readable pid.
        fingerprint: a text that identifies the row in other snapshots.

    """

    position: int
    reason: str
    pid: int | None
    fingerprint: str = field(repr=False)

    def __str__(self) -> str:
        pid = "" if self.pid is None else f" (pid {self.pid})"
        return f"row {self.position}{pid}: {self.reason}"


def by_start(row: ProcessInfo) -> tuple[datetime, int, int]:
    """Return the key for sorting processes by their start time."""
    return row.started_at, row.handle or 0, row.pid
