"""Managed processes: how they are started again, named, stopped, and asked for their health."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_tlsandbox.local.server import start_local_sandbox
from tests.local.openapi import document

from .conftest import HOG, Api, is_gone, until

if TYPE_CHECKING:
    from collections.abc import Iterator

QUICK = {"initial_backoff_ms": 1, "max_backoff_ms": 4}
NEVER_TWICE = {"initial_backoff_ms": 600_000, "max_backoff_ms": 600_000}


@pytest.fixture
def managed(api: Api, request: pytest.FixtureRequest) -> Iterator[Managed]:
    managed = Managed(api, request.node.name)
    yield managed
    managed.api.call("DELETE", managed.path)
    until(lambda: managed.row()["managed"]["status"] == "stopped")


class Managed:
    """A process of a name that no other test has."""

    def __init__(self, api: Api, test: str) -> None:
        self.api = api
        self.name = test.partition("[")[0]
        self.path = f"/processes/{self.name}"

    def start(self, script: str, **fields: Any) -> Any:
        body = {"command": "sh", "args": ["-c", script], "name": self.name, **fields}
        answer = self.api.call("POST", "/processes", json=body)
        assert answer.status_code == 201, answer.text
        return answer.json()

    def row(self) -> Any:
        return self.api.call("GET", self.path).json()

    def when(self, **fields: Any) -> Any:
        """Wait until the managed part of the row has these fields; give the row."""
        return until(lambda: (row := self.row())["managed"].items() >= fields.items() and row)

    def count_runs(self, tmp_path: Path, then: str) -> str:
        """Give a script that leaves a trace of each run."""
        self._runs = tmp_path / "runs"
        return f"echo >> {self._runs}; {then}"

    @property
    def runs(self) -> int:
        return len(self._runs.read_text())


def test_a_row_has_every_field_of_its_supervisor(managed: Managed) -> None:
    row = managed.start("exec sleep 600")
    assert row["status"] == "running"
    assert row["managed"] == {
        "id": managed.name,
        "name": managed.name,
        "status": "running",
        "restart_count": 0,
        "restart": {
            "policy": "on_failure",
            "max_restarts": None,
            "initial_backoff_ms": 500,
            "max_backoff_ms": 30000,
        },
        "health_check": None,
        "health_status": "disabled",
        "consecutive_health_failures": 0,
        "last_exit": None,
        "last_error": None,
        "next_restart_at": None,
    }
    assert managed.row() == row
    assert row in managed.api.call("GET", "/processes").json()["processes"]


def test_a_process_that_is_not_managed_has_no_such_field(api: Api, sleeper: int) -> None:
    assert "managed" not in api.get(sleeper)


@pytest.mark.parametrize("field", [{"restart": {}}, {"health_check": {"type": "tcp", "port": 1}}])
def test_without_a_name_it_is_managed_and_called_by_pid_only(api: Api, field: Any) -> None:
    pid = api.start("sleep", "600", **field)
    managed = api.get(pid)["managed"]
    assert managed["name"] is None
    assert api.call("GET", f"/processes/{managed['id']}").status_code == 404
    api.call("DELETE", f"/processes/{pid}")
    assert api.ended(pid)["managed"]["status"] == "stopped"


# -------------------------------------------------------------------- restarts


@pytest.mark.parametrize(
    ("policy", "script", "comes_back"),
    [
        ("never", "exit 3", False),
        ("on_failure", "exit 0", False),
        ("on_failure", "exit 3", True),
        ("on_failure", "kill -SEGV $$", True),
        ("always", "exit 0", True),
        ("always", "exit 3", True),
    ],
)
def test_the_policy_tells_which_end_is_followed_by_a_start(
    managed: Managed, policy: str, script: str, comes_back: bool
) -> None:
    managed.start(script, restart={"policy": policy, **NEVER_TWICE})
    row = managed.when(status="backing_off" if comes_back else "stopped")
    assert row["managed"]["restart_count"] == 0
    assert row["managed"]["last_error"] is None
    assert (row["managed"]["next_restart_at"] is not None) == comes_back


def test_while_backing_off_the_row_is_the_last_run_with_its_end(managed: Managed) -> None:
    started = managed.start("exit 3", restart=NEVER_TWICE)
    row = managed.when(status="backing_off")
    assert {key: row[key] for key in ("handle", "pid", "started_at")} == {
        key: started[key] for key in ("handle", "pid", "started_at")
    }
    assert (row["status"], row["exit_code"], row["signal"]) == ("exited", 3, None)
    assert row["managed"]["last_exit"] == {
        "exit_code": 3,
        "signal": None,
        "oom_killed": False,
        "ended_at": row["ended_at"],
    }
    assert row["managed"]["next_restart_at"] == pytest.approx(row["ended_at"] + 600_000, abs=500)


def test_the_next_run_takes_the_place_of_the_last_one(managed: Managed) -> None:
    first = managed.start("exec sleep 600", restart=QUICK)
    os.kill(first["pid"], signal.SIGKILL)
    row = managed.when(restart_count=1, status="running")
    assert row["pid"] != first["pid"]
    assert row["handle"] > first["handle"]
    assert row["started_at"] >= first["started_at"]
    assert (row["status"], row["ended_at"]) == ("running", None)
    assert row["managed"]["last_exit"]["signal"] == 9
    assert managed.api.call("GET", f"/processes/{first['pid']}").status_code == 404
    rows = managed.api.call("GET", "/processes").json()["processes"]
    assert [row["pid"] for row in rows if managed.name in str(row.get("managed"))] == [row["pid"]]


def test_the_limit_of_restarts_is_the_end(managed: Managed, tmp_path: Path) -> None:
    script = managed.count_runs(tmp_path, "exit 7")
    managed.start(script, restart={"max_restarts": 3, **QUICK})
    row = managed.when(status="stopped")
    assert managed.runs == 4
    assert (row["status"], row["exit_code"]) == ("exited", 7)
    assert row["managed"]["restart_count"] == 3
    assert row["managed"]["last_error"] == "restart limit reached"
    assert row["managed"]["next_restart_at"] is None


def test_the_backoff_doubles_between_its_limits(managed: Managed, tmp_path: Path) -> None:
    stamps = tmp_path / "stamps"
    backoff = {"initial_backoff_ms": 100, "max_backoff_ms": 300, "max_restarts": 4}
    managed.start(f"date +%s%N >> {stamps}; exit 1", restart=backoff)
    managed.when(status="stopped")
    times = [int(line) / 1e6 for line in stamps.read_text().split()]
    waits = [times[n + 1] - times[n] for n in range(4)]
    for wait, wanted in zip(waits, [100, 200, 300, 300], strict=True):
        assert wanted <= wait < wanted + 150


def test_a_run_that_was_longer_than_the_longest_wait_resets_the_backoff(
    managed: Managed, tmp_path: Path
) -> None:
    starts, ends = tmp_path / "starts", tmp_path / "ends"
    script = f"""
        date +%s%N >> {starts}
        [ $(wc -l < {starts}) -lt 3 ] || sleep 0.5
        date +%s%N >> {ends}
        exit 1
    """
    backoff = {"initial_backoff_ms": 100, "max_backoff_ms": 400, "max_restarts": 3}
    managed.start(script, restart=backoff)
    managed.when(status="stopped")
    last_start = int(starts.read_text().split()[3])
    end_before = int(ends.read_text().split()[2])
    assert 100 <= (last_start - end_before) / 1e6 < 300  # 400 without


def test_a_program_that_has_gone_is_tried_again_until_the_limit(
    managed: Managed, tmp_path: Path
) -> None:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\nrm $0; exit 1\n")
    program.chmod(0o755)
    restart = {"max_restarts": 2, **QUICK}
    managed.api.start(str(program), name=managed.name, restart=restart)
    row = managed.when(status="stopped")
    assert row["managed"]["restart_count"] == 0
    assert row["managed"]["last_error"] == "restart limit reached"


def test_what_a_run_has_left_behind_is_killed_before_the_next(managed: Managed) -> None:
    # A second between the runs: what is read in it is the output of the first.
    restart = {"policy": "always", "initial_backoff_ms": 1000, "max_backoff_ms": 1000}
    managed.start("sleep 600 & setsid sleep 600 & echo $!; exit 1", restart=restart)
    child = int(until(lambda: managed.api.call("GET", f"{managed.path}/stdout").json()["lines"])[0])
    assert not is_gone(child)
    managed.when(restart_count=1)
    until(lambda: is_gone(child))


def test_a_loop_of_oom_kills_shows_running_between_them_and_the_count_rises() -> None:
    with start_local_sandbox(memory_limit=64 << 20) as sandbox:
        api = Api(sandbox)
        body = {
            "command": "python",
            "args": ["-c", f"import time; time.sleep(0.4)\n{HOG}"],
            "name": "leaky",
            "restart": QUICK,
        }
        first = api.call("POST", "/processes", json=body).json()
        seen: list[Any] = []

        def look() -> Any:
            seen.append(api.call("GET", "/processes").json()["processes"])
            return seen[-1][0]["managed"]["restart_count"] >= 3

        until(look, seconds=20)
        api.close()
    assert all(len(rows) == 1 for rows in seen)
    counts = [rows[0]["managed"]["restart_count"] for rows in seen]
    assert counts == sorted(counts)
    running = [rows[0] for rows in seen if rows[0]["status"] == "running"]
    assert {row["managed"]["restart_count"] for row in running} >= {0, 1, 2}
    for row in running:
        assert (row["oom_killed"], row["signal"], row["ended_at"]) == (False, None, None)
        if row["managed"]["restart_count"]:
            assert row["pid"] != first["pid"]
            assert row["managed"]["last_exit"]["oom_killed"] is True
            assert row["managed"]["last_exit"]["signal"] == 9
    ended = [rows[0]["status"] for rows in seen if rows[0]["status"] != "running"]
    assert set(ended) <= {"oom_killed"}


# ------------------------------------------------------------ restarts by hand


def test_a_restart_ends_the_run_and_gives_the_next_one(managed: Managed) -> None:
    first = managed.start("trap 'exit 5' TERM; echo up; while :; do sleep 0.02; done")
    until(lambda: managed.api.lines(first["pid"]))
    answer = managed.api.call("POST", f"{managed.path}/restart")
    row = answer.json()
    assert (answer.status_code, row["status"]) == (200, "running")
    assert row["pid"] != first["pid"]
    assert row["managed"]["restart_count"] == 1
    assert row["managed"]["last_exit"]["exit_code"] == 5
    assert managed.row() == row
    assert is_gone(first["pid"])


def test_a_restart_does_not_wait_for_the_backoff(managed: Managed) -> None:
    managed.start("exit 1", restart=NEVER_TWICE)
    managed.when(status="backing_off")
    row = managed.api.call("POST", f"{managed.path}/restart").json()
    assert row["managed"]["restart_count"] == 1
    assert row["managed"]["next_restart_at"] is None


def test_a_restart_starts_a_stopped_one_and_its_limit_begins_anew(
    managed: Managed, tmp_path: Path
) -> None:
    script = managed.count_runs(tmp_path, "exit 1")
    managed.start(script, restart={"max_restarts": 1, **QUICK})
    managed.when(status="stopped", restart_count=1)
    assert managed.api.call("POST", f"{managed.path}/restart").status_code == 200
    managed.when(status="stopped", restart_count=3)
    assert managed.runs == 4


def test_while_it_is_restarted_it_never_shows_as_stopped(managed: Managed) -> None:
    managed.start("exec sleep 600")
    with ThreadPoolExecutor(1) as pool:
        other = Api(managed.api.sandbox)
        for _ in range(5):
            restart = pool.submit(other.call, "POST", f"{managed.path}/restart")
            while not restart.done():
                assert managed.row()["managed"]["status"] in ("running", "starting")
        other.close()


def test_restarts_at_once_are_done_one_after_the_other(managed: Managed) -> None:
    managed.start("exec sleep 600")
    apis = [Api(managed.api.sandbox) for _ in range(5)]
    with ThreadPoolExecutor(5) as pool:
        path = f"{managed.path}/restart"
        answers = list(pool.map(lambda api: api.call("POST", path), apis))
    assert [answer.status_code for answer in answers] == [200] * 5
    pids = {answer.json()["pid"] for answer in answers}
    assert len(pids) == 5
    assert sum(not is_gone(pid) for pid in pids) == 1
    assert managed.row()["managed"]["restart_count"] == 5
    for api in apis:
        api.close()


def test_a_restart_of_one_that_is_not_managed_is_refused(api: Api, sleeper: int) -> None:
    answer = api.call("POST", f"/processes/{sleeper}/restart")
    error = {"error": f"Process {sleeper} is not managed", "code": "NOT_MANAGED"}
    assert (answer.status_code, answer.json()) == (400, error)


def test_a_restart_of_an_unknown_one_is_404(api: Api) -> None:
    answer = api.call("POST", "/processes/nobody/restart")
    error = {"error": "Process nobody not found", "code": "NOT_FOUND"}
    assert (answer.status_code, answer.json()) == (404, error)


def test_a_restart_of_a_program_that_has_gone_is_500_and_the_end(
    managed: Managed, tmp_path: Path
) -> None:
    program = tmp_path / "program"
    program.symlink_to("/bin/sleep")
    managed.api.start(str(program), "600", name=managed.name)
    program.unlink()
    answer = managed.api.call("POST", f"{managed.path}/restart")
    assert (answer.status_code, answer.json()) == (500, {"error": "Failed to spawn process"})
    row = managed.when(status="stopped")
    assert row["managed"]["last_error"] == "Failed to spawn process"
    assert row["signal"] == signal.SIGTERM


# ------------------------------------------------------------------------ stop


def test_a_kill_lets_it_end_in_its_own_way_and_not_come_back(managed: Managed) -> None:
    script = "trap 'exit 5' TERM; echo up; while :; do sleep 0.02; done"
    pid = managed.start(script, restart={"policy": "always", **QUICK})["pid"]
    managed.api.lines(pid, at_least=1)
    assert managed.api.call("DELETE", managed.path).status_code == 204
    row = managed.when(status="stopped")
    assert (row["pid"], row["status"], row["exit_code"]) == (pid, "exited", 5)
    assert row["managed"]["restart_count"] == 0
    again = managed.api.call("DELETE", managed.path)
    error = {"error": f"Process {pid} is not running"}
    assert (again.status_code, again.json()) == (500, error)


def test_what_does_not_end_within_the_grace_is_killed_with_all_it_started(
    managed: Managed,
) -> None:
    script = "trap '' TERM; setsid sleep 600 & echo $!; while :; do sleep 0.02; done"
    pid = managed.start(script, stop_grace_ms=200)["pid"]
    child = int(managed.api.lines(pid, at_least=1)[0])
    began = time.monotonic()
    managed.api.call("DELETE", managed.path)
    assert managed.row()["managed"]["status"] == "running"
    row = managed.when(status="stopped")
    assert 0.2 <= time.monotonic() - began < 2
    assert (row["status"], row["signal"]) == ("signaled", 9)
    until(lambda: is_gone(child))


def test_a_kill_while_backing_off_is_the_end(managed: Managed) -> None:
    managed.start("exit 1", restart=NEVER_TWICE)
    managed.when(status="backing_off")
    assert managed.api.call("DELETE", managed.path).status_code == 204
    row = managed.row()
    assert (row["exit_code"], row["managed"]["status"]) == (1, "stopped")
    assert row["managed"]["next_restart_at"] is None


def test_a_signal_is_not_a_stop(managed: Managed) -> None:
    managed.start("exec sleep 600", restart=QUICK)
    managed.api.call("POST", f"{managed.path}/signal", json={"signal": 15})
    row = managed.when(status="running", restart_count=1)
    assert row["managed"]["last_exit"]["signal"] == 15


# ----------------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("name", "segment"),
    [
        ("web 1", "web%201"),
        ("100%", "100%25"),
        ("%2F", "%252F"),
        ("übung", "%C3%BCbung"),
        ("a?b#c", "a%3Fb%23c"),
        ("-1", "-1"),
        ("1.0", "1.0"),
        ("run", "run"),
        ("x" * 300, "x" * 300),
    ],
)
def test_a_name_stands_in_a_path_percent_encoded(api: Api, name: str, segment: str) -> None:
    pid = api.start("sleep", "600", name=name)
    assert api.call("GET", f"/processes/{segment}").json()["pid"] == pid
    assert api.call("GET", f"/processes/{segment}/stdout").json()["pid"] == pid
    assert api.call("DELETE", f"/processes/{segment}").status_code == 204
    assert api.ended(pid)["signal"] == signal.SIGTERM


@pytest.mark.parametrize("name", ["", "a/b", "/", "0", "41", "00"])
def test_a_name_that_is_none_is_refused(api: Api, name: str) -> None:
    answer = api.call("POST", "/processes", json={"command": "true", "name": name})
    error = f"Invalid process name '{name}': not empty, no '/', and not digits only"
    expected = {"error": error, "code": "INVALID_PROCESS_NAME"}
    assert (answer.status_code, answer.json()) == (400, expected)


@pytest.mark.parametrize("segment", ["nobody", "a%2Fb", "50%25", "-2"])
@pytest.mark.parametrize("rest", ["", "/stdout", "/output/follow"])
def test_a_name_that_nobody_has_is_404(api: Api, segment: str, rest: str) -> None:
    answer = api.call("GET", f"/processes/{segment}{rest}")
    name = {"a%2Fb": "a/b", "50%25": "50%"}.get(segment, segment)
    expected = {"error": f"Process {name} not found", "code": "NOT_FOUND"}
    assert (answer.status_code, answer.json()) == (404, expected)


def test_a_segment_that_is_no_utf8_is_400(api: Api) -> None:
    answer = api.call("GET", "/processes/%FF")
    assert (answer.status_code, answer.text) == (400, "Invalid URL: Invalid UTF-8 in `process`")


def test_a_name_in_use_is_409(managed: Managed) -> None:
    managed.start("exit 1", restart=NEVER_TWICE)
    managed.when(status="backing_off")
    total = managed.api.call("GET", "/info").json()["total_processes"]
    body = {"command": "true", "name": managed.name}
    answer = managed.api.call("POST", "/processes", json=body)
    error = {"error": f"Process '{managed.name}' already exists", "code": "ALREADY_EXISTS"}
    assert (answer.status_code, answer.json()) == (409, error)
    assert managed.api.call("GET", "/info").json()["total_processes"] == total


def test_of_many_starts_of_one_name_at_once_one_is_done(managed: Managed) -> None:
    body = {"command": "sleep", "args": ["600"], "name": managed.name}
    apis = [Api(managed.api.sandbox) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda api: api.call("POST", "/processes", json=body), apis))
    for api in apis:
        api.close()
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 7


def test_the_name_of_a_stopped_one_is_used_again_and_its_row_goes(managed: Managed) -> None:
    before = managed.start("exit 0")
    managed.when(status="stopped")
    after = managed.start("exec sleep 600")
    assert managed.row() == after
    assert (after["managed"]["restart_count"], after["managed"]["last_exit"]) == (0, None)
    pids = [row["pid"] for row in managed.api.call("GET", "/processes").json()["processes"]]
    assert (before["pid"] in pids, after["pid"] in pids) == (False, True)


def test_a_start_that_fails_leaves_the_name_as_it_was(managed: Managed) -> None:
    body = {"command": "/no/such/program", "name": managed.name}
    assert managed.api.call("POST", "/processes", json=body).status_code == 500
    assert managed.api.call("GET", managed.path).status_code == 404
    managed.start("exit 0")
    row = managed.when(status="stopped")
    assert managed.api.call("POST", "/processes", json=body).status_code == 500
    assert managed.row() == row


# ---------------------------------------------------------------------- health


SERVER = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/ready" else 503)
        self.end_headers()
    def log_message(self, *args): pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number: int = free.getsockname()[1]
        return number


def often(**check: Any) -> dict[str, Any]:
    return {"initial_delay_ms": 0, "interval_ms": 20, "failure_threshold": 2, **check}


@pytest.mark.parametrize("kind", [{"type": "http", "path": "/ready"}, {"type": "tcp"}])
def test_a_process_that_answers_is_healthy(managed: Managed, port: int, kind: Any) -> None:
    check = often(port=port, failure_threshold=1000, **kind)
    body = {"command": "python", "args": ["-c", SERVER, str(port)], "name": managed.name}
    row = managed.api.call("POST", "/processes", json={**body, "health_check": check}).json()
    assert row["managed"]["health_status"] == "starting"
    assert row["managed"]["health_check"] == {"path": None, "timeout_ms": 500, **check}
    row = managed.when(health_status="healthy")
    assert row["managed"]["consecutive_health_failures"] == 0


@pytest.mark.parametrize("kind", [{"type": "http"}, {"type": "http", "path": "/nope"}])
def test_a_process_that_answers_badly_is_unhealthy_and_goes_on(
    managed: Managed, port: int, kind: Any
) -> None:
    body = {"command": "python", "args": ["-c", SERVER, str(port)], "name": managed.name}
    check = often(port=port, **kind)
    pid = managed.api.call("POST", "/processes", json={**body, "health_check": check}).json()["pid"]
    managed.when(health_status="unhealthy")
    row = until(
        lambda: (row := managed.row())["managed"]["consecutive_health_failures"] > 2 and row
    )
    assert (row["pid"], row["status"], row["managed"]["restart_count"]) == (pid, "running", 0)


def test_before_the_threshold_it_is_starting(managed: Managed, port: int) -> None:
    managed.start("exec sleep 600", health_check=often(type="tcp", port=port, failure_threshold=50))
    row = until(lambda: (row := managed.row())["managed"]["consecutive_health_failures"] and row)
    assert row["managed"]["health_status"] == "starting"


def test_a_server_that_does_not_answer_in_time_is_unhealthy(managed: Managed) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        check = often(type="http", port=silent.getsockname()[1], timeout_ms=20)
        managed.start("exec sleep 600", health_check=check)
        managed.when(health_status="unhealthy")


def test_each_run_has_a_health_of_its_own(managed: Managed, port: int) -> None:
    managed.start("exec sleep 600", health_check=often(type="tcp", port=port))
    managed.when(health_status="unhealthy")
    row = managed.api.call("POST", f"{managed.path}/restart").json()
    assert row["managed"]["health_status"] == "starting"
    assert row["managed"]["consecutive_health_failures"] == 0


# ---------------------------------------------------------------------- bodies


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"name": 5}, "name: invalid type: integer `5`, expected a string"),
        ({"restart": "always"}, 'restart: invalid type: string "always", expected a map'),
        (
            {"restart": {"policy": "sometimes"}},
            "restart.policy: unknown variant `sometimes`, "
            "expected one of `on_failure`, `never`, `always`",
        ),
        (
            {"restart": {"max_restarts": -1}},
            "restart.max_restarts: invalid value: integer `-1`, expected u32",
        ),
        ({"health_check": {}}, "health_check: missing field `type`"),
        ({"health_check": {"type": "http"}}, "health_check: missing field `port`"),
        (
            {"health_check": {"type": "tcp", "port": 65536}},
            "health_check.port: invalid value: integer `65536`, expected u16",
        ),
        ({"stop_grace_ms": 1.5}, "stop_grace_ms: invalid type: floating point `1.5`, expected u32"),
    ],
)
def test_a_field_that_is_wrong_is_422(api: Api, fields: Any, problem: str) -> None:
    body = json.dumps({**fields, "command": "true"})
    headers = {"Content-Type": "application/json"}
    answer = api.call("POST", "/processes", data=body, headers=headers)
    assert answer.status_code == 422
    prefix = "Failed to deserialize the JSON body into the target type: "
    assert answer.text.removeprefix(prefix) == problem


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        (
            {"restart": {"policy": "always", "max_restart": 2}},
            "restart has no 'max_restart'; did you mean 'max_restarts'?",
        ),
        (
            {"restart": {"": 2}},
            "restart has no ''; there are policy, max_restarts, initial_backoff_ms, max_backoff_ms",
        ),
        (
            {"health_check": {"typ": "tcp", "port": 1}},
            "health_check has no 'typ'; did you mean 'type'?",
        ),
    ],
)
def test_a_key_that_a_part_does_not_have_is_refused(api: Api, fields: Any, error: str) -> None:
    answer = api.call("POST", "/processes", json={**fields, "command": "true"})
    expected = {"error": error, "code": "UNKNOWN_FIELD"}
    assert (answer.status_code, answer.json()) == (400, expected)


def test_the_document_says_so() -> None:
    start = document("0")["components"]["schemas"]["Start"]
    assert "additionalProperties" not in start
    for part in ("restart", "health_check"):
        schema = start["properties"][part]["anyOf"][0]
        assert schema["additionalProperties"] is False
