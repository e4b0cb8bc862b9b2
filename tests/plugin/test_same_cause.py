"""Tests that fail for the same cause: the first shows everything, the others name the first."""

from __future__ import annotations

import re

import pytest

from ..fault_proxy import FaultProxy
from ..support import sample_of
from .inner import errors_of_tests, failures, providing, unused_url


@pytest.mark.parametrize("workers", sample_of({"alone": 0, "xdist": 2}, "xdist"))
def test_outage_of_a_dead_sandbox_is_shown_in_full_only_once(pytester, monkeypatch, workers):
    url = unused_url()
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TENSORLAKE_API_KEY", "any")
    pytester.makeconftest(
        """
        from pytest_tlsandbox.client import retry

        retry.OUTAGE_BUDGET = retry.TRY_AFTER_THE_BUDGET = 0.01
        """
    )
    pytester.makepyfile(
        test_it="""
        import pytest

        @pytest.mark.parametrize("number", range(15))
        def test_setup(tlsandbox, number): pass

        @pytest.mark.parametrize("number", range(15))
        def test_call(tlsandbox_session, number): tlsandbox_session.wait_for_process("x")
        """
    )
    result = pytester.runpytest_subprocess(f"--tlsandbox={url}", f"-n{workers}", "--junitxml=j.xml")

    result.assert_outcomes(failed=15, errors=15)
    same = rf"test_\w+\[\d+\]: sandbox {url} unreachable since \d\d:\d\d:\d\d UTC"
    section = ["=+ tlsandbox same cause =+$", f"30 tests, first {same}$"]
    result.stdout.re_match_lines(section, consecutive=True)
    # One is shown in full, one for each worker; only these are in the list of failures.
    full = [
        why for why in failures(result).values() if not re.fullmatch(f"same cause as {same}", why)
    ]
    assert len(full) == max(1, workers)
    assert all(f"{url} cannot be reached: the connection was refused" in why for why in full)
    titles = [line for line in result.outlines if re.match(r"_+ .*test_\w+\[\d+\] _+$", line)]
    assert len(titles) == len(full)
    junit = (pytester.path / "j.xml").read_text()
    assert len(re.findall(f'message="[^"]*same cause as {same}', junit)) == 30 - len(full)


def test_errors_about_the_same_process_or_outage_refer_to_one_cause(pytester, box):
    pytester.makepyfile(
        test_it="""
        import pytest
        from tests.fault_proxy import faults

        @pytest.fixture(scope="session")
        def sandbox(provided, tlsandbox_connect): return tlsandbox_connect(provided)
        @pytest.fixture(scope="session")
        def job(sandbox): return sandbox.start_process("sh", ["-c", "exit 3"])
        @pytest.fixture(scope="session")
        def server(sandbox): return sandbox.start_process("sleep", ["60"])
        @pytest.fixture(scope="session")
        def broken(sandbox): sandbox.wait_for_process("no such", timeout=0)

        codes = [3, 0]

        @pytest.mark.flaky(reruns=1)
        def test_rerun(sandbox, job): sandbox.wait_for_exit(job, exit_code=codes.pop())
        def test_exit(sandbox, job): sandbox.wait_for_exit(job)
        def test_exit_again(sandbox, job): sandbox.assert_process(job, exit_code=0)
        @pytest.mark.flaky(reruns=1)
        def test_exit_twice(sandbox, job): sandbox.wait_for_exit(job)

        def test_server(sandbox, server): sandbox.wait_for_output(server, "one", timeout=0)
        def test_server_again(sandbox, server): sandbox.wait_for_output(server, "two", timeout=0)

        def test_fixture(broken): pass
        class TestIt:
            def test_fixture(self, broken): pass

        def test_outage(sandbox, provided):
            provided.fail(faults.KEY_REFUSED)
            sandbox.list_processes()

        def test_same_outage(sandbox): sandbox.list_processes()

        def test_next_outage(sandbox, provided):
            provided.recover()
            sandbox.list_processes()
            provided.fail(faults.KEY_REFUSED)
            sandbox.list_processes()

        def test_same_as_the_next_outage(sandbox, provided, request):
            request.addfinalizer(provided.recover)
            sandbox.list_processes()
        """
    )
    with FaultProxy(box) as proxy:
        record = pytester.inline_run("-p", "rerunfailures", plugins=[providing(proxy)])
    errors = errors_of_tests(record)
    first_lines = {name: text.partition("\n")[0].split(": ", 1) for name, text in errors.items()}
    # The class of each error stays.
    assert {name: line for name, line in first_lines.items() if "same cause" in line[1]} == {
        name: [f"pytest_tlsandbox.{kind}", f"same cause as {first}: {first_lines[first][1]}"]
        for name, kind, first in (
            ("test_exit_again", "AssertionFailed", "test_exit"),
            ("test_exit_twice", "UnexpectedExit", "test_exit"),
            ("TestIt::test_fixture", "ProcessNotFound", "test_fixture"),
            ("test_same_outage", "AuthenticationFailed", "test_outage"),
            ("test_same_as_the_next_outage", "AuthenticationFailed", "test_next_outage"),
        )
    }
    assert len(errors) == 11
