"""Snapshots, which contain the processes of a sandbox at one point in time."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypedDict

from pydantic import TypeAdapter

from pytest_tlsandbox.arguments import SEVERAL, check_value, suggestion
from pytest_tlsandbox.errors import InvalidArgument
from pytest_tlsandbox.formatting.processes import process_table
from pytest_tlsandbox.models import ManagedProcess, ProcessInfo, UnreadableRow, by_start
from pytest_tlsandbox.redact import mask_args, mask_text
from pytest_tlsandbox.types import Identity, KernelCount

if TYPE_CHECKING:
    from typing_extensions import Unpack


_ROW = TypeAdapter(ProcessInfo)


@dataclass(repr=False)
class ProcessSnapshot:
    """The processes of a sandbox at one point in time, oldest first.

    A snapshot is a read-only sequence, so you can iterate over it, or use ``len(snapshot)`` and
    ``snapshot[-1]`` (the newest process). ``print(snapshot)`` shows a table. Two snapshots are
    equal if their processes and their unreadable rows are equal.

    Args:
        processes: the processes, in any order.
        unreadable: rows that do not follow the API.
        sandbox: the name of the sandbox.
        begun: when the list call was sent, in seconds.
        ended: when the response arrived, in seconds.

    Attributes:
        processes: the processes, sorted by their start time, oldest first.
        unreadable: rows that do not follow the API, and are therefore not in ``processes``.
        sandbox: the name of the sandbox.
        begun: when the list call was sent, in seconds of the monotonic clock of the waits.
        ended: when the response arrived, in seconds of the same clock.
        position: the position in the history of the sandbox; None if the snapshot was not recorded.
        history: the history in which the snapshot was recorded; None if it was not recorded.
        kernel: what the kernel counted at the time of the list call; None if this is not known.

    """

    processes: Sequence[ProcessInfo]
    unreadable: Sequence[UnreadableRow] = ()
    sandbox: str = field(default="sandbox", compare=False, kw_only=True)
    begun: float = field(default=0.0, compare=False, kw_only=True)
    ended: float = field(default=0.0, compare=False, kw_only=True)
    position: int | None = field(default=None, compare=False, init=False)
    history: object = field(default=None, compare=False, init=False)
    kernel: KernelCount | None = field(default=None, compare=False, init=False)

    def __post_init__(self) -> None:
        """Sort the processes."""
        self.processes = tuple(sorted(self.processes, key=by_start))
        self.unreadable = tuple(self.unreadable)

    def __iter__(self) -> Iterator[ProcessInfo]:
        return iter(self.processes)

    def __len__(self) -> int:
        return len(self.processes)

    def __getitem__(self, position: int) -> ProcessInfo:
        return self.processes[position]

    def __repr__(self) -> str:
        odd = f", {len(self.unreadable)} unreadable" if self.unreadable else ""
        return f"<ProcessSnapshot of {self.sandbox}: {len(self)} processes{odd}>"

    def __str__(self) -> str:
        lines = process_table(self.processes) or ["no processes"]
        return "\n".join([*lines, *(f"unreadable {row}" for row in self.unreadable)])

    @cached_property
    def alive(self) -> tuple[ProcessInfo, ...]:
        """The processes that have not ended, oldest first.

        A process counts as ended if any of its fields shows that the process has ended.
        """
        return tuple(row for row in self.processes if not row.ended)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The processes as dictionaries, oldest first, ready for JSON or a table.

        The keys are the fields of ``ProcessInfo``. Secrets are masked, times are converted to ISO
        8601 text, and ``status`` is corrected if other fields contradict it.
        """
        return [_plain(row) for row in self.processes]

    def find(self, identity: Identity) -> ProcessInfo | None:
        """Return the process with the given identity.

        Args:
            identity: the identity of a run, which is the value of ``process.identity``.

        Returns:
            The process in this snapshot; None if it is not listed.

        Raises:
            InvalidArgument: the argument is not the identity of a run.

        """
        if not hasattr(identity, "started_at"):
            raise InvalidArgument(
                "argument 'identity' must be the identity of a run, as in find(process.identity), got a "
                f"value of type {type(identity).__name__}; to find processes by their fields, use where(...)"
            )
        rows = self.by_pid.get(identity.pid, ())
        return next((row for row in rows if row.identity.same_run(identity)), None)

    def holds(self, row: ProcessInfo) -> bool:
        """Return whether this snapshot contains the object itself, and not just an equal object.

        Consecutive snapshots of one lister share the objects of most unchanged rows, but never the
        objects of changed rows. If the result is True, the process did not change.

        Args:
            row: a process of this or another snapshot.

        Returns:
            Whether the object is in ``processes``.

        """
        return id(row) in self.by_id

    def where(self, **fields: Unpack[Fields]) -> tuple[ProcessInfo, ...]:
        """Return the processes whose fields have the given values.

        Example: ``snapshot.where(command="python", exit_code=(0, 1))``

        Args:
            fields: the expected value of each field. The value of ``args`` is compared as a whole.
                For other fields, a tuple, list, set or range contains the accepted values.

        Returns:
            A tuple of the processes that match all fields, oldest first.

        Raises:
            InvalidArgument: a field does not exist, or can never have the given value.

        """
        check_fields(fields)
        return tuple(row for row in self.processes if not differences(row, fields))

    @cached_property
    def by_id(self) -> dict[int, ProcessInfo]:
        """The processes, indexed by the ``id()`` of each process object.

        This index makes comparisons of snapshots fast.
        """
        return dict(zip(map(id, self.processes), self.processes, strict=True))

    @cached_property
    def by_pid(self) -> dict[int, list[ProcessInfo]]:
        """The processes with each pid, oldest first."""
        rows: dict[int, list[ProcessInfo]] = {}
        for row in self.processes:
            rows.setdefault(row.pid, []).append(row)
        return rows


