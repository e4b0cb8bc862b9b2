"""``AsyncSandbox``, which provides the methods of :class:`Sandbox` as awaitable methods.

Each call runs in a new thread. With a thread pool, waits could occupy all threads, and block the
calls that would end the waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from functools import partial, wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from pytest_tlsandbox.clock import Cancellation, Clock
from pytest_tlsandbox.errors import InvalidArgument
from pytest_tlsandbox.history.snapshot import ProcessSnapshot
from pytest_tlsandbox.sandbox import Sandbox
from pytest_tlsandbox.soft_checks import Soft

P = ParamSpec("P")
T = TypeVar("T")

_LONGEST_END = 5.0
"""The maximum time in seconds until a cancelled call ends.

Only a start request may take that long.
"""


def _awaitable(
    method: Callable[Concatenate[Sandbox, P], T],
) -> Callable[Concatenate[AsyncSandbox, P], Coroutine[object, object, T]]:
    """Return a coroutine function that wraps a method and keeps its signature and its types."""
    # If the type were Coroutine[Any, Any, T], mypy would infer Any for the results of
    # asyncio.gather.

    @wraps(method)
    def call(
        self: AsyncSandbox, /, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[object, object, T]:
        coroutine = _in_thread(partial(method, self._sandbox, *args, **kwargs))
        self._calls.append((method.__name__, coroutine))
        return coroutine

    return call


class AsyncSandbox:
    """The methods of ``Sandbox`` as awaitable methods, for use in coroutines.

    The fixture ``tlsandbox_async`` provides ``AsyncSandbox(tlsandbox)``; you can wrap any other
    sandbox in the same way. The methods take the same arguments, return the same results and raise
    the same errors as the methods of ``Sandbox``. The event loop of asyncio or trio keeps running
    during a call.

    Cancelling a call ends its wait and its current poll. If a request to start, signal, kill or
    restart a process has already been sent, the request is still completed. Predicates and
    conditions must be plain functions, not coroutine functions, because they do not run in the
    event loop.

    Args:
        sandbox: the sandbox to wrap.

    Attributes:
        baseline: the snapshot that ``since="test"`` stands for; if it is None, assertions check all
            known incidents.

    """

    def __init__(self, sandbox: Sandbox) -> None:
        self.baseline = sandbox.baseline
        self._sandbox = sandbox
        self._calls: list[tuple[str, Coroutine[object, object, object]]] = []

    def __repr__(self) -> str:
        return f"<Async{repr(self._sandbox)[1:]}"

    async def from_now(self, baseline: ProcessSnapshot | None = None) -> AsyncSandbox:
        """Return a sandbox object with a new baseline, so that assertions ignore earlier incidents.

        Args:
            baseline: the snapshot to use as the baseline; if it is None, the call takes a snapshot
                now.

        Returns:
            A new sandbox object. The existing object keeps its baseline.

        Raises:
            InfrastructureError: the processes could not be listed.
            InvalidArgument: ``baseline`` is not a snapshot.

        """
        sandbox = AsyncSandbox(await _in_thread(partial(self._sandbox.from_now, baseline)))
        sandbox._calls = self._calls
        return sandbox

    def soft(self) -> AsyncSoft:
        """Evaluate several checks on the same snapshots, and report all failures in one error.

        Begin a block with ``async with tlsandbox_async.soft() as check:``. In the block, call
        ``check.assert_process(...)`` and other assertions of ``check``. Do not write ``await``
        before these calls. ``check`` has all assertions except ``assert_stays``. When the block
        ends, the plugin evaluates all assertions of the block together.

        Returns:
            An asynchronous context manager that raises ``ChecksFailed`` at the end of the block if
            a check failed.

        """
        return AsyncSoft(self._sandbox.soft())

    list_processes = _awaitable(Sandbox.list_processes)
    wait_for_process = _awaitable(Sandbox.wait_for_process)
    wait_for_exit = _awaitable(Sandbox.wait_for_exit)
    wait_for_output = _awaitable(Sandbox.wait_for_output)
    wait_for_port = _awaitable(Sandbox.wait_for_port)
    wait_for_restart = _awaitable(Sandbox.wait_for_restart)
    wait_for_count = _awaitable(Sandbox.wait_for_count)
    wait_until = _awaitable(Sandbox.wait_until)
    assert_process = _awaitable(Sandbox.assert_process)
    assert_stays = _awaitable(Sandbox.assert_stays)
    assert_not_running = _awaitable(Sandbox.assert_not_running)
    assert_no_oom = _awaitable(Sandbox.assert_no_oom)
    assert_no_crash = _awaitable(Sandbox.assert_no_crash)
    assert_no_restart = _awaitable(Sandbox.assert_no_restart)
    assert_no_incidents = _awaitable(Sandbox.assert_no_incidents)
    start_process = _awaitable(Sandbox.start_process)
    run_process = _awaitable(Sandbox.run_process)
    stop_process = _awaitable(Sandbox.stop_process)
    send_signal = _awaitable(Sandbox.send_signal)
    kill_process = _awaitable(Sandbox.kill_process)
    restart_process = _awaitable(Sandbox.restart_process)
    output = _awaitable(Sandbox.output)
    kill_started = _awaitable(Sandbox.kill_started)


def check_awaited(sandbox: AsyncSandbox) -> None:
    """Check that every call was awaited, because a call that was not awaited had no effect."""
    for name, call in sandbox._calls:  # noqa: SLF001 - this module's own
        if inspect.getcoroutinestate(call) == inspect.CORO_CREATED:
            call.close()  # without this, Python would also warn about the call
            raise InvalidArgument(
                f"{name}() was not awaited; a call that is not awaited has no effect; write "
                f"await tlsandbox_async.{name}(...)"
            )


class AsyncSoft:
    """Collects checks in an ``async with`` block and evaluates them together when the block ends.

    ``AsyncSandbox.soft()`` returns an object of this class.
    """

    def __init__(self, soft: Soft) -> None:
        self._soft = soft

    async def __aenter__(self) -> Soft:
        return self._soft.__enter__()

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        await _in_thread(partial(self._soft.__exit__, kind, error, trace))


async def _in_thread(work: Callable[[], T]) -> T:
    """Call a function in a new thread, and cancel the function if its caller is cancelled.

    Args:
        work: the function to call.

    Returns:
        The result of the function.

    Raises:
        GeneratorExit: the event loop was closed before the call ended.

    """
    wait, notify, sleep, shield = _running_backend()
    cancellation = Cancellation()
    outcome: Future[T] = Future()

    def run() -> None:
        with cancellation:
            try:
                outcome.set_result(work())
            except BaseException as error:
                outcome.set_exception(error)
        with contextlib.suppress(RuntimeError):  # the event loop is closed
            notify()

    threading.Thread(target=run, name="tlsandbox-call", daemon=True).start()
    try:
        await wait()
    except BaseException as error:
        cancellation.cancel()
        if not isinstance(error, GeneratorExit):  # the event loop is closed, nothing can be awaited
            end = Clock.monotonic() + _LONGEST_END
            while not outcome.done() and Clock.monotonic() < end:
                with shield():  # around each sleep, because anyio cancels a task repeatedly
                    await sleep(0.002)
        raise
    return outcome.result()


def _running_backend() -> tuple[Any, Any, Any, Any]:
    """Return four functions of asyncio or trio, whichever is running.

    The first awaits the end of a thread, and the thread calls the second when it ends. The third
    sleeps. The fourth returns a context manager in which the task is not cancelled.
    """
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        import trio

        ended, token = trio.Event(), trio.lowlevel.current_trio_token()
        shield = partial(trio.CancelScope, shield=True)
        return ended.wait, partial(token.run_sync_soon, ended.set), trio.sleep, shield
    done = asyncio.Event()
    suppress = partial(contextlib.suppress, asyncio.CancelledError)
    return done.wait, partial(loop.call_soon_threadsafe, done.set), asyncio.sleep, suppress
