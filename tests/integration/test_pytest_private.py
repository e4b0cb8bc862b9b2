"""The private names of pytest that the plugin uses still do what it needs."""

import sys

import pytest

from pytest_tlsandbox.integration import pytest_private


@pytest.fixture(scope="session", autouse=True)
def of_wider_scope():
    """Is one that no test requests by an argument."""


def test_target_fixture_of_the_plugin_itself_does_not_count_as_an_override(request):
    assert not pytest_private.overrides_target(request.node)


@pytest.mark.usefixtures("tmp_path_factory")
def test_list_of_unrequested_fixtures_excludes_the_arguments_of_the_test(request, pytestconfig):
    found = pytest_private.unrequested_fixtures(request.node)

    assert {"of_wider_scope", "tmp_path_factory"} <= set(found)
    assert "pytestconfig" not in found
    assert pytestconfig is request.config


def test_pytest_does_not_rewrite_assertions_in_the_package():
    """Rewritten modules are compiled anew in each new environment, and load more slowly after that."""
    ours = [module for name, module in sys.modules.items() if name.startswith("pytest_tlsandbox.")]

    assert {type(module.__loader__).__name__ for module in ours} == {"SourceFileLoader"}
