"""Managed processes: names, restarts, stops and health checks."""

import time

import pytest

from .facts import assumed, documented
from .sandbox_api import NOT_SOON, SOON, Managed, flat, health_check, refusal, until


@documented("sdk", needs="managed")
def test_row_of_a_managed_process_shows_the_state_of_its_supervisor(managed):
    row = managed.post("sleep", "600").json()
    shown = managed.api.get(managed.name)["managed"]
    assert shown.pop("restart").items() >= {"policy": "on_failure", "max_restarts": None}.items()
    names = {"id": managed.name, "name": managed.name, "status": "running"}
    counts = {"restart_count": 0, "consecutive_health_failures": 0}
    unset = dict.fromkeys(("health_check", "last_exit", "last_error", "next_restart_at"))
    assert shown == {**names, **counts, **unset, "health_status": "disabled"}
    assert managed.row()["pid"] == row["pid"]


@documented("sdk", needs="managed")
def test_name_selects_a_managed_process_in_every_call(managed):
    managed.start("echo up; exec sleep 600")
    assert managed.api.lines(managed.name, at_least=1) == ["up"]
    assert managed.api.send(managed.name, "signal", json={"signal": 15}).status_code == 200
    managed.when(restart_count=0, status="backing_off", signal=15)
    assert managed.api.kill(managed.name).status_code == 204


@documented("sdk", needs="managed")
@pytest.mark.parametrize("name", ["", "a/b", "41"])
def test_name_that_is_empty_contains_a_slash_or_is_a_number_is_rejected(api, name):
    assert 400 <= Managed(api, name).post().status_code < 500


@assumed("PR 779", needs="managed")
def test_start_request_with_a_name_in_use_returns_409(managed):
    managed.start("exec sleep 600")
    assert managed.post("true").status_code == 409


@assumed("no source", needs="managed")
def test_name_of_a_stopped_process_can_be_used_again_and_the_count_begins_at_0(managed):
    managed.start("exit 1", restart={"max_restarts": 1, **SOON})
    managed.when(status="stopped", restart_count=1)
    after = managed.start("exec sleep 600")
    assert (after["restart_count"], after["last_exit"]) == (0, None)
    assert managed.row()["pid"] == after["pid"]


# ---------------------------------------------------------------------- restarts


@documented("sdk", needs="managed")
@pytest.mark.parametrize(
    ("policy", "script", "comes_back"),
    [
        ("never", "exit 3", False),
        ("on_failure", "exit 0", False),
        ("on_failure", "exit 3", True),
        ("on_failure", "kill -SEGV $$", True),
        ("always", "exit 0", True),
    ],
)
def test_restart_policy_decides_which_ends_lead_to_a_restart(managed, policy, script, comes_back):
    managed.start(script, restart={"policy": policy, **NOT_SOON})
    managed.when(status="backing_off" if comes_back else "stopped")


@assumed("sdk", needs="managed")
def test_row_shows_the_last_exit_and_the_next_start_while_the_supervisor_backs_off(managed):
    started = managed.start("exit 3", restart=NOT_SOON)
    row = managed.when(status="backing_off")
    assert (row["pid"], row["run"], row["exit_code"]) == (started["pid"], "exited", 3)
    assert (row["last_exit"]["exit_code"], row["last_exit"]["signal"]) == (3, None)
    assert row["next_restart_at"] > row["ended_at"]


@documented("sdk", needs="managed")
def test_restarted_process_has_a_new_pid_and_shows_how_the_last_run_ended(managed):
    first = managed.start("exec sleep 600", restart=SOON)
    managed.api.send(managed.name, "signal", json={"signal": 9})
    row = managed.when(restart_count=1, status="running", run="running")
    assert row["pid"] != first["pid"]
    assert (row["last_exit"]["exit_code"], row["last_exit"]["signal"]) == (None, 9)
    assert (row["exit_code"], row["signal"], row["ended_at"]) == (None, None, None)


@assumed("no source", needs="managed", trait="not keeps_rows")
def test_row_of_the_next_run_replaces_the_row_of_the_earlier_run_in_the_list(managed):
    first = managed.start("exec sleep 600", restart=SOON)
    managed.api.send(managed.name, "signal", json={"signal": 9})
    managed.when(restart_count=1, status="running")
    assert first["pid"] not in [row["pid"] for row in managed.api.rows()]


@assumed("no source", needs="managed", trait="not counts_early")
def test_restart_count_rises_only_when_the_next_run_starts(managed):
    managed.start("exit 3", restart=NOT_SOON)
    assert managed.when(status="backing_off")["restart_count"] == 0


