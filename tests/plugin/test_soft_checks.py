"""A block of soft checks beside pytest-check."""

from __future__ import annotations

import pytest


@pytest.mark.usefixtures("connected")
def test_soft_block_and_pytest_check_both_report_failures_if_one_contains_the_other(pytester):
    pytest.importorskip("pytest_check")
    pytester.makepyfile(
        test_a="""
        from pytest_check import check

        def test_it(tlsandbox):
            with check, tlsandbox.soft() as soft:
                soft.assert_no_oom()
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
        "2 of 3 checks failed; the first: No process matches",
        'check 2  test_a.py:6: No process matches "no such program"\n',
        'check 3  test_a.py:7: No process matches "no other"\n',
        '1 of 1 check failed: No process matches "no third"',
        "check 1 == 2",
        "assert 3 == 4",
    ):
        assert text in result.stdout.str()
