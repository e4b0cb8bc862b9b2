"""Each inner run loads pytest, this plugin and the companion under test, and no other plugin."""

import os

import pytest

from pytest_tlsandbox.local.sandbox import start_local_sandbox


@pytest.fixture(scope="session")
def box():
    """Return an embedded sandbox that all inner runs share like a remote one."""
    with start_local_sandbox(identifier="my-sandbox", memory_limit=96 * 2**20) as sandbox:
        yield sandbox


@pytest.fixture
def run(pytester, box, monkeypatch):
    """Return a function that runs ``test_it.py``, or several files, with plugins and options."""
    for name in [*os.environ]:
        if name.startswith(("PYTEST_XDIST", "PYTEST_PLUGINS", "TLSANDBOX", "TENSORLAKE", "COV_")):
            monkeypatch.delenv(name)
    variables = {
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "COLUMNS": "160", "TLSANDBOX": "my-sandbox",
        "TENSORLAKE_SANDBOX_PROXY_URL": box.url, "TENSORLAKE_API_KEY": box.api_key.reveal(),
    }  # fmt: skip
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    def run_pytest(code, plugins, *options):
        pytester.makepyfile(**(code if isinstance(code, dict) else {"test_it": code}))
        loaded = [word for name in ["pytest_tlsandbox", *plugins.split()] for word in ("-p", name)]
        return pytester.runpytest_subprocess(
            "-W", "error", "-p", "no:cacheprovider", *loaded, *options, timeout=50
        )

    return run_pytest
