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
WAITING = r"""
    import sys

    import pytest

    def test_before():
        pass

    @pytest.mark.parametrize("name", ["eu::x"])
    def test_it(tlsandbox, name):
        print("printed by the test")
        print("on stderr", file=sys.stderr)
        program = r"printf 'shard 1/8\nshard \33[31m2/8 of a long line\n' >&2; exec sleep 60"
        job = tlsandbox.start_process("sh", ["-c", program, "job"])
        tlsandbox.wait_for_exit(job, timeout=0.5)

    def test_after():
        pass
"""
SAID = (
    r"tlsandbox: test_it\[eu::x\]: [01] of 0\.5 s: Still running"
    r"(: job: shard \\x1b\[31m2/… \+16|, wanted exit code 0: job)"
)
"""The line is cut to 80 columns; before the first output, and at the deadline, it has none."""


@pytest.fixture(autouse=True)
def _suite(pytester, connected):
    pytester.makeconftest(SOONER)
    pytester.makepyfile(test_a=WAITING)


def run(pytester: pytest.Pytester, *options: str) -> list[str]:
    result = pytester.runpytest_subprocess(*options)
    result.assert_outcomes(passed=2, failed=1)
    return result.outlines


def progress_lines(lines: list[str]) -> list[str]:
    return [line for line in lines if "tlsandbox: test_it" in line]


def test_progress_lines_appear_between_the_dots_but_not_in_captured_output(pytester):
    lines = run(pytester)

    start = lines.index(next(line for line in lines if line.startswith("test_a.py")))
    end = next(index for index, line in enumerate(lines) if "FAILURES" in line)
    shown = [line.rstrip() for line in lines[start:end] if line.strip()]
    assert "shard" in "".join(progress_lines(shown))
    assert all(re.fullmatch(SAID, line) for line in progress_lines(shown)), shown
    rest = [line for line in shown if line not in progress_lines(shown)]
    # The outcome of every test is shown, whatever is printed in between.
    outcomes = re.sub(r"\[\s*\d+%\]|test_a\.py|\s", "", "".join(rest))
    assert outcomes == ".F."
    _, _, captured = "\n".join(lines).partition("Captured stdout call")
    assert re.match(r" -*\nprinted by the test\n-* Captured stderr call -*\non stderr\n", captured)


def test_progress_lines_are_also_printed_if_output_capture_is_disabled(pytester):
    lines = run(pytester, "-s")

    assert "shard" in "".join(progress_lines(lines))
    assert all(re.fullmatch(SAID, line) for line in progress_lines(lines)), progress_lines(lines)
    assert "printed by the test" in "\n".join(lines)


def test_verbose_run_shows_each_outcome_once_and_logs_progress_without_colour(pytester):
    lines = run(pytester, "-v", "--log-level=INFO", "--color=yes")

    printed = [line for line in progress_lines(lines) if line.startswith("tlsandbox: ")]
    assert printed
    assert all("\x1b" not in line for line in printed)
    text = re.sub(r"\x1b\[[\d;]*m", "", "\n".join(lines))
    assert text.count("PASSED") == 2
    assert len(re.findall(r"FAILED +\[", text)) == 1
    assert re.search(r"^INFO .*my-sandbox: waiting ", text, re.MULTILINE)


@pytest.mark.parametrize(
    "options",
    [("-q",), pytest.param(("-n1",), marks=pytest.mark.slow), ("-p", "no:terminal")],
    ids=" ".join,
)
def test_progress_is_not_shown_in_quiet_mode_or_with_xdist_or_without_a_terminal(pytester, options):
    result = pytester.runpytest_subprocess(*options)

    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert progress_lines(result.outlines + result.errlines) == []
