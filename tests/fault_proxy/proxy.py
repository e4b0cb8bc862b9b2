"""A proxy of real sockets that does to the sandbox API what a bad day does."""

from __future__ import annotations

import contextlib
import http.client
import json
import secrets
import socket
import struct
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from pytest_tlsandbox.redact import Secret
from tests.fault_proxy.faults import Fault, Play, Reply

if TYPE_CHECKING:
    from collections.abc import Mapping


_UPSTREAM_SECONDS = 10.0


class ServesTheAPI(Protocol):
    """What a proxy can stand in front of: the embedded sandbox, or another proxy."""

    url: str
    api_key: Secret
    identifier: str


@dataclass
class _Stage:
    """One fault, and for how long: seconds from its first moment on, or a number of requests."""

    fault: Fault
    seconds: float | None
    times: int | None
    only: str
    until: float | None = None


@dataclass(frozen=True, repr=False)
class _Request:
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


class FaultProxy:
    """Serves the sandbox API at ``url``, and fails when it is told to.

    In front of ``sandbox`` (the embedded one) it passes everything on; alone it answers each look
    with ``processes``, rows as they come over the wire, and every other call with 404. It can be
    given to ``tlsandbox_connect`` like a sandbox. With ``tls`` it speaks https.

    Attributes:
        url: where it listens, ``http://127.0.0.1:<port>``.
        api_key, identifier: those of the sandbox behind it.
        sandbox: what it stands in front of; set another one to replace it under the same name. The
            key goes on being the first one's.
        processes: the rows it answers with when it stands alone.
        requests: method and path of each request that came, in order.

    """

    def __init__(self, sandbox=None, *, processes=(), tls=None):
        self.sandbox = sandbox
        self.processes = list(processes)
        self.api_key = sandbox.api_key if sandbox else Secret(secrets.token_urlsafe())
        self.identifier = sandbox.identifier if sandbox else "fault-proxy"
        self.requests = []
        self._tls = tls
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._stages = deque()
        self._closed = threading.Event()
        self._open = set()
        self._listener = None
        self._held = _bound(0)
        self._port = self._held.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self._port}"
        self._listen()
        threading.Thread(target=self._watch, daemon=True).start()

    def __repr__(self):
        return f"<FaultProxy at {self.url}>"

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        self.close()

    def fail(self, fault, *, seconds=None, times=None, only=""):
        """Do this to every request from now on; in place of what was to be done before.

        ``seconds``, ``times``: for so long, or to so many requests, and then no more. ``only``: to
        requests whose method and path contain this text, such as "POST" or "/signal".
        """
        self.recover()
        return self.then(fault, seconds=seconds, times=times, only=only)

    def then(self, fault, *, seconds=None, times=None, only=""):
        """Do this once what was asked for before is over."""
        with self._changed:
            self._stages.append(_Stage(fault, seconds, times, only))
            self._settle()
        return self

    def recover(self):
        """Pass everything on again."""
        with self._changed:
            self._stages.clear()
            self._settle()

    def close(self):
        """Stop listening, and end every connection."""
        self._closed.set()
        with self._changed:
            self._stages.clear()
            self._stop_listening()
            self._held.close()
            self._changed.notify()

    # What is done now. All of it with the lock held.

    def _settle(self):
        """Leave the stages that are over, and listen or refuse as the present one asks."""
        now = time.monotonic()
        while self._stages:
            stage = self._stages[0]
            if stage.until is None and stage.seconds is not None:
                stage.until = now + stage.seconds
            if stage.times != 0 and (stage.until is None or now < stage.until):
                break
            self._stages.popleft()
        refuses = bool(self._stages) and self._stages[0].fault.refuses
        if refuses and self._listener is not None:
            self._stop_listening()
        elif not refuses and self._listener is None and not self._closed.is_set():
            self._listen()
        self._changed.notify()

    def _listen(self):
        self._listener = self._held
        self._listener.listen(128)
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def _stop_listening(self):
        if self._listener is None:
            return
        # Ended first, so that the thread that waits in accept() lets go of it.
        _end(self._listener)
        self._listener.close()
        self._listener = None
        for sock in self._open:
            _end(sock)
        if not self._closed.is_set():
            # A port that is bound and does not listen refuses, and nobody else can take it.
            self._held = _bound(self._port)

    def _watch(self):
        """Leave each stage on time, also when no request comes."""
        with self._changed:
            while not self._closed.is_set():
                until = self._stages[0].until if self._stages else None
                self._changed.wait(None if until is None else max(0.0, until - time.monotonic()))
                if until is not None and time.monotonic() >= until:
                    self._settle()

    def _fault_of(self, line):
        with self._changed:
            self.requests.append(line)
            self._settle()
            if not self._stages or self._stages[0].only not in line:
                return None
            stage = self._stages[0]
            if stage.times is not None:
                stage.times -= 1
            return stage.fault

    # One connection. A thread each.

    def _accept(self, listener):
        with contextlib.suppress(OSError):
            while True:
                sock, _ = listener.accept()
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, plain):
        sock = plain
        with self._lock:
            self._open.add(plain)
        try:
            if self._tls is not None:
                sock = self._tls.wrap_socket(plain, server_side=True)
                with self._lock:
                    self._open.add(sock)
            with sock.makefile("rb") as lines:
                while (request := _read(lines)) is not None and not self._closed.is_set():
                    if not self._reply(sock, request):
                        break
        except (OSError, ValueError):
            pass  # the client hung up, or was made to
        finally:
            with self._lock:
                self._open -= {plain, sock}
            sock.close()

    def _reply(self, sock, request):
        """Answer one request; tell whether the connection stays."""
        fault = self._fault_of(f"{request.method} {request.path}")
        if fault is None:
            sock.sendall(self._ask(request).whole())
            return True
        for step in fault.script(lambda: self._ask(request)):
            if isinstance(step, bytes):
                sock.sendall(step)
            elif isinstance(step, (int, float)):
                if self._closed.wait(step):
                    return False
            elif step is Play.HANG:
                sock.recv(1)  # until the client has had enough
                return False
            else:
                if step is Play.RESET:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return False
        return True

    def _ask(self, request):
        if self.sandbox is None:
            if (request.method, request.path) != ("GET", "/api/v1/processes"):
                return Reply(404, b"")
            body = json.dumps({"processes": self.processes}).encode()
            return Reply(200, body, {"Content-Type": "application/json"})
        address = urlsplit(self.sandbox.url)
        upstream = http.client.HTTPConnection(
            address.hostname or "", address.port, timeout=_UPSTREAM_SECONDS
        )
        headers = dict(request.headers)
        if headers.get("authorization") == f"Bearer {self.api_key.reveal()}":
            headers["authorization"] = f"Bearer {self.sandbox.api_key.reveal()}"
        with contextlib.closing(upstream):
            upstream.request(request.method, request.path, request.body, headers)
            answer = upstream.getresponse()
            kept = {
                name: value
                for name, value in answer.getheaders()
                if name.lower() in ("content-type", "date", "retry-after")
            }
            return Reply(answer.status, answer.read(), kept)


def _bound(port):
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", port))
    return sock


def _end(sock):
    with contextlib.suppress(OSError):
        # The plain socket's method, since that of a TLS socket is not made for two threads.
        socket.socket.shutdown(sock, socket.SHUT_RDWR)


def _read(lines):
    """Read one request; None where the client has hung up."""
    first = lines.readline().decode("latin-1").split()
    if len(first) != 3:
        return None
    headers = {}
    while line := lines.readline().decode("latin-1").strip():
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    body = lines.read(int(headers.get("content-length", 0)))
    return _Request(first[0], first[1], headers, body)
