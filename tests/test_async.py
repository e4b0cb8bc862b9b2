"""The awaitable sandbox: same results, an event loop that keeps running, and cancellation."""

import asyncio
import inspect
import threading
import time

import anyio
import pytest

from pytest_tlsandbox import AsyncSandbox, Sandbox, errors
from tests.client.servers import HANG, connected, reply
from tests.support import box_of, ended, raw

# The plugin of anyio runs each test on asyncio and on trio.
pytestmark = pytest.mark.anyio
only_asyncio = pytest.mark.parametrize("anyio_backend", ["asyncio"])


@pytest.fixture
def silent(serve):
    """Return a sandbox that never answers, and an event that is set when a request arrives."""
    asked = threading.Event()
    with connected(serve(answer=lambda _: asked.set() or [HANG])) as sandbox:
        yield AsyncSandbox(sandbox), asked


@pytest.fixture
def failed():
    """Return a scripted sandbox in which the process with pid 41 exited with code 1."""
    return AsyncSandbox(box_of([raw(41, **ended(1))]))


def calls():
    return [thread for thread in threading.enumerate() if thread.name == "tlsandbox-call"]


def assert_no_call_continues():
    """Fail if the thread of a call still runs; wait for threads that are about to end."""
    for thread in calls():
        thread.join(0.1)
    assert calls() == []


# ------------------------------------------------------------ the calls of Sandbox


def public(kind):
    return {name: getattr(kind, name) for name in dir(kind) if not name.startswith("_")}


def test_each_sandbox_method_has_an_awaitable_version_with_the_same_signature():
    sandbox, awaitable = public(Sandbox), public(AsyncSandbox)

    assert awaitable.keys() == sandbox.keys()
    for name in sandbox.keys() - {"soft", "from_now"}:
        assert inspect.signature(awaitable[name]) == inspect.signature(sandbox[name])
        assert awaitable[name].__doc__ == sandbox[name].__doc__


FAILING = [
    (lambda box: box.wait_for_exit(41), errors.UnexpectedExit),
    (lambda box: box.wait_for_exit(41, timeout=-1), errors.InvalidArgument),
    (lambda box: box.wait_until(lambda seen: 1 / 0), ZeroDivisionError),
    (lambda box: box.wait_until(lambda seen: pytest.skip("not now")), pytest.skip.Exception),
]


async def test_result_or_error_reaches_the_code_that_awaits_the_call(failed):
    assert (await failed.wait_for_exit(41, exit_code=1)).pid == 41
    for call, error in FAILING:
        with pytest.raises(error):
            await call(failed)


async def test_soft_checks_are_evaluated_when_the_block_ends(failed):
    with pytest.raises(errors.ChecksFailed, match=r"test_async\.py:"):
        async with failed.soft() as check:
            check.assert_process(41, exit_code=0)


async def test_from_now_method_records_a_new_baseline(failed):
    later = await failed.from_now()
    assert [row.pid for row in later.baseline] == [41]
    assert repr(later) == "<AsyncSandbox my-sandbox>"


# ------------------------------------------------------- the event loop keeps running


@only_asyncio
async def test_concurrent_waits_do_not_block_the_call_for_which_they_wait(serve):
    rows = []

    def answer(request):
        if request.method == "POST":
            rows.append(raw(41))
            return reply(200, raw(41))
        return reply(200, {"processes": rows})

    with connected(serve(answer=answer)) as sandbox:
        box = AsyncSandbox(sandbox)
        waits = [box.wait_for_process("train.py", timeout=10) for _ in range(40)]
        *found, started = await asyncio.gather(*waits, box.start_process("python", ["train.py"]))
    assert {row.pid for row in found} == {started.pid} == {41}


# ------------------------------------------------------------------- cancellation


async def test_cancelling_a_list_call_ends_its_current_request(silent):
    box, asked = silent

    begun = time.perf_counter()
    async with anyio.create_task_group() as group:
        group.start_soon(box.list_processes)
        await anyio.to_thread.run_sync(asked.wait)
        group.cancel_scope.cancel()
    assert time.perf_counter() - begun < 4.5  # a list call may take 5 s, and is retried for 30
    assert_no_call_continues()


async def test_wait_ends_if_it_is_cancelled_between_two_polls(serve):
    with connected(serve(reply(200, {"processes": []}))) as sandbox:
        begun = time.perf_counter()
        with anyio.move_on_after(0.3) as scope:
            await AsyncSandbox(sandbox).wait_for_process("no such process", timeout=60)
    assert scope.cancelled_caught
    assert time.perf_counter() - begun < 30
    assert_no_call_continues()


@only_asyncio
async def test_cancelled_start_request_completes_and_its_process_is_recorded(serve):
    """Otherwise nobody would kill the process."""
    sent, cancelled = threading.Event(), threading.Event()

    def answer(_):
        sent.set()
        assert cancelled.wait(5)
        return reply(200, raw(41))

    with connected(serve(answer=answer)) as sandbox:
        task = asyncio.create_task(AsyncSandbox(sandbox).start_process("python", ["train.py"]))
        await asyncio.to_thread(sent.wait)
        task.cancel()
        await asyncio.sleep(0)  # lets the task receive the cancellation
        cancelled.set()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert [row.pid for row in sandbox._started] == [41]


@only_asyncio
async def test_closing_the_coroutine_of_a_call_ends_the_thread_of_the_call(silent):
    box, asked = silent
    call = box.list_processes()

    call.send(None)
    await asyncio.to_thread(asked.wait)
    call.close()
    [thread] = calls()
    await asyncio.to_thread(thread.join, 5)
    assert not thread.is_alive()
