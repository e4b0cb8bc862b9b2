from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from pytest_tlsandbox.local.sandbox import start_local_sandbox

from .facts import FEATURES
from .results import Results
from .sandbox_api import Managed, SandboxApi

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def results(pytestconfig: pytest.Config) -> Results | None:
    """Return the results of a run on another sandbox than ``local``."""
    plugins = pytestconfig.pluginmanager.get_plugins()
    return next((plugin for plugin in plugins if isinstance(plugin, Results)), None)


@pytest.fixture(scope="session")
def api(results: Results | None) -> Iterator[SandboxApi]:
    if results is not None:
        yield results.api
        return
    with (
        start_local_sandbox(memory_limit=64 << 20) as local,
        closing(SandboxApi(local.url, local.api_key.reveal(), may_exceed_memory=True)) as api,
    ):
        yield api


@pytest.fixture(scope="session")
def features(api: SandboxApi, results: Results | None) -> dict[str, bool]:
    found = {name: has(api) for name, has in FEATURES.items()}
    if results is not None:
        results.features = found
    return found


@pytest.fixture(autouse=True)
def _needed(features: dict[str, bool], request: pytest.FixtureRequest) -> None:
    for name in request.node.get_closest_marker("fact").args[2].split():
        if not features[name]:
            pytest.skip(f"the sandbox does not have: {name}")


@pytest.fixture(autouse=True)
def _nothing_left(api: SandboxApi) -> Iterator[None]:
    """Kill what a test started."""
    before = {row["pid"] for row in api.rows()}
    yield
    for row in api.rows():
        managed = row.get("managed") or {}
        if row["pid"] not in before and (
            row["status"] == "running" or managed.get("status", "stopped") != "stopped"
        ):
            api.kill(row["pid"])


@pytest.fixture
def sleeper(api: SandboxApi) -> Any:
    return api.start("sleep", "600")


@pytest.fixture
def managed(api: SandboxApi) -> Managed:
    return Managed(api, api.new_name())


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "fact(basis, source, needs, trait): a fact about the API")
