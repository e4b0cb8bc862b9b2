"""A server that sends scripted responses, byte for byte, and stores the requests."""

import contextlib
import json
import socket
import struct
import threading
from dataclasses import dataclass
from http.client import parse_headers

from pytest_tlsandbox import Sandbox, Secret
from pytest_tlsandbox.client.address import Address, locate
from pytest_tlsandbox.client.api import SandboxClient
from pytest_tlsandbox.client.transport import Transport

# Steps of a script other than sending bytes; a number is a pause in seconds.
HANG = "send nothing more, until the client hangs up"
CLOSE = "hang up"
RESET = "hang up so that the client sees a reset"
READ = "wait for some bytes, and forget them"


@dataclass(frozen=True, repr=False)
class Request:
    """A received request."""

    line: str
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


def reply(status=200, body=b"", **headers):
    """Return a response: ``body`` is sent as JSON unless it is bytes.

    Write ``_`` for ``-`` in headers; None omits a header, as in ``Content_Length=None``.
    """
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    fields = {"Content_Length": None if status == 204 else len(data), **headers}
    lines = "".join(
        f"{name.replace('_', '-')}: {value}\r\n"
        for name, value in fields.items()
        if value is not None
    )
    return f"HTTP/1.1 {status} Status\r\n{lines}\r\n".encode() + data


OPEN_ENDED = reply(Content_Length=None)


def chunk(data):
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def drip(data, every):
    """Send one byte at a time."""
    return [step for byte in data for step in (bytes([byte]), every)]


def bind(host="127.0.0.1", port=0):
    """Return a socket that reserves a port and refuses connections."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((host, port))
    return sock


@contextlib.contextmanager
def connected(place, *, verify="", **options):
    """Yield a sandbox at a server, a proxy or an address; ``verify`` is a certificate to trust."""
    address = Address("my-sandbox", place.url) if isinstance(place, Server) else place
    if not isinstance(address, Address):
        address = locate(place)
    transport = Transport(address, address.key or Secret("k"))
    for pool in transport._pools if verify else ():
        pool.ca_certs = verify  # threads share the environment
    with contextlib.closing(transport):
        yield Sandbox(SandboxClient(transport, **options))


class Server:
    """A server that plays the next script for each request; the last script repeats.

    A script is a list of steps, or a single step. Instead of scripts, pass ``answer``, a function
    that returns the script for a request, or ``greeting``, a script that is played to each
    connection before any request.
    """

    def __init__(self, *scripts, answer=None, greeting=(), tls=None, listener=None, **address):
        self.requests = []
        self.connections = 0
        self._scripts, self._answer, self._greeting, self._tls = scripts, answer, greeting, tls
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._sockets = set()
        self._listener = listener or bind(**address)
        self._listener.listen(128)
        host, self.port = self._listener.getsockname()
        self.url = f"{'https' if tls else 'http'}://{host}:{self.port}"
        self._threads = []
        self._run(self._accept)

    @property
    def request(self):
        """The only request so far."""
        (request,) = self.requests
        return request

    def stop(self):
        """Refuse new connections and close the open connections."""
        self._closing.set()
        for sock in (self._listener, *tuple(self._sockets)):
            with contextlib.suppress(OSError):
                # The shutdown method of a TLS socket is not thread-safe.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)
        self._listener.close()

    def close(self):
        self.stop()
        for thread in self._threads:
            thread.join(5)

    def _run(self, target, *args):
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                self.connections += 1
                self._sockets.add(sock)
                self._run(self._converse, sock)

    def _converse(self, plain):
        sock = plain
        try:
            if self._greeting:
                self._play(sock, self._greeting)
                return
            if self._tls is not None:
                sock = self._tls.wrap_socket(plain, server_side=True)
                self._sockets.add(sock)
            with sock.makefile("rb") as lines:
                while (request := _read_request(lines)) and not self._closing.is_set():
                    if not self._play(sock, self._script_for(request)):
                        break
        except (OSError, ValueError):
            pass  # the client closed the connection, or stop() did
        finally:
            self._sockets -= {plain, sock}
            sock.close()

    def _script_for(self, request):
        with self._lock:
            self.requests.append(request)
            number = min(len(self.requests), len(self._scripts)) - 1
        return self._answer(request) if self._answer else self._scripts[number]

    def _play(self, sock, script):
        """Play a script; return whether the connection stays open."""
        for step in [script] if isinstance(script, bytes) else script:
            if isinstance(step, bytes):
                sock.sendall(step)
            elif isinstance(step, (int, float)):
                if self._closing.wait(step):
                    return False
            elif step == READ:
                sock.recv(2**16)
            else:
                if step == HANG:
                    sock.recv(1)
                elif step == RESET:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return False
        return True


def _read_request(lines):
    """Return the next request, or None if the client closed the connection."""
    if not (line := lines.readline().decode("latin-1").strip()):
        return None
    method, path, _version = line.split()
    headers = {name.lower(): value for name, value in parse_headers(lines).items()}
    body = lines.read(int(headers.get("content-length", 0)))
    return Request(line, method, path, headers, body)
