"""A block of soft checks in a test, as pytest shows it; beside pytest-check; under xdist."""

from __future__ import annotations

import re

import pytest

from ..support import sample_of

pytestmark = pytest.mark.usefixtures("connected")

CHECKS = """
    import pytest

    @pytest.fixture
    def job(tlsandbox):
        job = tlsandbox.start_process("sh", ["-c", "exit 3", "job.py"])
        tlsandbox.wait_for_exit(job, exit_code=3)
        return job

    def test_it(tlsandbox, job):
        with tlsandbox.soft() as check:
            check.assert_process(job, exit_code=0)
            check.assert_process(job, status="exited")
            check.assert_no_oom()
            check.assert_not_running("no such program")
            check.assert_process("no such program", status="running")
"""
WHOLE = r"""pytest_tlsandbox\.ChecksFailed: 2 of 5 checks failed; the first: Exited 3, wanted 0: job\.py

  check 1  test_\w+\.py:11: Exited 3, wanted 0: job\.py
     process  sh -c exit 3 job\.py
     run      pid \d+, ran [\d.]+ m?s until [\d:.]+ UTC
  check 5  test_\w+\.py:15: No process matches "no such program"
     \d+ process(es)? listed
(       (pid \d+ |    \S|\.\.\. and \d+ more).*\n)+     hint  select by a part of the command line: the command and
           its arguments, joined by spaces
  passed  check 2 \(pid \d+: status=exited\), check 3 \(no OOM
          kills\), check 4 \(no living process that matches "no such
          program"\)"""


def errors_of(result: pytest.RunResult) -> str:
    """Return the lines that pytest marks with an E, with their indent."""
    lines = [line for line in result.outlines if re.match(r"E(\s|$)", line)]
    return "\n".join(line[8:] for line in lines)


@pytest.mark.parametrize("options", sample_of({"alone": (), "xdist": ("-n1",)}, "alone"))
def test_failed_soft_checks_are_reported_together_and_the_traceback_ends_at_the_block(
    pytester, options
):
    pytester.makepyfile(test_a=CHECKS)
    result = pytester.runpytest_inprocess(*options)

    assert re.fullmatch(WHOLE, errors_of(result)), errors_of(result)
    [place] = [line for line in result.outlines if re.match(r"test_a\.py:\d+: ", line)]
    assert place == "test_a.py:10: ChecksFailed"
    [summary] = [line for line in result.outlines if line.startswith("FAILED")]
    assert summary == (
        "FAILED test_a.py::test_it - 2 of 5 checks failed; the first: Exited 3, wanted..."
    )


def test_soft_block_and_pytest_check_both_report_failures_if_one_contains_the_other(pytester):
    pytest.importorskip("pytest_check")
    pytester.makepyfile(
        """
        from pytest_check import check

        def test_it(tlsandbox):
            with check:
                with tlsandbox.soft() as soft:
                    soft.assert_process("no such program", status="running")
                    soft.assert_process("no other", status="running")
            with tlsandbox.soft() as soft:
                check.equal(1, 2)
                soft.assert_process("no third", status="running")
                with check:
                    assert 3 == 4
        """
    )
    result = pytester.runpytest_inprocess()

    result.assert_outcomes(failed=1)
    output = result.stdout.str()
    assert "2 of 2 checks failed; the first: No process matches" in output
    assert 'No process matches "no other"' in output
    assert '1 of 1 check failed: No process matches "no third"' in output
    assert "check 1 == 2" in output
    assert "assert 3 == 4" in output
