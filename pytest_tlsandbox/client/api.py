"""The client of the process API."""

from __future__ import annotations

import contextlib
import json
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from urllib.parse import quote

from pytest_tlsandbox import errors
from pytest_tlsandbox.client.end_notice import EndNotice
from pytest_tlsandbox.client.kernel_counter import KernelCounter
from pytest_tlsandbox.client.list_cache import ListReader
from pytest_tlsandbox.client.response_bodies import describe_body, json_object, parse_process
from pytest_tlsandbox.client.retry import LONGEST_CALL, OutageBudget, call_with_retries
from pytest_tlsandbox.client.transport import Answer, Json, Transport
from pytest_tlsandbox.formatting.processes import named
from pytest_tlsandbox.formatting.text import printable
from pytest_tlsandbox.history.history import History
from pytest_tlsandbox.history.snapshot import ProcessSnapshot
from pytest_tlsandbox.models import ProcessInfo
from pytest_tlsandbox.types import PortState, Stream

logger = logging.getLogger("pytest_tlsandbox")

_TIMEOUT_MARGIN = 0.25
"""Seconds between the end of a wait and the timeout of the test, for reporting an error."""


_LONGEST_TURN = 0.25
"""Maximum seconds for which a list call waits for a list call of another thread."""
WEBSOCKET = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "cHl0ZXN0LXRsc2FuZGJveA==",
}
"""The headers of the handshake. No data follows it, so that the nonce can always be the same."""
_PROCESS, _TAKEN = "X-TLSandbox-Process", "PORT_OF_ANOTHER_PROCESS"
"""A header that only the embedded sandbox reads, and the code of its answer."""


def has_ended(refusal: errors.RequestRefused) -> bool:
    """Return whether a call was rejected because the process has ended or is not listed."""
    return "not running" in str(refusal) or refusal.label in ("ended", "404 NOT_FOUND")


class Observer:
    """Receives the results of the calls to one sandbox."""

    def call_failed(self, fault: errors.InfrastructureError, begun: float) -> None:
        """Record a failed list call, or a transient error of another call."""

    def call_succeeded(self, begun: float) -> None:
        """Record a call that succeeded."""

    def output_read(self, pid: int, stream: Stream, lines: list[str]) -> None:
        """Record the output of a process."""


