"""The guard fails a test for incidents that it does not check: real processes and OOM kills."""

import re
import xml.etree.ElementTree as ET

import pytest

from .inner import PROGRAMS, act_between_tests, failures, outcomes, run, run_apart, summary

pytestmark = pytest.mark.usefixtures("limited")


ALL = "--tlsandbox-guard=oom,crash,restart,unhealthy,leak"
KILLED = "OOM-killed: python -c"
CRASHED = "Crashed with SIGSEGV: here"
UNLISTED = "OOM-killed: an unlisted process"


def test_each_incident_fails_only_the_test_and_the_phase_in_which_it_happened(pytester):
    """Each test also follows an incident that the sandbox still lists."""
    suite = """
        def test_leak(tlsandbox_session, monkeypatch):
            monkeypatch.chdir("/")
            tlsandbox_session.start_process("sleep", ["60"])

        def test_oom(tlsandbox): be_killed(tlsandbox)
        def test_crash(tlsandbox): crash(tlsandbox)
        def test_restart(tlsandbox, tmp_path): be_restarted(tlsandbox, tmp_path, "exit 1")

        @pytest.fixture(scope="session")
        def crash_in_setup(tlsandbox_session): crash(tlsandbox_session)
        def test_sets_up(crash_in_setup): pass
        def test_after_the_setup(crash_in_setup): pass

        def test_in_teardown(tlsandbox_session, request):
            request.addfinalizer(lambda: be_killed(tlsandbox_session))

        def test_after_the_teardown(): pass

        @pytest.fixture
        def broken(tlsandbox_session):
            be_killed(tlsandbox_session)
            raise ZeroDivisionError

        def test_broken(broken): pass

        def test_fails_itself(tlsandbox):
            crash(tlsandbox)
            raise ZeroDivisionError

        def test_skips(tlsandbox):
            crash(tlsandbox)
            pytest.skip("no need")

        @pytest.mark.tlsandbox_allow("crash", reason="part of the test")
        def test_allowed(tlsandbox): crash(tlsandbox)
    """
    result = run(pytester, suite, ALL, "-v", "-l", "--junitxml=junit.xml")
    told = {
        "test_leak": "Left running: sleep",
        "test_oom": KILLED,
        "test_crash": CRASHED,
        "test_restart": "Exited 1, then restarted: web",
        "test_sets_up": CRASHED,
        "test_in_teardown": KILLED,
        "test_broken": KILLED,
        "test_fails_itself": CRASHED,
        "test_skips": CRASHED,
    }
    own = dict.fromkeys(("test_broken", "test_fails_itself"), "ZeroDivisionError")
    assert failures(result) == told | own
    assert summary(result) == [
        "10 findings: 9 fail a test, 1 allowed",
        *(f"{name} - {text}" for name, text in told.items()),
        f"test_allowed - {CRASHED}, allowed: part of the test",
    ]
    words = outcomes(result)
    assert (words["test_leak"], words["test_crash"]) == (["PASSED", "ERROR"], ["FAILED"])
    assert (words["test_oom"], words["test_broken"]) == (["OOM"], ["OOM"])
    assert (words["test_in_teardown"], words["test_allowed"]) == (["PASSED", "OOM"], ["PASSED"])
    assert result.ret == 1
    # Beside a failure of the test's own, in a section of one line.
    beside = re.findall(r"\n-+ tlsandbox guard -+\n(.*)\n[-_=]", result.stdout.str())
    assert beside == [KILLED, CRASHED]

    junit = ET.parse(pytester.path / "junit.xml")

    def properties(name):
        found = junit.iterfind(f".//testcase[@name='{name}']//property")
        return {each.attrib["name"]: each.attrib["value"] for each in found}

    allowed = f"{CRASHED} (allowed: part of the test)"
    assert properties("test_after_the_setup") == properties("test_after_the_teardown") == {}
    assert properties("test_allowed") == {"tlsandbox_crash": allowed}
    assert properties("test_leak")["tlsandbox_leak"] == told["test_leak"]
    [error] = junit.iterfind(".//testcase[@name='test_leak']/error")
    assert error.attrib["message"] == 'failed on teardown with "Left running: sleep"'
    first, *_, last = (error.text or "").splitlines()
    assert first == "E   pytest_tlsandbox.GuardFailure: Left running: sleep"
    assert last == f"test_it.py:{1 + len(PROGRAMS.splitlines())}: GuardFailure"


