"""The guard in every kind of run: workers, re-runs, expected failures, and runs that are cut short."""

import contextlib
import os
import re
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec

import pytest

from pytest_tlsandbox.settings import FACTS

from ..client.servers import HANG, Server
from ..report.read_report import read
from ..support import sample_of
from . import inner

pytestmark = pytest.mark.usefixtures("limited")


CRASH = "--tlsandbox-guard=crash"
REPORT = "--tlsandbox-report=out.json"
CRASHED = "Crashed with SIGSEGV: here"
NOT_MONITORED = "not monitored for # s: "
WAYS = {"alone": (), "xdist": ("-n1",)}
ALONE_AND_NIGHTLY_BY_XDIST = pytest.mark.parametrize("options", sample_of(WAYS, "alone"))


def test_finding_in_a_shared_sandbox_is_reported_once_even_if_a_worker_dies(pytester, elsewhere):
    """Incidents of processes that no worker started fail the session, but no test."""
    go = pytester.path / "go"
    waits = f"until [ -e {go} ]; do sleep 0.02; done;"
    other = elsewhere.start_process("sh", ["-c", f"{waits} kill -SEGV $$", "other"])
    fill = 'python -c "taken = [bytearray(8 << 20) for _ in range(100)]"; echo killed; sleep 600'
    shell = elsewhere.start_process("sh", ["-c", f"{waits} {fill}", "build.sh"])
    suite = f"""
        @pytest.mark.parametrize("number", range(40))
        def test_it(tlsandbox, number):
            if number == 5:
                open({str(go)!r}, "w").close()
                tlsandbox.wait_for_output({shell.pid}, "killed")
            if number % 10 == 3:
                crash(tlsandbox)
            if number == 22:
                os.kill(os.getpid(), 9)

        @pytest.mark.parametrize("number", range(4))
        def test_causes_incidents_through_the_plugin(tlsandbox, number):
            job = tlsandbox.start_process("sleep", ["60"])
            tlsandbox.send_signal(job, 11)
            tlsandbox.wait_for_process(job, status="signaled")
            job = tlsandbox.start_process("sleep", ["60"], name=f"again-{{number}}")
            tlsandbox.restart_process(job)

        @pytest.mark.tlsandbox_allow("crash", reason="part of the test")
        def test_allowed(tlsandbox): crash(tlsandbox)
    """
    rules = "--tlsandbox-guard=oom,crash,restart,leak"
    result = inner.run_apart(pytester, suite, "-n2", "--dist=load", rules, REPORT)
    crashed = [f"test_it[{number}]" for number in (3, 13, 23, 33)]
    told = inner.failures(result)
    told.pop("test_it[22]")  # its text depends on the release of xdist
    assert told == dict.fromkeys(crashed, CRASHED)
    shown = [
        "7 findings: 4 fail a test, 2 outside all tests, 1 allowed",
        *(f"{name} - {CRASHED}" for name in crashed),
        f"test_allowed - {CRASHED}, allowed: part of the test",
        "no test - Crashed with SIGSEGV: other",
        "no test - OOM-killed: an unlisted process",
        f"tlsandbox report: {pytester.path / 'out.json'}",
        "tlsandbox guard: session failed: 2 findings outside all tests",
    ]
    assert sorted(inner.summary(result)) == sorted(shown)
    assert result.ret == 1
    report = read(pytester.path / "out.json")
    assert (report["exit_status"], report["complete"]) == (1, False)
    assert [worker["lost"] for worker in report["workers"]].count(True) == 1
    ends = {test["id"].partition("::")[2]: test["outcome"] for test in report["tests"]}
    assert len(ends) == 45
    assert ends.pop("test_it[22]") == "crashed"
    assert {name for name, end in ends.items() if end != "passed"} == set(crashed)
    [sandbox] = report["sandboxes"]
    assert (sandbox["name"], sandbox["shared"]) == ("small", True)
    [seen] = [process for process in report["processes"] if process["pid"] == other.pid]
    assert seen["before_the_session"]
    assert [change["state"] for change in seen["changes"]] == ["running", "signaled"]
    # Workers print nothing, and only one process reports each finding.
    assert result.stdout.str().count("tlsandbox guard ===") == 1


@ALONE_AND_NIGHTLY_BY_XDIST
def test_incident_outside_all_tests_fails_an_otherwise_passing_session(pytester, options):
    inner.act_between_tests(pytester, "crash")
    result = inner.run_apart(pytester, "\n        def test_before(): pass", CRASH, *options)
    result.assert_outcomes(passed=1)
    assert result.ret == 1
    assert inner.summary(result) == [
        "1 finding: 1 outside all tests",
        f"no test - {CRASHED}",
        "tlsandbox guard: session failed: 1 finding outside all tests",
    ]


