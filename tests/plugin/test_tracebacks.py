"""Which frames an error shows where another plugin wraps the hooks: here pytest-asyncio, for real."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    Shown = Callable[..., str]


@pytest.fixture
def shown(pytester, monkeypatch):
    """Return a function that runs the inner tests and returns their errors as pytest shows them."""
    monkeypatch.setenv("PYTEST_ADDOPTS", "-W error -p no:cacheprovider")

    def run(*options: str) -> str:
        result = pytester.runpytest_subprocess(*options)
        result.assert_outcomes(errors=1)
        errors = result.stdout.str().partition("= ERRORS =")[2].partition("= short test")[0]
        return re.sub(r"\d+ ms", "N ms", errors)

    return run


WRAPPED = ("-o", "asyncio_default_fixture_loop_scope=function")
UNWRAPPED = ("-p", "no:asyncio")


def test_error_in_a_plugin_fixture_shows_no_plugin_frames(pytester, shown):
    pytester.makepyfile("def test_it(tlsandbox): pass")

    text = shown(*WRAPPED)

    assert (
        "E   pytest_tlsandbox.InvalidSetting: no sandbox to test, because --tlsandbox is not set; pass --tlsandbox local"
        in text
    )
    assert "pytest_asyncio" not in text
    assert text == shown(*UNWRAPPED)
    watched = shown(*UNWRAPPED, "--tlsandbox-report=report.json")
    assert text == re.sub("^tlsandbox report: .*\n", "", watched, flags=re.MULTILINE)


@pytest.mark.usefixtures("connected")
def test_error_in_a_unittest_test_case_is_shown_like_any_other_error(pytester, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    pytester.makepyfile(
        test_case="""
        import unittest

        import pytest

        class Test(unittest.TestCase):
            @pytest.fixture(autouse=True)
            def sandbox_of_the_test(self, tlsandbox):
                self.sandbox = tlsandbox

            def test_it(self):
                self.sandbox.assert_process("no such", status="running")
        """
    )

    text = pytester.runpytest_subprocess("-p", "no:cacheprovider", "--tb=short").stdout.str()

    assert re.findall(r"^\S+\.py:\d+: .*", text, re.MULTILINE) == ["test_case.py:11: in test_it"]
    assert 'FAILED test_case.py::Test::test_it - No process matches "no such"\n' in text


@pytest.mark.usefixtures("connected")
def test_error_in_a_user_fixture_shows_only_the_line_of_the_fixture(pytester, shown):
    pytester.makeconftest(
        """
        import pytest

        @pytest.fixture
        def job(tlsandbox):
            tlsandbox.assert_process("no such", status="running")
        """
    )
    pytester.makepyfile("def test_it(job): pass")

    text = shown(*WRAPPED)

    assert re.findall(r"^>.*|^\S+\.py:\d+: .*", text, re.MULTILINE) == [
        '>       tlsandbox.assert_process("no such", status="running")',
        "conftest.py:5: ProcessNotFound",
    ]
    assert text == shown(*UNWRAPPED)


@pytest.mark.usefixtures("connected")
@pytest.mark.parametrize(
    ("hook", "body", "lines"),
    [
        ("yield", "1 / 0", [">       yield", ">       1 / 0"]),
        ("yield", "by()", [">       by()"]),
        pytest.param("yield; by()", "pass", [">       yield; by()"], marks=pytest.mark.slow),
    ],
    ids=["not ours", "ours", "ours, in the hook wrapper"],
)
def test_frame_of_a_hook_wrapper_is_hidden_only_for_plugin_errors(
    pytester, shown, hook, body, lines
):
    pytester.makeconftest(
        f"""
        import pytest
        from pytest_tlsandbox import by

        @pytest.hookimpl(wrapper=True)
        def pytest_fixture_setup(fixturedef, request):
            {hook}

        @pytest.fixture
        def job(tlsandbox):
            {body}
        """
    )
    pytester.makepyfile("def test_it(job): pass")

    assert re.findall(r"^>.*", shown(*UNWRAPPED), re.MULTILINE) == lines
