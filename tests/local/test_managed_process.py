"""Test what the contract does not state about restarts, stops, names and health checks."""

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import pytest

from tests.contract.sandbox_api import NOT_SOON, SOON, Managed, flat, health_check, refusal, until

from .conftest import free_port, is_gone, port_of

FOREVER = "while :; do sleep 0.01; done"


@pytest.fixture
def managed(api, request):
    managed = Managed(api, request.node.name.partition("[")[0])
    yield managed
    api.kill(managed.name)
    managed.when(status="stopped")


@pytest.mark.parametrize("field", [{"restart": {}}, {"health_check": {"type": "tcp", "port": 1}}])
def test_managed_process_without_a_name_is_selected_by_pid_only(api, field):
    pid = api.start("sleep", "600", **field)
    row = flat(api.get(pid))
    assert row["name"] is None
    assert api.call("GET", f"/processes/{row['id']}").status_code == 404
    api.kill(pid)
    assert flat(api.ended(pid))["status"] == "stopped"


# -------------------------------------------------------------------- restarts


def test_backoff_doubles_up_to_its_maximum(managed):
    managed.start("exit 1", restart={"initial_backoff_ms": 200, "max_backoff_ms": 400})
    rows = [managed.when(status="backing_off", restart_count=count) for count in range(3)]
    assert [(row["next_restart_at"] - row["ended_at"]) // 200 for row in rows] == [1, 2, 2]


def test_start_of_a_missing_program_is_repeated_up_to_the_limit_and_on_request(managed, tmp_path):
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\nrm $0; exit 1\n")
    program.chmod(0o755)
    managed.post(str(program), restart={"max_restarts": 2, **SOON})
    managed.when(status="stopped", restart_count=0, last_error="restart limit reached")
    error = "Failed to spawn process"
    assert refusal(managed.restart()) == (500, error, None)
    managed.when(status="stopped", restart_count=0, last_error=error)


def test_supervisor_kills_leftover_children_of_a_run_before_the_next_run(managed, tmp_path):
    script = f"setsid sleep 600 & echo $! >>{tmp_path}/children; exit 1"
    managed.start(script, restart={"max_restarts": 1, **SOON})
    managed.when(status="stopped", restart_count=1)
    first, second = map(int, (tmp_path / "children").read_text().split())
    until(lambda: is_gone(first))
    assert not is_gone(second)


# ---------------------------------------------------------- requested restarts


def test_restart_request_starts_a_stopped_process_and_resets_the_limit(managed):
    managed.start("exit 7", restart={"max_restarts": 1, **SOON})
    first = managed.when(status="stopped", restart_count=1)
    assert managed.restart().status_code == 200
    last = managed.when(status="stopped", restart_count=3)
    assert last["handle"] == first["handle"] + 2


def test_process_that_backs_off_keeps_its_name_and_can_be_restarted_at_once(managed):
    managed.start("exit 3", restart=NOT_SOON)
    managed.when(status="backing_off")
    error = f"Process '{managed.name}' already exists"
    assert refusal(managed.post()) == (409, error, "ALREADY_EXISTS")
    row = flat(managed.restart().json())
    assert (row["restart_count"], row["next_restart_at"]) == (1, None)


def test_concurrent_restarts_run_one_after_the_other_and_never_show_the_status_stopped(managed):
    managed.start("exec sleep 600")
    with ThreadPoolExecutor(5) as pool:
        restarts = [pool.submit(managed.restart) for _ in range(5)]
        while not all(restart.done() for restart in restarts):
            assert managed.row()["status"] in ("running", "starting")
    pids = {restart.result().json()["pid"] for restart in restarts}
    assert (len(pids), sum(not is_gone(pid) for pid in pids)) == (5, 1)
    assert managed.row()["restart_count"] == 5


# ------------------------------------------------------------------------ stop


def test_kill_request_kills_a_process_and_its_children_after_the_grace_period(managed):
    script = "trap '' TERM; setsid sleep 600 & echo $!; while :; do sleep 0.02; done"
    pid = managed.start(script, stop_grace_ms=200)["pid"]
    child = int(managed.api.lines(pid, at_least=1)[0])
    asked_at = time.time() * 1000
    managed.api.kill(managed.name)
    row = managed.when(status="stopped", run="signaled", signal=9)
    assert row["ended_at"] >= asked_at + 199
    until(lambda: is_gone(child))


# ----------------------------------------------------------------------- names


NAMES = ["web 1", "100%", "%2F", "\u00fcbung", "a?b#c", "-1", "1.0", "run", "x" * 300]


@pytest.mark.parametrize("name", NAMES)
def test_process_name_in_a_path_may_be_percent_encoded(api, name):
    pid = api.start("sleep", "600", name=name)
    segment = quote(name)
    assert api.get(segment)["pid"] == pid
    assert api.call("GET", f"/processes/{segment}/stdout").json()["pid"] == pid
    assert api.kill(segment).status_code == 204
    assert api.ended(pid)["signal"] == signal.SIGTERM


@pytest.mark.parametrize("name", ["", "a/b", "/", "0", "41", "00"])
def test_invalid_process_name_is_rejected(api, name):
    error = f"Invalid process name '{name}': not empty, no '/', and not digits only"
    assert refusal(Managed(api, name).post()) == (400, error, "INVALID_PROCESS_NAME")


def test_only_a_successful_start_replaces_the_row_of_a_stopped_process_with_its_name(managed):
    assert managed.post("/no/such/program").status_code == 500
    assert managed.api.call("GET", f"/processes/{managed.name}").status_code == 404
    managed.start("exit 0")
    before = managed.when(status="stopped")
    assert managed.post("/no/such/program").status_code == 500
    assert managed.row() == before
    after = managed.start("exec sleep 600")
    pids = [row["pid"] for row in managed.api.rows()]
    assert (before["pid"] in pids, after["pid"] in pids) == (False, True)


# ---------------------------------------------------------------------- health


def test_process_that_answers_an_http_check_is_healthy(managed):
    check = health_check(type="http", port=free_port(), failure_threshold=1000)
    command = ["python", "-m", "http.server", "--bind=127.0.0.1", str(check["port"])]
    row = flat(managed.post(*command, health_check=check).json())
    assert row["health_check"] == {"path": None, "timeout_ms": 500, **check}
    managed.when(health_status="healthy", consecutive_health_failures=0)


def test_server_that_does_not_answer_in_time_is_unhealthy_until_it_is_restarted(managed, service):
    check = health_check(type="http", port=port_of(service), timeout_ms=20, interval_ms=200)
    managed.start("exec sleep 600", health_check=check, restart={"policy": "never"})
    managed.when(health_status="starting", consecutive_health_failures=1)
    managed.when(health_status="unhealthy", consecutive_health_failures=2)
    row = flat(managed.restart().json())
    assert (row["health_status"], row["consecutive_health_failures"]) == ("starting", 0)


def test_unhealthy_process_that_exits_with_0_is_restarted_up_to_the_limit(managed):
    check = health_check(failure_threshold=3)
    restart = {"max_restarts": 1, **SOON}
    managed.start("trap 'exit 0' TERM; " + FOREVER, health_check=check, restart=restart)
    row = managed.when(restart_count=1, last_error="the health check failed 3 times in a row")
    assert (row["last_exit"]["exit_code"], row["last_exit"]["signal"]) == (0, None)
    managed.when(status="stopped", restart_count=1, last_error="restart limit reached")


def test_process_stays_unhealthy_until_it_has_ended(managed):
    script = f"trap '{FOREVER}' TERM; {FOREVER}"
    first = managed.start(script, health_check=health_check(), restart=NOT_SOON)
    row = managed.when(health_status="unhealthy", consecutive_health_failures=2)
    assert (row["pid"], row["run"]) == (first["pid"], "running")
    os.kill(first["pid"], signal.SIGKILL)
    row = managed.when(status="backing_off", health_status="starting")
    assert row["next_restart_at"] > row["ended_at"] + 50_000


def test_unhealthy_process_is_not_restarted_after_it_is_stopped(managed):
    options = {"health_check": health_check(), "restart": SOON, "stop_grace_ms": 300}
    managed.start(f"trap '' TERM; {FOREVER}", **options)
    managed.when(health_status="unhealthy")
    managed.api.kill(managed.name)
    row = managed.when(status="stopped")
    assert (row["restart_count"], row["last_error"], row["signal"]) == (0, None, signal.SIGKILL)
