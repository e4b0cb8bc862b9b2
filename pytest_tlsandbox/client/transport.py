"""An HTTP session. Responses contain bytes, and failed calls raise InfrastructureError."""

from __future__ import annotations

import contextlib
import logging
import os
import ssl
from dataclasses import dataclass
from functools import cached_property, partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import requests
from urllib3 import exceptions as http

from pytest_tlsandbox.client.call_deadline import Call, Watchdog, WatchedAdapter
from pytest_tlsandbox.client.http_errors import LIST_CALL, error_of_response
from pytest_tlsandbox.client.retry import LONGEST_CALL
from pytest_tlsandbox.clock import Clock, shielded
from pytest_tlsandbox.errors import ContractViolation, InfrastructureError, SandboxUnreachable
from pytest_tlsandbox.redact import mask_text

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping

    from urllib3 import BaseHTTPResponse

    from pytest_tlsandbox.client.address import Address
    from pytest_tlsandbox.redact import Secret

_LARGEST_BODY = 64 * 2**20
_CHUNK = 256 * 1024


def _mask_path(record: logging.LogRecord) -> bool:
    """Mask secrets in the URL path of a log record, because the path may contain a process name."""
    if isinstance(record.args, tuple):
        record.args = tuple(map(_masked_path, record.args))
    return True


def _masked_path(part: object) -> object:
    if not isinstance(part, str) or "/api/v1/processes/" not in part:
        return part
    path = unquote(part)
    masked = mask_text(path)
    return part if masked == path else masked


logging.getLogger("urllib3.connectionpool").addFilter(_mask_path)