def test_guard_reports_no_findings_for_an_ordinary_test_suite(pytester, monkeypatch):
    """Misses of grep, kills, time-outs, jobs that fail, servers that fixtures end: no findings."""
    suite = """
        def test_exits(tlsandbox):
            run(tlsandbox, "grep", ["-q", "x", "/dev/null"])
            run(tlsandbox, "timeout", ["0.05", "sleep", "60"])

        def test_kills(tlsandbox):
            for signal in (1, 2, 9, 15, 11):
                job = tlsandbox.start_process("sleep", ["60"])
                tlsandbox.send_signal(job, signal)
                tlsandbox.wait_for_process(job, status="signaled")
            for signal in ("TERM", "INT", "KILL", "HUP", "USR1"):
                crash(tlsandbox, signal=signal)

        def test_requested_restart(tlsandbox):
            tlsandbox.restart_process(tlsandbox.start_process("sleep", ["60"], name="again"))

        @pytest.fixture
        def server(tlsandbox_session):
            server = tlsandbox_session.start_process("sleep", ["60"])
            yield server
            tlsandbox_session.kill_process(server)

        def test_server_that_a_fixture_kills(server): pass

        @pytest.fixture(scope="session")
        def for_all(tlsandbox_session): tlsandbox_session.start_process("sleep", ["60"])
        def test_server_for_all(for_all): pass

        @pytest.fixture(scope="session")
        def late(tlsandbox_session): tlsandbox_session.start_process("sleep", ["60"])
        def test_server_for_all_in_the_call(request): request.getfixturevalue("late")

        def test_the_last(): pass
    """
    step_summary = pytester.path / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(step_summary))
    result = run(pytester, suite, ALL)
    result.assert_outcomes(passed=7)
    assert summary(result) == []
    nothing = "\nno findings: oom, crash, restart, unhealthy, leak; 7 tests, "
    assert nothing in step_summary.read_text()
    assert result.ret == 0


def test_guard_also_monitors_a_test_suite_that_uses_only_the_sdk(pytester):
    """The test calls no helper and checks no end; the guard does not report its own kills."""
    suite = """
        from tensorlake.sandbox import Sandbox

        @pytest.fixture(scope="session")
        def sdk():
            url, key = map(os.getenv, ("TENSORLAKE_SANDBOX_PROXY_URL", "TENSORLAKE_API_KEY"))
            with Sandbox(identifier="small", proxy_url=url, api_key=key) as sdk:
                yield sdk

        def test_misses(sdk): assert sdk.run("grep", ["x", "/dev/null"]).exit_code == 1
        def test_is_killed(sdk): sdk.run(*HOG)

        def test_leaves(sdk):
            sdk.kill_process(sdk.start_process("sleep", ["60"]).pid)
            sdk.left = sdk.start_process("sleep", ["61"]).pid

        def test_ends(sdk): sdk.kill_process(sdk.left)
    """
    # The SDK is not made to be imported anew.
    result = run_apart(pytester, suite, ALL)
    assert failures(result) == {"test_is_killed": KILLED, "test_leaves": "Left running: sleep"}


def test_markers_and_blocks_choose_for_each_test_which_incidents_fail_it(pytester):
    suite = """
        def test_before(tlsandbox): crash(tlsandbox)

        @pytest.mark.tlsandbox_guard("crash", "leak")
        def test_block(tlsandbox_session, tlsandbox_allow):
            with tlsandbox_allow("crash", reason="in the block"):
                crash(tlsandbox_session)
            crash(tlsandbox_session, signal="ABRT")

        @pytest.mark.tlsandbox_guard("crash")
        def test_declared(tlsandbox):
            crash(tlsandbox)
            tlsandbox.assert_process("here", signal=11)

        def test_after(tlsandbox, tlsandbox_allow):
            with tlsandbox_allow("crash", reason="there is no guard to allow it"):
                crash(tlsandbox)
    """
    result = run(pytester, suite)
    assert failures(result) == {"test_block": "Crashed with SIGABRT: here"}
    assert summary(result) == [
        "3 findings: 1 fails a test, 2 allowed",
        f"test_block - {CRASHED}, allowed: in the block",
        "test_block - Crashed with SIGABRT: here",
        f"test_declared - {CRASHED}, allowed: the test waited for it, or asserted it",
    ]


NOT_FOUND = "OOM kills of processes that the sandbox does not list are not found"


