"""The routes of the sandbox API: who may ask, what is asked, what is answered.

Codes, bodies and content types are those of the daemon (daemon-captures.md, fact sheet section 4);
where it has none of its own (401, wrong sandbox), those of the proxy before it (section 1.7).
"""

from __future__ import annotations

import hmac
import json
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from pytest_tlsandbox.local.bodies import Rejection, read_pid, read_signal, read_start
from pytest_tlsandbox.local.supervisor import SpawnFailed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.exceptions import HTTPException
    from starlette.requests import Request
    from starlette.types import ASGIApp, Receive, Scope, Send

    from pytest_tlsandbox.local.process import Process
    from pytest_tlsandbox.local.supervisor import Supervisor
    from pytest_tlsandbox.redact import Secret

    Endpoint = Callable[[Request], Awaitable[Response]]

BODY_LIMIT = 2 * 1024 * 1024
"""Bytes of a request body; more is 413 (the daemon's framework has the same limit)."""

_SIGNALS = range(1, 32)


class Identity(NamedTuple):
    """Which sandbox this is, and the key that opens it."""

    identifier: str
    api_key: Secret
    version: str


def build_app(supervisor: Supervisor, identity: Identity) -> ASGIApp:
    """Build the application that serves the processes of ``supervisor``."""
    routes = _Routes(supervisor, identity.version)
    handlers: dict[Any, Any] = {404: _empty, 405: _empty, Rejection: _reject, _Refused: _refuse}
    app = Starlette(
        routes=[
            _route("/health", GET=routes.health),
            _route("/info", GET=routes.info),
            _route("/processes", GET=routes.list_processes, POST=routes.start),
            _route("/processes/{p}", GET=routes.get, DELETE=routes.kill),
            _route("/processes/{p}/signal", POST=routes.send_signal),
            _route("/processes/{p}/stdin", POST=routes.write_stdin),
            _route("/processes/{p}/stdin/close", POST=routes.close_stdin),
            _route("/processes/{p}/stdout", GET=routes.output),
            _route("/processes/{p}/stderr", GET=routes.output),
            _route("/processes/{p}/output", GET=routes.output),
        ],
        exception_handlers=handlers,
    )
    app.router.redirect_slashes = False
    return _Gate(app, identity)


class _Refused(Exception):
    """A request that is understood, and answered with an error: ``{"error": ..., "code": ...}``."""

    def __init__(self, status: int, error: str, code: str | None = None) -> None:
        super().__init__(error)
        self.status = status
        self.body = {"error": error} if code is None else {"error": error, "code": code}


class _Gate:
    """Lets pass what bears the key and means this sandbox."""

    def __init__(self, app: ASGIApp, identity: Identity) -> None:
        self._app = app
        self._identifier = identity.identifier
        self._authorization = f"Bearer {identity.api_key.reveal()}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 401 or 404, or hand on."""
        answer = self._turn_away(dict(scope["headers"]))
        await (answer or self._app)(scope, receive, send)

    def _turn_away(self, headers: dict[bytes, bytes]) -> Response | None:
        given = headers.get(b"authorization", b"")
        if not hmac.compare_digest(given, self._authorization):
            error = "Missing or invalid API key"
            return _json({"error": error, "code": "UNAUTHORIZED"}, status=401)
        for asked_for in _addressed_to(headers):
            if asked_for != self._identifier:
                error = f"Sandbox '{asked_for}' not found"
                return _json({"error": error, "code": "SANDBOX_NOT_FOUND"}, status=404)
        return None


