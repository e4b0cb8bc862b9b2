"""Errors of a failed start, and how the end of a test kills the processes that it started."""

import pytest

from pytest_tlsandbox import errors
from pytest_tlsandbox.clock import Clock
from pytest_tlsandbox.sandbox import Sandbox
from tests.client.servers import HANG, RESET, Server, connected, reply
from tests.support import (
    FakeClock,
    ScriptedLister,
    box_of,
    ended,
    failure,
    managed,
    outcome,
    polls,
    process,
    raw,
    signaled,
)


def left_by(fault):
    """Return the pids that still run after a cleanup in which the sandbox answers with a fault."""

    class Client(ScriptedLister):
        def list(self, *, patience):
            return self.poll()

    box = Sandbox(Client(FakeClock(), {0.0: fault}), started=[process(41)])
    return [row.pid for row in box.kill_started()]


def asleep(state, *, transient):
    return errors.SandboxNotRunning(f"Sandbox my-sandbox is {state}", transient=transient)


@pytest.mark.parametrize(
    ("fault", "left"),
    [
        (errors.SandboxNotFound("No sandbox my-sandbox"), []),
        (asleep("terminated", transient=False), []),
        # It keeps its processes, and goes on with them.
        (asleep("suspended", transient=True), [41]),
        (errors.SandboxUnreachable("nobody listens", label="refused", transient=True), []),
        (errors.SandboxUnreachable("502", label="502", transient=True), [41]),
    ],
    ids=["no sandbox", "terminated", "suspended", "refused", "502"],
)
def test_process_that_could_not_be_killed_is_reported_unless_its_sandbox_has_ended(fault, left):
    assert left_by(fault) == left


NOT_KNOWN = "Not known whether 'python' was started: "
MAY_RUN = "; if it was, list_processes() shows it"


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (HANG, errors.SandboxUnreachable,
         f"{NOT_KNOWN}my-sandbox did not answer within 0.1 s{MAY_RUN}"),
        (RESET, errors.SandboxUnreachable,
         f"{NOT_KNOWN}my-sandbox cannot be reached: the connection was reset{MAY_RUN}"),
        (reply(504, {"error": "no answer in time", "code": "READ_TIMEOUT"}), errors.SandboxUnreachable,
         f"{NOT_KNOWN}my-sandbox answered 504 READ_TIMEOUT: no answer in time{MAY_RUN}"),
        (reply(201, {"pid": 41}), errors.ContractViolation,
         f"{NOT_KNOWN}Not a process: JSON of another shape, or cut short (11 bytes){MAY_RUN}"),
        (reply(503, {"error": "sandbox is not ready", "code": "SANDBOX_NOT_READY"}), errors.SandboxUnreachable,
         "Cannot start 'python': my-sandbox answered 503 SANDBOX_NOT_READY: sandbox is not ready"),
        (reply(401), errors.AuthenticationFailed,
         "Cannot start 'python': my-sandbox rejected the API key (401)"),
    ],
    ids=["no answer", "reset", "no answer to the proxy", "no process", "not ready", "401"],
)  # fmt: skip
def test_error_for_a_failed_start_says_whether_the_program_may_be_running(answer, error, message):
    server = Server([answer])
    # The deadline of the test cuts the call, to 0.1 s at least.
    end = Clock.monotonic() + (0.25 if answer is HANG else 1)

    with connected(server, test_deadline=lambda: end) as box, pytest.raises(error) as caught:
        box.start_process("python", ["train.py", "--token", "abc"])

    server.close()
    assert str(caught.value) == message


# ------------------------------------------------------------------------- stop

SERVER = raw(41)
TERMINATED = raw(41, **signaled(15))


def requests(box):
    return [request for request in box._client.requests if request != "GET /processes"]


def test_stop_sends_sigterm_and_after_the_grace_period_sigkill():
    box = box_of({0: [SERVER], 7: [raw(41, **signaled(9))]})

    assert box.stop_process(41).signal == 9
    assert requests(box) == ["POST /processes/41/signal"] * 2
    assert box._client.history.run_of(process()).sent == {9, 15}


def test_stop_sends_only_sigterm_to_a_process_that_ends_in_time():
    box = box_of({0: [SERVER], 4.5: [TERMINATED]})

    assert box.stop_process("train.py").signal == 15
    assert requests(box) == ["POST /processes/41/signal"]


@pytest.mark.parametrize(("row", "sent"), [(TERMINATED, []), (raw(41, **ended(0)), [])])
def test_stop_sends_no_signal_to_an_ended_process_because_its_pid_may_be_used_again(row, sent):
    box = box_of([row])

    assert box.stop_process(41).pid == 41
    assert requests(box) == sent


def test_stop_of_a_managed_process_stops_its_supervisor_and_kills_the_run():
    web = raw(41, managed=managed("web"))
    stopped = raw(41, **signaled(9), managed=managed("web", "stopped"))
    box = box_of({0: [web], 7: [stopped]})

    assert box.stop_process("web").managed.status == "stopped"
    assert requests(box) == ["DELETE /processes/web", "POST /processes/web/signal"]


def test_stop_returns_the_last_row_if_the_sandbox_removes_the_row_of_a_stopped_process():
    box = box_of({0: [SERVER], 2: []})

    assert box.stop_process(41).status == "running"
    assert 3 <= polls(box)[-1] < 3.5


def test_exit_code_that_is_lost_after_a_stop_is_not_a_finding():
    box = box_of({0: [SERVER], 2: [raw(41, **ended(-1))]}, started=[process()])

    assert box.stop_process(41).exit_code == -1
    box.assert_no_incidents()


def test_external_sigkill_before_the_stop_is_not_attributed_to_the_stop():
    box = box_of({0: [SERVER], 0.01: [raw(41, **signaled(9))]}, latency=0.02)
    refuse = errors.RequestRefused(
        "my-sandbox answered 400: Process 41 is not running", label="400"
    )
    box._client.signal = lambda *_: (_ for _ in ()).throw(refuse)

    assert box.stop_process(41).signal == 9
    assert not box._client.history.run_of(process()).ended_here


@pytest.mark.parametrize("number", [15, 9])
def test_stop_fails_if_the_sandbox_rejects_the_signal(number):
    box = box_of([SERVER])
    refuse = errors.RequestRefused("my-sandbox answered 400: not permitted", label="400")

    def signal(row, sent):
        if sent == number:
            raise refuse

    box._client.signal = signal

    assert failure(lambda: box.stop_process(41), errors.RequestRefused) is refuse


def test_stop_fails_if_the_process_survives_sigkill():
    box = box_of([SERVER], timeout=10)

    line = "Still running after 10 s, wanted its end: train.py; last output: Traceback: no memory"
    assert outcome(lambda: box.stop_process(41)) == ("WaitTimedOut", line)
