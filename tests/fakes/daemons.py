"""Other daemons: each is the embedded sandbox behind a proxy that changes its answers."""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from tests.client.servers import chunk
from tests.fault_proxy import FaultProxy
from tests.fault_proxy.faults import Reply


@dataclass(frozen=True)
class Change:
    """Other answers to the requests whose method and path match a pattern.

    ``body``: a pattern in the body, and what replaces it. ``status``: what replaces each status;
    None replaces the answer by an empty 404, as for an unknown route.
    """

    requests: str = "/processes"
    body: tuple[bytes, bytes] | None = None
    status: Mapping[int, int] | None = field(default_factory=dict)


class ChangedDaemon(FaultProxy):
    """A proxy in front of the embedded sandbox that makes some changes to its answers."""

    listed = None
    """A method of a subclass that returns the rows to list instead of the given rows."""

    def __init__(self, sandbox, *changes):
        self.changes = changes
        super().__init__(sandbox)

    def _changes_of(self, request):
        line = f"{request.method} {request.path}"
        return [change for change in self.changes if re.search(change.requests, line)]

    def _ask(self, request):
        reply = super()._ask(request)
        for change in self._changes_of(request):
            if change.status is None:
                return Reply(404, b"")
            status = change.status.get(reply.status, reply.status)
            reply = replace(reply, status=status, body=_changed(reply.body, change))
        if self.listed and (request.method, request.path) == ("GET", "/api/v1/processes"):
            rows = self.listed(json.loads(reply.body)["processes"])
            return replace(reply, body=json.dumps({"processes": rows}).encode())
        return reply

    def _stream(self, request):
        changes = self._changes_of(request)
        if any(change.status is None for change in changes):
            yield self._ask(request).whole()
            return
        for part in super()._stream(request):
            for change in changes:
                part = _changed(part, change)
            yield part


def _changed(data, change):
    if change.body is None:
        return data
    changed = re.sub(*change.body, data)
    head, _, rest = changed.partition(b"\r\n")
    is_chunk = changed != data and re.fullmatch(rb"[0-9a-f]+", head)
    return chunk(rest.removesuffix(b"\r\n")) if is_chunk else changed


MANAGED = rb',"managed":\{([^{}]|\{[^{}]*\})*\}'


class OldDaemon(ChangedDaemon):
    """The open-source daemon of March 2026, as its answers were captured (api-notes).

    It knows neither handles nor names, managed processes or OOM flags. It checks no key, lists rows
    in any order, stops capturing at invalid UTF-8, and sends ``eof`` late if a descendant holds the
    pipe.
    """

    pipe_grace = 1.8
    """Seconds for which it waits for more output after the end of a process, a little shortened."""

    def __init__(self, sandbox):
        super().__init__(
            sandbox,
            Change(body=(rb'"(handle|oom_killed)":\w+,', b"")),
            Change(body=(MANAGED, b"")),
            Change("/processes/[a-z][^/]*$", (b'^{"error".*', b"Invalid URL"), {404: 400}),
            Change("/restart$|/processes/run$|/tunnels", status=None),
            Change("/output$|/stdout$|/stderr$", (rb'(,"[^"]*\xef\xbf\xbd.*")\]', b"]")),
        )

    def _forwarded(self, request):
        request.headers["authorization"] = f"Bearer {self.api_key.reveal()}"
        return super()._forwarded(request)

    def _ask(self, request):
        reply = super()._ask(request)
        allow = {"Allow": "GET,HEAD,POST"} if reply.status == 405 else {}
        return replace(reply, headers={**reply.headers, **allow})

    def listed(self, rows):
        return sorted(rows, key=lambda row: zlib.crc32(b"%d" % row["pid"]))

    def _stream(self, request):
        group = int(request.path.split("/")[4])
        for part in super()._stream(request):
            until = time.monotonic() + self.pipe_grace
            with contextlib.suppress(ProcessLookupError):  # no descendant is left
                while b"event: eof" in part and time.monotonic() < until:
                    os.killpg(group, 0)
                    time.sleep(0.02)
            yield part


class OtherLayout(ChangedDaemon):
    """A service whose list has another layout than the list of the embedded sandbox.

    It keeps earlier runs of a managed process in the list, lists the newest run first, counts a
    restart when the supervisor begins to back off, sends no streams, has no files, and does not
    know which process has a port.
    """

    def __init__(self, sandbox):
        super().__init__(sandbox, Change("/follow$|/files", status=None))
        self._rows = {}

    def _forwarded(self, request):
        request.headers.pop("x-tlsandbox-process", None)
        return super()._forwarded(request)

    def listed(self, rows):
        current = {row["managed"]["id"]: row for row in rows if "managed" in row}
        for row in current.values():
            row["managed"]["restart_count"] += row["managed"]["status"] == "backing_off"
        self._rows |= {row["handle"]: row for row in rows}
        for row in [*self._rows.values()]:
            if row["status"] == "running" and row not in rows:
                _end(row, current[row["managed"]["id"]])
        return [self._rows[handle] for handle in sorted(self._rows, reverse=True)]


def _end(row, successor):
    """Show in the row of an earlier run how the run ended."""
    stopped = {"exit_code": None, "signal": 15, "ended_at": successor["started_at"]}
    row |= successor["managed"]["last_exit"] or stopped
    row["status"] = "exited" if row["signal"] is None else "signaled"
