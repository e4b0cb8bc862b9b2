"""How real processes end, what they print, and whom a kill reaches."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_tlsandbox.local.bodies import StartRequest
from pytest_tlsandbox.local.pipes import OUTPUT_LIMIT
from pytest_tlsandbox.local.process import Pipes, Process, now_ms

from .conftest import Api, is_gone, until

if TYPE_CHECKING:
    from pytest_tlsandbox.local.server import LocalSandbox


@pytest.mark.parametrize("code", [0, 1, 3, 137, 255])
def test_an_exit_is_exited_with_its_code(api: Api, code: int) -> None:
    row = api.ended(api.start("sh", "-c", f"exit {code}"))
    assert (row["status"], row["exit_code"], row["signal"]) == ("exited", code, None)
    assert row["ended_at"] >= row["started_at"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL, signal.SIGSEGV])
def test_a_signal_is_signaled_with_its_number(api: Api, number: signal.Signals) -> None:
    pid = api.start("sleep", "600")
    api.call("POST", f"/processes/{pid}/signal", json={"signal": number})
    row = api.ended(pid)
    assert (row["status"], row["exit_code"], row["signal"]) == ("signaled", None, number)
    assert row["oom_killed"] is False


def test_a_process_that_kills_itself_is_signaled(api: Api) -> None:
    row = api.ended(api.start("sh", "-c", "kill -9 $$"))
    assert (row["status"], row["signal"], row["oom_killed"]) == ("signaled", 9, False)


def test_a_signal_reaches_the_whole_group(api: Api) -> None:
    pid = api.start("sh", "-c", "sleep 600 & echo $!; wait")
    child = int(api.lines(pid, at_least=1)[0])
    api.call("POST", f"/processes/{pid}/signal", json={"signal": 15})
    until(lambda: is_gone(child))


def test_a_signal_does_not_reach_another_process(api: Api, sleeper: int) -> None:
    pid = api.start("sleep", "600")
    api.call("POST", f"/processes/{pid}/signal", json={"signal": 15})
    api.ended(pid)
    assert api.get(sleeper)["status"] == "running"


@pytest.mark.parametrize(
    "script",
    [
        "setsid sleep 600 & echo $!; wait",
        "(setsid sh -c 'echo $$; exec sleep 600' &); exec sleep 600",
    ],
    ids=["descendant", "orphan"],
)
def test_a_kill_reaches_what_left_the_group(api: Api, sleeper: int, script: str) -> None:
    pid = api.start("sh", "-c", script)
    child = int(api.lines(pid, at_least=1)[0])
    until(lambda: os.getsid(child) != pid)
    api.call("DELETE", f"/processes/{pid}")
    until(lambda: is_gone(child))
    assert api.get(sleeper)["status"] == "running"


def test_a_grandchild_that_holds_stdout_does_not_delay_the_end(api: Api) -> None:
    began = time.monotonic()
    pid = api.start("sh", "-c", "sleep 600 & echo $!; exit 4")
    row = api.ended(pid)
    assert time.monotonic() - began < 5
    assert row["exit_code"] == 4
    grandchild = int(api.lines(pid)[0])
    assert not is_gone(grandchild)
    os.kill(grandchild, signal.SIGKILL)


def test_output_is_complete_as_soon_as_the_end_is_told() -> None:
    async def end_with_unread_output() -> list[str]:
        reading, writing = os.pipe()
        request = StartRequest("sh", stderr_mode="discard")
        pipes = Pipes(None, reading, None)
        process = Process(1, 2, request, now_ms(), pipes, output_changed=lambda more: None)
        os.write(writing, b"one\n" * 10_000)
        os.write(writing, b"rest")
        os.close(writing)
        process.end(wait_status=0, oom_kills=0)
        return process.stdout.lines()

    assert asyncio.run(end_with_unread_output()) == ["one"] * 10_000 + ["rest"]


def test_a_line_shows_when_it_is_complete(api: Api) -> None:
    pid = api.start("sh", "-c", r"printf 'whole\r\npart'; read go; echo ial", stdin_mode="pipe")
    assert api.lines(pid, at_least=1) == ["whole"]
    api.call("POST", f"/processes/{pid}/stdin", data=b"\n")
    api.ended(pid)
    assert api.lines(pid) == ["whole", "partial"]


def test_output_that_is_not_utf8_is_replaced(api: Api) -> None:
    pid = api.start("printf", r"a\n\377\376\nb\n")
    api.ended(pid)
    assert api.lines(pid) == ["a", "\ufffd\ufffd", "b"]


def test_the_oldest_lines_go_when_there_are_too_many(api: Api) -> None:
    line = "x" * 99_990
    count = OUTPUT_LIMIT // 100_000 + 20
    pid = api.python(f"for n in range({count}): print({line!r} + str(n).zfill(9))")
    api.ended(pid)
    lines = api.lines(pid)
    assert lines[-1] == line + str(count - 1).zfill(9)
    assert all(len(line) == 99_999 for line in lines)
    assert OUTPUT_LIMIT - 100_000 <= 100_000 * len(lines) <= OUTPUT_LIMIT


def test_python_is_the_interpreter_of_the_tests(api: Api) -> None:
    pid = api.python("import sys; print(sys.executable)")
    api.ended(pid)
    assert api.lines(pid) == [sys.executable]


def test_a_process_leads_a_session_of_its_own(api: Api, sleeper: int) -> None:
    assert os.getsid(sleeper) == os.getpgid(sleeper) == sleeper


def test_a_process_inherits_no_open_file(api: Api) -> None:
    program = """
import os
fds = [fd for fd in range(3, 100) if os.path.exists(f"/proc/self/fd/{fd}")]
print([os.readlink(f"/proc/self/fd/{fd}") for fd in fds])
"""
    pid = api.python(program)
    api.ended(pid)
    assert api.lines(pid) == ["[]"]


def test_the_key_is_in_no_environment_and_on_no_command_line(
    api: Api, sandbox: LocalSandbox, sleeper: int
) -> None:
    key = sandbox.api_key.reveal().encode()
    for pid in (sandbox.pid, sleeper):
        for place in ("environ", "cmdline"):
            # Empty for the moment in which a program takes the place of another.
            assert key not in until(Path(f"/proc/{pid}/{place}").read_bytes)
