"""No secret gets out: not in what pytest prints, nor in what it writes, whatever fails."""

from __future__ import annotations

import signal
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.support import sample_of

from .inner import ending, server, start_pytest, unused_url

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_tlsandbox.local.sandbox import LocalSandbox

KEY = "Sentinel-1f2e3d4c5b6a"

HOW_TO_SHOW = {
    "default": (),
    "most": ("-l", "-vv", "--tb=long"),
    "all frames": ("-l", "-vv", "--full-trace"),
    "short": ("-l", "--tb=short"),
    "native": ("--tb=native",),
    "worker": ("-l", "-n1"),
    "live log": ("-l", "-o", "log_cli=true", "--log-cli-level=DEBUG", "--log-level=DEBUG"),
}

FAILING = """
    import os
    import pytest
    from pytest_tlsandbox import Secret

    FAULTS = dict(fault.split("=") for fault in os.environ["FAULTS"].split())

    @pytest.mark.parametrize("fault", FAULTS)
    def test_wait(tlsandbox_connect, fault):
        sandbox = tlsandbox_connect(FAULTS[fault])
        sandbox.wait_for_process("x", timeout=0)

    @pytest.mark.parametrize("tlsandbox_target", FAULTS.values(), ids=FAULTS, indirect=True)
    def test_look(tlsandbox_lister):
        tlsandbox_lister.poll(limit=0.2)

    @pytest.fixture(params=["wrong_key", "error_500"])
    def url(request):
        return FAULTS[request.param]

    @pytest.fixture
    def failing_setup(tlsandbox_connect, url):
        sandbox = tlsandbox_connect(url)
        sandbox.wait_for_exit("x", timeout=0)

    def test_setup(failing_setup):
        pass

    @pytest.fixture
    def failing_teardown(tlsandbox_connect, url):
        sandbox = tlsandbox_connect(url)
        yield sandbox
        sandbox.wait_until(bool, timeout=0)

    def test_teardown(failing_teardown):
        pass

    def test_start(tlsandbox_connect, url):
        sandbox = tlsandbox_connect(url)
        sandbox.start_process("true")

    def test_assertion_of_its_own(tlsandbox_connect, tlsandbox_lister, tlsandbox_local, url):
        sandbox, local = tlsandbox_connect(url), tlsandbox_connect("local")
        snapshot = local.list_processes()
        key = Secret(os.environ["TENSORLAKE_API_KEY"])
        assert [sandbox, local, snapshot, tlsandbox_lister, tlsandbox_local, key] == []

    def test_raised_as_an_error_of_its_own(tlsandbox_connect, url):
        sandbox = tlsandbox_connect(url)
        try:
            sandbox.wait_for_process("x", timeout=0)
        except Exception as error:
            raise RuntimeError(str(error)) from error

    def test_log_of_what_is_transient(tlsandbox_connect):
        sandbox = tlsandbox_connect(FAULTS["error_500"])
        sandbox.wait_for_process("x", timeout=0.3)
"""


def leaks(result: pytest.RunResult, xml: str) -> list[str]:
    """Give the lines that tell the secret."""
    lines = [*result.outlines, *result.errlines, *xml.splitlines()]
    return [line for line in lines if KEY in line]


def http(status: str, body: bytes) -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + body


