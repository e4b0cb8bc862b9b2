"""What a failed test shows beside its own error: what happened in the sandbox, and the cause."""

import re
from unittest.mock import Mock

import pytest

from pytest_tlsandbox.failed_tests.used_sandbox import UsedSandbox

from ..fault_proxy import FaultProxy
from ..report.read_report import read
from .inner import PROGRAMS, failures, providing, run_apart

TITLE = "sandbox during this test"
FAILS = """
        def end(sandbox, script): run(sandbox, "sh", ["-c", script, "job.sh"])

        def fail(sandbox, script):
            end(sandbox, script)
            assert False
"""

SUITE = """
        from pytest_tlsandbox import start_local_sandbox
        from pytest_tlsandbox.client import retry

        @pytest.fixture(scope="session")
        def server(tlsandbox_session):
            return tlsandbox_session.start_process("python", ["-m", "http.server", "0"])

        def test_server_exited(tlsandbox):
            with socket.create_server(("127.0.0.1", 0)) as server:
                code = f"import socket; _ = socket.create_connection({server.getsockname()}); "
                code += "raise SystemExit('db gone: --token=tl_secret')"
                tlsandbox.start_process("python", ["-c", code])
                with server.accept()[0] as connection:
                    assert connection.recv(1) == b"hello"

        def test_oom_killed(tlsandbox):
            be_killed(tlsandbox)
            assert False

        def test_nothing_happened(tlsandbox): assert False
        def test_passes(tlsandbox): be_killed(tlsandbox)
        def test_kills_the_server_of_others(server): os.kill(server.pid, 9)
        def test_killed_by_another_test(server): assert False

        def test_sandbox_gone(tlsandbox_connect):
            with start_local_sandbox(identifier="mine") as sandbox:
                tlsandbox_connect(sandbox).list_processes()
            raise OSError("connection refused")

        def test_all_went_well(tlsandbox):
            for number in range(2):
                run(tlsandbox, "true")
            tlsandbox.start_process("sleep", ["60"])
            tlsandbox.kill_process(tlsandbox.start_process("sleep", ["61"]))
            assert False

        @pytest.mark.xfail
        def test_xfails(tlsandbox): fail(tlsandbox, "exit 3")

        @pytest.mark.timeout(1, func_only=True)
        def test_hangs(tlsandbox):
            end(tlsandbox, "exit 3")
            time.sleep(60)

        # Errors that the plugin raises

        def test_exit(tlsandbox): tlsandbox.run_process("sh", ["-c", "exit 4", "job.sh"])
        def test_not_found(tlsandbox): tlsandbox.wait_for_process("no such", timeout=0)
        def test_wrong_call(tlsandbox): tlsandbox.wait_for_process("x", timeout=-1)

        def test_oom_before_it(tlsandbox):
            be_killed(tlsandbox)
            tlsandbox.run_process("sh", ["-c", "echo no worker >&2; exit 4", "job.sh"])

        def test_several(tlsandbox):
            crash(tlsandbox)
            with tlsandbox.soft() as check:
                check.assert_process("no such", exit_code=0)
                check.assert_no_crash()

        def test_sandbox(tlsandbox_connect, monkeypatch):
            monkeypatch.setattr(retry, "OUTAGE_BUDGET", 0.01)
            tlsandbox_connect("http://127.0.0.1:1").list_processes()
"""
EXPECTED = {
    "test_server_exited":
        ("Exited 1: python -c\n  | db gone: --token=***", "exit: python -c (not certain)"),
    "test_oom_killed": ("OOM-killed: python -c", "oom: python -c (not certain)"),
    "test_killed_by_another_test":
        ("Killed by SIGKILL: http.server", "exit: http.server (not certain)"),
    "test_sandbox_gone":
        ("mine cannot be reached: the connection was refused", "sandbox: mine (not certain)"),
    "test_nothing_happened": ("", "none"),
    "test_all_went_well":
        ("started: sleep; ended normally: true, true; killed by the tests: sleep", "none"),
    "test_hangs": ("Exited 3: job.sh", "exit: job.sh (not certain)"),
    "test_exit": ("", "exit: job.sh"),
    # The output of the process that the error is about is in the error.
    "test_oom_before_it": ("OOM-killed: python -c\nExited 4: job.sh", "exit: job.sh"),
    "test_several": ("", "crash: here"),
    "test_not_found": ("", "none"),
    "test_wrong_call": ("", "none"),
    "test_sandbox": ("", "sandbox: http://127.0.0.1:1"),
}  # fmt: skip
"""For each failed test, its section without times, and the cause."""


