"""Coroutines: ``tlsandbox_async`` is awaited on the loops of pytest-asyncio and anyio."""

ASYNCIO = "pytest_asyncio.plugin"
STRICT = ("-o", "asyncio_default_fixture_loop_scope=function")
GUARD = "--tlsandbox-guard=oom,leak"


def test_helpers_run_on_the_loop_of_pytest_asyncio(run, pytester):
    pytester.makepyfile(
        """
        import asyncio
        import pytest

        async def test_waits_run_side_by_side(tlsandbox_async):
            job = await tlsandbox_async.start_process("sh", ["-c", "echo ready; sleep 0.3; exit 3"])
            server = await tlsandbox_async.start_process("sleep", ["60"], name="web")

            line, done, web = await asyncio.gather(
                tlsandbox_async.wait_for_output(job, "ready"),
                tlsandbox_async.wait_for_exit(job, exit_code=3),
                tlsandbox_async.wait_for_process("web", stable_for=0.3),
            )

            assert (line, done.exit_code, web.pid) == ("ready", 3, server.pid)

        async def test_loop_goes_on_during_a_wait(tlsandbox_async):
            async def answer(reader, writer):
                writer.write(b"go on")
                writer.close()

            # The job ends when this very loop has answered it.
            async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
                port = server.sockets[0].getsockname()[1]
                code = f"import socket; socket.create_connection(('127.0.0.1', {port})).recv(9)"
                job = await tlsandbox_async.start_process("python", ["-c", code])
                await tlsandbox_async.wait_for_exit(job, timeout=10)

        async def test_cancelled_wait_ends_at_once(tlsandbox_async):
            job = await tlsandbox_async.start_process("sleep", ["60"])
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(tlsandbox_async.wait_for_exit(job, timeout=60), 0.2)
            await tlsandbox_async.assert_process(job, status="running")

        async def test_plain_fixture_waits_in_a_thread(tlsandbox):
            job = tlsandbox.start_process("sh", ["-c", "exit 3"])
            wait = asyncio.to_thread(tlsandbox.wait_for_exit, job, exit_code=3, timeout=10)
            assert (await wait).exit_code == 3
        """
    )
    run(ASYNCIO, "--asyncio-mode=auto", *STRICT, GUARD).assert_outcomes(passed=4)


def test_a_fixture_of_pytest_asyncio_serves_a_whole_session(run, pytester):
    pytester.makepyfile(
        """
        import pytest
        import pytest_asyncio
        from pytest_tlsandbox import AsyncSandbox

        @pytest_asyncio.fixture(scope="session", loop_scope="session")
        async def server(tlsandbox_session):
            sandbox = AsyncSandbox(tlsandbox_session)
            server = await sandbox.start_process("sleep", ["60"])
            return await sandbox.wait_for_process(server)

        @pytest.mark.asyncio
        @pytest.mark.parametrize("time", [1, 2])
        async def test_it(server, tlsandbox_async, time):
            await tlsandbox_async.assert_process(server, status="running")
        """
    )
    run(ASYNCIO, *STRICT, GUARD).assert_outcomes(passed=2)


def test_a_failure_under_pytest_asyncio_ends_at_the_line_that_awaits(run, pytester):
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.asyncio
        async def test_it(tlsandbox_async):
            job = await tlsandbox_async.start_process("sh", ["-c", "exit 3"])
            await tlsandbox_async.wait_for_exit(job)
        """
    )
    result = run(ASYNCIO, *STRICT, "--tb=short")
    result.assert_outcomes(failed=1)
    result.stdout.re_match_lines(
        [
            r"test_.*\.py:6: in test_it",
            r"    await tlsandbox_async\.wait_for_exit\(job\)",
            r"E   pytest_tlsandbox\.UnexpectedExit: Exited 3: sh -c \(pid \d+\), wanted exit code 0",
        ],
        consecutive=True,
    )


def test_a_task_group_of_anyio_waits_on_asyncio_and_on_trio(run, pytester):
    pytester.makepyfile(
        """
        from functools import partial

        import anyio
        import pytest

        @pytest.mark.anyio
        async def test_it(tlsandbox_async):
            async with anyio.create_task_group() as group:
                for code in (0, 3):
                    job = await tlsandbox_async.start_process("sh", ["-c", f"exit {code}"])
                    group.start_soon(partial(tlsandbox_async.wait_for_exit, job, exit_code=code))
            with anyio.move_on_after(0.2) as scope:
                await tlsandbox_async.wait_for_process("no such process", timeout=60)
            assert scope.cancelled_caught
        """
    )
    result = run("anyio.pytest_plugin", "-v", GUARD)
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*test_it[[]asyncio[]] PASSED*", "*test_it[[]trio[]] PASSED*"])
