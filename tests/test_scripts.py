"""Test doubles for tests of users' helpers: scripted lists, a fake clock, waits without pauses."""

import asyncio
import time

import pytest

from pytest_tlsandbox import AsyncSandbox, Sandbox, errors
from pytest_tlsandbox.clock import Clock
from pytest_tlsandbox.testing import FakeClock, ScriptedLister, no_sleep, row
from tests.client.servers import connected, reply

EXITED = row(41, status="exited", exit_code=0)
BUSY = errors.SandboxUnreachable("my-sandbox answered 503", label="503", transient=True)


# ---------------------------------------------------------------------- scripted lists


def test_scripted_sandbox_returns_the_rows_and_bodies_and_errors_of_its_script():
    body = {"processes": [EXITED], "more": "than is known"}
    lister = ScriptedLister({0: [row(41)], 300: BUSY, 302: body, 310: b"<html>log in</html>"})
    box = Sandbox(lister)

    begun = time.perf_counter()
    assert box.wait_for_exit(41, timeout=400).exit_code == 0
    assert 302 <= lister.polls[-1] < 305
    assert time.perf_counter() - begun < 100
    lister.clock.now += 10
    with pytest.raises(errors.ContractViolation):
        box.list_processes()


def test_scripted_output_is_readable_per_stream_and_is_shown_in_failure_messages():
    failed = row(41, status="exited", exit_code=1)
    box = Sandbox(ScriptedLister({0: [failed]}, output={41: {"stdout": ["a"], "stderr": ["b"]}}))

    assert (box.output(41), box.output(41, "stdout")) == (["a", "b"], ["a"])
    assert box.wait_for_output(41, "b") == "b"
    with pytest.raises(errors.UnexpectedExit, match=r"\n +stderr, 1 line\n +\| b\n"):
        box.wait_for_exit(41)


def test_start_call_on_a_scripted_sandbox_returns_when_the_script_lists_the_process():
    lister = ScriptedLister({0: [row(40)], 2: [row(40), row(41, args=("serve.py",))]})
    box = Sandbox(lister)

    server = box.start_process("python", ["serve.py"])
    assert (server.pid, box.wait_for_process(server).pid) == (41, 41)
    assert lister.polls == [2.0]
    with pytest.raises(errors.RequestRefused, match="lists no process with this command line"):
        box.start_process("python", ["other.py"])


def test_scripted_sandbox_records_signals_and_kills_without_applying_them():
    lister = ScriptedLister({0: [row(41)]})
    box = Sandbox(lister)

    box.send_signal(41, 15)
    box.kill_process(41)

    changes = [request for request in lister.requests if not request.startswith("GET")]
    assert changes == ["POST /processes/41/signal", "DELETE /processes/41"]
    box.assert_process(41, status="running")


def test_scripted_sandbox_lists_the_first_rows_of_its_script_even_before_their_time():
    assert len(ScriptedLister({}).list()) == 0
    lister = ScriptedLister({5: [row(41)]}, clock=FakeClock(now=7.0))
    assert (lister.list()[0].pid, lister.clock.now) == (41, 7.0)


# ----------------------------------------------------------------- waits without pauses


@pytest.fixture
def box(serve):
    with connected(serve(reply(200, {"processes": [row(41)]}))) as box:
        yield box


def test_wait_skips_its_pauses_in_a_block_with_a_fake_clock(box):
    before = Clock.sleep, Clock.monotonic

    begun = time.perf_counter()
    with no_sleep(), pytest.raises(errors.WaitTimedOut, match="after 60 s"):
        box.wait_for_exit(41, timeout=60)

    assert time.perf_counter() - begun < 50
    assert (Clock.sleep, Clock.monotonic) == before


def test_wait_can_be_cancelled_in_a_block_that_skips_pauses(box):
    async def test():
        wait = AsyncSandbox(box).wait_for_process("no such", timeout=1e9)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(wait, 0.2)

    with no_sleep():
        asyncio.run(test())
