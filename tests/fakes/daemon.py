"""A fake of the open-source daemon of March 2026, written from captures of its answers (api-notes).

It runs real programs and shares no code with the embedded sandbox. It knows neither handles nor
managed processes, checks no key, lists rows in any order, keeps all of them, and sends ``eof`` up to
2 s late if a descendant holds the pipe.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

PIPE_GRACE = 2.0
"""Seconds for which the daemon waits for output after the end of a process."""
NOT_FOUND, NOT_ALLOWED = (404, None), (405, None)
TYPES = {bytes: "text/plain; charset=utf-8", bytearray: "application/octet-stream"}


def now():
    return int(time.time() * 1000)


def text(status, message):
    return status, message.encode()


class Process:
    """One run of a program; ``row`` is what the list shows."""

    def __init__(self, spec, on_end):
        command = sys.executable if spec["command"] == "python" else spec["command"]
        modes = {
            name: subprocess.DEVNULL if spec.get(f"{name}_mode") == "discard" else subprocess.PIPE
            for name in ("stdout", "stderr")
        }
        takes_input = spec.get("stdin_mode") == "pipe"
        self.popen = subprocess.Popen(
            [command, *spec.get("args", ())], env={**os.environ, **(spec.get("env") or {})},
            cwd=spec.get("working_dir"), start_new_session=True,
            stdin=subprocess.PIPE if takes_input else subprocess.DEVNULL, **modes,
        )  # fmt: skip
        self.row = {
            "pid": self.popen.pid, "status": "running", "exit_code": None, "signal": None,
            "stdin_writable": takes_input, "command": spec["command"],
            "args": list(spec.get("args", ())), "started_at": now(), "ended_at": None,
        }  # fmt: skip
        self.changed = threading.Condition()
        self.written = []  # the stream, the line and the time of each line
        self.complete = False  # no more output is captured
        pipes = {name: getattr(self.popen, name) for name in modes}
        self.readers = [
            threading.Thread(target=self._read, args=item, daemon=True)
            for item in pipes.items()
            if item[1]
        ]
        for reader in self.readers:
            reader.start()
        self.reaper = threading.Thread(target=self._reap, args=[on_end])
        self.reaper.start()

    def _read(self, stream, pipe):
        with pipe, contextlib.suppress(UnicodeDecodeError):
            for data in pipe:
                line = data.rstrip(b"\n").removesuffix(b"\r").decode()
                with self.changed:
                    self.written.append((stream, line, now()))
                    self.changed.notify_all()

    def _reap(self, on_end):
        code = self.popen.wait()
        if self.popen.stdin:
            with contextlib.suppress(OSError):
                self.popen.stdin.close()
        how = {"status": "exited", "exit_code": code}
        if code < 0:
            how = {"status": "signaled", "signal": -code}
        on_end(self, how | {"ended_at": now(), "stdin_writable": False})
        until = time.monotonic() + PIPE_GRACE
        for reader in self.readers:
            reader.join(max(0, until - time.monotonic()))
        with self.changed:
            self.complete = True
            self.changed.notify_all()

    def lines(self, wanted):
        """Return the stream and the lines so far: those of stdout, then those of stderr."""
        kept = sorted(self.written, key=lambda line: line[0] == "stderr")
        return [(stream, line) for stream, line, _ in kept if wanted in (stream, "output")]

    def follow(self, wanted):
        """Yield the events of a stream."""
        name = wanted == "output"
        with self.changed:
            seen = len(self.written)
            events = [(*line, 0) for line in self.lines(wanted)]
        while True:
            for stream, line, at in events:
                data = {"line": line, "timestamp": at, **({"stream": stream} if name else {})}
                yield f"event: output\ndata: {json.dumps(data)}\n\n".encode()
            with self.changed:
                if self.complete and seen == len(self.written):
                    yield b"event: eof\ndata: {}\n\n"
                    return
                self.changed.wait_for(lambda: self.complete or seen < len(self.written))  # noqa: B023
                new, seen = self.written[seen:], len(self.written)
            events = [line for line in new if wanted in (line[0], "output")]

    def kill(self, number=signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.popen.pid, number)

    def refuse(self, status):
        return status, {"error": f"Process {self.row['pid']} is not running"}

    def stdin(self, data):
        """Write to stdin, or close it with None."""
        pipe = self.popen.stdin
        if pipe is None:
            error = {"error": "Process stdin is not writable"}
            return 400, error if data is None else {**error, "code": "STDIN_NOT_WRITABLE"}
        if data is None:
            pipe.close()
            self.row["stdin_writable"] = False
            return 204, None
        try:
            pipe.write(data)
            pipe.flush()
        except (OSError, ValueError):
            return 400, {"error": "Process stdin is closed", "code": "STDIN_NOT_WRITABLE"}
        return 204, None


class Daemon:
    """The routes of one sandbox; an answer is a status and a body."""

    key = None

    def __init__(self):
        self.lock = threading.RLock()
        self.processes = []
        self.began = time.monotonic()

    def begin(self, spec):
        with self.lock:
            self.processes.append(Process(spec, self.end))
            return self.processes[-1]

    def end(self, process, how):
        with self.lock:
            process.row |= how

    def start(self, spec):
        return 201, self.begin(spec).row

    def listed(self):
        return sorted(self.processes, key=lambda one: zlib.crc32(b"%d" % one.popen.pid))

    def find(self, key):
        """Return the newest process with this pid, or an answer."""
        if not key.isdigit() or int(key) >= 2**32:
            return text(400, f'Invalid URL: Cannot parse `"{key}"` to a `u32`')
        found = [one for one in self.processes if str(one.row["pid"]) == key]
        missing = {"error": f"Process {key} not found", "code": "NOT_FOUND"}
        return found[-1] if found else (404, missing)

    def answer(self, method, path, query, headers, body):
        """Return the status and the body: None, bytes (text), JSON or a generator of events."""
        route = path.removeprefix("/")
        if route in ("health", "info", "processes"):
            return self.root(method, route, headers, body)
        if route in ("files", "files/list"):
            return self.files(method, route, query["path"][0], body)
        match = re.fullmatch(r"processes/([^/]+)(?:/(.+))?", route)
        return self.one(method, unquote(match[1]), match[2], headers, body) if match else NOT_FOUND

    def root(self, method, route, headers, body):
        if method == "POST" and route == "processes":
            spec = self.body(headers, body, "command")
            if isinstance(spec, tuple):
                return spec
            try:
                return self.start(spec)
            except (OSError, ValueError):
                return 500, {"error": "Failed to spawn process"}
        if method != "GET":
            return NOT_ALLOWED
        with self.lock:
            rows = [dict(one.row) for one in self.listed()]
        if route == "processes":
            return 200, {"processes": rows}
        if route == "health":
            return 200, {"healthy": True}
        running = sum(row["status"] == "running" for row in rows)
        uptime = int(time.monotonic() - self.began)
        counts = {"running_processes": running, "total_processes": len(rows)}
        return 200, {"version": "0.1.0", "uptime_secs": uptime, **counts}

    @staticmethod
    def body(headers, body, *needed):
        """Return the fields of a body, or the answer of the framework."""
        if headers.get("Content-Type") != "application/json":
            return text(415, "Expected request with `Content-Type: application/json`")
        try:
            fields = json.loads(body)
        except ValueError as error:
            return text(400, f"Failed to parse the request body as JSON: {error}")
        if not all(isinstance(fields.get(name), str | int) for name in needed) or isinstance(
            fields.get("command", ""), int
        ):
            problem = "Failed to deserialize the JSON body into the target type: missing field"
            return text(422, problem)
        return fields

    def one(self, method, key, call, headers, body):
        """Answer a request for one process."""
        if (method, key) == ("POST", "run"):
            return NOT_ALLOWED
        process = self.find(key)
        read = re.fullmatch("(stdout|stderr|output)(/follow)?", call or "")
        if isinstance(process, tuple):
            if process[0] == 404 and read:
                return self.read(None, key, *read.groups())
            return process if self.knows(call) else NOT_FOUND
        if read:
            return self.read(process, key, *read.groups())
        if call is None:
            return self.remove(process) if method == "DELETE" else (200, process.row)
        if call == "stdin":
            return process.stdin(body)
        if call == "stdin/close":
            return process.stdin(None)
        return self.signal(process, headers, body) if call == "signal" else NOT_FOUND

    def knows(self, call):
        return call in (None, "signal", "stdin", "stdin/close")

    @staticmethod
    def read(process, key, wanted, follow):
        if follow:
            return 200, process.follow(wanted) if process else iter([b"event: eof\ndata: {}\n\n"])
        lines = [line for _, line in process.lines(wanted)] if process else []
        pid = process.row["pid"] if process else int(key)
        return 200, {"pid": pid, "lines": lines, "line_count": len(lines)}

    def remove(self, process):
        if process.row["status"] != "running":
            return process.refuse(500)
        process.kill()
        return 204, None

    def signal(self, process, headers, body):
        fields = self.body(headers, body, "signal")
        if isinstance(fields, tuple):
            return fields
        if process.row["status"] != "running":
            return process.refuse(400)
        if fields["signal"] not in set(signal.Signals):
            return 400, {"error": "Invalid signal number"}
        process.kill(fields["signal"])
        return 200, {"success": True}

    def files(self, method, route, path, body):
        if ".." in Path(path).parts:
            return 403, {"error": "Path traversal not allowed", "code": "PATH_TRAVERSAL"}
        try:
            return self.files_of(method, route, Path(path), body)
        except FileNotFoundError:
            return 404, {"error": f"File not found: {path}", "code": "NOT_FOUND"}
        except OSError as error:
            return 500, {"error": str(error), "code": "INTERNAL_ERROR"}

    @staticmethod
    def files_of(method, route, path, body):
        if route == "files/list":
            if not path.is_dir() and path.exists():
                return 400, {"error": "Path is not a directory", "code": "NOT_A_DIRECTORY"}
            entries = [
                {
                    "name": entry.name, "is_dir": entry.is_dir() and not entry.is_symlink(),
                    "size": None if entry.is_dir() and not entry.is_symlink() else entry.lstat().st_size,
                    "modified_at": int(entry.lstat().st_mtime * 1000),
                }
                for entry in path.iterdir()
            ]  # fmt: skip
            entries.sort(key=lambda entry: (not entry["is_dir"], entry["name"]))
            return 200, {"path": str(path), "entries": entries}
        if method == "PUT":
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(body)
            return 204, None
        if method == "DELETE":
            path.unlink()
            return 204, None
        if path.is_dir():
            return 400, {"error": "Path is a directory", "code": "IS_DIRECTORY"}
        return 200, bytearray(path.read_bytes())


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urlsplit(self.path)
        daemon = self.server.daemon
        if daemon.key and self.headers.get("Authorization") != f"Bearer {daemon.key}":
            self.reply(401, {"message": "invalid credentials", "code": "UNAUTHORIZED"})
            return
        path = url.path.removeprefix("/api/v1")
        query = parse_qs(url.query)
        self.reply(*daemon.answer(self.command, path, query, self.headers, body))

    do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815 - names of the base class

    def reply(self, status, body):
        self.send_response(status)
        if hasattr(body, "send") or hasattr(body, "__next__"):
            self.stream(body)
            return
        if status == 405:
            self.send_header("Allow", "GET,HEAD,POST")
        if status == 101:
            self.send_header("Connection", "Upgrade")
            self.send_header("Upgrade", "websocket")
            self.close_connection = True
        elif body is not None:
            self.send_header("Content-Type", TYPES.get(type(body), "application/json"))
        data = b"" if body is None else body
        if not isinstance(data, bytes | bytearray):
            data = json.dumps(data, separators=(",", ":")).encode()
        if status not in (101, 204):
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def stream(self, events):
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        with contextlib.suppress(OSError):  # the client has gone
            for event in events:
                self.wfile.write(b"%x\r\n%b\r\n" % (len(event), event))
            self.wfile.write(b"0\r\n\r\n")


@contextlib.contextmanager
def serving(daemon):
    """Yield the URL of a fake sandbox; at the end, kill what runs."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.daemon = daemon
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        for one in daemon.processes:
            one.kill()
            one.reaper.join()
