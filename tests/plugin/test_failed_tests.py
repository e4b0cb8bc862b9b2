"""What a failed test shows beside its own error: what happened in the sandbox, and the cause."""

from __future__ import annotations

import operator
import re
import time
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from ..fault_proxy import FaultProxy
from ..report.read_report import read
from ..support import sample_of
from .inner import PROGRAMS, failures, providing

TITLE = "sandbox during this test"

SUITE = (
    PROGRAMS
    + """
        import os
        import socket
        import time
        import pytest
        from pytest_tlsandbox import start_local_sandbox
        from pytest_tlsandbox.client import retry

        def ended(sandbox, job):
            sandbox.wait_until(lambda seen: seen.find(job.identity).ended)

        @pytest.fixture(scope="session")
        def server(tlsandbox_session):
            return tlsandbox_session.start_process("python", ["-m", "http.server", "0"])

        def test_server_exited(tlsandbox):
            with socket.create_server(("127.0.0.1", 0)) as server:
                code = f'''if True:
                    import socket, sys
                    connection = socket.create_connection({server.getsockname()})
                    print("connected")
                    sys.exit("db gone")
                '''
                tlsandbox.start_process("python", ["-c", code])
                with server.accept()[0] as connection:
                    assert connection.recv(1) == b"hello"

        def test_oom_killed(tlsandbox):
            be_killed(tlsandbox)
            assert False

        def test_restarted(tlsandbox, tmp_path):
            tlsandbox.start_process(*at_first(tmp_path, "exit 1"), name="web", restart=AGAIN)
            tlsandbox.wait_until(lambda seen: restarted(seen, "web"))
            assert False

        def test_kills_the_server_of_others(server): os.kill(server.pid, 9)

        def test_killed_by_another_test(server): assert False

        def test_sandbox_gone(tlsandbox_connect):
            with start_local_sandbox(identifier="mine") as sandbox:
                tlsandbox_connect(sandbox).list_processes()
            raise OSError("connection refused")

        def test_unhealthy(tlsandbox):
            tlsandbox.start_process("sleep", ["60"], name="sick", health_check=SICK, restart=NEVER)
            tlsandbox.wait_until(unhealthy)
            assert False

        def test_nothing_happened(tlsandbox): assert False

        def test_output_with_a_secret(tlsandbox):
            program = "echo --token=tl_secret >&2; exit 1"
            ended(tlsandbox, tlsandbox.start_process("sh", ["-c", program, "job.sh"]))
            assert False

        def test_all_went_well(tlsandbox):
            for number in range(2):
                tlsandbox.wait_for_exit(tlsandbox.start_process("true"))
            tlsandbox.start_process("sleep", ["60"])
            tlsandbox.kill_process(tlsandbox.start_process("sleep", ["61"]))
            assert False

        def test_passes(tlsandbox): be_killed(tlsandbox)

        @pytest.mark.xfail
        def test_xfails(tlsandbox):
            be_killed(tlsandbox)
            assert False

        @pytest.mark.timeout(1)
        def test_hangs(tlsandbox):
            tlsandbox.start_process("sh", ["-c", "exit 3", "job.sh"])
            time.sleep(60)

        # Errors that the plugin raises

        def test_exit(tlsandbox):
            tlsandbox.wait_for_exit(tlsandbox.start_process("sh", ["-c", "exit 4", "job.sh"]))

        def test_crash(tlsandbox):
            job = tlsandbox.start_process("sh", ["-c", "kill -SEGV $$", "job.sh"])
            tlsandbox.wait_for_exit(job)

        def test_oom_before_it(tlsandbox):
            be_killed(tlsandbox)
            job = tlsandbox.start_process("sh", ["-c", "echo no worker >&2; exit 4", "job.sh"])
            tlsandbox.wait_for_exit(job)

        def test_several(tlsandbox):
            job = tlsandbox.start_process("sh", ["-c", "kill -SEGV $$", "job.sh"])
            tlsandbox.wait_until(lambda seen: not seen.alive)
            with tlsandbox.soft() as check:
                check.assert_process("no such", exit_code=0)
                check.assert_no_crash()

        def test_not_found(tlsandbox): tlsandbox.wait_for_process("no such", timeout=0)

        def test_wrong_call(tlsandbox): tlsandbox.wait_for_process("x", timeout=-1)

        def test_sandbox(tlsandbox_connect, monkeypatch):
            monkeypatch.setattr(retry, "OUTAGE_BUDGET", 0.01)
            tlsandbox_connect("http://127.0.0.1:1").list_processes()
"""
)
EXPECTED = {
    "test_server_exited": ("# s before  Exited 1: python -c\n  | db gone", "exit: python -c (not certain)"),
    "test_oom_killed": ("# s before  OOM-killed: python -c", "oom: python -c (not certain)"),
    "test_restarted": (
        "# s before  Exited 1, then restarted: web, first run", "exit: web, first run (not certain)"
    ),
    "test_killed_by_another_test": (
        "# s before  Killed by SIGKILL: http.server", "exit: http.server (not certain)"
    ),
    "test_sandbox_gone": (
        "# s before  mine cannot be reached: the connection was refused", "sandbox: mine (not certain)"
    ),
    "test_unhealthy": ("# s before  Unhealthy: sick\nstarted: sick", "none"),
    "test_nothing_happened": ("", "none"),
    "test_output_with_a_secret": (
        "# s before  Exited 1: job.sh\n  | --token=***", "exit: job.sh (not certain)"
    ),
    "test_all_went_well": (
        "started: sleep; ended normally: true, true; killed by the tests: sleep", "none"
    ),
    "test_hangs": ("# s before  Exited 3: job.sh", "exit: job.sh (not certain)"),
    "test_exit": ("", "exit: job.sh"),
    "test_crash": ("", "crash: job.sh"),
    # The output of the process that the error is about is in the error.
    "test_oom_before_it": (
        "# s before  OOM-killed: python -c\n# s before  Exited 4: job.sh", "exit: job.sh"
    ),
    "test_several": ("", "crash: job.sh"),
    "test_not_found": ("", "none"),
    "test_wrong_call": ("", "none"),
    "test_sandbox": ("", "sandbox: http://127.0.0.1:1"),
}  # fmt: skip
CAUSES = {name: cause for name, (_, cause) in EXPECTED.items()}


