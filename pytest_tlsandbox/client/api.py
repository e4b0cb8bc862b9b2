"""The calls of the process API."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote

from pytest_tlsandbox.client.list_cache import ListReader
from pytest_tlsandbox.client.response_bodies import describe_body, parse_process
from pytest_tlsandbox.client.retry import LONGEST_CALL, OutageBudget, call_with_retries
from pytest_tlsandbox.errors import (
    ContractViolation,
    InfrastructureError,
    RequestRefused,
    SandboxUnreachable,
)
from pytest_tlsandbox.formatting.processes import named
from pytest_tlsandbox.formatting.text import printable
from pytest_tlsandbox.history.history import History

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pytest_tlsandbox.client.transport import Answer, Transport
    from pytest_tlsandbox.history.snapshot import ProcessSnapshot
    from pytest_tlsandbox.models import ProcessInfo
    from pytest_tlsandbox.types import Stream

logger = logging.getLogger("pytest_tlsandbox")

TIMEOUT_MARGIN = 0.25
"""Seconds before the timeout of the test at which every wait ends, so that its error is shown."""


class Observer(Protocol):
    """Receives every call to one sandbox."""

    def call_failed(self, fault: InfrastructureError, begun: float) -> None:
        """Record a failed list call, or a transient error of another call."""

    def call_succeeded(self, begun: float) -> None:
        """Record a call that succeeded."""

    def output_read(self, pid: int, stream: Stream, lines: list[str]) -> None:
        """Record the output of a process."""


class ProcessLister:
    """Lists the processes of one sandbox, and nothing else.

    ``test_deadline`` returns the moment on the clock at which the running test would be killed, if
    any: a call that is retried ends before it, so that its error can be shown.

    Attributes:
        outage: how long callers may retry while the sandbox does not answer.
        history: what happened in the sandbox, from every snapshot, whoever requested it.
        observers: follow every call.

    """

    def __init__(
        self, transport: Transport, test_deadline: Callable[[], float | None] = lambda: None
    ) -> None:
        self.clock = transport.clock
        self.test_deadline = test_deadline
        self.outage = OutageBudget()
        self.observers: list[Observer] = []
        self.history = History(self.clock.monotonic)
        self._transport = transport
        self._reader = ListReader(self.label)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.label}>"

    @property
    def label(self) -> str:
        """What messages call the sandbox."""
        return self._transport.address.label

    def list(self, *, patience: float | None = None) -> ProcessSnapshot:
        """List all processes, sorted by their start.

        Transient errors are retried for ``patience`` seconds; None means what the budget of the
        sandbox has left.

        Raises:
            InfrastructureError: one of its subclasses, if there is no good response.

        """
        return call_with_retries(
            lambda limit: self.poll(limit=limit),
            self.clock,
            patience=self.outage.left if patience is None else patience,
            until=self.wait_deadline(),
        )

    def poll(self, *, limit: float = LONGEST_CALL) -> ProcessSnapshot:
        """List all processes in one try of at most ``limit`` seconds.

        Raises:
            InfrastructureError: as for :meth:`list`, at the first error.

        """
        begun = self.clock.monotonic()
        try:
            snapshot = self._read(self._transport.request("GET", "/processes", limit=limit))
        except InfrastructureError as fault:
            self._note_failure(fault, begun, is_list_call=True)
            raise
        snapshot.begun, snapshot.ended = begun, self.clock.monotonic()
        for run in self.history.fold(snapshot):
            if run.row is not None:
                logger.info("%s: %s: %s", self.label, named(run.row), printable(run.state))
        self._note_success(begun)
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

    def _note_failure(
        self, fault: InfrastructureError, begun: float, *, is_list_call: bool = False
    ) -> None:
        if fault.transient:
            self.outage.failed(begun, self.clock.monotonic())
        for observer in self.observers if fault.transient or is_list_call else ():
            observer.call_failed(fault, begun)

    def _note_success(self, begun: float) -> None:
        self.outage.succeeded()
        for observer in self.observers:
            observer.call_succeeded(begun)

    def wait_deadline(self) -> float | None:
        """Return the moment on the clock at which waits end, so that their error can be shown."""
        deadline = self.test_deadline()
        return None if deadline is None else deadline - TIMEOUT_MARGIN


class SandboxClient(ProcessLister):
    """Lists, starts, signals, kills and restarts processes, and reads their output."""

    def start(self, body: Mapping[str, object]) -> ProcessInfo:
        """Start a process. Never repeated if the first call may have started one.

        Raises:
            RequestRefused: the sandbox cannot start it.
            SandboxUnreachable: no response; the process may have been started.

        """
        return parse_process(self._once("POST", "/processes", json=body).body)

    def signal(self, process: ProcessInfo, number: int) -> None:
        """Send a signal to the process group of a process.

        Raises:
            RequestRefused: the process has ended, or is not known.
            ContractViolation: the response is not the sandbox's.

        """
        path = f"/processes/{self._path(process)}/signal"
        self._check_done(self._once("POST", path, json={"signal": number}), "signal")

    def kill(self, process: ProcessInfo) -> bool:
        """Kill a process, or stop the supervisor of a managed one; return False if it had ended."""
        try:
            self._check_done(self._ask("DELETE", f"/processes/{self._path(process)}"), "kill")
        except RequestRefused as refusal:
            # Daemons answer 500 without a code for a process that ended, 404 for one without a row.
            if "not running" not in str(refusal) and refusal.label != "404 NOT_FOUND":
                raise
            return False
        return True

    def restart(self, process: ProcessInfo) -> ProcessInfo:
        """Restart a managed process; return its new run.

        Raises:
            RequestRefused: it is not managed, or not known.

        """
        return parse_process(self._once("POST", f"/processes/{self._path(process)}/restart").body)

    def output(
        self, pid: int, stream: Stream = "output", *, limit: float | None = None
    ) -> list[str]:
        """Return the lines that a process has written so far; with ``limit`` (seconds), try once.

        For an unknown pid the sandbox returns no lines, as for a silent process.
        """
        path = f"/processes/{pid}/{stream}"
        answer = self._ask("GET", path) if limit is None else self._try("GET", path, limit)
        try:
            lines = json.loads(answer.body)["lines"]
        except (ValueError, KeyError, TypeError, RecursionError):
            lines = None
        if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
            raise ContractViolation(f"{self.label}: the output of pid {pid} has no lines")
        for observer in self.observers:
            observer.output_read(pid, stream, lines)
        return lines

    def _path(self, process: ProcessInfo) -> str:
        """Return the name of a managed process, since its pid changes at a restart; else the pid.

        Of an earlier run that is still listed the pid: the name would reach the current run. A name
        of dots alone would lead to another path, encoded or not.
        """
        run = self.history.run_of(process)
        name = process.managed.name if process.managed else None
        if name and name.strip(".") and (run is None or run.is_newest):
            return quote(name, safe="")
        return str(process.pid)

    def close(self) -> None:
        """Close the connection."""
        self._transport.close()

    def _check_done(self, answer: Answer, what: str) -> None:
        """Raise ContractViolation unless a response is empty or JSON: a login page is not "done"."""
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
        return call_with_retries(
            lambda limit: self._try(method, path, limit, json),
            self.clock,
            patience=self.outage.left,
            until=self.wait_deadline(),
            only_undelivered=only_undelivered,
        )

    def _try(
        self, method: str, path: str, limit: float, json: Mapping[str, object] | None = None
    ) -> Answer:
        begun = self.clock.monotonic()
        try:
            answer = self._transport.request(method, path, limit=limit, json=json)
        except InfrastructureError as fault:
            self._note_failure(fault, begun)
            raise
        self._note_success(begun)
        return answer
