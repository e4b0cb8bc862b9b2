"""Every fault by name: what is done to a request in place of the good answer.

Statuses, codes and bodies are those of the sandbox's proxy and daemon (fact sheet 1.6 to 1.8).
A fault that passes the request on before it spoils the answer says so; the others do not, so that
a start or a kill has not happened.
"""

from __future__ import annotations

import enum
import gzip
import json
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping


class Play(enum.Enum):
    """What a fault can do but send bytes."""

    HANG = "say nothing more, and keep the connection"
    CLOSE = "hang up"
    RESET = "hang up so that the client sees a reset"


Step = "bytes | float | Play"
"""Bytes to send as they are, seconds to pause, or an end of the connection."""


@dataclass(frozen=True)
class Reply:
    """An answer of the sandbox: its status, the headers that matter, and its body."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)

    def head(self, **changed):
        """Give status line and headers; ``content_length=None`` leaves a header out."""
        headers = {
            "Content-Length": str(len(self.body)),
            **self.headers,
            **{name.replace("_", "-").title(): value for name, value in changed.items()},
        }
        if self.status == 204:
            headers["Content-Length"] = None
        lines = [f"{name}: {value}\r\n" for name, value in headers.items() if value is not None]
        return f"HTTP/1.1 {self.status} Status\r\n{''.join(lines)}\r\n".encode()

    def whole(self):
        """Give all of it, as it is sent."""
        return self.head() + self.body


@dataclass(frozen=True)
class Fault:
    """One way to go wrong.

    ``script`` says what is sent in answer to a request; it is given a function that passes the
    request on and gives the good answer. ``refuses``: nothing listens, so that there is no request.
    """

    name: str
    script: Callable[[Callable[[], Reply]], Iterable[Step]]
    refuses: bool = False

    def __repr__(self):
        return f"<Fault {self.name}>"


def answer(status, body=b"", *, name="", **headers):
    """Answer with this status and body in place of the sandbox.

    What is not bytes is sent as JSON. Headers are given with ``_`` for ``-``: ``Retry_After="3"``.
    """
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    given = {"Content-Type": "text/html" if content[:1] == b"<" else "application/json"}
    given.update({name.replace("_", "-"): value for name, value in headers.items()})
    reply = Reply(status, content, given)
    code = body.get("code", "") if isinstance(body, dict) else ""
    return Fault(name or f"{status} {code}".strip(), lambda _ask: [reply.whole()])


def listing(change, *, name):
    """Pass requests on, and change the rows of the process list on their way back."""

    def script(ask):
        reply = ask()
        document = json.loads(reply.body) if reply.status == 200 and reply.body else None
        if not isinstance(document, dict) or not isinstance(document.get("processes"), list):
            return [reply.whole()]
        rows = change(document["processes"])
        return [Reply(200, json.dumps({"processes": rows}).encode(), reply.headers).whole()]

    return Fault(name, script)


def spoilt(name, spoil):
    """Pass the request on, and send what ``spoil`` makes of the good answer."""
    return Fault(name, lambda ask: spoil(ask()))


def _coded(status, code, text="the proxy could not serve this"):
    return answer(status, {"error": text, "code": code})


def _half(reply):
    return reply.body[: len(reply.body) // 2]


def _chunk(data):
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def _drip(reply):
    return [step for byte in reply.whole() for step in (bytes([byte]), 1.0)]


_HANG, _CLOSE, _RESET = Play.HANG, Play.CLOSE, Play.RESET
_CHUNKED = {"content_length": None, "transfer_encoding": "chunked"}

# The way to the sandbox.
REFUSED = Fault("connection refused", lambda _ask: [], refuses=True)
RESET_BEFORE_HEADERS = Fault("reset before headers", lambda _ask: [_RESET])
RESET_AFTER_HEADERS = spoilt("reset after headers", lambda reply: [reply.head(), 0.01, _RESET])
HANG_BEFORE_HEADERS = Fault("hang before headers", lambda _ask: [_HANG])
HANG_IN_BODY = spoilt("hang in the body", lambda reply: [reply.head() + _half(reply), _HANG])
ONE_BYTE_A_SECOND = spoilt("one byte a second", _drip)

# The body.
CUT_JSON = spoilt(
    "cut JSON", lambda reply: [Reply(reply.status, _half(reply), reply.headers).whole()]
)
LENGTH_TOO_LARGE = spoilt(
    "announced length too large",
    lambda reply: [reply.head(content_length=str(len(reply.body) + 9)) + reply.body, _CLOSE],
)
LENGTH_TOO_SMALL = spoilt(
    "announced length too small",
    lambda reply: [reply.head(content_length=str(len(reply.body) // 2)) + reply.body],
)
CHUNKED_AND_CUT = spoilt(
    "chunked and cut", lambda reply: [reply.head(**_CHUNKED) + _chunk(_half(reply)), _CLOSE]
)
BROKEN_GZIP = spoilt(
    "broken gzip",
    lambda reply: [
        Reply(
            reply.status,
            gzip.compress(reply.body)[:10] + b"\xff" * 40,
            {**reply.headers, "Content-Encoding": "gzip"},
        ).whole()
    ],
)
HTML = answer(200, b"<!doctype html><title>Log in</title>", name="200 with HTML")
NO_CONTENT = answer(204, name="204")
EMPTY = answer(200, name="200, empty")


def redirected(url):
    """301 to another address."""
    return answer(301, Location=url, name="301 to another host")


# Who asks, and for what.
KEY_REFUSED = answer(401, {"message": "invalid credentials", "code": "UNAUTHORIZED"}, name="401")
KEY_NOT_ALLOWED = answer(403, {"message": "forbidden", "code": "TL_FORBIDDEN"}, name="403")
SANDBOX_NOT_FOUND = _coded(404, "SANDBOX_NOT_FOUND", "no such sandbox")
SANDBOX_GONE = answer(
    404, {"error": "Sandbox 'abc123' not found or not running"}, name="404 without a code"
)
LIFECYCLE_PATH_NOT_FOUND = _coded(404, "LIFECYCLE_PATH_NOT_FOUND", "path not found")
PROCESS_NOT_FOUND = _coded(404, "NOT_FOUND", "Process 42 not found")
TERMINATED = answer(
    409,
    {"sandbox_id": "abc123", "status": "terminated", "reason": "Timeout"},
    name="409 terminated",
)
SUSPENDED = answer(409, {"sandbox_id": "abc123", "status": "suspended"}, name="409 suspended")
SUSPENDING = answer(
    400,
    {
        "error": "Sandbox 'abc123' is not running (status: suspending).",
        "code": "SANDBOX_NOT_RUNNING",
    },
    name="400 SANDBOX_NOT_RUNNING, suspending",
)
NOT_RUNNING_SUSPENDED = answer(
    503,
    {"error": "Sandbox not running (state: suspended)", "code": "SANDBOX_NOT_RUNNING"},
    name="503 SANDBOX_NOT_RUNNING, suspended",
)
NOT_RUNNING_TERMINATED = answer(
    503,
    {"error": "Sandbox not running (state: terminated)", "code": "SANDBOX_NOT_RUNNING"},
    name="503 SANDBOX_NOT_RUNNING, terminated",
)

# Too much, or too early.
TOO_MANY_SECONDS = answer(429, {"error": "slow down"}, Retry_After="1", name="429 with seconds")
# By a clock that is years off: what counts is the difference of the two dates.
TOO_MANY_DATE = answer(
    429,
    {"error": "slow down"},
    Date=formatdate(1_710_000_000, usegmt=True),
    Retry_After=formatdate(1_710_000_001, usegmt=True),
    name="429 with a date",
)
TOO_MANY_NONSENSE = answer(
    429, {"error": "slow down"}, Retry_After="next Tuesday", name="429 with nonsense"
)
INTERNAL_ERROR = answer(500, {"error": "broken"})
BAD_GATEWAY_HTML = answer(502, b"<html>bad gateway</html>", name="502 with HTML")
CONNECTION_REFUSED = _coded(502, "CONNECTION_REFUSED")
CONNECTION_CLOSED = _coded(502, "CONNECTION_CLOSED")
PROXY_ERROR = _coded(502, "PROXY_ERROR")
SANDBOX_NOT_READY = _coded(503, "SANDBOX_NOT_READY")
SANDBOX_UNREACHABLE = _coded(503, "SANDBOX_UNREACHABLE")
SANDBOX_UPSTREAM_ERROR = _coded(503, "SANDBOX_UPSTREAM_ERROR")
UPSTREAM_ERROR_4XX = _coded(404, "SANDBOX_UPSTREAM_ERROR")
AUTH_SERVICE_UNAVAILABLE = _coded(503, "AUTH_SERVICE_UNAVAILABLE")
CONNECTION_TIMEOUT = _coded(504, "CONNECTION_TIMEOUT")
READ_TIMEOUT = _coded(504, "READ_TIMEOUT")
WRITE_TIMEOUT = _coded(504, "WRITE_TIMEOUT")

# Another sandbox under the same name.
_A_DAY = 24 * 3600 * 1000


def _anew(rows):
    """Give the first handles to processes of another daemon."""
    return [
        {
            "handle": handle,
            "pid": handle + 1,
            "status": "running",
            "stdin_writable": False,
            "command": "init",
            "args": [],
            "started_at": rows[0]["started_at"] + _A_DAY,
        }
        for handle in sorted(row["handle"] for row in rows)
    ]


DAEMON_RESTARTED = listing(_anew, name="daemon restarted")
DAEMON_RESTARTED_EMPTY = listing(lambda _rows: [], name="daemon restarted, nothing runs")
