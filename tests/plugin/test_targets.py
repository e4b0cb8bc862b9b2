"""One suite, several sandboxes."""

from __future__ import annotations

import re

import pytest

from pytest_tlsandbox import ProcessOOMKilled

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


SUITE = """
    def test_a(tlsandbox): pass
    def test_b(tlsandbox_session): pass
    def test_c(tlsandbox_lister): pass
    def test_d(): pass
    def test_e(tlsandbox_connect): pass
"""


def test_each_test_runs_on_each_sandbox_and_tests_are_grouped_by_sandbox(pytester):
    pytester.makepyfile(SUITE)
    assert in_order_of_run(pytester, *TWO) == [
        *("test_a[one]", "test_b[one]", "test_c[one]"),
        *("test_a[two]", "test_b[two]", "test_c[two]"),
        *("test_d", "test_e"),
    ]


def test_configuring_one_sandbox_does_not_change_test_ids(pytester):
    pytester.makepyfile(SUITE)
    plain = ["test_a", "test_b", "test_c", "test_d", "test_e"]
    assert in_order_of_run(pytester) == plain
    assert in_order_of_run(pytester, "--tlsandbox=one") == plain
    assert in_order_of_run(pytester, "--tlsandbox=one", "--tlsandbox=one") == plain


@pytest.mark.parametrize("source", ["ini", "environment"])
def test_ini_file_and_environment_can_name_several_sandboxes(pytester, monkeypatch, source):
    pytester.makepyfile("def test_a(tlsandbox): pass")
    if source == "ini":
        pytester.makeini("[pytest]\ntlsandbox =\n  one\n  two")
        monkeypatch.setenv("TLSANDBOX", "beaten")
    else:
        monkeypatch.setenv("TLSANDBOX", "one two")
    assert in_order_of_run(pytester) == ["test_a[one]", "test_a[two]"]
    assert in_order_of_run(pytester, "--tlsandbox=three") == ["test_a"]


@pytest.mark.usefixtures("connected")
def test_each_parametrized_run_of_a_test_is_connected_to_its_own_sandbox(pytester):
    pytester.makepyfile(
        """
        def test_a(tlsandbox, tlsandbox_session, tlsandbox_lister, tlsandbox_target, request):
            id = request.node.callspec.id
            assert tlsandbox_target == tlsandbox_lister.label == id
            assert repr(tlsandbox) == repr(tlsandbox_session) == f"<Sandbox {id}>"
            tlsandbox.wait_for_exit(tlsandbox.start_process("true"))

        class TestClass:
            def test_b(self, tlsandbox, request):
                assert repr(tlsandbox) == f"<Sandbox {request.node.callspec.id}>"
        """
    )
    assert passed(pytester.inline_run("--tlsandbox=my-sandbox", "--tlsandbox=local")) == 4


@pytest.mark.usefixtures("connected")
def test_messages_name_the_sandbox_as_soon_as_the_session_uses_several_sandboxes(pytester):
    pytester.makepyfile(
        """
        def test_one(tlsandbox): tlsandbox.wait_for_process("no such", timeout=0)
        def test_two(tlsandbox, tlsandbox_connect):
            tlsandbox_connect("other")
            tlsandbox.wait_for_process("no such", timeout=0)
        """
    )
    messages = errors_of_tests(pytester.inline_run())
    assert "my-sandbox" not in messages["test_one"]
    assert re.search("^sandbox  my-sandbox$", messages["test_two"], re.MULTILINE)


def test_oom_kill_message_shows_the_memory_limit_of_an_embedded_sandbox(elsewhere):
    hog = elsewhere.start_process("python", ["-c", "taken = bytearray(500 << 20)"])
    with pytest.raises(ProcessOOMKilled, match=r"^OOM-killed at a limit of 96 MiB, wanted"):
        elsewhere.wait_for_exit(hog)


