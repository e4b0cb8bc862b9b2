"""The routes of the sandbox API: who may ask, what is asked, what is answered.

Codes, bodies and content types are those of the daemon (daemon-captures.md, fact sheet section 4);
where it has none of its own (401, wrong sandbox), those of the proxy before it (section 1.7).
"""

from __future__ import annotations

import hmac
import json
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from starlette.applications import Starlette
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from pytest_tlsandbox.local.bodies import (
    Refusal,
    StartRequest,
    read_process,
    read_run,
    read_signal,
    read_start,
)
from pytest_tlsandbox.local.fields import Rejection
from pytest_tlsandbox.local.managed import start_managed
from pytest_tlsandbox.local.spawn import SpawnFailed
from pytest_tlsandbox.local.streams import END_OF_STREAM, follow, run_frames
from pytest_tlsandbox.local.user import UserNotFound

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

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
    handlers: dict[Any, Any] = {404: _empty, 405: _empty, Rejection: _reject, Refusal: _refuse}
    app = Starlette(
        routes=[
            _route("/health", GET=routes.health),
            _route("/info", GET=routes.info),
            _route("/processes", GET=routes.list_processes, POST=routes.start),
            _route("/processes/run", POST=routes.run),
            _route("/processes/{p}", GET=routes.get, DELETE=routes.kill),
            _route("/processes/{p}/signal", POST=routes.send_signal),
            _route("/processes/{p}/restart", POST=routes.restart),
            _route("/processes/{p}/stdin", POST=routes.write_stdin),
            _route("/processes/{p}/stdin/close", POST=routes.close_stdin),
            _route("/processes/{p}/stdout", GET=routes.output),
            _route("/processes/{p}/stderr", GET=routes.output),
            _route("/processes/{p}/output", GET=routes.output),
            _route("/processes/{p}/stdout/follow", GET=routes.follow),
            _route("/processes/{p}/stderr/follow", GET=routes.follow),
            _route("/processes/{p}/output/follow", GET=routes.follow),
        ],
        exception_handlers=handlers,
    )
    app.router.redirect_slashes = False
    return _Gate(app, identity)


