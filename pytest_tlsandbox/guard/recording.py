"""What looks see, folded into data: processes, changes of their state, outages, output."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_tlsandbox.guard.facts import iso
from pytest_tlsandbox.guard.rules import identity_text
from pytest_tlsandbox.messages.failure import LONGEST_LINE
from pytest_tlsandbox.messages.words import short_name
from pytest_tlsandbox.redact import mask_text
from pytest_tlsandbox.status import describe_end, describe_state
from pytest_tlsandbox.timeline import Outage

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from pytest_tlsandbox.client.models import LastExit, ProcessInfo
    from pytest_tlsandbox.client.processes import Stream
    from pytest_tlsandbox.connections import Connection
    from pytest_tlsandbox.errors import SandboxFault
    from pytest_tlsandbox.guard.facts import Facts, HostTime
    from pytest_tlsandbox.snapshot import ProcessSnapshot

MOST_OUTPUT = 20
"""Lines of the end of an output that are kept."""


class Recorder:
    """Folds what is seen into what is new since the last time it was asked."""

    def __init__(self, host: HostTime) -> None:
        self.place: tuple[str | None, int | None, str | None] = (None, None, None)
        """Test, attempt and phase in which it looks."""
        self._host = host
        self._rows: dict[str, dict[Hashable, ProcessInfo]] = {}
        self._states: dict[tuple[str, str], dict[str, Any]] = {}
        self._processes: list[dict[str, Any]] = []
        self._changes: list[dict[str, Any]] = []
        self._outages: dict[str, tuple[Outage, str | None]] = {}
        self._past_outages: list[dict[str, Any]] = []
        self._outputs: dict[tuple[str, str], dict[str, Any]] = {}

    def listen(self, sandbox: str, connection: Connection) -> None:
        """Have outages and output told, by which nothing is judged."""
        clock, client = connection.lister.clock, connection.client
        connection.lister.on_fault = client.on_fault = lambda fault, begun: self.miss(
            sandbox, fault, begun, clock.monotonic()
        )
        client.on_answer = lambda begun: self.recover(sandbox, begun)
        client.on_output = lambda pid, stream, lines: self.read(sandbox, pid, stream, lines)

    def observe(self, sandbox: str, snapshot: ProcessSnapshot) -> None:
        """Take in a look."""
        first = sandbox not in self._rows
        rows = {} if first else self._rows[sandbox]
        listed: dict[Hashable, ProcessInfo] = {row.identity: row for row in snapshot}
        self._rows[sandbox] = listed
        seen_at = self._host.at(snapshot.begun)
        for identity, row in listed.items():
            old = rows.get(identity)
            if old is None:
                self._add(sandbox, row, before=first)
            if old != row:
                self._change(sandbox, identity_text(row), _state_of(row), _moment_of(row), seen_at)
        for identity in rows.keys() - listed.keys():
            gone = identity_text(rows[identity])
            self._change(sandbox, gone, {"state": "not listed"}, None, seen_at)
        self.recover(sandbox, snapshot.begun)

    def miss(self, sandbox: str, fault: SandboxFault, begun: float, ended: float) -> None:
        """Take in a look, or another call, that failed."""
        outage, _ = self._outages.setdefault(sandbox, (Outage(begun, ended), self.place[0]))
        outage.add(fault, ended)

    def recover(self, sandbox: str, begun: float) -> None:
        """Take in that a call had a good answer: an outage lasted until that was asked for."""
        past = self._outages.pop(sandbox, None)
        if past is not None:
            outage, test = past
            outage.end = begun
            self._past_outages.append(self._as_data(sandbox, outage, test))

    def read(self, sandbox: str, pid: int, stream: Stream, lines: Sequence[str]) -> None:
        """Take in what a process has written: the newest of that pid, as the sandbox has it."""
        rows = [row for row in self._rows.get(sandbox, {}).values() if row.pid == pid]
        if rows and lines:
            process = identity_text(max(rows, key=lambda row: row.started_at))
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

    def _add(self, sandbox: str, row: ProcessInfo, *, before: bool) -> None:
        managed = row.managed
        self._processes.append(
            {
                "id": identity_text(row),
                "sandbox": sandbox,
                "handle": row.handle,
                "pid": row.pid,
                "started_at": iso(row.started_at),
                "name": short_name(row),
                "managed": None if managed is None else {"id": managed.id, "name": managed.name},
                "command_line": row.masked_command_line,
                "before_the_session": before,
                "test": None if before else self.place[0],
            }
        )

    def _change(
        self, sandbox: str, process: str, state: dict[str, Any], at: str | None, seen_at: str
    ) -> None:
        if self._states.get((sandbox, process)) == state:
            return
        self._states[sandbox, process] = state
        test, attempt, phase = self.place
        self._changes.append(
            {
                "sandbox": sandbox,
                "process": process,
                **state,
                "at": at,
                "seen_at": seen_at,
                "test": test,
                "attempt": attempt,
                "phase": phase,
            }
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


def _moment_of(row: ProcessInfo) -> str | None:
    """Give when the sandbox says that a row came to be as it is, where it does."""
    if row.ended:
        return None if row.ended_at is None else iso(row.ended_at)
    return iso(row.started_at)
