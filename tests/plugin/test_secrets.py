"""Faults x ways pytest prints x places of a secret: the key, arguments, URLs. Zero hits.

The last test is about calls that Ctrl-C or a signal interrupts.
"""

from __future__ import annotations

import re

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

SUITE = '''
    import logging
    import os
    import warnings

    import pytest

    from pytest_tlsandbox import Secret, process_control, by
    from pytest_tlsandbox.client import retry
    from tests.fault_proxy import FaultProxy, faults
    from tests.support import ended, managed, raw, signaled

    KEY, FLAG, URL, OWN = map(os.environ.get, ("KEY", "FLAG", "URL", "OWN"))

    # Each test has a separate outage, which ends soon.
    retry.OUTAGE_BUDGET = retry.TRY_AFTER_THE_BUDGET = 0.01
    process_control._LONGEST_FAREWELL = 0.01

    def rows():
        """A server that runs, a job that failed, a managed process: each with secrets in what names it."""
        login = ["-c", f"login --token {FLAG}", "--pass", f"-{FLAG}"]
        web = managed(f"web --token={FLAG}", last_error=f"DB_PASS={FLAG}")
        server = [f"--token={FLAG}", "--password", FLAG, OWN, f"https://me:{URL}@host/path"]
        job = [f"API_KEY={FLAG}", f"x{OWN}"]
        return [raw(41, "server", server), raw(42, "job", job, **ended(3)), raw(43, "web", login, managed=web)]

    def told_back(status):
        """What a server may tell that was asked with a wrong key."""
        return faults.answer(status, {"error": f"unknown key {KEY}"}, name=f"{status} tells the key")

    def end_all_with_secrets_in_the_output(proxy):
        for row in proxy.processes:
            row.update(ended(1))
        lines = [KEY, f"--token {FLAG}", f"http://me:{URL}@host/", OWN]
        proxy.fail(faults.answer(200, {"lines": lines}, name="output"), only="/stderr")

    # One of each kind that is ridden out, for it takes time, and all that are final.
    FAULTS = [None, faults.REFUSED, faults.RESET_BEFORE_HEADERS, faults.LENGTH_TOO_LARGE, faults.CUT_JSON,
              faults.LENGTH_TOO_SMALL, faults.BROKEN_GZIP, faults.HTML, faults.NO_CONTENT, faults.EMPTY,
              faults.redirected("http://127.0.0.1:9/"), faults.KEY_REFUSED, faults.KEY_NOT_ALLOWED,
              faults.SANDBOX_NOT_FOUND, faults.LIFECYCLE_PATH_NOT_FOUND, faults.PROCESS_NOT_FOUND,
              faults.TERMINATED, faults.TOO_MANY_NONSENSE, faults.INTERNAL_ERROR, faults.SANDBOX_NOT_READY,
              faults.DAEMON_RESTARTED, *map(told_back, (400, 401, 403, 500, 503))]

    @pytest.fixture
    def proxy():
        with FaultProxy(processes=rows()) as proxy:
            proxy.api_key = Secret(KEY)
            yield proxy

    @pytest.fixture
    def box(proxy, tlsandbox_connect):
        return tlsandbox_connect(proxy)

    @pytest.fixture(params=FAULTS, ids=str)
    def faulty(request, proxy, box, caplog):
        caplog.set_level(logging.DEBUG)
        if request.param is not None:
            proxy.fail(request.param)
        return box

    @pytest.fixture
    def failing_setup(box):
        box.wait_for_exit("job", timeout=0)

    def test_setup(failing_setup):
        pass

    @pytest.fixture
    def failing_teardown(box):
        yield
        box.wait_for_exit("job", timeout=0)

    def test_teardown(failing_teardown):
        pytest.fail("and its teardown fails too")

    def test_start(faulty):
        faulty.start_process("no-such-program", [f"--token={FLAG}"], env={"TOKEN": FLAG})
        pytest.fail("it was started")

    def test_own_error(faulty):
        try:
            faulty.wait_for_process(f"--token={FLAG}!", timeout=0)
        except Exception as error:
            warnings.warn(str(error))
            logging.getLogger("suite").error("failed", exc_info=True)
            print(error)
            raise RuntimeError(str(error)) from error

    def test_snapshot(box):
        snapshot = box.list_processes()
        server, job, web = snapshot
        assert [str(snapshot), server, web.managed, snapshot.rows] == job

    def test_what_cannot_be_killed_is_warned_of(box, proxy):
        server, _, web = box.list_processes()
        box._started += [server, web]
        proxy.fail(faults.INTERNAL_ERROR, only="DELETE")
        warnings.warn(f"left: {box.kill_started()}")
        pytest.fail(f"left: {server}")

    def test_managed(box, proxy):
        web = box.list_processes()[2]
        proxy.fail(faults.answer(404, b"", name="no such call"), only="POST")
        box.restart_process(web)

    @pytest.mark.parametrize("ask", [
        lambda box: box.wait_for_exit("job", timeout=0),
        lambda box: box.wait_for_process(by(command="no such"), timeout=0.05),
        lambda box: box.wait_for_port("server", 80, timeout=0),
        lambda box: box.wait_for_restart("server", timeout=0),
        lambda box: box.wait_for_restart(43, timeout=0),
        lambda box: box.wait_for_count("e", 9, timeout=0),
        lambda box: box.wait_for_count(f"--token={FLAG}!", 9, timeout=0),
        lambda box: box.stop_process("server"),
        lambda box: box.stop_process(43),
        lambda box: box.run_process("job", [f"--token={FLAG}"]),
    ])
    def test_helper(box, ask):
        ask(box)

    def test_own_failure_after_processes_with_secrets_ended(box, proxy):
        box.list_processes()
        end_all_with_secrets_in_the_output(proxy)
        pytest.fail("by itself")

    @pytest.mark.tlsandbox_guard("crash")
    def test_finding(box, proxy):
        box.list_processes()
        proxy.processes[2].update(signaled(11))

    @pytest.mark.tlsandbox_guard("crash")
    def test_gap(box, proxy):
        proxy.fail(told_back(403))
        box.list_processes()

    @pytest.mark.parametrize("target", ["https://my-sandbox.invalid", "text", "unusable"])
    def test_key_of_the_hook(tlsandbox_connect, target):
        """The first is reached through a proxy of the environment, the others are rejected."""
        tlsandbox_connect(target).wait_for_process("x", timeout=0)
'''