def sections_of(record: pytest.HookRecorder) -> dict[str, str]:
    """Return the section of each failed test, without times; empty if it has none."""
    return {
        report.nodeid.partition("::")[2]: re.sub(
            r"\d+\.\d s before", "# s before", dict(report.sections).get(TITLE, "")
        )
        for report in record.getreports("pytest_runtest_logreport")
        if report.failed
    }


def causes_in_junit(path: Any) -> dict[str, list[str]]:
    """Return the property with the cause of each test that has one."""
    return {
        case.attrib["name"]: causes
        for case in ET.parse(path).iter("testcase")
        if (causes := [each.attrib["value"] for each in case.iter("property")])
    }


WAYS = {"alone": (), "guard and report": ("--tlsandbox-guard=leak", "--tlsandbox-report=out.json")}


@pytest.mark.usefixtures("limited")
@pytest.mark.parametrize("options", sample_of(WAYS, "alone"))
def test_failed_test_shows_what_happened_in_the_sandbox_and_the_likely_cause(pytester, options):
    pytester.makepyfile(test_it=SUITE)
    record = pytester.inline_run("--junitxml=junit.xml", *options)
    assert sections_of(record) == {name: section for name, (section, _) in EXPECTED.items()}
    # The guard adds properties of its own.
    causes = causes_in_junit(pytester.path / "junit.xml")
    assert {name: values[-1] for name, values in causes.items()} == CAUSES
    for report in record.getreports("pytest_runtest_logreport"):
        if report.failed:  # as pytest-json-ctrf, allure and report-log read it
            name = report.nodeid.partition("::")[2]
            assert ("tlsandbox_cause", CAUSES[name]) in report.user_properties
    if options:
        check_report(read(pytester.path / "out.json"))


def check_report(report: dict[str, Any]) -> None:
    causes = {
        test["id"].partition("::")[2]: test["cause"] for test in report["tests"] if test["cause"]
    }
    for name, cause in causes.items():
        certain = "" if cause["certain"] else " (not certain)"
        text = f"{cause['kind']}: {cause['name']}{certain}"
        assert CAUSES[name] == ("none" if cause["kind"] == "none" else text)
    restarted, oom = causes["test_restarted"], causes["test_oom_killed"]
    processes = {row["id"]: row for row in report["processes"]}
    assert processes[oom["process"]]["changes"][-1]["text"] == "oom_killed"
    assert (oom["run"], oom["certain"]) == (None, False)
    assert (restarted["run"], processes[restarted["process"]]["name"]) == (0, "web")
    assert causes["test_sandbox_gone"] == {
        "kind": "sandbox", "name": "mine", "process": None, "run": None, "certain": False,
    }  # fmt: skip


