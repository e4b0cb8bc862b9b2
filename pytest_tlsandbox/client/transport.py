"""Send HTTP requests to one sandbox.

Responses contain bytes, and failed calls raise InfrastructureError.
"""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Generator, Mapping
from functools import cached_property
from http import HTTPStatus
from importlib.metadata import version
from json import dumps
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import unquote, urlsplit

import urllib3
from urllib3 import exceptions as http

from pytest_tlsandbox.client.address import Address
from pytest_tlsandbox.client.call_deadline import Call, Watchdog, connection_pool
from pytest_tlsandbox.client.http_errors import error_of_response
from pytest_tlsandbox.clock import Cancellation, Clock
from pytest_tlsandbox.errors import ContractViolation, InfrastructureError, SandboxUnreachable
from pytest_tlsandbox.redact import Secret, mask_text

Json: TypeAlias = "Mapping[str, object] | None"
Headers: TypeAlias = "Mapping[str, str] | None"

_LARGEST_BODY = 64 * 2**20
_CHUNK = 256 * 1024
_NO_RETRIES = urllib3.Retry(total=False, redirect=False)


def _mask_path(record: logging.LogRecord) -> bool:
    """Mask secrets in the URL path of a log record, because the path may contain a process name."""
    if isinstance(record.args, tuple):
        record.args = tuple(
            mask_text(unquote(str(part))) if "/api/v1/processes/" in str(part) else part
            for part in record.args
        )
    return True


logging.getLogger("urllib3.connectionpool").addFilter(_mask_path)


class Answer(NamedTuple):
    """A response with a status below 300.

    Attributes:
        status: the status.
        body: the body.
        announced: whether the server announced the length of the body, so that the body is known to
            be complete; otherwise, the body ends when the connection ends, and may have been cut.

    """

    status: int
    body: bytes
    announced: bool


class Transport:
    """Sends requests to one sandbox. Several threads can use the same object.

    Args:
        address: the address of the sandbox.
        key: the API key.
        clock: the clock for deadlines; None for the real clock.

    Attributes:
        address: the address of the sandbox.
        clock: the clock for deadlines.
        watchdog: the thread that ends overdue calls.

    """

    def __init__(self, address: Address, key: Secret, clock: Clock | None = None) -> None:
        self.address = address
        self.clock = clock or Clock()
        self.watchdog = Watchdog(self.clock)
        self._key = key
        self._base = f"{urlsplit(address.url).path}/api/v1"
        self._headers = {
            "User-Agent": f"pytest-tlsandbox/{version('pytest-tlsandbox')}",
            "Accept": "application/json",
            "Accept-Encoding": "gzip, deflate",
            **address.headers,
        }

    @cached_property
    def _pools(self) -> tuple[urllib3.HTTPConnectionPool, urllib3.HTTPConnectionPool]:
        """The connections of calls, and the connections of streams.

        Streams have separate connections, so that a stream does not take the connection that a list
        call would use again.
        """
        calls, streams = (connection_pool(self.address, self.watchdog) for _ in range(2))
        return calls, streams

    def close(self) -> None:
        """Close every connection and end the watchdog."""
        for pool in vars(self).get("_pools", ()):  # created by the first call
            pool.close()
        self.watchdog.close()

    def request(
        self, method: str, path: str, *, limit: float, json: Json = None, upgrade: Headers = None
    ) -> Answer:
        """Make one call.

        Args:
            method: the HTTP method.
            path: the path below ``/api/v1``.
            limit: the maximum duration of the call in seconds.
            json: the body of the request, if any.
            upgrade: the headers that ask for another protocol, if any. If the sandbox accepts
                the other protocol, the response has the status 101, and this method closes the
                connection.

        Returns:
            The response.

        Raises:
            InfrastructureError: the call did not return a valid response.
            SandboxUnreachable: the call did not return a response.

        """
        # The frames of this call contain the key in local variables, so remove them from every
        # traceback, including the traceback of Ctrl-C or of pytest-timeout.
        try:
            # Do not cancel a call that changes the sandbox, so that a started process is not lost.
            with contextlib.nullcontext() if method == "GET" else Cancellation():
                return self._call(method, path, limit, json, upgrade)
        except InfrastructureError as fault:
            raise fault.with_traceback(None) from None
        except Exception as error:
            label, reason, transient, delivered = _explain(error)
            raise SandboxUnreachable(
                f"{self.address.label} cannot be reached: {reason}",
                label=label,
                transient=transient,
                delivered=delivered,
            ) from None
        except BaseException as interruption:
            raise interruption.with_traceback(None) from None

    def stream(self, path: str, call: Call) -> Generator[bytes]:
        """Yield the parts of an event stream as they arrive; the first part is empty.

        Args:
            path: the path below ``/api/v1``.
            call: a new call. The stream ends at its deadline, or earlier if the watchdog ends the
                call.

        Raises:
            Exception: any error of the connection.

        """
        headers = {"Accept": "text/event-stream", "Accept-Encoding": "identity"}
        limit = call.deadline - self.clock.monotonic()
        with self.watchdog.watch(call), self._open("GET", path, limit, None, headers) as response:
            if response.status == HTTPStatus.OK:
                yield b""
                # If the body is not chunked, a read of more bytes would wait until they all have
                # arrived.
                chunked = "Transfer-Encoding" in response.headers
                yield from response.stream(_CHUNK if chunked else 1, decode_content=True)

    def _call(self, method: str, path: str, limit: float, json: Json, upgrade: Headers) -> Answer:
        deadline = self.clock.monotonic() + limit
        call = Call(deadline)
        with self.watchdog.watch(call):
            try:
                with self._open(method, path, limit, json, upgrade) as response:
                    # If the response to an upgrade were read, the pool would use the connection
                    # again.
                    is_upgraded = response.status == HTTPStatus.SWITCHING_PROTOCOLS
                    body = b"" if is_upgraded else _read(response, call)
                if call.overdue:
                    # A body without an announced length looks complete even if it was cut.
                    raise http.TimeoutError
            except Exception:
                if not call.overdue and self.clock.monotonic() < deadline:
                    raise
                raise SandboxUnreachable(
                    f"{self.address.label} did not answer within {limit:.3g} s",
                    label="no answer",
                    transient=True,
                    delivered=call.sock is not None,
                ) from None
        status, headers = response.status, response.headers
        if status >= 300:
            raise error_of_response(f"{method} {path}", status, headers, body, self.address)
        announced = "Content-Length" in headers or "Transfer-Encoding" in headers
        return Answer(status, body, announced=announced or status == HTTPStatus.NO_CONTENT)

    def _open(
        self, method: str, path: str, limit: float, json: Json, special_headers: Headers
    ) -> urllib3.BaseHTTPResponse:
        """Send a request. Special headers are those of a stream or of an upgrade."""
        calls, streams = self._pools
        authorization = {"Authorization": f"Bearer {self._key.reveal()}"}
        headers = {**authorization, **self._headers, **(special_headers or {})}
        body = None
        if json is not None:
            headers["Content-Type"] = "application/json"
            body = dumps(json).encode()
        return (calls if special_headers is None else streams).urlopen(
            method,
            self._base + path,
            body,
            headers,
            retries=_NO_RETRIES,
            redirect=False,
            timeout=limit,
            preload_content=False,
        )


