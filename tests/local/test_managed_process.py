"""Test managed processes: restarts, stops, names and health checks."""

from __future__ import annotations

import os
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from tests.contract.sandbox_api import Managed, flat, refusal, until

from .conftest import HOG, Api, is_gone, new_sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KEEP = {"policy": "never"}
"""With this policy, an unhealthy process is not replaced."""
QUICK = {"initial_backoff_ms": 1, "max_backoff_ms": 4}
NEVER_TWICE = {"initial_backoff_ms": 600_000, "max_backoff_ms": 600_000}


@pytest.fixture
def managed(api: Api, request: pytest.FixtureRequest) -> Iterator[Managed]:
    managed = Managed(api, request.node.name.partition("[")[0])
    yield managed
    api.kill(managed.name)
    managed.when(status="stopped")


@pytest.mark.parametrize("field", [{"restart": {}}, {"health_check": {"type": "tcp", "port": 1}}])
def test_managed_process_without_a_name_is_selected_by_pid_only(api: Api, field: Any) -> None:
    pid = api.start("sleep", "600", **field)
    row = flat(api.get(pid))
    assert row["name"] is None
    assert api.call("GET", f"/processes/{row['id']}").status_code == 404
    api.kill(pid)
    assert flat(api.ended(pid))["status"] == "stopped"


# -------------------------------------------------------------------- restarts


def test_row_shows_the_last_exit_while_the_supervisor_waits_for_a_restart(managed: Managed) -> None:
    started = managed.start("exit 3", restart=NEVER_TWICE)
    row = managed.when(status="backing_off")
    same = ("handle", "pid", "started_at")
    assert [row[key] for key in same] == [started[key] for key in same]
    assert (row["run"], row["exit_code"], row["signal"]) == ("exited", 3, None)
    ended_at = row["ended_at"]
    end = {"exit_code": 3, "signal": None, "oom_killed": False, "ended_at": ended_at}
    assert row["last_exit"] == end
    assert row["next_restart_at"] == pytest.approx(ended_at + 600_000, abs=5000)
    row = flat(managed.restart().json())  # this does not wait for the backoff
    assert (row["restart_count"], row["next_restart_at"]) == (1, None)


