"""Serve the routes of the sandbox API, and check the API key and the sandbox id.

Status codes, bodies and content types are the same as in the daemon. In production, requests with a
wrong API key or a wrong sandbox id do not reach the daemon, because the proxy rejects them. For
such requests, the response is the same as the response of the proxy (api-notes, "Errors").
"""

from __future__ import annotations

import hmac
import time
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from pytest_tlsandbox.local.asgi import (
    Request,
    Response,
    Router,
    application,
    empty_response,
    json_response,
)
from pytest_tlsandbox.local.event_streams import END_OF_STREAM, follow, run_frames
from pytest_tlsandbox.local.http_errors import ApiError, PlainTextError
from pytest_tlsandbox.local.managed_process import ManagedProcess
from pytest_tlsandbox.local.tunnel import handshake_error, open_tunnel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pytest_tlsandbox.local.asgi import Answer, Application, Handler
    from pytest_tlsandbox.local.files import Files
    from pytest_tlsandbox.local.process import Process
    from pytest_tlsandbox.local.request_bodies import Body, StartRequest
    from pytest_tlsandbox.local.supervisor import Supervisor

_SIGNALS = range(1, 32)
_EXPECTED = b"x-tlsandbox-process"
"""The header of a handshake with the pid of the process that must listen on the port."""


def build_app(
    supervisor: Supervisor, files: Files, *, identifier: str, api_key: str
) -> Application:
    """Return the application that serves the processes of a supervisor.

    Args:
        supervisor: the supervisor that owns the processes.
        files: the files that the sandbox serves.
        identifier: the id of the sandbox; the answer to a request for another id is 404.
        api_key: the key that each request must contain as a bearer token.

    """
    routes = _Routes(supervisor, files)
    process = "/processes/(?P<process>[^/]+)"
    output = f"{process}/(?P<stream>stdout|stderr|output)"
    paths: dict[str, dict[str, Handler]] = {
        "/health": {"GET": routes.health},
        "/info": {"GET": routes.info},
        "/processes": {"GET": routes.list_processes, "POST": routes.start},
        "/processes/run": {"POST": routes.run},
        process: {"GET": routes.get, "DELETE": routes.kill},
        f"{process}/signal": {"POST": routes.send_signal},
        f"{process}/restart": {"POST": routes.restart},
        f"{process}/stdin": {"POST": routes.write_stdin},
        f"{process}/stdin/close": {"POST": routes.close_stdin},
        output: {"GET": routes.output},
        f"{output}/follow": {"GET": routes.follow},
        "/files": {"GET": routes.read_file, "PUT": routes.write_file, "DELETE": routes.delete_file},
        "/files/list": {"GET": routes.list_folder},
        "/tunnels/tcp": {"GET": routes.open_tunnel},
    }
    router = Router({f"/api/v1{path}": handlers for path, handlers in paths.items()})
    authorization = f"Bearer {api_key}".encode()

    async def handle(request: Request) -> Answer:
        headers = dict(request.scope["headers"])
        if not hmac.compare_digest(headers.get(b"authorization", b""), authorization):
            raise ApiError(401, "Missing or invalid API key", "UNAUTHORIZED")
        for other in _addressees(headers):
            if other != identifier:
                raise ApiError(404, f"Sandbox '{other}' not found", "SANDBOX_NOT_FOUND")
        return await router.handle(request)

    return application(handle)