def inline_run(pytester, suite, *options, plugins=()):
    pytester.makepyfile(test_it=PROGRAMS + FAILS + suite)
    return pytester.inline_run(*options, plugins=plugins)


def sections_of(record):
    """Return the section of each failed phase, without times; empty if it has none."""
    sections = {}
    for report in record.getreports("pytest_runtest_logreport"):
        if report.failed:
            phase = "" if report.when == "call" else f", {report.when}"
            section = dict(report.sections).get(TITLE, "")
            section = re.sub(r"\d+\.\d s before  ", "", section)
            sections[report.nodeid.partition("::")[2] + phase] = section
    return sections


@pytest.mark.usefixtures("limited")
def test_failed_test_shows_what_happened_in_the_sandbox_and_the_likely_cause(pytester):
    record = inline_run(pytester, SUITE)
    assert sections_of(record) == {name: section for name, (section, _) in EXPECTED.items()}
    reports = record.getreports("pytest_runtest_logreport")
    for outcomes in (["failed"], ["failed", "passed"]):  # as pytest-json-ctrf or JUnit read it
        assert {
            report.nodeid.partition("::")[2]: report.user_properties
            for report in reports
            if report.user_properties and report.outcome in outcomes
        } == {name: [("tlsandbox_cause", cause)] for name, (_, cause) in EXPECTED.items()}


@pytest.mark.usefixtures("limited")
def test_guard_finding_that_makes_a_test_fail_is_recorded_as_the_cause(pytester):
    suite = """
        def test_passes(tlsandbox):
            crash(tlsandbox, "first")
            crash(tlsandbox, "second")

        @pytest.mark.xfail
        def test_xfails(tlsandbox): fail(tlsandbox, "echo so be it >&2; kill -SEGV $$")

        def test_fails(tlsandbox): fail(tlsandbox, "echo so be it >&2; kill -SEGV $$")

        @pytest.mark.tlsandbox_guard()
        def test_restarts(tlsandbox, tmp_path):
            be_restarted(tlsandbox, tmp_path, "exit 1")
            assert False
    """
    record = inline_run(pytester, suite, "--tlsandbox-guard=crash", "--tlsandbox-report=out.json")
    report = read(pytester.path / "out.json")
    names = {process["id"]: process["name"] for process in report["processes"]}
    causes = [
        {**test["cause"], "process": names[test["cause"]["process"]]} for test in report["tests"]
    ]
    assert [(*cause.values(),) for cause in causes] == [
        ("crash", "first", "first", None, True),
        ("crash", "job.sh", "job.sh", None, True),
        ("crash", "job.sh", "job.sh", None, False),
        ("exit", "web, first run", "web", 0, False),
    ]
    # A failure by a finding shows the output; beside another failure, the finding has one line.
    assert sections_of(record) == {
        "test_passes": "",
        "test_xfails": "",
        "test_fails": "Crashed with SIGSEGV: job.sh\n  | so be it",
        "test_restarts": "Exited 1, then restarted: web, first run",
    }


# The cost


CALLS = """
        from tests.fault_proxy import faults

        def used(proxy, connect):
            connect(proxy).start_process("sleep", ["60"])
            yield proxy
            proxy.polls = proxy.requests.count("GET /api/v1/processes")

        @pytest.fixture(scope="session")
        def one(provided, tlsandbox_connect): yield from used(provided[0], tlsandbox_connect)

        @pytest.fixture(scope="session")
        def two(provided, tlsandbox_connect): yield from used(provided[1], tlsandbox_connect)

        def test_passes(one, two): pass
        def test_fails(one): assert False
        def test_uses_none(): assert False

        def test_outage_begins(one):
            one.fail(faults.KEY_REFUSED)
            assert False

        def test_outage_continues(one, request):
            request.addfinalizer(one.recover)
            assert False

        def test_sandbox_hangs(two, request):
            request.addfinalizer(two.recover)
            two.fail(faults.HANG_BEFORE_HEADERS)
            assert False
"""


