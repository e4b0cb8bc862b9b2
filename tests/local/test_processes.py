"""Test how real processes end, what they print, and which processes a kill reaches."""

import asyncio
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from pytest_tlsandbox.local.standard_streams import OUTPUT_LIMIT
from tests.contract.sandbox_api import until

from .conftest import is_gone, new_sandbox, unstarted

CHILD = "setsid sleep 600 & echo $!; wait"
ORPHAN = "(setsid sh -c 'echo $$; exec sleep 600' &); exec sleep 600"


@pytest.mark.parametrize("script", [CHILD, ORPHAN])
def test_kill_reaches_descendants_that_left_the_group(api, sleeper, script):
    pid = api.start("sh", "-c", script)
    child = int(api.lines(pid, at_least=1)[0])
    until(lambda: os.getsid(child) != pid)
    api.kill(pid)
    until(lambda: is_gone(child))
    assert api.get(sleeper)["status"] == "running"


def test_output_is_complete_when_the_sandbox_reports_the_exit():
    async def end_with_unread_output():
        reading, writing = os.pipe()
        process = unstarted(stdout=reading)
        os.write(writing, b"one\n" * 10_000 + b"rest")
        os.close(writing)
        process.end(wait_status=0, oom_kills=0)
        return process.stdout.lines()

    assert asyncio.run(end_with_unread_output()) == ["one"] * 10_000 + ["rest"]


def test_oldest_output_lines_are_discarded_when_the_output_exceeds_the_limit(api):
    count, kept = OUTPUT_LIMIT // 100_000 + 20, OUTPUT_LIMIT // 100_000
    lines = api.printed("python", "-c", f"for n in range({count}): print(str(n).zfill(99_999))")
    assert lines == [str(n).zfill(99_999) for n in range(count - kept, count)]


def test_command_named_python_starts_the_interpreter_that_runs_the_tests(api):
    assert api.printed("python", "-c", "import sys; print(sys.executable)") == [sys.executable]


def test_process_does_not_inherit_open_files(api):
    assert api.printed("sh", "-c", "ls /proc/$$/fd") == ["0", "1", "2"]


def test_api_key_never_appears_in_an_environment_or_command_line(api, sandbox, sleeper):
    key = sandbox.api_key.reveal().encode()
    for pid in (sandbox.pid, sleeper):
        for place in ("environ", "cmdline"):
            # Both files are empty for a moment while a process executes its program.
            assert key not in until(Path(f"/proc/{pid}/{place}").read_bytes)


# ------------------------------- many processes: a small version of benchmarks/local.py


@pytest.mark.parametrize("times", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_sandbox_reports_every_exit_status_and_leaves_no_zombies_after_a_burst(times):
    scripts = {f"exit {code}": (code, None) for code in range(256)}
    scripts |= {f"kill -{number} $$": (None, number) for number in (1, 2, 3, 6, 9, 11, 15)}
    wanted = list(scripts.items()) * times
    with new_sandbox() as api, ThreadPoolExecutor(3) as pool:
        pids = list(pool.map(lambda case: api.start("sh", "-c", case[0]), wanted))
        until(lambda: all(row["status"] != "running" for row in api.rows()))
        ends = {row["pid"]: (row["exit_code"], row["signal"]) for row in api.rows()}
        assert ends == {pid: end for pid, (_, end) in zip(pids, wanted, strict=True)}
        assert psutil.Process(api.sandbox.pid).children(recursive=True) == []


@pytest.mark.parametrize("lists", [20, pytest.param(100, marks=pytest.mark.slow)])
def test_sandbox_lists_300_running_processes_and_kills_them_when_it_closes(lists):
    with new_sandbox() as api:
        pids = {api.start("sleep", "600") for _ in range(300)}
        for number in range(lists):
            assert {row["pid"] for row in api.rows() if row["status"] == "running"} == pids, number
        api.sandbox.close()
    assert all(is_gone(pid) for pid in pids)
