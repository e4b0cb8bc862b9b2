"""Helpers that start inner runs, and that read their output."""

from __future__ import annotations

import contextlib
import re
import socket
import subprocess
import sys
import types
from collections.abc import Iterator
from typing import Any

import psutil
import pytest


def providing(value: object) -> types.ModuleType:
    """Return a plugin for an inner run in this process; its fixture ``provided`` has that value."""
    plugin = types.ModuleType("providing")
    plugin.provided = pytest.fixture(scope="session")(lambda: value)  # type: ignore[attr-defined]
    return plugin


def errors_of_tests(record: pytest.HookRecorder) -> dict[str, str]:
    """Return the error of each failed inner test: the lines that pytest marks with an E."""
    return {
        report.nodeid.partition("::")[2]: "\n".join(
            re.findall(r"^E(?: +(.*?) *)?$", report.longreprtext, re.MULTILINE)
        )
        for report in record.getreports("pytest_runtest_logreport")
        if report.failed
    }


def passed(pytester: pytest.Pytester, code: str, *options: str, **more: Any) -> int:
    """Run inner tests, check that none failed or was skipped, and return how many passed."""
    pytester.makepyfile(code)
    good, skipped, failed = pytester.inline_run(*options, **more).listoutcomes()
    assert not skipped
    assert not failed, "\n".join(report.longreprtext for report in failed)
    return len(good)


def usage_error_of(result: pytest.RunResult) -> str:
    """Return the single line that pytest prints for a usage error."""
    [line] = [line for line in result.errlines if line.startswith("ERROR: ")]
    return line.removeprefix("ERROR: ")


def start_pytest(pytester: pytest.Pytester, *options: str) -> subprocess.Popen[bytes]:
    """Start an inner run in a new process group and session."""
    command = [sys.executable, "-m", "pytest", *options]
    return pytester.popen(command, stdin=subprocess.DEVNULL, start_new_session=True)


@contextlib.contextmanager
def ending(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Kill the process at the end of the context if it still runs."""
    try:
        yield
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def running(mark: str) -> list[psutil.Process]:
    """List the living processes that have an argument with that mark."""
    return [
        process
        for process in psutil.process_iter(["status", "cmdline"])
        if process.info["status"] != psutil.STATUS_ZOMBIE
        and any(mark in argument for argument in process.info["cmdline"] or ())
    ]


def unused_url() -> str:
    """Return a URL of this machine at which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return f"http://127.0.0.1:{listening.getsockname()[1]}"


PROGRAMS = """
        import os, socket, time, unittest, pytest

        HOG = "python", ["-c", "taken = [bytearray(8 << 20) for _ in range(100)]"]
        CHECK = {"type": "tcp", "initial_delay_ms": 0, "interval_ms": 20}

        def run(sandbox, *command):  # and do not declare that an incident is expected
            job = sandbox.start_process(*command)
            sandbox.wait_until(lambda seen: seen.find(job.identity).ended)

        def be_killed(sandbox): run(sandbox, *HOG)

        def crash(sandbox, mark="here", signal="SEGV"):
            run(sandbox, "sh", ["-c", f"kill -{signal} $$", mark])

        def have_a_child_killed(sandbox):  # which the sandbox does not list
            script = 'python -c "$1"; echo killed; sleep 600'
            job = sandbox.start_process("sh", ["-c", script, "build.sh", HOG[1][1]])
            sandbox.wait_for_output(job, "killed")

        def be_restarted(sandbox, folder, program, name="web"):
            script = f"cd {folder}; [ -e ran ] && exec sleep 60; touch ran; {program}"
            policy = {"policy": "on_failure", "max_restarts": 5, "initial_backoff_ms": 1}
            sandbox.start_process("sh", ["-c", script], name=name, restart=policy)

            def restarted(seen):  # the count rises before the new run begins
                row = seen.where(name=name)[-1]
                return row.status == "running" and row.managed.restart_count

            sandbox.wait_until(restarted)
"""
"""What inner tests start: a program that needs more memory than there is, and others."""


def run(pytester: pytest.Pytester, suite: str, *options: str) -> pytest.RunResult:
    """Run a suite that may use ``PROGRAMS`` in this process."""
    pytester.makepyfile(test_it=PROGRAMS + suite)
    return pytester.runpytest_inprocess(*options)


def act_between_tests(pytester: pytest.Pytester, function: str) -> None:
    """Have inner runs call a function of ``PROGRAMS`` after each test named ``test_before``."""
    conftest = f"""
        @pytest.fixture(scope="session", autouse=True)
        def keep(tlsandbox_session):
            global sandbox
            sandbox = tlsandbox_session

        @pytest.hookimpl(trylast=True)
        def pytest_runtest_logfinish(nodeid):
            if nodeid.endswith("test_before") and "sandbox" in globals():  # not in a controller
                {function}(sandbox)
    """
    pytester.makeconftest(PROGRAMS + conftest)


def run_apart(pytester: pytest.Pytester, suite: str, *options: str) -> pytest.RunResult:
    """Run such a suite in another process, because it uses xdist, reruns, or the SDK."""
    pytester.makepyfile(test_it=PROGRAMS + suite)
    return pytester.runpytest_subprocess(*options)


def failures(result: pytest.RunResult) -> dict[str, str]:
    """Return the lines of the short summary for failed inner tests, without varying numbers."""
    lines = "\n".join(section_of(result, "short test summary info"))
    found = re.findall(r"^(?:FAILED|ERROR|OOM) \S+?::(\S+)(?: - (.*))?$", lines, re.MULTILINE)
    return {name: _without_numbers(error) for name, error in found}


def outcomes(result: pytest.RunResult) -> dict[str, list[str]]:
    """Return for each inner test the outcomes that -v shows, one for each phase that has one."""
    words: dict[str, list[str]] = {}
    for line in result.outlines:
        if match := re.match(r"\S+::(\S+) ([A-Z]+)(?: \(.*\))? +\[", line):
            words.setdefault(match[1], []).append(match[2])
    return words


def section_of(result: pytest.RunResult, title: str) -> list[str]:
    """Return the lines of a section of the terminal."""
    found = re.search(
        rf"^=+ {title} =+\n(.*?)(?=^=|\Z)", result.stdout.str(), re.DOTALL | re.MULTILINE
    )
    return found[1].splitlines() if found else []


def summary(result: pytest.RunResult) -> list[str]:
    """Return the lines of the guard's section, without varying numbers and names of files."""
    lines = section_of(result, "tlsandbox guard")
    return [_without_numbers(re.sub(r"\S+\.py::", "", line)) for line in lines if line]


def _without_numbers(text: str) -> str:
    """Replace pids, numbers of health checks, and the time in which a sandbox was not monitored."""
    text = re.sub(r"\d+(?= failed health checks)", "#", re.sub(r"(?<=pid )\d+", "#", text))
    return re.sub(r"(?<=not monitored for )[\d.]+ m?s", "# s", text)
