"""One look at the processes of a sandbox."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, TypedDict

from pydantic import TypeAdapter

from pytest_tlsandbox.arguments.checks import SEVERAL, check_value, suggestion
from pytest_tlsandbox.errors import InvalidArgument
from pytest_tlsandbox.formatting.processes import process_table
from pytest_tlsandbox.models import ProcessInfo, by_start
from pytest_tlsandbox.redact import mask_args, mask_text

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from typing_extensions import Unpack

    from pytest_tlsandbox.models import ManagedProcess, UnreadableRow
    from pytest_tlsandbox.types import Identity


_ROW = TypeAdapter(ProcessInfo)


class ProcessSnapshot:
    """The processes of a sandbox as one answer listed them, sorted by their start.

    Attributes:
        processes: the rows, oldest first. The server's own order means nothing.
        unreadable: rows that are not what the API promises, kept aside.
        sandbox: the name of the sandbox.
        begun, ended: when the look began and was answered, in seconds on the waits' own clock.
        position: its place in the history of its sandbox; None if it is in no history.
        history: that history.

    """

    position: int | None = None
    history: object = None

    def __init__(
        self,
        processes: Iterable[ProcessInfo],
        unreadable: Iterable[UnreadableRow] = (),
        *,
        sandbox: str = "sandbox",
        begun: float = 0.0,
        ended: float = 0.0,
    ) -> None:
        self.processes = tuple(sorted(processes, key=by_start))
        self.unreadable = tuple(unreadable)
        self.sandbox = sandbox
        self.begun = begun
        self.ended = ended

    def __iter__(self) -> Iterator[ProcessInfo]:
        return iter(self.processes)

    def __len__(self) -> int:
        return len(self.processes)

    def __getitem__(self, position: int) -> ProcessInfo:
        return self.processes[position]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ProcessSnapshot):
            return NotImplemented
        return (self.processes, self.unreadable) == (other.processes, other.unreadable)

    __hash__ = None  # type: ignore[assignment] # as of a list

    def __repr__(self) -> str:
        odd = f", {len(self.unreadable)} unreadable" if self.unreadable else ""
        return f"<ProcessSnapshot of {self.sandbox}: {len(self)} processes{odd}>"

    def __str__(self) -> str:
        lines = process_table(self.processes) or ["no processes"]
        return "\n".join([*lines, *(f"unreadable {row}" for row in self.unreadable)])

    @cached_property
    def alive(self) -> tuple[ProcessInfo, ...]:
        """The processes that show no evidence of an end."""
        return tuple(row for row in self.processes if not row.ended)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The processes as plain data, oldest first: for JSON, or a table of one's own.

        As they may be shown: arguments are masked, and ``status`` is put right by the other
        fields. Times are ISO 8601 text.
        """
        return [_plain(row) for row in self.processes]

    def find(self, identity: Identity) -> ProcessInfo | None:
        """Give the row of one run, if it is listed.

        Raises:
            InvalidArgument: it is no identity of a run.

        """
        if not hasattr(identity, "started_at"):
            raise InvalidArgument(
                "identity must be the identity of a run, as in find(process.identity), got a value of "
                f"type {type(identity).__name__}; where(...) finds processes by their fields"
            )
        return next(
            (row for row in self._by_pid.get(identity.pid, ()) if row.identity.same_run(identity)),
            None,
        )

    def holds(self, row: ProcessInfo) -> bool:
        """Tell whether this very object is one of the rows.

        Between looks of one lister, that is so for most rows that did not change; never for one
        that did.
        """
        return id(row) in self.by_id

    def where(self, **fields: Unpack[Fields]) -> tuple[ProcessInfo, ...]:
        """Give the processes whose fields have exactly these values, or one of several.

        Raises:
            InvalidArgument: there is no such field, or it can never have such a value.

        """
        check_fields(fields)
        return tuple(row for row in self.processes if not differences(row, fields))

    @cached_property
    def by_id(self) -> dict[int, ProcessInfo]:
        """The rows by the ids of their objects, to compare many at once; see :meth:`holds`."""
        return dict(zip(map(id, self.processes), self.processes, strict=True))

    @cached_property
    def _by_pid(self) -> dict[int, list[ProcessInfo]]:
        rows: dict[int, list[ProcessInfo]] = {}
        for row in self.processes:
            rows.setdefault(row.pid, []).append(row)
        return rows


def living_first(snapshot: ProcessSnapshot) -> list[ProcessInfo]:
    """Return the living processes before the ended ones, each group newest first."""
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
    """What can be asked of a process: the values of each field; of most, any of several.

    ``status`` is its state: the word, put right by the other fields. ``name`` is that of a
    managed process.
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
"""The names of these fields, sorted."""


def check_fields(fields: Mapping[str, object]) -> None:
    """Raise InvalidArgument for a name that is no field of a process, or a value that none has."""
    for name in fields:
        if name not in FIELDS:
            hint = suggestion(name, FIELDS) or f"; there are {', '.join(FIELDS)}"
            raise InvalidArgument(f"a process has no field {name!r}{hint}")
    for name, value in fields.items():
        check_value(name, value)


def value_of(row: ProcessInfo, field: str) -> object:
    """Return the value of one of :data:`FIELDS`."""
    if field == "status":
        return row.state
    if field == "name":
        return row.managed.name if row.managed else None
    return getattr(row, field)


def differences(row: ProcessInfo, wanted: Mapping[str, object]) -> dict[str, object]:
    """Return the fields of a row that differ from the expected values, with their values."""
    return {
        field: value_of(row, field)
        for field, value in wanted.items()
        if not _as_wanted(value_of(row, field), value)
    }


_CHOICES = (*SEVERAL, range)


def _as_wanted(value: object, wanted: object) -> bool:
    if not isinstance(wanted, _CHOICES):
        return value == wanted
    # Arguments are compared as a whole, in a list or a tuple; of other fields, one of several.
    return value == list(wanted) if isinstance(value, list) else value in wanted
