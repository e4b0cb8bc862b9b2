"""No secret gets out when a call is ended, in what the guard writes, or in reports.

``test_secrets_matrix.py`` covers faults, ways to print, and places of a secret.
"""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from .inner import server

KEY = "Sentinel-1f2e3d4c5b6a"
ALL_FRAMES = ("-l", "-vv", "--full-trace")

HANGING = """
    import signal
    import pytest

    @pytest.fixture(autouse={autouse})
    def strikes():
        def strike(*_):
            {strike}

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
# Around the function only: it may else strike while pytest writes the report, which is long.
TIMEOUT = ("--timeout=0.5", "-o", "timeout_func_only=true")


@pytest.mark.parametrize(
    ("strike", "options", "error", "times"),
    [
        pytest.param("pytest.fail('struck')", (), "Failed: struck", 3, id="by a signal"),
        pytest.param("raise KeyboardInterrupt", (), "KeyboardInterrupt", 1, id="by Ctrl-C"),
        pytest.param("", TIMEOUT, "did not answer within", 1, id="before pytest-timeout"),
    ],
)
def test_interrupted_call_or_fixture_does_not_show_the_key(
    pytester, monkeypatch, strike, options, error, times
):
    monkeypatch.setenv("TENSORLAKE_API_KEY", KEY)
    pytester.makepyfile(HANGING.format(autouse=bool(strike), strike=strike or "pass"))
    with server(None) as url:
        result = pytester.runpytest_subprocess(f"--tlsandbox={url}", *options, *ALL_FRAMES)
    text = result.stdout.str() + result.stderr.str()
    assert text.count(error) >= times
    assert KEY not in text


def test_guard_never_prints_or_writes_secrets(pytester, monkeypatch):
    """Findings and gaps; in the summary, in JUnit, in the report, for GitHub."""
    monkeypatch.setenv("TENSORLAKE_API_KEY", KEY)
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(pytester.path / "summary.md"))
    pytester.makeini("[pytest]\njunit_logging = all")
    pytester.makepyfile(
        """
        import os
        import pytest

        @pytest.mark.parametrize("number", range(2))
        def test_fault(tlsandbox_connect, number):
            tlsandbox_connect(os.environ["URLS"].split()[number])

        def test_crash(tlsandbox):
            key = os.environ["TENSORLAKE_API_KEY"]
            args, name = ["-c", "kill -SEGV $$", "--token=" + key], "web --token=" + key[::-1]
            job = tlsandbox.start_process(
                "sh", args, name=name, restart={"policy": "never"}, env={"API_KEY": key}
            )
            del key, args, name
            tlsandbox.wait_for_process(job, status="signaled")
        """
    )
    answers = [
        # One that tells the request back, and with it the key.
        b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n{request}",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n<html>" + KEY.encode() + b"</html>",
    ]
    options = ("--tlsandbox-guard=crash", "--tlsandbox-report=out.json", "--junitxml=junit.xml")
    with ExitStack() as stack:
        urls = [stack.enter_context(server(answer)) for answer in answers]
        monkeypatch.setenv("URLS", " ".join(urls))
        result = pytester.runpytest_subprocess("--tlsandbox=local", *options, *ALL_FRAMES)

    result.assert_outcomes(passed=2, failed=1)
    assert result.stdout.str().count("\nnot monitored for ") == 2
    written = [
        (pytester.path / name).read_text() for name in ("junit.xml", "out.json", "summary.md")
    ]
    assert all("SIGSEGV" in text for text in written)
    assert all("web --token=" in text for text in written)
    everything = "".join([*written, result.stdout.str(), result.stderr.str()])
    assert KEY not in everything
    assert KEY[::-1] not in everything
