"""Daemons that are wrong, or have another layout: proxies that change the embedded sandbox's answers."""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections.abc import Callable, Mapping
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
    body: tuple[bytes, bytes | Callable[[re.Match[bytes]], bytes]] | None = None
    status: Mapping[int, int] | None = field(default_factory=dict)


class ChangedDaemon(FaultProxy):
    """A proxy in front of the embedded sandbox that makes some changes to its answers."""

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

    def _ask(self, request):
        reply = super()._ask(request)
        if (request.method, request.path) != ("GET", "/api/v1/processes"):
            return reply
        rows = self._listed(json.loads(reply.body)["processes"])
        return replace(reply, body=json.dumps({"processes": rows}).encode())

    def _listed(self, rows):
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


PIPE_GRACE = 2.0
"""Seconds for which the old daemon waits for output after the end of a process."""


class OldDaemon(ChangedDaemon):
    """The open-source daemon of March 2026, as captures of its answers show it (api-notes).

    It checks no key, knows no handles, managed processes, runs or tunnels, lists the newest row
    first, stops capturing at invalid UTF-8, and sends ``eof`` up to 2 s late if a descendant holds
    the pipe.
    """

    def __init__(self, sandbox):
        super().__init__(
            sandbox,
            Change("/restart$|/tunnels", status=None),
            Change("/run$", status={422: 405}),
            Change("/processes/[a-z-]+$", (rb".*", b"Invalid URL"), {404: 400}),
            Change(body=(rb'"handle":\d+,', b"")),
            Change("GET /api/v1/processes$", (rb"(?<=\[\{).*(?=\}\])", _backwards)),
            Change(
                "(stdout|output)$", (rb',"[^"]*(\xef\xbf\xbd|\\ufffd).*(?=\],"line_count)', b"")
            ),
            Change("/info", (rb',"memory":\{[^}]*\}', b"")),
        )

    def _forwarded(self, request):
        request.headers["authorization"] = f"Bearer {self.api_key.reveal()}"
        unknown = re.sub(rb'"(nam|restar|health_chec).":', rb'"\1_":', request.body)
        return super()._forwarded(replace(request, body=unknown))

    def _stream(self, request):
        for part in super()._stream(request):
            if b"event: eof" in part:
                _wait_for_group(int(request.path.split("/")[4]))
            yield part


def _backwards(rows):
    return b"},{".join(rows[0].split(b"},{")[::-1])


def _wait_for_group(pid):
    """Wait until no process of a group is left, for up to ``PIPE_GRACE``."""
    until = time.monotonic() + PIPE_GRACE
    with contextlib.suppress(OSError):
        while time.monotonic() < until:
            os.killpg(pid, 0)
            time.sleep(0.005)
