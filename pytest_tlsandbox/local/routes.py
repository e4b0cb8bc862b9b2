"""Serve the routes of the sandbox API: authentication, requests and responses.

Status codes, bodies and content types are the same as in the daemon. Where the daemon does not
answer (401, wrong sandbox), they are the same as in its proxy (api-notes, "Errors").
"""

from __future__ import annotations

import hmac
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from pytest_tlsandbox.local.event_streams import END_OF_STREAM, follow, run_frames
from pytest_tlsandbox.local.http_errors import ApiError
from pytest_tlsandbox.local.managed_process import ManagedProcess

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from starlette.requests import Request
    from starlette.types import ASGIApp, Receive, Scope, Send

    from pytest_tlsandbox.local.process import Process
    from pytest_tlsandbox.local.request_bodies import Body, StartRequest
    from pytest_tlsandbox.local.supervisor import Supervisor

    Endpoint = Callable[[Request], Awaitable[Response]]

BODY_LIMIT = 2 * 1024 * 1024
"""Maximum bytes of a request body, as in the daemon's framework; the response to more is 413."""

_SIGNALS = range(1, 32)


def build_app(supervisor: Supervisor, *, identifier: str, api_key: str) -> ASGIApp:
    """Return the application that serves the processes of a supervisor.

    Args:
        supervisor: owns the processes.
        identifier: the id of the sandbox; the answer to a request for another id is 404.
        api_key: the key that each request must carry as a bearer token.

    """
    routes = _Routes(supervisor)
    errors: dict[Any, Any] = {404: _empty, 405: _empty, ApiError: _answer_error}
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
            *(
                _route(f"/processes/{{p}}/{stream}{rest}", GET=endpoint)
                for stream in ("stdout", "stderr", "output")
                for rest, endpoint in (("", routes.output), ("/follow", routes.follow))
            ),
        ],
        exception_handlers=errors,
    )
    app.router.redirect_slashes = False
    return _check_access(app, identifier, api_key)


