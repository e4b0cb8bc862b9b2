"""How a failure is told: the verdict where one line is shown, all of it where there is room."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

import pytest

from .inner import error_of, server, told, unused_url

if TYPE_CHECKING:
    from pytest_tlsandbox.local.sandbox import LocalSandbox

WRONG_END = """
    def test_it(tlsandbox):
        job = tlsandbox.start_process("sh", ["-c", "echo so it is >&2; sleep 0.2; exit 3"])
        tlsandbox.wait_for_exit(job)
"""
VERDICT = r"Exited 3: sh -c \(pid \d+\), wanted exit code 0"
WHOLE = rf"""{VERDICT}

  stopped after [\d.]+ m?s of 30 s: it has ended
               wanted  was
    status     exited  exited
    exit code  0       3       <
  process   sh -c echo so it is >&2; sleep 0\.2; exit 3
  lived     [\d.]+ m?s, [\d:.]+ to [\d:.]+ \(sandbox clock, UTC\)
  timeline  .+
  looks     .+
  stderr    1 line
            \| so it is
  sandbox   my-sandbox
  try       exit_code=3, if it is to end so"""


@pytest.mark.usefixtures("connected")
def test_a_failure_shows_its_verdict_first_and_ends_at_the_users_line(
    pytester: pytest.Pytester,
) -> None:
    pytester.makepyfile(WRONG_END)
    lines = pytester.runpytest_inprocess().outlines
    message = "\n".join(line[8:] for line in lines if line.startswith("E "))
    assert re.fullmatch(rf"pytest_tlsandbox\.UnexpectedExit: {WHOLE}", message.replace("E\n", "\n"))
    last = lines[lines.index("tlsandbox = <Sandbox my-sandbox>") :]
    assert last[4] == ">       tlsandbox.wait_for_exit(job)"
    place = [line for line in lines if re.match(r"\S+\.py:\d+: ", line)]
    assert len(place) == 1
    assert re.fullmatch(r"test_\w+\.py:3: UnexpectedExit", place[0])


@pytest.mark.usefixtures("connected")
@pytest.mark.parametrize("ci", ["", "true"])
def test_the_short_summary_has_the_verdict_alone(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, ci: str
) -> None:
    """Also where CI is set, which has pytest repeat whole messages there; at 80 columns."""
    monkeypatch.setenv("CI", ci)
    pytester.makepyfile(test_a=WRONG_END)
    lines = pytester.runpytest_inprocess().outlines
    summary = lines[next(i for i, line in enumerate(lines) if "short test summary" in line) + 1 :]
    assert len(summary) == 2
    assert re.fullmatch(rf"FAILED test_a\.py::test_it - {VERDICT}", summary[0])


@pytest.mark.usefixtures("connected")
def test_junit_has_the_verdict_as_message_and_all_in_the_body(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        test_call=WRONG_END,
        test_setup="""
        import pytest

        @pytest.fixture
        def broken(tlsandbox):
            tlsandbox.wait_for_process("", timeout=0)

        def test_setup(broken):
            pass
        """,
    )
    pytester.runpytest_inprocess("--junitxml=junit.xml")
    tree = ET.parse(pytester.path / "junit.xml")
    [failure] = tree.iter("failure")
    assert re.fullmatch(VERDICT, failure.attrib["message"])
    body = re.sub(r"^E( {7})?", "", failure.text or "", flags=re.MULTILINE)
    assert re.search(WHOLE, body)
    [error] = tree.iter("error")
    assert error.attrib["message"] == (
        'failed on setup with "process must be part of a command line, got an empty text, which every one contains"'
    )


@pytest.mark.usefixtures("connected")
def test_quiet_leaves_out_how_it_was_looked_at(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(WRONG_END)
    [message] = told(pytester.inline_run("-q")).values()
    assert re.fullmatch(
        rf"""pytest_tlsandbox\.UnexpectedExit: {VERDICT}

