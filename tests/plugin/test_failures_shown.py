"""Tracebacks end at the user's line, and waits end before pytest-timeout ends the test."""

from __future__ import annotations

import re

import pytest

from .inner import error_of, errors_of_tests, server, unused_url


def test_traceback_never_shows_source_lines_of_the_plugin(pytester, monkeypatch, box):
    """Whatever is called in vain: each ends at the user's line, or at the fixture's name."""
    calls = [
        "connect('my-sandbox').wait_for_process('no such', timeout=0)",
        "connect('my-sandbox').wait_for_process('x', timeout=-1)",
        "connect('my-sandbox').wait_until(lambda: True)",
        "connect('my-sandbox').wait_for_exit()",
        "connect('my-sandbox').wait_for_proces('x')",
        "connect('my-sandbox').soft().assert_no_oom(suspect=True)",
        "AsyncSandbox(connect('my-sandbox')).wait_for_proces('x')",
        "connect('my-sandbox').assert_stays('no such', stable_for=1)",
        "connect('my-sandbox').start_process('no-such-program')",
        "connect('my-sandbox').send_signal('no such', 9)",
        "connect('my-sandbox').list_processes().where(exitcode=1)",
        "connect(os.environ['DENYING']).from_now()",
        "connect(os.environ['DENYING']).wait_for_process('x')",
        "lister.list()",
        "lister.look()",
        "connect('')",
        "by()",
    ]
    tests = [
        f"def test_{number}(tlsandbox_connect, tlsandbox_lister):\n"
        f"    connect, lister = tlsandbox_connect, tlsandbox_lister\n    {call}"
        for number, call in enumerate(calls)
    ]
    tests.append("def test_baseline(tlsandbox): pass")
    imports = "import os\nfrom pytest_tlsandbox import AsyncSandbox, by\n"
    pytester.makepyfile(imports + "\n".join(tests))
    monkeypatch.setenv("TENSORLAKE_API_KEY", box.api_key.reveal())
    monkeypatch.setenv("TENSORLAKE_SANDBOX_PROXY_URL", box.url)
    denial = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    with server(denial) as url:
        monkeypatch.setenv("DENYING", url)
        record = pytester.inline_run(f"--tlsandbox={url}")
    failed = {
        report.nodeid.partition("::")[2]: report.longreprtext
        for report in record.getreports("pytest_runtest_logreport")
        if report.failed
    }
    # Without a line of the user, no code is shown; older versions of pytest show the fixture.
    baseline = failed.pop("test_baseline")
    assert not re.search(r"(client|tenacity|_pytest|pluggy)/", baseline)
    foreign = re.compile(r"(pytest_tlsandbox|tenacity|_pytest|pluggy)/")
    assert len(failed) == len(calls)
    showing = [calls[int(name[5:])] for name, text in failed.items() if foreign.search(text)]
    assert not showing, showing


@pytest.mark.usefixtures("connected")
def test_error_in_user_code_keeps_its_type(pytester):
    pytester.makepyfile(
        """
        def test_it(tlsandbox):
            tlsandbox.wait_until(lambda snapshot: 1 / 0)
        """
    )
    result = pytester.runpytest_inprocess()
    result.stdout.fnmatch_lines(["E * ZeroDivisionError: division by zero"])
    result.stdout.fnmatch_lines(["FAILED * - ZeroDivisionErr*"])


@pytest.mark.usefixtures("connected")
def test_wait_ends_at_its_deadline_even_if_the_clock_is_frozen(pytester):
    pytester.makepyfile(
        """
        import time
        import freezegun
        import pytest
        import pytest_tlsandbox

        def real(clock=time.monotonic):
            return clock()

        @freezegun.freeze_time("2024-03-09 16:00:00")
        def test_it(tlsandbox):
            frozen = time.monotonic()
            job = tlsandbox.start_process("sleep", ["60"])
            start = real()
            with pytest.raises(pytest_tlsandbox.WaitTimedOut):
                tlsandbox.wait_for_exit(job, timeout=0.3)
            assert real() - start >= 0.3
            tlsandbox.assert_stays(job, stable_for=0.2)
            assert 0.5 <= real() - start < 30
            assert time.monotonic() == frozen
        """
    )
    pytester.runpytest_subprocess().assert_outcomes(passed=1)


