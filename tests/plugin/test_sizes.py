"""pytest shows a message whole in every size: two widths, four verbosities, with colour and without.

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
VERDICT = "Exited 3: sh -c (pid N), wanted exit code 0"
FIELDS = """\

  stopped after T of 30 s: it has ended
               wanted  was
    status     exited  exited
    exit code  0       3       <
"""
LIVED = """\
  lived     T, M to M (sandbox clock, UTC)
  timeline  +0 s running, N looks | +T exited 3, 1 look
  looks     N, T each
"""
COMMAND = {
    (80, 0): """\
  process   sh -c sleep 0.2; seq 60 >&2; exit 3 job.py
            --shard=/data/00.parquet --shard=/data/01.parquet … +349
""",
    (80, 1): """\
  process   sh -c sleep 0.2; seq 60 >&2; exit 3 job.py
            --shard=/data/00.parquet --shard=/data/01.parquet
            --shard=/data/02.parquet --shard=/data/03.parquet
            --shard=/data/04.parquet --shard=/data/05.parquet
            --shard=/data/06.parquet --shard=/data/07.parquet … +199
""",
    (80, 2): """\
  process   sh -c sleep 0.2; seq 60 >&2; exit 3 job.py
            --shard=/data/00.parquet --shard=/data/01.parquet
            --shard=/data/02.parquet --shard=/data/03.parquet
            --shard=/data/04.parquet --shard=/data/05.parquet
            --shard=/data/06.parquet --shard=/data/07.parquet
            --shard=/data/08.parquet --shard=/data/09.parquet
            --shard=/data/10.parquet --shard=/data/11.parquet
            --shard=/data/12.parquet --shard=/data/13.parquet
            --shard=/data/14.parquet --shard=/data/15.parquet
""",
    (120, 0): """\
  process   sh -c sleep 0.2; seq 60 >&2; exit 3 job.py --shard=/data/00.parquet --shard=/data/01.parquet
            --shard=/data/02.parquet --shard=/data/03.parquet --shard=/data/04.parquet --shard=/data/0… +259
""",
    (120, 1): """\
  process   sh -c sleep 0.2; seq 60 >&2; exit 3 job.py --shard=/data/00.parquet --shard=/data/01.parquet
            --shard=/data/02.parquet --shard=/data/03.parquet --shard=/data/04.parquet
            --shard=/data/05.parquet --shard=/data/06.parquet --shard=/data/07.parquet
            --shard=/data/08.parquet --shard=/data/09.parquet --shard=/data/10.parquet
            --shard=/data/11.parquet --shard=/data/12.parquet --shard=/data/13.parquet --shard=/data/1… +34
""",
    (120, 2): """\
  process   sh -c sleep 0.2; seq 60 >&2; exit 3 job.py --shard=/data/00.parquet --shard=/data/01.parquet
            --shard=/data/02.parquet --shard=/data/03.parquet --shard=/data/04.parquet
            --shard=/data/05.parquet --shard=/data/06.parquet --shard=/data/07.parquet
            --shard=/data/08.parquet --shard=/data/09.parquet --shard=/data/10.parquet
            --shard=/data/11.parquet --shard=/data/12.parquet --shard=/data/13.parquet
            --shard=/data/14.parquet --shard=/data/15.parquet
""",
}
FLAGS = {-1: ("-q",), 0: (), 1: ("-v",), 2: ("-vv",)}
SIZES = [(columns, verbosity) for columns in (80, 120) for verbosity in FLAGS]


def expected(columns: int, verbosity: int) -> str:
    if verbosity < 0:
        tail = [*range(58, 61)]
        stderr = ["  stderr  last 3 of 60 lines", *(f"          | {number}" for number in tail)]
        return "\n".join(
            [VERDICT, FIELDS[:-1], *stderr, "  try     exit_code=3, if it is to end so"]
        )
    shown = {0: 10, 1: 40, 2: 60}[verbosity]
    extent = "60 lines" if shown == 60 else f"last {shown} of 60 lines"
    lines = [f"            | {number}" for number in range(61 - shown, 61)]
    text = [VERDICT, FIELDS + COMMAND[columns, verbosity] + LIVED + f"  stderr    {extent}", *lines]
    text += ["  sandbox   my-sandbox", "  try       exit_code=3, if it is to end so"]
    return "\n".join(text + (["  all N processes", "    ROWS"] if verbosity == 2 else []))


def normal(text: str) -> str:
    """Replace values that vary by a word: pids, times, numbers of polls."""
    text = re.sub(r"\(pid \d+\)", "(pid N)", text)
    text = re.sub(r"\d\d:\d\d:\d\d\.\d{3}", "M", text)
    text = re.sub(r"(after |\+|lived     |, )(?!0 s)\d[\d.]* m?s\b", r"\1T", text)
    # On a busy machine the first poll comes late.
    text = text.replace("timeline  +T running", "timeline  +0 s running")
    text = re.sub(r"running, \d+ looks?", "running, N looks", text)
    text = re.sub(r"looks     \d+,", "looks     N,", text)
    # Other tests have run programs in that sandbox before.
    text = re.sub(r"all \d+ process(es)?", "all N processes", text)
    return re.sub(r"(    pid \d+ .*(\n|$))+", "    ROWS", text)


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
    [*((*size, ()) for size in SIZES), (80, 0, ("-n1",)), (120, 1, ("-n1", "-rA"))],
)
def test_the_whole_message_is_shown_in_every_size_and_its_first_line_where_one_is(
    pytester, monkeypatch, columns, verbosity, options
):
    """Where CI is set, or -vv is given, pytest would show the whole message in the short summary."""
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("CI", "true" if verbosity else "")
    options = ("--color=no", "--junitxml=junit.xml", *options, *FLAGS[verbosity])
    result = pytester.runpytest_inprocess(*options)
    lines = result.outlines

    assert marked(lines) == expected(columns, verbosity)
    # "E", and the indent of the line that raised; the first line alone may be wider.
    shown = [line for line in lines if re.match(r"E(\s|$)", line)][1:]
    table = next((index for index, line in enumerate(shown) if "  all " in line), len(shown))
    assert max(map(len, shown[:table])) <= columns
    start = next(index for index, line in enumerate(lines) if "short test summary" in line)
    assert normal(lines[start + 1]) == f"FAILED test_a.py::test_it - {VERDICT}"
    assert re.search(r"\b1 failed\b", lines[start + 2])
    [failure] = ET.parse(pytester.path / "junit.xml").iter("failure")
    assert normal(failure.attrib["message"]) == VERDICT
    assert marked((failure.text or "").splitlines()) == expected(columns, verbosity)
    assert "\x1b" not in result.stdout.str() + result.stderr.str()


def test_colour_is_pytests_own_and_none_is_within_our_text(pytester):
    lines = pytester.runpytest_inprocess("--color=yes").outlines

    red = re.compile(r"\x1b\[1m\x1b\[31m(E.*)\x1b\[0m")
    matches = [match[1] for line in lines if (match := red.fullmatch(line))]
    assert not [line for line in matches if "\x1b" in line]
    assert marked(matches) == expected(80, 0)
    [summary] = [line for line in lines if "FAILED" in line]
    assert re.fullmatch(
        r"\x1b\[31mFAILED\x1b\[0m test_a\.py::\x1b\[1mtest_it\x1b\[0m - "
        r"Exited 3: sh -c \(pid \d+\), wanted exit code 0",
        summary,
    ), summary