@pytest.mark.usefixtures("limited")
def test_guard_finding_that_makes_a_test_fail_is_recorded_as_the_cause(pytester):
    pytester.makepyfile(
        """
        import pytest

        def crash(sandbox):
            job = sandbox.start_process("sh", ["-c", "echo so be it >&2; kill -SEGV $$", "job.sh"])
            sandbox.wait_until(lambda seen: seen.find(job.identity).ended)

        def test_passes(tlsandbox):
            crash(tlsandbox)
            crash(tlsandbox)

        @pytest.mark.xfail
        def test_xfails(tlsandbox):
            crash(tlsandbox)
            assert False

        def test_fails(tlsandbox):
            crash(tlsandbox)
            assert False
        """
    )
    record = pytester.inline_run("--tlsandbox-guard=crash", "--tlsandbox-report=out.json")
    causes = [test["cause"] for test in read(pytester.path / "out.json")["tests"]]
    assert [(cause["kind"], cause["name"], cause["certain"]) for cause in causes] == [
        ("crash", "job.sh", True),
        ("crash", "job.sh", True),
        ("crash", "job.sh", False),
    ]
    # A failure by a finding shows the output; beside another failure, the finding has one line.
    assert sections_of(record) == {
        "test_passes": "",
        "test_xfails": "",
        "test_fails": "# s before  Crashed with SIGSEGV: job.sh\n  | so be it",
    }


# The cost


class ListCalls:
    """A plugin for the inner run, which counts the list calls after each test."""

    def __init__(self, *proxies: FaultProxy) -> None:
        self._proxies = proxies
        self._before: list[int] = []
        self.counts: dict[str, list[int]] = {}
        self.seconds: dict[str, float] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        now = [proxy.requests.count("GET /api/v1/processes") for proxy in self._proxies]
        if report.when == "call":
            name = report.nodeid.partition("::")[2]
            self.counts[name] = [*map(operator.sub, now, self._before)]
            self.seconds[name] = time.time() - report.stop
        self._before = now


CALLS = """
        import pytest
        from tests.fault_proxy import faults

        def used(proxy, connect):
            connect(proxy).start_process("sleep", ["60"])
            return proxy

        @pytest.fixture(scope="session")
        def one(provided, tlsandbox_connect): return used(provided[0], tlsandbox_connect)

        @pytest.fixture(scope="session")
        def two(provided, tlsandbox_connect): return used(provided[1], tlsandbox_connect)

        def test_passes(one, two): pass
        def test_fails(one): assert False
        def test_uses_none(): assert False

        def test_fails_in_an_outage(one):
            one.fail(faults.KEY_REFUSED)
            assert False

        def test_fails_later_in_it(one, request):
            request.addfinalizer(one.recover)
            assert False

        def test_sandbox_hangs(two, request):
            request.addfinalizer(two.recover)
            two.fail(faults.HANG_BEFORE_HEADERS)
            assert False
"""


@pytest.mark.parametrize("ini", ["", "tlsandbox_no_section = true"])
def test_plugin_polls_once_after_a_failed_test_unless_an_outage_is_already_known(
    pytester, box, ini
):
    pytester.makeini(f"[pytest]\n{ini}\n")
    pytester.makepyfile(test_it=CALLS)
    with FaultProxy(box) as one, FaultProxy(box) as two:
        calls = ListCalls(one, two)
        record = pytester.inline_run(plugins=[providing((one, two)), calls])
    expected = {} if ini else {
        "test_fails": [1, 0], "test_fails_in_an_outage": [1, 0], "test_sandbox_hangs": [0, 1]
    }  # fmt: skip
    assert len(calls.counts) == 6
    assert {name: counts for name, counts in calls.counts.items() if any(counts)} == expected
    if ini:
        assert set(sections_of(record).values()) == {""}
    else:
        assert 0.9 < calls.seconds["test_sandbox_hangs"] < 1.5


# The content of the section


def ends(codes: range, lines: range) -> str:
    """Return the section about programs that ended with these codes, with these lines of output."""
    output = "".join(f"\n  | line {line}" for line in lines)
    return "\n".join(f"# s before  Exited {code}: job.sh{output}" for code in codes)


