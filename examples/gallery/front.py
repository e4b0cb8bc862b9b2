"""A server in front of the embedded sandbox that fakes failures of a sandbox and of the network.

A fake, and the only one here: it passes requests on to the real processes behind it, and changes
the answers on their way back.
"""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import requests


class Front:
    """Serves the answers of the sandbox behind it at ``url``, changed by ``spoil`` if it is set.

    ``spoil`` takes a status and a body (as an object), and returns the answer to send instead.
    """

    identifier = "my-sandbox"

    def __init__(self, sandbox):
        self.api_key = sandbox.api_key
        self.spoil = None
        front = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def pass_on(self):
                size = int(self.headers.get("Content-Length") or 0)
                answer = requests.request(
                    self.command,
                    sandbox.url + self.path,
                    data=self.rfile.read(size),
                    headers={
                        "Content-Type": "application/json",
                        "Authorization": self.headers["Authorization"],
                    },
                    timeout=10,
                )
                status, body = answer.status_code, answer.json() if answer.content else None
                if front.spoil is not None and self.command == "GET":
                    status, body = front.spoil(status, body)
                content = (
                    b""
                    if body is None
                    else body
                    if isinstance(body, bytes)
                    else json.dumps(body).encode()
                )
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_DELETE = pass_on  # noqa: N815 - the names http.server asks for

            def log_message(self, *args):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def answer(self, status, body):
        """Answer every list call with this from now on."""
        self.spoil = lambda *_: (status, body)

    def close(self):
        self._server.shutdown()
        self._server.server_close()
