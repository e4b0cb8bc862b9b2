"""What a long wait prints on pytest's own terminal."""

from __future__ import annotations

import re

import pytest

from ..support import sample_of

SUITE = r"""
    import sys
    import pytest
    from pytest_tlsandbox.waiting import polling

    polling._SAYING_INTERVAL = 0.1  # not 15 s

    def test_before(): pass

    @pytest.mark.parametrize("name", ["eu::x"])
    def test_it(tlsandbox, name):
        print("printed by the test")
        print("on stderr", file=sys.stderr)
        program = r"printf 'shard 1/8\nshard \33[31m2/8 of a long line\n' >&2; exec sleep 60"
        job = tlsandbox.start_process("sh", ["-c", program, "job"])
        tlsandbox.wait_for_exit(job, timeout=0.5)

    def test_after(): pass
"""
SAID = (
    r"tlsandbox: test_it\[eu::x\]: [01] of 0\.5 s: Still running"
    r"(: job: shard \\x1b\[31m2/… \+16|, wanted exit code 0: job)"
)
"""The line is cut to 80 columns; before the first output, and at the deadline, it has none."""


@pytest.fixture
def run(pytester, connected):
    """Return a function that returns the text of an inner run, and checks its lines of progress."""

    def run(*options: str, progress: bool = True) -> str:
        pytester.makepyfile(test_a=SUITE)
        result = pytester.runpytest_subprocess(*options)
        assert result.ret == pytest.ExitCode.TESTS_FAILED
        lines = [*result.outlines, *result.errlines]
        said = [line for line in lines if "tlsandbox: test_it" in line]
        assert [line for line in said if not re.fullmatch(SAID, line)] == []
        assert bool(said) == ("shard" in "".join(said)) == progress
        return "\n".join(lines)

    return run


def test_progress_lines_appear_between_the_dots_but_not_in_captured_output(run):
    tests, _, failures = run().partition("= FAILURES =")

    # The outcome of every test is shown, whatever is printed in between.
    between = r"^tlsandbox: .*|\[ *\d+%\]|test_a\.py|[\s=]"
    assert re.sub(between, "", tests.partition("\ntest_a.py")[2], flags=re.MULTILINE) == ".F."
    assert "tlsandbox: test_it" not in failures
    _, _, captured = failures.partition("Captured stdout call")
    assert re.match(r" -*\nprinted by the test\n-* Captured stderr call -*\non stderr\n", captured)


@pytest.mark.parametrize("capture", ["fd", pytest.param("no", marks=pytest.mark.slow)])
def test_verbose_run_shows_each_outcome_once_and_progress_without_colour(run, capture):
    text = run(f"--capture={capture}", "-v", "--log-level=INFO", "--color=yes")

    text = re.sub(r"\x1b\[[\d;]*m", "", text)
    assert "printed by the test" in text
    outcomes = re.findall(r"(PASSED|FAILED)(?: +\[ *\d+%\])?$", text, re.MULTILINE)
    assert outcomes == ["PASSED", "FAILED", "PASSED"]
    assert re.search(r"^INFO .*my-sandbox: waiting ", text, re.MULTILINE)


@pytest.mark.parametrize(
    "options", sample_of({text: text for text in ("-q", "-n1", "-p no:terminal")}, "-q")
)
def test_progress_is_not_shown_in_quiet_mode_or_with_xdist_or_without_a_terminal(run, options):
    run(*options.split(), progress=False)
