"""Nothing that was started in the embedded sandbox outlives the tests, however they end."""

from __future__ import annotations

import os
import signal
import time
import uuid
from typing import TYPE_CHECKING

import pytest

from .inner import ending, running, start_pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# A process, its child, and one that has left the group and the session and lost its parent.
STARTS = """
    import os, time
    import psutil

    def family(_):
        lines = [process.info["cmdline"] for process in psutil.process_iter(["cmdline"])]
        return lines.count(["sleep", "{seconds}"]) == 3

    def test_it(tlsandbox, tlsandbox_local):
        program = "sleep {seconds} & setsid sh -c 'sleep {seconds} & sleep {seconds}; :' & wait"
        tlsandbox.start_process("sh", ["-c", program, "{seconds}"])
        tlsandbox.wait_until(family, timeout=5)
        open("begun", "w").close()
        {last_line}
"""
SURVIVE = 5.0
"""Seconds that what has been killed may take to be gone."""


@pytest.fixture
def seconds() -> Iterator[str]:
    """Give a number of seconds that no other process of this machine sleeps for."""
    mark = str(10**9 + uuid.uuid4().int % 10**9)
    yield mark
    for process in running(mark):
        process.kill()


def assert_gone(seconds: str) -> None:
    deadline = time.monotonic() + SURVIVE
    while left := running(seconds):
        assert time.monotonic() < deadline, left
        time.sleep(0.02)


def run(pytester: pytest.Pytester, seconds: str, last_line: str, *options: str) -> int:
    """Run a test that starts processes and ends with that line; give the exit status."""
    pytester.makepyfile(STARTS.format(seconds=seconds, last_line=last_line))
    inner = start_pytest(pytester, "--tlsandbox=local", *options)
    with ending(inner):
        inner.communicate()
    assert (pytester.path / "begun").exists()
    return inner.returncode


def interrupt(
    pytester: pytest.Pytester, seconds: str, how: Callable[[int], None], *options: str
) -> int:
    """Run a test that starts processes and goes on and on, until ``how(pid)`` ends it."""
    pytester.makepyfile(STARTS.format(seconds=seconds, last_line="time.sleep(60)"))
    inner = start_pytest(pytester, "--tlsandbox=local", *options)
    with ending(inner):
        while not (pytester.path / "begun").exists():
            assert inner.poll() is None, inner.communicate()
            time.sleep(0.02)
        assert len(running(seconds)) >= 3
        how(inner.pid)
        inner.communicate()
    return inner.returncode


def test_nothing_is_left_when_the_session_ends(pytester: pytest.Pytester, seconds: str) -> None:
    assert run(pytester, seconds, "assert False") == 1
    # Not even for a moment: the end of the session waits for it.
    assert running(seconds) == []


@pytest.mark.parametrize(
    ("how", "status"),
    [
        pytest.param(signal.SIGINT, 2, id="interrupted"),
        pytest.param(signal.SIGTERM, -signal.SIGTERM, id="terminated"),
        pytest.param(signal.SIGKILL, -signal.SIGKILL, id="killed"),
    ],
)
def test_nothing_is_left_when_the_session_is_ended(
    pytester: pytest.Pytester, seconds: str, how: signal.Signals, status: int
) -> None:
    assert interrupt(pytester, seconds, lambda pid: os.kill(pid, how)) == status
    assert_gone(seconds)


def test_nothing_is_left_when_the_interpreter_is_left_in_a_hurry(
    pytester: pytest.Pytester, seconds: str
) -> None:
    assert run(pytester, seconds, "os._exit(7)") == 7
    assert_gone(seconds)


def test_nothing_is_left_when_pytest_timeout_ends_the_session(
    pytester: pytest.Pytester, seconds: str
) -> None:
    timeout = ("--timeout=2", "--timeout-method=thread")
    assert run(pytester, seconds, "time.sleep(60)", *timeout) == 1
    assert_gone(seconds)


@pytest.mark.parametrize(
    "how", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGKILL]
)
def test_nothing_is_left_when_xdist_is_ended_with_its_workers(
    pytester: pytest.Pytester, seconds: str, how: signal.Signals
) -> None:
    """As a terminal does at Ctrl-C. A worker that is left alone takes 5 s to see it (execnet)."""
    interrupt(pytester, seconds, lambda pid: os.killpg(pid, how), "-n1")
    assert_gone(seconds)


def test_a_program_that_forks_the_tests_does_not_end_the_sandbox(
    pytester: pytest.Pytester,
) -> None:
    """A fork ends with the finalizers of its parent; the sandbox is the parent's."""
    pytester.makepyfile(
        """
        import os, sys

        def test_it(tlsandbox):
            job = tlsandbox.start_process("sleep", ["60"])
            pid = os.fork()
            if pid == 0:
                try:
                    sys.exit()
                finally:
                    import atexit
                    atexit._run_exitfuncs()
                    os._exit(0)
            os.waitpid(pid, 0)
            tlsandbox.assert_process(job, status="running")
        """
    )
    result = pytester.runpytest_subprocess("--tlsandbox=local", "-W", "ignore::DeprecationWarning")
    result.assert_outcomes(passed=1)
