"""What happens in sandboxes as data for the report: processes, changes, outages, output."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_tlsandbox.client.api import Observer
from pytest_tlsandbox.formatting.processes import describe_end, describe_state, short_name
from pytest_tlsandbox.guard.rules import Place, identity_text
from pytest_tlsandbox.guard.worker_data import iso
from pytest_tlsandbox.history.runs import NOT_LISTED
from pytest_tlsandbox.history.timeline import Outage
from pytest_tlsandbox.messages.failure import LONGEST_LINE
from pytest_tlsandbox.messages.incidents import ended_row
from pytest_tlsandbox.redact import mask_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pytest_tlsandbox.client.api import SandboxClient
    from pytest_tlsandbox.clock import Clock
    from pytest_tlsandbox.errors import InfrastructureError
    from pytest_tlsandbox.guard.worker_data import Facts, HostTime
    from pytest_tlsandbox.history.history import History
    from pytest_tlsandbox.history.runs import Run
    from pytest_tlsandbox.models import LastExit, ProcessInfo
    from pytest_tlsandbox.types import Stream

MOST_OUTPUT = 20
"""Lines of the end of an output that are kept."""


class Recorder:
    """Collects what is new since it was last asked, as plain data."""

    def __init__(self, host: HostTime) -> None:
        self.place = Place()
        """Where what is seen now belongs."""
        self._host = host
        self._histories: dict[str, History] = {}
        self._states: dict[tuple[str, str], dict[str, Any]] = {}
        self._processes: list[dict[str, Any]] = []
        self._changes: list[dict[str, Any]] = []
        self._outages: dict[str, tuple[Outage, str | None]] = {}
        self._past_outages: list[dict[str, Any]] = []
        self._outputs: dict[tuple[str, str], dict[str, Any]] = {}

    def follow(self, sandbox: str, client: SandboxClient) -> None:
        """Collect outages and output of a sandbox too."""
        client.observers.append(_Follower(self, sandbox, client.clock))

    def listed(self, sandbox: str, history: History, changed: Iterable[Run]) -> None:
        """Take in the runs that a snapshot changed; of the first one, all."""
        first = sandbox not in self._histories
        self._histories[sandbox] = history
        at = self._host.at(history.last.begun) if history.last is not None else None
        for run in history.runs() if first else changed:
            if run.row is not None:  # no list call saw the others, so they have no bar to draw
                self._take_run(sandbox, run, before=first, seen_at=at)

    def failed(self, sandbox: str, fault: InfrastructureError, begun: float, ended: float) -> None:
        """Take in a call that failed."""
        outage, _ = self._outages.setdefault(sandbox, (Outage(begun, ended), self.place.test))
        outage.add(fault, ended)

    def recovered(self, sandbox: str, begun: float) -> None:
        """Take in that a call was answered: an outage lasted until that began."""
        past = self._outages.pop(sandbox, None)
        if past is not None:
            outage, test = past
            outage.end = begun
            self._past_outages.append(self._as_data(sandbox, outage, test))

    def read(self, sandbox: str, pid: int, stream: Stream, lines: Sequence[str]) -> None:
        """Take in the output of the newest process with that pid."""
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

    def take(self) -> Facts:
        """Give what is new since the last time; an outage that goes on, again."""
        facts: Facts = {"processes": self._processes, "changes": self._changes}
        self._processes, self._changes = [], []
        outages, self._past_outages = self._past_outages, []
        outages += [self._as_data(name, *outage) for name, outage in [*self._outages.items()]]
        if outages:
            facts["outages"] = outages
        if self._outputs:
            facts["outputs"] = [
                {**output, "lines": [mask_text(line[:LONGEST_LINE]) for line in output["lines"]]}
                for output in self._outputs.values()
            ]
            self._outputs = {}
        return facts

    def _as_data(self, sandbox: str, outage: Outage, test: str | None) -> dict[str, Any]:
        return {
            "sandbox": sandbox,
            "from_at": self._host.at(outage.start),
            "to_at": self._host.at(outage.end),
            "faults": str(outage),
            "test": test,
        }

    def _take_run(self, sandbox: str, run: Run, *, before: bool, seen_at: str | None) -> None:
        row = ended_row(run)
        if row is None:
            return
        process = identity_text(row)
        key = (sandbox, process)
        if key not in self._states:
            self._processes.append(self._process(sandbox, row, before=before))
        states = [(_state_of(row), _moment_of(row))]
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
                        **self.place._asdict(),
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
            "test": None if before else self.place.test,
        }


class _Follower(Observer):
    """Passes on to the recorder what happens to the calls to one sandbox."""

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


def _moment_of(row: ProcessInfo) -> str | None:
    """Give when the sandbox says that a row came to be as it is, where it does."""
    if row.ended:
        return None if row.ended_at is None else iso(row.ended_at)
    return iso(row.started_at)
