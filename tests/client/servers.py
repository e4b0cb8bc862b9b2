"""A server that plays what a script says, byte for byte, and keeps what it was asked."""

from __future__ import annotations

import contextlib
import enum
import json
import socket
import ssl
import struct
import subprocess
import threading
from dataclasses import dataclass


class Play(enum.Enum):
    """What a script can do but send bytes. A number is a pause in seconds."""

    HANG = "say nothing more"
    CLOSE = "hang up"
    RESET = "hang up so that the client sees a reset"
    READ = "wait for some bytes, and forget them"


HANG, CLOSE, RESET, READ = Play


@dataclass(frozen=True, repr=False)
class Request:
    """A request as it came."""

    line: str
    headers: dict[str, str]
    body: bytes

    @property
    def method(self):
        return self.line.split()[0]

    @property
    def path(self):
        return self.line.split()[1]


def reply(status=200, body=b"", *, length=True, **headers):
    """One answer: ``body`` is sent as JSON unless it is bytes; ``length`` announces its length."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    if length:
        fields.setdefault("Content-Length", str(len(data)))
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status} Status\r\n{lines}\r\n".encode() + data


def drip(data, every):
    """Send one byte at a time."""
    return [step for byte in data for step in (bytes([byte]), every)]


class Server:
    """Listens on loopback until it is closed; each request gets the next script, or the last one.

    A function in place of scripts makes the script from the request. A ``greeting`` is played to
    each connection in place of all that.
    """

    def __init__(self, *scripts, answer=None, greeting=(), tls=None, host="127.0.0.1", port=0):
        self.requests = []
        self.connections = 0
        self._scripts = scripts
        self._answer = answer
        self._greeting = greeting
        self._tls = _server_context(tls) if tls else None
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._sockets = []
        self._listener = socket.create_server((host, port), backlog=64)
        self.port = self._listener.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://{host}:{self.port}"
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def __repr__(self):
        return f"<Server at {self.url}>"

    @property
    def request(self):
        """The only request there was."""
        (request,) = self.requests
        return request

    def close(self):
        self._closing.set()
        with contextlib.suppress(OSError):
            socket.create_connection(self._listener.getsockname(), 1).close()
        self._threads[0].join(5)
        self._listener.close()
        for sock in self._sockets:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)

    def _accept(self):
        while True:
            sock, _ = self._listener.accept()
            if self._closing.is_set():
                sock.close()
                return
            self.connections += 1
            self._sockets.append(sock)
            thread = threading.Thread(target=self._converse, args=(sock,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _converse(self, sock):
        with contextlib.suppress(OSError):
            if self._greeting:
                self._play(sock, self._greeting)
                sock.close()
                return
            if self._tls is not None:
                sock = self._tls.wrap_socket(sock, server_side=True)
                self._sockets.append(sock)
            with sock.makefile("rb") as lines:
                while (request := _read_request(lines)) is not None:
                    with self._lock:
                        number = len(self.requests)
                        self.requests.append(request)
                    if self._answer is not None:
                        script = self._answer(request)
                    else:
                        script = self._scripts[min(number, len(self._scripts) - 1)]
                    if not self._play(sock, script):
                        break
        # Hang up for real: the file object above would keep the descriptor open.
        sock.close()

    def _play(self, sock, script):
        """Play a script; tell whether the connection stays."""
        for step in script:
            if isinstance(step, bytes):
                sock.sendall(step)
            elif isinstance(step, (int, float)):
                if self._closing.wait(step):
                    return False
            elif step is READ:
                sock.recv(2**16)
            elif step is HANG:
                self._closing.wait()
                return False
            else:
                if step is RESET:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return False
        return True


def _read_request(lines):
    line = lines.readline().decode("latin-1").strip()
    if not line:
        return None
    headers = {}
    while (header := lines.readline().decode("latin-1").strip()) != "":
        name, _, value = header.partition(":")
        headers[name.lower()] = value.strip()
    return Request(line, headers, lines.read(int(headers.get("content-length", 0))))


def _server_context(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def make_certificate(folder, host):
    """Make a self-signed certificate and its key, in one file."""
    path = folder / "key-and-certificate.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "2", "-subj", "/CN=test", "-addext", f"subjectAltName={host}"),
            *("-keyout", str(path), "-out", str(folder / "certificate.pem")),
        ],
        check=True,
        capture_output=True,
    )
    with path.open("ab") as file:
        file.write((folder / "certificate.pem").read_bytes())
    return path
