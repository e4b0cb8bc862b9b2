"""The process list as the sandbox sends it.

Absent and null mean the same everywhere. Unknown fields are ignored, unknown words for a status are
kept, wrong values are rejected. An unreadable row affects only itself.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field
from pydantic.dataclasses import dataclass as model

from pytest_tlsandbox.redact import mask_args, mask_text
from pytest_tlsandbox.types import STATUSES, Identity

_ENDED = frozenset(STATUSES[1:])
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def _read_number(value: object) -> object:
    """Read s, ms, us or ns since the epoch, distinguished by size; leave ISO 8601 to pydantic.

    The wire has integer milliseconds; other releases were seen with every other form, numeric text included.
    """
    if isinstance(value, str):
        try:
            value = float(value) if "." in value else int(value)
        except ValueError:
            return value
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return value
    size = abs(value)
    per_second = 10**9 if size > 1e17 else 10**6 if size > 1e14 else 10**3 if size > 1e11 else 1
    try:
        return _EPOCH + timedelta(microseconds=value * 10**6 // per_second)
    except (OverflowError, ValueError):
        message = "a time out of range"
        raise ValueError(message) from None


def _in_utc(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        return moment.replace(tzinfo=timezone.utc)
    try:
        return moment.astimezone(timezone.utc)
    except OverflowError:
        message = "a time out of range"
        raise ValueError(message) from None


Timestamp = Annotated[
    datetime, Field(strict=False), BeforeValidator(_read_number), AfterValidator(_in_utc)
]
# Null means the same as an absent field: the default.
Flag = Annotated[bool, BeforeValidator(lambda value: False if value is None else value)]
Count = Annotated[int, BeforeValidator(lambda value: 0 if value is None else value), Field(ge=0)]
Arguments = Annotated[list[str], BeforeValidator(lambda value: [] if value is None else value)]
# Interned, because every row of a long list has the same few words.
Word = Annotated[
    str,
    BeforeValidator(lambda value: sys.intern(value.lower()) if isinstance(value, str) else value),
]
Health = Annotated[Word, BeforeValidator(lambda value: "disabled" if value is None else value)]


# The models are dataclasses with slots, because a row then takes a third of the memory of a
# BaseModel.
STRICT = ConfigDict(strict=True, hide_input_in_errors=True)


@model(config=STRICT, frozen=True, kw_only=True, slots=True)
class RestartPolicy:
    """When a supervisor restarts a process."""

    policy: Word
    max_restarts: int | None = None


@model(config=STRICT, frozen=True, kw_only=True, slots=True)
class LastExit:
    """The last end of a managed process; earlier ones are not kept."""

    exit_code: int | None = None
    signal: int | None = None
    oom_killed: Flag = False
    ended_at: Timestamp | None = None


@model(config=STRICT, frozen=True, kw_only=True, slots=True)
class ManagedProcess:
    """The state of the supervisor of a process.

    ``status`` is the supervisor's (starting, running, backing_off, stopped), not the process's.
    """

    id: str
    name: str | None = None
    status: Word
    restart_count: Count = 0
    restart: RestartPolicy | None = None
    health_status: Health = "disabled"
    consecutive_health_failures: Count = 0
    last_exit: LastExit | None = None
    last_error: str | None = None
    next_restart_at: Timestamp | None = None

    def __repr__(self) -> str:
        return f"<ManagedProcess {mask_text(self.name or self.id)} {self.status}>"


@model(config=STRICT, frozen=True, kw_only=True, slots=True)
class ProcessInfo:
    """One row of the process list. Times are aware datetimes in UTC, by the sandbox's clock.

    A row that did not change may be the same object in two snapshots.
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
        """The identity of this run: handle, pid and start."""
        return Identity(self.handle, self.pid, self.started_at)

    @property
    def command_line(self) -> str:
        """Command and arguments, joined by one space, unmasked: text selectors search in it."""
        return " ".join((self.command, *self.args))

    @property
    def masked_command_line(self) -> str:
        """Command and arguments, masked."""
        return " ".join((mask_text(self.command), *mask_args(self.args)))

    @property
    def ended(self) -> bool:
        """Whether any field shows an end, whatever the status says."""
        return (
            self.status in _ENDED
            or self.oom_killed
            or self.ended_at is not None
            or self.exit_code is not None
            or self.signal is not None
        )

    @property
    def state(self) -> str:
        """The status, corrected where other fields contradict it.

        ``oom_killed`` when the flag says so; ``exited`` or ``signaled`` for a row that says
        running, or an unknown word, and shows an end; else the word as it came.
        """
        if self.oom_killed and self.status != "exited":
            return "oom_killed"
        if not self.ended or self.status in _ENDED:
            return self.status
        return "signaled" if self.signal is not None and self.exit_code is None else "exited"

    @property
    def lifetime(self) -> timedelta | None:
        """The time from start to end by the sandbox's clock; None while the process is alive."""
        return None if self.ended_at is None else self.ended_at - self.started_at

    def __repr__(self) -> str:
        name = f" {mask_text(self.managed.name)!r}" if self.managed and self.managed.name else ""
        return f"<ProcessInfo pid {self.pid}{name} {self.state}: {self.masked_command_line}>"

    __str__ = __repr__


@dataclass(frozen=True)
class UnreadableRow:
    """A row that does not follow the API.

    ``reason`` names fields and what is wrong with them, never their values.
    """

    position: int
    reason: str
    pid: int | None
    fingerprint: str = field(repr=False)

    def __str__(self) -> str:
        pid = "" if self.pid is None else f" (pid {self.pid})"
        return f"row {self.position}{pid}: {self.reason}"


def by_start(row: ProcessInfo) -> tuple[datetime, int, int]:
    """Return the key that sorts processes by their start."""
    return row.started_at, row.handle or 0, row.pid
