"""Failures in colour: the first line is red and bold, the other lines are plain."""

from __future__ import annotations

import re
import sys

import pytest

from ..support import sample_of

FIRST_LINE = "OOM-killed: train.py: shard 2/8 loaded"
DETAILS = [
    "  stderr, 2 lines",
    "  | a line that is too long for one line,",
    "    and continues",
    "  | shard 2/8 loaded",
    "  process  pid 41: python train.py",
]
NAMED = f"pytest_tlsandbox.ProcessOOMKilled: {FIRST_LINE}"
SUITE = f"""
import pytest
from pytest_tlsandbox import ProcessOOMKilled

ERROR = ProcessOOMKilled({chr(10).join([FIRST_LINE, "", *DETAILS])!r})

def test_it():
    raise ERROR
"""
RED, YELLOW, END = "\x1b[1m\x1b[31m", "\x1b[33m", "\x1b[0m"


def shown(pytester: pytest.Pytester, *options: str) -> str:
    """Return the failures as an inner run shows them."""
    result = pytester.runpytest_subprocess("--code-highlight=no", *options)
    text = result.stdout.str().partition("= FAILURES =")[2]
    return re.split(r"\n.*=+ short test summary", text)[0]


STYLES = ["", "--tb=long -l", "--tb=short", "--tb=line", "--tb=native", "-n1"]


@pytest.mark.parametrize("style", sample_of({style: style for style in STYLES}, "", "--tb=native"))
def test_colours_do_not_change_the_text_in_any_traceback_style(pytester, style):
    pytester.makepyfile(test_it=SUITE)
    text = shown(pytester, *style.split(), "--color=yes")

    plain = re.sub(r"\x1b\[[\d;]*m", "", text)
    assert shown(pytester, *style.split(), "--color=no") == plain
    if style == "--tb=line":
        assert f"{pytester.path}/test_it.py:7: {FIRST_LINE}" in plain
        return
    [first] = [line for line in text.splitlines() if NAMED in line]
    red = first.startswith(f"{RED}E ") and first.endswith(END)
    assert red == (style != "--tb=native")
    for line in DETAILS:
        assert re.search(rf"^(E +)?{re.escape(line)}$", text, re.MULTILINE)


def test_errors_in_an_exception_chain_are_coloured_but_exception_groups_are_not(pytester):
    chain = """
def test_chain():
    try:
        raise ERROR
    except ProcessOOMKilled:
        raise RuntimeError("closing failed")
"""
    group = """
def test_group():
    raise ExceptionGroup("two", [ERROR])
"""
    pytester.makepyfile(
        test_it=SUITE.replace("raise ERROR", "pass") + chain + group * (sys.version_info >= (3, 11))
    )
    text = shown(pytester, "--color=yes", "--tb=short")

    assert f"    raise ERROR\n{RED}E   {NAMED}{END}\n" in text
    assert f"E   {DETAILS[-1]}\n\n{YELLOW}During handling of" in text
    assert f"\n{RED}E   RuntimeError: closing failed{END}\n" in text
    if sys.version_info >= (3, 11):
        assert f"  | {NAMED}\n" in text
