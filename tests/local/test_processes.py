"""Test how real processes end, what they print, and which processes a kill reaches."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_tlsandbox.local.standard_streams import OUTPUT_LIMIT
from tests.contract.sandbox_api import until

from .conftest import Api, is_gone, unstarted

if TYPE_CHECKING:
    from pytest_tlsandbox.local.sandbox import LocalSandbox


@pytest.mark.parametrize(
    "script",
    [
        "setsid sleep 600 & echo $!; wait",
        "(setsid sh -c 'echo $$; exec sleep 600' &); exec sleep 600",
    ],
    ids=["descendant", "orphan"],
)
def test_kill_reaches_descendants_that_left_the_group(api: Api, sleeper: int, script: str) -> None:
    pid = api.start("sh", "-c", script)
    child = int(api.lines(pid, at_least=1)[0])
    until(lambda: os.getsid(child) != pid)
    api.kill(pid)
    until(lambda: is_gone(child))
    assert api.get(sleeper)["status"] == "running"


def test_output_is_complete_when_the_sandbox_reports_the_exit() -> None:
    async def end_with_unread_output() -> list[str]:
        reading, writing = os.pipe()
        process = unstarted(stdout=reading)
        os.write(writing, b"one\n" * 10_000 + b"rest")
        os.close(writing)
        process.end(wait_status=0, oom_kills=0)
        return process.stdout.lines()

    assert asyncio.run(end_with_unread_output()) == ["one"] * 10_000 + ["rest"]


def test_oldest_output_lines_are_discarded_when_the_output_exceeds_the_limit(api: Api) -> None:
    line = "x" * 99_990
    count = OUTPUT_LIMIT // 100_000 + 20
    program = f"for n in range({count}): print({line!r} + str(n).zfill(9))"
    lines = api.printed("python", "-c", program)
    assert lines[-1] == line + str(count - 1).zfill(9)
    assert all(len(line) == 99_999 for line in lines)
    assert OUTPUT_LIMIT - 100_000 <= 100_000 * len(lines) <= OUTPUT_LIMIT


def test_command_named_python_starts_the_interpreter_that_runs_the_tests(api: Api) -> None:
    assert api.printed("python", "-c", "import sys; print(sys.executable)") == [sys.executable]


def test_process_does_not_inherit_open_files(api: Api) -> None:
    program = """
import os
fds = [fd for fd in range(3, 100) if os.path.exists(f"/proc/self/fd/{fd}")]
print([os.readlink(f"/proc/self/fd/{fd}") for fd in fds])
"""
    assert api.printed("python", "-c", program) == ["[]"]


def test_api_key_never_appears_in_an_environment_or_command_line(
    api: Api, sandbox: LocalSandbox, sleeper: int
) -> None:
    key = sandbox.api_key.reveal().encode()
    for pid in (sandbox.pid, sleeper):
        for place in ("environ", "cmdline"):
            # Both files are empty for a moment while a process executes its program.
            assert key not in until(Path(f"/proc/{pid}/{place}").read_bytes)