def test_backoff_doubles_up_to_its_maximum(managed: Managed) -> None:
    managed.start("exit 1", restart={"initial_backoff_ms": 200, "max_backoff_ms": 600})
    rows = [managed.when(status="backing_off", restart_count=count) for count in range(4)]
    assert [(row["next_restart_at"] - row["ended_at"]) // 200 for row in rows] == [1, 2, 3, 3]


def test_supervisor_tries_to_start_a_missing_program_until_the_limit_is_reached(
    managed: Managed, tmp_path: Path
) -> None:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\nrm $0; exit 1\n")
    program.chmod(0o755)
    managed.post(str(program), restart={"max_restarts": 2, **QUICK})
    managed.when(status="stopped", restart_count=0, last_error="restart limit reached")


def test_supervisor_kills_leftover_children_of_a_run_before_the_next_run(managed: Managed) -> None:
    # One second between the runs leaves time to read the output of the first run.
    restart = {"policy": "always", "initial_backoff_ms": 1000, "max_backoff_ms": 1000}
    managed.start("sleep 600 & setsid sleep 600 & echo $!; exit 1", restart=restart)
    child = int(managed.api.lines(managed.name, at_least=1)[0])
    assert not is_gone(child)
    managed.when(restart_count=1)
    until(lambda: is_gone(child))


def test_restart_count_of_a_running_process_rises_after_each_oom_kill() -> None:
    seen: list[Any] = []
    with new_sandbox(memory_limit=64 << 20) as api:
        api.python(f"import time; time.sleep(0.4)\n{HOG}", name="leaky", restart=QUICK)

        def poll() -> Any:
            seen.extend(flat(row) for row in api.rows())
            return seen[-1]["restart_count"] >= 3

        until(poll)
    counts = [row["restart_count"] for row in seen]
    assert counts == sorted(counts)
    assert {row["run"] for row in seen} <= {"running", "oom_killed"}
    running = {row["restart_count"]: row for row in seen if row["run"] == "running"}
    assert running.keys() >= {0, 1, 2}
    for row in running.values():
        assert (row["oom_killed"], row["signal"], row["ended_at"]) == (False, None, None)
    assert [running[count]["last_exit"]["oom_killed"] for count in (1, 2)] == [True, True]


# ---------------------------------------------------------- requested restarts


def test_restart_request_starts_a_stopped_process_and_resets_the_limit(managed: Managed) -> None:
    managed.start("exit 7", restart={"max_restarts": 1, **QUICK})
    error = "restart limit reached"
    first = managed.when(status="stopped", restart_count=1, last_error=error)
    assert (first["run"], first["exit_code"], first["next_restart_at"]) == ("exited", 7, None)
    assert managed.restart().status_code == 200
    last = managed.when(status="stopped", restart_count=3)
    assert last["handle"] == first["handle"] + 2


def test_process_never_has_status_stopped_during_a_restart(managed: Managed) -> None:
    managed.start("exec sleep 600")
    with ThreadPoolExecutor(1) as pool:
        for _ in range(5):
            restart = pool.submit(managed.restart)
            while not restart.done():
                assert managed.row()["status"] in ("running", "starting")


def test_concurrent_restarts_run_one_after_the_other(managed: Managed) -> None:
    managed.start("exec sleep 600")
    with ThreadPoolExecutor(5) as pool:
        answers = list(pool.map(lambda _: managed.restart(), range(5)))
    assert [answer.status_code for answer in answers] == [200] * 5
    pids = {answer.json()["pid"] for answer in answers}
    assert (len(pids), sum(not is_gone(pid) for pid in pids)) == (5, 1)
    assert managed.row()["restart_count"] == 5


def test_restart_request_for_a_deleted_program_returns_500_and_stops_the_process(
    managed: Managed, tmp_path: Path
) -> None:
    program = tmp_path / "program"
    program.symlink_to("/bin/sleep")
    managed.post(str(program), "600")
    program.unlink()
    error = "Failed to spawn process"
    assert refusal(managed.restart()) == (500, error, None)
    managed.when(status="stopped", last_error=error, signal=signal.SIGTERM)


# ------------------------------------------------------------------------ stop


def test_kill_request_kills_a_process_and_its_children_after_the_grace_period(
    managed: Managed,
) -> None:
    script = "trap '' TERM; setsid sleep 600 & echo $!; while :; do sleep 0.02; done"
    pid = managed.start(script, stop_grace_ms=200)["pid"]
    child = int(managed.api.lines(pid, at_least=1)[0])
    asked_at = time.time() * 1000
    managed.api.kill(managed.name)
    row = managed.when(status="stopped", run="signaled", signal=9)
    assert row["ended_at"] >= asked_at + 199
    until(lambda: is_gone(child))


# ----------------------------------------------------------------------- names


@pytest.mark.parametrize(
    "name", ["web 1", "100%", "%2F", "\u00fcbung", "a?b#c", "-1", "1.0", "run", "x" * 300]
)
def test_process_name_in_a_path_may_be_percent_encoded(api: Api, name: str) -> None:
    pid = api.start("sleep", "600", name=name)
    segment = quote(name)
    assert api.get(segment)["pid"] == pid
    assert api.call("GET", f"/processes/{segment}/stdout").json()["pid"] == pid
    assert api.kill(segment).status_code == 204
    assert api.ended(pid)["signal"] == signal.SIGTERM


@pytest.mark.parametrize("name", ["", "a/b", "/", "0", "41", "00"])
def test_invalid_process_name_is_rejected(api: Api, name: str) -> None:
    error = f"Invalid process name '{name}': not empty, no '/', and not digits only"
    assert refusal(Managed(api, name).post()) == (400, error, "INVALID_PROCESS_NAME")


def test_start_request_returns_409_if_the_name_is_in_use(managed: Managed) -> None:
    managed.start("exit 1", restart=NEVER_TWICE)
    managed.when(status="backing_off")
    total = managed.api.call("GET", "/info").json()["total_processes"]
    error = f"Process '{managed.name}' already exists"
    assert refusal(managed.post()) == (409, error, "ALREADY_EXISTS")
    assert managed.api.call("GET", "/info").json()["total_processes"] == total


def test_only_one_of_several_concurrent_start_requests_with_the_same_name_succeeds(
    managed: Managed,
) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: managed.post("sleep", "600"), range(8)))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 7


def test_new_process_replaces_the_row_of_a_stopped_process_with_the_same_name(
    managed: Managed,
) -> None:
    before = managed.start("exit 0")
    managed.when(status="stopped")
    after = managed.start("exec sleep 600")
    assert managed.row() == after
    assert (after["restart_count"], after["last_exit"]) == (0, None)
    pids = [row["pid"] for row in managed.api.rows()]
    assert (before["pid"] in pids, after["pid"] in pids) == (False, True)


