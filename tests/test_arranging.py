"""What the end of a test does about what the test has started."""

from __future__ import annotations

import pytest

from pytest_tlsandbox import errors
from pytest_tlsandbox.sandbox import Sandbox
from tests.support import FakeClock, ScriptedLister, process


def left_by(fault: errors.SandboxFault) -> list[int]:
    """Give the pids that are left running where the sandbox answers with a fault."""

    class Client(ScriptedLister):
        def list(self, *, patience: float):
            return self.look()

    box = Sandbox(Client(FakeClock(), {0.0: fault}), started=[process(41)])
    return [row.pid for row in box.kill_started()]


def asleep(state: str, *, transient: bool) -> errors.SandboxNotRunning:
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
def test_what_could_not_be_killed_is_told_where_something_is_left_to_kill(fault, left):
    assert left_by(fault) == left
