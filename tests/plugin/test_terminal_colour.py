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

def test_it(): raise ERROR

def test_chain():
    try:
        raise ERROR
    except ProcessOOMKilled:
        raise RuntimeError("closing failed")
"""
GROUP = """
def test_group(): raise ExceptionGroup("two", [ERROR])
"""
HAS_GROUPS = sys.version_info >= (3, 11)
RED, YELLOW, END = "\x1b[1m\x1b[31m", "\x1b[33m", "\x1b[0m"
STYLES = ["", "--tb=long -l", "--tb=short", "--tb=line", "--tb=native", "-n1"]


@pytest.mark.parametrize("style", sample_of({style: style for style in STYLES}, "", "--tb=native"))
def test_only_the_first_line_is_red_and_native_tracebacks_and_groups_have_no_colour(
    pytester, style
):
    pytester.makepyfile(test_it=SUITE + GROUP * HAS_GROUPS)
    result = pytester.runpytest_inprocess("--color=yes", "--code-highlight=no", *style.split())
    text = result.stdout.str().partition("= FAILURES =")[2]
    text = re.split(r"\n.*=+ short test summary", text)[0]

    if style == "--tb=line":
        assert f"{pytester.path}/test_it.py:6: {FIRST_LINE}" in re.sub(r"\x1b\[[\d;]*m", "", text)
        return
    native = style == "--tb=native"
    red = re.findall(rf"^{re.escape(RED)}E +(.*){re.escape(END)}$", text, re.MULTILINE)
    assert red == ([] if native else [NAMED, NAMED, "RuntimeError: closing failed"])
    for line in DETAILS:
        assert len(re.findall(rf"^(?:E +)?{re.escape(line)}$", text, re.MULTILINE)) == 2
    assert (f"\n{YELLOW}During handling of" in text) is not native
    assert (f"  | {NAMED}\n" in text) is HAS_GROUPS