def test_marker_turns_the_guard_on_in_workers_that_have_their_own_embedded_sandboxes(pytester):
    """They are not shared: what happens in one is the test's that runs, whoever started it."""
    suite = """
        @pytest.mark.tlsandbox_guard("crash")
        @pytest.mark.parametrize("number", range(2))
        def test_it(tlsandbox_session, number): crash(tlsandbox_session)

        def test_without_marker(tlsandbox): crash(tlsandbox)
    """
    result = inner.run_apart(pytester, suite, "-n2", "--dist=each", "--tlsandbox=local", REPORT)
    result.assert_outcomes(failed=4, passed=2)
    assert inner.summary(result)[0] == "4 findings: 4 fail a test"
    report = read(pytester.path / "out.json")
    assert {box["name"] for box in report["sandboxes"]} == {"local@gw0", "local@gw1"}
    assert sorted(found["worker"] for found in report["findings"]) == ["gw0"] * 2 + ["gw1"] * 2
    assert report["complete"]


def test_reports_that_arrive_at_the_same_time_register_each_plugin_once(pytester):
    """The controller of xdist receives the reports of each worker in a separate thread."""
    config = pytester.parseconfigure("-n2")
    receive = config.hook.pytest_report_from_serializable
    report = {FACTS: {"guard": True, "same_cause": None}}
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            [*pool.map(lambda _: receive(config=config, data=report), range(8))]
    finally:
        sys.setswitchinterval(interval)


@pytest.mark.parametrize("options", sample_of(WAYS, "xdist"))
def test_test_with_a_finding_is_never_rerun_even_if_an_assertion_failed_too(pytester, options):
    suite = """
        tries = []

        def test_finding(tlsandbox): crash(tlsandbox)

        def test_beside_a_failure(tlsandbox):
            crash(tlsandbox)
            assert False

        def test_in_teardown(tlsandbox, request):
            request.addfinalizer(lambda: crash(tlsandbox))

        def test_later_attempt(tlsandbox):
            tries.append(1)
            if len(tries) == 2:
                crash(tlsandbox)
            assert False
    """
    again = ("-p", "rerunfailures", "--reruns=3")
    assert inner.run_apart(pytester, suite, *again, CRASH, REPORT, *options).ret == 1
    report = read(pytester.path / "out.json")
    assert [(test["id"].partition("::")[2], test["outcome"]) for test in report["tests"]] == [
        ("test_finding", "failed"),
        ("test_beside_a_failure", "failed"),
        ("test_in_teardown", "error"),
        ("test_later_attempt", "rerun"),
        ("test_later_attempt", "failed"),
    ]
    assert sorted(found["attempt"] for found in report["findings"]) == [1, 1, 1, 2]


def test_xfail_does_not_excuse_a_finding(pytester):
    suite = """
        import pytest_tlsandbox

        XFAILS = [pytest.param(id="lax", marks=pytest.mark.xfail(strict=False))]
        XFAILS += [pytest.param(id="strict", marks=pytest.mark.xfail(strict=True))]

        @pytest.mark.parametrize((), XFAILS)
        @pytest.mark.parametrize("passes", [True, False])
        def test_it(tlsandbox, passes):
            crash(tlsandbox)
            assert passes

        @pytest.mark.xfail(raises=pytest_tlsandbox.GuardFailure, strict=True)
        def test_by_name(tlsandbox): crash(tlsandbox)

        def test_in_words(tlsandbox):
            crash(tlsandbox)
            pytest.xfail("in words")

        @pytest.mark.xfail(strict=True)
        def test_in_teardown(tlsandbox, request):
            request.addfinalizer(lambda: crash(tlsandbox))
            assert False
    """
    result = inner.run(pytester, suite, CRASH, REPORT, "-v")
    names = [f"it[{passes}-{strict}]" for passes in (True, False) for strict in ("lax", "strict")]
    names += ["by_name", "in_words", "in_teardown"]
    assert inner.failures(result) == {f"test_{name}": CRASHED for name in names}
    assert inner.outcomes(result)["test_in_teardown"] == ["XFAIL", "ERROR"]
    ends = [test["outcome"] for test in read(pytester.path / "out.json")["tests"]]
    assert ends == ["failed"] * 6 + ["error"]
    # Its own failure is not lost.
    assert result.stdout.str().count("- failure of the test itself, excused -") == 2


