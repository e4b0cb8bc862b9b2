"""One suite, several sandboxes."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest

from pytest_tlsandbox import Secret

from .inner import errors_of_tests, passed

TWO = ("--tlsandbox=one", "--tlsandbox=two")
SEVERAL = (
    "pytest_tlsandbox.InvalidSetting: several sandboxes were given (one, two), but a test that "
    "requests tlsandbox with getfixturevalue or in a TestCase can use only one sandbox; request "
    "tlsandbox as an argument of a test function instead"
)


def in_order_of_run(pytester: pytest.Pytester, *options: str) -> list[str]:
    """Return the ids of the tests without their files, in the order of the run."""
    result = pytester.runpytest_inprocess("--co", "-q", *options)
    return re.findall(r"^[\w/]+\.py::(.+)$", result.stdout.str(), re.MULTILINE)


def test_each_test_runs_on_each_sandbox_and_tests_are_grouped_by_sandbox(pytester):
    pytester.makepyfile(
        """
        def test_a(tlsandbox): pass
        def test_b(tlsandbox_session): pass
        def test_c(tlsandbox_lister): pass
        def test_d(): pass
        def test_e(tlsandbox_connect): pass
        """
    )
    assert in_order_of_run(pytester, *TWO) == [
        *("test_a[one]", "test_b[one]", "test_c[one]"),
        *("test_a[two]", "test_b[two]", "test_c[two]"),
        *("test_d", "test_e"),
    ]
    # A single sandbox does not change the ids.
    plain = ["test_a", "test_b", "test_c", "test_d", "test_e"]
    assert in_order_of_run(pytester) == plain
    assert in_order_of_run(pytester, "--tlsandbox=one", "--tlsandbox=one") == plain


def test_each_parametrized_run_of_a_test_is_connected_to_its_own_sandbox_with_its_own_key(
    pytester, connected, monkeypatch
):
    """A hook returns the keys, and overrides the environment."""
    monkeypatch.setenv("TENSORLAKE_API_KEY", "not-this-one")
    key = connected.api_key.reveal()
    by_name = connected.url.replace("127.0.0.1", "localhost")
    keys = {"my-sandbox": Secret(key), connected.url: lambda: key, by_name: lambda: Secret(key)}
    hooks = SimpleNamespace(pytest_tlsandbox_api_key=lambda config, target: keys.get(target))
    code = """
        import pytest
        import pytest_tlsandbox

        def test_a(tlsandbox, tlsandbox_session, tlsandbox_lister, tlsandbox_target, request):
            id = request.node.callspec.id
            assert tlsandbox_target == tlsandbox_lister.label == id
            assert repr(tlsandbox) == repr(tlsandbox_session) == f"<Sandbox {id}>"

        class TestClass:
            def test_b(self, tlsandbox, request):
                assert repr(tlsandbox) == f"<Sandbox {request.node.callspec.id}>"

        def test_c(tlsandbox_connect):
            with pytest.raises(pytest_tlsandbox.AuthenticationFailed):
                tlsandbox_connect("other-sandbox").list_processes()
        """
    targets = (f"--tlsandbox={target}" for target in keys)
    assert passed(pytester, code, *targets, plugins=[hooks]) == 7


@pytest.mark.usefixtures("connected")
def test_a_test_that_cannot_be_parametrized_runs_only_if_one_sandbox_is_configured(pytester):
    code = """
        import unittest
        import pytest

        def test_by_name(request): request.getfixturevalue("tlsandbox").list_processes()

        class TestOld(unittest.TestCase):
            @pytest.fixture(autouse=True)
            def _sandbox(self, tlsandbox): self.sandbox = tlsandbox
            def test_method(self): self.sandbox.list_processes()

        @pytest.mark.usefixtures("tlsandbox_lister")
        class TestOlder(unittest.TestCase):
            def test_method(self): pass
        """
    assert passed(pytester, code) == 3
    errors = errors_of_tests(pytester.inline_run(*TWO))
    assert {
        name: re.sub("same cause as .*?: ", "", error) for name, error in errors.items()
    } == dict.fromkeys(("test_by_name", "TestOld::test_method", "TestOlder::test_method"), SEVERAL)


def test_test_suite_that_overrides_the_sandbox_runs_only_on_that_sandbox(pytester):
    """In a conftest, a module, a class or a test; also while several are given for the others."""
    override = """
import pytest
@pytest.fixture(scope="session")
def tlsandbox_target(): return "own"
"""
    in_class = """
        import pytest

        class TestClass:
            @pytest.fixture(scope="session")
            def tlsandbox_target(self): return "own"
            def test_c(self, tlsandbox): pass

        @pytest.mark.parametrize("tlsandbox_target", ["a", "b"], indirect=True)
        def test_e(tlsandbox): pass

        @pytest.mark.parametrize("tlsandbox_target_size", [1])
        def test_f(tlsandbox, tlsandbox_target_size): pass

        @pytest.mark.parametrize(argnames=("size",), argvalues=[(1,)])
        def test_g(tlsandbox, size): pass
        """
    in_module = f"{override}def test_b(tlsandbox): pass"
    pytester.makepyfile(**{"folder/conftest": override, "test_2": in_module, "test_3": in_class})
    pytester.makepyfile(**{"folder/test_1": "def test_a(tlsandbox): pass"})
    assert sorted(in_order_of_run(pytester, *TWO)) == [
        *("TestClass::test_c", "test_a", "test_b", "test_e[a]", "test_e[b]"),
        *("test_f[one-1]", "test_f[two-1]", "test_g[one-1]", "test_g[two-1]"),
    ]


@pytest.mark.parametrize("worker", ["gw1", "master"])
def test_sandbox_name_can_contain_the_worker_id(pytester, monkeypatch, worker):
    monkeypatch.setenv("TENSORLAKE_API_KEY", "any")
    if worker != "master":
        monkeypatch.setenv("PYTEST_XDIST_WORKER", worker)
    code = f"def test_it(tlsandbox_lister): assert tlsandbox_lister.label == 'ci-{worker}'"
    assert passed(pytester, code, "--tlsandbox=ci-{worker}") == 1


def test_pytest_header_names_the_configured_sandboxes(pytester):
    assert "tlsandbox: " not in pytester.runpytest_inprocess().stdout.str()
    pytester.makeini("[pytest]\ntlsandbox =\n  one\n  ci-{worker}")
    assert "tlsandbox: one, ci-{worker}" in pytester.runpytest_inprocess().outlines
