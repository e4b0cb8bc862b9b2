"""The connections of a test session to its sandboxes, including the embedded sandbox."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_tlsandbox.client.address import Address, check_key, locate, suggest_local
from pytest_tlsandbox.client.api import SandboxClient
from pytest_tlsandbox.client.kernel_counter import KernelCounter
from pytest_tlsandbox.client.transport import Transport
from pytest_tlsandbox.errors import InvalidSetting
from pytest_tlsandbox.history.runs import Run
from pytest_tlsandbox.history.snapshot import ProcessSnapshot
from pytest_tlsandbox.redact import Secret
from pytest_tlsandbox.sandbox import Sandbox
from pytest_tlsandbox.settings import API_KEY_VARIABLE, LOCAL, Settings
from pytest_tlsandbox.types import Screen

if TYPE_CHECKING:
    from pytest_tlsandbox.local.sandbox import LocalSandbox


@dataclass
class Connection:
    """The client of one sandbox, with facts about how the session uses the sandbox.

    Attributes:
        client: the client that sends the calls.
        shared: whether several xdist workers use the sandbox.
        of_suite: whether the suite, and not ``--tlsandbox``, chose the sandbox; if so, the suite
            may also terminate the sandbox.
        loopback: whether the sandbox runs on this machine; if so, a refused connection means that
            the sandbox has ended.
        baseline: the snapshot that the guard took at the start of the running test; None if the
            guard did not take a snapshot.
        key_source: where the API key comes from.

    """

    client: SandboxClient
    shared: bool
    of_suite: bool = False
    loopback: bool = False
    baseline: ProcessSnapshot | None = None
    key_source: str = ""


class Connections:
    """Connects to each sandbox once; ``close`` closes all connections.

    Args:
        settings: the settings of the session.
        ask_for_key: a function that calls the hook for the API key of a target, and returns the
            key, an error to raise, or None.
        test_deadline: a function that returns the time at which the running test would be killed,
            in seconds on the clock, or None if the test has no timeout.
        screen: the terminal for which messages are formatted.

    Attributes:
        settings: the settings of the session.
        screen: the terminal for which messages are formatted.
        on_connect: a function that is called with every new connection, or None.
        on_use: another function that is called with every new connection, after ``on_connect``.

    """

    def __init__(
        self,
        settings: Settings,
        *,
        ask_for_key: Callable[[object], Secret | InvalidSetting | None],
        test_deadline: Callable[[], float | None],
        screen: Screen,
    ) -> None:
        self.settings = settings
        self._ask_for_key = ask_for_key
        self._test_deadline = test_deadline
        self.screen = screen._replace(several_sandboxes=lambda: len(self._connections) > 1)
        self._connections: dict[Address, Connection] = {}
        self._local: LocalSandbox | None = None
        self.on_connect: Callable[[Connection], None] | None = None
        self.on_use: Callable[[Connection], object] = bool

    def sandbox(self, target: object) -> Sandbox:
        """Return a sandbox without a baseline."""
        connection = self.connect(target)
        return Sandbox(
            connection.client,
            timeout=self.settings.timeout,
            shared=connection.shared,
            screen=self.screen,
        )

    def sandbox_from_now(self, target: object) -> Sandbox:
        """Return a sandbox object for one test.

        The baseline is the snapshot that the guard took for the running test. If the guard did not
        take a snapshot, this method takes a snapshot now.
        """
        return self.sandbox(target).from_now(self.connect(target).baseline)

    def connect(self, target: object) -> Connection:
        """Return the connection to a sandbox, without sending a request.

        Args:
            target: the id, the name or the URL of the sandbox, "local", or an object.

        Returns:
            The connection. Every call for the same sandbox returns the same object.

        Raises:
            InvalidSetting: the target is invalid, or the target does not have an API key.
            InvalidArgument: the target is an object that is not a sandbox.

        """
        sandbox = target
        if target == LOCAL:
            sandbox = self.local()
        elif isinstance(target, str):
            sandbox = target.replace("{worker}", os.environ.get("PYTEST_XDIST_WORKER", "master"))
        address = locate(sandbox, self.settings.proxy_url)
        if address not in self._connections:
            key, key_source = self._key(target, address)
            transport = Transport(address, key)
            client = SandboxClient(transport, self._test_deadline)
            if not self.settings.no_kernel_counter:
                client.kernel = KernelCounter(transport)
            embedded = isinstance(getattr(sandbox, "api_key", None), Secret)
            client.memory_limit = getattr(sandbox, "memory_limit", None) if embedded else None
            own = embedded or (isinstance(target, str) and "{worker}" in target)
            connection = Connection(
                client,
                shared="PYTEST_XDIST_WORKER" in os.environ and not own,
                of_suite=not isinstance(target, str) or target not in self.settings.targets,
                loopback=address.loopback,
                key_source=key_source,
            )
            self._connections[address] = connection
            if self.on_connect is not None:
                self.on_connect(connection)
            self.on_use(connection)
        return self._connections[address]

    def started_runs(self) -> list[tuple[SandboxClient, Run]]:
        """Return the runs that this session started, grouped by sandbox.

        Within each sandbox, the oldest run comes first.
        """
        clients = [connection.client for connection in self._connections.values()]
        return [(client, run) for client in clients for run in client.history.started]

    def local(self) -> LocalSandbox:
        """Return the embedded sandbox of this process; the first call starts it."""
        if self._local is None:
            from pytest_tlsandbox.local.sandbox import start_local_sandbox

            self._local = start_local_sandbox(memory_limit=self.settings.memory)
        return self._local

    def close(self) -> None:
        """Close every connection, and end the embedded sandbox and its processes."""
        for connection in self._connections.values():
            connection.client.close()
        if self._local is not None:
            self._local.close()

    def _key(self, target: object, address: Address) -> tuple[Secret, str]:
        """Return the API key and its source."""
        if address.key is not None:
            return check_key(address.key, address, address.label), "the sandbox itself"
        given, source = self._ask_for_key(target), "hook pytest_tlsandbox_api_key"
        if isinstance(given, InvalidSetting):
            raise given
        if given is None and (found := os.environ.get(API_KEY_VARIABLE)):
            given, source = Secret(found), f"environment variable {API_KEY_VARIABLE}"
        if given is None:
            raise InvalidSetting(
                f"no API key for {address.label}; set {API_KEY_VARIABLE}, or return a key from the "
                f"hook pytest_tlsandbox_api_key(config, target){suggest_local(address.label)}"
            )
        return check_key(given, address, source), source
