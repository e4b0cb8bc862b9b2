"""Serve the routes of the sandbox API, and check the API key and the sandbox id.

Status codes, bodies and content types are the same as in the daemon. In production, requests with a
wrong API key or a wrong sandbox id do not reach the daemon, because the proxy rejects them. For
such requests, the response is the same as the response of the proxy (api-notes, "Errors").
"""

from __future__ import annotations

import hmac
import re
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import unquote

from pytest_tlsandbox.local import asgi
from pytest_tlsandbox.local.event_streams import END_OF_STREAM, follow, run_frames
from pytest_tlsandbox.local.files import Files
from pytest_tlsandbox.local.managed_process import ManagedProcess
from pytest_tlsandbox.local.process import Process
from pytest_tlsandbox.local.supervisor import Supervisor
from pytest_tlsandbox.local.tunnel import open_tunnel

_EXPECTED = b"x-tlsandbox-process"
"""The header of a handshake with the pid of the process that must listen on the port."""


def build_app(supervisor: Supervisor, settings: Mapping[str, Any]) -> asgi.Application:
    """Return the application that serves the processes of a supervisor.

    Args:
        supervisor: the supervisor that owns the processes.
        settings: ``identifier``, the id of the sandbox (the answer to a request for another id is
            404); ``api_key``, the key that each request must contain as a bearer token; and
            ``writable``, more folders in which the sandbox may change files.

    """
    routes = _Routes(supervisor)
    files = Files(settings["writable"], supervisor.memory.kills)
    process = "/api/v1/processes/(?P<selector>[^/]+)"
    output = f"{process}/(?P<stream>stdout|stderr|output)"
    handlers: asgi.Routes = {
        "/api/v1/health": {"GET": routes.health},
        "/api/v1/info": {"GET": routes.info},
        "/api/v1/processes": {"GET": routes.list_processes, "POST": routes.start},
        "/api/v1/processes/run": {"POST": routes.run},
        process: {"GET": routes.get, "DELETE": routes.kill},
        f"{process}/signal": {"POST": routes.send_signal},
        f"{process}/restart": {"POST": routes.restart},
        f"{process}/stdin": {"POST": routes.write_stdin},
        f"{process}/stdin/close": {"POST": routes.close_stdin},
        output: {"GET": routes.output},
        f"{output}/follow": {"GET": routes.follow},
        "/api/v1/files": {"GET": files.read, "PUT": files.write, "DELETE": files.delete},
        "/api/v1/files/list": {"GET": files.list_folder},
        "/api/v1/tunnels/tcp": {"GET": routes.open_tunnel},
    }
    authorization = f"Bearer {settings['api_key']}".encode()
    identifier = settings["identifier"].encode("latin-1", errors="replace")

    def check(request: asgi.Request) -> None:
        if not hmac.compare_digest(request.headers.get(b"authorization", b""), authorization):
            raise asgi.ApiError(401, "Missing or invalid API key", "UNAUTHORIZED")
        # The SDK sends the id in one of two headers, or in neither. The host is <id>.local.
        host = request.headers.get(b"host", b"").partition(b":")[0]
        by_host = host.removesuffix(b".local") if host.endswith(b".local") else identifier
        for other in (by_host, request.headers.get(b"x-tensorlake-sandbox-id", identifier)):
            if other != identifier:
                error = f"Sandbox '{other.decode('latin-1')}' not found"
                raise asgi.ApiError(404, error, "SANDBOX_NOT_FOUND")

    return asgi.asgi_app(handlers, check)


