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
WEB = {"command": "web", "args": ()}
FIRST = raw(7, **WEB, managed=managed("web"))
BACKING_OFF = raw(7, **WEB, **ended(1), managed=managed("web", "backing_off"))


def second(**end):
    """Return the row of the run after ``FIRST``, which ended like this."""
    supervised = managed("web", restart_count=1, last_exit={**end, "ended_at": T0 + 9000})
    return raw(9, **WEB, started_at=T0 + 10_000, managed=supervised)


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


def test_waiting_for_a_port_probes_it_at_each_poll_even_if_the_list_is_long():
    others = [raw(100 + number, command="idle") for number in range(200)]
    box = box_of([*others, SERVER], ports={0: "closed", 5: "open"})

    assert box.wait_for_port(77, 8080).pid == 77
    assert 5 <= box._client.probes[-1][0] < 5.1


@pytest.mark.parametrize(
    ("script", "first"),
    [({0: [SERVER], 1: unreachable(), 4: [SERVER]}, "closed"), ([SERVER], unreachable("reset"))],
)
def test_wait_continues_while_the_list_or_the_tunnel_is_unavailable(script, first):
    box = box_of(script, ports={0: first, 3: "open"})
    assert box.wait_for_port("server.py", 8080).pid == 77


def test_only_the_last_probe_may_exceed_the_deadline_and_only_by_half_a_second():
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
    "is restarted": ({0: [FIRST], 2: [second(exit_code=1)]}, "AssertionFailed", "Exited 1, then restarted; wanted connections on port 8080: web"),
    "is restarted after an OOM kill": ({0: [FIRST], 2: [second(signal=9, oom_killed=True)]}, "ProcessOOMKilled", "OOM-killed, then restarted; wanted connections on port 8080: web"),
    "vanishes": ({0: [SERVER], 2: []}, "ProcessNotFound", "Disappeared from the process list, wanted connections on port 8080: server.py"),
}  # fmt: skip


@pytest.mark.parametrize(("script", "error", "line"), ENDS.values(), ids=ENDS)
def test_waiting_for_a_port_fails_with_the_reason_as_soon_as_the_run_has_ended(script, error, line):
    box = silent_box(script, ports={0: "closed"})

    assert outcome(lambda: box.wait_for_port("web" if "web" in line else 77, 8080)) == (error, line)
    assert polls(box)[-1] < 3.2


@pytest.mark.parametrize(("state", "taken"), [("open", True), ("taken", True), ("closed", False)])
def test_message_about_an_ended_process_says_whether_another_process_uses_the_port(state, taken):
    script = {0: [SERVER], 2: [raw(77, args=("server.py",), **ended(1))]}
    box = silent_box(script, ports={0: "taken", 2: state})

    line = "Exited 1 after 9 s, wanted connections on port 8080: server.py"
    if taken:
        line = "Exited 1 after 9 s: server.py; another process uses port 8080"
    assert outcome(lambda: box.wait_for_port(77, 8080)) == ("UnexpectedExit", line)


@pytest.mark.parametrize("port", [0, 70_000, None, True, "80"])
def test_invalid_port_is_rejected_before_the_first_poll(port):
    box = box_of([SERVER])

    error = failure(lambda: box.wait_for_port(77, port), errors.InvalidArgument)
    message = f"argument 'port' must be a number from 1 to 65535, got {port!r}"
    assert str(error).removesuffix("; write 80") == message
    assert not polls(box)
