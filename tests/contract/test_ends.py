"""How processes end: exit codes, signals, kills and OOM kills."""

import signal

import pytest

from .facts import assumed, documented, measured
from .sandbox_api import outcome, refusal, until

FILL_MEMORY = "a=0123456789; while :; do a=$a$a; done"


@documented("doc")
@pytest.mark.parametrize("code", [0, 3, 137, 255])
def test_row_of_an_exited_process_contains_its_exit_code(api, code):
    row = api.run("sh", "-c", f"exit {code}")
    assert outcome(row) == ("exited", code, None, False)
    assert row["ended_at"] >= row["started_at"]


@documented("doc")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV])
def test_row_of_a_process_that_a_signal_ended_contains_the_signal(api, sleeper, number):
    answer = api.send(sleeper, "signal", json={"signal": int(number)})
    assert (answer.status_code, answer.json()) == (200, {"success": True})
    assert outcome(api.ended(sleeper)) == ("signaled", None, number, False)


@documented("sdk")
def test_signal_reaches_the_whole_process_group_and_no_other_process(api, sleeper):
    pid = api.start("sh", "-c", "sleep 600 & echo $!; wait")
    child = int(api.lines(pid, at_least=1)[0])
    api.send(pid, "signal", json={"signal": 15})
    until(lambda: not api.is_alive(child))
    assert api.get(sleeper)["status"] == "running"


@documented("doc")
def test_kill_request_ends_an_unmanaged_process_and_its_group_at_once(api):
    pid = api.start("sh", "-c", "trap '' TERM; sleep 600 & echo $!; wait")
    child = int(api.lines(pid, at_least=1)[0])
    answer = api.kill(pid)
    assert (answer.status_code, answer.content) == (204, b"")
    assert outcome(api.ended(pid)) == ("signaled", None, 9, False)
    until(lambda: not api.is_alive(child))


@measured("old daemon")
def test_signal_and_kill_requests_for_an_ended_process_fail(api):
    pid = api.run("true")["pid"]
    error = f"Process {pid} is not running"
    assert refusal(api.send(pid, "signal", json={"signal": 15})) == (400, error, None)
    assert refusal(api.kill(pid)) == (500, error, None)


@measured("old daemon")
@pytest.mark.parametrize("number", [0, 99])
def test_invalid_signal_number_is_rejected(api, sleeper, number):
    answer = api.send(sleeper, "signal", json={"signal": number})
    assert refusal(answer) == (400, "Invalid signal number", None)


@documented("rust sdk", needs="oom")
def test_row_of_an_oom_killed_process_has_its_own_status_and_a_flag(api):
    assert outcome(api.run("sh", "-c", FILL_MEMORY)) == ("oom_killed", None, 9, True)


@assumed("no source", needs="oom", trait="flags_children")
def test_row_of_a_shell_whose_child_was_oom_killed_has_the_flag(api):
    row = api.run("sh", "-c", f"sh -c '{FILL_MEMORY}'; exit 7")
    assert outcome(row) == ("exited", 7, None, True)