def test_failed_start_does_not_change_a_process_with_the_same_name(managed: Managed) -> None:
    assert managed.post("/no/such/program").status_code == 500
    assert managed.api.call("GET", f"/processes/{managed.name}").status_code == 404
    managed.start("exit 0")
    row = managed.when(status="stopped")
    assert managed.post("/no/such/program").status_code == 500
    assert managed.row() == row


# ---------------------------------------------------------------------- health


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number: int = free.getsockname()[1]
        return number


def often(**check: Any) -> dict[str, Any]:
    return {"initial_delay_ms": 0, "interval_ms": 20, "failure_threshold": 2, **check}


def start_server(managed: Managed, port: int, **check: Any) -> Any:
    command = ["python", "-m", "http.server", "--bind=127.0.0.1", str(port)]
    return managed.post(*command, health_check=often(port=port, **check), restart=KEEP)


@pytest.mark.parametrize("kind", [{"type": "http"}, {"type": "tcp"}])
def test_process_that_answers_is_healthy(managed: Managed, port: int, kind: Any) -> None:
    row = flat(start_server(managed, port, failure_threshold=1000, **kind).json())
    assert row["health_status"] == "starting"
    check = often(port=port, failure_threshold=1000, **kind)
    assert row["health_check"] == {"path": None, "timeout_ms": 500, **check}
    managed.when(health_status="healthy", consecutive_health_failures=0)


def test_server_that_does_not_answer_in_time_is_unhealthy(managed: Managed) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        check = often(type="http", port=silent.getsockname()[1], timeout_ms=20)
        managed.start("exec sleep 600", health_check=check, restart=KEEP)
        managed.when(health_status="unhealthy")


def test_process_becomes_unhealthy_after_enough_failed_checks_and_a_restart_resets_its_health(
    managed: Managed, port: int
) -> None:
    managed.start(
        "exec sleep 600", health_check=often(type="tcp", port=port, interval_ms=200), restart=KEEP
    )
    managed.when(health_status="starting", consecutive_health_failures=1)
    managed.when(health_status="unhealthy", consecutive_health_failures=2)
    row = flat(managed.restart().json())
    assert (row["health_status"], row["consecutive_health_failures"]) == ("starting", 0)


@pytest.mark.parametrize(
    ("script", "end"),
    [
        ("exec sleep 600", (None, signal.SIGTERM)),
        ("trap 'exit 0' TERM; while :; do sleep 0.01; done", (0, None)),
    ],
)
def test_unhealthy_process_is_restarted_up_to_the_limit_whatever_its_exit_code_is(
    managed: Managed, port: int, script: str, end: Any
) -> None:
    check = often(type="tcp", port=port, failure_threshold=3)
    managed.start(script, health_check=check, restart={"max_restarts": 1, **QUICK})
    row = managed.when(restart_count=1, last_error="the health check failed 3 times in a row")
    assert (row["last_exit"]["exit_code"], row["last_exit"]["signal"]) == end
    managed.when(status="stopped", restart_count=1, last_error="restart limit reached")


def test_process_stays_unhealthy_until_it_has_ended(managed: Managed, port: int) -> None:
    stop = "trap 'while [ ! -e go ]; do sleep 0.01; done; exit 1' TERM"
    check = often(type="tcp", port=port)
    first = managed.start(
        f"{stop}; while :; do sleep 0.01; done", health_check=check, restart=NEVER_TWICE
    )
    row = managed.when(health_status="unhealthy", consecutive_health_failures=2)
    assert (row["pid"], row["run"]) == (first["pid"], "running")
    os.kill(first["pid"], signal.SIGKILL)
    row = managed.when(status="backing_off", health_status="starting")
    assert row["next_restart_at"] > row["ended_at"] + 500_000


def test_unhealthy_process_is_not_restarted_after_it_is_stopped(
    managed: Managed, port: int
) -> None:
    managed.start(
        "trap '' TERM; while :; do sleep 0.01; done",
        health_check=often(type="tcp", port=port), restart=QUICK, stop_grace_ms=300,
    )  # fmt: skip
    managed.when(health_status="unhealthy")
    managed.api.kill(managed.name)
    row = managed.when(status="stopped")
    assert (row["restart_count"], row["last_error"], row["signal"]) == (0, None, signal.SIGKILL)