def newest_with_pid(snapshot: ProcessSnapshot | None, pid: int) -> ProcessInfo | None:
    """Return the newest process with a pid, which is the process that uses the pid now.

    If there is no snapshot, or it lists no process with the pid, the result is None.
    """
    rows = snapshot.by_pid.get(pid) if snapshot else None
    return rows[-1] if rows else None


def living_first(snapshot: ProcessSnapshot) -> list[ProcessInfo]:
    """Return the living processes, newest first, followed by the ended processes, newest first."""
    newest_first = snapshot.processes[::-1]
    return sorted(newest_first, key=lambda row: row.ended)


def _plain(row: ProcessInfo) -> dict[str, Any]:
    fields: dict[str, Any] = _ROW.dump_python(row, mode="json")
    fields.update(status=row.state, command=mask_text(row.command), args=mask_args(row.args))
    if managed := fields["managed"]:
        texts = {name: managed[name] for name in ("id", "name", "last_error")}
        managed.update({name: mask_text(text) for name, text in texts.items() if text})
    return fields


class Fields(TypedDict, total=False):
    """The fields of a process that a test can check.

    The expected value of a field is an exact value, or a tuple, list, set or range of accepted
    values. The value of ``args`` is compared as a whole. The fields ``managed``, ``oom_killed`` and
    ``stdin_writable`` accept only one value.

    Attributes:
        args: all arguments, in order.
        command: the program, without its arguments.
        ended_at: when the process ended, by the clock of the sandbox; None if it is alive.
        exit_code: the exit code; None if the process is alive or a signal ended it.
        handle: the handle that the sandbox assigned to the run; None on older sandboxes.
        managed: the state of the supervisor; None if the process is not managed.
        name: the name of a managed process; None if the process has no name.
        oom_killed: whether the sandbox confirms an OOM kill.
        pid: the process id.
        signal: the number of the signal that ended the process; None if no signal ended it.
        started_at: when the process started, by the clock of the sandbox.
        status: "running", "exited", "signaled" or "oom_killed", corrected if other fields
            contradict it; for example, if a row contains "running" and an exit code, the status is
            "exited".
        stdin_writable: whether the process accepts input.

    """

    args: Sequence[str]
    command: str | Collection[str]
    ended_at: datetime | Collection[datetime] | None
    exit_code: int | Collection[int | None] | None
    handle: int | Collection[int | None] | None
    managed: ManagedProcess | None
    name: str | Collection[str | None] | None
    oom_killed: bool
    pid: int | Collection[int]
    signal: int | Collection[int | None] | None
    started_at: datetime | Collection[datetime]
    status: str | Collection[str]
    stdin_writable: bool


FIELDS = tuple(Fields.__annotations__)
"""The names of all fields, sorted."""


def check_fields(fields: Mapping[str, object]) -> None:
    """Check that each field exists and can have the given value.

    Args:
        fields: the expected value of each field.

    Raises:
        InvalidArgument: a field does not exist, or can never have the value.

    """
    for name, value in fields.items():
        if name not in FIELDS:
            hint = suggestion(name, FIELDS) or f"; expected one of {', '.join(FIELDS)}"
            raise InvalidArgument(f"a process has no field {name!r}{hint}")
        check_value(name, value)


def value_of(row: ProcessInfo, field: str) -> object:
    """Return the value of a field, whose name must be in :data:`FIELDS`."""
    if field == "status":
        return row.state
    if field == "name":
        return row.managed.name if row.managed else None
    return getattr(row, field)


def differences(row: ProcessInfo, wanted: Mapping[str, object]) -> dict[str, object]:
    """Return the actual value of each field that does not have its expected value."""
    values = {field: value_of(row, field) for field in wanted}
    return {field: value for field, value in values.items() if not _as_wanted(value, wanted[field])}


_CHOICES = (*SEVERAL, range)


def _as_wanted(value: object, wanted: object) -> bool:
    if not isinstance(wanted, _CHOICES):
        return value == wanted
    # Arguments are compared as a whole, but for other fields, a sequence lists the accepted values.
    return value == list(wanted) if isinstance(value, list) else value in wanted
