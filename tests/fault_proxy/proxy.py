"""A proxy with real sockets that injects faults into the sandbox API."""

import contextlib
import http.client
import json
import secrets
import threading
import time
from collections import deque
from dataclasses import dataclass
from urllib.parse import urlsplit

from pytest_tlsandbox.redact import Secret
from tests.client.servers import Server, bind, chunk, reply
from tests.fault_proxy.faults import Fault, Reply

_UPSTREAM_SECONDS = 20.0  # a silent stream sends a comment every 15 s


@dataclass
class _Stage:
    """One fault and its duration: seconds from its start, or a number of requests."""

    fault: Fault
    seconds: float | None = None
    times: int | None = None
    only: str = ""
    until: float | None = None


class FaultProxy(contextlib.AbstractContextManager):
    """Serves the sandbox API at ``url``, and fails on request.

    It forwards all requests to ``sandbox`` (an embedded one), and streams as they arrive. Without a
    sandbox, it answers each list call with ``processes`` (rows as the API sends them), and every
    other call with 404. Pass it to ``tlsandbox_connect`` like a sandbox. With ``tls`` it uses https.

    Attributes:
        url: its address, ``http://127.0.0.1:<port>``.
        api_key, identifier: the key and the name of the first sandbox behind it.
        sandbox: the sandbox behind it; set another one to replace it under the same name and key.
        processes: the rows of its answers if there is no sandbox.
        follow: answers the requests for streams, also during a fault: a function that returns the
            script for a request and the script that would forward it; None for none.
        requests: method and path of each request, in order.

    """

    def __init__(self, sandbox=None, *, processes=(), tls=None):
        self.sandbox = sandbox
        self.processes = list(processes)
        self.follow = None
        self.api_key = sandbox.api_key if sandbox else Secret(secrets.token_urlsafe())
        self.identifier = sandbox.identifier if sandbox else "fault-proxy"
        self.requests = []
        self._tls = tls
        self._lock = threading.RLock()
        self._stages = deque()
        self._closed = False
        self._refusing = None
        self._server = self._listen(bind())
        self.url = self._server.url

    def __exit__(self, *_):
        """Stop listening, and end every connection."""
        with self._lock:
            self._closed = True
            self._stages.clear()
            self._server.stop()
            if self._refusing is not None:
                self._refusing.close()

    def fail(self, fault, **how_long):
        """Inject this fault into every request from now on, instead of earlier faults.

        ``seconds``, ``times``: stop after this time, or after this number of requests. ``only``:
        affect requests whose method and path contain this text, such as "POST" or "/signal".
        """
        self.recover()
        return self.then(fault, **how_long)

    def then(self, fault, **how_long):
        """Inject this fault after the earlier ones are over."""
        with self._lock:
            self._stages.append(_Stage(fault, **how_long))
            self._settle()
        return self

    def recover(self):
        """Forward all requests again."""
        with self._lock:
            self._stages.clear()
            self._settle()

    def _settle(self):
        """End the stages that are over, and listen or refuse as the current one requires."""
        with self._lock:
            now = begins = time.monotonic()
            while self._stages:
                stage = self._stages[0]
                if stage.until is None and stage.seconds is not None:
                    stage.until = begins + stage.seconds
                if stage.times != 0 and (stage.until is None or now < stage.until):
                    break
                # A busy machine may do this late, but the next stage does not end later.
                begins = now if stage.until is None else min(now, stage.until)
                self._stages.popleft()
            refuses = bool(self._stages) and stage.fault.refuses
            if refuses and self._refusing is None:
                self._server.stop()
                self._refusing = bind(port=self._server.port)
            elif not refuses and self._refusing is not None and not self._closed:
                self._server, self._refusing = self._listen(self._refusing), None
            if (
                refuses and stage.until is not None
            ):  # no request will arrive that could end the stage
                timer = threading.Timer(stage.until - now, self._settle)
                timer.daemon = True
                timer.start()

    def _listen(self, listener):
        return Server(answer=self._answer, tls=self._tls, listener=listener)

    def _fault_of(self, line):
        with self._lock:
            self.requests.append(line)
            self._settle()
            if not self._stages or self._stages[0].only not in line:
                return None
            stage = self._stages[0]
            if stage.times is not None:
                stage.times -= 1
            return stage.fault

    def _answer(self, request):
        """Return the script of one request."""
        line = f"{request.method} {request.path}"
        is_stream = self.sandbox is not None and request.path.endswith("/follow")
        if is_stream and self.follow is not None:
            self.requests.append(line)
            return self.follow(request, self._stream(request))
        fault = self._fault_of(line)
        if fault is None:
            return self._stream(request) if is_stream else [self._ask(request).whole()]
        return fault.script(lambda: self._ask(request))

    def _ask(self, request):
        if self.sandbox is None:
            if (request.method, request.path) != ("GET", "/api/v1/processes"):
                return Reply(404, b"")
            body = json.dumps({"processes": self.processes}).encode()
            return Reply(200, body, {"Content-Type": "application/json"})
        with self._forwarded(request) as answer:
            return Reply(answer.status, answer.read(), _kept(answer))

    def _stream(self, request):
        with self._forwarded(request) as answer:
            chunked = {"Content_Length": None, "Transfer_Encoding": "chunked"}
            yield reply(answer.status, **_kept(answer), **chunked)
            while data := answer.read1(2**16):
                yield chunk(data)
            yield chunk(b"")

    @contextlib.contextmanager
    def _forwarded(self, request):
        address = urlsplit(self.sandbox.url)
        upstream = http.client.HTTPConnection(
            address.hostname, address.port, timeout=_UPSTREAM_SECONDS
        )
        headers = dict(request.headers)
        if headers.get("authorization") == f"Bearer {self.api_key.reveal()}":
            headers["authorization"] = f"Bearer {self.sandbox.api_key.reveal()}"
        with contextlib.closing(upstream):
            upstream.request(request.method, request.path, request.body, headers)
            yield upstream.getresponse()


def _kept(answer):
    """Return the headers that matter."""
    names = "allow", "content-type", "date", "retry-after"
    return {name: value for name, value in answer.getheaders() if name.lower() in names}