def test_findings_do_not_fail_tests_in_report_only_mode(pytester):
    """The kernel's counter is switched off, so the guard does not find a kill of a child."""
    pytester.makeini("[pytest]\ntlsandbox_guard = oom, leak\ntlsandbox_guard_report_only = true\n")
    suite = """
        def test_it(tlsandbox, tlsandbox_session):
            tlsandbox_session.start_process("sleep", ["60"])
            be_killed(tlsandbox)

        @pytest.mark.tlsandbox_guard()
        def test_child(tlsandbox):
            have_a_child_killed(tlsandbox)
            tlsandbox.assert_no_oom()
    """
    result = run(pytester, suite, "-v", "--tlsandbox-no-kernel-counter")
    result.assert_outcomes(passed=2)
    assert result.ret == 0
    result.stdout.fnmatch_lines(["tlsandbox guard: oom, leak, report only"])
    assert summary(result) == [
        "2 findings: 2 reported only",
        f"test_it - {KILLED}",
        "test_it - Left running: sleep",
        f"{NOT_FOUND} (sandbox small): switched off",
    ]


MORE_POLLS = {
    "uses only fixtures of pytest and of the plugin": ("def test(tlsandbox, tmp_path): pass", 0),
    "starts a process": ("def test(tlsandbox): end(tlsandbox.start_process('true'))", 2),
    "sets up a fixture of the suite": ("@pytest.fixture\ndef own(): yield\ndef test(own): pass", 2),
    "ends a class": ("class TestIt:\n    def test(self): pass", 1),
}


@pytest.mark.parametrize(("test", "more"), MORE_POLLS.values(), ids=MORE_POLLS)
def test_guard_polls_more_only_if_a_test_may_have_changed_processes(pytester, test, more):
    imports = "import psutil, pytest\ndef end(job):\n    while psutil.pid_exists(job.pid): pass"
    pytester.makepyfile(f"{imports}\ndef test_first(): 0\n{test}\ndef test_last(): 0")

    result = pytester.runpytest_inprocess("--tlsandbox-guard=oom", "-v")

    # One before all, one after each call, one after the last teardown, one at the end.
    assert summary(result) == [f"no findings: oom; 3 tests, {6 + more} polls of small"]


def test_guard_monitors_the_sandboxes_that_a_suite_selects_and_ends(pytester, monkeypatch):
    """Without --tlsandbox: by tlsandbox_target, by tlsandbox_connect, by the embedded one."""
    monkeypatch.delenv("TLSANDBOX")
    suite = """
        from pytest_tlsandbox import start_local_sandbox

        @pytest.fixture
        def tlsandbox_target():
            with start_local_sandbox(identifier="mine") as sandbox:
                yield sandbox

        def test_target(tlsandbox): crash(tlsandbox)
        def test_connect(tlsandbox_connect): be_killed(tlsandbox_connect("small"))
        def test_local(tlsandbox_connect, tlsandbox_local): crash(tlsandbox_connect(tlsandbox_local))
    """
    result = run(pytester, suite, "--tlsandbox-guard=oom,crash", "-v")
    told = {"test_target": CRASHED, "test_connect": KILLED, "test_local": CRASHED}
    assert failures(result) == told
    why = "/proc/vmstat of the sandbox does not count OOM kills"
    assert summary(result)[1:] == [  # and no gap
        f"test_target - {CRASHED} (sandbox mine)",
        f"test_connect - {KILLED} (sandbox small)",
        f"test_local - {CRASHED} (sandbox local)",
        f"{NOT_FOUND} (sandbox mine): {why}",
        f"{NOT_FOUND} (sandbox local): {why}",
    ]


def test_guard_finds_oom_kills_of_processes_that_the_sandbox_does_not_list(pytester):
    act_between_tests(pytester, "have_a_child_killed")
    suite = """
        def test_call(tlsandbox): have_a_child_killed(tlsandbox)

        def test_teardown(tlsandbox, request):
            request.addfinalizer(lambda: have_a_child_killed(tlsandbox))

        @pytest.mark.tlsandbox_allow("oom", reason="part of the test")
        def test_allowed(tlsandbox): have_a_child_killed(tlsandbox)

        def test_before(): pass
        def test_after(): pass

        @pytest.mark.tlsandbox_guard()
        def test_during_whose_teardown_the_shell_of_the_session_is_killed(): pass
    """
    result = run(pytester, suite, "--tlsandbox-guard=oom")
    # The plugin kills the shell in the teardown, and then the sandbox lists its child's kill.
    listed = "OOM-killed: build.sh; last output: Killed"
    told = {"test_call": UNLISTED, "test_teardown": listed, "test_after": UNLISTED}
    assert failures(result) == told
    assert summary(result) == [
        "4 findings: 3 fail a test, 1 allowed",
        f"test_call - {UNLISTED}",
        "test_teardown - OOM-killed: build.sh",
        f"test_allowed - {UNLISTED}, allowed: part of the test",
        f"test_after - {UNLISTED}",
    ]