@pytest.mark.parametrize("shows_section", [True, False])
def test_plugin_polls_once_after_a_failure_unless_an_outage_is_known(pytester, box, shows_section):
    pytester.makeini(f"[pytest]\ntlsandbox_no_section = {not shows_section}")
    with FaultProxy(box) as one, FaultProxy(box) as two:
        record = inline_run(pytester, CALLS, plugins=[providing((one, two))])
    if shows_section:
        # After test_fails and test_outage_begins, and after test_sandbox_hangs.
        assert (one.polls, two.polls) == (2, 1)
        reports = record.getreports("pytest_runtest_logreport")
        *_, call, teardown = (each for each in reports if "test_sandbox_hangs" in each.nodeid)
        assert 0.9 < teardown.start - call.stop < 1.5
    else:
        assert (one.polls, two.polls) == (0, 0)
        assert set(sections_of(record).values()) == {""}


# The content of the section


def ends(codes, lines):
    """Return the section about programs that ended with these codes, with these lines of output."""
    output = "".join(f"\n  | line {line}" for line in lines)
    return "\n".join(f"Exited {code}: job.sh{output}" for code in codes)


MANY = {
    "-q": f"{ends(range(4, 9), range(20, 21))}\n3 more events",
    "-v": ends(range(1, 9), range(17, 21)),
}


@pytest.mark.usefixtures("limited")
@pytest.mark.parametrize(("option", "expected"), MANY.items())
def test_section_shows_new_events_in_12_lines_unless_verbose(pytester, box, option, expected):
    suite = """
        def test_many(tlsandbox):
            for code in range(1, 9):
                end(tlsandbox, f"for number in $(seq 20); do echo line $number; done; exit {code}")
            assert False

        @pytest.fixture
        def broken_teardown(tlsandbox, request):
            request.addfinalizer(lambda: fail(tlsandbox, "exit 5"))

        def test_both(tlsandbox, broken_teardown): fail(tlsandbox, "exit 4")
        def test_teardown(tlsandbox, broken_teardown): end(tlsandbox, "exit 4")

        def test_two_sandboxes(tlsandbox, tlsandbox_connect, provided):
            end(tlsandbox, "exit 3")
            fail(tlsandbox_connect(provided), "exit 4")
    """
    assert sections_of(inline_run(pytester, suite, option, plugins=[providing(box)])) == {
        "test_many": expected,
        "test_both": ends(range(4, 5), range(0)),
        "test_both, teardown": ends(range(5, 6), range(0)),
        "test_teardown, teardown": ends(range(4, 6), range(0)),
        "test_two_sandboxes": "small: Exited 3: job.sh\nmy-sandbox: Exited 4: job.sh",
    }


@pytest.mark.usefixtures("limited")
def test_processes_of_other_tests_take_one_line_in_a_shared_sandbox(pytester, elsewhere):
    others = [elsewhere.start_process("sleep", ["60"]).pid for _ in range(2)]
    suite = f"""
        {FAILS}
        def test_it(tlsandbox):
            for pid in {others}:
                os.kill(pid, 9)
            fail(tlsandbox, "exit 3")
    """
    result = run_apart(pytester, suite, "-n1", "--junitxml=junit.xml")
    events = r"\d\.\d s before  Exited 3: job.sh$", "ended in other tests: sleep, sleep$"
    result.stdout.re_match_lines([f"-+ {TITLE} -+$", *events, "[=-]"], consecutive=True)
    junit = (pytester.path / "junit.xml").read_text()
    assert '<property name="tlsandbox_cause" value="exit: job.sh (not certain)" />' in junit


@pytest.mark.usefixtures("limited")
def test_error_from_a_failed_test_is_shown_even_if_the_plugin_itself_fails(pytester, monkeypatch):
    broken = Mock(side_effect=RuntimeError("--token=tl_secret"))
    monkeypatch.setattr(UsedSandbox, "events", broken)
    pytester.makepyfile("def test_it(tlsandbox): assert False")
    result = pytester.runpytest_inprocess("--log-file=log.txt", "--log-file-level=DEBUG")
    assert failures(result) == {"test_it": "assert False"}
    log = (pytester.path / "log.txt").read_text()
    assert "a failed test could not be explained: RuntimeError('--token=***')" in log
