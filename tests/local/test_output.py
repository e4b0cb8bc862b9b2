"""Waiting for what a real program writes."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import pytest

from pytest_tlsandbox import errors
from pytest_tlsandbox.client.address import locate
from pytest_tlsandbox.client.api import SandboxClient
from pytest_tlsandbox.client.transport import Transport
from pytest_tlsandbox.sandbox import Sandbox
from pytest_tlsandbox.types import Screen

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_tlsandbox.local.server import LocalSandbox

SERVER = """
import sys, time
print("starting")
time.sleep(0.3)
print("ready on", 8080)
sys.stdout.flush()
time.sleep(60)
"""
CHATTY = "import time\nprint('ready')\ntime.sleep(60)"


@pytest.fixture
def box(sandbox: LocalSandbox) -> Iterator[Sandbox]:
    client = SandboxClient(
        Transport(locate(sandbox), sandbox.api_key, user_agent="tests"), lambda: None
    )
    box = Sandbox(client, screen=Screen(columns=72)).from_now()
    yield box
    assert box.kill_started() == []
    client.close()


def test_a_server_that_says_it_is_ready_after_300_ms_is_waited_for_and_no_longer(
    box: Sandbox,
) -> None:
    server = box.start_process("python", ["-u", "-c", SERVER])
    start = time.perf_counter()

    line = box.wait_for_output(server, re.compile(r"ready on \d+"), timeout=10)

    assert line == "ready on 8080"
    assert time.perf_counter() - start < 2


def test_a_program_whose_output_is_buffered_is_told_how_to_write_at_once(box: Sandbox) -> None:
    # Empty is unset: a machine may have it set for all programs.
    server = box.start_process("python", ["-c", CHATTY], env={"PYTHONUNBUFFERED": ""})

    with pytest.raises(errors.WaitTimedOut) as caught:
        box.wait_for_output(server, "ready", timeout=0.6)

    message = re.sub(r"\d[\d:.]*(?= |\)|$|,)", "N", str(caught.value), flags=re.MULTILINE)
    assert message.splitlines() == [
        'Not written: "ready" by python -c (pid N) after N s',
        "",
        "  it has written nothing",
        rf"  process  python -c {CHATTY}".replace("\n", r"\n").replace("(60)", "(N)"),
        "  lived    since N (sandbox clock, UTC)",
        "  looks    N, N ms each",
        "  output   none on stderr or stdout",
        "  sandbox  local",
        "  try      is its output buffered? python -u and PYTHONUNBUFFERED=N",
        "           write at once; a longer timeout=, if it only needs more time",
    ]


def test_what_a_program_wrote_before_it_ended_is_found_after(box: Sandbox) -> None:
    job = box.start_process("sh", ["-c", "echo one; echo two >&2; exit 3"])
    box.wait_for_exit(job, exit_code=3)

    assert box.wait_for_output(job, "one") == "one"
    assert box.wait_for_output(job, "two") == "two"


def test_a_program_that_ends_without_a_word_of_it_ends_the_wait(box: Sandbox) -> None:
    job = box.start_process("sh", ["-c", "echo no such module >&2; exit 1"])
    start = time.perf_counter()

    with pytest.raises(errors.UnexpectedExit) as caught:
        box.wait_for_output(job, "ready", timeout=30)

    assert time.perf_counter() - start < 3
    assert "| no such module" in str(caught.value)


def test_a_line_among_many_is_found_in_time(box: Sandbox) -> None:
    job = box.start_process("sh", ["-c", "seq 1 50000; echo ready; sleep 60"])
    start = time.perf_counter()

    assert box.wait_for_output(job, re.compile("^ready$"), timeout=20) == "ready"
    assert time.perf_counter() - start < 5


def test_the_last_line_of_a_program_that_writes_much_before_it_ends_is_found(box: Sandbox) -> None:
    job = box.start_process("sh", ["-c", "yes a | head -n 32000; echo THE END"])

    assert box.wait_for_output(job, "THE END", timeout=60) == "THE END"


def test_all_that_a_program_wrote_can_be_read_after_its_exit(box: Sandbox) -> None:
    job = box.start_process("sh", ["-c", "seq 1 5000; echo done >&2"])
    box.wait_for_exit(job)

    assert box.output(job) == [*map(str, range(1, 5001)), "done"]
