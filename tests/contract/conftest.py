from contextlib import closing

import pytest

from pytest_tlsandbox.local.sandbox import start_local_sandbox

from .facts import FEATURES
from .results import Results
from .sandbox_api import Managed, SandboxApi


@pytest.fixture(scope="session")
def results(pytestconfig):
    """Return the results of a run on another sandbox than ``local``."""
    plugins = pytestconfig.pluginmanager.get_plugins()
    return next((plugin for plugin in plugins if isinstance(plugin, Results)), None)


@pytest.fixture(scope="session")
def api(results):
    if results is not None:
        yield results.api
        return
    with (
        start_local_sandbox(memory_limit=64 << 20) as local,
        closing(SandboxApi(local.url, local.api_key.reveal(), may_exceed_memory=True)) as api,
    ):
        yield api


@pytest.fixture(scope="session")
def features(api, results):
    found = {name: has(api) for name, has in FEATURES.items()}
    if results is not None:
        results.features = found
    return found


@pytest.fixture(autouse=True)
def _needed(features, request):
    for name in request.node.get_closest_marker("fact").args[2].split():
        if not features[name]:
            pytest.skip(f"the sandbox does not have: {name}")


@pytest.fixture(autouse=True)
def _nothing_left(api):
    """Kill what a test started."""
    before = {row["pid"] for row in api.rows()}
    yield
    for pid in {row["pid"] for row in api.rows()} - before:
        api.kill(pid)  # which fails if it has ended


@pytest.fixture
def sleeper(api):
    return api.start("sleep", "600")


@pytest.fixture
def managed(api):
    return Managed(api, api.new_name())


def pytest_configure(config):
    config.addinivalue_line("markers", "fact(basis, source, needs, trait): a fact about the API")