@dataclass(frozen=True)
class Answer:
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
        user_agent: the value of the header ``User-Agent`` of each request.
        clock: the clock for deadlines; None for the real clock.

    Attributes:
        address: the address of the sandbox.
        clock: the clock for deadlines.

    """

    def __init__(
        self, address: Address, key: Secret, *, user_agent: str, clock: Clock | None = None
    ) -> None:
        def authorize(request: requests.PreparedRequest) -> requests.PreparedRequest:
            # The key is not set as a header of the session, because ~/.netrc would override it.
            request.headers["Authorization"] = f"Bearer {key.reveal()}"
            return request

        self.address = address
        self.clock = clock or Clock()
        self._watchdog = Watchdog(self.clock)
        self._session = requests.Session()
        self._session.auth = authorize
        self._session.headers.update(
            {"User-Agent": user_agent, "Accept": "application/json", **address.headers}
        )
        # Do not use the environment's proxy for loopback, because a proxy cannot reach the loopback
        # interface of this machine.
        self._session.trust_env = not address.loopback
        self._adapter = WatchedAdapter(self._watchdog)
        # Streams have a separate pool, because calls must not wait for a connection that a stream
        # uses.
        self._stream_adapter = WatchedAdapter(self._watchdog)

    def __repr__(self) -> str:
        return f"<Transport to {self.address.label}>"

    def close(self) -> None:
        """Close every connection and end the watchdog."""
        self._adapter.close()
        self._stream_adapter.close()
        self._watchdog.close()

    def request(
        self,
        method: str,
        path: str,
        *,
        limit: float = LONGEST_CALL,
        json: Mapping[str, object] | None = None,
        upgrade: Mapping[str, str] | None = None,
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

        """
        # The frames of this call contain the key in local variables, so remove them from every
        # traceback, including the traceback of Ctrl-C or of pytest-timeout.
        try:
            # Do not cancel a call that changes the sandbox, so that a started process is not lost.
            with contextlib.nullcontext() if method == "GET" else shielded():
                return self._call(method, path, limit, json, upgrade)
        except InfrastructureError as fault:
            raise fault.with_traceback(None) from None
        except Exception as error:
            unreachable = _error_of_exception(error, self.address)
            raise unreachable from None
        except BaseException as interruption:
            raise interruption.with_traceback(None) from None

    def stream(
        self, path: str, limit: float, begun: Callable[[Callable[[], None]], None]
    ) -> Generator[bytes]:
        """Yield the parts of an event stream as they arrive; the first part is empty.

        Args:
            path: the path below ``/api/v1``.
            limit: seconds after which the client ends the stream.
            begun: a function that is called before the request is sent, with a function that any
                thread may call to end the stream.

        Raises:
            Exception: any error of the connection.

        """
        request = self._prepare("GET", path)
        request.headers.update({"Accept": "text/event-stream", "Accept-Encoding": "identity"})
        with self._watchdog.call(self.clock.monotonic() + limit) as call:
            begun(partial(self._watchdog.end, call))
            with _closing(
                self._stream_adapter.open(request, limit, **self._environment)
            ) as response:
                if response.status == HTTPStatus.OK:
                    yield b""
                    # If the body is not chunked, a read of more bytes would wait until they all
                    # have arrived.
                    chunked = "Transfer-Encoding" in response.headers
                    yield from response.stream(_CHUNK if chunked else 1, decode_content=True)

    def _prepare(
        self,
        method: str,
        path: str,
        json: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> requests.PreparedRequest:
        url = f"{self.address.url}/api/v1{path}"
        return self._session.prepare_request(requests.Request(method, url, headers, json=json))

    @cached_property
    def _list_request(self) -> requests.PreparedRequest:
        """The list request, which is prepared only once because it is sent most often."""
        method, path = LIST_CALL.split()
        return self._prepare(method, path)

    @cached_property
    def _environment(self) -> dict[str, Any]:
        """The proxies and certificates from the environment, which is read only once."""
        verify = None
        if not self._session.trust_env:
            verify = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
        found = self._session.merge_environment_settings(
            self.address.url, proxies={}, stream=True, verify=verify, cert=None
        )
        return {name: found[name] for name in ("proxies", "verify", "cert")}

    def _call(
        self,
        method: str,
        path: str,
        limit: float,
        json: Mapping[str, object] | None,
        upgrade: Mapping[str, str] | None,
    ) -> Answer:
        deadline = self.clock.monotonic() + limit
        name = f"{method} {path}"
        with self._watchdog.call(deadline) as call:
            try:
                prepared = (
                    self._list_request
                    if name == LIST_CALL
                    else self._prepare(method, path, json, upgrade)
                )
                adapter = self._stream_adapter if upgrade else self._adapter
                # Bypass the session, because it looks for proxies, cookies and redirects at each
                # call.
                with _closing(adapter.open(prepared, limit, **self._environment)) as response:
                    if upgrade and response.status == HTTPStatus.SWITCHING_PROTOCOLS:
                        # If the response were read, the pool would use the connection again.
                        return Answer(response.status, b"", announced=True)
                    body = _read(response, call)
            except Exception:
                if call.overdue or self.clock.monotonic() >= deadline:
                    raise _overdue(self.address, limit, delivered=call.connected) from None
                raise
            if call.overdue:
                # A body without an announced length looks complete even if it was cut.
                raise _overdue(self.address, limit, delivered=True)
        fault = error_of_response(name, response.status, response.headers, body, self.address)
        if fault is not None:
            raise fault
        status, headers = response.status, response.headers
        announced = "Content-Length" in headers or "Transfer-Encoding" in headers
        return Answer(status, body, announced=announced or status == 204)


@contextlib.contextmanager
def _closing(response: BaseHTTPResponse) -> Iterator[BaseHTTPResponse]:
    """Return the connection to its pool if the body was read, and close it otherwise."""
    try:
        yield response
    finally:
        response.close()
        response.release_conn()


def _read(response: BaseHTTPResponse, call: Call) -> bytes:
    chunks, size = [], 0
    for chunk in response.stream(_CHUNK, decode_content=True):
        if call.overdue:  # the connection was cut, and decompressing the rest may take minutes
            raise http.TimeoutError
        chunks.append(chunk)
        size += len(chunk)
        if size > _LARGEST_BODY:
            raise ContractViolation(
                f"Response too large: more than {_LARGEST_BODY // 2**20} MiB for one call",
                label="too large",
            )
    return b"".join(chunks)


def _overdue(address: Address, limit: float, *, delivered: bool) -> SandboxUnreachable:
    return SandboxUnreachable(
        f"{address.label} did not answer within {limit:.3g} s",
        label="no answer",
        transient=True,
        delivered=delivered,
    )


# Each row contains the exception, a text in its message, the label, the reason, whether the error is
# transient, and whether the request may have been delivered. The first row that matches applies.
_PROXY = "the proxy of this environment (HTTPS_PROXY) does not answer"
_COMPRESSED = "the answer is compressed and cannot be read"
_CUT_SHORT = "the response was cut short"
_MEANINGS: tuple[tuple[Any, str, str, str, bool, bool], ...] = (
    (http.ProxyError, "", "proxy", _PROXY, True, False),
    (http.NameResolutionError, "", "no such host", "its host name is not known", True, False),
    (http.NewConnectionError, "", "refused", "the connection was refused", True, False),
    (http.ConnectTimeoutError, "", "no connection", "no connection in time", True, False),
    (http.TimeoutError, "", "no answer", "no answer in time", True, True),
    (http.DecodeError, "", "bad encoding", _COMPRESSED, False, True),
    (http.ProtocolError, "IncompleteRead", "cut short", _CUT_SHORT, True, True),
    (http.ProtocolError, "InvalidChunkLength", "cut short", _CUT_SHORT, True, True),
    (http.ProtocolError, "ended prematurely", "cut short", _CUT_SHORT, True, True),
    (http.ProtocolError, "", "reset", "the connection was reset", True, True),
)


def _error_of_exception(error: Exception, address: Address) -> InfrastructureError:
    """Convert an exception that an HTTP library raised to an InfrastructureError."""
    label, reason, transient, delivered = _explain(error)
    return SandboxUnreachable(
        f"{address.label} cannot be reached: {reason}",
        label=label,
        transient=transient,
        delivered=delivered,
    )


def _explain(error: Exception) -> tuple[str, str, bool, bool]:
    text, name = str(error), type(error).__name__
    if isinstance(error, http.SSLError):
        # A retry may help if the peer hung up during the handshake, but not if a certificate is
        # invalid.
        hung_up = "EOF occurred" in text or isinstance(error.__context__, ssl.SSLEOFError)
        return "TLS", f"TLS failed ({_tls_reason(text)})", hung_up, False
    for kind, cause, label, reason, transient, delivered in _MEANINGS:
        if isinstance(error, kind) and cause in text:
            return label, reason, transient, delivered
    if isinstance(error, (http.HTTPError, requests.RequestException)):
        return name, f"{type(error).__module__.partition('.')[0]} raised {name}", False, True
    if isinstance(error, ValueError):  # its message quotes the header with the key
        return "invalid request", "the request cannot be sent", False, False
    # For example, pytest-socket blocks the socket. A retry does not help.
    return name, f"{name}: {mask_text(str(error))}", False, False


_TLS_REASONS = {
    "self-signed": "self-signed certificate",
    "self signed": "self-signed certificate",
    "expired": "the certificate has expired",
    "doesn't match": "the certificate is for another host",
    "mismatch": "the certificate is for another host",
    "unable to get local issuer": "the certificate's issuer is not known here",
    "EOF occurred": "the other side hung up",
    "WRONG_VERSION_NUMBER": "the other side does not speak TLS",
}


def _tls_reason(text: str) -> str:
    found = (reason for sign, reason in _TLS_REASONS.items() if sign in text)
    return next(found, "handshake failed")