def _read(response: urllib3.BaseHTTPResponse, call: Call) -> bytes:
    # The body of most responses is short. One read takes less time than a stream of parts.
    length = response.length_remaining
    if length is not None and length <= _CHUNK and "Content-Encoding" not in response.headers:
        return response.read()
    body = bytearray()
    for chunk in response.stream(_CHUNK, decode_content=True):
        if call.overdue:  # the connection was cut, and decompressing the rest may take minutes
            raise http.TimeoutError
        body += chunk
        if len(body) > _LARGEST_BODY:
            raise ContractViolation(
                f"Response too large: more than {_LARGEST_BODY // 2**20} MiB for one call",
                label="too large",
            )
    return bytes(body)


# Each row contains the exception, a regex for its message, the label, the reason, whether the error
# is transient, and whether the request may have been delivered. The first row that matches applies.
_PROXY = "the proxy of this environment (HTTPS_PROXY) does not answer"
_COMPRESSED = "the answer is compressed and cannot be read"
_OTHER_HOST = "TLS failed (the certificate is for another host)"
_NO_ISSUER = "TLS failed (the certificate's issuer is not known here)"
_NO_TLS = "TLS failed (the other side does not speak TLS)"
_CUT = "IncompleteRead|InvalidChunkLength|ended prematurely"
_MEANINGS: tuple[tuple[Any, str, str, str, bool, bool], ...] = (
    (http.SSLError, "self.signed", "TLS", "TLS failed (self-signed certificate)", False, False),
    (http.SSLError, "expired", "TLS", "TLS failed (the certificate has expired)", False, False),
    (http.SSLError, "doesn't match|mismatch", "TLS", _OTHER_HOST, False, False),
    (http.SSLError, "unable to get local issuer", "TLS", _NO_ISSUER, False, False),
    # A retry may help if the peer hung up during the handshake, but not if a certificate is invalid.
    (http.SSLError, "EOF occurred", "TLS", "TLS failed (the other side hung up)", True, False),
    (http.SSLError, "WRONG_VERSION_NUMBER", "TLS", _NO_TLS, False, False),
    (http.SSLError, "", "TLS", "TLS failed (handshake failed)", False, False),
    (http.ProxyError, "", "proxy", _PROXY, True, False),
    (http.NameResolutionError, "", "no such host", "its host name is not known", True, False),
    (http.NewConnectionError, "", "refused", "the connection was refused", True, False),
    (http.ConnectTimeoutError, "", "no connection", "no connection in time", True, False),
    (http.TimeoutError, "", "no answer", "no answer in time", True, True),
    (http.DecodeError, "", "bad encoding", _COMPRESSED, False, True),
    # A thread may still wait when the session ends; it must not fail the session.
    (http.ClosedPoolError, "", "closed", "its connections were closed", True, False),
    (http.ProtocolError, _CUT, "cut short", "the response was cut short", True, True),
    (http.ProtocolError, "", "reset", "the connection was reset", True, True),
)


def _explain(error: Exception) -> tuple[str, str, bool, bool]:
    """Return the last four values of the matching row of the table."""
    text, name = str(error), type(error).__name__
    for kind, cause, label, reason, transient, delivered in _MEANINGS:
        if isinstance(error, kind) and re.search(cause, text):
            return label, reason, transient, delivered
    library = type(error).__module__.partition(".")[0]
    if isinstance(error, http.HTTPError) or library == "requests":
        return name, f"{library} raised {name}", False, True
    if isinstance(error, ValueError):  # its message quotes the header with the key
        return "invalid request", "the request cannot be sent", False, False
    # For example, pytest-socket blocks the socket. A retry does not help.
    return name, f"{name}: {mask_text(text)}", False, False
