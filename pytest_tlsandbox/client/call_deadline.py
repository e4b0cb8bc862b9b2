"""End every call at its deadline, no matter what the server does.

The argument ``timeout`` of ``requests`` limits each read, but not the whole call. For example, a
call with a timeout of 0.5 s took 7.8 s, because the server sent one byte per second.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import urllib3.connection

from pytest_tlsandbox.client.address import Address
from pytest_tlsandbox.clock import Clock, on_cancellation

# Seconds between two attempts to end an overdue call that has no socket yet.
_CONNECTING = 0.05
_KEPT = 10
"""Maximum number of idle connections to a sandbox, as in requests."""


@dataclass(eq=False)
class Call:
    """A request whose response has not arrived yet.

    Attributes:
        deadline: the time at which the watchdog ends the call, in seconds on the clock.
        overdue: whether the watchdog has ended the call.
        connection: the connection that the call uses; None if there is no connection yet.
        sock: the socket of the connection; None if the connection is not open yet, which means
            that the request was not sent.

    """

    deadline: float
    overdue: bool = False
    connection: urllib3.connection.HTTPConnection | None = None
    sock: socket.socket | None = None

    def cut(self) -> bool:
        """Shut down the socket and return True, or return False if there is no socket yet."""
        self.overdue = True
        sock = self.sock or getattr(self.connection, "sock", None)
        if sock is None:
            return False
        # Shut down the socket but do not close it, because the reading thread owns the descriptor.
        # Use the method of a plain socket, because the method of a TLS socket is not thread-safe.
        with contextlib.suppress(OSError):
            socket.socket.shutdown(sock, socket.SHUT_RDWR)
        return True


class Watchdog:
    """A thread that shuts down the socket of each overdue call."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._calls: set[Call] = set()
        self._changed = threading.Condition()
        self._wakes_at: float | None = None
        self._closed = False
        self._current = threading.local()
        self._thread = threading.Thread(target=self._watch, name="tlsandbox-watchdog", daemon=True)

    @contextlib.contextmanager
    def watch(self, call: Call) -> Iterator[None]:
        """Watch the call that the ``with`` block makes.

        The call ends at its deadline at the latest. If the calling thread is cancelled, the call
        ends immediately.
        """
        self._current.call = call
        with self._changed:
            self._calls.add(call)
            if self._thread.ident is None:  # not started yet
                self._thread.start()
            elif self._wakes_at is None or call.deadline < self._wakes_at:
                self._changed.notify()
        try:
            with on_cancellation(partial(self.end, call)):
                yield
        finally:
            self._current.call = None
            with self._changed:
                self._calls.remove(call)

    def uses(self, connection: urllib3.connection.HTTPConnection) -> None:
        """Record the connection that this thread's call uses."""
        call = getattr(self._current, "call", None)
        if call is not None:
            call.connection = connection
            # Keep the socket, because http.client drops it as soon as a response says "Connection:
            # close".
            call.sock = connection.sock

    def end(self, call: Call) -> None:
        """End a call now, or as soon as it begins; any thread can call this method."""
        with self._changed:
            call.deadline = self._clock.monotonic()
            self._changed.notify()

    def close(self) -> None:
        """End the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread.ident is not None:
            self._thread.join()

    def _watch(self) -> None:
        with self._changed:
            while not self._closed:
                now = self._clock.monotonic()
                for call in self._calls:
                    if call.deadline <= now and not call.cut():
                        call.deadline = now + _CONNECTING
                waiting = [call.deadline for call in self._calls if call.deadline > now]
                self._wakes_at = min(waiting, default=None)
                self._changed.wait(None if self._wakes_at is None else self._wakes_at - now)


def connection_pool(address: Address, watchdog: Watchdog) -> urllib3.HTTPConnectionPool:
    """Return a pool of connections to a sandbox. The watchdog receives the connection of each call.

    The pool uses the proxy and the trusted certificates of the environment, unless it needs
    neither. requests finds these settings. Its sessions would read them at each call, and would
    need 1.6 times the processor time of a call.

    Args:
        address: the address of the sandbox.
        watchdog: the watchdog.

    """
    if address.loopback and address.url.startswith("http://"):  # without proxy and certificate
        pool = urllib3.connection_from_url(address.url, maxsize=_KEPT)
    else:
        import requests  # takes 20 ms
        from requests.adapters import HTTPAdapter

        adapter = HTTPAdapter()
        request = requests.Request("GET", address.url).prepare()
        proxies, verify = environment_of(address)
        # requests declares the base class of all pools, and no types for cert_verify.
        pool = adapter.get_connection_with_tls_context(request, verify, proxies)  # type: ignore[assignment]
        adapter.cert_verify(pool, request.url, verify, None)  # type: ignore[no-untyped-call]
    pool.ConnectionCls = _watched(pool.ConnectionCls, watchdog)
    return pool


def environment_of(address: Address) -> tuple[dict[str, str], str | bool]:
    """Return the HTTP proxies for an address by scheme, and the file of trusted certificates.

    If the environment does not name a file, the second value is True, which stands for the
    certificates that requests installs.
    """
    from requests.utils import get_environ_proxies

    # Do not use the environment's proxy for loopback, because a proxy cannot reach the loopback
    # interface of this machine.
    proxies = {} if address.loopback else get_environ_proxies(address.url)
    file = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
    return proxies, file or True


class _FinalResponse(http.client.HTTPResponse):
    """Reads the final response, and skips interim responses such as "103 Early Hints"."""

    def begin(self) -> None:
        super().begin()
        while 101 < self.status < 200:
            self.headers = self.msg = None  # type: ignore[assignment]
            super().begin()


def _watched(connection: type[Any], watchdog: Watchdog) -> type[Any]:
    """Return a subclass of a connection that shows itself to the watchdog."""

    class WatchedConnection(connection):  # type: ignore[misc]
        response_class = _FinalResponse

        def connect(self) -> None:
            watchdog.uses(self)
            super().connect()
            watchdog.uses(self)

        def request(self, *args: Any, **kwargs: Any) -> None:
            watchdog.uses(self)
            super().request(*args, **kwargs)

    return WatchedConnection
