"""A deliberately wrong daemon: the embedded sandbox behind a proxy that changes its answers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.client.servers import chunk
from tests.fault_proxy import FaultProxy
from tests.fault_proxy.faults import Reply


@dataclass(frozen=True)
class Wrong:
    """A wrong daemon: ``local`` with other answers to the requests whose method and path match.

    ``body``: a pattern in the body, and what replaces it. ``status``: what replaces each status.
    """

    fact: str
    requests: str = "/processes"
    body: tuple[bytes, bytes] | None = None
    status: Mapping[int, int] = field(default_factory=dict)


class WrongDaemon(FaultProxy):
    """A proxy in front of ``local`` that changes its answers."""

    def __init__(self, sandbox, wrong):
        self.wrong = wrong
        super().__init__(sandbox)

    def _ask(self, request):
        good = super()._ask(request)
        status = self.wrong.status.get(good.status, good.status)
        return Reply(status, self.changed(good.body), good.headers) if self.means(request) else good

    def _stream(self, request):
        head, *chunks = super()._stream(request)
        return [head, *map(self.changed, chunks)] if self.means(request) else [head, *chunks]

    def means(self, request):
        return re.search(self.wrong.requests, f"{request.method} {request.path}")

    def changed(self, data):
        if self.wrong.body is None:
            return data
        pattern, other = self.wrong.body
        changed = re.sub(pattern, other, data)
        head, _, rest = changed.partition(b"\r\n")
        is_chunk = changed != data and re.fullmatch(rb"[0-9a-f]+", head)
        return chunk(rest.removesuffix(b"\r\n")) if is_chunk else changed
