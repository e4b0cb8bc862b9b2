"""A block of soft checks in a test, as pytest shows it; beside pytest-check."""

from __future__ import annotations

import re

import pytest

from .inner import errors_as_shown

pytestmark = pytest.mark.usefixtures("connected")


def test_failed_soft_checks_are_reported_together_and_the_traceback_ends_at_the_block(pytester):
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
    text = errors_as_shown(pytester.inline_run())["test_it"]

    for line in (
        "pytest_tlsandbox.ChecksFailed: 2 of 3 checks failed; the first: Exited 3, wanted 0: job.py",
        "check 1  test_a.py:5: Exited 3, wanted 0: job.py",
        'check 3  test_a.py:7: No process matches "no such program"',
        "passed  check 2 (no OOM kills)",
    ):
        assert re.search(rf"^E +{re.escape(line)}$", text, re.MULTILINE)
    assert re.findall(r"^test_a\.py:\d+: .*", text, re.MULTILINE) == ["test_a.py:4: ChecksFailed"]


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
    for text in (
        "2 of 2 checks failed; the first: No process matches",
        'No process matches "no other"',
        '1 of 1 check failed: No process matches "no third"',
        "check 1 == 2",
        "assert 3 == 4",
    ):
        assert text in result.stdout.str()
