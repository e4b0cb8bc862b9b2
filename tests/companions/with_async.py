"""Async tests: the plain fixture works in them, off the loop in a thread or on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    Run = Callable[..., pytest.RunResult]


def test_a_wait_in_a_thread_lets_the_loop_of_pytest_asyncio_go_on(
    run: Run, pytester: pytest.Pytester
) -> None:
    pytester.makepyfile(
        """
        import asyncio

        import pytest
        from pytest_tlsandbox import WrongEnd

        async def count(ticks):
            while True:
                await asyncio.sleep(0.05)
                ticks.append(1)

        async def test_in_a_thread(tlsandbox):
            ticks = []
            ticking = asyncio.create_task(count(ticks))
            job = tlsandbox.start_process("sleep", ["1"])
            await asyncio.to_thread(tlsandbox.wait_for_exit, job, timeout=10)
            ticking.cancel()
            assert len(ticks) > 5

        async def test_on_the_loop(tlsandbox):
            job = tlsandbox.start_process("sh", ["-c", "exit 3"])
            with pytest.raises(WrongEnd):
                tlsandbox.wait_for_exit(job, timeout=10)
        """
    )
    result = run(
        "pytest_asyncio.plugin",
        "--asyncio-mode=auto",
        "-o",
        "asyncio_default_fixture_loop_scope=function",
        "--tlsandbox-guard=oom,leak",
    )
    result.assert_outcomes(passed=2)


def test_a_wait_in_a_thread_works_on_both_loops_of_anyio(
    run: Run, pytester: pytest.Pytester
) -> None:
    pytester.makepyfile(
        """
        from functools import partial

        import anyio
        import anyio.to_thread
        import pytest

        @pytest.mark.anyio
        async def test_it(tlsandbox, anyio_backend_name):
            job = tlsandbox.start_process("sh", ["-c", "exit 3"])
            wait = partial(tlsandbox.wait_for_exit, job, exit_code=3, timeout=10)
            assert (await anyio.to_thread.run_sync(wait)).exit_code == 3
        """
    )
    result = run("anyio.pytest_plugin", "-v", "--tlsandbox-guard=oom,leak")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*test_it[[]asyncio[]] PASSED*", "*test_it[[]trio[]] PASSED*"])