class ProcessLister:
    """Lists the processes of one sandbox, but cannot control them.

    Args:
        transport: the HTTP session that sends the requests.
        test_deadline: a function that returns the time at which the running test would be killed,
            in seconds on the clock, or None if the test has no timeout; retries stop before that
            time, so that the last error is shown.

    Attributes:
        transport: the argument of the same name.
        label: the name of the sandbox, for messages.
        clock: the clock of all waits.
        test_deadline: the argument of the same name.
        outage: the time budget for retries while the sandbox does not answer.
        history: the history of the sandbox, which includes the snapshots of all callers.
        observers: objects that receive the results of all calls.
        memory_limit: the memory limit of the sandbox in bytes; None if it is not known.
        kernel: reads how many processes the kernel has OOM-killed; None if list calls do not read
            this.

    """

    memory_limit: int | None = None
    kernel: KernelCounter | None = None

    def __init__(
        self, transport: Transport, test_deadline: Callable[[], float | None] = lambda: None
    ) -> None:
        self.transport = transport
        self.label = transport.address.label
        self.clock = transport.clock
        self.test_deadline = test_deadline
        self.outage = OutageBudget()
        self.observers: list[Observer] = []
        self.history = History(self.clock.monotonic)
        self._newest: ProcessSnapshot | None = None
        self._one_at_a_time = threading.Lock()
        self._reader = ListReader(self.label)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.label}>"

    def list(self, *, patience: float | None = None) -> ProcessSnapshot:
        """List all processes, and retry transient errors.

        Args:
            patience: seconds for which transient errors are retried; None for the rest of the
                sandbox's outage budget of 30 s.

        Returns:
            A snapshot of the processes, sorted by start time, and of the rows that could not be
            read.

        Raises:
            InfrastructureError: the sandbox did not send a valid response.

        """
        patience = self.outage.left if patience is None else patience
        return call_with_retries(self.poll, self.clock, patience, self.wait_deadline())

    def poll(
        self, limit: float = LONGEST_CALL, *, after: float | None = None, counts_kills: bool = True
    ) -> ProcessSnapshot:
        """List all processes without retries, or use the response to another thread's request.

        Args:
            limit: the maximum duration of the call in seconds.
            after: a time in seconds on the clock; None for the current time; if another thread sent
                a request after this time, this call returns the response to that request.
            counts_kills: whether to read at the same time how many processes the kernel has
                OOM-killed; if so, the call always sends its own request.

        Returns:
            A snapshot of the processes, sorted by start time, and of the rows that could not be
            read.

        Raises:
            InfrastructureError: the sandbox did not send a valid response.

        """
        after = self.clock.monotonic() if after is None else after
        # Threads share the answer to one request, but do not wait long for a slow request.
        alone = self._one_at_a_time.acquire(timeout=min(limit, _LONGEST_TURN))
        try:
            counter = self.kernel if counts_kills or self._newest is None else None
            if counter is None and self._newest is not None and self._newest.begun > after:
                return self._newest
            snapshot = self._newest = self._list(limit, counter)
        finally:
            if alone:
                self._one_at_a_time.release()
        return snapshot

    def _list(self, limit: float, counter: KernelCounter | None) -> ProcessSnapshot:
        with self._noted(is_list_call=True) as begun:
            count_of_kernel = None if counter is None else counter.start(limit)
            snapshot = self._read(self.transport.request("GET", "/processes", limit=limit))
        snapshot.kernel = None if count_of_kernel is None else count_of_kernel()
        snapshot.begun, snapshot.ended = begun, self.clock.monotonic()
        for run in self.history.fold(snapshot):
            if run.row is not None:
                logger.info("%s: %s: %s", self.label, named(run.row), printable(run.state))
        return snapshot

    def _read(self, answer: Answer) -> ProcessSnapshot:
        try:
            return self._reader.read(answer.body)
        except errors.ContractViolation as error:
            if answer.announced or answer.body.lstrip()[:1] not in (b"", b"{"):
                answered = f"{self.label} answered {answer.status} with {error}"
                request = f"GET {self.transport.address.url}/api/v1/processes"
                error.args = (f"{answered}\nthe request was {request}",)
                raise
            raise errors.SandboxUnreachable(
                f"{self.label}: the response was cut short", label="cut short", transient=True
            ) from None

    @contextlib.contextmanager
    def _noted(self, *, is_list_call: bool = False) -> Iterator[float]:
        """Record whether the call in the ``with`` block succeeds; the value is its start time."""
        begun = self.clock.monotonic()
        try:
            yield begun
        except errors.InfrastructureError as fault:
            if fault.transient:
                self.outage.failed(begun, self.clock.monotonic())
            for observer in self.observers if fault.transient or is_list_call else ():
                observer.call_failed(fault, begun)
            raise
        self.outage.succeeded()
        for observer in self.observers:
            observer.call_succeeded(begun)

    def wait_deadline(self) -> float | None:
        """Return the deadline for waits, or None if the test has no timeout.

        The deadline is 0.25 s before the timeout of the test, so that a wait can still report its
        error.

        Returns:
            The deadline in seconds of the monotonic clock.

        """
        deadline = self.test_deadline()
        return None if deadline is None else deadline - _TIMEOUT_MARGIN