@pytest.mark.usefixtures("limited")
@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("-q", f"{ends(range(4, 9), range(20, 21))}\n3 more events"),
        ("-v", ends(range(1, 9), range(17, 21))),
    ],
)
def test_section_about_the_sandbox_has_at_most_12_lines_unless_verbose(pytester, option, expected):
    pytester.makepyfile(
        """
        def test_it(tlsandbox):
            for code in range(1, 9):
                program = f"for number in $(seq 20); do echo line $number; done; exit {code}"
                job = tlsandbox.start_process("sh", ["-c", program, "job.sh"])
                tlsandbox.wait_for_exit(job, exit_code=code)
            assert False
        """
    )
    assert sections_of(pytester.inline_run(option)) == {"test_it": expected}


@pytest.mark.usefixtures("limited")
def test_each_failed_phase_shows_what_happened_since_the_previous_failure(pytester):
    pytester.makepyfile(
        """
        import pytest

        def end(sandbox, code):
            job = sandbox.start_process("sh", ["-c", f"exit {code}", "job.sh"])
            sandbox.wait_for_exit(job, exit_code=code)

        def fail(sandbox, code):
            end(sandbox, code)
            assert False

        @pytest.fixture
        def broken_setup(tlsandbox): fail(tlsandbox, 3)

        @pytest.fixture
        def broken_teardown(tlsandbox):
            yield
            fail(tlsandbox, 5)

        def test_setup(broken_setup): pass
        def test_both(tlsandbox, broken_teardown): fail(tlsandbox, 4)
        def test_teardown(tlsandbox, broken_teardown): end(tlsandbox, 4)
        """
    )
    reports = pytester.inline_run().getreports("pytest_runtest_logreport")
    assert {
        (report.nodeid.partition("::")[2], report.when): re.findall(
            r"Exited (\d)", str(report.sections)
        )
        for report in reports
        if report.failed
    } == {
        ("test_setup", "setup"): ["3"],
        ("test_both", "call"): ["4"],
        ("test_both", "teardown"): ["5"],
        ("test_teardown", "teardown"): ["4", "5"],
    }


@pytest.mark.usefixtures("limited")
def test_each_event_names_its_sandbox_if_the_test_uses_several_sandboxes(pytester, box):
    pytester.makepyfile(
        """
        def test_it(tlsandbox, tlsandbox_connect, provided):
            for code, sandbox in enumerate([tlsandbox, tlsandbox_connect(provided)], 3):
                job = sandbox.start_process("sh", ["-c", f"exit {code}", "job.sh"])
                sandbox.wait_for_exit(job, exit_code=code)
            assert False
        """
    )
    assert sections_of(pytester.inline_run(plugins=[providing(box)])) == {
        "test_it": "# s before  small: Exited 3: job.sh\n# s before  my-sandbox: Exited 4: job.sh"
    }


@pytest.mark.usefixtures("limited")
def test_processes_of_other_tests_are_summarized_on_one_line_in_a_shared_sandbox(
    pytester, elsewhere
):
    others = [elsewhere.start_process("sleep", ["60"]) for _ in range(2)]
    pytester.makepyfile(
        f"""
        import os

        def test_it(tlsandbox):
            for pid in {[other.pid for other in others]}:
                os.kill(pid, 9)
            job = tlsandbox.start_process("sh", ["-c", "exit 3", "job.sh"])
            tlsandbox.wait_for_exit(job, exit_code=3)
            assert False
        """
    )
    result = pytester.runpytest_subprocess("-n1", "--junitxml=junit.xml")
    shown = re.search(rf"- {TITLE} -+\n(.*?)\n[=-]", result.stdout.str(), re.DOTALL)
    assert shown is not None
    assert re.sub(r"\d\.\d s", "# s", shown[1]) == (
        "# s before  Exited 3: job.sh\nended in other tests: sleep, sleep"
    )
    assert causes_in_junit(pytester.path / "junit.xml") == {
        "test_it": ["exit: job.sh (not certain)"]
    }


@pytest.mark.usefixtures("limited")
def test_error_from_a_failed_test_is_shown_even_if_the_plugin_itself_fails(pytester, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    pytester.makeconftest(
        """
        from pytest_tlsandbox.failed_tests.used_sandbox import UsedSandbox

        def broken(*_):
            raise RuntimeError("--token=tl_secret")

        UsedSandbox.events = broken
        """
    )
    pytester.makepyfile("def test_it(tlsandbox): assert False")
    result = pytester.runpytest_subprocess("--log-file=log.txt", "--log-file-level=DEBUG")
    assert failures(result) == {"test_it": "assert False"}
    log = (pytester.path / "log.txt").read_text()
    assert "a failed test could not be explained: RuntimeError('--token=***')" in log
