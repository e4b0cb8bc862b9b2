"""Faults by name: each replaces or damages the good answer to a request.

Statuses, codes and bodies are as the sandbox's proxy and daemon send them (api-notes, "Errors" and
"Suspended and terminated sandboxes").
Faults made by ``spoilt`` and ``listing`` forward the request, and damage the answer. With all other
faults, a start or a kill did not happen.
"""

import gzip
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate

from tests.client.servers import CLOSE, HANG, RESET, chunk, drip, reply


@dataclass(frozen=True)
class Reply:
    """A response of the sandbox: its status, its body, and the headers that matter."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)

    def head(self, length=None):
        """Return status line and headers; ``length`` announces another length."""
        length = len(self.body) if length is None else length
        return reply(self.status, Content_Length=length, **self.headers)

    def whole(self, body=None, **headers):
        """Return the complete response; ``body`` replaces the body, not the announced length."""
        body = self.body if body is None else body
        return reply(self.status, body, **self.headers, **headers)


@dataclass(frozen=True)
class Fault:
    """One fault.

    ``script`` returns what is sent in answer to a request; its argument is a function that forwards
    the request and returns the good answer. ``refuses``: nothing listens, so no request arrives.
    """

    name: str
    script: Callable[[Callable[[], Reply]], Iterable[object]]
    refuses: bool = False

    def __repr__(self):
        return f"<Fault {self.name}>"


def answer(status, body=b"", *, name="", **headers):
    """Answer with this status and body instead of the sandbox.

    A body that is not bytes is sent as JSON. Write ``_`` for ``-`` in headers: ``Retry_After="3"``.
    """
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    given = {"Content_Type": "text/html" if content[:1] == b"<" else "application/json", **headers}
    script = [reply(status, content, **given)]
    code = body.get("code", "") if isinstance(body, dict) else ""
    return Fault(name or f"{status} {code}".strip(), lambda _ask: script)


def listing(change, *, name):
    """Forward requests, and change the rows of the process list in the answer."""

    def script(ask):
        good = ask()
        if b'"processes"' not in good.body:
            return [good.whole()]
        rows = change(json.loads(good.body)["processes"])
        return [good.whole(json.dumps({"processes": rows}).encode())]

    return Fault(name, script)


def spoilt(name, spoil):
    """Forward the request, and send what ``spoil`` returns for the good answer."""
    return Fault(name, lambda ask: spoil(ask()))


def _coded(status, code, text="the proxy could not serve this", state=""):
    name = f"{status} {code}, {state}" if state else ""
    return answer(status, {"error": text, "code": code}, name=name)


def _half(good):
    return good.body[: len(good.body) // 2]


def redirected(url):
    """Redirect to another address with status 301."""
    return answer(301, Location=url, name="301 to another host")


def _without_length(good):
    head = reply(good.status, Content_Length=None, Transfer_Encoding="chunked", **good.headers)
    return [head, chunk(_half(good)), CLOSE]


def _gzip_cut_short(good):
    body = gzip.compress(good.body)[:10] + b"\xff" * 40
    return [good.whole(body, Content_Encoding="gzip")]


_A_DAY = 24 * 3600 * 1000


def _first_rows_of_another_daemon(rows):
    """Replace the first handles, as another daemon assigns them to its processes."""
    shown = {
        "status": "running", "stdin_writable": False, "command": "init", "args": [],
        "started_at": rows[0]["started_at"] + _A_DAY,
    }  # fmt: skip
    return [{"handle": n, "pid": n + 1, **shown} for n in sorted(row["handle"] for row in rows)]


# fmt: off
# The connection.
REFUSED = Fault("connection refused", lambda _ask: [], refuses=True)
RESET_BEFORE_HEADERS = Fault("reset before headers", lambda _ask: [RESET])
RESET_AFTER_HEADERS = spoilt("reset after headers", lambda good: [good.head(), 0.01, RESET])
HANG_BEFORE_HEADERS = Fault("hang before headers", lambda _ask: [HANG])
HANG_IN_BODY = spoilt("hang in the body", lambda good: [good.head(), _half(good), HANG])
ONE_BYTE_A_SECOND = spoilt("one byte a second", lambda good: drip(good.whole(), 1.0))

# The body.
CUT_JSON = spoilt("cut JSON", lambda good: [good.whole(_half(good))])
LENGTH_TOO_LARGE = spoilt("announced length too large", lambda good: [good.head(len(good.body) + 9), good.body, CLOSE])
LENGTH_TOO_SMALL = spoilt("announced length too small", lambda good: [good.head(len(good.body) // 2) + good.body])
CHUNKED_AND_CUT = spoilt("chunked and cut", _without_length)
BROKEN_GZIP = spoilt("broken gzip", _gzip_cut_short)
HTML = answer(200, b"<!doctype html><title>Log in</title>", name="200 with HTML")
NO_CONTENT = answer(204, name="204")
EMPTY = answer(200, name="200, empty")

# The key, the sandbox and the process.
KEY_REFUSED = answer(401, {"message": "invalid credentials", "code": "UNAUTHORIZED"}, name="401")
KEY_NOT_ALLOWED = answer(403, {"message": "forbidden", "code": "TL_FORBIDDEN"}, name="403")
SANDBOX_NOT_FOUND = _coded(404, "SANDBOX_NOT_FOUND", "no such sandbox")
SANDBOX_GONE = answer(404, {"error": "Sandbox 'abc123' not found or not running"}, name="404 without a code")
LIFECYCLE_PATH_NOT_FOUND = _coded(404, "LIFECYCLE_PATH_NOT_FOUND", "path not found")
PROCESS_NOT_FOUND = _coded(404, "NOT_FOUND", "Process 42 not found")
TERMINATED = answer(409, {"sandbox_id": "abc123", "status": "terminated", "reason": "Timeout"}, name="409 terminated")
SUSPENDED = answer(409, {"sandbox_id": "abc123", "status": "suspended"}, name="409 suspended")
SUSPENDING = _coded(400, "SANDBOX_NOT_RUNNING", "Sandbox 'abc123' is not running (status: suspending).", "suspending")
NOT_RUNNING_SUSPENDED = _coded(503, "SANDBOX_NOT_RUNNING", "Sandbox not running (state: suspended)", "suspended")
NOT_RUNNING_TERMINATED = _coded(503, "SANDBOX_NOT_RUNNING", "Sandbox not running (state: terminated)", "terminated")

# Too much, or too early.
TOO_MANY_SECONDS = answer(429, {"error": "slow down"}, Retry_After="1", name="429 with seconds")
# The clock is wrong by years, because only the difference of the two dates counts.
TOO_MANY_DATE = answer(
    429, {"error": "slow down"}, Date=formatdate(1_710_000_000, usegmt=True),
    Retry_After=formatdate(1_710_000_001, usegmt=True), name="429 with a date",
)
TOO_MANY_NONSENSE = answer(429, {"error": "slow down"}, Retry_After="next Tuesday", name="429 with nonsense")
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
DAEMON_RESTARTED = listing(_first_rows_of_another_daemon, name="daemon restarted")
DAEMON_RESTARTED_EMPTY = listing(lambda _rows: [], name="daemon restarted, nothing runs")
# fmt: on
