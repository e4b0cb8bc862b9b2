"""Inner runs start from a clean environment, and share one embedded sandbox where they can."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

# An inner run in this process forgets what it imported; pydantic's core is not made to be imported
# anew.
import pytest_tlsandbox.connections  # noqa: F401
from pytest_tlsandbox.local.server import LocalSandbox, start_local_sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, pytester: pytest.Pytester) -> None:
    for name in [*os.environ]:
        if name.startswith(("PYTEST_XDIST", "TLSANDBOX", "TENSORLAKE")) or name in {
            "PYTEST_PLUGINS",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD",
            "PYTEST_TIMEOUT",
        }:
            monkeypatch.delenv(name)
    # After pytester, which clears it.
    monkeypatch.setenv("PYTEST_ADDOPTS", "-W error -p no:cacheprovider")


@pytest.fixture(scope="session")
def box() -> Iterator[LocalSandbox]:
    """Return an embedded sandbox that all inner runs can use: to them it is a real one."""
    with start_local_sandbox(identifier="my-sandbox") as sandbox:
        yield sandbox


@pytest.fixture
def connected(box: LocalSandbox, monkeypatch: pytest.MonkeyPatch) -> LocalSandbox:
    """Have inner runs reach ``box`` by its id, with the right key."""
    monkeypatch.setenv("TENSORLAKE_SANDBOX_PROXY_URL", box.url)
    monkeypatch.setenv("TENSORLAKE_API_KEY", box.api_key.reveal())
    monkeypatch.setenv("TLSANDBOX", "my-sandbox")
    return box