def _check_access(app: ASGIApp, identifier: str, api_key: str) -> ASGIApp:
    """Return an application that rejects requests without the key or for another sandbox."""
    authorization = f"Bearer {api_key}".encode()

    async def check(scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        others = [other for other in _addressees(headers) if other != identifier]
        answer = app
        if not hmac.compare_digest(headers.get(b"authorization", b""), authorization):
            error = ApiError(401, "Missing or invalid API key", "UNAUTHORIZED")
            answer = _error_response(error)
        elif others:
            error = ApiError(404, f"Sandbox '{others[0]}' not found", "SANDBOX_NOT_FOUND")
            answer = _error_response(error)
        # Use the raw path, because a name may contain %2F.
        await answer({**scope, "path": scope["raw_path"].decode("latin-1")}, receive, send)

    return check


class _Routes:
    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._started = time.monotonic()

    async def health(self, _request: Request) -> Response:
        return JSONResponse({"healthy": True})

    async def info(self, _request: Request) -> Response:
        from importlib.metadata import version  # takes 20 ms, so import it on demand

        memory = self._supervisor.memory
        return JSONResponse(
            {
                "version": version("pytest-tlsandbox"),
                "uptime_secs": int(time.monotonic() - self._started),
                "running_processes": self._supervisor.running,
                "total_processes": self._supervisor.table.total,
                "memory": {"mechanism": memory.mechanism, "limit_bytes": memory.limit_bytes},
            }
        )

    async def list_processes(self, _request: Request) -> Response:
        self._supervisor.note_oom_kills()
        rows = b",".join(process.row() for process in self._supervisor.table.rows())
        return _row(b'{"processes":[' + rows + b"]}")

    async def start(self, request: Request) -> Response:
        from pytest_tlsandbox.local.request_bodies import StartRequest

        wanted = await _parse_body(StartRequest, request)
        process = await self._start(wanted)
        return _row(process.row_at_start, status=201)

    async def run(self, request: Request) -> Response:
        from pytest_tlsandbox.local.request_bodies import RunRequest

        wanted = await _parse_body(RunRequest, request)
        process = await self._start(wanted.as_start())
        if wanted.timeout is not None:
            # In the background, so that the timeout also applies if the client disconnects.
            limit = self._supervisor.limit_time(process, wanted.timeout)
            self._supervisor.run_in_background(limit)
        return _events(run_frames(process))

    async def get(self, request: Request) -> Response:
        return _row(self._find(request).row())

    async def kill(self, request: Request) -> Response:
        process = self._find(request)
        if process.managed is not None and not process.managed.has_ended:
            await process.managed.stop()
        elif process.is_running:
            await self._supervisor.kill(process)
        else:
            raise ApiError(500, f"Process {process.pid} is not running")
        return Response(status_code=204)

    async def send_signal(self, request: Request) -> Response:
        from pytest_tlsandbox.local.request_bodies import SignalRequest

        number = (await _parse_body(SignalRequest, request)).signal
        process = self._find(request)
        if not process.is_running:
            raise ApiError(400, f"Process {process.pid} is not running")
        if number not in _SIGNALS:
            raise ApiError(400, "Invalid signal number")
        await self._supervisor.send_signal(process, number)
        return JSONResponse({"success": True})

    async def restart(self, request: Request) -> Response:
        process = self._find(request)
        if process.managed is None:
            raise ApiError(400, f"Process {process.pid} is not managed", "NOT_MANAGED")
        return _row((await process.managed.restart()).row_at_start)

    async def write_stdin(self, request: Request) -> Response:
        process = self._find(request)
        data = await _read_body(request)
        if process.stdin is None:
            raise ApiError(400, "Process stdin is not writable", "STDIN_NOT_WRITABLE")
        try:
            await process.stdin.write(data)
        except BrokenPipeError:
            raise ApiError(400, "Process stdin is closed", "STDIN_NOT_WRITABLE") from None
        return Response(status_code=204)

    async def close_stdin(self, request: Request) -> Response:
        process = self._find(request)
        if process.stdin is None:
            raise ApiError(400, "Process stdin is not writable")
        process.stdin.close()
        return Response(status_code=204)

    async def output(self, request: Request) -> Response:
        """Return the lines of one stream or, for ``/output``, all of stdout and then of stderr."""
        which = request.url.path.rpartition("/")[2]
        process = self._find_for_output(request)
        if isinstance(process, int):
            return JSONResponse({"pid": process, "lines": [], "line_count": 0})
        lines = [line for output in process.outputs(which).values() for line in output.lines()]
        return JSONResponse({"pid": process.pid, "lines": lines, "line_count": len(lines)})

    async def follow(self, request: Request) -> Response:
        """Stream the lines as the process writes them."""
        which = request.url.path.split("/")[-2]
        process = self._find_for_output(request)
        return _events(_no_lines() if isinstance(process, int) else follow(process, which))

    async def _start(self, wanted: StartRequest) -> Process:
        if wanted.is_managed:
            return await ManagedProcess(self._supervisor, wanted).start()
        return await self._supervisor.start(wanted)

    def _find(self, request: Request) -> Process:
        process = self._find_for_output(request)
        if isinstance(process, int):
            raise ApiError(404, f"Process {process} not found", "NOT_FOUND")
        return process

    def _find_for_output(self, request: Request) -> Process | int:
        """Return the process that a path selects, or the pid if no process has it.

        The routes for output answer with no lines for an unknown pid, not with 404.

        Raises:
            ApiError: 404 for an unknown name.

        """
        selector = _parse_selector(request.path_params["p"].encode("latin-1"))
        self._supervisor.note_oom_kills()
        if isinstance(selector, int):
            return self._supervisor.table.find(selector) or selector
        process = self._supervisor.table.find_named(selector)
        if process is None:
            raise ApiError(404, f"Process {selector} not found", "NOT_FOUND")
        return process


async def _no_lines() -> AsyncIterator[bytes]:
    yield END_OF_STREAM


def _route(path: str, **endpoints: Endpoint) -> Route:
    """Return one route for all methods of a path, so that a 405 response lists them all."""
    if "GET" in endpoints:
        endpoints["HEAD"] = endpoints["GET"]

    async def dispatch(request: Request) -> Response:
        return await endpoints[request.method](request)

    return Route(f"/api/v1{path}", dispatch, methods=list(endpoints))


def _addressees(headers: dict[bytes, bytes]) -> list[str]:
    """Return the sandbox ids in a request: in the routing header, or as ``Host: <id>.local``.

    The SDK uses one or the other; a request without both is allowed.
    """
    named = []
    host = headers.get(b"host", b"").decode("latin-1").partition(":")[0]
    if host.endswith(".local"):
        named.append(host.removesuffix(".local"))
    if b"x-tensorlake-sandbox-id" in headers:
        named.append(headers[b"x-tensorlake-sandbox-id"].decode("latin-1"))
    return named


def _parse_selector(segment: bytes) -> int | str:
    """Parse a segment of the raw path: digits are a pid (unsigned, 32 bits), else a name."""
    try:
        text = unquote_to_bytes(segment).decode("utf-8")
    except UnicodeDecodeError:
        raise HTTPException(400, "Invalid URL: Invalid UTF-8 in `process`") from None
    if not (text.isascii() and text.isdigit()):
        return text
    if len(text) < 20 and int(text) < 2**32:
        return int(text)
    raise HTTPException(400, f'Invalid URL: Cannot parse `"{text}"` to a `u32`')


async def _parse_body(model: type[Body], request: Request) -> Body:
    from pytest_tlsandbox.local.request_bodies import parse_body

    body = await _read_body(request)
    return parse_body(model, body, request.headers.get("content-type", ""))


async def _read_body(request: Request) -> bytes:
    """Read the body.

    If the server responded before the client has sent it all, most clients would see a broken
    connection and no response.

    Returns:
        The body.

    Raises:
        HTTPException: 413 if the body is too long, after the client has sent all of it.

    """
    body = bytearray()
    too_long = False
    async for chunk in request.stream():
        too_long = too_long or len(body) + len(chunk) > BODY_LIMIT
        if not too_long:
            body += chunk
    if too_long:
        raise HTTPException(413, "Failed to buffer the request body: length limit exceeded")
    return bytes(body)


def _row(row: bytes, status: int = 200) -> Response:
    return Response(row, status, media_type="application/json")


def _events(content: AsyncIterator[bytes]) -> Response:
    headers = {"Content-Type": "text/event-stream", "Cache-Control": "no-cache"}
    return StreamingResponse(content, headers=headers)


async def _empty(_request: Request, error: HTTPException) -> Response:
    return Response(status_code=error.status_code, headers=error.headers)


async def _answer_error(_request: Request, error: ApiError) -> Response:
    return _error_response(error)


def _error_response(error: ApiError) -> Response:
    code = {} if error.code is None else {"code": error.code}
    return JSONResponse({"error": str(error), **code}, error.status)
