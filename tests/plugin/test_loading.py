"""The plugin is there, once, by every way pytest has to load one."""

from __future__ import annotations

import sys

import pytest

import pytest_tlsandbox

from ..support import sample_of
from .inner import HEAVY


@pytest.fixture
def _forked():
    """Nothing is imported before a run."""


IS_THERE_ONCE = """
    def test_it(tlsandbox_lister, pytestconfig):
        assert tlsandbox_lister.label == "my-sandbox"
        plugins = pytestconfig.pluginmanager.get_plugins()
        names = [getattr(plugin, "__name__", "") for plugin in plugins]
        assert names.count("pytest_tlsandbox.plugin") == 1
"""

PACKAGE = ["-p", "pytest_tlsandbox"]
PLUGIN = ["-p", "pytest_tlsandbox.plugin"]
CONFTEST = "pytest_plugins = ['pytest_tlsandbox']"
XDIST = ["-p", "xdist", "-n", "2"]
# Hooks of pytest-timeout and xdist are optional: without those, pytest does not complain.
ALONE = ["-p", "no:timeout", "-p", "no:xdist"]


# How the plugin is loaded: options, PYTEST_PLUGINS, conftest.
ROUTES = {
    "entry point, alone": (ALONE, "", ""),
    "entry point, xdist": (XDIST, "", ""),
    "-p package": (PACKAGE, "", ""),
    "-p package, xdist": ([*XDIST, *PACKAGE], "", ""),
    "-p plugin": (PLUGIN, "", ""),
    "-p both": ([*PACKAGE, *PLUGIN], "", ""),
    "PYTEST_PLUGINS package": ([], "pytest_tlsandbox", ""),
    "PYTEST_PLUGINS plugin": ([], "pytest_tlsandbox.plugin", ""),
    "conftest": ([], "", CONFTEST),
    "conftest, xdist": (XDIST, "", CONFTEST),
}
CASES = {
    f"{name}, {autoload} autoload": (autoload, *route)
    for name, route in ROUTES.items()
    for autoload in ("with", "without")
    if autoload == "with" or "entry point" not in name
}
SAMPLE = (
    "entry point, alone, with autoload",
    "-p plugin, with autoload",
    "conftest, with autoload",
    "conftest, xdist, without autoload",
)


@pytest.mark.parametrize("case", sample_of(CASES, *SAMPLE))
def test_plugin_is_registered_only_once(pytester, monkeypatch, case):
    autoload, options, plugins, conftest = case
    if autoload == "without":
        monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTEST_PLUGINS", plugins)
    monkeypatch.setenv("TENSORLAKE_API_KEY", "any")
    pytester.makeconftest(conftest)
    pytester.makepyfile(IS_THERE_ONCE)
    result = pytester.runpytest_subprocess("--tlsandbox=my-sandbox", *options)
    result.assert_outcomes(passed=1)
    assert result.ret == 0


def test_pytest_help_lists_every_option_and_ini_key(pytester):
    help_text = pytester.runpytest_inprocess("--help").stdout.str()
    assert "TENSORLAKE_API_KEY" in help_text
    for option in ("--tlsandbox", "--tlsandbox-timeout", "--tlsandbox-memory"):
        assert help_text.count(f"{option}=") == 1
        assert help_text.count(f"  {option[2:].replace('-', '_')} (") == 1


def test_public_names_of_the_package_are_sorted_and_importable():
    assert pytest_tlsandbox.__all__ == sorted(pytest_tlsandbox.__all__)
    namespace: dict[str, object] = {}
    exec("from pytest_tlsandbox import *", namespace)
    assert set(pytest_tlsandbox.__all__) <= namespace.keys()


def test_package_imports_no_heavy_modules_before_a_test_needs_them(pytester):
    """Pytest looks through the ``dir()`` of a plugin for fixtures; a ``__dir__`` would list more."""
    assert "__dir__" not in vars(pytest_tlsandbox)
    pytester.makepyfile(
        f"""
        import sys

        def test_it():
            assert {set(HEAVY)}.isdisjoint(sys.modules)
        """
    )
    start = (
        "import pytest_tlsandbox as package, pytest\n"
        "for name in dir(package): getattr(package, name)\n"
        "pytest.main(['-W', 'error', '-p', 'pytest_tlsandbox', '-p', 'no:anyio'])"
    )

    result = pytester.run(sys.executable, "-W", "error", "-c", start)

    result.assert_outcomes(passed=1)
    assert result.stderr.str() == ""