@pytest.fixture
def faulty(box: LocalSandbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Give the names of servers that each fail in one way; the key is in the environment."""
    answers: dict[str, bytes | None] = {
        "bad_body": http("200 OK", b"<html>no list</html>"),
        "bad_shape": http("200 OK", b'{"processes": {"pid": 1}}'),
        "bad_row": http("200 OK", b'{"processes": [{"pid": "x"}]}'),
        "error_500": http("500 Internal Server Error", b'{"error": "broken"}'),
        "cut": b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n{",
        "no_http": b"SSH-2.0-OpenSSH\r\n\r\n",
        "headers_shown": b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"
        b'{"error": "bad request: {request}"}',
        "silent": None,
    }
    with ExitStack() as stack:
        urls = {name: stack.enter_context(server(answer)) for name, answer in answers.items()}
        urls["refused"] = unused_url()
        urls["wrong_key"] = box.url
        monkeypatch.setenv("FAULTS", " ".join(f"{name}={url}" for name, url in urls.items()))
        monkeypatch.setenv("TENSORLAKE_API_KEY", KEY)
        yield list(urls)


@pytest.mark.parametrize("options", sample_of(HOW_TO_SHOW, "most", "live log"))
def test_the_key_is_nowhere_in_what_pytest_shows_and_writes(
    pytester: pytest.Pytester, faulty: list[str], options: tuple[str, ...]
) -> None:
    pytester.makepyfile(FAILING)
    result = pytester.runpytest_subprocess(
        "--tlsandbox=my-sandbox", "--junitxml=junit.xml", "-o", "junit_logging=all", *options
    )
    xml = (pytester.path / "junit.xml").read_text()
    # Each way to fail has failed. A teardown that does leaves its test passed, and a bad row is kept
    # aside.
    result.assert_outcomes(failed=2 * len(faulty) - 1 + 2 * 3 + 1, errors=2 * 2, passed=3)
    assert "test_wait[refused]" in result.stdout.str()
    assert "test_wait[refused]" in xml
    assert leaks(result, xml) == []


@pytest.mark.parametrize("how", ["default", pytest.param("all frames", marks=pytest.mark.slow)])
def test_a_key_that_the_sandbox_tells_back_is_not_shown(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """In an answer that says what key was wrong, say; it has none of the signs of a secret there."""
    monkeypatch.setenv("TENSORLAKE_API_KEY", KEY)
    key = KEY.encode()
    answers = [
        http("401 Unauthorized", b'{"error": "unknown: ' + key + b'"}'),
        http("500 Internal Server Error", b'{"error": "' + key + b' broke it"}'),
        http("400 Bad Request", b"<html>" + key + b"</html>"),
        http("200 OK", b'{"processes": "' + key + b'"}'),
        http("200 OK", b'{"processes": [{"pid": "' + key + b'"}]}'),
    ]
    pytester.makepyfile(
        """
        import os
        import pytest

        @pytest.mark.parametrize("number", range(5))
        def test_it(tlsandbox_connect, number):
            sandbox = tlsandbox_connect(os.environ["URLS"].split()[number])
            sandbox.wait_for_process("x", timeout=0)
        """
    )
    with ExitStack() as stack:
        urls = [stack.enter_context(server(answer)) for answer in answers]
        monkeypatch.setenv("URLS", " ".join(urls))
        result = pytester.runpytest_subprocess("--junitxml=junit.xml", *HOW_TO_SHOW[how])
    result.assert_outcomes(failed=5)
    assert leaks(result, (pytester.path / "junit.xml").read_text()) == []


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


def test_the_key_is_not_shown_when_a_signal_strikes_inside_a_call(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As pytest-timeout does it; here it does not say before when it will."""
    monkeypatch.setenv("TENSORLAKE_API_KEY", KEY)
    pytester.makepyfile(HANGING.format(autouse=True))
    with server(None) as url:
        result = pytester.runpytest_subprocess(
            f"--tlsandbox={url}", "--junitxml=junit.xml", *HOW_TO_SHOW["all frames"]
        )
    result.assert_outcomes(failed=3)
    assert result.stdout.str().count("Failed: struck") >= 3
    assert leaks(result, (pytester.path / "junit.xml").read_text()) == []


@pytest.mark.parametrize("method", ["signal", "thread"])
def test_the_key_is_not_shown_when_pytest_timeout_ends_a_call(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    monkeypatch.setenv("TENSORLAKE_API_KEY", KEY)
    pytester.makepyfile(HANGING.format(autouse=False))
    # Around the function only: it may else strike while pytest writes the report, which is long.
    timeout = ("--timeout=0.5", f"--timeout-method={method}", "-o", "timeout_func_only=true")
    with server(None) as url:
        result = pytester.runpytest_subprocess(
            f"--tlsandbox={url}", *timeout, *HOW_TO_SHOW["all frames"]
        )
    assert result.ret == 1
    assert leaks(result, "") == []


def test_the_key_is_not_shown_when_ctrl_c_strikes_inside_a_call(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TENSORLAKE_API_KEY", KEY)
    pytester.makepyfile(HANGING.format(autouse=False))
    asked = threading.Event()
    with server(None, asked) as url:
        inner = start_pytest(pytester, f"--tlsandbox={url}", *HOW_TO_SHOW["all frames"])
        with ending(inner):
            assert asked.wait(20)
            inner.send_signal(signal.SIGINT)
            shown, errors = inner.communicate()
    assert inner.returncode == 2
    assert b"KeyboardInterrupt" in shown
    assert KEY.encode() not in shown + errors


# The halves are put together in the inner test only, and not kept in a local of its own.
MASKED = """
    import pytest

    HALVES = {halves}

    def secret():
        return "-".join(HALVES)

    def test_wrong_end(tlsandbox):
        job = tlsandbox.start_process("sh", ["-c", "exit 3", "job", "--token=" + secret()])
        tlsandbox.wait_for_exit(job)

    def test_not_found(tlsandbox):
        job = tlsandbox.start_process("sleep", ["60", "--password", secret()][:1])
        snapshot = tlsandbox.list_processes()
        tlsandbox.wait_for_exit("slepe", timeout=0)

    def test_next_argument(tlsandbox):
        job = tlsandbox.start_process("sh", ["-c", "exit 3", "job", "--password", secret()])
        snapshot = tlsandbox.list_processes()
        tlsandbox.wait_until(lambda snapshot: False, timeout=0)

    def test_url(tlsandbox):
        url = ["-c", "exit 3", "job", "https://me:" + secret() + "@host/path"]
        job = tlsandbox.start_process("sh", url)
        del url
        tlsandbox.assert_process(job, exit_code=0)

    def test_told_by_text(tlsandbox):
        tlsandbox.wait_for_process("--token=" + secret(), timeout=0)

    def test_written(tlsandbox):
        job = tlsandbox.start_process("sh", ["-c", "echo $1 >&2; exit 3", "job", "--token=" + secret()])
        tlsandbox.wait_for_exit(job)

    def test_shown_whole(tlsandbox):
        job = tlsandbox.start_process("sh", ["-c", "exit 3", "job", "--token=" + secret()])
        assert str(tlsandbox.list_processes()) == repr(job)

    def test_refused(tlsandbox):
        tlsandbox.start_process("no-such-program", ["--token=" + secret()])

    def test_refused_environment(tlsandbox):
        tlsandbox.start_process("no-such-program", env={{"API_KEY": secret()}})
"""


@pytest.mark.usefixtures("connected")
@pytest.mark.parametrize(
    "how",
    [
        "default",
        pytest.param("most", marks=pytest.mark.slow),
        pytest.param("all frames", marks=pytest.mark.slow),
        "live log",
    ],
)
def test_a_masked_argument_is_nowhere_either(pytester: pytest.Pytester, how: str) -> None:
    pytester.makepyfile(MASKED.format(halves=KEY.split("-")))
    result = pytester.runpytest_subprocess("--junitxml=junit.xml", *HOW_TO_SHOW[how])
    result.assert_outcomes(failed=9)
    assert leaks(result, (pytester.path / "junit.xml").read_text()) == []


@pytest.mark.parametrize("how", ["default", pytest.param("all frames", marks=pytest.mark.slow)])
def test_nor_is_either_in_what_the_guard_says_and_writes(
    pytester: pytest.Pytester, faulty: list[str], monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """What it finds, what it could not watch; in the summary, in JUnit, in the report, for GitHub."""
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(pytester.path / "summary.md"))
    pytester.makepyfile(
        """
        import os
        import pytest
        import pytest_tlsandbox

        URLS = dict(pair.split("=", 1) for pair in os.environ["FAULTS"].split())

        @pytest.mark.parametrize("fault", ["headers_shown", "bad_body", "wrong_key"])
        def test_fault(tlsandbox_connect, fault):
            tlsandbox_connect(URLS[fault])

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
    result = pytester.runpytest_subprocess(
        "--tlsandbox=local",
        "--tlsandbox-guard=crash",
        "--tlsandbox-report=out.json",
        "--junitxml=junit.xml",
        "-o",
        "junit_logging=all",
        *HOW_TO_SHOW[how],
    )
    result.assert_outcomes(passed=3, failed=2)
    written = [
        (pytester.path / name).read_text() for name in ("junit.xml", "out.json", "summary.md")
    ]
    assert all("SIGSEGV" in text for text in written)
    assert all("web --token=" in text for text in written)
    assert KEY[::-1] not in "".join([*written, result.stdout.str()])
    assert result.stdout.str().count("\nNot watched") == 3
    assert leaks(result, "\n".join(written)) == []


@pytest.mark.parametrize("name", ["out.json", "out.html"])
def test_a_key_that_a_program_writes_is_in_no_report(
    pytester: pytest.Pytester, connected: LocalSandbox, name: str
) -> None:
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