stopped after [\d.]+ m?s of 30 s: it has ended
wanted  was
status     exited  exited
exit code  0       3       <
stderr  1 line
\| so it is
try     exit_code=3, if it is to end so""",
        message,
    )


@pytest.mark.usefixtures("connected")
def test_very_verbose_adds_the_whole_table(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(WRONG_END)
    [message] = told(pytester.inline_run("-vv")).values()
    assert re.search(r"^all \d+ process(es)?\n(.*\n)*pid \d+ .*$", message, re.MULTILINE)


def test_no_traceback_shows_a_line_of_ours(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, box: LocalSandbox
) -> None:
    """Whatever is called in vain: each ends at the user's line, or at the fixture's name."""
    calls = [
        "connect('my-sandbox').wait_for_process('no such', timeout=0)",
        "connect('my-sandbox').wait_for_process('')",
        "connect('my-sandbox').wait_for_process('x', status='runing')",
        "connect('my-sandbox').wait_for_process('x', timeout=-1)",
        "connect('my-sandbox').wait_for_exit('x', exit_code=-1)",
        "connect('my-sandbox').wait_until(1)",
        "connect('my-sandbox').wait_until(lambda: True)",
        "connect('my-sandbox').wait_for_exit(lambda: True)",
        "connect('my-sandbox').wait_for_exit()",
        "connect('my-sandbox').wait_for_exit('x', exitcode=1)",
        "connect('my-sandbox').wait_for_proces('x')",
        "connect('my-sandbox').soft().assert_no_oom(suspect=True)",
        "AsyncSandbox(connect('my-sandbox')).wait_for_proces('x')",
        "connect('my-sandbox').assert_process('x', exitcode=1)",
        "connect('my-sandbox').assert_stays('no such', stable_for=1)",
        "connect('my-sandbox').assert_no_oom('no such')",
        "connect('my-sandbox').start_process('no-such-program')",
        "connect('my-sandbox').send_signal('no such', 9)",
        "connect('my-sandbox').kill_process('no such')",
        "connect('my-sandbox').restart_process('no such')",
        "connect('my-sandbox').output('no such')",
        "connect('my-sandbox').list_processes().where(exitcode=1)",
        "connect(os.environ['DENYING']).list_processes()",
        "connect(os.environ['DENYING']).from_now()",
        "connect(os.environ['DENYING']).wait_for_process('x')",
        "connect(os.environ['DENYING']).start_process('x')",
        "lister.list()",
        "lister.poll()",
        "connect('')",
        "connect(object())",
        "by()",
    ]
    pytester.makepyfile(
        "import os, pytest\nfrom pytest_tlsandbox import AsyncSandbox, by\n"
        f"CALLS = {calls}\n"
        + "\n".join(
            f"def test_{number}(tlsandbox_connect, tlsandbox_lister):\n"
            "    connect, lister = tlsandbox_connect, tlsandbox_lister\n"
            f"    {call}\n"
            for number, call in enumerate(calls)
        )
        + "\ndef test_baseline(tlsandbox): pass\n"
    )
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
    # Where there is no line of the user's, no code is shown: or, by older pytests, the fixture.
    baseline = failed.pop("test_baseline")
    assert not re.search(r"(client|tenacity|_pytest|pluggy)/", baseline)
    foreign = re.compile(r"(pytest_tlsandbox|tenacity|_pytest|pluggy)/")
    assert len(failed) == len(calls)
    showing = [calls[int(name[5:])] for name, text in failed.items() if foreign.search(text)]
    assert not showing, showing


@pytest.mark.usefixtures("connected")
def test_a_bug_of_the_users_keeps_its_frames(pytester: pytest.Pytester) -> None:
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
def test_a_wait_ends_in_time_where_the_clock_is_frozen(pytester: pytest.Pytester) -> None:
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
            assert 0.3 <= real() - start < 20
            tlsandbox.assert_stays(job, stable_for=0.2)
            assert 0.5 <= real() - start < 20
            assert time.monotonic() == frozen
        """
    )
    pytester.runpytest_subprocess().assert_outcomes(passed=1)


WAITING = """
    import pytest

    {mark}
    def test_it(tlsandbox):
        job = tlsandbox.start_process("sleep", ["60"])
        tlsandbox.wait_for_exit(job, timeout=20)
"""


