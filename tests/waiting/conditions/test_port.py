"""``wait_for_port``: each poll lists the processes and probes the port."""

import pytest

from pytest_tlsandbox import errors
from tests.support import (
    OOM,
    T0,
    box_of,
    ended,
    failure,
    managed,
    outcome,
    polls,
    raw,
    silent_box,
    unreachable,
)

SERVER = raw(77, args=("server.py",))
FIRST = raw(7, command="web", args=(), managed=managed("web"))
BACKING_OFF = raw(7, command="web", args=(), **ended(1), managed=managed("web", "backing_off"))
END = {"exit_code": 1, "ended_at": T0 + 9000}
SECOND = raw(
    9, command="web", args=(), started_at=T0 + 10_000,
    managed=managed("web", restart_count=1, last_exit=END),
)  # fmt: skip
SECOND_AFTER_AN_OOM_KILL = raw(
    9, command="web", args=(), started_at=T0 + 10_000,
    managed=managed("web", restart_count=1, last_exit={"signal": 9, "oom_killed": True, "ended_at": T0 + 9000}),
)  # fmt: skip


@pytest.fixture(autouse=True)
def _no_jitter(monkeypatch):
    monkeypatch.setattr("pytest_tlsandbox.waiting.polling.with_jitter", lambda pause: pause)


@pytest.mark.parametrize("opens_at", [0, 0.3, 2, 20])
def test_wait_returns_the_process_within_100_ms_after_the_port_opens(opens_at):
    box = box_of([SERVER], ports={0: "closed", opens_at: "open"})

    assert box.wait_for_port("server.py", 8080).pid == 77
    assert opens_at <= polls(box)[-1] < opens_at + 0.1
    assert {port for _, port, _ in box._client.probes} == {8080}


def test_wait_that_begins_before_the_process_is_listed_succeeds():
    box = box_of({0: [], 2: [SERVER]})

    assert box.wait_for_port("server.py", 8080).pid == 77
    assert [at for at, _, _ in box._client.probes] == [polls(box)[-1]]


def test_each_poll_of_a_long_list_probes_the_port():
    others = [raw(100 + number, command="idle") for number in range(200)]
    box = box_of([*others, SERVER], ports={0: "closed", 5: "open"})

    assert box.wait_for_port(77, 8080).pid == 77
    assert 5 <= box._client.probes[-1][0] < 5.1


def test_wait_continues_while_the_process_list_is_unavailable():
    box = box_of({0: [SERVER], 1: unreachable(), 4: [SERVER]}, ports={0: "closed", 3: "open"})

    assert box.wait_for_port("server.py", 8080).pid == 77


def test_transient_error_of_a_probe_does_not_end_the_wait():
    box = box_of([SERVER], ports={0: unreachable("reset"), 3: "open"})

    assert box.wait_for_port("server.py", 8080).pid == 77


def test_each_probe_ends_by_the_deadline_except_that_the_last_may_take_half_a_second():
    box = box_of([SERVER], ports={0: "closed"})

    failure(lambda: box.wait_for_port(77, 8080, timeout=6), errors.WaitTimedOut)

    probes = box._client.probes
    assert all(limit == pytest.approx(min(5.0, max(6 - at, 0.5))) for at, _, limit in probes)
    assert probes[-1] == (6.0, 8080, 0.5)


ENDS = {
    "exits": ({0: [SERVER], 2: [raw(77, args=("server.py",), **ended(3))]}, "UnexpectedExit", "Exited 3 after 9 s, wanted connections on port 8080: server.py"),
    "had exited": ([raw(77, args=("server.py",), **ended(3))], "UnexpectedExit", "Exited 3 before the wait began, wanted connections on port 8080: server.py"),
    "is OOM-killed": ({0: [SERVER], 2: [raw(77, args=("server.py",), **OOM)]}, "ProcessOOMKilled", "OOM-killed, wanted connections on port 8080: server.py"),
    "backs off": ({0: [FIRST], 2: [BACKING_OFF]}, "UnexpectedExit", "Exited 1 after 9 s, wanted connections on port 8080: web"),
    "is restarted": ({0: [FIRST], 2: [SECOND]}, "AssertionFailed", "Exited 1, then restarted; wanted connections on port 8080: web"),
    "is restarted after an OOM kill": ({0: [FIRST], 2: [SECOND_AFTER_AN_OOM_KILL]}, "ProcessOOMKilled", "OOM-killed, then restarted; wanted connections on port 8080: web"),
    "vanishes": ({0: [SERVER], 2: []}, "ProcessNotFound", "Disappeared from the process list, wanted connections on port 8080: server.py"),
}  # fmt: skip


