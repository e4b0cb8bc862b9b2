"""Test doubles for users' helpers: scripted listings, a fake clock, no sleep."""

import asyncio
import time

import pytest

from pytest_tlsandbox import errors
from pytest_tlsandbox.async_sandbox import AsyncSandbox
from pytest_tlsandbox.clock import Clock
from pytest_tlsandbox.sandbox import Sandbox
from pytest_tlsandbox.testing.clock import FakeClock, no_sleep
from pytest_tlsandbox.testing.scripted_lister import ScriptedLister, row
from tests.client.conftest import serve  # noqa: F401 - a fixture
from tests.client.servers import connected, reply

EXITED = row(41, status="exited", exit_code=0)
BUSY = errors.SandboxUnreachable("my-sandbox answered 503", label="503", transient=True)


def elapsed(call):
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


# ------------------------------------------------------------------ scripted listings


def test_a_wait_on_a_script_takes_the_time_of_the_script_and_none_of_ours():
    lister = ScriptedLister({0: [row(41)], 300: [EXITED]})

    took = elapsed(lambda: Sandbox(lister).wait_for_exit(41, timeout=400))

    assert took < 100
    assert 300 <= lister.polls[-1] < 300.3


def test_poll_returns_the_rows_bodies_and_errors_of_the_script():
    lister = ScriptedLister(
        {
            0: [row(41)],
            1: BUSY,
            2: {"processes": [EXITED], "more": "than is known"},
            3: b"<html>please log in</html>",
        }
    )
    box = Sandbox(lister)

    assert box.wait_for_exit(41).exit_code == 0
    lister.clock.now += 5
    with pytest.raises(errors.ContractViolation):
        box.list_processes()


def test_earlier_incidents_are_in_the_baseline_as_in_a_test():
    box = Sandbox(ScriptedLister({0: [row(41, status="oom_killed")]}))

    box.from_now().assert_no_oom()
    with pytest.raises(errors.ProcessOOMKilled):
        box.assert_no_oom()


def test_output_is_read_by_stream_and_shown_in_failures():
    failed = row(41, status="exited", exit_code=1)
    box = Sandbox(ScriptedLister({0: [failed]}, output={41: {"stdout": ["a"], "stderr": ["b"]}}))

    assert box.output(41) == ["a", "b"]
    assert box.output(41, "stdout") == ["a"]
    assert box.wait_for_output(41, "b") == "b"
    with pytest.raises(errors.UnexpectedExit, match=r"\n +stderr +1 line\n +\| b\n"):
        box.wait_for_exit(41)


def test_a_start_takes_until_the_script_lists_the_process():
    lister = ScriptedLister({0: [row(40)], 2: [row(40), row(41, args=("serve.py",))]})
    box = Sandbox(lister)

    server = box.start_process("python", ["serve.py"])

    assert (server.pid, box.wait_for_process(server).pid) == (41, 41)
    assert lister.polls == [2.0]
    with pytest.raises(errors.RequestRefused, match="lists no such process"):
        box.start_process("python", ["other.py"])


def test_a_signal_and_a_kill_change_nothing_and_are_in_the_requests():
    lister = ScriptedLister({0: [row(41)]})
    box = Sandbox(lister)

    box.send_signal(41, 15)
    box.kill_process(41)

    assert [request for request in lister.requests if not request.startswith("GET")] == [
        "POST /processes/41/signal",
        "DELETE /processes/41",
    ]
    box.assert_process(41, status="running")


def test_it_is_a_lister_too_and_awaitable():
    lister = ScriptedLister({0: [EXITED]}, label="staging")

    assert lister.list()[0].exit_code == 0
    assert asyncio.run(AsyncSandbox(Sandbox(lister)).wait_for_exit(41)).pid == 41
    assert repr(lister) == "<ScriptedLister of staging>"


def test_an_empty_script_is_an_empty_sandbox():
    assert len(ScriptedLister({}).list()) == 0
    assert ScriptedLister({5: [row(41)]}).list()[0].pid == 41  # from the beginning, and at 5 s


def test_a_clock_can_be_shared_and_shows_what_was_slept():
    clock = FakeClock(now=0.0)
    box = Sandbox(ScriptedLister({0: []}, clock=clock, latency=0.01))

    with pytest.raises(errors.ProcessNotFound):
        box.wait_for_process("no such", timeout=10)

    assert clock.now == pytest.approx(10, abs=0.1)
    assert min(clock.slept) == 0.05
    assert max(clock.slept) <= 0.35


# --------------------------------------------------------------------------- no sleep


@pytest.fixture
def box(serve):  # noqa: F811
    server = serve(reply(200, {"processes": [row(41)]}))
    with connected(server) as box:
        yield box


def test_wait_without_pauses_takes_as_long_as_its_polls(box):
    def wait():
        with no_sleep(), pytest.raises(errors.WaitTimedOut, match="after 60 s"):
            box.wait_for_exit(41, timeout=60)

    assert elapsed(wait) < 50


def test_the_clock_is_as_it_was_afterwards():
    before = Clock.sleep, Clock.monotonic

    with no_sleep():
        begun = Clock.monotonic()
        Clock.sleep(1000)
        assert 1000 <= Clock.monotonic() - begun < 1100

    assert (Clock.sleep, Clock.monotonic) == before
    assert Clock.monotonic() < begun + 1000


def test_cancellation_ends_a_wait_that_does_not_sleep(box):
    async def test():
        wait = AsyncSandbox(box).wait_for_process("no such", timeout=1e9)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(wait, 0.2)

    with no_sleep():
        asyncio.run(test())