class SandboxClient(ProcessLister):
    """Lists, starts, signals, kills and restarts processes, and reads their output."""

    def start(self, body: Mapping[str, object]) -> ProcessInfo:
        """Start a process. A request that may have reached the sandbox is never repeated.

        Args:
            body: the body of the request in the format of the API, with ``command``, ``args`` and
                options.

        Returns:
            The process.

        Raises:
            RequestRefused: the sandbox cannot start the process.
            SandboxUnreachable: there was no response. The process may have been started.

        """
        return parse_process(self._ask("POST", "/processes", body).body)

    def signal(self, process: ProcessInfo, number: int) -> None:
        """Send a signal to the process group of a process.

        Args:
            process: the process.
            number: the number of the signal.

        Raises:
            RequestRefused: the process has ended, or the sandbox does not know it.
            ContractViolation: the response does not come from the sandbox.

        """
        path = f"{self._path(process)}/signal"
        self._check_done(self._ask("POST", path, {"signal": number}), "signal")

    def kill(self, process: ProcessInfo) -> bool:
        """Kill a process, or stop a managed process's supervisor.

        Args:
            process: the process.

        Returns:
            False if the process had already ended, otherwise True.

        Raises:
            RequestRefused: the sandbox rejected the call for another reason.
            ContractViolation: the response does not come from the sandbox.

        """
        try:
            self._check_done(self._ask("DELETE", self._path(process)), "kill")
        except errors.RequestRefused as refusal:
            if not has_ended(refusal):
                raise
            return False
        return True

    def restart(self, process: ProcessInfo) -> ProcessInfo:
        """Restart a managed process.

        Args:
            process: the process.

        Returns:
            The new run of the process.

        Raises:
            RequestRefused: the process is not managed, or the sandbox does not know it.

        """
        return parse_process(self._ask("POST", f"{self._path(process)}/restart").body)

    def output(
        self, pid: int, stream: Stream = "output", *, limit: float | None = None
    ) -> list[str]:
        """Return the lines that a process has written so far.

        If the sandbox does not know the pid, the result is an empty list.

        Args:
            pid: the process id.
            stream: "stdout", "stderr", or "output" for both.
            limit: the maximum duration in seconds of a call without retries. If ``limit`` is None,
                transient errors are retried.

        Returns:
            The lines, oldest first, without line breaks.

        Raises:
            InfrastructureError: the sandbox did not send a valid response.
            ContractViolation: the response does not contain a list of lines.

        """
        path = f"/processes/{pid}/{stream}"
        answer = self._ask("GET", path) if limit is None else self._try("GET", path, limit)
        lines = json_object(answer.body).get("lines")
        if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
            raise errors.ContractViolation(
                f"{self.label}: the response with the output of pid {pid} does not contain a 'lines' list"
            )
        for observer in self.observers:
            observer.output_read(pid, stream, lines)
        return lines

    def get(self, pid: int, *, limit: float) -> ProcessInfo:
        """Request the current row of a process once, without retries.

        Args:
            pid: the process id.
            limit: the maximum duration of the call in seconds.

        Returns:
            The process.

        Raises:
            InfrastructureError: the sandbox did not send a row.

        """
        return parse_process(self._try("GET", f"/processes/{pid}", limit).body)

    def probe_port(self, process: ProcessInfo, port: int, *, limit: float) -> PortState:
        """Connect once to a port through the tunnel of the sandbox, and disconnect.

        Args:
            process: the process that should accept the connection. Only the embedded sandbox can
                check which process accepts the connection.
            port: the port.
            limit: the maximum duration of the call in seconds.

        Returns:
            "open" if something accepts the connection, "taken" if another process is known to
            accept it, or "closed" if nothing accepts it or the daemon cannot be reached.

        Raises:
            RequestRefused: the sandbox has no tunnels.
            InfrastructureError: the call failed in another way.

        """
        path, upgrade = f"/tunnels/tcp?port={port}", {**WEBSOCKET, _PROCESS: str(process.pid)}
        with self._noted():
            try:
                answer = self.transport.request("GET", path, limit=limit, upgrade=upgrade)
                if answer.status == HTTPStatus.SWITCHING_PROTOCOLS:
                    return "open"
            except errors.InfrastructureError as fault:
                if fault.label.startswith("502"):  # the list calls show whether this is an outage
                    return "taken" if fault.label.endswith(_TAKEN) else "closed"
                if not isinstance(fault, errors.RequestRefused) and fault.label != "404":
                    raise
        raise errors.RequestRefused(f"{self.label} has no tunnel to its ports", label="no tunnel")

    def notice_end(self, pid: int, limit: float, wake: Callable[[], None]) -> EndNotice | None:
        """Start a thread that notices when a process ends.

        Args:
            pid: the process id.
            limit: seconds after which the process is no longer followed.
            wake: a function that the thread calls when the notice comes.

        Returns:
            The notice; None if no stream is available.

        """
        return EndNotice(self.transport, pid, limit, wake)

    def _path(self, process: ProcessInfo) -> str:
        """Return the URL path of a process, which contains its name or its pid.

        For a managed process, this method returns the name, because a restart changes only the pid.
        There are two exceptions. For an earlier run that is still listed, this method returns the
        pid, because the name stands for the current run. If the name consists only of dots, this
        method returns the pid, because the name would change the URL path. URL encoding does not
        prevent this change.
        """
        run = self.history.run_of(process)
        name = process.managed.name if process.managed else None
        if name and name.strip(".") and (run is None or run.is_newest):
            return f"/processes/{quote(name, safe='')}"
        return f"/processes/{process.pid}"

    def close(self) -> None:
        """Close the connection."""
        self.transport.close()
        if self.kernel is not None:
            self.kernel.close()

    def _check_done(self, answer: Answer, what: str) -> None:
        """Check that a response is empty or JSON. Reject other responses, such as a login page."""
        try:
            if answer.body:
                json.loads(answer.body)
        except (ValueError, RecursionError):
            what = f"{self.label}: the response to a {what} request is {describe_body(answer.body)}"
            raise errors.ContractViolation(what, label="not JSON") from None

    def _ask(self, method: str, path: str, json: Json = None) -> Answer:
        """Make a call with retries. A POST request that may have arrived is not repeated."""
        return call_with_retries(
            lambda limit: self._try(method, path, limit, json),
            self.clock,
            self.outage.left,
            self.wait_deadline(),
            only_undelivered=method == "POST",
        )

    def _try(self, method: str, path: str, limit: float, json: Json = None) -> Answer:
        with self._noted():
            return self.transport.request(method, path, limit=limit, json=json)
