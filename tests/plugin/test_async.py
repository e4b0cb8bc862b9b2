"""``tlsandbox_async`` in suites of pytest-asyncio and of anyio: what it shares, what is reported."""

from __future__ import annotations

import pytest

ASYNCIO = "-p asyncio -o asyncio_mode=auto -o asyncio_default_fixture_loop_scope=session"

SUITE = """
started = []

@pytest.fixture
async def server(tlsandbox_async):
    server = await tlsandbox_async.start_process("sleep", ["60"])
    return await tlsandbox_async.wait_for_process(server)

async def test_that_leaves_one_running(server, tlsandbox_async, tlsandbox):
    assert tlsandbox_async.baseline is tlsandbox.baseline
    assert tlsandbox.baseline.find(server.identity) is None
    await tlsandbox_async.assert_process("sleep 60", status="running")
    tlsandbox.assert_process(server, status="running")
    async with tlsandbox_async.soft() as check:
        check.assert_process(server, status="running")
    started.append(server)

async def test_the_next_one(tlsandbox_async):
    await tlsandbox_async.assert_process(started[-1], status="signaled", signal=9)

async def test_fails(tlsandbox_async):
    job = await tlsandbox_async.start_process("sh", ["-c", "exit 3"])
    await tlsandbox_async.wait_for_exit(job)

@pytest.mark.filterwarnings("default")
async def test_forgets_to_await(tlsandbox_async):
    tlsandbox_async.assert_no_oom()

@pytest.mark.filterwarnings("default")
async def test_forgets_to_await_one_of_several(tlsandbox_async):
    later = await tlsandbox_async.from_now()
    later.assert_no_crash()
    tlsandbox_async.from_now()
    await tlsandbox_async.assert_no_oom()
"""
NOT_AWAITED = (
    "E   pytest_tlsandbox.InvalidArgument: {0}() was not awaited; a call that is not awaited has no "
    "effect; write await tlsandbox_async.{0}(...)"
)


WITH_SDK = """
import os
from tensorlake.sandbox import AsyncSandbox

@pytest.fixture(scope="session")
def anyio_backend():
    return "asyncio"

@pytest.fixture(scope="session")
async def tlsandbox_target(anyio_backend):
    url, key = map(os.environ.pop, ["TENSORLAKE_SANDBOX_PROXY_URL", "TENSORLAKE_API_KEY"])
    yield AsyncSandbox(identifier="my-sandbox", proxy_url=url, api_key=key)

async def test_it(tlsandbox_async, tlsandbox_target):
    theirs = await tlsandbox_target.start_process("sleep", ["60"])
    assert (await tlsandbox_async.wait_for_process(theirs)).pid == theirs.pid
    await tlsandbox_async.kill_process(theirs)
    await tlsandbox_async.wait_for_process(theirs, status="signaled")
    [listed] = [row for row in await tlsandbox_target.list_processes() if row.pid == theirs.pid]
    await tlsandbox_async.assert_not_running(listed)
"""


@pytest.mark.usefixtures("connected")
@pytest.mark.parametrize(
    ("plugin", "options", "times"),  # anyio runs each coroutine twice: on asyncio and on trio
    [("asyncio", ASYNCIO, 1), ("anyio", "-p anyio", 2)],
)
def test_async_fixture_acts_like_the_sync_fixture_and_reports_calls_that_are_not_awaited(
    pytester, plugin, options, times
):
    """The last module uses a sandbox of the SDK, which an async fixture provides."""
    mark = f"import pytest\npytestmark = pytest.mark.{plugin}\n"
    pytester.makepyfile(test_it=mark + SUITE, test_sdk=mark + WITH_SDK)
    result = pytester.runpytest_subprocess(*options.split())
    text = result.stdout.str()

    result.assert_outcomes(passed=4 * times + 1, failed=times, errors=2 * times)
    exited = '\nE       pytest_tlsandbox.UnexpectedExit: Exited 3, wanted 0: "exit 3"\n'
    assert text.count(exited) == times
    assert text.count(">       await tlsandbox_async.wait_for_exit(job)\n") == times
    assert text.count("test_it.py:25: UnexpectedExit") == times
    assert "async_sandbox.py" not in text
    for name in ("assert_no_oom", "assert_no_crash"):
        assert NOT_AWAITED.format(name) in result.outlines
