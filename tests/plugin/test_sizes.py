"""pytest shows a whole message at every size: two widths, four verbosities.

``tests/messages/shapes`` covers what each kind of message says.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest

JOB = """
    SHARDS = [f"--shard=/data/{number:02}.parquet" for number in range(16)]

    def test_it(tlsandbox):
        job = tlsandbox.start_process(
            "sh", ["-c", "sleep 0.2; seq 60 >&2; exit 3", "job.py", *SHARDS]
        )
        tlsandbox.wait_for_exit(job)
"""
FIRST_LINE = "Exited 3, wanted 0: job.py: 60"
COMMAND = "sh -c sleep 0.2; seq 60 >&2; exit 3 job.py " + " ".join(
    f"--shard=/data/{number:02}.parquet" for number in range(16)
)
FLAGS = {-1: ("-q",), 0: (), 1: ("-v",), 2: ("-vv",)}
SIZES = [(columns, verbosity) for columns in (80, 120) for verbosity in FLAGS]


def expected(verbosity: int) -> str:
    shown = {-1: 3, 0: 10, 1: 40, 2: 60}[verbosity]
    extent = "60 lines" if shown == 60 else f"last {shown} of 60 lines"
    lines = [FIRST_LINE, "", f"  stderr, {extent}"]
    lines += [f"  | {number}" for number in range(61 - shown, 61)]
    if verbosity == 0:
        lines += ["  process  the command, cut after 2 lines", "  run      pid N, ran T"]
    if verbosity > 0:
        cut = ", cut after 5 lines" if verbosity == 1 else ""
        lines += [
            f"  process   the command{cut}",
            "  run       pid N, ran T",
            "  timeline  +0 s     running",
            "            +T  exited 3",
            "  polls     N (T each)",
            "  sandbox   my-sandbox",
        ]
    return "\n".join(lines + (["  all N processes", "    ROWS"] if verbosity == 2 else []))


def normal(text: str) -> str:
    """Replace values that vary: pids, times, numbers of polls, and line breaks of the command."""
    text = re.sub(r"(?<=  process)( +)(.+(?:\n {10,}.+)*)", the_command, text)
    text = re.sub(r"pid \d+, ran [\d.]+ m?s until [\d:.]+ UTC", "pid N, ran T", text)
    text = re.sub(r"(after |\+|, )(?!0 s)\d[\d.]* m?s\b", r"\1T", text)
    # On a busy machine the first poll comes late.
    text = re.sub(r"timeline  \+(0 s|T) +running", "timeline  +0 s     running", text)
    text = re.sub(r"polls     \d+ \([\d.]+ m?s each\)", "polls     N (T each)", text)
    # Other tests have run programs in that sandbox before.
    text = re.sub(r"all \d+ process(es)?", "all N processes", text)
    return re.sub(r"(    pid \d+ .*(\n {8}.*)*(\n|$))+", "    ROWS", text)


def the_command(shown: re.Match[str]) -> str:
    """Return whether the shown lines are the command, or its first part."""
    start, cut, _ = shown[2].partition("… +")
    start = re.sub(r"\s+", " ", start)
    assert COMMAND.startswith(start) if cut else start == COMMAND
    cut = f", cut after {len(shown[2].splitlines())} lines" if cut else ""
    return f"{shown[1]}the command{cut}"


def marked(lines: list[str]) -> str:
    """Return the lines that pytest marks with an E, with their indent, without varying numbers."""
    text = "\n".join(line[8:] for line in lines if re.match(r"E(\s|$)", line))
    name = "pytest_tlsandbox.UnexpectedExit: "
    assert text.startswith(name)
    return normal(text.removeprefix(name))


@pytest.fixture(autouse=True)
def _suite(pytester, connected):
    pytester.makepyfile(test_a=JOB)


@pytest.mark.parametrize(
    ("columns", "verbosity", "options"),
    [
        *((*size, ()) for size in SIZES),
        pytest.param(80, 0, ("-n1",), marks=pytest.mark.slow),
        (120, 1, ("-n1", "-rA")),
    ],
)
def test_full_message_is_shown_at_every_terminal_width_but_summaries_show_one_line(
    pytester, monkeypatch, columns, verbosity, options
):
    """Where CI is set, or -vv is given, pytest would show the whole message in the short summary."""
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("CI", "true" if verbosity else "")
    options = ("--color=no", "--junitxml=junit.xml", *options, *FLAGS[verbosity])
    result = pytester.runpytest_inprocess(*options)
    lines = result.outlines

    assert marked(lines) == expected(verbosity)
    # "E", and the indent of the line that raised; the first line alone may be wider.
    shown = [line for line in lines if re.match(r"E(\s|$)", line)][1:]
    table = next((index for index, line in enumerate(shown) if "  all " in line), len(shown))
    assert max(map(len, shown[:table])) <= columns
    start = next(index for index, line in enumerate(lines) if "short test summary" in line)
    assert lines[start + 1] == f"FAILED test_a.py::test_it - {FIRST_LINE}"
    assert re.search(r"\b1 failed\b", lines[start + 2])
    [failure] = ET.parse(pytester.path / "junit.xml").iter("failure")
    assert failure.attrib["message"] == FIRST_LINE
    assert marked((failure.text or "").splitlines()) == expected(verbosity)
    assert "\x1b" not in result.stdout.str() + result.stderr.str()
