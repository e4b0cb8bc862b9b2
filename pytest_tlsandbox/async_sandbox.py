"""The sandbox for coroutines: each call of :class:`Sandbox`, awaitable.

Each call runs in a thread of its own. A pool could fill up with waits and block the very call that
they wait for.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import inspect
import sys
import threading
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from pytest_tlsandbox.arguments.unknown_names import explain_misuse
from pytest_tlsandbox.clock import Cancellation, Clock
from pytest_tlsandbox.errors import InvalidArgument
from pytest_tlsandbox.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from types import TracebackType

    from pytest_tlsandbox.history.snapshot import ProcessSnapshot
    from pytest_tlsandbox.soft_checks import Soft

    _Backend = tuple[
        Callable[[], Awaitable[object]], Callable[[], object], Callable[[], Awaitable[None]]
    ]
    """How to await the end of a thread, how the thread reports it, how to await it uncancelled."""

P = ParamSpec("P")
T = TypeVar("T")

_LONGEST_END = 5.0
"""Seconds for a call that was cancelled to end: a look ends at once, a start is made to its end."""


def _awaitable(
    method: Callable[Concatenate[Sandbox, P], T],
) -> Callable[Concatenate[AsyncSandbox, P], Coroutine[object, object, T]]:
    """Make the coroutine of a method, with its signature, for type checkers and editors too."""
    # Not Coroutine[Any, Any, T]: what is gathered of several would be Any to mypy.

    @functools.wraps(method)
    def call(
        self: AsyncSandbox, /, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[object, object, T]:
        return self._track(method.__name__, partial(method, self._sandbox, *args, **kwargs))

    return call


@explain_misuse
class AsyncSandbox:
    """The processes of one sandbox, for coroutines: each call is that of ``Sandbox``, awaited.

    The fixture ``tlsandbox_async`` is ``AsyncSandbox(tlsandbox)``; any other sandbox is made
    awaitable in the same way. The event loop, of asyncio or trio, goes on meanwhile. Cancellation
    ends a wait and the look that is in flight; a start, a signal, a kill or a restart that has been
    sent is made to its end. What a call raises is what ``Sandbox`` raises. Functions that are given
    to a call (a predicate, a condition) are plain ones, and run in its thread.
    """

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._calls: list[tuple[str, Coroutine[object, object, object]]] = []

    def __repr__(self) -> str:
        return f"<Async{repr(self._sandbox)[1:]}"

    @property
    def baseline(self) -> ProcessSnapshot | None:
        """The look at the start of the test: what ``since="test"`` means."""
        return self._sandbox.baseline

    def from_now(
        self, baseline: ProcessSnapshot | None = None
    ) -> Coroutine[object, object, AsyncSandbox]:
        """Return the same sandbox with a baseline of this moment: what was before does not count."""
        return self._track("from_now", partial(self._from_now, baseline))

    def _from_now(self, baseline: ProcessSnapshot | None) -> AsyncSandbox:
        sandbox = AsyncSandbox(self._sandbox.from_now(baseline))
        sandbox._calls = self._calls
        return sandbox

    def _track(self, name: str, work: Callable[[], T]) -> Coroutine[object, object, T]:
        """Return the coroutine of a call, and remember it until it was awaited."""
        coroutine = _in_thread(work)
        self._calls[:] = [*_unawaited(self), (name, coroutine)]
        return coroutine

    def soft(self) -> AsyncSoft:
        """Check several things on one look, and be told of all that fail.

        ``async with tlsandbox_async.soft() as check:`` takes ``check.assert_process(...)`` and the
        others, which are not awaited: nothing is asked before the block ends.
        """
        return AsyncSoft(self._sandbox.soft())

    list_processes = _awaitable(Sandbox.list_processes)
    wait_for_process = _awaitable(Sandbox.wait_for_process)
    wait_for_exit = _awaitable(Sandbox.wait_for_exit)
    wait_for_output = _awaitable(Sandbox.wait_for_output)
    wait_until = _awaitable(Sandbox.wait_until)
    assert_process = _awaitable(Sandbox.assert_process)
    assert_stays = _awaitable(Sandbox.assert_stays)
    assert_not_running = _awaitable(Sandbox.assert_not_running)
    assert_no_oom = _awaitable(Sandbox.assert_no_oom)
    assert_no_crash = _awaitable(Sandbox.assert_no_crash)
    assert_no_restart = _awaitable(Sandbox.assert_no_restart)
    assert_no_incidents = _awaitable(Sandbox.assert_no_incidents)
    start_process = _awaitable(Sandbox.start_process)
    send_signal = _awaitable(Sandbox.send_signal)
    kill_process = _awaitable(Sandbox.kill_process)
    restart_process = _awaitable(Sandbox.restart_process)
    output = _awaitable(Sandbox.output)
    kill_started = _awaitable(Sandbox.kill_started)


def check_awaited(sandbox: AsyncSandbox) -> None:
    """Raise InvalidArgument if a call was not awaited: it did nothing."""
    calls = _unawaited(sandbox)
    for _, call in calls:
        call.close()  # or Python warns of it as well
    if calls:
        name, more = calls[0][0], len(calls) - 1
        others = f", nor {'was 1 other call' if more == 1 else f'were {more} other calls'}"
        raise InvalidArgument(
            f"{name}() was not awaited{others if more else ''}: it did nothing; write "
            f"await tlsandbox_async.{name}(...)"
        )


def _unawaited(sandbox: AsyncSandbox) -> list[tuple[str, Coroutine[object, object, object]]]:
    return [
        (name, call)
        for name, call in sandbox._calls  # noqa: SLF001 - this module's own
        if inspect.getcoroutinestate(call) == inspect.CORO_CREATED
    ]


class AsyncSoft:
    """``Soft`` for ``async with``: its checks are made in the block and judged when that ends."""

    def __init__(self, soft: Soft) -> None:
        self._soft = soft

    async def __aenter__(self) -> Soft:
        return self._soft.__enter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await _in_thread(partial(self._soft.__exit__, kind, error, traceback))


async def _in_thread(work: Callable[[], T]) -> T:
    """Do some work in a thread of its own; end it, and await its end, when this is cancelled."""
    wait, notify, wait_shielded = _trio() if _is_trio_running() else _asyncio()
    cancellation = Cancellation()
    outcome: Future[T] = Future()

    def run() -> None:
        with cancellation:
            try:
                outcome.set_result(work())
            except BaseException as error:
                outcome.set_exception(error)
        with contextlib.suppress(RuntimeError):  # the event loop is closed: nobody waits
            notify()

    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(run,), name="tlsandbox-call", daemon=True)
    thread.start()
    try:
        await wait()
    except GeneratorExit:  # thrown away by a loop that is closed: nothing can be awaited
        cancellation.cancel()
        raise
    except BaseException:
        cancellation.cancel()
        await wait_shielded()
        raise
    return outcome.result()


def _is_trio_running() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return "trio" in sys.modules
    return False


def _asyncio() -> _Backend:
    """Return the backend for asyncio."""
    loop = asyncio.get_running_loop()
    done = asyncio.Event()

    async def wait_shielded() -> None:
        end = Clock.monotonic() + _LONGEST_END
        while not done.is_set() and Clock.monotonic() < end:
            # anyio cancels again and again what does not end at once.
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0.002)

    return done.wait, partial(loop.call_soon_threadsafe, done.set), wait_shielded


def _trio() -> _Backend:
    """Return the backend for trio, which is imported where it runs."""
    trio: Any = sys.modules["trio"]
    token = trio.lowlevel.current_trio_token()
    done = trio.Event()

    async def wait_shielded() -> None:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + _LONGEST_END):
            await done.wait()

    return done.wait, partial(token.run_sync_soon, done.set), wait_shielded
