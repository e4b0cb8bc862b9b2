"""pytest shows a whole message at every size: two widths, four verbosities.

``tests/messages/shapes`` covers what each kind of message says.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest

from .inner import section_of

FIRST_LINE = "Exited 3, wanted 0: job.py: 60"
JOB = """
    SHARDS = [f"--shard=/data/{number:02}.parquet" for number in range(16)]

    def test_it(tlsandbox):
        job = tlsandbox.start_process("sh", ["-c", "seq 60 >&2; exit 3", "job.py", *SHARDS])
        tlsandbox.wait_for_exit(job)
"""
MESSAGE = """
    from pathlib import Path

    def pytest_exception_interact(call):
        Path("message").write_text(str(call.excinfo.value))
"""


def marked(lines: list[str]) -> list[str]:
    """Return the lines that pytest marks with an E, without the mark and the indent of the code."""
    return [line[8:] for line in lines if re.match(r"E(\s|$)", line)]


@pytest.mark.usefixtures("connected")
@pytest.mark.parametrize(
    ("columns", "options", "extent", "last"),
    [
        (80, "-q", "last 3 of 60 lines", "stderr"),
        (120, "", "last 10 of 60 lines", "run"),
        (80, "-v", "last 40 of 60 lines", "sandbox"),
        (120, "-vv", "60 lines", "all"),
        pytest.param(120, "-v -n1 -rA", "last 40 of 60 lines", "sandbox", marks=pytest.mark.slow),
    ],
)
def test_full_message_is_shown_at_every_terminal_width_but_summaries_show_one_line(
    pytester, monkeypatch, columns, options, extent, last
):
    """Where CI is set, or -vv is given, pytest would show the whole message in the short summary."""
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("CI", "true" if options else "")
    pytester.makeconftest(MESSAGE)
    pytester.makepyfile(test_a=JOB)
    junit = "--junitxml=junit.xml"
    result = pytester.runpytest_inprocess("--color=no", junit, *options.split())
    message = (pytester.path / "message").read_text()

    first, *rest = marked(result.outlines)
    assert first == f"pytest_tlsandbox.UnexpectedExit: {FIRST_LINE}"
    assert "\n".join([FIRST_LINE, *rest]) == message
    assert rest[1] == f"  stderr, {extent}"
    assert re.findall(r"^  (\w+)", message, re.MULTILINE)[-1] == last
    # "E", and the indent of the line that raised; the first line alone may be wider.
    table = next((index for index, line in enumerate(rest) if "  all " in line), None)
    assert max(map(len, rest[:table])) + 8 <= columns
    summary = [line for line in section_of(result, "short test summary info") if line[0] != "1"]
    assert summary == [f"FAILED test_a.py::test_it - {FIRST_LINE}"]
    [failure] = ET.parse(pytester.path / "junit.xml").iter("failure")
    assert failure.attrib["message"] == FIRST_LINE
    assert marked((failure.text or "").splitlines()) == [first, *rest]
    assert "\x1b" not in result.stdout.str() + result.stderr.str()
