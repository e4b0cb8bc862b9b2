"""Coroutines: ``tlsandbox_async`` runs on the event loops of pytest-asyncio and anyio.

docs/async.md has more tests with pytest-asyncio, which tests/test_pages.py runs.
"""

ASYNCIO = "pytest_asyncio.plugin"
STRICT = ("-o", "asyncio_default_fixture_loop_scope=function")
GUARD = "--tlsandbox-guard=oom,leak"


COROUTINES = """
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

async def test_plain_fixture_waits_in_a_thread(tlsandbox):
    job = tlsandbox.start_process("sh", ["-c", "exit 3"])
    wait = asyncio.to_thread(tlsandbox.wait_for_exit, job, exit_code=3, timeout=10)
    assert (await wait).exit_code == 3
"""


def test_async_helpers_run_on_the_event_loop_of_pytest_asyncio(run):
    run(COROUTINES, ASYNCIO, "--asyncio-mode=auto", *STRICT, GUARD).assert_outcomes(passed=2)


TASK_GROUP = """
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


def test_anyio_task_groups_can_use_async_helpers_on_asyncio_and_trio(run):
    result = run(TASK_GROUP, "anyio.pytest_plugin", "-v", GUARD)
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*test_it[[]asyncio[]] PASSED*", "*test_it[[]trio[]] PASSED*"])
