"""Tracebacks end at the user's line, also where another plugin wraps the hooks of pytest."""

from __future__ import annotations

import re

import pytest

from .inner import errors_as_shown, providing, server

CALLS = [
    "connect('my-sandbox').wait_for_process('no such', timeout=0)",
    "connect('my-sandbox').wait_for_process('x', timeout=-1)",
    "connect('my-sandbox').wait_until(lambda: True)",
    "connect('my-sandbox').wait_until(lambda seen: 1 / 0)",
    "connect('my-sandbox').wait_for_exit()",
    "connect('my-sandbox').wait_for_proces('x')",
    "connect('my-sandbox').soft().assert_no_oom(suspect=True)",
    "AsyncSandbox(connect('my-sandbox')).wait_for_proces('x')",
    "connect('my-sandbox').assert_stays('no such', stable_for=1)",
    "connect('my-sandbox').start_process('no-such-program')",
    "connect('my-sandbox').send_signal('no such', 9)",
    "connect('my-sandbox').list_processes().where(exitcode=1)",
    "connect(denying).from_now()",
    "connect(denying).wait_for_process('x')",
    "lister.list()",
    "lister.look()",
    "connect('')",
    "allow('oom')",
    "by()",
]
"""Each fails, and is the last line that its traceback shows."""


@pytest.mark.usefixtures("connected")
def test_traceback_never_shows_source_lines_of_the_plugin(pytester):
    tests = [
        f"def test_{number}(tlsandbox_connect, tlsandbox_lister, tlsandbox_allow, provided):\n"
        "    connect, lister, denying = tlsandbox_connect, tlsandbox_lister, provided\n"
        f"    allow = tlsandbox_allow\n    {call}"
        for number, call in enumerate(CALLS)
    ]
    imports = "from pytest_tlsandbox import AsyncSandbox, by\n"
    pytester.makepyfile(imports + "\n".join([*tests, "def test_baseline(tlsandbox): pass"]))
    denial = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    with server(denial) as url:
        record = pytester.inline_run(f"--tlsandbox={url}", plugins=[providing(url)])
    shown = errors_as_shown(record)

    # Without a line of the user, no code is shown; older versions of pytest show the fixture.
    assert not re.search(r"(client|tenacity|_pytest|pluggy)/", shown.pop("test_baseline"))
    assert len(shown) == len(CALLS)
    foreign = re.compile(r"(pytest_tlsandbox|tenacity|_pytest|pluggy)/")
    assert [CALLS[int(name[5:])] for name, text in shown.items() if foreign.search(text)] == []


def test_error_shows_frames_of_hook_wrappers_only_if_it_is_not_an_error_of_the_plugin(
    pytester, connected, monkeypatch
):
    """The wrappers are those of pytest-asyncio and of a conftest."""
    monkeypatch.delenv("TLSANDBOX")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("PYTEST_ADDOPTS", "-W error -p no:cacheprovider")
    pytester.makeconftest(
        """
        import pytest
        from pytest_tlsandbox import by

        @pytest.hookimpl(wrapper=True)
        def pytest_fixture_setup(fixturedef, request):
            yield
            if fixturedef.argname == "valid":
                by()

        @pytest.fixture
        def box(tlsandbox_connect):
            return tlsandbox_connect("my-sandbox")

        @pytest.fixture
        def job(box):
            box.assert_process("no such", status="running")

        @pytest.fixture
        def valid():
            pass

        @pytest.fixture
        def divided(box):
            1 / 0
        """
    )
    pytester.makepyfile(
        test_it="""
        import unittest
        import pytest

        def test_fixture_of_the_plugin(tlsandbox): pass
        def test_job(job): pass
        def test_hook(valid): pass
        def test_division(divided): pass

        class Test(unittest.TestCase):
            @pytest.fixture(autouse=True)
            def _box(self, box): self.box = box

            def test_method(self):
                self.box.assert_process("no such", status="running")
        """
    )

    def shown(*options: str) -> str:
        text = pytester.runpytest_subprocess(*options).stdout.str()
        errors = text.partition("= ERRORS =")[2].partition("= short test summary")[0]
        return re.sub(r"\d+ ms", "N ms", errors)

    of_plugin = ("-k", "not division")
    text = shown("-o", "asyncio_default_fixture_loop_scope=function", *of_plugin)
    without_user, _, rest = text.partition("ERROR at setup of test_job")

    assert "E   pytest_tlsandbox.InvalidSetting: no sandbox to test, because --tl" in without_user
    assert "pytest_asyncio" not in text
    assert re.findall(r"^>.*|^\S+\.py:\d+: .*", rest, re.MULTILINE) == [
        '>       box.assert_process("no such", status="running")',
        "conftest.py:16: ProcessNotFound",
        ">           by()",
        "conftest.py:8: InvalidArgument",
        '>       self.box.assert_process("no such", status="running")',
        "test_it.py:14: ProcessNotFound",
    ]
    unwrapped = shown("-p", "no:asyncio", "--tlsandbox-report=report.json", *of_plugin)
    assert text == re.sub("^tlsandbox report: .*\n", "", unwrapped, flags=re.MULTILINE)
    of_user = shown("-p", "no:asyncio", "-k", "division")
    assert re.findall(r"^>.*", of_user, re.MULTILINE) == [">       yield", ">       1 / 0"]
