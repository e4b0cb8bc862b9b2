"""What the helpers of a test say of managed processes on the embedded sandbox."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_tlsandbox import errors
from pytest_tlsandbox.connections import Connections
from pytest_tlsandbox.sandbox import Sandbox
from pytest_tlsandbox.settings import Settings
from pytest_tlsandbox.types import Screen

if TYPE_CHECKING:
    from collections.abc import Iterator

LEAKY = "import time; time.sleep(0.3); b = bytearray(2**30)"
QUICK = {"initial_backoff_ms": 10, "max_backoff_ms": 10}


@pytest.fixture(scope="module")
def connections() -> Iterator[Connections]:
    connections = Connections(
        Settings(targets=(), proxy_url=None, timeout=30.0, memory=256 * 2**20),
        ask_for_key=lambda target: None,
        test_deadline=lambda: None,
        screen=Screen(),
    )
    yield connections
    connections.close()


@pytest.fixture
def box(connections: Connections) -> Iterator[Sandbox]:
    box = connections.sandbox("local").from_now()
    yield box
    assert box.kill_started() == []


def test_a_loop_of_oom_kills_is_running_and_yet_an_oom_and_a_restart(box: Sandbox) -> None:
    first = box.start_process("python", ["-c", LEAKY], name="leaky", restart=QUICK)
    box.wait_until(
        lambda snapshot: any(
            row.managed and row.managed.name == "leaky" and row.managed.restart_count >= 2
            for row in snapshot
        )
    )

    row = box.wait_for_process("leaky", timeout=10)
    with pytest.raises(errors.ProcessOOMKilled) as oom:
        box.assert_no_oom()
    with pytest.raises(errors.ProcessRestarted) as restarted:
        box.assert_no_restart()

    assert (row.status, row.oom_killed) == ("running", False)
    assert row.pid != first.pid
    assert row.managed is not None
    assert row.managed.last_exit is not None
    assert row.managed.last_exit.oom_killed
    assert oom.value.first_line.startswith("OOM-killed: leaky, first run and ")
    assert restarted.value.first_line.startswith("Restarted: leaky, first run and ")


def test_a_managed_process_that_is_well_passes_every_assertion(box: Sandbox) -> None:
    box.start_process("sleep", ["60"], name="calm", restart=QUICK)

    box.wait_for_process("calm")
    box.assert_no_oom(suspected=True)
    box.assert_no_restart()
    box.assert_no_incidents()


def test_a_restart_that_was_asked_for_is_none_to_complain_of(box: Sandbox) -> None:
    process = box.start_process("sleep", ["60"], name="renewed", restart=QUICK)

    assert box.restart_process(process).pid != process.pid

    managed = box.wait_for_process("renewed").managed
    assert managed is not None
    assert managed.restart_count == 1
    box.assert_no_restart()
    box.assert_no_oom(suspected=True)


def test_one_that_gave_up_after_oom_kills_is_told(box: Sandbox) -> None:
    job = box.start_process("python", ["-c", LEAKY], restart={"max_restarts": 1, **QUICK})

    with pytest.raises(errors.ProcessOOMKilled):
        box.wait_for_exit(job, timeout=20)
    with pytest.raises(errors.ProcessOOMKilled):
        box.assert_no_oom()
