"""Tracebacks end at the user's line, also where another plugin wraps the hooks of pytest."""

from __future__ import annotations

import re

import pytest

from ..client.servers import reply
from .inner import errors_as_shown

CALLS = [
    "box.wait_for_process('no such', timeout=0)",
    "box.wait_for_process('x', timeout=-1)",
    "box.wait_until(lambda: True)",
    "box.wait_until(lambda seen: 1 / 0)",
    "box.wait_for_exit()",
    "box.wait_for_proces('x')",
    "box.soft().assert_no_oom(suspect=True)",
    "AsyncSandbox(box).wait_for_proces('x')",
    "box.assert_stays('no such', stable_for=1)",
    "box.start_process('no-such-program')",
    "box.send_signal('no such', 9)",
    "box.list_processes().where(exitcode=1)",
    "tlsandbox_session.from_now()",
    "tlsandbox_session.wait_for_process('x')",
    "tlsandbox_lister.list()",
    "tlsandbox_lister.look()",
    "tlsandbox_connect('')",
    "tlsandbox_allow('oom')",
    "by()",
]
"""Each fails, and is the last line that its traceback shows."""


@pytest.mark.usefixtures("connected")
def test_traceback_never_shows_source_lines_of_the_plugin(pytester, serve):
    """The sandbox under test rejects the key; ``box`` is another one."""
    start = """
import pytest
from pytest_tlsandbox import AsyncSandbox, by

@pytest.fixture
def box(tlsandbox_connect): return tlsandbox_connect("my-sandbox")

def test_baseline(tlsandbox): pass
"""
    fixtures = "box, tlsandbox_session, tlsandbox_lister, tlsandbox_connect, tlsandbox_allow"
    tests = [f"def test_{number}({fixtures}): {call}" for number, call in enumerate(CALLS)]
    pytester.makepyfile("\n".join([start, *tests]))
    shown = errors_as_shown(pytester.inline_run(f"--tlsandbox={serve(reply(403)).url}"))

    # Without a line of the user, no code is shown; older versions of pytest show the fixture.
    assert not re.search(r"(client|tenacity|_pytest|pluggy)/", shown.pop("test_baseline"))
    assert len(shown) == len(CALLS)
    foreign = re.compile(r"(pytest_tlsandbox|tenacity|_pytest|pluggy)/")
    assert [CALLS[int(name[5:])] for name, text in shown.items() if foreign.search(text)] == []


@pytest.mark.usefixtures("connected")
def test_error_shows_frames_of_hook_wrappers_only_if_it_is_not_an_error_of_the_plugin(
    pytester, monkeypatch
):
    """The wrappers are those of pytest-asyncio, of the report and of a conftest."""
    monkeypatch.delenv("TLSANDBOX")
    addopts = "-W error -p no:cacheprovider -p no:anyio -p no:hypothesispytest"
    monkeypatch.setenv("PYTEST_ADDOPTS", addopts)
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
        def box(tlsandbox_connect): return tlsandbox_connect("my-sandbox")

        @pytest.fixture
        def job(box): box.assert_process("no such", status="running")

        @pytest.fixture
        def valid(): pass

        @pytest.fixture
        def divided(box): 1 / 0
        """
    )
    pytester.makepyfile(
        test_it="""
        import unittest
        import pytest

        def test_fixture_of_the_plugin(tlsandbox): pass
        def test_job(job): pass
        def test_hook(valid): pass

        class Test(unittest.TestCase):
            @pytest.fixture(autouse=True)
            def _box(self, box): self.box = box

            def test_method(self): self.box.assert_process("no such", status="running")

        def test_division(divided): pass
        """
    )
    scope = "asyncio_default_fixture_loop_scope=function"
    result = pytester.runpytest_subprocess("-o", scope, "--tlsandbox-report=out.json")
    without_user, _, rest = result.stdout.str().partition("ERROR at setup of test_job")

    assert "E   pytest_tlsandbox.InvalidSetting: no sandbox to test, because --tl" in without_user
    assert "pytest_asyncio" not in without_user.partition("= ERRORS =")[2]
    places = re.findall(r"^\S+\.py:\d+: .*", rest, re.MULTILINE)
    places = [re.sub(r".*pytest_asyncio.*", "pytest-asyncio", place) for place in places]
    assert [*dict.fromkeys(places)] == [
        "conftest.py:14: ProcessNotFound",
        "conftest.py:8: InvalidArgument",
        "conftest.py:6: ",
        "pytest-asyncio",
        "conftest.py:20: ZeroDivisionError",
        "test_it.py:12: ProcessNotFound",
    ]
