"""Select a process by text, pid, regex, object, exact values or a predicate."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, NamedTuple, Protocol, TypeAlias

from pytest_tlsandbox.arguments import check_function, shown
from pytest_tlsandbox.errors import InvalidArgument
from pytest_tlsandbox.formatting.text import shorten
from pytest_tlsandbox.history.history import History
from pytest_tlsandbox.history.runs import Run
from pytest_tlsandbox.history.snapshot import ProcessSnapshot, check_fields, differences
from pytest_tlsandbox.messages.incidents import ended_row
from pytest_tlsandbox.models import ProcessInfo
from pytest_tlsandbox.redact import mask_text
from pytest_tlsandbox.types import Identity, Pick

SUCCESSOR_TIME = 2.0
"""Grace period in seconds for a successor after all processes that match a text have ended."""


@dataclass(frozen=True)
class By:
    """Exact field values that select a process, as returned by :func:`by`.

    Attributes:
        fields: the name and the expected value of each field.

    """

    fields: tuple[tuple[str, object], ...]

    def __repr__(self) -> str:
        return f"by({', '.join(f'{name}={_brief(repr(value))}' for name, value in self.fields)})"


def by(
    *,
    name: str | None = None,
    command: str | None = None,
    args: list[str] | tuple[str, ...] | None = None,
    pid: int | None = None,
    handle: int | None = None,
) -> By:
    """Select a process by exact field values. The process must match all given values.

    Example: ``tlsandbox.wait_for_exit(by(command="python", args=["train.py"]))``

    An argument that is None matches every value.

    Args:
        name: the name of the managed process.
        command: the program, without its arguments.
        args: all arguments of the program, in order.
        pid: the process id, which selects the newest process with this pid in the first snapshot
            that contains such a process, but no later process with the same pid.
        handle: the handle that the sandbox assigned to the run.

    Returns:
        A selector, which you can pass to any helper that takes a process.

    Raises:
        InvalidArgument: no argument was given, or an argument has the wrong type.

    """
    given = {"name": name, "command": command, "args": args, "pid": pid, "handle": handle}
    fields = tuple((field, value) for field, value in given.items() if value is not None)
    if not fields:
        raise InvalidArgument(f"by() needs at least one of {', '.join(given)}, got none")
    check_fields(dict(fields))
    return By(fields)


class ListedProcess(Protocol):
    """A process object that was returned by this plugin or by the Tensorlake SDK."""

    @property
    def pid(self) -> int:
        """The process id."""

    @property
    def started_at(self) -> datetime:
        """The start time of the process, by the clock of the sandbox.

        A time without a time zone is in UTC.
        """


class TracedProcess(Protocol):
    """A process object of the SDK, wrapped together with the id of a trace.

    Attributes:
        trace_id: the id of the trace.

    """

    trace_id: str

    @property
    def value(self) -> ListedProcess:
        """The process."""


# Use one string, because pyright does not evaluate concatenated strings.
Process: TypeAlias = "str | int | re.Pattern[str] | By | ListedProcess | TracedProcess | Callable[[ProcessInfo], object]"
"""The ways to select a process: text from its command line or its managed name, a pid, a compiled regex, an object that the plugin or the SDK returned, ``by(...)``, or a predicate."""


class Selection(NamedTuple):
    """The result of a selector for one snapshot.

    Attributes:
        matches: the selected rows, oldest first.
        living: the matches that are alive or that a supervisor will restart.
        older: rows that match, but are excluded because they had ended before the baseline.
        gone: whether the selected run was listed before, but is no longer listed.
        successors: whether a process that starts later may also match; if so, the wait continues
            for a grace period after all matches have ended.

    """

    matches: tuple[ProcessInfo, ...] = ()
    living: tuple[ProcessInfo, ...] = ()
    older: tuple[ProcessInfo, ...] = ()
    gone: bool = False
    successors: bool = False


@dataclass(eq=False, repr=False)
class Selector:
    """Selects a process in every snapshot of a wait.

    Each wait creates a new selector. A text selector, a regex, a predicate and ``by`` select
    processes that were alive at the baseline or started after the baseline. A pid or a handle
    selects a single run, even within ``by``. Several runs may have the same pid or handle. In this
    case, the selector uses the first snapshot that contains at least one of these runs, and chooses
    the newest run in this snapshot. If a managed process is selected by its name or by an object,
    it stays selected across restarts.

    Attributes:
        process: text, a pid, a compiled regex, an object, ``by(...)`` or a predicate.
        history: the history of the sandbox.
        baseline: a snapshot; processes that had ended before this snapshot do not count. If
            ``baseline`` is None, all listed processes count.
        pick: which process a condition on one process uses if several match; with None, the
            condition is impossible in this case.
        label: a short description of the selector for messages, with secrets masked.
        fits: a function that returns whether a process matches, whenever it began.
        text: the text, if the selector is a text.
        may_select_others: whether the selector selects all matching processes, including later
            processes.
        one_run: whether the selector selects a single run; if so, the result is final when the run
            has ended, even if a supervisor restarts the program.

    Raises:
        InvalidArgument: ``process`` has the wrong type, or would match every process or no process.

    """

    process: Process
    history: History
    baseline: ProcessSnapshot | None = None
    pick: Pick | None = None

    def __post_init__(self) -> None:
        process = self.process
        self.label, self.fits = _read(process)
        self.text = process if isinstance(process, str) else None
        self._run = _identity_of(process)
        fields = dict(process.fields) if isinstance(process, By) else {}
        self.one_run = isinstance(process, int) or "pid" in fields or "handle" in fields
        self.may_select_others = not self.one_run
        if self._run is not None:
            self.one_run = _managed_id(process) is None
            self.may_select_others = False

    @property
    def pid(self) -> int | None:
        """The pid of the selected run, or None if the selector is not bound to one run."""
        return self._run.pid if self.one_run and self._run is not None else None

    def select(self, snapshot: ProcessSnapshot) -> Selection:
        """Return the matches in a snapshot, and remember the selected run for later snapshots."""
        if self.one_run:
            return self._select_run(snapshot)
        if not self.may_select_others:
            return self._select_generation(snapshot)
        fitting = [row for row in snapshot if self.fits(row) and self._is_newest(row)]
        new = tuple(row for row in fitting if self._is_new(row))
        older = tuple(row for row in fitting if not self._is_new(row))
        named = tuple(row for row in new if _is_named(row, self.text))
        living = tuple(row for row in named or new if not self._is_over(row))
        return Selection(named or new, living, older, successors=not named)

    def selects(self, run: Run) -> bool:
        """Return whether the selector selects a run.

        If the selector is bound to a single run, it selects only this run. If it is bound to a
        managed process, it selects all runs of this process. Any other selector selects a run if
        a run of the same process matches.
        """
        if self.may_select_others:
            rows = [member.row for member in run.generation.runs if member.row is not None]
            return any(map(self.fits, rows))
        bound = self.bound_run
        if bound is None or self.one_run:
            return run is bound
        return run.generation is bound.generation

    def vanished(self) -> Run | None:
        """Return the selected run if its row vanished before a list call showed that the run ended.

        Returns:
            The run. The result is None if the row did not vanish, if this plugin killed the run, or
            if the selector selects all matching processes and therefore only listed ones.

        """
        run = self.bound_run
        if run is None and isinstance(self.process, int):
            run = self.history.vanished_with(self.process)
        return run if run and run.gone and run.end is None and not run.ended_here else None

    @property
    def bound_run(self) -> Run | None:
        """The run that the selector is bound to; None if there is no such run.

        If the selector is bound to a managed process, it is the newest run of this process.
        """
        run = self.history.find(self._run) if self._run is not None else None
        return run if run is None or self.one_run else run.generation.newest

    def _select_generation(self, snapshot: ProcessSnapshot) -> Selection:
        """Select the newest run of a managed process. Ignore later processes with the same name."""
        rows = [row for row in snapshot if self.fits(row)]
        newest = self.bound_run
        if newest is None and rows:  # the process was restarted before the first list call
            newest = self.history.run_of(rows[-1])
        own = [row for row in rows if self.history.run_of(row) is newest]
        if not own:
            return Selection(gone=True)
        self._run = own[-1].identity
        return Selection((own[-1],), () if self._is_over(own[-1]) else (own[-1],))

    def _select_run(self, snapshot: ProcessSnapshot) -> Selection:
        if self._run is None:
            fitting = [row for row in snapshot if self.fits(row)]
            if not fitting:  # because a process with this pid may start later
                return Selection()
            self._run = fitting[-1].identity
        row, run = snapshot.find(self._run), self.bound_run
        if row is None and run is not None and run.successor is not None and run.end is not None:
            row = ended_row(run)  # its supervisor reported how it ended
        if row is None:
            return Selection(gone=True)
        return Selection((row,), () if row.ended else (row,))

    def _is_over(self, row: ProcessInfo) -> bool:
        """Return whether a match has ended and will not be restarted by a supervisor."""
        if not row.ended or is_over(row):
            return row.ended
        # If another process was started with the same name, the old row may still say "backing
        # off".
        run = self.history.run_of(row)
        return run is not None and run.generation.replaced

    def _is_newest(self, row: ProcessInfo) -> bool:
        """Return whether a row shows the newest run of its process.

        A sandbox may also list older runs of the process.
        """
        run = None if row.managed is None else self.history.run_of(row)
        if run is None:
            return True
        if run.generation.replaced and not row.ended and run.end is None:
            return False  # because the sandbox never updated the row
        # A name selects only the process that was started last with that name.
        return run.is_newest if _is_named(row, self.text) else run.successor is None

    def _is_new(self, row: ProcessInfo) -> bool:
        """Return whether a process began after the baseline, or was active at the baseline.

        A process also counts as active if its supervisor was about to restart the process.
        """
        before = self.baseline.find(row.identity) if self.baseline is not None else None
        return before is None or not is_over(before)


def is_over(row: ProcessInfo) -> bool:
    """Return whether a process has ended and no supervisor is about to restart it."""
    return row.ended and (row.managed is None or row.managed.status == "stopped")


def living_of(selectors: Iterable[Selector], snapshot: ProcessSnapshot) -> list[ProcessInfo]:
    """Return the living processes that the selectors match, in the order of the selectors."""
    return [row for selector in selectors for row in selector.select(snapshot).living]


def _is_named(row: ProcessInfo, text: str | None) -> bool:
    return text is not None and row.managed is not None and row.managed.name == text


def label_of(pattern: str | re.Pattern[str]) -> str:
    """Return a text in quotes or a regex between slashes, shortened and with secrets masked."""
    return f'"{_brief(pattern)}"' if isinstance(pattern, str) else f"/{_brief(pattern.pattern)}/"


def _read(process: Any) -> tuple[str, Callable[[ProcessInfo], bool]]:
    """Return the label of a selector, and a function that returns whether a process matches."""
    if isinstance(process, str):
        if not process.strip():
            raise InvalidArgument(
                "argument 'process' must not be empty text, which would match every command line"
            )
        label = label_of(process)
        return label, lambda row: process in row.command_line or _is_named(row, process)
    if isinstance(process, int) and not isinstance(process, bool):
        if process < 0:
            raise InvalidArgument(f"argument 'process' must be a pid >= 0, got {process}")
        return f"pid {process}", lambda row: row.pid == process
    if isinstance(process, re.Pattern) and isinstance(process.pattern, str):
        return label_of(process), lambda row: bool(process.search(row.command_line))
    if isinstance(process, By):
        fields = dict(process.fields)
        return repr(process), lambda row: not differences(row, fields)
    if _identity_of(process) is not None:
        managed_id = _managed_id(process)
        return f"pid {process.pid}", lambda row: bool(row.managed and row.managed.id == managed_id)
    if callable(process) and not isinstance(process, type):
        check_function("process", process, "the process")
        name = getattr(process, "__name__", type(process).__name__)
        return f"where {name}", lambda row: bool(process(row))
    raise InvalidArgument(
        "argument 'process' must be text, a pid, a compiled regex, a process object, a by(...) "
        f"selector or a function, got {shown(process)}"
    )


def _brief(text: str) -> str:
    return shorten(mask_text(text[:1000]), 60)


def _managed_id(process: Any) -> str | None:
    managed = getattr(process, "managed", None)
    return managed.id if managed is not None else None


def _identity_of(process: Any) -> Identity | None:
    """Return the identity of a process object of this plugin or of the SDK, or None."""
    started_at = getattr(process, "started_at", None)
    if not hasattr(process, "pid") or not isinstance(started_at, datetime):
        return None
    if started_at.tzinfo is None:
        started_at = started_at.replace(tzinfo=timezone.utc)
    return Identity(getattr(process, "handle", None), process.pid, started_at)