@pytest.mark.parametrize("way", sample_of({way: way for way in WAYS}, "-l -vv"))
def test_pytest_never_prints_or_writes_secrets(pytester, monkeypatch, way):
    for name, value in SENTINELS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TENSORLAKE_API_KEY", SENTINELS["KEY"])
    proxy = unused_url().replace("http://", f"http://me:{SENTINELS['PROXY']}@")
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p no:cacheprovider -p no:anyio -p no:hypothesispytest")
    pytester.makeini(
        """
        [pytest]
        addopts = -W default --tlsandbox-report=report.json --junitxml=junit.xml
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
    pytester.makepyfile(SUITE)

    result = pytester.runpytest_subprocess(*WAYS[way])
    main(["report.json", "report.html"])

    outcomes = result.parseoutcomes()
    assert outcomes["failed"] == 72, result.stdout.str()[-3000:]
    assert "passed" not in outcomes
    shown = {"stdout": result.stdout.str(), "stderr": result.stderr.str()}
    written = [*WRITTEN, "debug.log"] if way == "--debug" else WRITTEN
    shown |= {name: (pytester.path / name).read_text() for name in written}
    for text in ("Crashed with SIGSEGV: web --token=***", "unknown key ***"):
        assert all(text in shown[name] for name in ("stdout", "report.json", "summary.md"))
    assert "http://***@host/" in shown["report.json"]
    assert "http://***@host/" in shown["report.html"]
    assert "urllib3" in shown["log.txt"]
    assert (
        'name="tlsandbox_crash" value="Crashed with SIGSEGV: web --token=***"' in shown["junit.xml"]
    )
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
