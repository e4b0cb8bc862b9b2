"""Coroutines: ``tlsandbox_async`` runs on the event loops of pytest-asyncio and anyio."""

ASYNCIO = "pytest_asyncio.plugin"
STRICT = ("-o", "asyncio_default_fixture_loop_scope=function")
GUARD = "--tlsandbox-guard=oom,leak"


def test_helpers_run_on_the_loop_of_pytest_asyncio(run, pytester):
    pytester.makepyfile(
        """
        import asyncio

        async def test_waits_run_side_by_side(tlsandbox_async):
            job = await tlsandbox_async.start_process("sh", ["-c", "echo ready; sleep 0.3; exit 3"])
            server = await tlsandbox_async.start_process("sleep", ["60"], name="web")

            line, done, web = await asyncio.gather(
                tlsandbox_async.wait_for_output(job, "ready"),
                tlsandbox_async.wait_for_exit(job, exit_code=3),
                tlsandbox_async.wait_for_process("web", stable_for=0.3),
            )

            assert (line, done.exit_code, web.pid) == ("ready", 3, server.pid)

        async def test_loop_keeps_running_during_a_wait(tlsandbox_async):
            async def answer(reader, writer):
                writer.write(b"go on")
                writer.close()

            # The job ends when this event loop has answered it.
            async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
                port = server.sockets[0].getsockname()[1]
                code = f"import socket; socket.create_connection(('127.0.0.1', {port})).recv(9)"
                job = await tlsandbox_async.start_process("python", ["-c", code])
                await tlsandbox_async.wait_for_exit(job, timeout=10)

        async def test_plain_fixture_waits_in_a_thread(tlsandbox):
            job = tlsandbox.start_process("sh", ["-c", "exit 3"])
            wait = asyncio.to_thread(tlsandbox.wait_for_exit, job, exit_code=3, timeout=10)
            assert (await wait).exit_code == 3
        """
    )
    run(ASYNCIO, "--asyncio-mode=auto", *STRICT, GUARD).assert_outcomes(passed=3)


def test_session_fixture_of_pytest_asyncio_can_use_the_sandbox(run, pytester):
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


def test_task_group_of_anyio_can_wait_on_asyncio_and_on_trio(run, pytester):
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
        """
    )
    result = run("anyio.pytest_plugin", "-v", GUARD)
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*test_it[[]asyncio[]] PASSED*", "*test_it[[]trio[]] PASSED*"])
