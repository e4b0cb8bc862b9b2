"""pytest shows a whole message at every size: two widths, four verbosities.

``tests/messages/shapes`` covers what each kind of message says.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest

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
SHOWN = {
    -1: (("-q",), "last 3 of 60 lines", "stderr"),
    0: ((), "last 10 of 60 lines", "run"),
    1: (("-v",), "last 40 of 60 lines", "sandbox"),
    2: (("-vv",), "60 lines", "all"),
}
"""For each verbosity its option, the lines of output, and the last part of the message."""


def marked(lines: list[str]) -> list[str]:
    """Return the lines that pytest marks with an E, without the mark and the indent of the code."""
    return [line[8:] for line in lines if re.match(r"E(\s|$)", line)]


@pytest.mark.usefixtures("connected")
@pytest.mark.parametrize(
    ("columns", "verbosity", "options"),
    [
        *((columns, verbosity, ()) for columns in (80, 120) for verbosity in SHOWN),
        pytest.param(120, 1, ("-n1", "-rA"), marks=pytest.mark.slow),
    ],
)
def test_full_message_is_shown_at_every_terminal_width_but_summaries_show_one_line(
    pytester, monkeypatch, columns, verbosity, options
):
    """Where CI is set, or -vv is given, pytest would show the whole message in the short summary."""
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("CI", "true" if verbosity else "")
    pytester.makeconftest(MESSAGE)
    pytester.makepyfile(test_a=JOB)
    flags, extent, last = SHOWN[verbosity]
    result = pytester.runpytest_inprocess("--color=no", "--junitxml=junit.xml", *options, *flags)
    lines = result.outlines
    message = (pytester.path / "message").read_text()

    first, *rest = marked(lines)
    assert first == f"pytest_tlsandbox.UnexpectedExit: {FIRST_LINE}"
    assert "\n".join([FIRST_LINE, *rest]) == message
    assert rest[1] == f"  stderr, {extent}"
    assert re.findall(r"^  (\w+)", message, re.MULTILINE)[-1] == last
    # "E", and the indent of the line that raised; the first line alone may be wider.
    table = next((index for index, line in enumerate(rest) if "  all " in line), None)
    assert max(map(len, rest[:table])) + 8 <= columns
    start = next(index for index, line in enumerate(lines) if "short test summary" in line)
    assert lines[start + 1] == f"FAILED test_a.py::test_it - {FIRST_LINE}"
    assert re.search(r"\b1 failed\b", lines[start + 2])
    [failure] = ET.parse(pytester.path / "junit.xml").iter("failure")
    assert failure.attrib["message"] == FIRST_LINE
    assert marked((failure.text or "").splitlines()) == [first, *rest]
    assert "\x1b" not in result.stdout.str() + result.stderr.str()
