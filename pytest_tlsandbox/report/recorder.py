"""Records processes, their changes and output, and outages, as plain data for the report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_tlsandbox.client import api
from pytest_tlsandbox.formatting.states import describe_end, describe_state
from pytest_tlsandbox.formatting.words import short_name
from pytest_tlsandbox.history.runs import NOT_LISTED
from pytest_tlsandbox.history.timeline import Outage
from pytest_tlsandbox.messages.failure import LONGEST_LINE
from pytest_tlsandbox.messages.incidents import ended_row
from pytest_tlsandbox.monitoring.monitor import Observer
from pytest_tlsandbox.monitoring.plain_data import identity_text, iso
from pytest_tlsandbox.redact import mask_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pytest_tlsandbox.clock import Clock
    from pytest_tlsandbox.errors import InfrastructureError
    from pytest_tlsandbox.history.history import History
    from pytest_tlsandbox.history.runs import Run
    from pytest_tlsandbox.models import LastExit, ProcessInfo
    from pytest_tlsandbox.monitoring.monitor import Monitor
    from pytest_tlsandbox.monitoring.monitored_sandbox import MonitoredSandbox
    from pytest_tlsandbox.types import Stream

MOST_OUTPUT = 20
"""Lines of the end of an output that are kept."""


class Recorder(Observer):
    """Records what every snapshot, call and reading of output shows, whoever makes them."""

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor
        self._clock = monitor.wall_clock
        self._histories: dict[str, History] = {}
        self._states: dict[tuple[str, str], dict[str, Any]] = {}
        self._processes: list[dict[str, Any]] = []
        self._changes: list[dict[str, Any]] = []
        self._outages: dict[str, tuple[Outage, str | None]] = {}
        self._past_outages: list[dict[str, Any]] = []
        self._outputs: dict[tuple[str, str], dict[str, Any]] = {}

    def add_sandbox(self, sandbox: MonitoredSandbox) -> None:
        """Record what happens in one more sandbox."""
        name, client = sandbox.name, sandbox.client
        client.observers.append(_CallRecorder(self, name, client.clock))
        client.history.observers.append(
            lambda _snapshot, changed: self.listed(name, client.history, changed)
        )

    def listed(self, sandbox: str, history: History, changed: Iterable[Run]) -> None:
        """Record the runs that a snapshot changed; of the first one, all."""
        first = sandbox not in self._histories
        self._histories[sandbox] = history
        at = self._clock.at(history.last.begun) if history.last is not None else None
        for run in history.runs() if first else changed:
            if run.row is not None:  # no list call saw the others, so they have no bar to draw
                self._record_run(sandbox, run, before=first, seen_at=at)

    def failed(self, sandbox: str, fault: InfrastructureError, begun: float, ended: float) -> None:
        """Record a call that failed."""
        outage, _ = self._outages.setdefault(
            sandbox, (Outage(begun, ended), self._monitor.place.test)
        )
        outage.add(fault, ended)

    def recovered(self, sandbox: str, begun: float) -> None:
        """Record a call that was answered: an outage lasted until it began."""
        past = self._outages.pop(sandbox, None)
        if past is not None:
            outage, test = past
            outage.end = begun
            self._past_outages.append(self._as_data(sandbox, outage, test))

    def read(self, sandbox: str, pid: int, stream: Stream, lines: Sequence[str]) -> None:
        """Record the output of the newest process with that pid."""
        history = self._histories.get(sandbox)
        last = None if history is None else history.last
        rows = [row for row in last or () if row.pid == pid]
        if rows and lines:
            process = identity_text(rows[-1])
            self._outputs[sandbox, process] = {
                "sandbox": sandbox,
                "process": process,
                "stream": stream,
                "lines": lines[-MOST_OUTPUT:],
                "total": len(lines),
            }

    def take_data(self) -> dict[str, Any]:
        """Return what is new since the last call; an outage that goes on, again."""
        data: dict[str, Any] = {"processes": self._processes, "changes": self._changes}
        self._processes, self._changes = [], []
        outages, self._past_outages = self._past_outages, []
        outages += [self._as_data(name, *outage) for name, outage in [*self._outages.items()]]
        if outages:
            data["outages"] = outages
        if self._outputs:
            data["outputs"] = [
                {**output, "lines": [mask_text(line[:LONGEST_LINE]) for line in output["lines"]]}
                for output in self._outputs.values()
            ]
            self._outputs = {}
        return data

    def _as_data(self, sandbox: str, outage: Outage, test: str | None) -> dict[str, Any]:
        return {
            "sandbox": sandbox,
            "from_at": self._clock.at(outage.start),
            "to_at": self._clock.at(outage.end),
            "faults": str(outage),
            "test": test,
        }

    def _record_run(self, sandbox: str, run: Run, *, before: bool, seen_at: str | None) -> None:
        row = ended_row(run)
        if row is None:
            return
        process = identity_text(row)
        key = (sandbox, process)
        if key not in self._states:
            self._processes.append(self._process(sandbox, row, before=before))
        states = [(_state_of(row), _changed_at(row))]
        if run.gone:
            states.append(({"state": NOT_LISTED}, None))
        if self._states.get(key) == states[-1][0]:
            return
        for state, at in states:
            if self._states.get(key) != state:
                self._states[key] = state
                self._changes.append(
                    {
                        "sandbox": sandbox,
                        "process": process,
                        **state,
                        "at": at,
                        "seen_at": seen_at,
                        **self._monitor.place._asdict(),
                    }
                )

    def _process(self, sandbox: str, row: ProcessInfo, *, before: bool) -> dict[str, Any]:
        managed = row.managed
        return {
            "id": identity_text(row),
            "sandbox": sandbox,
            "handle": row.handle,
            "pid": row.pid,
            "started_at": iso(row.started_at),
            "name": short_name(row),
            "managed": None
            if managed is None
            else {"id": mask_text(managed.id), "name": managed.name and mask_text(managed.name)},
            "command_line": row.masked_command_line,
            "before_the_session": before,
            "test": None if before else self._monitor.place.test,
        }


class _CallRecorder(api.Observer):
    """Records the calls to one sandbox."""

    def __init__(self, recorder: Recorder, sandbox: str, clock: Clock) -> None:
        self._recorder = recorder
        self._sandbox = sandbox
        self._clock = clock

    def call_failed(self, fault: InfrastructureError, begun: float) -> None:
        self._recorder.failed(self._sandbox, fault, begun, self._clock.monotonic())

    def call_succeeded(self, begun: float) -> None:
        self._recorder.recovered(self._sandbox, begun)

    def output_read(self, pid: int, stream: Stream, lines: list[str]) -> None:
        self._recorder.read(self._sandbox, pid, stream, lines)


def _state_of(row: ProcessInfo) -> dict[str, Any]:
    managed = row.managed
    return {
        "state": row.state,
        "text": describe_state(row),
        "exit_code": row.exit_code,
        "signal": row.signal,
        "oom_killed": row.oom_killed or row.state == "oom_killed",
        "supervisor": None
        if managed is None
        else {
            "status": managed.status,
            "restarts": managed.restart_count,
            "health": managed.health_status,
            "last_exit": None if managed.last_exit is None else _end_of(managed.last_exit),
        },
    }


def _end_of(last: LastExit) -> dict[str, Any]:
    return {
        "text": describe_end(last),
        "exit_code": last.exit_code,
        "signal": last.signal,
        "oom_killed": last.oom_killed,
        "at": None if last.ended_at is None else iso(last.ended_at),
    }


def _changed_at(row: ProcessInfo) -> str | None:
    """Return when a row came to its state, by the sandbox's clock, if it says so."""
    if row.ended:
        return None if row.ended_at is None else iso(row.ended_at)
    return iso(row.started_at)
