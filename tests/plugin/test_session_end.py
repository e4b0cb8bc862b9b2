"""However a session ends: it says so, and nothing that it started in the embedded sandbox is left."""

import os
import subprocess
import sys
import time
import uuid
import xml.etree.ElementTree as ET
from signal import SIGINT, SIGKILL, SIGTERM
from typing import NamedTuple

import pytest

from ..support import sample_of
from .inner import ending, running, start_pytest

# A process, its child, and one that has left the group and the session and lost its parent. The
# test waits in a call of ours beside a thread that does.
SUITE = """
    import os, threading, time
    import pytest

    def test_it(tlsandbox, tlsandbox_local):
        orphan = "setsid sh -c 'sleep {seconds} & echo begun; sleep {seconds}; :'"
        program = "sleep {seconds} & " + orphan + " & wait"
        job = tlsandbox.start_process("sh", ["-c", program, "{seconds}"])
        tlsandbox.wait_for_output(job, "begun", timeout=5)
        wait = lambda: tlsandbox.wait_for_exit("sh", timeout=60)
        threading.Thread(target=wait, daemon=True).start()
        open("begun", "w").close()
        {line}

    def test_next(tlsandbox):
        tlsandbox.assert_no_oom()
"""
LONGEST = 60.0
"""Seconds that only a session that hangs takes to end, with all that it prints and kills."""


@pytest.fixture
def seconds():
    """Return a number of seconds that no other process of this machine sleeps for."""
    mark = str(10**9 + uuid.uuid4().int % 10**9)
    yield mark
    for process in running(mark):
        process.kill()


def assert_gone(seconds: str) -> None:
    deadline = time.monotonic() + LONGEST
    while left := running(seconds):
        assert time.monotonic() < deadline, left
        time.sleep(0.02)


class End(NamedTuple):
    """How a session ends: by the last line of its test, or by a signal that it receives.

    ``junit`` is whether the session writes its report.
    """

    status: int
    line: str = 'tlsandbox.wait_for_exit("sh", timeout=60)'
    signal: int = 0
    options: tuple[str, ...] = ()
    text: str = ""
    junit: bool = True


def timeout(method: str) -> tuple[str, ...]:
    """Return the options for a timeout that does not count the start of the sandbox."""
    return "--timeout=2", f"--timeout-method={method}", "--override-ini=timeout_func_only=true"


HANG = "time.sleep(60)"  # a call of the test's own, which no wait of ours cuts short
BOTH = "1 failed, 1 passed"
CUT = "cut short by pytest-timeout"
CRASHED = "worker 'gw0' crashed while running"
ENDS = {
    "a failure": End(1, "assert False", text=BOTH),
    "Ctrl-C": End(2, signal=SIGINT, text="KeyboardInterrupt"),
    "SIGTERM": End(-SIGTERM, signal=SIGTERM, junit=False),
    "SIGKILL": End(-SIGKILL, signal=SIGKILL, junit=False),
    "pytest.exit": End(7, 'pytest.exit("enough", 7)', text="Exit: enough"),
    "os._exit": End(9, "os._exit(9)", junit=False),
    "pytest-timeout by a signal": End(1, HANG, options=timeout("signal"), text=BOTH),
    "pytest-timeout by a thread": End(1, HANG, 0, timeout("thread"), "Timeout", junit=False),
    "a wait cut short, by a signal": End(1, options=timeout("signal"), text=CUT),
    "a wait cut short, by a thread": End(1, options=timeout("thread"), text=BOTH),
    "a worker that crashes": End(1, "os.kill(os.getpid(), 9)", 0, ("-n1",), CRASHED),
    # To the whole group, as a terminal does at Ctrl-C. A worker that is left alone takes 5 s to
    # see it (execnet).
    "Ctrl-C with workers": End(2, signal=SIGINT, options=("-n1",)),
    "SIGKILL with workers": End(-SIGKILL, signal=SIGKILL, options=("-n1",), junit=False),
}

SAMPLE = (
    "Ctrl-C", "SIGKILL", "pytest.exit", "pytest-timeout by a signal", "Ctrl-C with workers"
)  # fmt: skip
"""The ends that `make test` plays; `make nightly` plays all."""


@pytest.mark.parametrize("end", sample_of(ENDS, *SAMPLE))
def test_session_has_the_right_exit_status_and_leaves_no_process(pytester, seconds, end):
    pytester.makepyfile(SUITE.format(seconds=seconds, line=end.line))
    inner = start_pytest(pytester, "--tlsandbox=local", "--junitxml=junit.xml", *end.options)
    with ending(inner):
        if end.signal:
            while not (pytester.path / "begun").exists():
                assert inner.poll() is None, inner.communicate()
                time.sleep(0.02)
            assert len(running(seconds)) >= 3
            send = os.killpg if end.options else os.kill
            send(inner.pid, end.signal)
        text = b"".join(inner.communicate(timeout=LONGEST)).decode()

    assert (pytester.path / "begun").exists()
    assert inner.returncode == end.status, text
    assert end.text in text
    assert (pytester.path / "junit.xml").exists() is end.junit
    if end.junit:
        assert ET.parse(pytester.path / "junit.xml").getroot().tag == "testsuites"
    if not end.signal and end.junit and "-n1" not in end.options:
        # Not even for a moment: the end of the session waits for it.
        assert running(seconds) == []
    assert_gone(seconds)


def test_plugin_threads_do_not_keep_the_interpreter_alive(pytester, seconds):
    """A sandbox that is never closed, as in a script, or where pytest could not end in order."""
    program = """
        from pytest_tlsandbox import Sandbox, start_local_sandbox
        from pytest_tlsandbox.client.address import locate
        from pytest_tlsandbox.client.api import SandboxClient
        from pytest_tlsandbox.client.transport import Transport

        local = start_local_sandbox()
        address = locate(local)
        box = Sandbox(SandboxClient(Transport(address, address.key)))
        box.start_process("sleep", ["{seconds}"])
        print("done")
    """
    script = pytester.makepyfile(script=program.format(seconds=seconds))
    inner = pytester.popen([sys.executable, script], stdin=subprocess.DEVNULL)
    with ending(inner):
        out, _ = inner.communicate(timeout=LONGEST)

    assert (inner.returncode, out) == (0, b"done\n")
    assert_gone(seconds)