class _Routes:
    def __init__(self, supervisor: Supervisor, version: str) -> None:
        self._supervisor = supervisor
        self._version = version
        self._started = time.monotonic()

    async def health(self, _request: Request) -> Response:
        return _json({"healthy": True})

    async def info(self, _request: Request) -> Response:
        memory = self._supervisor.memory
        return _json(
            {
                "version": self._version,
                "uptime_secs": int(time.monotonic() - self._started),
                "running_processes": self._supervisor.running,
                "total_processes": self._supervisor.total,
                "memory": {"mechanism": memory.mechanism, "limit_bytes": memory.limit_bytes},
            }
        )

    async def list_processes(self, _request: Request) -> Response:
        rows = b",".join(process.row() for process in self._supervisor.processes())
        return _json_bytes(b'{"processes":[' + rows + b"]}")

    async def start(self, request: Request) -> Response:
        wanted = read_start(await _read_body(request), request.headers.get("content-type", ""))
        try:
            process = await self._supervisor.start(wanted)
        except SpawnFailed:
            raise _Refused(500, "Failed to spawn process") from None
        return _json_bytes(process.row_at_start, status=201)

    async def get(self, request: Request) -> Response:
        return _json_bytes(self._find(request).row())

    async def kill(self, request: Request) -> Response:
        process = self._find(request)
        if not process.is_running:
            raise _Refused(500, f"Process {process.pid} is not running")
        await self._supervisor.kill(process)
        return Response(status_code=204)

    async def send_signal(self, request: Request) -> Response:
        body = await _read_body(request)
        number = read_signal(body, request.headers.get("content-type", ""))
        process = self._find(request)
        if not process.is_running:
            raise _Refused(400, f"Process {process.pid} is not running")
        if number not in _SIGNALS:
            raise _Refused(400, "Invalid signal number")
        self._supervisor.send_signal(process, number)
        return _json({"success": True})

    async def write_stdin(self, request: Request) -> Response:
        process = self._find(request)
        data = await _read_body(request)
        if process.stdin is None:
            raise _Refused(400, "Process stdin is not writable", "STDIN_NOT_WRITABLE")
        try:
            await process.stdin.write(data)
        except BrokenPipeError:
            raise _Refused(400, "Process stdin is closed", "STDIN_NOT_WRITABLE") from None
        return Response(status_code=204)

    async def close_stdin(self, request: Request) -> Response:
        process = self._find(request)
        if process.stdin is None:
            raise _Refused(400, "Process stdin is not writable")
        process.stdin.close()
        return Response(status_code=204)

    async def output(self, request: Request) -> Response:
        """Give the lines of one stream or, under ``/output``, of both: stdout, then stderr.

        For an unknown pid that is no line, and not 404.
        """
        pid = read_pid(request.path_params["p"])
        which = request.url.path.rpartition("/")[2]
        process = self._supervisor.find(pid)
        lines: list[str] = []
        if process is not None and which != "stderr":
            lines += process.stdout.lines()
        if process is not None and which != "stdout":
            lines += process.stderr.lines()
        return _json({"pid": pid, "lines": lines, "line_count": len(lines)})

    def _find(self, request: Request) -> Process:
        pid = read_pid(request.path_params["p"])
        process = self._supervisor.find(pid)
        if process is None:
            raise _Refused(404, f"Process {pid} not found", "NOT_FOUND")
        return process


def _route(path: str, **endpoints: Endpoint) -> Route:
    """One route for all methods of a path, so that 405 names them all."""
    if "GET" in endpoints:
        endpoints["HEAD"] = endpoints["GET"]

    async def dispatch(request: Request) -> Response:
        return await endpoints[request.method](request)

    return Route(f"/api/v1{path}", dispatch, methods=list(endpoints))


def _addressed_to(headers: dict[bytes, bytes]) -> list[str]:
    """Give the ids that a request names: in the routing header, or as ``Host: <id>.local``.

    The SDK uses the one or the other (fact sheet 1.3); neither is needed.
    """
    named = []
    host = headers.get(b"host", b"").decode("latin-1").partition(":")[0]
    if host.endswith(".local"):
        named.append(host.removesuffix(".local"))
    if b"x-tensorlake-sandbox-id" in headers:
        named.append(headers[b"x-tensorlake-sandbox-id"].decode("latin-1"))
    return named


async def _read_body(request: Request) -> bytes:
    """Read the body. Raises Rejection (413) over the limit, once the client has sent all of it.

    Answered before, most clients would see a broken connection and no answer.
    """
    body = bytearray()
    too_long = False
    async for chunk in request.stream():
        too_long = too_long or len(body) + len(chunk) > BODY_LIMIT
        if not too_long:
            body += chunk
    if too_long:
        raise Rejection(413, "Failed to buffer the request body: length limit exceeded")
    return bytes(body)


def _json(content: Any, status: int = 200) -> Response:
    body = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
    return _json_bytes(body, status)


def _json_bytes(body: bytes, status: int = 200) -> Response:
    return Response(body, status, media_type="application/json")


async def _empty(_request: Request, error: HTTPException) -> Response:
    return Response(status_code=error.status_code, headers=error.headers)


async def _reject(_request: Request, error: Rejection) -> Response:
    return Response(error.text, error.status, media_type="text/plain")


async def _refuse(_request: Request, error: _Refused) -> Response:
    return _json(error.body, error.status)