class _Routes:
    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._started = time.monotonic()

    async def health(self, _request: asgi.Request) -> asgi.Response:
        return asgi.json_response({"healthy": True})

    async def info(self, _request: asgi.Request) -> asgi.Response:
        from importlib.metadata import version  # takes 20 ms, so import it on demand

        memory = self._supervisor.memory
        facts = {
            "version": version("pytest-tlsandbox"),
            "uptime_secs": int(time.monotonic() - self._started),
            "running_processes": len(self._supervisor.living),
            "total_processes": self._supervisor.table.total,
            "memory": {"mechanism": memory.mechanism, "limit_bytes": memory.limit_bytes},
        }
        return asgi.json_response(facts)

    async def list_processes(self, _request: asgi.Request) -> asgi.Response:
        rows = b",".join(process.row() for process in self._supervisor.table.rows.values())
        return asgi.Response(b'{"processes":[' + rows + b"]}")

    async def start(self, request: asgi.Request) -> asgi.Response:
        from pytest_tlsandbox.local.request_bodies import StartRequest, parse_body

        wanted = await parse_body(StartRequest, request)
        if wanted.name or wanted.restart or wanted.health_check:
            process = ManagedProcess(self._supervisor, wanted).run
        else:
            process = self._supervisor.start(wanted)
        return asgi.Response(process.row(), 201)

    async def run(self, request: asgi.Request) -> asgi.Response:
        from pytest_tlsandbox.local.request_bodies import RunRequest, StartRequest, parse_body

        wanted = await parse_body(RunRequest, request)
        # The defaults of a start: stdin is closed and the output is captured.
        process = self._supervisor.start(StartRequest(**dict(wanted)))
        # In the background, so that the timeout also applies if the client disconnects.
        self._supervisor.run_in_background(self._supervisor.limit_time(process, wanted.timeout))
        return _events(run_frames(process))

    async def get(self, _request: asgi.Request, selector: str) -> asgi.Response:
        return asgi.Response(self._find(selector).row())

    async def kill(self, _request: asgi.Request, selector: str) -> asgi.Response:
        process = self._find(selector)
        if process.managed is not None and not process.managed.has_ended:
            await process.managed.stop()
        elif process.is_running:
            await self._supervisor.kill(process)
        else:
            raise asgi.ApiError(500, f"Process {process.pid} is not running")
        return asgi.Response(status=204)

    async def send_signal(self, request: asgi.Request, selector: str) -> asgi.Response:
        from pytest_tlsandbox.local.request_bodies import SignalRequest, parse_body

        number = (await parse_body(SignalRequest, request)).signal
        process = self._find(selector)
        if not process.is_running:
            raise asgi.ApiError(400, f"Process {process.pid} is not running")
        if number not in range(1, 32):
            raise asgi.ApiError(400, "Invalid signal number")
        await self._supervisor.send_signal(process, number)
        return asgi.json_response({"success": True})

    async def restart(self, _request: asgi.Request, selector: str) -> asgi.Response:
        process = self._find(selector)
        if process.managed is None:
            raise asgi.ApiError(400, f"Process {process.pid} is not managed", "NOT_MANAGED")
        return asgi.Response((await process.managed.restart()).row())

    async def write_stdin(self, request: asgi.Request, selector: str) -> asgi.Response:
        process = self._find(selector)
        data = await request.body()
        if process.stdin is None:
            raise asgi.ApiError(400, "Process stdin is not writable", "STDIN_NOT_WRITABLE")
        try:
            await process.stdin.write(data)
        except BrokenPipeError:
            raise asgi.ApiError(400, "Process stdin is closed", "STDIN_NOT_WRITABLE") from None
        return asgi.Response(status=204)

    async def close_stdin(self, _request: asgi.Request, selector: str) -> asgi.Response:
        process = self._find(selector)
        if process.stdin is None:
            raise asgi.ApiError(400, "Process stdin is not writable")
        process.stdin.close()
        return asgi.Response(status=204)

    async def output(self, _request: asgi.Request, selector: str, stream: str) -> asgi.Response:
        """Return the lines of one stream, or the lines of both streams for ``/output``.

        For ``/output``, the lines of stdout come before the lines of stderr.
        """
        process = self._find_for_output(selector)
        outputs = process.outputs(stream).values() if process else ()
        lines = [line for output in outputs for line in output.lines()]
        pid = process.pid if process else int(selector)
        return asgi.json_response({"pid": pid, "lines": lines, "line_count": len(lines)})

    async def follow(self, _request: asgi.Request, selector: str, stream: str) -> asgi.Response:
        """Stream the lines as the process writes them."""
        process = self._find_for_output(selector)
        return _events(follow(process, stream) if process else END_OF_STREAM)

    async def open_tunnel(self, request: asgi.Request) -> asgi.Answer:
        tunnel = await open_tunnel(request)
        process = self._supervisor.table.find(request.headers.get(_EXPECTED, b"").decode("latin-1"))
        if process is not None and not await self._supervisor.listens(process, tunnel.port):
            tunnel.writer.close()
            text = f"Port {tunnel.port} belongs to another process than {process.pid}"
            raise asgi.ApiError(502, text, "PORT_OF_ANOTHER_PROCESS")
        return tunnel

    def _find(self, selector: str) -> Process:
        selector = unquote(selector)
        if re.fullmatch("[0-9]{10,}", selector):
            raise asgi.PlainTextError(400, f'Invalid URL: Cannot parse `"{selector}"` to a `u32`')
        process = self._supervisor.table.find(selector)
        if process is None:
            raise asgi.ApiError(404, f"Process {selector} not found", "NOT_FOUND")
        return process

    def _find_for_output(self, selector: str) -> Process | None:
        """Return a process, or None for a pid that belongs to no process.

        The routes for output then return an empty list of lines instead of 404.
        """
        is_pid = re.fullmatch("[0-9]{1,9}", selector)
        return self._supervisor.table.find(selector) if is_pid else self._find(selector)


def _events(events: bytes | AsyncIterator[bytes]) -> asgi.Response:
    # An event stream has no charset and is not JSON.
    return asgi.Response(events, 200, "text/event-stream", ((b"cache-control", b"no-cache"),))
