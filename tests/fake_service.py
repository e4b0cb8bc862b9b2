"""A fake of the Tensorlake service for one sandbox, written from the notes on its API.

It runs real programs and shares no code with the embedded sandbox. Unlike it, the fake keeps earlier
runs of a managed process in the list, lists the newest first, counts a restart when the supervisor
begins to back off, sends no stream, and does not know which process has a port.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

KEY = "tl_apiKey_of_the_fake"


def now():
    return int(time.time() * 1000)


class Process:
    """One run of a program; ``row`` is what the list shows."""

    def __init__(self, service, spec, managed):
        self.managed = managed
        service.handle += 1
        command = sys.executable if spec["command"] == "python" else spec["command"]
        self.popen = subprocess.Popen(
            [command, *spec.get("args", ())], env={**os.environ, **spec.get("env", {})},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            start_new_session=True, text=True,
        )  # fmt: skip
        self.lines = {"stdout": [], "stderr": []}
        self.row = {
            "handle": service.handle, "pid": self.popen.pid, "status": "running", "exit_code": None,
            "signal": None, "stdin_writable": False, "command": spec["command"],
            "args": spec.get("args", []), "started_at": now(), "ended_at": None, "managed": managed,
        }  # fmt: skip
        readers = [threading.Thread(target=self._read, args=[name]) for name in self.lines]
        for reader in readers:
            reader.start()
        self.reaper = threading.Thread(target=self._reap, args=[service, spec, readers])
        self.reaper.start()

    def _read(self, stream):
        with getattr(self.popen, stream) as pipe:
            self.lines[stream].extend(line.rstrip("\n") for line in pipe)

    def _reap(self, service, spec, readers):
        code = self.popen.wait()
        for reader in readers:
            reader.join()
        how = {"status": "exited", "exit_code": code}
        if code < 0:
            how = {"status": "signaled", "signal": -code}
        with service.lock:
            self.row |= how | {"ended_at": now()}
            if self.managed is not None:
                self._supervise(service, spec, failed=code != 0)

    def _supervise(self, service, spec, *, failed):
        managed, last = self.managed, self.row
        policy = managed["restart"]["policy"]
        again = policy == "always" or (policy == "on_failure" and failed)
        ended = {name: last[name] for name in ("exit_code", "signal", "ended_at")}
        managed["last_exit"] = {**ended, "oom_killed": False}
        if managed["status"] == "stopped" or not again:
            managed["status"] = "stopped"
            return
        last["managed"] = json.loads(json.dumps(managed))  # the old row stays as it is
        managed |= {"status": "backing_off", "restart_count": managed["restart_count"] + 1}
        pause = managed["restart"]["initial_backoff_ms"] / 1000
        threading.Timer(pause, service.begin, [spec, managed]).start()


class Service:
    """The routes of one sandbox."""

    def __init__(self):
        self.lock = threading.RLock()
        self.handle = 0
        self.processes = []

    def begin(self, spec, managed):
        with self.lock:
            if managed is not None and managed["status"] == "stopped":
                return None  # it was stopped while it backed off
            if managed is not None:
                managed["status"] = "running"
            self.processes.append(Process(self, spec, managed))
            return self.processes[-1]

    def start(self, spec):
        managed = None
        if spec.keys() & {"name", "restart", "health_check"}:
            name = spec.get("name")
            defaults = {"policy": "on_failure", "max_restarts": None, "initial_backoff_ms": 500}
            managed = {
                "id": name or f"p-{self.handle}", "name": name, "status": "starting",
                "restart_count": 0, "restart": {**defaults, **spec.get("restart", {})},
                "health_check": None, "health_status": "disabled", "last_exit": None,
            }  # fmt: skip
        try:
            return 201, self.begin(spec, managed).row
        except OSError as error:
            return 500, {"error": f"Failed to spawn process: {error}"}

    def find(self, key):
        """Return the newest process with this pid or name."""
        found = [
            one for one in self.processes
            if str(one.row["pid"]) == key or (one.managed and one.managed["name"] == key)
        ]  # fmt: skip
        return found[-1] if found else None

    def answer(self, method, path, body):
        """Return the status and the body of an answer."""
        with self.lock:
            if path == "/processes":
                if method == "POST":
                    return self.start(body)
                return 200, {"processes": [one.row for one in reversed(self.processes)]}
            match = re.fullmatch(r"/processes/([^/]+)(?:/(signal|stdout|stderr|output))?", path)
            if match is None:
                return 404, None
            one, call = self.find(unquote(match[1])), match[2]
            if one is None:
                return 404, {"error": f"Process {match[1]} not found", "code": "NOT_FOUND"}
            if method == "GET" and call is None:
                return 200, one.row
            if method == "GET":
                lines = [
                    line
                    for name, kept in one.lines.items()
                    if call in (name, "output")
                    for line in kept
                ]
                return 200, {"pid": one.row["pid"], "lines": lines, "line_count": len(lines)}
            return self.act(one, body["signal"] if call == "signal" else None)

    def act(self, one, number):
        if one.popen.poll() is not None and number is not None:
            return 400, {"error": f"Process {one.row['pid']} is not running"}
        if number is None and one.managed is not None:
            one.managed["status"], number = "stopped", signal.SIGTERM
        with contextlib.suppress(ProcessLookupError):
            os.killpg(one.popen.pid, signal.SIGKILL if number is None else number)
        return 204, None


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        length = int(self.headers.get("Content-Length", 0))
        body = json.loads(self.rfile.read(length) or "null")
        url = urlsplit(self.path)
        if self.headers.get("Authorization") != f"Bearer {KEY}":
            self.reply(401, {"message": "invalid credentials", "code": "UNAUTHORIZED"})
        elif url.path == "/api/v1/tunnels/tcp":
            self.tunnel(int(parse_qs(url.query)["port"][0]))
        else:
            path = url.path.removeprefix("/api/v1")
            self.reply(*self.server.service.answer(self.command, path, body))

    do_POST = do_DELETE = do_GET  # noqa: N815 - names of the base class

    def tunnel(self, port):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            self.reply(502, {"error": "dial failed", "code": "UPSTREAM"})
            return
        self.send_response(101)
        self.send_header("Connection", "Upgrade")
        self.send_header("Upgrade", "websocket")
        self.end_headers()
        self.close_connection = True

    def reply(self, status, body):
        data = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        if status != 204:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@contextlib.contextmanager
def fake_service():
    """Yield the URL of a fake sandbox; at the end, kill what runs."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.service = Service()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        for one in server.service.processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(one.popen.pid, signal.SIGKILL)
            one.reaper.join()
