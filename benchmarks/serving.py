"""A server that answers every request with prepared bytes.

It is a separate process, so that its time and its memory do not count as those of the client.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import random
import socket
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection

FIRST_START = 1_710_000_000_000
CHANGED = 0.01
"""The share of the rows that changes from one list to the next."""


class Rows:
    """The rows of a busy sandbox: one in ten processes runs, and the order is random."""

    def __init__(self, count: int) -> None:
        self._rows = [_row(number) for number in range(count)]
        random.Random(7).shuffle(self._rows)
        self._texts = [_text(row) for row in self._rows]
        self._next = 0

    def change(self) -> None:
        """End or start the processes of 1 % of the rows, at least of one row."""
        for _ in range(max(1, round(len(self._rows) * CHANGED))):
            at = self._next % len(self._rows)
            row = self._rows[at]
            runs = row["status"] == "running"
            row["status"] = "exited" if runs else "running"
            row["exit_code"] = self._next % 256 if runs else None
            row["ended_at"] = row["started_at"] + 900 + self._next if runs else None
            self._texts[at] = _text(row)
            self._next += 1

    def body(self) -> bytes:
        """Return the list as the sandbox writes it, without white space."""
        return b'{"processes":[' + b",".join(self._texts) + b"]}"


def _text(row: dict[str, Any]) -> bytes:
    return json.dumps(row, separators=(",", ":")).encode()


def _row(number: int) -> dict[str, Any]:
    runs = number % 10 == 0
    return {
        "handle": number + 1,
        "pid": 1000 + number,
        "status": "running" if runs else "exited",
        "exit_code": None if runs else 0,
        "signal": None,
        "stdin_writable": False,
        "command": "python",
        "args": ["-m", "worker", f"--shard={number}", "--retries=3"],
        "started_at": FIRST_START + number * 37,
        "ended_at": None if runs else FIRST_START + number * 37 + 900,
    }


class Served:
    """A list that a server provides at ``url``."""

    def __init__(self, port: int, pipe: Connection) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self._pipe = pipe

    def change(self) -> None:
        """Change 1 % of the rows in the list that the server provides."""
        self._pipe.send("change")
        self._pipe.recv()


@contextlib.contextmanager
def serve(count: int) -> Iterator[Served]:
    """Serve a list of this many processes."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=_run, args=(theirs, count), daemon=True
    )
    process.start()
    try:
        yield Served(ours.recv(), ours)
    finally:
        process.terminate()
        process.join()


def _run(pipe: Connection, count: int) -> None:
    rows = Rows(count)
    served = answer(rows.body())

    def converse(sock: socket.socket) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        asked = b""
        while received := sock.recv(65536):
            asked += received
            if asked.endswith(b"\r\n\r\n"):
                asked = b""
                sock.sendall(served)

    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        while True:
            sock, _ = listener.accept()
            threading.Thread(target=converse, args=(sock,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    pipe.send(listener.getsockname()[1])
    while pipe.recv() == "change":
        rows.change()
        served = answer(rows.body())
        pipe.send("changed")


def answer(body: bytes) -> bytes:
    """Return the response with this body."""
    head = (
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nvary: origin\r\n"
        f"access-control-allow-origin: *\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class RawClient:
    """The simplest client: a socket that receives the bytes and parses nothing."""

    def __init__(self, port: int) -> None:
        self._sock = socket.create_connection(("127.0.0.1", port))

    def get(self) -> int:
        """Send the request and receive the whole response; return the length of its body in bytes."""
        self._sock.sendall(b"GET /api/v1/processes HTTP/1.1\r\nhost: local.local\r\n\r\n")
        head = self._sock.recv(1 << 20)
        start, _, rest = head.partition(b"\r\n\r\n")
        length = int(start.rpartition(b"content-length: ")[2])
        left, room = length - len(rest), memoryview(bytearray(max(1, length)))
        while left > 0:
            left -= self._sock.recv_into(room)
        return length

    def close(self) -> None:
        """Close the connection."""
        self._sock.close()
