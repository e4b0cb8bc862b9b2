"""Record processes, state changes, output and outages as plain data for the report."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from pytest_tlsandbox.client import api
from pytest_tlsandbox.errors import InfrastructureError
from pytest_tlsandbox.formatting.processes import describe_end, describe_state, short_name
from pytest_tlsandbox.history.runs import NOT_LISTED
from pytest_tlsandbox.history.timeline import Outage
from pytest_tlsandbox.messages.failure import LONGEST_LINE
from pytest_tlsandbox.messages.incidents import describe, ended_row, shown_row
from pytest_tlsandbox.monitoring.incident_data import RULES, incident_data, rule_of
from pytest_tlsandbox.monitoring.monitor import Observer
from pytest_tlsandbox.monitoring.plain_data import identity_text, iso
from pytest_tlsandbox.redact import mask_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pytest_tlsandbox.history.runs import Run
    from pytest_tlsandbox.history.snapshot import ProcessSnapshot
    from pytest_tlsandbox.models import LastExit, ProcessInfo
    from pytest_tlsandbox.monitoring.monitor import Monitor, Observation
    from pytest_tlsandbox.monitoring.monitored_sandbox import MonitoredSandbox
    from pytest_tlsandbox.types import Stream

MOST_OUTPUT = 20
"""Maximum number of lines to keep from the end of the output."""
_LONGEST_READ = 0.5
"""Maximum seconds to read the output of a process."""


class Recorder(Observer):
    """Records data from all snapshots, calls and output, no matter who requested them."""

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor
        self._recorders: dict[MonitoredSandbox, _SandboxRecorder] = {}

    def add_sandbox(self, sandbox: MonitoredSandbox) -> None:
        """Begin to record what happens in another sandbox."""
        recorder = _SandboxRecorder(self._monitor, sandbox.name, sandbox.client)
        self._recorders[sandbox] = recorder
        sandbox.client.observers.append(recorder)
        sandbox.client.history.observers.append(recorder.listed)

    def examine(self, seen: Observation) -> None:
        """Record the incidents that match a rule of the guard.

        Incidents of runs that were never listed are included.
        """
        self._recorders[seen.sandbox].record_incidents(seen)

    def take_data(self) -> dict[str, Any]:
        """Return the data that was recorded since the previous call, and all open outages."""
        data: dict[str, Any] = {}
        for recorder in self._recorders.values():
            for kind, new in recorder.take().items():
                data.setdefault(kind, []).extend(new)
        return data


class _SandboxRecorder(api.Observer):
    """Records what happens in one sandbox."""

    def __init__(self, monitor: Monitor, sandbox: str, client: api.SandboxClient) -> None:
        self._sandbox = sandbox
        self._monitor = monitor
        self._clock = monitor.wall_clock
        self._client = client
        self._listed_before = False
        self._states: dict[str, dict[str, Any]] = {}
        self._new: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self._outage: tuple[Outage, str | None] | None = None
        self._outputs: dict[str, dict[str, Any]] = {}

    def record_incidents(self, seen: Observation) -> None:
        """Record new incidents, except incidents that this plugin caused."""
        for incident in self._client.history.incidents(seen.since):
            rule = rule_of(incident)
            if rule and not (incident.caused_here or incident.run.assumed):
                self._read_output(incident.run)
                self._add(
                    "incidents",
                    **incident_data(rule, incident),
                    verdict=RULES[rule].verdict,
                    what=describe(incident),
                    at=self._clock.at(seen.snapshot.begun),
                    **seen.place._asdict(),
                )

    def _read_output(self, run: Run) -> None:
        """Read the output of a run, because its row may disappear soon."""
        row = run.row
        if row is None or not row.ended or identity_text(row) in self._outputs:
            return
        with contextlib.suppress(InfrastructureError):
            self._client.output(row.pid, limit=_LONGEST_READ)

    def listed(self, snapshot: ProcessSnapshot, changed: Iterable[Run]) -> None:
        """Record runs that changed. For the first snapshot, record all runs."""
        first, self._listed_before = not self._listed_before, True
        seen_at = self._clock.at(snapshot.begun)
        for run in self._client.history.runs() if first else changed:
            if run.row is not None:  # runs that were never listed have no bar
                self._record_run(run, before=first, seen_at=seen_at)

    def call_failed(self, fault: InfrastructureError, begun: float) -> None:
        ended = self._client.clock.monotonic()
        if self._outage is None:
            self._outage = Outage(begun, ended), self._monitor.place.test
        self._outage[0].add(fault, ended)

    def call_succeeded(self, begun: float) -> None:
        if self._outage is not None:
            self._outage[0].end = begun
            self._add_outage(*self._outage)
            self._outage = None

    def output_read(self, pid: int, stream: Stream, lines: Sequence[str]) -> None:
        """Record the output of the newest process with the given pid."""
        rows = [row for row in self._client.history.last or () if row.pid == pid]
        if rows and (lines or stream == "output"):
            process = identity_text(rows[-1])
            self._outputs[process] = {
                "sandbox": self._sandbox,
                "process": process,
                "stream": stream,
                "lines": lines[-MOST_OUTPUT:],
                "total": len(lines),
            }

    def take(self) -> dict[str, list[dict[str, Any]]]:
        """Return the data that was recorded since the previous call, and any open outage."""
        if self._outage is not None:
            self._add_outage(*self._outage)
        for output in self._outputs.values():
            lines = [mask_text(line[:LONGEST_LINE]) for line in output["lines"]]
            self._new["outputs"].append({**output, "lines": lines})
        self._outputs = {}
        new, self._new = self._new, defaultdict(list)
        return {kind: items for kind, items in new.items() if items}

    def _add(self, kind: str, **data: Any) -> None:
        self._new[kind].append({"sandbox": self._sandbox, **data})

    def _add_outage(self, outage: Outage, test: str | None) -> None:
        self._add(
            "outages",
            from_at=self._clock.at(outage.start),
            to_at=self._clock.at(outage.end),
            faults=str(outage),
            test=test,
        )

    def _record_run(self, run: Run, *, before: bool, seen_at: str) -> None:
        row = ended_row(run)
        if row is None:
            return
        process = identity_text(row)
        if process not in self._states:
            self._add_process(run, row, before=before)
        states = [(_state_of(row), _changed_at(row))]
        if run.gone:
            states.append(({"state": NOT_LISTED}, None))
        if self._states.get(process) == states[-1][0]:
            return
        for state, at in states:
            if self._states.get(process) != state:
                self._states[process] = state
                place = self._monitor.place._asdict()
                self._add("changes", process=process, **state, at=at, seen_at=seen_at, **place)

    def _add_process(self, run: Run, row: ProcessInfo, *, before: bool) -> None:
        managed = row.managed
        self._add(
            "processes",
            id=identity_text(row),
            handle=row.handle,
            pid=row.pid,
            started_at=iso(row.started_at),
            name=short_name(row),
            managed=managed
            and {
                "id": mask_text(managed.id),
                "name": managed.name and mask_text(managed.name),
                "generation": identity_text(shown_row(run.generation.runs[0])),
            },
            command_line=row.masked_command_line,
            before_the_session=before,
            test=None if before else self._monitor.place.test,
        )


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
    """Return the time at which the state of a row began, by the sandbox's clock.

    The result is None if the time is not known.
    """
    if row.ended:
        return None if row.ended_at is None else iso(row.ended_at)
    return iso(row.started_at)
