"""A suite that uses no sandbox pays for none of what a sandbox needs."""

from __future__ import annotations

import re
import sys

import pytest

from .inner import HEAVY


@pytest.fixture
def _forked():
    """Nothing is imported before a run."""


_IMPORTED = re.compile(r"import time:\s+\d+ \|\s+\d+ \|\s*([\w.]+)")


def imported(pytester: pytest.Pytester, *options: str, status: int) -> set[str]:
    """Run pytest; give the modules that were imported for it."""
    # These have asyncio and more imported for themselves; anyio comes with the SDK.
    others = ("-p", "no:anyio", "-p", "no:asyncio")
    command = [sys.executable, "-X", "importtime", "-m", "pytest", *others]
    result = pytester.run(*command, *options)
    assert result.ret == status, result.stdout.str()
    return set(_IMPORTED.findall(result.stderr.str()))


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

        def test_that_passes():
            pass

        def test_that_fails():
            raise pytest_tlsandbox.UnexpectedExit("so be it")
        """
    )
    modules = imported(pytester, "--tlsandbox", "local", status=1)
    assert "pytest_tlsandbox.errors" in modules
    unused = ("pytest_tlsandbox.doctor", "pytest_tlsandbox.report", "pytest_tlsandbox.failed_tests")
    assert not any(name.startswith(unused) for name in modules)
    assert HEAVY.isdisjoint(modules)
