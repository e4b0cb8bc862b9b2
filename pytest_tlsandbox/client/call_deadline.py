"""End every call at its deadline, no matter what the server does.

The argument ``timeout`` of ``requests`` limits each read, but not the whole call. For example, a
call with a timeout of 0.5 s took 7.8 s, because the server sent one byte per second.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
from functools import partial
from typing import TYPE_CHECKING

import urllib3
from requests.adapters import HTTPAdapter

from pytest_tlsandbox.clock import on_cancellation

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    import requests

    from pytest_tlsandbox.clock import Clock


# Seconds between two attempts to end an overdue call that has no socket yet.
_CONNECTING = 0.05


class Watchdog:
    """A thread that shuts down the socket of each overdue call."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._calls: dict[int, Call] = {}
        self._changed = threading.Condition()
        self._wakes_at: float | None = None
        self._closed = False
        self._current = threading.local()
        self._thread: threading.Thread | None = None

    @contextlib.contextmanager
    def call(self, deadline: float) -> Iterator[Call]:
        """Watch the call that the ``with`` block makes.

        The call ends at ``deadline`` at the latest. If the calling thread is cancelled, the
        call ends immediately.

        Yields:
            The call.

        """
        call = Call(deadline)
        self._current.call = call
        with self._changed:
            self._calls[id(call)] = call
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._watch, name="tlsandbox-watchdog", daemon=True
                )
                self._thread.start()
            elif self._wakes_at is None or deadline < self._wakes_at:
                self._changed.notify()
        try:
            with on_cancellation(partial(self.end, call)):
                yield call
        finally:
            self._current.call = None
            with self._changed:
                del self._calls[id(call)]

    def uses(self, connection: urllib3.connection.HTTPConnection) -> None:
        """Record the connection that this thread's call uses."""
        call = getattr(self._current, "call", None)
        if call is not None:
            call.connection = connection
            # Keep the socket, because http.client drops it as soon as a response says "Connection:
            # close".
            call.socket = connection.sock

    def end(self, call: Call) -> None:
        """End a call now; any thread can call this method."""
        with self._changed:
            call.deadline = self._clock.monotonic()
            self._changed.notify()

    def close(self) -> None:
        """End the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    def _watch(self) -> None:
        with self._changed:
            while not self._closed:
                now = self._clock.monotonic()
                for call in self._calls.values():
                    if call.deadline <= now and not call.cut():
                        call.deadline = now + _CONNECTING
                waiting = [call.deadline for call in self._calls.values() if call.deadline > now]
                self._wakes_at = min(waiting, default=None)
                self._changed.wait(None if self._wakes_at is None else self._wakes_at - now)


class Call:
    """A request whose response has not arrived yet."""

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.overdue = False
        self.connection: urllib3.connection.HTTPConnection | None = None
        self.socket: socket.socket | None = None

    @property
    def connected(self) -> bool:
        """Whether a connection exists, which means that the request may have been sent."""
        return self.socket is not None

    def cut(self) -> bool:
        """Shut down the socket and return True, or return False if there is no socket yet."""
        self.overdue = True
        sock = self.socket or getattr(self.connection, "sock", None)
        if sock is None:
            return False
        # Shut down the socket but do not close it, because the reading thread owns the descriptor.
        # Use the method of a plain socket, because the method of a TLS socket is not thread-safe.
        with contextlib.suppress(OSError):
            socket.socket.shutdown(sock, socket.SHUT_RDWR)
        return True


class WatchedAdapter(HTTPAdapter):
    """Sends requests to one server. The watchdog receives the connection of each request."""

    def __init__(self, watchdog: Watchdog) -> None:
        self._watchdog = watchdog
        self._pool: Any = None
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Create the manager of direct connections.

        When a call uses a connection of the manager, the watchdog records this connection.
        """
        super().init_poolmanager(*args, **kwargs)
        self._watch(self.poolmanager)

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        """Return the manager of connections through a proxy.

        When a call uses a connection of the manager, the watchdog records this connection.
        """
        manager = super().proxy_manager_for(*args, **kwargs)
        self._watch(manager)
        return manager

    def open(
        self,
        request: requests.PreparedRequest,
        timeout: float,
        *,
        proxies: dict[str, str],
        verify: bool | str,
        cert: str | None,
    ) -> urllib3.BaseHTTPResponse:
        """Send a request, and return the response, whose body has not been read.

        The method does not use ``send`` of the base class, which needs 1.6 times the processor time:
        ``send`` searches for the pool of connections at each call, even though there is only
        one server, and converts the response.

        Args:
            request: the request.
            timeout: the maximum number of seconds for connecting, and for waiting for each part of
                the response.
            proxies: the URL of the proxy for each scheme.
            verify: whether to check the server's certificate, or the path of trusted certificates.
            cert: the path of a client certificate, if any.

        Returns:
            The response. The caller closes it.

        """
        if self._pool is None:
            self._pool = self.get_connection_with_tls_context(request, verify, proxies, cert)
            self.cert_verify(self._pool, request.url, verify, cert)  # type: ignore[no-untyped-call]
        response: urllib3.BaseHTTPResponse = self._pool.urlopen(
            request.method,
            self.request_url(request, proxies),
            request.body,
            request.headers,
            retries=False,
            redirect=False,
            assert_same_host=False,
            timeout=timeout,
            preload_content=False,
        )
        return response

    def _watch(self, manager: urllib3.PoolManager) -> None:
        manager.pool_classes_by_scheme = {
            "http": _watched(urllib3.HTTPConnectionPool, self._watchdog),
            "https": _watched(urllib3.HTTPSConnectionPool, self._watchdog),
        }


class _FinalResponse(http.client.HTTPResponse):
    """Reads the final response, and skips interim responses such as "103 Early Hints"."""

    def begin(self) -> None:
        super().begin()
        while 101 < self.status < 200:
            self.headers = self.msg = None  # type: ignore[assignment]
            super().begin()


def _watched(pool: type[Any], watchdog: Watchdog) -> type[Any]:
    connection: type[Any] = pool.ConnectionCls

    class WatchedConnection(connection):  # type: ignore[misc]
        response_class = _FinalResponse

        def connect(self) -> None:
            watchdog.uses(self)
            super().connect()
            watchdog.uses(self)

        def request(self, *args: Any, **kwargs: Any) -> None:
            watchdog.uses(self)
            super().request(*args, **kwargs)

    return type(f"Watched{pool.__name__}", (pool,), {"ConnectionCls": WatchedConnection})
