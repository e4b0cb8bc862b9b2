"""The plugin for the driver of the model: helpers and guard on a simulated daemon."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from pytest_tlsandbox import by
from pytest_tlsandbox.client import retry
from pytest_tlsandbox.client.address import Address
from pytest_tlsandbox.client.api import SandboxClient
from pytest_tlsandbox.client.transport import Answer
from pytest_tlsandbox.connections import Connection
from pytest_tlsandbox.errors import RequestRefused, SandboxUnreachable
from pytest_tlsandbox.guard.guard import Guard
from pytest_tlsandbox.guard.rules import Finding
from pytest_tlsandbox.history.runs import Run
from pytest_tlsandbox.monitoring.monitor import Monitor
from pytest_tlsandbox.sandbox import Sandbox

from .session import Fault, Refused, Reported, Wire

KINDS = ("oom", "suspected_oom", "crash", "gave_up", "restart", "unseen_end", "lost_end")


class Clock:
    """The fake clock of the wire."""

    def __init__(self, wire: Wire) -> None:
        self.monotonic = wire.now
        self.sleep = wire.sleep


class Transport:
    """Sends requests to the simulated daemon, and converts its errors to errors of the plugin."""

    def __init__(self, wire: Wire) -> None:
        self.clock = Clock(wire)
        self.address = Address("my-sandbox", "model:")
        self._wire = wire

    def request(
        self, method: str, path: str, *, limit: float = 5.0, json: Mapping[str, Any] | None = None
    ) -> Answer:
        try:
            document = self._wire.request(method, path, json)
        except Fault:
            raise SandboxUnreachable(
                "my-sandbox answered 503", label="503", transient=True, delivered=False
            ) from None
        except Refused as refusal:
            code = " NOT_FOUND" if refusal.status == 404 else ""
            raise RequestRefused(str(refusal), label=f"{refusal.status}{code}") from None
        return Answer(200, b"" if document is None else _dump(document), announced=True)

    def close(self) -> None:
        """Do nothing: no connection is open."""


def _dump(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


class Plugin:
    """One sandbox, its helpers, and the guard that monitors it."""

    by = staticmethod(by)

    def __init__(self, wire: Wire) -> None:
        retry._jitter.seed(0)
        self.client = SandboxClient(Transport(wire))  # type: ignore[arg-type]
        self.box = Sandbox(self.client)
        self._monitor = Monitor(self.client.clock)
        self._guard = Guard(self._monitor, ())
        self._connection = Connection(self.client, shared=False)
        self._watching = False

    def begin_test(self, rules: Sequence[str], allowed: Mapping[str, str]) -> None:
        self._guard._session_rules = tuple(rules)
        self._guard.begin_test(rules, allowed)
        self._monitor.begin_test("test", 1)
        if not self._watching:
            self._watching = True
            self._monitor.add(self._connection)
        self._reported()  # what this list call shows happened between two tests
        self.box = Sandbox(self.client).from_now(self._connection.baseline)

    def begin_call(self) -> None:
        self._monitor.begin_call(fixtures=True)

    def end_phase(self, phase: str) -> list[Reported]:
        self._monitor.end_phase(phase)
        return self._reported()

    def end_test(self) -> None:
        self._monitor.end_test()
        self._guard.end_test()

    @contextmanager
    def allow(self, *rules: str) -> Iterator[None]:
        with self._guard.allowing(rules, "the model allows it"):
            yield

    def end_session(self) -> list[Reported]:
        self._monitor.end_session()
        return self._reported()

    def incidents(self) -> list[tuple[Any, ...]]:
        found = []
        for incident in self.client.history.incidents(0):
            run = incident.run
            if self.client.history.is_assumed(run) or incident.kind not in KINDS:
                continue
            # The model names a restart by the run that began.
            named = run
            if incident.kind == "restart" and run.successor is not None:
                named = run.successor
                while named.successor is not None and self.client.history.is_assumed(named):
                    named = named.successor
            caused = incident.caused_here
            found.append((incident.kind, *_identity(named), incident.position - 1, caused))
        return found

    def _reported(self) -> list[Reported]:
        found, self._guard._findings = self._guard._findings, []
        return [_report(finding) for finding in found]


def _identity(run: Run) -> tuple[Any, ...]:
    row = run.row
    if row is None:
        return None, None, None, run.generation.id, run.number
    started = round(row.started_at.timestamp() * 1000)
    return row.handle, row.pid, started, run.generation.id, run.number


def _report(finding: Finding) -> Reported:
    handle, pid, started_at, managed_id, number = _identity(finding.incident.run)
    return Reported(
        finding.rule,
        not finding.inconclusive,
        handle,
        pid,
        started_at,
        managed_id,
        number,
        finding.allowed is not None,
        finding.reported_in == "test",
    )
