"""The awaitable sandbox: same results, an event loop that keeps running, and cancellation."""

from __future__ import annotations

import asyncio
import inspect
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import anyio
import pytest
import trio

from pytest_tlsandbox import errors
from pytest_tlsandbox.async_sandbox import AsyncSandbox
from pytest_tlsandbox.client.address import Address
from pytest_tlsandbox.client.api import SandboxClient
from pytest_tlsandbox.client.transport import Transport
from pytest_tlsandbox.local.sandbox import start_local_sandbox
from pytest_tlsandbox.redact import Secret
from pytest_tlsandbox.sandbox import Sandbox
from tests.support import FakeClock, ScriptedLister, ended, raw

if TYPE_CHECKING:
    from collections.abc import Coroutine

BACKENDS = ("asyncio", "anyio on asyncio", "trio")


@pytest.fixture(params=BACKENDS)
def run(request):
    """Run a coroutine function, by each kind of event loop there is."""
    if request.param == "asyncio":
        return lambda function: asyncio.run(function())
    if request.param == "trio":
        return trio.run
    return anyio.run


def connect(url: str, key: Secret, identifier: str = "my-sandbox") -> Sandbox:
    address = Address(identifier, url, {"Host": f"{identifier}.local"})
    return Sandbox(SandboxClient(Transport(address, key, user_agent="test")))


@pytest.fixture(scope="module")
def local():
    with start_local_sandbox() as served:
        sandbox = connect(served.url, served.api_key, served.identifier)
        yield sandbox
        sandbox._client.close()


@pytest.fixture
def box(local):
    box = local.from_now()
    yield AsyncSandbox(box)
    assert box.kill_started() == []


@pytest.fixture
def silent():
    """Return a sandbox that never answers, and an event that is set when a request arrives."""
    asked = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                asked.set()
                connection.recv(65536)  # until the client hangs up

        thread = threading.Thread(target=serve)
        thread.start()
        sandbox = connect(f"http://127.0.0.1:{server.getsockname()[1]}", Secret("k"))
        yield AsyncSandbox(sandbox), asked
        sandbox._client.close()
        thread.join(5)
        assert not thread.is_alive()


def scripted(script: dict[float, Any]) -> AsyncSandbox:
    return AsyncSandbox(Sandbox(ScriptedLister(FakeClock(), script)))


def calls() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "tlsandbox-call"]


def no_call_goes_on() -> bool:
    """Return whether each thread of a call has ended; wait for threads that are about to end."""
    for thread in calls():
        thread.join(0.1)
    return calls() == []


# ------------------------------------------------------------------- one engine


def public(kind: type) -> dict[str, Any]:
    return {name: getattr(kind, name) for name in dir(kind) if not name.startswith("_")}


def test_every_call_of_the_sandbox_is_there_with_the_same_arguments_and_words():
    sandbox, awaitable = public(Sandbox), public(AsyncSandbox)

    assert awaitable.keys() - {"baseline"} == sandbox.keys()
    for name in sandbox.keys() - {"soft", "from_now"}:
        assert inspect.signature(awaitable[name]) == inspect.signature(sandbox[name])
        assert awaitable[name].__doc__ == sandbox[name].__doc__


def test_wait_returns_its_result(run, box):
    async def test() -> None:
        job = await box.start_process("sh", ["-c", "echo ready; exit 3"])
        assert await box.wait_for_output(job, "ready") == "ready"
        assert (await box.wait_for_exit(job, exit_code=3)).exit_code == 3
        await box.assert_no_oom()

    run(test)


def test_error_of_a_call_is_raised_where_it_is_awaited(run):
    box = scripted({0: [raw(41, **ended(1))]})

    async def test() -> None:
        with pytest.raises(errors.UnexpectedExit, match=r"^Exited 1: train\.py \(pid 41\)"):
            await box.wait_for_exit(41)
        with pytest.raises(errors.InvalidArgument):
            await box.wait_for_exit(41, timeout=-1)
        with pytest.raises(errors.InvalidArgument, match="did you mean 'working_dir'"):
            await box.start_process("sh", cwd="/tmp")
        with pytest.raises(errors.InvalidArgument, match=r"^restart must be a mapping"):
            await box.start_process("sh", restart="always")
        with pytest.raises(errors.InvalidArgument, match=r"^condition must be a function of one"):
            await box.wait_until(lambda: True)
        with pytest.raises(ZeroDivisionError):
            await box.wait_until(lambda seen: 1 / 0)
        with pytest.raises(pytest.skip.Exception):
            await box.wait_until(lambda seen: pytest.skip("so be it"))

    run(test)


