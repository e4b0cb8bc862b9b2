"""Coroutines: ``tlsandbox_async`` runs on the event loops of pytest-asyncio and anyio.

tests/plugin/test_async.py has more tests, with the releases that the other tests use.
"""

import pytest

COROUTINE = """
import pytest

@pytest.mark.{}
async def test_it(tlsandbox_async):
    await tlsandbox_async.run_process("sh", ["-c", "exit 3"], exit_code=3)
"""
ASYNCIO = "pytest_asyncio.plugin", ["-o", "asyncio_default_fixture_loop_scope=function"]


@pytest.mark.parametrize(
    ("mark", "plugin", "options", "loops"),
    [("asyncio", *ASYNCIO, 1), ("anyio", "anyio.pytest_plugin", [], 2)],
)
def test_async_helpers_run_on_the_event_loops_of_both_plugins(run, mark, plugin, options, loops):
    options = [*options, "--tlsandbox-guard=oom,leak"]
    run(COROUTINE.format(mark), plugin, *options).assert_outcomes(passed=loops)