def test_a_test_that_cannot_be_parametrized_fails_if_several_sandboxes_are_configured(pytester):
    pytester.makepyfile(
        """
        import unittest
        import pytest

        def test_by_name(request):
            request.getfixturevalue("tlsandbox")

        class TestOld(unittest.TestCase):
            @pytest.fixture(autouse=True)
            def sandbox(self, tlsandbox_session):
                pass

            def test_method(self):
                pass

        @pytest.mark.usefixtures("tlsandbox_lister")
        class TestOlder(unittest.TestCase):
            def test_method(self):
                pass
        """
    )
    assert errors_of_tests(pytester.inline_run(*TWO)) == {
        "test_by_name": SEVERAL,
        "TestOld::test_method": SEVERAL,
        # pytest raises the same error of a fixture of the session again.
        "TestOlder::test_method": SEVERAL.replace(
            ": ", ": same cause as TestOld::test_method: ", 1
        ),
    }


@pytest.mark.usefixtures("connected")
def test_a_test_that_cannot_be_parametrized_runs_if_one_sandbox_is_configured(pytester):
    pytester.makepyfile(
        """
        import unittest
        import pytest

        def test_by_name(request):
            request.getfixturevalue("tlsandbox").list_processes()

        class TestOld(unittest.TestCase):
            @pytest.fixture(autouse=True)
            def _sandbox(self, tlsandbox):
                self.sandbox = tlsandbox

            def test_method(self):
                self.sandbox.list_processes()
        """
    )
    assert passed(pytester.inline_run()) == 2


def test_test_suite_that_overrides_the_sandbox_runs_only_on_that_sandbox(pytester):
    """In a conftest, a module or a class; also while several are given for the other tests."""
    override = """
        import pytest

        @pytest.fixture(scope="session")
        def tlsandbox_target():
            return "own"
    """
    pytester.makepyfile(
        **{
            "folder/conftest": override,
            "folder/test_1": "def test_a(tlsandbox): pass",
            "test_2": f"""{override}
        def test_b(tlsandbox): pass
    """,
            "test_3": """
        import pytest

        class TestClass:
            @pytest.fixture(scope="session")
            def tlsandbox_target(self):
                return "own"

            def test_c(self, tlsandbox): pass

        def test_d(tlsandbox): pass
    """,
        }
    )
    ids = in_order_of_run(pytester, *TWO)
    assert sorted(ids) == ["TestClass::test_c", "test_a", "test_b", "test_d[one]", "test_d[two]"]


def test_parametrization_in_a_test_overrides_the_configured_sandboxes(pytester):
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.parametrize("tlsandbox_target", ["a", "b"], indirect=True)
        def test_it(tlsandbox): pass
        """
    )
    assert in_order_of_run(pytester, "--tlsandbox=one") == ["test_it[a]", "test_it[b]"]
    assert in_order_of_run(pytester, *TWO) == ["test_it[a]", "test_it[b]"]


def test_several_sandboxes_can_be_combined_with_other_test_parameters(pytester):
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.parametrize("tlsandbox_target_size", [1])
        def test_near(tlsandbox, tlsandbox_target_size): pass

        @pytest.mark.parametrize(argnames=("size",), argvalues=[(1,)])
        def test_keywords(tlsandbox, size): pass
        """
    )
    assert sorted(in_order_of_run(pytester, *TWO)) == [
        "test_keywords[one-1]",
        "test_keywords[two-1]",
        "test_near[one-1]",
        "test_near[two-1]",
    ]


def test_sandbox_name_can_contain_the_worker_id(pytester, monkeypatch):
    monkeypatch.setenv("TENSORLAKE_API_KEY", "any")
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.parametrize("number", range(2))
        def test_it(tlsandbox_lister, number):
            with open("labels", "a") as labels:
                labels.write(tlsandbox_lister.label + "\\n")
        """
    )
    result = pytester.runpytest_subprocess("--tlsandbox=ci-{worker}", "-n2")
    result.assert_outcomes(passed=2)
    labels = (pytester.path / "labels").read_text().split()
    assert sorted(labels) == ["ci-gw0", "ci-gw1"]


def test_pytest_header_names_the_configured_sandboxes(pytester):
    assert "tlsandbox: " not in pytester.runpytest_inprocess().stdout.str()
    several = pytester.runpytest_inprocess(*TWO, "--tlsandbox=ci-{worker}").outlines
    assert "tlsandbox: one, two, ci-{worker}" in several
    assert "tlsandbox: one" in pytester.runpytest_inprocess("--tlsandbox=one").outlines