def assert_cut(message: str, latest: float) -> None:
    first_line = message.partition("\n")[0]
    cut = re.fullmatch(
        r"pytest_tlsandbox\.WaitTimedOut: Still running: sleep \(pid \d+\) after (.+) s "
        r"\(20 s cut by pytest-timeout\)",
        first_line,
    )
    assert cut is not None, message
    # From the start of the test it is a little longer than from that of the wait.
    assert 0 < float(cut[1]) <= latest


@pytest.mark.usefixtures("connected")
@pytest.mark.parametrize(
    ("mark", "ini", "options"),
    [
        pytest.param("@pytest.mark.timeout(0.6)", "", [], id="marker"),
        pytest.param("", "timeout = 0.6", [], id="ini"),
        pytest.param("", "timeout = 9", ["--timeout=0.6"], id="option"),
        pytest.param("@pytest.mark.timeout(0.6, func_only=True)", "", [], id="function only"),
    ],
)
def test_a_wait_ends_before_pytest_timeout_would_end_the_test(
    pytester: pytest.Pytester, mark: str, ini: str, options: list[str]
) -> None:
    pytester.makeini(f"[pytest]\n{ini}")
    pytester.makepyfile(WAITING.format(mark=mark))
    [message] = told(pytester.inline_run(*options)).values()
    assert_cut(message, 0.45)


@pytest.mark.slow
@pytest.mark.usefixtures("connected")
def test_a_wait_ends_before_pytest_timeout_would_end_the_process(
    pytester: pytest.Pytester,
) -> None:
    """By its thread method, which leaves no report, and no process to report from."""
    pytester.makepyfile(WAITING.format(mark="@pytest.mark.timeout(4, method='thread')"))
    result = pytester.runpytest_subprocess()
    result.assert_outcomes(failed=1)
    assert_cut(error_of(result.stdout.str()), 3.85)


@pytest.mark.usefixtures("connected")
def test_assertions_that_look_for_a_while_end_before_it_too(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        def test_it(tlsandbox):
            job = tlsandbox.start_process("sleep", ["60"])
            tlsandbox.assert_stays(job, stable_for=20)
        """
    )
    [message] = told(pytester.inline_run("--timeout=0.5")).values()
    assert re.match(
        r"pytest_tlsandbox\.Inconclusive: Not observed: the time ended after 0\.\d+ s, too soon to "
        r"be sure\n\nstopped after 0\.\d+ s \(pytest-timeout\)",
        message,
    )


@pytest.mark.usefixtures("connected")
def test_a_time_out_of_one_test_is_none_of_the_next(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import time
        import pytest

        @pytest.mark.timeout(0.3)
        def test_short(tlsandbox):
            pass

        def test_long(tlsandbox):
            job = tlsandbox.start_process("sleep", ["60"])
            tlsandbox.wait_for_exit(job, timeout=0.4)
        """
    )
    [message] = told(pytester.inline_run()).values()
    assert re.match(
        r"pytest_tlsandbox\.WaitTimedOut: Still running: sleep \(pid \d+\) after 0\.4\d? s\n",
        message,
    )


def test_the_baseline_of_an_unreachable_sandbox_is_told_before_pytest_timeout_strikes(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TENSORLAKE_API_KEY", "any")
    pytester.makepyfile("def test_it(tlsandbox): pass")
    url = unused_url()
    [message] = told(pytester.inline_run(f"--tlsandbox={url}", "--timeout=0.6")).values()
    assert message.startswith("pytest_tlsandbox.SandboxUnreachable: ")


def test_a_wait_on_an_unreachable_sandbox_is_told_before_it_too(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TENSORLAKE_API_KEY", "any")
    pytester.makepyfile(
        "def test_it(tlsandbox_session): tlsandbox_session.wait_for_process('x', timeout=20)"
    )
    url = unused_url()
    [message] = told(pytester.inline_run(f"--tlsandbox={url}", "--timeout=0.6")).values()
    assert re.match(
        rf"pytest_tlsandbox\.SandboxUnreachable: Not checked: no listing of {url} succeeded in "
        r"0\.\d+ s \(refused x\d\)\n\nstopped after 0\.\d+ s of 20 s \(20 s cut by pytest-timeout\)"
        rf":\n{url} cannot be reached: the connection was\nrefused\n",
        message,
    )
