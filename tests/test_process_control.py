"""Errors of a failed start, and how the end of a test kills the processes that it started."""

import pytest

from pytest_tlsandbox import errors
from pytest_tlsandbox.clock import Clock
from pytest_tlsandbox.sandbox import Sandbox
from tests.client.servers import HANG, RESET, Server, connected, reply
from tests.support import FakeClock, ScriptedLister, process


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