@pytest.mark.skipif(
    not hasattr(pytest, "Subtests") and find_spec("pytest_subtests") is None,
    reason="subtests come with pytest 9, or with a plugin",
)
def test_guard_treats_a_test_with_subtests_as_one_test(pytester):
    suite = """
        def test_it(tlsandbox, subtests):
            for number in range(3):
                with subtests.test(number=number):
                    if number == 1:
                        crash(tlsandbox)

        def test_one_fails(tlsandbox, subtests):
            with subtests.test("fails"):
                assert False
            crash(tlsandbox)
    """
    result = inner.run(pytester, suite, CRASH, REPORT, "--junitxml=junit.xml")
    assert result.ret == 1
    assert inner.summary(result)[1:3] == [f"test_it - {CRASHED}", f"test_one_fails - {CRASHED}"]
    ends = [test["outcome"] for test in read(pytester.path / "out.json")["tests"]]
    assert ends == ["failed", "failed"]


@ALONE_AND_NIGHTLY_BY_XDIST
def test_interrupted_test_run_reports_the_findings_so_far(pytester, options):
    suite = """
        def test_first(tlsandbox): crash(tlsandbox)

        def test_interrupted(tlsandbox):
            crash(tlsandbox)
            open("begun", "w").close()
            time.sleep(60)
    """
    pytester.makepyfile(inner.PROGRAMS + suite)
    process = inner.start_pytest(pytester, CRASH, REPORT, *options)
    with inner.ending(process):
        while not (pytester.path / "begun").exists():
            assert process.poll() is None, process.communicate()
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGINT)
        process.communicate()
    report = read(pytester.path / "out.json")
    assert process.returncode == report["exit_status"] == 2
    assert not report["complete"]
    first, *others = (str(found["test"]).partition("::")[2] for found in report["findings"])
    assert first == "test_first"
    if not options:
        assert others == ["test_interrupted"]


@ALONE_AND_NIGHTLY_BY_XDIST
def test_guard_without_findings_keeps_the_pytest_exit_status(pytester, options):
    pytester.makepyfile(test_broken="syntax error", test_good="def test_good(): pass")
    result = pytester.runpytest_subprocess(CRASH, REPORT, *options)
    report = read(pytester.path / "out.json")
    assert result.ret == report["exit_status"] == (1 if options else 2)
    assert report["collection_errors"] == ["test_broken.py"]
    assert inner.summary(result)[:-1] == []


def test_guard_monitors_unittest_test_cases(pytester):
    """A process that the class sets up is not a leak; one that the method starts is."""
    suite = """
        @pytest.fixture(scope="class", autouse=True)
        def for_class(request, tlsandbox_session): request.cls.sandbox = tlsandbox_session

        class TestIt(unittest.TestCase):
            def test_a(self): crash(self.sandbox)
            def test_b(self): self.sandbox.start_process("sleep", ["60"])

        class TestClass:
            @classmethod
            def setup_class(cls): TestIt.sandbox.start_process("sleep", ["60"])

            def test_d(self): pass
            def test_e(self): pass
    """
    result = inner.run(pytester, suite, "--tlsandbox-guard=crash,leak")
    told = {"TestIt::test_a": CRASHED, "TestIt::test_b": "Left running: sleep"}
    assert inner.failures(result) == told


def test_silent_sandbox_is_reported_before_pytest_timeout_kills_the_test(pytester, monkeypatch):
    pytester.makepyfile("def test_it(): pass")
    monkeypatch.setenv("TENSORLAKE_API_KEY", "any")
    with contextlib.closing(Server(answer=lambda _: [HANG])) as silent:
        url = silent.url
        options = "--tlsandbox-guard=oom", f"--tlsandbox={url}", "--timeout=1"
        result = pytester.runpytest_inprocess(*options)
    result.assert_outcomes(passed=1)
    gap = f"{NOT_MONITORED}{url}, from test_it to the end, 1 test: {url} did not answer within 0"
    assert re.fullmatch(rf"{gap}\.\d+ s", inner.summary(result)[0])


def test_missing_api_key_is_reported_once_and_fails_the_session(pytester, monkeypatch):
    monkeypatch.delenv("TENSORLAKE_API_KEY")
    pytester.makepyfile("def test_it(): pass\ndef test_too(): pass")
    result = pytester.runpytest_inprocess("--tlsandbox-guard=oom", "--tlsandbox=my-sandbox")
    result.assert_outcomes(passed=2)
    assert result.ret == 1
    gap, why = inner.summary(result)
    assert gap.startswith(
        f"{NOT_MONITORED}my-sandbox, from test_it to the end, 2 tests: no API key "
    )
    assert (
        why
        == "tlsandbox guard: session failed: sandbox my-sandbox was not monitored for # s (1 gap)"
    )
