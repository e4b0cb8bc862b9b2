"""A block of soft checks in a test, as pytest shows it; beside pytest-check; under xdist."""

from __future__ import annotations

import re

import pytest

from ..support import sample_of

pytestmark = pytest.mark.usefixtures("connected")


@pytest.mark.parametrize("options", sample_of({"alone": (), "xdist": ("-n1",)}, "alone"))
def test_failed_soft_checks_are_reported_together_and_the_traceback_ends_at_the_block(
    pytester, options
):
    pytester.makepyfile(
        test_a="""
        def test_it(tlsandbox):
            job = tlsandbox.start_process("sh", ["-c", "exit 3", "job.py"])
            tlsandbox.wait_for_exit(job, exit_code=3)
            with tlsandbox.soft() as check:
                check.assert_process(job, exit_code=0)
                check.assert_no_oom()
                check.assert_process("no such program", status="running")
        """
    )
    result = pytester.runpytest_inprocess(*options)

    lines = [line[1:].strip() for line in result.outlines if re.match(r"E\s", line)]
    assert lines[0] == (
        "pytest_tlsandbox.ChecksFailed: 2 of 3 checks failed; the first: Exited 3, wanted 0: job.py"
    )
    assert [line for line in lines if line.startswith("check ")] == [
        "check 1  test_a.py:5: Exited 3, wanted 0: job.py",
        'check 3  test_a.py:7: No process matches "no such program"',
    ]
    assert "passed  check 2 (no OOM kills)" in lines
    [place] = [line for line in result.outlines if re.match(r"test_a\.py:\d+: ", line)]
    assert place == "test_a.py:4: ChecksFailed"
    [summary] = [line for line in result.outlines if line.startswith("FAILED")]
    assert summary == (
        "FAILED test_a.py::test_it - 2 of 3 checks failed; the first: Exited 3, wanted..."
    )


def test_soft_block_and_pytest_check_both_report_failures_if_one_contains_the_other(pytester):
    pytest.importorskip("pytest_check")
    pytester.makepyfile(
        """
        from pytest_check import check

        def test_it(tlsandbox):
            with check, tlsandbox.soft() as soft:
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
