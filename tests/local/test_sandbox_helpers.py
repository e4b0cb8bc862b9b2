"""Test the ``Sandbox`` helpers with real programs in the embedded sandbox."""

from __future__ import annotations

import re
import time
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


def test_assertions_report_oom_kills_and_restarts_from_earlier_runs_of_a_process(
    box: Sandbox,
) -> None:
    first = box.start_process("python", ["-c", LEAKY], name="leaky", restart=QUICK)
    box.wait_until(
        lambda snapshot: any(
            row.managed and row.managed.name == "leaky" and row.managed.restart_count >= 2
            for row in snapshot
        )
    )

    row = box.wait_for_process("leaky", timeout=30)
    with pytest.raises(
        errors.ProcessOOMKilled, match=r"^OOM-killed twice at a limit of \d+ MiB: leaky\n"
    ):
        box.assert_no_oom()
    with pytest.raises(
        errors.ProcessRestarted, match=r"^Restarted twice \(last run: OOM-killed\): leaky\n"
    ):
        box.assert_no_restart()

    assert (row.status, row.oom_killed, row.pid == first.pid) == ("running", False, False)
    assert row.managed
    assert row.managed.last_exit
    assert row.managed.last_exit.oom_killed


def test_healthy_managed_process_passes_every_assertion_after_a_requested_restart(
    box: Sandbox,
) -> None:
    first = box.start_process("sleep", ["60"], name="calm", restart=QUICK)
    for restart_count in range(2):
        row = box.wait_for_process("calm")
        assert row.managed
        assert row.managed.restart_count == restart_count
        box.assert_no_oom(suspected=True)
        box.assert_no_restart()
        box.assert_no_incidents()
        if restart_count == 0:
            assert box.restart_process(first).pid != first.pid


def test_oom_kills_are_reported_after_the_supervisor_gave_up(box: Sandbox) -> None:
    job = box.start_process("python", ["-c", LEAKY], restart={"max_restarts": 1, **QUICK})

    with pytest.raises(errors.ProcessOOMKilled):
        box.wait_for_exit(job, timeout=30)
    with pytest.raises(errors.ProcessOOMKilled):
        box.assert_no_oom()


def test_wait_for_output_fails_if_the_program_exits_without_printing_the_text(box: Sandbox) -> None:
    job = box.start_process("sh", ["-c", "echo no such module >&2; exit 1"])
    start = time.monotonic()

    with pytest.raises(errors.UnexpectedExit, match=r"\| no such module"):
        box.wait_for_output(job, "ready", timeout=60)

    assert time.monotonic() - start < 30


@pytest.mark.parametrize(
    "script", ["seq 1 50000; echo THE END; sleep 600", "yes a | head -n 32000; echo THE END"]
)
def test_matching_line_is_found_among_many_lines_of_output(box: Sandbox, script: str) -> None:
    job = box.start_process("sh", ["-c", script])

    assert box.wait_for_output(job, re.compile("^THE END$"), timeout=60) == "THE END"


def test_all_output_can_be_read_and_searched_after_the_exit(box: Sandbox) -> None:
    job = box.start_process("sh", ["-c", "seq 1 5000; echo done >&2; exit 3"])
    box.wait_for_exit(job, exit_code=3)

    assert box.output(job) == [*map(str, range(1, 5001)), "done"]
    assert box.wait_for_output(job, "5000") == "5000"
    assert box.wait_for_output(job, "done") == "done"
