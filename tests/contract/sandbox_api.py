"""A plain HTTP client of the sandbox API, which does not use the package."""

import itertools
import json
import time

import requests

JSON, TEXT = "application/json", "text/plain; charset=utf-8"
NOT_JSON = "Failed to parse the request body as JSON: "
OTHER_FIELDS = "Failed to deserialize the JSON body into the target type: "
OTHER_TYPE = "Expected request with `Content-Type: application/json`"
HANDSHAKE = {"Connection": "Upgrade", "Upgrade": "websocket"}
HANDSHAKE |= {"Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}

NOT_SOON = {"initial_backoff_ms": 60_000, "max_backoff_ms": 60_000}
SOON = {"initial_backoff_ms": 10, "max_backoff_ms": 10}


def health_check(**fields):
    """Return a frequent health check of a port that no program listens on."""
    often = {"initial_delay_ms": 0, "interval_ms": 20, "failure_threshold": 2}
    return {"type": "tcp", "port": 9, **often, **fields}


def until(probe, seconds=30):
    """Call ``probe`` until its result is truthy, and return the result."""
    deadline = time.monotonic() + seconds
    while not (answer := probe()):
        assert time.monotonic() < deadline, f"no answer within {seconds} s"
        time.sleep(0.005)
    return answer


def outcome(row):
    """Return the status, the exit code, the signal and the OOM flag of a row."""
    return row["status"], row["exit_code"], row["signal"], row.get("oom_killed") or False


def refusal(answer):
    """Return the status, the error and the code of a rejected request."""
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert set(body) <= {"error", "code"}
    return answer.status_code, body["error"], body.get("code")


def events(answer):
    """Yield the name (None without a name) and the data of each server-sent event as it arrives."""
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream")
    name = None
    for line in answer.iter_lines(chunk_size=None, delimiter=b"\n"):
        field, _, value = line.partition(b": ")
        if field == b"event":
            name = value.decode()
        elif field == b"data":
            yield name, json.loads(value)
            name = None


def flat(row):
    """Return the fields of a row and of its managed part in one dict; ``run`` is the row status."""
    managed = row.pop("managed")
    return {**row, "run": row["status"], **managed}


class SandboxApi:
    """Call the API of a sandbox with a plain HTTP client.

    Args:
        url: the base URL, without ``/api/v1``.
        key: the API key.
        headers: headers that each request needs to reach the sandbox.
        may_exceed_memory: whether a test may use all memory of the sandbox.

    """

    def __init__(self, url, key, headers=None, *, may_exceed_memory=False):
        self.url = url
        self.may_exceed_memory = may_exceed_memory
        self._names = itertools.count()
        self._session = requests.Session()
        self._session.trust_env = not url.startswith("http://127.")
        self._session.headers.update({"Authorization": f"Bearer {key}", **(headers or {})})

    def call(self, method, path, **options):
        return self._session.request(method, f"{self.url}/api/v1{path}", timeout=60, **options)

    def start_row(self, command, *args, **fields):
        body = {"command": command, "args": args, **fields}
        answer = self.call("POST", "/processes", json=body)
        assert answer.status_code == 201, answer.text
        return answer.json()

    def start(self, command, *args, **fields):
        return self.start_row(command, *args, **fields)["pid"]

    def send(self, pid, action, **body):
        return self.call("POST", f"/processes/{pid}/{action}", **body)

    def kill(self, pid):
        return self.call("DELETE", f"/processes/{pid}")

    def run(self, command, *args, **fields):
        """Start a program, wait until it ends, and return its row."""
        return self.ended(self.start(command, *args, **fields))

    def printed(self, command, *args, **fields):
        """Run a program to its end and return the lines of its stdout."""
        return self.lines(self.run(command, *args, **fields)["pid"])

    def get(self, pid):
        return self.call("GET", f"/processes/{pid}").json()

    def ended(self, pid):
        return until(lambda: (row := self.get(pid))["status"] != "running" and row)

    def is_alive(self, pid):
        """Return whether a process of the sandbox is alive, even one that is not listed."""
        script = f"case $(cut -d')' -f2 /proc/{pid}/stat) in ''|' Z'*) exit 1; esac"
        return self.run("sh", "-c", script)["exit_code"] == 0

    def lines(self, pid, stream="stdout", at_least=0):
        def read():
            return self.call("GET", f"/processes/{pid}/{stream}").json()["lines"]

        until(lambda: len(read()) >= at_least)
        return read()

    def follow(self, pid, stream="stdout"):
        """Yield the name and the data of each event of a stream."""
        return events(self.call("GET", f"/processes/{pid}/{stream}/follow", stream=True))

    def rows(self):
        return self.call("GET", "/processes").json()["processes"]

    def handshake(self, query, **headers):
        """Open a tunnel as a plain HTTP client; use the connection only once."""
        sent = {**HANDSHAKE, **headers}
        with self.call("GET", f"/tunnels/tcp{query}", headers=sent, stream=True) as answer:
            assert answer.status_code == 101 or answer.content is not None  # this reads the content
        self.close()
        return answer

    def new_name(self):
        """Return a name that no process of this sandbox has."""
        return f"contract-{time.time_ns()}-{next(self._names)}"

    def close(self):
        self._session.close()


class Managed:
    """A managed process with a unique name."""

    def __init__(self, api, name):
        self.api = api
        self.name = name

    def post(self, command="true", *args, **fields):
        body = {"command": command, "args": args, "name": self.name, **fields}
        return self.api.call("POST", "/processes", json=body)

    def start(self, script, **fields):
        answer = self.post("sh", "-c", script, **fields)
        assert answer.status_code == 201, answer.text
        return flat(answer.json())

    def restart(self):
        return self.api.send(self.name, "restart")

    def row(self):
        return flat(self.api.get(self.name))

    def when(self, **fields):
        """Wait until the row has these fields, and return the row."""
        return until(lambda: (row := self.row()).items() >= fields.items() and row)
