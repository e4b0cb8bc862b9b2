"""Plugins that replace sockets, the clock, or the arguments of a test."""

import time

import pytest

LISTS = "def test_it(tlsandbox): assert tlsandbox.list_processes() is not None"


BLOCKS = {"--disable-socket": "SocketBlockedError", "--allow-hosts=192.0.2.1": "SocketConnectBlockedError"}  # fmt: skip


@pytest.mark.parametrize(("option", "name"), BLOCKS.items())
def test_error_says_immediately_that_pytest_socket_blocks_the_sandbox(run, option, name):
    start = time.monotonic()
    result = run(LISTS, "pytest_socket", option, "-W", "default::UserWarning")
    assert time.monotonic() - start < 25  # a transient error is retried for 30 s
    result.assert_outcomes(errors=1)
    unreachable = f"E *SandboxUnreachable: my-sandbox cannot be reached: {name}: *"
    hint = "* hint  add the host of the sandbox to allow_hosts of pytest-socket*"
    result.stdout.fnmatch_lines([unreachable, hint])
    result.stdout.no_fnmatch_line("*is the sandbox up?*")


def test_embedded_sandbox_starts_and_works_if_pytest_socket_allows_its_host(run):
    options = "--allow-hosts=127.0.0.1", "--tlsandbox=local"
    run(LISTS, "pytest_socket", *options).assert_outcomes(passed=1)


WAIT = """
import logging
import pytest_socket

def test_it(tlsandbox, caplog):
    job = tlsandbox.start_process("sh", ["-c", "sleep 2; exit 3"])
    with caplog.at_level(logging.DEBUG, "pytest_tlsandbox"):
        {}
        assert tlsandbox.wait_for_exit(job, exit_code=3).exit_code == 3
    pytest_socket.enable_socket()
    polls = [text for text in caplog.messages if text.startswith("poll of")]
    assert (len(polls) < 10) == {}  # without a stream, a wait of two seconds makes about 30 polls
"""


@pytest.mark.parametrize(
    ("block", "has_stream"), [("", True), ("pytest_socket.disable_socket()", False)]
)
def test_stream_that_pytest_socket_blocks_does_not_affect_the_wait(run, block, has_stream):
    """The list uses a connection that was open before."""
    result = run(WAIT.format(block, has_stream), "pytest_socket", "--allow-hosts=127.0.0.1")
    result.assert_outcomes(passed=1)


FREEZE, TRAVEL = "freezegun.freeze_time('2020-01-01')", "time_machine.travel('2020-01-01', tick={})"


FROZEN = """
import freezegun, pytest, time_machine
from pytest_tlsandbox import WaitTimedOut

@{}
def test_it(tlsandbox):
    tlsandbox.run_process("sleep", ["0.2"], timeout=10)
    tlsandbox.start_process("sleep", ["60"])
    with pytest.raises(WaitTimedOut):
        tlsandbox.wait_for_exit("sleep 60", timeout=0.3)
    tlsandbox.assert_stays("sleep 60", stable_for=0.2)
"""


@pytest.mark.parametrize("frozen", [FREEZE, TRAVEL.format(True), TRAVEL.format(False)])
def test_wait_ends_at_its_deadline_even_if_the_clock_is_frozen(run, frozen):
    plugin = "time_machine" if frozen is not FREEZE else ""
    run(FROZEN.format(frozen), plugin, "--tlsandbox-guard=oom").assert_outcomes(passed=1)


EXAMPLES = """
import pytest
from hypothesis import given, settings, strategies

@pytest.mark.parametrize("allowed", [range(256), range(9)])
@settings(max_examples=20, deadline=None, database=None, derandomize=True)
@given(code=strategies.integers(0, 255))
def test_it(tlsandbox_session, allowed, code):
    tlsandbox_session.run_process("sh", ["-c", f"exit {code}"], exit_code=allowed, timeout=10)
"""


def test_hypothesis_examples_can_use_the_session_sandbox(run):
    result = run(EXAMPLES, "_hypothesis_pytestplugin")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["E *UnexpectedExit: Exited 9, wanted 0 or 1 or *", "E *code=9,"])
