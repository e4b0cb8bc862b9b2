"""Tracebacks end at the user's line, also where another plugin wraps the hooks of pytest."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest

from ..client.servers import reply

CALLS = [
    "box.wait_for_process('no such', timeout=0)",
    "box.wait_for_process('x', timeout=-1)",
    "box.wait_until(lambda: True)",
    "box.wait_until(lambda seen: 1 / 0)",
    "box.wait_for_exit()",
    "box.wait_for_proces('x')",
    "box.soft().assert_no_oom(suspect=True)",
    "with box.soft() as soft: soft.assert_process('no such', status='running')",
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
def test_traceback_ends_at_the_line_of_the_user_also_if_other_plugins_wrap_the_hooks_of_pytest(
    pytester, serve
):
    """Only an error that is not of the plugin shows the frames of the wrappers.

    The sandbox under test rejects the key; ``box`` is another one. The wrappers are those of
    pytest-asyncio, of the report and of a conftest.
    """
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
    suite = """
import unittest
import pytest
from pytest_tlsandbox import AsyncSandbox, by

def test_baseline(tlsandbox): pass
def test_job(job): pass
def test_hook(valid): pass
def test_division(divided): pass
def test_chain(box):
    try: box.assert_process("no such", status="running")
    except AssertionError: raise ValueError

class Test(unittest.TestCase):
    @pytest.fixture(autouse=True)
    def _box(self, box): self.box = box
    def test_method(self): self.box.assert_process("no such", status="running")
"""
    fixtures = "box, tlsandbox_session, tlsandbox_lister, tlsandbox_connect, tlsandbox_allow"
    tests = [f"def test_{number}({fixtures}):\n    {call}" for number, call in enumerate(CALLS)]
    pytester.makepyfile(test_it="\n".join([suite, *tests]))
    pytester.runpytest_subprocess(
        f"--tlsandbox={serve(reply(403)).url}",
        *("-p", "asyncio", "-o", "asyncio_default_fixture_loop_scope=function"),
        *("--tlsandbox-report=out.json", "--junitxml=junit.xml"),
    )
    cases = ET.parse(pytester.path / "junit.xml").iter("testcase")
    shown = {case.attrib["name"]: "".join(case.itertext()) for case in cases}

    def places(name: str) -> list[str]:
        found = re.findall(r"^(\S+\.py:\d+): ", shown.pop(name), re.MULTILINE)
        return [*dict.fromkeys(re.sub(".*pytest_asyncio.*", "asyncio", place) for place in found)]

    assert places("test_job") == ["conftest.py:13"]
    assert places("test_hook") == ["conftest.py:8"]
    assert places("test_chain") == ["test_it.py:10", "test_it.py:11"]
    assert places("test_method") == ["test_it.py:16"]
    assert places("test_division") == ["conftest.py:6", "asyncio", "conftest.py:17"]
    # Without a line of the user, no code is shown; older versions of pytest show the fixture.
    foreign = "client|tenacity|_pytest|pluggy|pytest_asyncio"
    assert not re.search(f"({foreign})/", shown.pop("test_baseline"))
    assert len(shown) == len(CALLS)
    foreign = re.compile(f"(pytest_tlsandbox|{foreign})/")
    assert [CALLS[int(name[5:])] for name, text in shown.items() if foreign.search(text)] == []
