"""A fake of the open-source daemon of March 2026, written from captures of its answers (api-notes).

It runs real programs and shares no code with the embedded sandbox. It knows neither handles nor
managed processes, checks no key, lists rows in any order, keeps all of them, stops capturing at
invalid UTF-8, and sends ``eof`` up to 2 s late if a descendant holds the pipe.
"""

from __future__ import annotations

import io
import itertools
import json
import os
import re
import signal
import stat
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from pytest_tlsandbox.redact import Secret
from tests.client.servers import Server, chunk, reply

PIPE_GRACE = 2.0
"""Seconds for which the daemon waits for output after the end of a process."""
READ_TIME = 0.5
"""Seconds for which a request for output waits until what an ended process wrote is read."""
EOF = b"event: eof\ndata: {}\n\n"


class Rejected(Exception):
    """A request that the daemon rejects; the argument is the answer."""


def now():
    return int(time.time() * 1000)


def as_json(status, body):
    data = json.dumps(body, separators=(",", ":")).encode()
    return reply(status, data, Content_Type="application/json")


def text(status, message):
    return reply(status, message.encode(), Content_Type="text/plain; charset=utf-8")


class Process:
    """One run of a program; ``row`` is what the list shows."""

    def __init__(self, spec):
        modes = {
            name: subprocess.DEVNULL if spec.get(f"{name}_mode") == "discard" else subprocess.PIPE
            for name in ("stdout", "stderr")
        }
        takes_input = spec.get("stdin_mode") == "pipe"
        started_at = now()
        self.popen = subprocess.Popen(
            [spec["command"], *spec.get("args", ())], env={**os.environ, **(spec.get("env") or {})},
            cwd=spec.get("working_dir"), start_new_session=True,
            stdin=subprocess.PIPE if takes_input else subprocess.DEVNULL, **modes,
        )  # fmt: skip
        self.row = {
            "pid": self.popen.pid, "status": "running", "exit_code": None, "signal": None,
            "stdin_writable": takes_input, "command": spec["command"],
            "args": spec.get("args", []), "started_at": started_at, "ended_at": None,
        }  # fmt: skip
        self.changed = threading.Condition()
        self.written = []  # the stream, the line and the time of each line
        self.complete = False  # no more output is captured
        self.reaper = threading.Thread(target=self._reap)

    def _reap(self):
        readers = [
            threading.Thread(target=self._read, args=[stream], daemon=True)
            for stream in ("stdout", "stderr")
        ]
        for reader in readers:
            reader.start()
        code = self.popen.wait()
        with suppress(OSError):
            self.close_stdin()
        how = {"exit_code": code} if code >= 0 else {"status": "signaled", "signal": -code}
        self.row |= {"status": "exited", **how, "ended_at": now()}
        until = time.monotonic() + PIPE_GRACE
        for reader in readers:
            reader.join(max(0, until - time.monotonic()))
        with self.changed:
            self.complete = True
            self.changed.notify_all()

    def _read(self, stream):
        with getattr(self.popen, stream) or io.BytesIO() as pipe, suppress(UnicodeDecodeError):
            for data in pipe:
                line = data.removesuffix(b"\n").removesuffix(b"\r").decode()
                with self.changed:
                    self.written.append((stream, line, now()))
                    self.changed.notify_all()

    def close_stdin(self):
        if self.popen.stdin:
            self.row["stdin_writable"] = False
            self.popen.stdin.close()

    def is_running(self):
        return self.row["status"] == "running"

    def lines(self, wanted):
        """Return the stream and the lines so far: those of stdout, then those of stderr."""
        with self.changed:
            self.changed.wait_for(lambda: self.complete or self.is_running(), READ_TIME)
            kept = sorted(self.written, key=lambda line: line[0] == "stderr")
        return [(stream, line) for stream, line, _ in kept if wanted in (stream, "output")]

    def follow(self, wanted):
        """Yield the events of a stream without the last one: the lines so far, then new lines."""
        with self.changed:
            events = [(*line, 0) for line in self.lines(wanted)]
            seen = len(self.written)
        while True:
            for stream, line, at in events:
                source = {"stream": stream} if wanted == "output" else {}
                data = {"line": line, "timestamp": at, **source}
                yield f"event: output\ndata: {json.dumps(data)}\n\n".encode()
            with self.changed:
                while not (self.complete or self.written[seen:]):
                    self.changed.wait()
                new = self.written[seen:]
            if not new:
                return
            seen += len(new)
            events = [line for line in new if wanted in (line[0], "output")]

    def kill(self, number=signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(self.popen.pid, number)


class OldDaemon(Server):
    """The routes of one sandbox, without the proxy that checks the key."""

    api_key = Secret("any-key")

    def __init__(self):
        self.processes = []
        self.began = time.monotonic()
        super().__init__(answer=self.answer)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
        for process in self.processes:
            process.kill()
            process.reaper.join()

    def answer(self, request):
        path = urlsplit(request.path).path.removeprefix("/api/v1/")
        for pattern, methods in ROUTES.items():
            if match := re.fullmatch(pattern, path):
                if request.method not in methods:
                    return reply(405, Allow="POST,GET,HEAD")
                try:
                    return methods[request.method](self, request, *match.groups())
                except Rejected as rejected:
                    return rejected.args[0]
                except FileNotFoundError as error:
                    message = f"File not found: {error.filename}"
                    return as_json(404, {"error": message, "code": "NOT_FOUND"})
                except OSError as error:
                    return as_json(500, {"error": str(error), "code": "INTERNAL_ERROR"})
        return reply(404)

    def health(self, _request):
        return as_json(200, {"healthy": True})

    def info(self, _request):
        running = sum(one.is_running() for one in self.processes)
        counts = {"running_processes": running, "total_processes": len(self.processes)}
        uptime = int(time.monotonic() - self.began)
        return as_json(200, {"version": "0.1.0", "uptime_secs": uptime, **counts})

    def rows(self, _request):
        rows = [one.row for one in self.processes]
        rows.sort(key=lambda row: str(row["pid"])[::-1])
        return as_json(200, {"processes": rows})

    def start(self, request):
        spec = fields_of(request, "command", str)
        try:
            process = Process(spec)
        except (OSError, ValueError):
            return as_json(500, {"error": "Failed to spawn process"})
        self.processes.append(process)
        answer = as_json(201, process.row)
        process.reaper.start()
        return answer

    def with_pid(self, pid):
        """Return a list of the newest process with this pid; the list is empty without one."""
        if not pid.isdigit() or int(pid) >= 2**32:
            raise Rejected(text(400, f'Invalid URL: Cannot parse `"{pid}"` to a `u32`'))
        return [one for one in self.processes if one.popen.pid == int(pid)][-1:]

    def find(self, pid):
        if found := self.with_pid(pid):
            return found[0]
        raise Rejected(as_json(404, {"error": f"Process {pid} not found", "code": "NOT_FOUND"}))

    def find_running(self, pid, status):
        """Return the process with this pid, or reject the request with this status if it ended."""
        process = self.find(pid)
        if not process.is_running():
            raise Rejected(as_json(status, {"error": f"Process {pid} is not running"}))
        return process

    def row(self, _request, pid):
        return as_json(200, self.find(pid).row)

    def kill(self, _request, pid):
        self.find_running(pid, 500).kill()
        return reply(204)

    def signal(self, request, pid):
        number = fields_of(request, "signal", int)["signal"]
        process = self.find_running(pid, 400)
        if number not in set(signal.Signals):
            return as_json(400, {"error": "Invalid signal number"})
        process.kill(number)
        return as_json(200, {"success": True})

    def write_stdin(self, request, pid):
        pipe = self.find(pid).popen.stdin
        error = {"error": "Process stdin is not writable", "code": "STDIN_NOT_WRITABLE"}
        if pipe is None:
            return as_json(400, error)
        try:
            pipe.write(request.body)
            pipe.flush()
        except (OSError, ValueError):
            return as_json(400, {**error, "error": "Process stdin is closed"})
        return reply(204)

    def close_stdin(self, _request, pid):
        process = self.find(pid)
        if process.popen.stdin is None:
            return as_json(400, {"error": "Process stdin is not writable"})
        process.close_stdin()
        return reply(204)

    def output(self, _request, pid, wanted):
        lines = [line for process in self.with_pid(pid) for _, line in process.lines(wanted)]
        return as_json(200, {"pid": int(pid), "lines": lines, "line_count": len(lines)})

    def follow(self, _request, pid, wanted):
        stream = {"Content_Type": "text/event-stream", "Cache_Control": "no-cache"}
        head = reply(**stream, Content_Length=None, Transfer_Encoding="chunked")
        streams = [process.follow(wanted) for process in self.with_pid(pid)]
        events = itertools.chain(*streams, [EOF, b""])
        return itertools.chain([head], map(chunk, events))

    def file(self, request):
        path = path_of(request)
        if request.method == "GET":
            if path.is_dir():
                return as_json(400, {"error": "Path is a directory", "code": "IS_DIRECTORY"})
            return reply(200, path.read_bytes(), Content_Type="application/octet-stream")
        if request.method == "PUT":
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(request.body)
        else:
            path.unlink()
        return reply(204)

    def folder(self, request):
        path = path_of(request)
        if path.exists() and not path.is_dir():
            return as_json(400, {"error": "Path is not a directory", "code": "NOT_A_DIRECTORY"})
        entries = [entry_of(each) for each in path.iterdir()]
        entries.sort(key=lambda entry: (not entry["is_dir"], entry["name"]))
        return as_json(200, {"path": str(path), "entries": entries})


def fields_of(request, needed, kind):
    """Return the fields of a body, or reject the body as the framework does."""
    if request.headers.get("content-type") != "application/json":
        raise Rejected(text(415, "Expected request with `Content-Type: application/json`"))
    try:
        fields = json.loads(request.body)
    except ValueError as error:
        message = f"Failed to parse the request body as JSON: {error}"
        raise Rejected(text(400, message)) from None
    if not isinstance(fields.get(needed), kind):
        problem = "Failed to deserialize the JSON body into the target type: .: missing field"
        raise Rejected(text(422, f"{problem} `{needed}` at line 1 column {len(request.body)}"))
    return fields


def path_of(request):
    path = Path(parse_qs(urlsplit(request.path).query)["path"][0])
    if ".." in path.parts:
        error = {"error": "Path traversal not allowed", "code": "PATH_TRAVERSAL"}
        raise Rejected(as_json(403, error))
    return path


def entry_of(path):
    found = path.lstat()
    is_dir = stat.S_ISDIR(found.st_mode)
    size = None if is_dir else found.st_size
    modified_at = int(found.st_mtime * 1000)
    return {"name": path.name, "is_dir": is_dir, "size": size, "modified_at": modified_at}


ROUTES = {
    "health": {"GET": OldDaemon.health},
    "info": {"GET": OldDaemon.info},
    "processes": {"GET": OldDaemon.rows, "POST": OldDaemon.start},
    "processes/([^/]+)": {"GET": OldDaemon.row, "DELETE": OldDaemon.kill},
    "processes/([^/]+)/signal": {"POST": OldDaemon.signal},
    "processes/([^/]+)/stdin": {"POST": OldDaemon.write_stdin},
    "processes/([^/]+)/stdin/close": {"POST": OldDaemon.close_stdin},
    "processes/([^/]+)/(stdout|stderr|output)": {"GET": OldDaemon.output},
    "processes/([^/]+)/(stdout|stderr|output)/follow": {"GET": OldDaemon.follow},
    "files": dict.fromkeys(("GET", "PUT", "DELETE"), OldDaemon.file),
    "files/list": {"GET": OldDaemon.folder},
}
