"""A made-up sandbox: lists scripted processes over HTTP. `python fakebox.py PORT`; POST /_scenario/NAME starts a scenario's clock."""

import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from scenarios import listing

DELAY = float(
    os.environ.get("FAKEBOX_DELAY", "0.06")
)  # what one call through a real proxy takes, about
STATE = {"name": "4-running", "t0": time.monotonic()}
PAGE = """<!doctype html><title>processes</title><table><tbody id=list></tbody></table><script>
async function look() {
  try {
    const r = await fetch('/api/v1/processes');
    if (!r.ok) throw new Error('502');
    document.getElementById('list').innerHTML = (await r.json()).processes.map(p =>
      `<tr><td class=command>${p.command} ${p.args.join(' ')}</td><td class=status>${p.status}${p.exit_code === null ? '' : ' ' + p.exit_code}</td></tr>`).join('');
  } catch (e) {}
  setTimeout(look, 50);
}
look();</script>"""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # one packet an answer
    disable_nagle_algorithm = True

    def log_message(self, *a):
        pass

    def answer(self, status, body, kind="application/json"):
        body = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        STATE.update(name=self.path.rsplit("/", 1)[1], t0=time.monotonic())
        self.answer(200, {})

    def do_GET(self):
        time.sleep(DELAY)
        if self.path == "/":
            return self.answer(200, PAGE, "text/html")
        if not self.path.startswith("/api/v1/processes"):
            return self.answer(404, {"error": "no route"})
        found = listing(STATE["name"], time.monotonic() - STATE["t0"])
        if found is None:
            return self.answer(
                502, {"error": "connection to sandbox refused", "code": "CONNECTION_REFUSED"}
            )
        pid = self.path.removeprefix("/api/v1/processes").strip("/")
        if not pid:
            return self.answer(200, {"processes": found})
        one = [p for p in found if str(p["pid"]) == pid]
        self.answer(200, one[0]) if one else self.answer(
            404, {"error": f"Process {pid} not found", "code": "NOT_FOUND"}
        )


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