def test_soft_checks_are_made_in_the_block_and_evaluated_when_it_ends(run):
    box = scripted({0: [raw(41, **ended(1))]})

    async def test() -> None:
        async with box.soft() as check:
            check.assert_process(41, exit_code=1)
            check.assert_no_oom()
        with pytest.raises(errors.ChecksFailed) as failure:
            async with box.soft() as check:
                check.assert_process(41, exit_code=0)
                check.assert_process(41, status="running")
        assert failure.value.first_line.startswith("2 of 2 checks failed: train.py (pid 41)")
        assert "test_async.py:" in str(failure.value)

    run(test)


def test_a_baseline_of_this_moment_is_taken_on_request(run, box):
    async def test() -> None:
        first = await box.start_process("true", [])
        await box.wait_for_exit(first)
        later = await box.from_now()
        assert later.baseline.find(first.identity)
        assert repr(later) == "<AsyncSandbox local>"

    run(test)


def test_a_condition_that_is_a_coroutine_function_is_refused_since_it_is_always_truthy():
    async def condition(seen: object) -> bool:
        return False

    box = scripted({0: [raw(41)]})

    for call in (box.wait_until(condition), box.wait_for_process(condition)):
        with pytest.raises(
            errors.InvalidArgument, match="got a coroutine function, whose result is always true"
        ):
            asyncio.run(call)


# ----------------------------------------------------------- the loop goes on turning


def test_waits_do_not_queue_for_threads(box):
    """However many there are: or the call that they wait for would wait for their end, and the loop too."""

    async def test() -> None:
        waits = [box.wait_for_process("sleep 7", timeout=10) for _ in range(40)]
        *_, started = await asyncio.gather(*waits, box.start_process("sleep", ["7"]))
        assert (await box.assert_process(started, status="running")).pid == started.pid

    asyncio.run(test())


# ------------------------------------------------------------------- calling off


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_cancellation_ends_a_wait_that_sleeps(box, backend):
    async def test() -> None:
        begun = time.perf_counter()
        with anyio.move_on_after(0.3) as scope:
            await box.wait_for_process("no such process", timeout=60)
        assert scope.cancelled_caught
        assert time.perf_counter() - begun < 30
        assert no_call_goes_on()

    anyio.run(test, backend=backend)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_cancellation_ends_the_list_call_that_is_in_flight(silent, backend):
    box, asked = silent

    async def test() -> None:
        begun = time.perf_counter()
        async with anyio.create_task_group() as group:
            group.start_soon(box.list_processes)
            await anyio.to_thread.run_sync(asked.wait)
            group.cancel_scope.cancel()
        assert time.perf_counter() - begun < 4.5  # a list call may take 5 s, and is tried for 30
        assert no_call_goes_on()

    anyio.run(test, backend=backend)


def test_cancelled_call_raises_cancelled_error_of_asyncio(silent):
    box, asked = silent

    async def test() -> None:
        task = asyncio.create_task(box.wait_for_exit("job"))
        await asyncio.to_thread(asked.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert no_call_goes_on()

    asyncio.run(test())


def test_timeout_of_asyncio_ends_a_wait(box):
    async def test() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(box.wait_until(lambda seen: False), 0.2)
        assert no_call_goes_on()

    asyncio.run(test())


def test_a_start_that_is_cancelled_is_made_to_its_end_and_its_process_is_known(box, monkeypatch):
    """Else nobody would kill what it has started."""
    transport = box._sandbox._client._transport
    send, sent, called_off = transport._call, threading.Event(), threading.Event()

    def send_slowly(*call: Any) -> object:
        sent.set()
        assert called_off.wait(5)
        return send(*call)

    async def test() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(transport, "_call", send_slowly)
            task = asyncio.create_task(box.start_process("sleep", ["61"]))
            await asyncio.to_thread(sent.wait)
            task.cancel()
            await asyncio.sleep(0)  # lets the task receive the cancellation
            called_off.set()
            with pytest.raises(asyncio.CancelledError):
                await task
        seen = await box.list_processes()
        assert [row.pid for row in seen.alive] == [row.pid for row in box._sandbox._started] != []

    asyncio.run(test())


def test_a_call_that_is_thrown_away_ends_its_thread(silent):
    box, asked = silent
    call: Coroutine[Any, Any, Any] = box.list_processes()

    async def test() -> None:
        call.send(None)
        await asyncio.to_thread(asked.wait)
        call.close()
        [thread] = calls()
        await asyncio.to_thread(thread.join, 5)
        assert not thread.is_alive()

    asyncio.run(test())
