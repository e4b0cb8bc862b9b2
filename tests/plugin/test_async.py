"""``tlsandbox_async`` in suites of pytest-asyncio and of anyio: what it shares, what is reported."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from .inner import error_of


class Suite(NamedTuple):
    """A suite of one of the plugins that run coroutines; its tests run once on each backend."""

    mark: str
    options: tuple[str, ...]
    backends: int

    def run(self, pytester: pytest.Pytester, code: str, *options: str) -> pytest.RunResult:
        pytester.makepyfile(code)
        path = next(pytester.path.glob("test_*.py"))
        path.write_text(f"import pytest\npytestmark = pytest.mark.{self.mark}\n{path.read_text()}")
        return pytester.runpytest_subprocess(*self.options, *options)


SCOPE = "asyncio_default_fixture_loop_scope=session"
SUITES = [Suite("asyncio", ("-o", "asyncio_mode=auto", "-o", SCOPE), 1), Suite("anyio", (), 2)]


@pytest.fixture(params=SUITES, ids=lambda suite: suite.mark)
def suite(request, monkeypatch, connected):
    suite: Suite = request.param
    other = "-p no:anyio" if suite.mark == "asyncio" else "-p no:asyncio"
    monkeypatch.setenv(
        "PYTEST_ADDOPTS", f"-W error -p no:cacheprovider -p no:hypothesispytest {other}"
    )
    return suite


def test_async_and_sync_fixtures_share_the_baseline_and_the_cleanup(pytester, suite):
    code = """
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
    """
    suite.run(pytester, code).assert_outcomes(passed=2 * suite.backends)


def test_traceback_ends_at_the_line_with_the_await_expression(pytester, suite):
    code = """
        async def test_it(tlsandbox_async):
            job = await tlsandbox_async.start_process("sh", ["-c", "exit 3"])
            await tlsandbox_async.wait_for_exit(job)
    """
    result = suite.run(pytester, code)
    text = result.stdout.str()
    assert (
        error_of(text).count('pytest_tlsandbox.UnexpectedExit: Exited 3, wanted 0: "exit 3"\n')
        == suite.backends
    )
    assert text.count(">       await tlsandbox_async.wait_for_exit(job)\n") == suite.backends
    assert text.count(
        "test_traceback_ends_at_the_line_with_the_await_expression.py:5: UnexpectedExit"
    ) == (suite.backends)
    assert "async_sandbox.py" not in text


def test_call_that_is_not_awaited_fails_the_test(pytester, suite):
    code = """
        async def test_it(tlsandbox_async):
            tlsandbox_async.assert_no_oom()

        async def test_several(tlsandbox_async):
            later = await tlsandbox_async.from_now()
            later.assert_no_crash()
            tlsandbox_async.from_now()
            await tlsandbox_async.assert_no_oom()
    """
    result = suite.run(pytester, code, "-Wdefault")

    result.assert_outcomes(passed=2 * suite.backends, errors=2 * suite.backends)
    for name in ("assert_no_oom", "assert_no_crash"):
        message = f"{name}() was not awaited; a call that is not awaited has no effect; write await tlsandbox_async.{name}(...)"
        assert f"E   pytest_tlsandbox.InvalidArgument: {message}" in result.outlines


def test_async_fixture_can_provide_a_sandbox_created_with_the_sdk(pytester, suite):
    pytester.makeconftest(
        """
        import os
        import pytest
        from tensorlake.sandbox import AsyncSandbox

        @pytest.fixture(scope="session")
        def anyio_backend():
            return "asyncio"

        @pytest.fixture(scope="session")
        async def tlsandbox_target(anyio_backend):
            yield AsyncSandbox(
                identifier="my-sandbox",
                proxy_url=os.environ.pop("TENSORLAKE_SANDBOX_PROXY_URL"),
                api_key=os.environ.pop("TENSORLAKE_API_KEY"),
            )
        """
    )
    code = """
        async def test_it(tlsandbox_async, tlsandbox_target):
            theirs = await tlsandbox_target.start_process("sleep", ["60"])
            ours = await tlsandbox_async.wait_for_process(theirs)
            assert ours.pid == theirs.pid
            async with tlsandbox_async.soft() as check:
                check.assert_process(theirs, status="running")
            await tlsandbox_async.kill_process(theirs)
            await tlsandbox_async.wait_for_process(theirs, status="signaled")
            [listed] = [row for row in await tlsandbox_target.list_processes() if row.pid == ours.pid]
            await tlsandbox_async.assert_not_running(listed)
    """
    suite.run(pytester, code).assert_outcomes(passed=1)
