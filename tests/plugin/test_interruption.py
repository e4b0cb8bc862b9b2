"""Interrupted while it waits: the session ends, says so, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import time
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

import pytest

from .inner import ending, running, start_pytest
from .test_ending import assert_gone, seconds

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

__all__ = ["seconds"]  # a fixture

# It waits in a call of ours, beside a thread that does, with something started.
WAITS = """
    import os, threading, time
    import pytest

    @pytest.fixture(autouse=True)
    def busy(tlsandbox):
        tlsandbox.start_process("sleep", ["{seconds}"])

    def test_it(tlsandbox):
        wait = lambda: tlsandbox.wait_for_exit("sleep", timeout=60)
        threading.Thread(target=wait, daemon=True).start()
        tlsandbox.wait_for_process("sleep")
        open("begun", "w").close()
        {line}

    def test_next(tlsandbox):
        tlsandbox.assert_no_oom()
"""
IN_TIME = 25.0
"""Seconds in which a session has ended, with all that has to be said and killed."""


def session(pytester: pytest.Pytester, seconds: str, line: str, *options: str) -> subprocess.Popen:
    pytester.makepyfile(WAITS.format(seconds=seconds, line=line))
    return start_pytest(pytester, "--tlsandbox=local", "--junitxml=junit.xml", *options)


def ended(
    pytester: pytest.Pytester,
    inner: subprocess.Popen,
    interrupt: Callable[[int], object] | None = None,
) -> tuple[int, str]:
    """Wait for the end of a session, in time; give its exit status and what it said."""
    with ending(inner):
        if interrupt is not None:
            while not (pytester.path / "begun").exists():
                assert inner.poll() is None, inner.communicate()
                time.sleep(0.02)
            interrupt(inner.pid)
        out, err = inner.communicate(timeout=IN_TIME)
    return inner.returncode, (out + err).decode()


WAIT = 'tlsandbox.wait_for_exit("sleep", timeout=60)'


def test_ctrl_c_ends_a_wait_at_once_and_the_report_is_whole(
    pytester: pytest.Pytester, seconds: str
) -> None:
    inner = session(pytester, seconds, WAIT)

    status, text = ended(pytester, inner, lambda pid: os.kill(pid, signal.SIGINT))

    assert status == pytest.ExitCode.INTERRUPTED
    assert "KeyboardInterrupt" in text
    assert ET.parse(pytester.path / "junit.xml").getroot().tag == "testsuites"
    assert_gone(seconds)


def test_sigterm_ends_it_and_the_report_is_absent(pytester: pytest.Pytester, seconds: str) -> None:
    inner = session(pytester, seconds, WAIT)

    status, _ = ended(pytester, inner, lambda pid: os.kill(pid, signal.SIGTERM))

    assert status == -signal.SIGTERM
    assert not (pytester.path / "junit.xml").exists()
    assert_gone(seconds)


def test_pytest_exit_ends_it_with_its_words(pytester: pytest.Pytester, seconds: str) -> None:
    inner = session(pytester, seconds, 'pytest.exit("enough", 7)')

    status, text = ended(pytester, inner)

    assert status == 7
    assert "Exit: enough" in text
    ET.parse(pytester.path / "junit.xml")
    assert running(seconds) == []


def test_os_exit_in_a_test_ends_it_with_its_status(pytester: pytest.Pytester, seconds: str) -> None:
    inner = session(pytester, seconds, "os._exit(9)")

    status, _ = ended(pytester, inner)

    assert status == 9
    assert not (pytester.path / "junit.xml").exists()
    assert_gone(seconds)


# A call that no wait of ours cuts short: the test's own.
HANG = "time.sleep(60)"


def test_pytest_timeout_by_signal_fails_the_test_and_goes_on(
    pytester: pytest.Pytester, seconds: str
) -> None:
    inner = session(pytester, seconds, HANG, "--timeout=2", "--timeout-method=signal")

    status, text = ended(pytester, inner)

    assert status == pytest.ExitCode.TESTS_FAILED
    assert "1 failed, 1 passed" in text
    assert running(seconds) == []


@pytest.mark.slow
def test_pytest_timeout_by_thread_ends_the_session(pytester: pytest.Pytester, seconds: str) -> None:
    inner = session(pytester, seconds, HANG, "--timeout=2", "--timeout-method=thread")

    status, text = ended(pytester, inner)

    assert status == 1
    assert "Timeout" in text
    assert_gone(seconds)


@pytest.mark.parametrize("method", [pytest.param("signal", marks=pytest.mark.slow), "thread"])
def test_a_wait_of_ours_ends_before_pytest_timeout_and_says_so(
    pytester: pytest.Pytester, seconds: str, method: str
) -> None:
    inner = session(pytester, seconds, WAIT, "--timeout=2", f"--timeout-method={method}")

    status, text = ended(pytester, inner)

    assert status == pytest.ExitCode.TESTS_FAILED
    assert "cut by pytest-timeout" in text
    assert "1 failed, 1 passed" in text
    assert running(seconds) == []


def test_a_worker_that_crashes_is_replaced_and_takes_what_it_started_along(
    pytester: pytest.Pytester, seconds: str
) -> None:
    line = "os.kill(os.getpid(), 9)"
    inner = session(pytester, seconds, line, "-n1")

    status, text = ended(pytester, inner)

    assert status == pytest.ExitCode.TESTS_FAILED
    assert "worker 'gw0' crashed while running" in text
    assert "1 failed, 1 passed" in text
    ET.parse(pytester.path / "junit.xml")
    assert_gone(seconds)


def test_no_thread_of_ours_keeps_the_interpreter_alive(
    pytester: pytest.Pytester, seconds: str
) -> None:
    """A sandbox that is never closed, as in a script, or where pytest could not end in order."""
    program = """
        from pytest_tlsandbox import Sandbox, start_local_sandbox
        from pytest_tlsandbox.client.address import locate
        from pytest_tlsandbox.client.api import SandboxClient
        from pytest_tlsandbox.client.transport import Transport

        local = start_local_sandbox()
        address = locate(local)
        box = Sandbox(SandboxClient(Transport(address, address.key, user_agent="x")))
        box.start_process("sleep", ["{seconds}"])
        print("done")
    """
    script = pytester.makepyfile(script=program.format(seconds=seconds))

    begun = time.monotonic()
    result = pytester.runpython(script)

    assert result.outlines == ["done"]
    assert result.ret == 0
    assert time.monotonic() - begun < IN_TIME
    assert_gone(seconds)
