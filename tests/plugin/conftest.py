"""Inner runs start from a clean environment, and share one embedded sandbox if possible."""

from __future__ import annotations

import os

import pytest

# Imported here for the inner runs too: one in this process forgets what it imported, and pydantic's
# core is not made to be imported anew.
import pytest_tlsandbox.connections  # noqa: F401
from pytest_tlsandbox.local.sandbox import start_local_sandbox


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch, pytester):
    for name in [*os.environ]:
        if name.startswith(("PYTEST_XDIST", "PYTEST_PLUGINS", "PYTEST_DISABLE", "PYTEST_TIMEOUT")):
            monkeypatch.delenv(name)
    # After pytester, which clears the environment.
    # pytest-asyncio wants a setting, or warns; anyio and hypothesis take 0.4 s of each start.
    monkeypatch.setenv(
        "PYTEST_ADDOPTS",
        "-W error -p no:asyncio -p no:cacheprovider -p no:rerunfailures "
        "-p no:anyio -p no:hypothesispytest",
    )


@pytest.fixture(autouse=True)
def _forked(pytester, fork_pytest, monkeypatch, _clean_environment):
    """Have runs in another process share what they import; coverage is to measure each as it is."""

    def run(*options):
        path = os.pathsep.join(filter(None, [str(pytester.path), os.environ.get("PYTHONPATH")]))
        options = [f"--basetemp={pytester.path / 'made'}", *map(str, options)]
        return fork_pytest(options, pytester.path, {**os.environ, "PYTHONPATH": path})

    if "COVERAGE_PROCESS_CONFIG" not in os.environ:
        monkeypatch.setattr(pytester, "runpytest_subprocess", run)


@pytest.fixture(scope="session")
def box():
    """Return an embedded sandbox that all inner runs can use as if it were a remote one."""
    with start_local_sandbox(identifier="my-sandbox") as sandbox:
        yield sandbox


@pytest.fixture(scope="session")
def small_box():
    """Return a sandbox with so little memory that a process is soon OOM-killed."""
    with start_local_sandbox(identifier="small", memory_limit=96 * 2**20) as sandbox:
        yield sandbox


@pytest.fixture
def limited(small_box, monkeypatch):
    """Have inner runs reach ``small_box`` by its id, and print no line of the summary cut."""
    monkeypatch.setenv("COLUMNS", "200")
    return _reachable(small_box, monkeypatch)


@pytest.fixture
def connected(box, monkeypatch):
    """Have inner runs reach ``box`` by its id, with the right key."""
    return _reachable(box, monkeypatch)


def _reachable(sandbox, monkeypatch):
    monkeypatch.setenv("TENSORLAKE_SANDBOX_PROXY_URL", sandbox.url)
    monkeypatch.setenv("TENSORLAKE_API_KEY", sandbox.api_key.reveal())
    monkeypatch.setenv("TLSANDBOX", sandbox.identifier)
    return sandbox


@pytest.fixture
def elsewhere(limited, tlsandbox_connect):
    """Return the sandbox of the inner runs, to act in it from outside of them."""
    sandbox = tlsandbox_connect(limited)
    yield sandbox
    assert sandbox.kill_started() == []