class _Routes:
    def __init__(self, supervisor: Supervisor, files: Files) -> None:
        self._supervisor = supervisor
        self._files = files
        self._started = time.monotonic()

    async def health(self, _request: Request) -> Response:
        return json_response({"healthy": True})

    async def info(self, _request: Request) -> Response:
        from importlib.metadata import version  # takes 20 ms, so import it on demand

        memory = self._supervisor.memory
        return json_response(
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
        return Response(b'{"processes":[' + rows + b"]}")

    async def start(self, request: Request) -> Response:
        from pytest_tlsandbox.local.request_bodies import StartRequest

        wanted = await _parse_body(StartRequest, request)
        process = await self._start(wanted)
        return Response(process.row_at_start, 201)

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
        return Response(self._find(request).row())

    async def kill(self, request: Request) -> Response:
        process = self._find(request)
        if process.managed is not None and not process.managed.has_ended:
            await process.managed.stop()
        elif process.is_running:
            await self._supervisor.kill(process)
        else:
            raise ApiError(500, f"Process {process.pid} is not running")
        return empty_response(204)

    async def send_signal(self, request: Request) -> Response:
        from pytest_tlsandbox.local.request_bodies import SignalRequest

        number = (await _parse_body(SignalRequest, request)).signal
        process = self._find(request)
        if not process.is_running:
            raise ApiError(400, f"Process {process.pid} is not running")
        if number not in _SIGNALS:
            raise ApiError(400, "Invalid signal number")
        await self._supervisor.send_signal(process, number)
        return json_response({"success": True})

    async def restart(self, request: Request) -> Response:
        process = self._find(request)
        if process.managed is None:
            raise ApiError(400, f"Process {process.pid} is not managed", "NOT_MANAGED")
        return Response((await process.managed.restart()).row_at_start)

    async def write_stdin(self, request: Request) -> Response:
        process = self._find(request)
        data = await request.body()
        if process.stdin is None:
            raise ApiError(400, "Process stdin is not writable", "STDIN_NOT_WRITABLE")
        try:
            await process.stdin.write(data)
        except BrokenPipeError:
            raise ApiError(400, "Process stdin is closed", "STDIN_NOT_WRITABLE") from None
        return empty_response(204)

    async def close_stdin(self, request: Request) -> Response:
        process = self._find(request)
        if process.stdin is None:
            raise ApiError(400, "Process stdin is not writable")
        process.stdin.close()
        return empty_response(204)

    async def output(self, request: Request) -> Response:
        """Return the lines of one stream, or the lines of both streams for ``/output``.

        For ``/output``, the lines of stdout come before the lines of stderr.
        """
        process = self._find_for_output(request)
        if isinstance(process, int):
            return json_response({"pid": process, "lines": [], "line_count": 0})
        lines = [
            line
            for output in process.outputs(request.parameters["stream"]).values()
            for line in output.lines()
        ]
        return json_response({"pid": process.pid, "lines": lines, "line_count": len(lines)})

    async def follow(self, request: Request) -> Response:
        """Stream the lines as the process writes them."""
        process = self._find_for_output(request)
        if isinstance(process, int):
            return _events(_no_lines())
        return _events(follow(process, request.parameters["stream"]))

    async def read_file(self, request: Request) -> Response:
        content = self._files.read(_parse_path(request))
        return Response(content, content_type="application/octet-stream")

    async def write_file(self, request: Request) -> Response:
        parts = request.chunks()
        try:
            await self._files.write(_parse_path(request), parts)
        except (ApiError, PlainTextError):
            async for _ in parts:  # most clients read no response before they have sent it all
                pass
            raise
        return empty_response(204)

    async def delete_file(self, request: Request) -> Response:
        self._files.delete(_parse_path(request))
        return empty_response(204)

    async def list_folder(self, request: Request) -> Response:
        path = _parse_path(request)
        return json_response({"path": path, "entries": self._files.entries(path)})

    async def open_tunnel(self, request: Request) -> Answer:
        if error := handshake_error(request.scope):
            raise error
        tunnel = await open_tunnel(request.query.get("port", ""))
        asked = _parse_selector(dict(request.scope["headers"]).get(_EXPECTED, b""))
        process = self._supervisor.table.find(asked) if isinstance(asked, int) else None
        if process is not None and not await self._supervisor.listens(process, tunnel.port):
            tunnel.close()
            text = f"Port {tunnel.port} belongs to another process than {process.pid}"
            raise ApiError(502, text, "PORT_OF_ANOTHER_PROCESS")
        return tunnel

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
        """Return the process that the path of a request selects.

        If the pid in the path belongs to no process, return the pid. The routes for output then return an
        empty list of lines instead of 404.

        Raises:
            ApiError: 404 for an unknown name.

        """
        selector = _parse_selector(request.parameters["process"].encode("latin-1"))
        self._supervisor.note_oom_kills()
        if isinstance(selector, int):
            return self._supervisor.table.find(selector) or selector
        process = self._supervisor.table.find_named(selector)
        if process is None:
            raise ApiError(404, f"Process {selector} not found", "NOT_FOUND")
        return process


async def _no_lines() -> AsyncIterator[bytes]:
    yield END_OF_STREAM


def _addressees(headers: dict[bytes, bytes]) -> list[str]:
    """Return the sandbox ids from the routing header and the ``Host`` header of a request.

    If a ``Host`` header contains an id, the value of the header is ``<id>.local``. The SDK sends
    the id in only one of the two headers. A request without an id is also allowed.
    """
    named = []
    host = headers.get(b"host", b"").decode("latin-1").partition(":")[0]
    if host.endswith(".local"):
        named.append(host.removesuffix(".local"))
    if b"x-tensorlake-sandbox-id" in headers:
        named.append(headers[b"x-tensorlake-sandbox-id"].decode("latin-1"))
    return named


def _parse_selector(segment: bytes) -> int | str:
    """Return a pid if a segment of the raw path consists of digits, and a name otherwise."""
    try:
        text = unquote_to_bytes(segment).decode("utf-8")
    except UnicodeDecodeError:
        raise PlainTextError(400, "Invalid URL: Invalid UTF-8 in `process`") from None
    if not (text.isascii() and text.isdigit()):
        return text
    if len(text) < 20 and int(text) < 2**32:
        return int(text)
    raise PlainTextError(400, f'Invalid URL: Cannot parse `"{text}"` to a `u32`')


def _parse_path(request: Request) -> str:
    try:
        return request.query["path"]
    except KeyError:
        error = "Failed to deserialize query string: missing field `path`"
        raise PlainTextError(400, error) from None


async def _parse_body(model: type[Body], request: Request) -> Body:
    from pytest_tlsandbox.local.request_bodies import parse_body

    return parse_body(model, await request.body(), request.content_type)


def _events(events: AsyncIterator[bytes]) -> Response:
    # An event stream has no charset and is not JSON.
    return Response(events, 200, "text/event-stream", ((b"cache-control", b"no-cache"),))