class _Gate:
    """Lets pass what bears the key and means this sandbox."""

    def __init__(self, app: ASGIApp, identity: Identity) -> None:
        self._app = app
        self._identifier = identity.identifier
        self._authorization = f"Bearer {identity.api_key.reveal()}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 401 or 404, or hand on, with the path as it came: a name may hold a ``%2F``."""
        answer = self._turn_away(dict(scope["headers"]))
        scope = {**scope, "path": scope["raw_path"].decode("latin-1")}
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
                "total_processes": self._supervisor.table.total,
                "memory": {"mechanism": memory.mechanism, "limit_bytes": memory.limit_bytes},
            }
        )

    async def list_processes(self, _request: Request) -> Response:
        self._supervisor.note_oom_kills()
        rows = b",".join(process.row() for process in self._supervisor.table.rows())
        return _json_bytes(b'{"processes":[' + rows + b"]}")

    async def start(self, request: Request) -> Response:
        wanted = read_start(await _read_body(request), request.headers.get("content-type", ""))
        process = await self._start(wanted)
        return _json_bytes(process.row_at_start, status=201)

    async def run(self, request: Request) -> Response:
        wanted = read_run(await _read_body(request), request.headers.get("content-type", ""))
        process = await self._start(wanted.start)
        if wanted.timeout is not None:
            # Beside the answer: it holds also if the client hangs up.
            limit = self._supervisor.limit_time(process, wanted.timeout)
            self._supervisor.run_in_background(limit)
        return _events(run_frames(process))

    async def get(self, request: Request) -> Response:
        return _json_bytes(self._find(request).row())

    async def kill(self, request: Request) -> Response:
        process = self._find(request)
        if process.managed is not None and not process.managed.has_ended:
            await process.managed.stop()
        elif process.is_running:
            await self._supervisor.kill(process)
        else:
            raise Refusal(500, f"Process {process.pid} is not running")
        return Response(status_code=204)

    async def send_signal(self, request: Request) -> Response:
        body = await _read_body(request)
        number = read_signal(body, request.headers.get("content-type", ""))
        process = self._find(request)
        if not process.is_running:
            raise Refusal(400, f"Process {process.pid} is not running")
        if number not in _SIGNALS:
            raise Refusal(400, "Invalid signal number")
        await self._supervisor.send_signal(process, number)
        return _json({"success": True})

    async def restart(self, request: Request) -> Response:
        process = self._find(request)
        if process.managed is None:
            raise Refusal(400, f"Process {process.pid} is not managed", "NOT_MANAGED")
        with _told_to_client():
            run = await process.managed.restart()
        return _json_bytes(run.row_at_start)

    async def write_stdin(self, request: Request) -> Response:
        process = self._find(request)
        data = await _read_body(request)
        if process.stdin is None:
            raise Refusal(400, "Process stdin is not writable", "STDIN_NOT_WRITABLE")
        try:
            await process.stdin.write(data)
        except BrokenPipeError:
            raise Refusal(400, "Process stdin is closed", "STDIN_NOT_WRITABLE") from None
        return Response(status_code=204)

    async def close_stdin(self, request: Request) -> Response:
        process = self._find(request)
        if process.stdin is None:
            raise Refusal(400, "Process stdin is not writable")
        process.stdin.close()
        return Response(status_code=204)

    async def output(self, request: Request) -> Response:
        """Give the lines of one stream or, under ``/output``, of both: stdout, then stderr.

        For an unknown pid that is no line, and not 404.
        """
        which = request.url.path.rpartition("/")[2]
        process = self._find_for_output(request)
        if isinstance(process, int):
            return _json({"pid": process, "lines": [], "line_count": 0})
        lines: list[str] = []
        if which != "stderr":
            lines += process.stdout.lines()
        if which != "stdout":
            lines += process.stderr.lines()
        return _json({"pid": process.pid, "lines": lines, "line_count": len(lines)})

    async def follow(self, request: Request) -> Response:
        """Send the lines as they come; for an unknown pid there are none, and that is not 404."""
        which = request.url.path.split("/")[-2]
        process = self._find_for_output(request)
        return _events(_nothing() if isinstance(process, int) else follow(process, which))

    async def _start(self, wanted: StartRequest) -> Process:
        with _told_to_client():
            if wanted.management is None:
                return await self._supervisor.start(wanted)
            return await start_managed(self._supervisor, wanted, wanted.management)

    def _find(self, request: Request) -> Process:
        meant, process = self._look_up(request)
        if process is None:
            raise Refusal(404, f"Process {meant} not found", "NOT_FOUND")
        return process

    def _find_for_output(self, request: Request) -> Process | int:
        """Give the process; or the pid, if there is none with that pid."""
        meant, process = self._look_up(request)
        if process is None and isinstance(meant, int):
            return meant
        return process or self._find(request)

    def _look_up(self, request: Request) -> tuple[int | str, Process | None]:
        meant = read_process(request.path_params["p"].encode("latin-1"))
        self._supervisor.note_oom_kills()
        table = self._supervisor.table
        return meant, table.find(meant) if isinstance(meant, int) else table.find_named(meant)


@contextmanager
def _told_to_client() -> Iterator[None]:
    """Turn a start that failed into its answer (daemon-captures.md; fact sheet 1.7)."""
    try:
        yield
    except SpawnFailed:
        raise Refusal(500, "Failed to spawn process") from None
    except UserNotFound as error:
        raise Refusal(500, f"user not found: {error}") from None


async def _nothing() -> AsyncIterator[bytes]:
    yield END_OF_STREAM


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


def _events(content: AsyncIterator[bytes]) -> Response:
    headers = {"Content-Type": "text/event-stream", "Cache-Control": "no-cache"}
    return StreamingResponse(content, headers=headers)


async def _empty(_request: Request, error: HTTPException) -> Response:
    return Response(status_code=error.status_code, headers=error.headers)


async def _reject(_request: Request, error: Rejection) -> Response:
    return Response(error.text, error.status, media_type="text/plain")


async def _refuse(_request: Request, error: Refusal) -> Response:
    return _json(error.body, error.status)
