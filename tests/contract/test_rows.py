"""What the list shows: fields, types, identity, retention and times."""

import time

import pytest

from .facts import assumed, documented, measured
from .sandbox_api import outcome, refusal, until

FIELDS = dict.fromkeys(("pid", "exit_code", "signal", "started_at", "ended_at"), int)
FIELDS |= {"status": str, "command": str, "args": list, "stdin_writable": bool}


@documented("doc")
def test_list_call_returns_an_object_with_the_rows_of_all_processes(api, sleeper):
    answer = api.call("GET", "/processes")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert [row["pid"] for row in answer.json()["processes"]].count(sleeper) == 1


@documented("doc")
def test_row_contains_the_documented_fields(api):
    row = api.start_row("true", "--flag")
    for each in (row, api.ended(row["pid"])):
        assert set(FIELDS) - set(each) <= {"exit_code", "signal", "ended_at"}
        wrong = [name for name in FIELDS if not isinstance(each.get(name), FIELDS[name] | None)]
        assert wrong == []
        assert (each["command"], each["args"]) == ("true", ["--flag"])


@documented("doc, old daemon")
def test_response_to_a_start_request_is_the_row_of_the_running_process(api):
    answer = api.call("POST", "/processes", json={"command": "true"})
    row = answer.json()
    assert answer.status_code == 201
    assert outcome({"exit_code": None, "signal": None, **row}) == ("running", None, None, False)
    assert row.get("ended_at") is None


@documented("doc")
def test_list_and_single_request_return_the_same_row(api):
    row = api.run("true")
    assert row in api.rows()


@documented("doc", needs="handles")
def test_handle_of_each_process_is_higher_than_the_handles_of_earlier_processes(api):
    handles = [api.start_row("true")["handle"] for _ in range(3)]
    assert handles == sorted(set(handles))


@assumed("no source", trait="sorted")
def test_list_is_sorted_by_start_time(api):
    pids = [api.start("true") for _ in range(20)]
    assert [row["pid"] for row in api.rows() if row["pid"] in pids] == pids


@measured("old daemon")
def test_query_parameters_do_not_change_the_list(api, sleeper):
    rows = api.call("GET", "/processes?limit=1&status=exited").json()["processes"]
    assert sleeper in [row["pid"] for row in rows]


@documented("doc")
def test_list_contains_processes_but_not_their_children(api):
    pid = api.start("sh", "-c", "sleep 600 & echo $!; wait")
    child = int(api.lines(pid, at_least=1)[0])
    pids = [row["pid"] for row in api.rows()]
    assert (pid in pids, child in pids) == (True, False)


@measured("old daemon")
def test_list_keeps_the_rows_of_ended_processes(api):
    pid = api.run("true")["pid"]
    for _ in range(20):
        api.run("true")
    assert pid in [row["pid"] for row in api.rows()]


@pytest.mark.slow
@assumed("cli", trait="not reaps")
def test_list_keeps_the_row_of_a_killed_process(api, sleeper):
    api.kill(sleeper)
    time.sleep(1)  # the row of a removed process is gone by then
    assert sleeper in [row["pid"] for row in api.rows()]


@documented("doc")
def test_times_are_milliseconds_since_1970_by_the_clock_of_the_sandbox(api):
    clock = api.run("sh", "-c", "date +%s; sleep 0.2")
    began = int(api.lines(clock["pid"])[0])
    assert began * 1000 - 1000 <= clock["started_at"] <= began * 1000 + 1999
    assert 200 <= clock["ended_at"] - clock["started_at"] < 10_000


@documented("sdk")
def test_start_request_sets_arguments_environment_and_working_folder(api):
    options = {"env": {"A": "c  d"}, "working_dir": "/tmp"}
    printed = api.printed("sh", "-c", 'echo "$0" "$A"; pwd', "a  b", **options)
    assert printed == ["a  b c  d", "/tmp"]


@measured("old daemon")
def test_start_request_ignores_null_and_unknown_fields(api):
    fields = {"working_dir": None, "env": None, "user": None, "unknown": 1}
    assert api.run("true", **fields)["exit_code"] == 0


@measured("old daemon")
@pytest.mark.parametrize("field", [{"command": "no-such-program"}, {"working_dir": "/no/folder"}])
def test_failed_start_returns_500_and_adds_no_row(api, field):
    before = len(api.rows())
    answer = api.call("POST", "/processes", json={"command": "true", **field})
    assert refusal(answer) == (500, "Failed to spawn process", None)
    assert len(api.rows()) == before


@documented("doc")
def test_info_counts_running_and_all_processes(api, sleeper):
    info = api.call("GET", "/info").json()
    api.run("true")
    later = api.call("GET", "/info").json()
    assert later["total_processes"] == info["total_processes"] + 1
    assert later["running_processes"] == info["running_processes"] >= 1
    assert later["uptime_secs"] >= info["uptime_secs"]


@measured("old daemon")
def test_health_request_reports_a_healthy_sandbox(api):
    assert until(lambda: api.call("GET", "/health").json()) == {"healthy": True}