@pytest.mark.parametrize(("script", "error", "line"), ENDS.values(), ids=ENDS)
def test_wait_fails_and_says_why_when_the_run_is_over(script, error, line):
    box = silent_box(script, ports={0: "closed"})

    assert outcome(lambda: box.wait_for_port("web" if "web" in line else 77, 8080)) == (error, line)
    assert polls(box)[-1] < 3.2


def test_restart_between_the_start_of_the_test_and_the_wait_is_counted():
    assert box_of([SECOND]).wait_for_port("web", 8080).pid == 9


def test_timeout_error_shows_the_last_output():
    box = box_of([SERVER], ports={0: "closed"}, written={0: (["migrating"], [])})

    line = "No connection on port 8080 after 5 s: server.py, still running; last output: migrating"
    assert outcome(lambda: box.wait_for_port(77, 8080, timeout=5)) == ("WaitTimedOut", line)


@pytest.mark.parametrize(("state", "taken"), [("open", True), ("taken", True), ("closed", False)])
def test_message_about_an_ended_process_says_whether_another_process_has_its_port(state, taken):
    script = {0: [SERVER], 2: [raw(77, args=("server.py",), **ended(1))]}
    box = silent_box(script, ports={0: "taken", 2: state})

    line = "Exited 1 after 9 s, wanted connections on port 8080: server.py"
    if taken:
        line = "Exited 1 after 9 s: server.py; another process has port 8080"
    assert outcome(lambda: box.wait_for_port(77, 8080)) == ("UnexpectedExit", line)


def test_wait_does_not_accept_the_port_of_another_process():
    box = silent_box([SERVER], ports={0: "taken"})

    line = "Another process has port 8080 after 5 s: server.py, still running"
    assert outcome(lambda: box.wait_for_port(77, 8080, timeout=5)) == ("WaitTimedOut", line)


def test_wait_fails_if_the_sandbox_has_no_tunnel_and_suggests_a_health_check():
    refusal = errors.RequestRefused("my-sandbox has no tunnel to its ports", label="no tunnel")
    box = silent_box([SERVER], ports={0: refusal})

    error = failure(lambda: box.wait_for_port(77, 8080), errors.RequestRefused)

    assert error.first_line == "Cannot probe port 8080: my-sandbox has no tunnel to its ports"
    assert (
        "  try      start it with health_check=, and wait_for_process(process, healthy=True)"
        in str(error)
    )
    assert polls(box) == [0.0]


@pytest.mark.parametrize(
    ("port", "message"),
    [
        (0, "port must be a number from 1 to 65535, got 0"),
        (70_000, "port must be a number from 1 to 65535, got 70000"),
        ("80", "port must be a number from 1 to 65535, got '80'; write 80"),
        (None, "port must be a number from 1 to 65535, got None"),
        (True, "port must be a number from 1 to 65535, got True"),
    ],
)
def test_invalid_port_is_rejected_without_a_call(port, message):
    box = box_of([SERVER])

    assert str(failure(lambda: box.wait_for_port(77, port), errors.InvalidArgument)) == message
    assert not polls(box)


def test_unknown_process_is_reported_at_the_deadline():
    box = box_of([SERVER])

    error = failure(lambda: box.wait_for_port("sever.py", 8080, timeout=1), errors.ProcessNotFound)
    assert error.first_line.startswith('No process matches "sever.py" after 1 s')
