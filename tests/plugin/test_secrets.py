"""No secret gets out when a call is ended, in what the guard writes, or in reports.

``test_secrets_matrix.py`` covers faults, ways to print, and places of a secret.
"""

from __future__ import annotations

import signal
import threading
from contextlib import ExitStack

import pytest

from .inner import ending, server, start_pytest

KEY = "Sentinel-1f2e3d4c5b6a"

ALL_FRAMES = ("-l", "-vv", "--full-trace")


def leaks(result: pytest.RunResult, xml: str) -> list[str]:
    """Return the lines that contain the secret."""
    lines = [*result.outlines, *result.errlines, *xml.splitlines()]
    return [line for line in lines if KEY in line]


def http(status: str, body: bytes) -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + body


HANGING = """
    import signal
    import pytest

    @pytest.fixture(autouse={autouse})
    def strikes():
        def strike(*_):
            pytest.fail("struck")

        signal.signal(signal.SIGALRM, strike)
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        yield
        signal.setitimer(signal.ITIMER_REAL, 0)

    def test_list(tlsandbox_lister):
        tlsandbox_lister.list()

    def test_wait(tlsandbox_session):
        tlsandbox_session.wait_for_process("x")

    def test_start(tlsandbox_session):
        tlsandbox_session.start_process("true")
"""


@pytest.mark.parametrize(
    ("autouse", "options"),
    [
        pytest.param(True, (), id="a signal that was not announced"),
        # Around the function only: it may else strike while pytest writes the report, which is long.
        *(
            pytest.param(
                False,
                ("--timeout=0.5", f"--timeout-method={method}", "-o", "timeout_func_only=true"),
                id=f"pytest-timeout by {method}",
                marks=marks,
            )
            for method, marks in (("signal", ()), ("thread", pytest.mark.slow))
        ),
    ],
)
def test_interrupted_call_or_fixture_does_not_show_the_key(pytester, monkeypatch, autouse, options):
    monkeypatch.setenv("TENSORLAKE_API_KEY", KEY)
    pytester.makepyfile(HANGING.format(autouse=autouse))
    with server(None) as url:
        result = pytester.runpytest_subprocess(f"--tlsandbox={url}", *options, *ALL_FRAMES)
    assert result.ret == 1
    if autouse:
        assert result.stdout.str().count("Failed: struck") >= 3
    assert leaks(result, "") == []


def test_keyboard_interrupt_during_a_call_does_not_show_the_key(pytester, monkeypatch):
    monkeypatch.setenv("TENSORLAKE_API_KEY", KEY)
    pytester.makepyfile(HANGING.format(autouse=False))
    asked = threading.Event()
    with server(None, asked) as url:
        inner = start_pytest(pytester, f"--tlsandbox={url}", *ALL_FRAMES)
        with ending(inner):
            assert asked.wait(20)
            inner.send_signal(signal.SIGINT)
            shown, errors = inner.communicate()
    assert inner.returncode == 2
    assert b"KeyboardInterrupt" in shown
    assert KEY.encode() not in shown + errors


def test_guard_never_prints_or_writes_secrets(pytester, monkeypatch):
    """Findings and gaps; in the summary, in JUnit, in the report, for GitHub."""
    monkeypatch.setenv("TENSORLAKE_API_KEY", KEY)
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(pytester.path / "summary.md"))
    pytester.makepyfile(
        """
        import os
        import pytest
        import pytest_tlsandbox

        @pytest.mark.parametrize("number", range(2))
        def test_fault(tlsandbox_connect, number):
            tlsandbox_connect(os.environ["URLS"].split()[number])

        def test_crash(tlsandbox):
            args = ["-c", "kill -SEGV $$", "job", "--token=" + os.environ["TENSORLAKE_API_KEY"]]
            job = tlsandbox.start_process("sh", args, env={"API_KEY": args[-1]})
            del args
            tlsandbox.wait_for_process(job, status="signaled")

        def test_managed(tlsandbox):
            name = "web --token=" + os.environ["TENSORLAKE_API_KEY"][::-1]
            job = tlsandbox.start_process(
                "sh", ["-c", "kill -SEGV $$"], name=name, restart={"policy": "never"}
            )
            del name
            tlsandbox.wait_for_process(job, status="signaled")
        """
    )
    answers = [
        # One that tells the request back, and with it the key.
        b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n{request}",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n<html>" + KEY.encode() + b"</html>",
    ]
    with ExitStack() as stack:
        urls = [stack.enter_context(server(answer)) for answer in answers]
        monkeypatch.setenv("URLS", " ".join(urls))
        result = pytester.runpytest_subprocess(
            "--tlsandbox=local",
            "--tlsandbox-guard=crash",
            "--tlsandbox-report=out.json",
            "--junitxml=junit.xml",
            "-o",
            "junit_logging=all",
            *ALL_FRAMES,
        )
    result.assert_outcomes(passed=2, failed=2)
    written = [
        (pytester.path / name).read_text() for name in ("junit.xml", "out.json", "summary.md")
    ]
    assert all("SIGSEGV" in text for text in written)
    assert all("web --token=" in text for text in written)
    assert KEY[::-1] not in "".join([*written, result.stdout.str()])
    assert result.stdout.str().count("\nnot monitored for ") == 2
    assert leaks(result, "\n".join(written)) == []


@pytest.mark.parametrize("name", ["out.json", "out.html"])
def test_key_that_a_program_prints_does_not_appear_in_any_report(pytester, connected, name):
    pytester.makepyfile(
        """
        import os

        def test_it(tlsandbox):
            key = os.environ["TENSORLAKE_API_KEY"]
            job = tlsandbox.start_process("sh", ["-c", f"echo the key is {key} >&2; exit 3"])
            tlsandbox.wait_for_exit(job)
        """
    )
    pytester.runpytest_inprocess(f"--tlsandbox-report={name}")
    report = (pytester.path / name).read_text()
    assert "the key is ***" in report
    assert connected.api_key.reveal() not in report
