"""Record processes, state changes, output and outages as plain data for the report."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from pytest_tlsandbox.client import api
from pytest_tlsandbox.errors import InfrastructureError
from pytest_tlsandbox.formatting.processes import describe_state, short_name
from pytest_tlsandbox.history.runs import NOT_LISTED, Run
from pytest_tlsandbox.history.snapshot import ProcessSnapshot, newest_with_pid
from pytest_tlsandbox.history.timeline import Outage
from pytest_tlsandbox.messages.failure import LONGEST_LINE
from pytest_tlsandbox.messages.incidents import ended_row, shown_row
from pytest_tlsandbox.models import ProcessInfo
from pytest_tlsandbox.monitoring.monitor import Monitor, Observation, Observer
from pytest_tlsandbox.monitoring.monitored_sandbox import MonitoredSandbox
from pytest_tlsandbox.monitoring.plain_data import RULE_OF, RULES, identity_text, incident_data, iso
from pytest_tlsandbox.redact import mask_text
from pytest_tlsandbox.types import Stream

_NewData = dict[str, list[dict[str, Any]]]
"""The data that was recorded since the last report of a test, by its kind."""
MOST_OUTPUT = 20
"""Maximum number of lines to keep from the end of the output."""
_LONGEST_READ = 0.5
"""Maximum seconds to read the output of a process."""


class Recorder(Observer):
    """Records data from all snapshots, calls and output, no matter who requested them."""

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor
        self._recorders: list[_SandboxRecorder] = []
        self._new: _NewData = defaultdict(list)

    def add_sandbox(self, sandbox: MonitoredSandbox) -> None:
        """Begin to record what happens in another sandbox."""
        recorder = _SandboxRecorder(self._monitor, sandbox, self._new)
        self._recorders.append(recorder)
        sandbox.client.observers.append(recorder)
        sandbox.client.history.observers.append(recorder.listed)

    def examine(self, seen: Observation) -> None:
        """Record the incidents that match a rule of the guard and that this plugin did not cause.

        Incidents of runs that were never listed are included.
        """
        incidents = [each for each in seen.incidents if each.kind in RULE_OF]
        incidents = [each for each in incidents if not (each.caused_here or each.run.assumed)]
        # An OOM kill and the restart after it are incidents of one run.
        for run in dict.fromkeys(incident.run for incident in incidents):
            if run.row is not None and run.row.ended:  # the row may disappear soon
                with contextlib.suppress(InfrastructureError):
                    seen.sandbox.client.output(run.row.pid, limit=_LONGEST_READ)
        for incident in incidents:
            rule = RULE_OF[incident.kind]
            data = incident_data(rule, incident, seen.sandbox.name, seen.place)
            at = self._monitor.wall_clock.at(incident.at)
            data |= {"times": incident.run.times, "verdict": RULES[rule].verdict, "at": at}
            self._new["incidents"].append(data)

    def take_data(self) -> dict[str, Any]:
        """Return the data that was recorded since the previous call, and all open outages."""
        for recorder in self._recorders:
            recorder.add_outputs_and_open_outage()
        return {kind: self._new.pop(kind) for kind in [*self._new]}


class _SandboxRecorder(api.Observer):
    """Records what happens in one sandbox, and stores it in ``new``."""

    def __init__(self, monitor: Monitor, sandbox: MonitoredSandbox, new: _NewData) -> None:
        self._sandbox, self._client = sandbox.name, sandbox.client
        self._monitor, self._clock = monitor, monitor.wall_clock
        self._new = new
        self._states: dict[str, dict[str, Any]] = {}
        self._outage: tuple[Outage, str | None] | None = None
        self._outputs: dict[str, dict[str, Any]] = {}

    def listed(self, snapshot: ProcessSnapshot, changed: Iterable[Run]) -> None:
        """Record runs that changed. For the first snapshot, record all runs."""
        first = snapshot is self._client.history.first
        seen_at = self._clock.at(snapshot.begun)
        for run in self._client.history.runs() if first else changed:
            self._record_run(run, before=first, seen_at=seen_at)

    def call_failed(self, fault: InfrastructureError, begun: float) -> None:
        if self._outage is None:
            self._outage = Outage(begun), self._monitor.place.test
        self._outage[0].add(fault, self._client.clock.monotonic())

    def call_succeeded(self, begun: float) -> None:
        if self._outage is not None:
            self._outage[0].end = begun
            self._add_outage(*self._outage)
            self._outage = None

    def output_read(self, pid: int, stream: Stream, lines: Sequence[str]) -> None:
        """Record the output of the newest process with the given pid."""
        row = newest_with_pid(self._client.history.last, pid)
        if row is not None and (lines or stream == "output"):
            output = {"stream": stream, "lines": lines[-MOST_OUTPUT:], "total": len(lines)}
            self._outputs[identity_text(row)] = output

    def add_outputs_and_open_outage(self) -> None:
        """Add the newest output of each process, and any outage that has not ended yet."""
        if self._outage is not None:
            self._add_outage(*self._outage)
        for process, output in self._outputs.items():
            output["lines"] = [mask_text(line[:LONGEST_LINE]) for line in output["lines"]]
            self._add("outputs", process=process, output=output)
        self._outputs = {}

    def _add(self, kind: str, **data: Any) -> None:
        self._new[kind].append({"sandbox": self._sandbox, **data})

    def _add_outage(self, outage: Outage, test: str | None) -> None:
        begun, ended = self._clock.at(outage.start), self._clock.at(outage.end)
        self._add("outages", from_at=begun, to_at=ended, faults=str(outage), test=test)

    def _record_run(self, run: Run, *, before: bool, seen_at: str) -> None:
        row = ended_row(run)
        if row is None:
            return  # a run that was never listed has no bar
        process = identity_text(row)
        if process not in self._states:
            self._add_process(run, row, before=before)
        known, states = self._states.get(process), [_state_of(row)]
        if run.gone:
            states.append({"state": NOT_LISTED, "at": None})
        if known != states[-1]:
            self._states[process] = states[-1]
            place = self._monitor.place._asdict()
            for state in states:
                if state != known:
                    self._add("changes", process=process, **state, seen_at=seen_at, **place)

    def _add_process(self, run: Run, row: ProcessInfo, *, before: bool) -> None:
        managed = None
        if row.managed is not None:
            name = row.managed.name and mask_text(row.managed.name)
            generation = identity_text(shown_row(run.generation.runs[0]))
            managed = {"id": mask_text(row.managed.id), "name": name, "generation": generation}
        self._add(
            "processes",
            id=identity_text(row),
            handle=row.handle,
            pid=row.pid,
            started_at=iso(row.started_at),
            name=short_name(row),
            managed=managed,
            command_line=row.masked_command_line,
            before_the_session=before,
            test=None if before else self._monitor.place.test,
        )


def _state_of(row: ProcessInfo) -> dict[str, Any]:
    supervisor = row.managed and {
        "status": row.managed.status,
        "restarts": row.managed.restart_count,
        "health": row.managed.health_status,
    }
    since = row.ended_at if row.ended else row.started_at
    return {
        "state": row.state,
        "text": describe_state(row),
        "exit_code": row.exit_code,
        "signal": row.signal,
        "oom_killed": row.oom_killed or row.state == "oom_killed",
        "supervisor": supervisor,
        "at": since and iso(since),
    }
