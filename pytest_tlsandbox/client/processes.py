"""The calls of the process API (fact sheet section 4)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote

from pytest_tlsandbox.client.listing import ListReader
from pytest_tlsandbox.client.models import ProcessInfo, describe_body, parse_process
from pytest_tlsandbox.client.retry import LONGEST_CALL, OUTAGE_BUDGET, persist
from pytest_tlsandbox.errors import (
    ContractViolation,
    RequestRefused,
    SandboxFault,
    SandboxUnreachable,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pytest_tlsandbox.client.transport import Answer, Transport
    from pytest_tlsandbox.snapshot import ProcessSnapshot

Stream = Literal["stdout", "stderr", "output"]

TIMEOUT_MARGIN = 0.25
"""Seconds before the test's own time-out at which everything that waits ends, to tell what it saw."""


class ProcessLister:
    """Lists the processes of one sandbox, and nothing else.

    ``test_deadline`` tells at which moment on the clock the running test would be killed, if any:
    a call that is made again and again ends before, to tell what it met. ``patience``: for how
    many seconds a wait, or a call, rides out an outage; less, once a whole budget was spent in vain.
    """

    def __init__(
        self, transport: Transport, test_deadline: Callable[[], float | None] = lambda: None
    ) -> None:
        self.clock = transport.clock
        self.test_deadline = test_deadline
        self.patience = OUTAGE_BUDGET
        self.on_look: Callable[[ProcessSnapshot], None] | None = None
        """Is told of every good look, whoever asked for it."""
        self.on_fault: Callable[[SandboxFault, float], None] | None = None
        """Is told of every other one, of a fault that may pass in any other call, and when that began."""
        self._transport = transport
        self._reader = ListReader(self.label)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.label}>"

    @property
    def label(self) -> str:
        """What messages call the sandbox."""
        return self._transport.address.label

    def list(self, *, patience: float = OUTAGE_BUDGET) -> ProcessSnapshot:
        """List all processes, sorted by their start.

        Faults that may pass are ridden out for ``patience`` seconds.

        Raises:
            SandboxFault: one of its subclasses, when there is no good answer.

        """
        return persist(
            lambda limit: self.look(limit=limit),
            self.clock,
            patience=patience,
            until=self.give_up_at(),
        )

    def look(self, *, limit: float = LONGEST_CALL) -> ProcessSnapshot:
        """List all processes in one try of at most ``limit`` seconds.

        Raises:
            SandboxFault: as for :meth:`list`, at the first fault.

        """
        begun = self.clock.monotonic()
        try:
            snapshot = self._read(self._transport.request("GET", "/processes", limit=limit))
        except SandboxFault as fault:
            if self.on_fault is not None:
                self.on_fault(fault, begun)
            raise
        snapshot.begun, snapshot.ended = begun, self.clock.monotonic()
        if self.on_look is not None:
            self.on_look(snapshot)
        return snapshot

    def _read(self, answer: Answer) -> ProcessSnapshot:
        try:
            return self._reader.read(answer.body)
        except ContractViolation:
            if answer.announced or answer.body.lstrip()[:1] not in (b"", b"{"):
                raise
            raise SandboxUnreachable(
                f"{self.label}: the answer was cut short", label="cut short", transient=True
            ) from None

    def give_up_at(self) -> float | None:
        """Give the moment on the clock at which to end, for there to be time to tell what was met."""
        deadline = self.test_deadline()
        return None if deadline is None else deadline - TIMEOUT_MARGIN


class SandboxClient(ProcessLister):
    """Lists, starts, signals, kills and restarts processes, and reads their output."""

    on_answer: Callable[[float], None] | None = None
    """Is told of every good answer but a look, and when it was asked for."""
    on_output: Callable[[int, Stream, list[str]], None] | None = None
    """Is told of every output that is read: pid, stream, lines."""

    def start(self, body: Mapping[str, object]) -> ProcessInfo:
        """Start a process. Never repeated when the first try may have started one.

        Raises:
            RequestRefused: the sandbox cannot start it.
            SandboxUnreachable: no answer; it may have been started or not.

        """
        return parse_process(self._once("POST", "/processes", json=body).body)

    def signal(self, process: ProcessInfo, number: int) -> None:
        """Send a signal to the process group of a process.

        Raises:
            RequestRefused: the process has ended, or is not known.
            ContractViolation: the answer is not the sandbox's.

        """
        path = f"/processes/{_path(process)}/signal"
        self._check_done(self._once("POST", path, json={"signal": number}), "signal")

    def kill(self, process: ProcessInfo) -> None:
        """Kill a process, or stop the supervisor of a managed one. It is well if it has ended."""
        try:
            self._check_done(self._ask("DELETE", f"/processes/{_path(process)}"), "kill")
        except RequestRefused as refusal:
            # Ended: 500 without a code; reaped: 404 NOT_FOUND (fact sheet 2.5, section 4).
            if "not running" not in str(refusal) and refusal.label != "404 NOT_FOUND":
                raise

    def restart(self, process: ProcessInfo) -> ProcessInfo:
        """Restart a managed process; gives its new run.

        Raises:
            RequestRefused: it is not managed, or not known.

        """
        return parse_process(self._once("POST", f"/processes/{_path(process)}/restart").body)

    def output(
        self, pid: int, stream: Stream = "output", *, limit: float | None = None
    ) -> list[str]:
        """Read the lines a process has written so far; with ``limit`` (seconds), in one try.

        The sandbox answers for a pid it does not know as for one that is silent: with no lines.
        """
        path = f"/processes/{pid}/{stream}"
        answer = self._ask("GET", path) if limit is None else self._try("GET", path, limit)
        try:
            lines = json.loads(answer.body)["lines"]
        except (ValueError, KeyError, TypeError, RecursionError):
            lines = None
        if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
            raise ContractViolation(f"{self.label}: the output of pid {pid} has no lines")
        if self.on_output is not None:
            self.on_output(pid, stream, lines)
        return lines

    def close(self) -> None:
        """Close the connection."""
        self._transport.close()

    def _check_done(self, answer: Answer, what: str) -> None:
        """Refuse to take a page to log in for "done": a good answer is empty, or JSON."""
        try:
            if answer.body:
                json.loads(answer.body)
        except (ValueError, RecursionError):
            raise ContractViolation(
                f"{self.label}: the answer to a {what} is {describe_body(answer.body)}",
                label="not JSON",
            ) from None

    def _once(self, method: str, path: str, json: Mapping[str, object] | None = None) -> Answer:
        return self._ask(method, path, json=json, only_undelivered=True)

    def _ask(
        self,
        method: str,
        path: str,
        *,
        json: Mapping[str, object] | None = None,
        only_undelivered: bool = False,
    ) -> Answer:
        return persist(
            lambda limit: self._try(method, path, limit, json),
            self.clock,
            patience=self.patience,
            until=self.give_up_at(),
            only_undelivered=only_undelivered,
        )

    def _try(
        self, method: str, path: str, limit: float, json: Mapping[str, object] | None = None
    ) -> Answer:
        begun = self.clock.monotonic()
        try:
            answer = self._transport.request(method, path, limit=limit, json=json)
        except SandboxFault as fault:
            if fault.transient and self.on_fault is not None:
                self.on_fault(fault, begun)
            raise
        if self.on_answer is not None:
            self.on_answer(begun)
        return answer


def _path(process: ProcessInfo) -> str:
    """Name of a managed process, since its pid changes at a restart; else the pid.

    A name of dots alone would lead to another path, encoded or not.
    """
    name = process.managed.name if process.managed else None
    return quote(name, safe="") if name and name.strip(".") else str(process.pid)
