"""The plugin is there, once, by every way pytest has to load one, and imports only what is used."""

from __future__ import annotations

import re
import sys

import pytest

import pytest_tlsandbox

from ..support import sample_of


@pytest.fixture
def _forked():
    """Nothing is imported before a run."""


IS_THERE_ONCE = """
    def test_it(tlsandbox_lister, pytestconfig):
        assert tlsandbox_lister.label == "my-sandbox"
        plugins = map(str, pytestconfig.pluginmanager.get_plugins())
        assert sum("pytest_tlsandbox.plugin" in plugin for plugin in plugins) == 1
"""
PACKAGE, PLUGIN = "pytest_tlsandbox", "pytest_tlsandbox.plugin"
XDIST = "-p xdist -n 2"
# How the plugin is loaded: options, PYTEST_PLUGINS, plugins of the conftest.
ROUTES = {
    # Hooks of pytest-timeout and xdist are optional: without those, pytest does not complain.
    "entry point, alone": ("-p no:timeout -p no:xdist", "", ""),
    "entry point, xdist": (XDIST, "", ""),
    "-p package": (f"-p {PACKAGE}", "", ""),
    "-p package, xdist": (f"{XDIST} -p {PACKAGE}", "", ""),
    "-p plugin": (f"-p {PLUGIN}", "", ""),
    "-p both": (f"-p {PACKAGE} -p {PLUGIN}", "", ""),
    "PYTEST_PLUGINS package": ("", PACKAGE, ""),
    "PYTEST_PLUGINS plugin": ("", PLUGIN, ""),
    "conftest": ("", "", PACKAGE),
    "conftest, xdist": (XDIST, "", PACKAGE),
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
    "conftest, xdist, without autoload",
)


@pytest.mark.parametrize("case", sample_of(CASES, *SAMPLE))
def test_plugin_is_registered_only_once(pytester, monkeypatch, case):
    autoload, options, plugins, of_conftest = case
    if autoload == "without":
        monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTEST_PLUGINS", plugins)
    monkeypatch.setenv("TENSORLAKE_API_KEY", "any")
    pytester.makeconftest(f"pytest_plugins = {of_conftest.split()}")
    pytester.makepyfile(IS_THERE_ONCE)
    result = pytester.runpytest_subprocess("--tlsandbox=my-sandbox", *options.split())
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


HEAVY = {"requests", "urllib3", "pydantic", "tenacity", "psutil", "uvicorn", "tensorlake"}
"""What must not be imported by a suite that uses no sandbox."""


def imported(pytester: pytest.Pytester, *options: str, status: int) -> set[str]:
    """Run pytest; return the modules that were imported for it."""
    # These have asyncio and more imported for themselves; anyio comes with the SDK.
    others = ("-p", "no:anyio", "-p", "no:asyncio")
    command = [sys.executable, "-X", "importtime", "-m", "pytest", *others]
    result = pytester.run(*command, *options)
    assert result.ret == status, result.stdout.str()
    return set(re.findall(r"import time:\s+\d+ \|\s+\d+ \|\s*([\w.]+)", result.stderr.str()))


def test_plugin_imports_only_standard_library_modules_if_the_folder_contains_no_tests(pytester):
    with_us = imported(pytester, "--co", "-q", status=5)
    without = imported(pytester, "--co", "-q", "-p", "no:tlsandbox", status=5)
    assert "pytest_tlsandbox.plugin" not in without
    ours = {name for name in with_us if name.startswith("pytest_tlsandbox")}
    assert "pytest_tlsandbox.settings" in ours  # what the plugin itself is not told of, by pytest 9
    assert HEAVY.isdisjoint(with_us)
    tops = {name.partition(".")[0] for name in with_us - without - ours}
    assert tops <= sys.stdlib_module_names
    # Large parts of it that a plugin may bring in unawares.
    assert tops.isdisjoint({"asyncio", "concurrent", "email", "http", "ssl", "multiprocessing"})


def test_test_suite_without_plugin_fixtures_does_not_import_the_modules_of_unused_features(
    pytester,
):
    """Not even where a sandbox is set for it, and its tests import names of ours and fail."""
    pytester.makepyfile(
        """
        import pytest_tlsandbox

        def test_that_passes(): pass
        def test_that_fails(): raise pytest_tlsandbox.UnexpectedExit("so be it")
        """
    )
    modules = imported(pytester, "--tlsandbox", "local", status=1)
    assert "pytest_tlsandbox.errors" in modules
    unused = ("pytest_tlsandbox.doctor", "pytest_tlsandbox.report", "pytest_tlsandbox.failed_tests")
    assert not any(name.startswith(unused) for name in modules)
    assert HEAVY.isdisjoint(modules)
