"""What a long wait says on pytest's own terminal."""

from __future__ import annotations

import re

import pytest

SOONER = """
    import pytest
    import pytest_tlsandbox.waiting.polling

    # No test waits for 15 s to see what is said then.
    pytest_tlsandbox.waiting.polling._SAYING_INTERVAL = 0.1
"""
WAITING = """
    import sys

    def test_before():
        pass

    def test_it(tlsandbox):
        print("printed by the test")
        print("on stderr", file=sys.stderr)
        job = tlsandbox.start_process("sleep", ["60"])
        tlsandbox.wait_for_exit(job, timeout=0.5)

    def test_after():
        pass
"""
SAID = r"tlsandbox: waiting [01] of 0\.5 s: Still running: sleep \(pid \d+\), wanted exit code 0"


@pytest.fixture(autouse=True)
def _suite(pytester, connected):
    pytester.makeconftest(SOONER)
    pytester.makepyfile(test_a=WAITING)


def run(pytester: pytest.Pytester, *options: str) -> list[str]:
    result = pytester.runpytest_subprocess(*options)
    result.assert_outcomes(passed=2, failed=1)
    return result.outlines


def said(lines: list[str]) -> list[str]:
    return [line for line in lines if "waiting" in line and "tlsandbox:" in line]


def test_it_is_said_on_a_line_of_its_own_amid_the_dots_and_past_the_capture(pytester):
    lines = run(pytester)

    start = lines.index(next(line for line in lines if line.startswith("test_a.py")))
    end = next(index for index, line in enumerate(lines) if "FAILURES" in line)
    shown = [line.rstrip() for line in lines[start:end] if line.strip()]
    assert said(shown)
    for line in said(shown):
        assert re.fullmatch(SAID, line), shown
    rest = [line for line in shown if line not in said(shown)]
    # The outcome of every test is shown, whatever is said in between.
    outcomes = re.sub(r"\[\s*\d+%\]|test_a\.py|\s", "", "".join(rest))
    assert outcomes == ".F."


def test_what_the_test_prints_is_captured_as_ever_and_what_is_said_is_no_part_of_it(pytester):
    output = "\n".join(run(pytester))

    _, _, captured = output.partition("Captured stdout call")
    assert re.match(r" -*\nprinted by the test\n-* Captured stderr call -*\non stderr\n", captured)


def test_where_nothing_is_captured_it_is_said_among_what_is_printed(pytester):
    lines = run(pytester, "-s")

    assert said(lines)
    assert all(re.fullmatch(SAID, line) for line in said(lines)), said(lines)
    assert "printed by the test" in "\n".join(lines)


def test_verbose_shows_each_outcome_once(pytester):
    lines = run(pytester, "-v")

    assert said(lines)
    text = "\n".join(lines)
    assert text.count("PASSED") == 2
    assert len(re.findall(r"FAILED +\[", text)) == 1


def test_quiet_says_nothing(pytester):
    assert said(run(pytester, "-q")) == []


def test_xdist_says_nothing_and_loses_nothing(pytester):
    pytest.importorskip("xdist")

    assert said(run(pytester, "-n1")) == []


def test_no_terminal_is_no_error(pytester):
    result = pytester.runpytest_subprocess("-p", "no:terminal")

    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert said(result.outlines + result.errlines) == []


def test_it_is_in_the_log_that_a_failure_shows(pytester):
    lines = run(pytester, "--log-level=INFO")

    logged = [line for line in lines if line.startswith("INFO ")]
    assert [line for line in logged if "my-sandbox: waiting " in line]


def test_colour_is_that_of_pytest_and_what_is_said_has_none(pytester):
    lines = run(pytester, "--color=yes")

    assert said(lines)
    assert all("\x1b" not in line for line in said(lines))
