"""Failures in colour: the first line is red and bold, the other lines are plain."""

from __future__ import annotations

import re
import sys

import pytest

from ..support import sample_of

MESSAGE = r"""OOM-killed: train.py: shard 2/8 loaded

  stderr, 2 lines
  | a line that is too long for one line,
    and continues
  | shard 2/8 loaded
  process  pid 41: python train.py"""
SUITE = f"""
import pytest
from pytest_tlsandbox import ProcessOOMKilled

ERROR = ProcessOOMKilled({MESSAGE!r})

def test_it():
    limit = 128
    raise ERROR
"""
MARKUP = {
    "\x1b[1m\x1b[31m": "<red>",
    "\x1b[33m": "<yellow>",
    "\x1b[0m": "</>",
}
SHORT = """\
<red>E   pytest_tlsandbox.ProcessOOMKilled: OOM-killed: train.py: shard 2/8 loaded</>
E
E     stderr, 2 lines
E     | a line that is too long for one line,
E       and continues
E     | shard 2/8 loaded
E     process  pid 41: python train.py""".replace("E\n", "E   \n")
LONG = SHORT.replace("E   ", "E       ")
CRASH_LINE = f"{{folder}}/test_it.py:8: {MESSAGE.splitlines()[0]}"
if pytest.version_tuple >= (9,):  # shows the error above the line that the style is named after
    CRASH_LINE = f"{SHORT}\n{CRASH_LINE}".replace("\nE   ", "\n    ")
STYLES = {
    (): f">       raise ERROR\n{LONG}\n\n<red>test_it.py</>:8: ProcessOOMKilled",
    ("--tb=long", "-l"): f">       raise ERROR\n{LONG}\n\nlimit      = 128\n\n"
    "<red>test_it.py</>:8: ProcessOOMKilled",
    ("--tb=short",): f"<red>test_it.py</>:8: in test_it\n    raise ERROR\n{SHORT}",
    ("--tb=line",): CRASH_LINE,
    ("--tb=native",): f"    raise ERROR\npytest_tlsandbox.ProcessOOMKilled: {MESSAGE}",
}


def shown(pytester: pytest.Pytester, *options: str) -> str:
    """Return the failures as an inner run shows them, with colours as words."""
    result = pytester.runpytest_subprocess("--code-highlight=no", *options)
    text = result.stdout.str().partition("= FAILURES =")[2]
    for code, word in MARKUP.items():
        text = text.replace(code, word)
    return re.split(r"\n.*=+ short test summary", text)[0]


def without_colour(text: str) -> str:
    return re.sub("<.*?>", "", text)


@pytest.mark.parametrize(
    "options",
    sample_of({" ".join(style): style for style in [*STYLES, ("-n1",)]}, "", "--tb=native"),
)
def test_colours_do_not_change_the_text_in_any_traceback_style(pytester, options):
    pytester.makepyfile(test_it=SUITE)
    expected = STYLES.get(options, STYLES[()]).replace("{folder}", str(pytester.path))

    assert shown(pytester, *options, "--color=yes").rstrip("\n").endswith(f"\n{expected}")
    plain = shown(pytester, *options, "--color=no").rstrip("\n")
    assert plain.endswith(f"\n{without_colour(expected)}")


def test_errors_in_an_exception_chain_are_coloured_but_exception_groups_are_not(pytester):
    pytester.makepyfile(
        test_it=SUITE.replace("raise ERROR", "pass")
        + """
def test_chain():
    try:
        raise ERROR
    except ProcessOOMKilled:
        raise RuntimeError("closing failed")

def test_group():
    raise ExceptionGroup("two", [ERROR])
"""
        * (sys.version_info >= (3, 11))
    )
    text = shown(pytester, "--color=yes", "--tb=short")

    assert f"    raise ERROR\n{SHORT}\n\n<yellow>During handling of" in text
    assert "\n<red>E   RuntimeError: closing failed</>\n" in text
    assert f"  | pytest_tlsandbox.ProcessOOMKilled: {MESSAGE.splitlines()[0]}\n" in text
