"""A made-up Docker Engine API, as much as docker-py and testcontainers-python call. `python fakedocker.py PORT`.
The image name picks the scenario; a container's clock starts when it is started."""

import json
import re
import struct
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CONTAINERS = {}
RUN = dict(Status="running", Running=True, ExitCode=0, OOMKilled=False)


def ended(code, oom=False):
    return dict(Status="exited", Running=False, ExitCode=code, OOMKilled=oom)


def state(image, t):
    """(state, restart count, stdout, stderr); None: no such container; 502: the API is ill."""
    name = image.split(":")[0]
    loaded = "shard 1/8 loaded\nshard 2/8 loaded\n"
    if name == "job-oom":
        return (RUN if t < 0.3 else ended(137, True)), 0, loaded, ""
    if name == "job-exit3":
        return (
            (RUN if t < 0.3 else ended(3)),
            0,
            loaded,
            "ValueError: bad shard\n" if t >= 0.3 else "",
        )
    if name == "job-runs":
        return RUN, 0, loaded, ""
    if name == "server-ended":
        return ended(0), 0, "", ""
    if name == "job-vanishes":
        return (RUN, 0, loaded, "") if t < 2.1 else None
    if name == "job-502":
        return 502
    if name == "web-restarts":
        return (
            (RUN if t < 0.3 else ended(137, True) | {"Status": "restarting"} if t < 0.8 else RUN),
            int(t >= 0.8),
            "",
            "",
        )
    if name == "api":
        return RUN, 0, "ready\n", ""
    raise KeyError(image)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def log_message(self, *a):
        pass

    def answer(self, status, body=b"", kind="application/json"):
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def read(self):
        return json.loads(self.rfile.read(int(self.headers.get("content-length") or 0)) or b"{}")

    def do_POST(self):
        path, body = re.sub(r"^/v[0-9.]+", "", self.path), self.read()
        if path.startswith("/containers/create"):
            cid = f"{len(CONTAINERS) + 1:02x}" * 32
            CONTAINERS[cid] = {"image": body["Image"], "t0": time.monotonic()}
            return self.answer(201, {"Id": cid, "Warnings": []})
        cid = path.split("/")[2]
        if path.endswith("/start"):
            CONTAINERS[cid]["t0"] = time.monotonic()
            return self.answer(204)
        if path.split("?")[0].endswith("/wait"):
            while True:
                now, *_ = state(CONTAINERS[cid]["image"], time.monotonic() - CONTAINERS[cid]["t0"])
                if not now["Running"]:
                    return self.answer(200, {"StatusCode": now["ExitCode"]})
                time.sleep(0.01)
        self.answer(404, {"message": "page not found"})

    def do_DELETE(self):
        self.answer(204)

    def do_GET(self):
        path, _, query = re.sub(r"^/v[0-9.]+", "", self.path).partition("?")
        if path == "/version":
            return self.answer(
                200, {"ApiVersion": "1.47", "MinAPIVersion": "1.24", "Version": "27.0"}
            )
        if path == "/_ping":
            return self.answer(200, b"OK", "text/plain")
        if path.startswith("/images/"):
            return self.answer(200, {"Id": "sha256:1", "RepoTags": []})
        cid = path.split("/")[2]
        box = CONTAINERS[cid]
        t = time.monotonic() - box["t0"]
        now = state(box["image"], t)
        if now == 502 and not box.get("seen"):  # the look that create() takes is answered
            box["seen"] = True
            now = RUN, 0, "", ""
        if now == 502:
            return self.answer(502, {"message": "connection refused"})
        if now is None:
            return self.answer(404, {"message": f"No such container: {cid}"})
        st, restarts, out, err = now
        if path.endswith("/json"):
            return self.answer(
                200,
                {
                    "Id": cid,
                    "Name": "/job",
                    "Image": box["image"],
                    "RestartCount": restarts,
                    "State": {**st, "Error": ""},
                    "Config": {"Tty": False, "Labels": {}},
                    "HostConfig": {"LogConfig": {"Type": "json-file"}},
                    "NetworkSettings": {"Ports": {}, "Networks": {}},
                },
            )
        if path.endswith("/logs"):
            frames = b""
            for flag, stream, text in (("stdout=1", 1, out), ("stderr=1", 2, err)):
                if flag in query and text:
                    frames += struct.pack(">BxxxL", stream, len(text)) + text.encode()
            return self.answer(200, frames, "application/vnd.docker.raw-stream")
        self.answer(404, {"message": "page not found"})


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