CUT = re.compile(
    r"pytest_tlsandbox\.WaitTimedOut: Still running after (.+) (m?)s "
    r"\(wait of 20 s cut short by pytest-timeout\), wanted exit code 0: sleep\n"
)


@pytest.mark.usefixtures("connected")
@pytest.mark.parametrize(
    ("mark", "ini", "options", "latest"),
    [
        pytest.param("", "timeout = 0.6", [], 0.6, id="ini"),
        pytest.param("", "timeout = 9", ["--timeout=0.6"], 0.6, id="option"),
        pytest.param("@pytest.mark.timeout(0.6, func_only=True)", "", [], 0.6, id="function only"),
        # This method leaves no report, and no process to report from.
        pytest.param(
            "@pytest.mark.timeout(4, method='thread')",
            "",
            [],
            4.0,
            id="by a thread",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_wait_ends_before_pytest_timeout_would_stop_the_test(pytester, mark, ini, options, latest):
    pytester.makeini(f"[pytest]\n{ini}")
    pytester.makepyfile(
        f"""
        import pytest

        {mark}
        def test_it(tlsandbox):
            job = tlsandbox.start_process("sleep", ["60"])
            tlsandbox.wait_for_exit(job, timeout=20)
        """
    )
    by_thread = "thread" in mark
    run = pytester.runpytest_subprocess if by_thread else pytester.runpytest_inprocess
    result = run(*options)
    result.assert_outcomes(failed=1)
    [(took, milli)] = CUT.findall(error_of(result.stdout.str()))
    assert (
        0 < float(took) / (1000 if milli else 1) <= latest
    )  # or pytest-timeout had ended the test


@pytest.mark.usefixtures("connected")
def test_timeout_marker_limits_the_polling_of_the_marked_test_only(pytester):
    pytester.makepyfile(
        """
        import pytest

        @pytest.fixture
        def job(tlsandbox):
            return tlsandbox.start_process("sleep", ["60"])

        @pytest.mark.timeout(0.6)
        def test_wait(tlsandbox, job): tlsandbox.wait_for_exit(job, timeout=20)

        @pytest.mark.timeout(0.5)
        def test_assertion(tlsandbox, job): tlsandbox.assert_stays(job, stable_for=20)

        def test_without_marker(tlsandbox, job): tlsandbox.wait_for_exit(job, timeout=0.6)
        """
    )
    messages = errors_of_tests(pytester.inline_run())
    [(took, milli)] = CUT.findall(messages["test_wait"])
    assert 0 < float(took) / (1000 if milli else 1) <= 0.6
    assert re.match(
        r"pytest_tlsandbox\.Inconclusive: Cannot be checked: the result did not settle\n\n"
        r"pytest-timeout ended the wait after [\d.]+ m?s\nhint  raise the time limit of the test, for example with\s+@pytest\.mark\.timeout\(90\)$",
        messages["test_assertion"],
    )
    assert messages["test_without_marker"].startswith(
        "pytest_tlsandbox.WaitTimedOut: Still running after 0.6 s, wanted exit code 0: sleep\n"
    )


def test_unreachable_sandbox_is_reported_before_pytest_timeout_would_stop_the_test(
    pytester, monkeypatch
):
    monkeypatch.setenv("TENSORLAKE_API_KEY", "any")
    pytester.makepyfile(
        """
        def test_wait(tlsandbox_session): tlsandbox_session.wait_for_process("x", timeout=20)
        def test_baseline(tlsandbox): pass
        """
    )
    url = unused_url()
    messages = errors_of_tests(pytester.inline_run(f"--tlsandbox={url}", "--timeout=0.6"))
    assert messages["test_baseline"].startswith("pytest_tlsandbox.SandboxUnreachable: ")
    assert re.match(
        rf"pytest_tlsandbox\.SandboxUnreachable: {url} cannot be reached: the connection was refused; "
        r"could not list the processes for [\d.]+ m?s\n\nhint  ",
        messages["test_wait"],
    )
