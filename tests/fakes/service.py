"""A fake of the Tensorlake service for one sandbox, written from the notes on its API.

Unlike the embedded sandbox, it keeps earlier runs of a managed process in the list, lists the newest
first, counts a restart when the supervisor begins to back off, sends no stream, has no files, and
does not know which process has a port.
"""

from __future__ import annotations

import json
import signal
import socket
import threading

from tests.fakes.daemon import NOT_FOUND, Daemon

KEY = "tl_apiKey_of_the_fake"


class Service(Daemon):
    """The routes of one sandbox."""

    key = KEY

    def __init__(self):
        super().__init__()
        self.handle = 0
        self.supervised = {}  # the spec and the supervisor of each process

    def begin(self, spec, managed=None):
        with self.lock:
            if managed is not None and managed["status"] == "stopped":
                return None  # it was stopped while it backed off
            process = super().begin(spec)
            self.handle += 1
            if managed is not None:
                managed["status"] = "running"
            process.row |= {"handle": self.handle, "managed": managed}
            self.supervised[process] = spec, managed
            return process

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
        return 201, self.begin(spec, managed).row

    def end(self, process, how):
        with self.lock:
            process.row |= how
            spec, managed = self.supervised[process]
            if managed is not None:
                self.supervise(process.row, spec, managed)

    def supervise(self, last, spec, managed):
        policy = managed["restart"]["policy"]
        failed = last["exit_code"] != 0
        again = policy == "always" or (policy == "on_failure" and failed)
        ended = {name: last[name] for name in ("exit_code", "signal", "ended_at")}
        managed["last_exit"] = {**ended, "oom_killed": False}
        if managed["status"] == "stopped" or not again:
            managed["status"] = "stopped"
            return
        last["managed"] = json.loads(json.dumps(managed))  # the old row stays as it is
        managed |= {"status": "backing_off", "restart_count": managed["restart_count"] + 1}
        pause = managed["restart"]["initial_backoff_ms"] / 1000
        threading.Timer(pause, self.begin, [spec, managed]).start()

    def listed(self):
        return reversed(self.processes)

    def find(self, key):
        """Return the newest process with this pid or name, or an answer."""
        named = [
            one
            for one, (_, managed) in self.supervised.items()
            if managed and managed["name"] == key
        ]
        if named or key.isdigit():
            return named[-1] if named else super().find(key)
        return 404, {"error": f"Process {key} not found", "code": "NOT_FOUND"}

    def answer(self, method, path, query, headers, body):
        if path == "/tunnels/tcp":
            return self.tunnel(int(query["port"][0]))
        if path.startswith("/files") or path.endswith("/follow"):
            return NOT_FOUND
        return super().answer(method, path, query, headers, body)

    @staticmethod
    def tunnel(port):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            return 502, {"error": "dial failed", "code": "UPSTREAM"}
        return 101, None

    def remove(self, process):
        _, managed = self.supervised[process]
        if managed is None:
            return super().remove(process)
        managed["status"] = "stopped"
        process.kill(signal.SIGTERM)
        return 204, None