@assumed("sdk", needs="managed", trait="says_why")
def test_supervisor_that_used_all_restarts_stops_and_says_why(managed):
    managed.start("exit 7", restart={"max_restarts": 2, **SOON})
    row = managed.when(status="stopped", restart_count=2)
    assert (row["run"], row["exit_code"], row["next_restart_at"]) == ("exited", 7, None)
    assert row["last_error"] is not None


@documented("sdk", needs="restart")
def test_restart_request_ends_the_run_and_returns_the_row_of_the_next_run(managed):
    first = managed.start("trap 'exit 5' TERM; echo up; while :; do sleep 0.02; done")
    managed.api.lines(first["pid"], at_least=1)
    answer = managed.restart()
    row = flat(answer.json())
    assert (answer.status_code, row["run"]) == (200, "running")
    assert row["pid"] != first["pid"]
    assert row["last_exit"]["exit_code"] == 5


@assumed("no source", needs="restart", trait="counts_manual")
def test_restart_count_includes_requested_restarts(managed):
    managed.start("exec sleep 600")
    managed.restart()
    assert managed.row()["restart_count"] == 1


@assumed("no source", needs="restart")
def test_restart_request_for_an_unmanaged_process_is_rejected(api, sleeper):
    error = f"Process {sleeper} is not managed"
    assert refusal(api.send(sleeper, "restart")) == (400, error, "NOT_MANAGED")


# ------------------------------------------------------------------------- stops


@documented("sdk", needs="managed")
def test_kill_request_for_a_managed_process_sends_sigterm_and_ends_its_restarts(managed):
    script = "trap 'exit 5' TERM; echo up; while :; do sleep 0.02; done"
    pid = managed.start(script, restart={"policy": "always", **SOON})["pid"]
    managed.api.lines(pid, at_least=1)
    assert managed.api.kill(managed.name).status_code == 204
    managed.when(status="stopped", pid=pid, run="exited", exit_code=5, restart_count=0)


@pytest.mark.slow
@documented("sdk", needs="managed")
def test_managed_process_that_ignores_sigterm_is_killed_10_s_after_a_kill_request(managed):
    pid = managed.start("trap '' TERM; echo up; while :; do sleep 0.02; done")["pid"]
    managed.api.lines(pid, at_least=1)
    asked = time.monotonic()
    managed.api.kill(managed.name)
    managed.when(status="stopped", run="signaled", signal=9)
    assert 9 < time.monotonic() - asked < 15


@assumed("no source", needs="managed")
def test_kill_request_while_the_supervisor_backs_off_prevents_the_restart(managed):
    managed.start("exit 1", restart=NOT_SOON)
    managed.when(status="backing_off")
    assert managed.api.kill(managed.name).status_code == 204
    managed.when(status="stopped", next_restart_at=None)


# ----------------------------------------------------------------- health checks


@documented("sdk", needs="managed python")
def test_process_is_healthy_when_its_port_accepts_connections(managed):
    health = health_check(port=18_457, failure_threshold=1000)
    command = ["python3", "-m", "http.server", "--bind=127.0.0.1", "18457"]
    row = flat(managed.post(*command, health_check=health).json())
    assert row["health_status"] == "starting"
    assert row["health_check"].items() >= health.items()
    managed.when(health_status="healthy", consecutive_health_failures=0)


@documented("sdk", needs="managed")
def test_process_is_unhealthy_after_enough_failed_checks(managed):
    managed.start("exec sleep 600", health_check=health_check(), restart={"policy": "never"})
    managed.when(health_status="unhealthy")


@documented("cli", needs="managed", trait="health_restarts")
def test_unhealthy_process_is_restarted(managed):
    first = managed.start("exec sleep 600", health_check=health_check(), restart=SOON)
    row = until(lambda: (row := managed.row())["restart_count"] >= 1 and row)
    assert row["pid"] != first["pid"]


@assumed("no source", needs="managed")
def test_unhealthy_process_is_restarted_at_most_as_often_as_its_restart_limit_allows(managed):
    restart = {"max_restarts": 1, **SOON}
    managed.start("exec sleep 600", health_check=health_check(), restart=restart)
    managed.when(status="stopped", restart_count=1)


@assumed("no source", needs="managed")
def test_unhealthy_process_whose_policy_is_never_keeps_running(managed):
    health = health_check()
    first = managed.start("exec sleep 600", health_check=health, restart={"policy": "never"})
    row = until(lambda: (row := managed.row())["consecutive_health_failures"] > 4 and row)
    assert (row["pid"], row["run"], row["restart_count"]) == (first["pid"], "running", 0)
