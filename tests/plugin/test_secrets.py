"""Faults x ways pytest prints x places of a secret: the key, arguments, URLs. Zero hits.

The last test is about calls that Ctrl-C or a signal interrupts.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pytest_tlsandbox.report.__main__ import main

from ..client.servers import HANG
from ..support import sample_of
from .inner import unused_url

# Each has none of the signs of a secret in itself, and is put together nowhere in the inner tests.
SENTINELS = {
    "KEY": "Sentinel-key-5b6a7c",
    "FLAG": "Sentinel-flag-1f2e3d",
    "URL": "Sentinel-url-9d8c7b",
    "OWN": "acme-Sentinel-own-4e5f6a",
    "PROXY": "Sentinel-proxy-0a1b2c",
}

WAYS = {
    "as it is": (),
    "-l -vv": ("-l", "-vv"),
    "--tb=long": ("-l", "--tb=long"),
    "--tb=short": ("-l", "--tb=short", "--showlocals"),
    "--tb=line": ("--tb=line",),
    "--tb=native": ("-l", "--tb=native"),
    "--full-trace": ("-l", "-vv", "--full-trace"),
    "xdist": ("-l", "-vv", "-n1"),
    "live log": ("-o", "log_cli=true", "--log-cli-level=DEBUG"),
    "--debug": ("-l", "--debug=debug.log", "--trace-config"),
    "PYTEST_DEBUG": ("--setup-show", "--trace-config"),
}

SECTION = """
# s before  Exited 1: server
  | ***
  | --token ***
  | http://***@host/
  | ***
# s before  Exited 1: web --token=***
"""
"""A part of what a test shows that fails by itself after processes with secrets have ended."""

TRACES = {"--debug": "debug.log", "PYTEST_DEBUG": "stderr"}
"""Where these two ways write each call of a hook, with its arguments and its result."""

WRITTEN = ("junit.xml", "log.txt", "report.json", "report.html", "summary.md")
CONFTEST = """
    import functools
    import os

    from pytest_tlsandbox import Secret

    def pytest_tlsandbox_api_key(config, target):
        key = os.environ["KEY"]
        unusable = Secret(key + " x")
        by_proxy = {"https://my-sandbox.invalid": functools.partial(str, key)}
        return {"text": key, "unusable": unusable, **by_proxy}.get(target)
"""

SUITE = Path(__file__).with_name("suite_with_secrets.py")


@pytest.mark.parametrize("way", sample_of({way: way for way in WAYS}, "-l -vv"))
def test_pytest_never_prints_or_writes_secrets(pytester, monkeypatch, way):
    for name, value in SENTINELS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TENSORLAKE_API_KEY", SENTINELS["KEY"])
    proxy = unused_url().replace("http://", f"http://me:{SENTINELS['PROXY']}@")
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    pytester.makeini(
        """
        [pytest]
        addopts = --tlsandbox-report=report.json --junitxml=junit.xml
        tlsandbox_mask = acme-[\\w-]+
        junit_logging = all
        log_level = DEBUG
        log_file = log.txt
        log_file_level = DEBUG
        """
    )
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(pytester.path / "summary.md"))
    if way == "PYTEST_DEBUG":
        monkeypatch.setenv("PYTEST_DEBUG", "1")
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(test_it=SUITE.read_text("utf-8"))

    result = pytester.runpytest_subprocess("-W", "default", *WAYS[way])
    main(["report.json", "report.html"])

    result.assert_outcomes(failed=74, errors=2)
    shown = {"stdout": result.stdout.str(), "stderr": result.stderr.str()}
    written = [*WRITTEN, "debug.log"] if way == "--debug" else WRITTEN
    shown |= {name: (pytester.path / name).read_text() for name in written}
    crash = "Crashed with SIGSEGV: web --token=***"
    for text in (crash, "unknown key ***"):
        assert all(text in shown[name] for name in ("stdout", "report.json", "summary.md"))
    assert "http://***@host/" in shown["report.json"]
    assert "http://***@host/" in shown["report.html"]
    assert "urllib3" in shown["log.txt"]
    assert f'"tlsandbox_crash" value="{crash}"' in shown["junit.xml"]
    assert '"tlsandbox_cause" value="exit: server (not certain)"' in shown["junit.xml"]
    assert SECTION in re.sub(r"[\d.]+ m?s (before|after)", "# s before", shown["stdout"])
    if trace := TRACES.get(way):
        assert "finish pytest_tlsandbox_api_key --> ***" in shown[trace]
    assert hits(shown) == []
    assert len(hits({"a leak": "\n".join(SENTINELS.values())})) == len(SENTINELS)


def hits(shown: dict[str, str]) -> list[str]:
    """Return the lines that contain a secret, each with its place."""
    return [
        f"{name}: {place}: {line}"
        for place, text in shown.items()
        for line in text.splitlines()
        for name, secret in SENTINELS.items()
        if secret.removeprefix("acme-") in line
    ]


STRUCK = """
    import signal

    import pytest

    def strike(*_):
        {strike}

    @pytest.fixture(autouse=True)
    def strikes():
        signal.signal(signal.SIGALRM, strike)
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        yield
        signal.setitimer(signal.ITIMER_REAL, 0)

    def test_list(tlsandbox_lister): tlsandbox_lister.list()
    def test_wait(tlsandbox_session): tlsandbox_session.wait_for_process("x")
    def test_start(tlsandbox_session): tlsandbox_session.start_process("true")
"""


@pytest.mark.parametrize(
    ("strike", "error", "times"),
    [
        ("pytest.fail('struck')", "Failed: struck", 3),
        ("raise KeyboardInterrupt", "KeyboardInterrupt", 1),
    ],
)
def test_interrupted_call_does_not_show_the_key(pytester, monkeypatch, serve, strike, error, times):
    monkeypatch.setenv("TENSORLAKE_API_KEY", SENTINELS["KEY"])
    pytester.makepyfile(STRUCK.format(strike=strike))
    url = serve([HANG]).url
    result = pytester.runpytest_subprocess(f"--tlsandbox={url}", *WAYS["--full-trace"])
    shown = {"stdout": result.stdout.str(), "stderr": result.stderr.str()}
    assert shown["stdout"].count(error) >= times
    assert hits(shown) == []
