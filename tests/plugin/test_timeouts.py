"""Waits end with an error of their own before pytest-timeout would stop the test."""

from __future__ import annotations

import re

import pytest

from .inner import errors_of_tests

CUT = re.compile(
    r"pytest_tlsandbox\.WaitTimedOut: Still running after (.+) (m?)s "
    r"\(wait of 20 s cut short by pytest-timeout\), wanted exit code 0: sleep\n"
)
NOT_SETTLED = (
    r"pytest_tlsandbox\.Inconclusive: Cannot be checked: the result did not settle\n\n"
    r"pytest-timeout ended the wait after [\d.]+ m?s\nhint  raise the time limit of the test, "
    r"for example with\s+@pytest\.mark\.timeout\(90\)$"
)


@pytest.mark.usefixtures("connected")
def test_wait_ends_before_pytest_timeout_would_stop_the_test(pytester):
    pytester.makeini("[pytest]\ntimeout = 0.6")
    pytester.makepyfile(
        """
        import pytest

        @pytest.fixture(scope="module")
        def jobs(tlsandbox_session):
            return [tlsandbox_session.start_process("sleep", ["60"]) for _ in range(3)]

        @pytest.mark.timeout(0)
        def test_before(jobs): pass
        def test_wait(tlsandbox, jobs): tlsandbox.wait_for_exit(jobs[0], timeout=20)
        def test_assertion(tlsandbox, jobs): tlsandbox.assert_stays(jobs[1], stable_for=20)
        @pytest.mark.timeout(0)
        def test_without_limit(tlsandbox, jobs): tlsandbox.wait_for_exit(jobs[2], timeout=0.7)
        """
    )
    messages = errors_of_tests(pytester.inline_run())

    [(took, milli)] = CUT.findall(messages["test_wait"])
    assert 0 < float(took) / (1000 if milli else 1) <= 0.6
    assert re.match(NOT_SETTLED, messages["test_assertion"])
    assert messages["test_without_limit"].startswith(
        "pytest_tlsandbox.WaitTimedOut: Still running after 0.7 s, wanted exit code 0: sleep\n"
    )
