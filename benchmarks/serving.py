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
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any

from pytest_tlsandbox.testing import row

FIRST_START = 1_710_000_000_000
CHANGED = 0.01
"""The share of the rows that changes from one list to the next."""


class Rows:
    """The rows of a busy sandbox: one in ten processes runs, and the order is random."""

    def __init__(self, count: int) -> None:
        self._rows = [_row(number) for number in range(count)]
        random.Random(7).shuffle(self._rows)
        self._texts = [text_of(row) for row in self._rows]
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
            self._texts[at] = text_of(row)
            self._next += 1

    def body(self) -> bytes:
        """Return the list as the sandbox writes it, without white space."""
        return body_of(self._texts)


def _row(number: int) -> dict[str, Any]:
    start = FIRST_START + number * 37
    fields = {} if number % 10 == 0 else ended(start + 900)
    return row(1000 + number, args=(*worker(number), "--retries=3"), started_at=start, **fields)


def worker(number: int) -> tuple[str, ...]:
    """Return the arguments of a program."""
    return "-m", "worker", f"--shard={number}"


def ended(at: int) -> dict[str, Any]:
    """Return the fields of a process that exited with 0."""
    return {"status": "exited", "exit_code": 0, "ended_at": at}


def text_of(row: dict[str, Any]) -> bytes:
    """Return a row as the sandbox writes it, without white space."""
    return json.dumps(row, separators=(",", ":")).encode()


def body_of(texts: list[bytes]) -> bytes:
    """Return the list with these rows as the sandbox writes it."""
    return b'{"processes":[' + b",".join(texts) + b"]}"


@contextlib.contextmanager
def serve(count: int) -> Iterator[tuple[str, Callable[[], object]]]:
    """Serve a list of processes.

    Args:
        count: the number of processes.

    Yields:
        The URL of the server, and a function that changes 1 % of the rows in its list.

    """
    with in_another_process(_run, count) as pipe:

        def change() -> object:
            pipe.send("change")
            return pipe.recv()

        yield f"http://127.0.0.1:{pipe.recv()}", change


@contextlib.contextmanager
def in_another_process(run: Callable[..., None], *args: object) -> Iterator[Connection]:
    """Run a function with a pipe and these arguments; yield the other end of the pipe."""
    ours, theirs = multiprocessing.Pipe()
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=run, args=(theirs, *args), daemon=True)
    process.start()
    try:
        yield ours
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
