"""The private names of pytest that the plugin uses still do what it needs."""

from __future__ import annotations

import pytest

import pytest_tlsandbox
from pytest_tlsandbox.integration import pytest_private


@pytest.fixture(scope="session", autouse=True)
def of_wider_scope():
    """Is one that no test requests by an argument."""


def test_plugin_finds_the_module_that_defines_a_fixture(request):
    defined = pytest_private.defining_module

    assert defined(request.node, "of_wider_scope") == __name__
    assert defined(request.node, "tmp_path") == "_pytest.tmpdir"
    assert defined(request.node, "no_such_fixture") is None
    assert not pytest_private.overrides_target(request.node)


@pytest.mark.usefixtures("tmp_path_factory")
def test_list_of_unrequested_fixtures_excludes_the_arguments_of_the_test(request, pytestconfig):
    found = pytest_private.unrequested_fixtures(request.node)

    assert {"of_wider_scope", "tmp_path_factory"} <= set(found)
    assert "pytestconfig" not in found
    assert pytestconfig is request.config


def test_report_hook_can_read_the_errors_of_a_unittest_test_case(pytester):
    pytester.makeconftest(
        """
        import pytest
        from pytest_tlsandbox.integration.pytest_private import errors_of_test_case

        @pytest.hookimpl(wrapper=True, tryfirst=True)
        def pytest_runtest_makereport(item, call):
            if call.when == "call":
                [error] = errors_of_test_case(item)
                print("kept", error.value, "and not", call.excinfo)
            return (yield)
        """
    )
    pytester.makepyfile(
        """
        import unittest

        class TestIt(unittest.TestCase):
            def test_it(self):
                raise RuntimeError("it")
        """
    )
    result = pytester.runpytest_subprocess("-s", "-p", "no:tlsandbox")

    result.stdout.fnmatch_lines(["*kept it and not None*"])


def test_pytest_does_not_rewrite_assertions_in_the_package(pytestconfig):
    names = pytestconfig.pluginmanager.rewrite_hook._must_rewrite  # type: ignore[attr-defined]

    assert names  # pytest still keeps them there
    assert pytest_tlsandbox.__name__ not in names
