"""The guard fails a test for incidents that it does not check: real processes and OOM kills."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest

from ..support import sample_of
from .inner import PROGRAMS, failures, outcomes, summary

pytestmark = pytest.mark.usefixtures("limited")


ALL = "--tlsandbox-guard=oom,crash,restart,unhealthy,leak"


@pytest.fixture(autouse=True)
def _wide_terminal(monkeypatch, pytester):
    """So that no line of the short summary is cut."""
    monkeypatch.setenv("COLUMNS", "200")


def run(pytester: pytest.Pytester, suite: str, *options: str) -> pytest.RunResult:
    """Run a suite that may use the programs of ``PROGRAMS`` in this process."""
    pytester.makepyfile(test_it="        import pytest\n" + PROGRAMS + suite)
    return pytester.runpytest_inprocess(*options)


def test_each_kind_of_incident_is_reported_only_in_the_test_that_caused_it(pytester):
    """True positives, each followed by a test that is clean though the list still shows it."""
    suite = """
        def test_oom(tlsandbox):
            be_killed(tlsandbox)

        def test_after_oom(): pass

        def test_oom_behind_a_restart(tlsandbox, tmp_path):
            program = f"exec python -c '{HOG[1][1]}'"
            tlsandbox.start_process(*at_first(tmp_path, program), name="hog", restart=AGAIN)
            tlsandbox.wait_until(lambda seen: restarted(seen, "hog"))

        def test_after_oom_behind_a_restart(): pass

        def test_crash(tlsandbox):
            job = tlsandbox.start_process("sh", ["-c", "kill -SEGV $$"])
            tlsandbox.wait_for_process(job, status="signaled")

        def test_after_crash(): pass

        def test_restart(tlsandbox, tmp_path):
            tlsandbox.start_process(*at_first(tmp_path, "exit 1"), name="web", restart=AGAIN)
            tlsandbox.wait_until(lambda seen: restarted(seen, "web"))

        def test_after_restart(): pass

        def test_unhealthy(tlsandbox):
            job = tlsandbox.start_process("sleep", ["60"], name="sick", health_check=SICK, restart=NEVER)
            tlsandbox.wait_until(unhealthy)

        def test_after_unhealthy(): pass

        def test_leak(tlsandbox_session):
            tlsandbox_session.start_process("sleep", ["60"])

        def test_after_leak(): pass
    """
    result = run(pytester, suite, ALL, "-v")
    told = {
        "test_oom": "OOM-killed: python -c",
        "test_oom_behind_a_restart": "OOM-killed, then restarted: hog",
        "test_crash": 'Crashed with SIGSEGV: "kill -SEGV $$"',
        "test_restart": "Exited 1, then restarted: web",
        "test_unhealthy": "Unhealthy after # failed health checks in a row (tcp port 1): sick",
        "test_leak": "Left running: sleep",
    }
    assert failures(result) == told
    rows = [f"{name} - {text}" for name, text in told.items()]
    assert summary(result) == ["6 findings: 6 fail a test", *rows]
    words = outcomes(result)
    assert (words["test_oom"], words["test_crash"]) == (["OOM"], ["FAILED"])
    assert words["test_leak"] == ["PASSED", "ERROR"]
    clean = [words[name] for name in words if name.startswith("test_after")]
    assert clean == [["PASSED"]] * 6
    assert result.ret == 1


def test_guard_reports_no_findings_for_an_ordinary_test_suite(pytester):
    """Misses of grep, kills, time-outs, jobs that fail, servers that fixtures end: no findings."""
    suite = """
        import socket
        import pytest_tlsandbox

        @pytest.mark.parametrize("number", range(10))
        def test_grep(tlsandbox, number):
            job = tlsandbox.start_process("grep", ["-q", "x", "/dev/null"])
            tlsandbox.wait_for_exit(job, exit_code=1)

        @pytest.mark.parametrize("signal", [1, 2, 9, 15, 11])
        def test_kill(tlsandbox, signal):
            job = tlsandbox.start_process("sleep", ["60"])
            tlsandbox.send_signal(job, signal)
            tlsandbox.wait_for_process(job, status="signaled")

        def test_kill_from_within(tlsandbox):
            for signal in ("TERM", "INT", "KILL", "HUP", "USR1"):
                job = tlsandbox.start_process("sh", ["-c", f"kill -{signal} $$"])
                tlsandbox.wait_for_process(job, status="signaled")

        def test_time_out(tlsandbox):
            job = tlsandbox.start_process("timeout", ["0.05", "sleep", "60"])
            tlsandbox.wait_for_exit(job, exit_code=124)
            with pytest.raises(pytest_tlsandbox.WaitTimedOut):
                tlsandbox.wait_for_exit(tlsandbox.start_process("sleep", ["60"]), timeout=0.1)

        def test_restart_on_demand(tlsandbox):
            job = tlsandbox.start_process("sleep", ["60"], name="again")
            tlsandbox.restart_process(job)

        def test_healthy(tlsandbox):
            with socket.create_server(("127.0.0.1", 0)) as server:
                check = {**CHECK, "port": server.getsockname()[1], "failure_threshold": 50}
                tlsandbox.start_process("sleep", ["60"], name="fine", health_check=check)
                tlsandbox.wait_for_process("fine", healthy=True)

        @pytest.fixture
        def server(tlsandbox_session):
            server = tlsandbox_session.start_process("sleep", ["60"])
            yield server
            tlsandbox_session.kill_process(server)

        def test_server(server): pass

        @pytest.fixture(scope="session")
        def for_all(tlsandbox_session):
            return tlsandbox_session.start_process("sleep", ["60"])

        def test_for_all(for_all): pass
        def test_for_all_in_the_call(request): request.getfixturevalue("late")
        def test_the_last(): pass

        @pytest.fixture(scope="session")
        def late(tlsandbox_session):
            return tlsandbox_session.start_process("sleep", ["60"])
    """
    result = run(pytester, suite, ALL)
    result.assert_outcomes(passed=23)
    assert summary(result) == []
    assert result.ret == 0


def test_guard_also_monitors_a_test_suite_that_uses_only_the_sdk(pytester):
    """The test calls no helper and checks no end; the guard does not report its own kills."""
    suite = """
        import os
        import pytest
        from tensorlake.sandbox import Sandbox

        @pytest.fixture(scope="session")
        def sdk():
            sdk = Sandbox(
                identifier="small",
                proxy_url=os.environ["TENSORLAKE_SANDBOX_PROXY_URL"],
                api_key=os.environ["TENSORLAKE_API_KEY"],
            )
            yield sdk
            sdk.close()

        def test_misses(sdk):
            assert sdk.run("grep", ["-q", "x", "/dev/null"]).exit_code == 1

        def test_is_killed(sdk):
            sdk.run(*HOG)

        def test_crashes(sdk):
            sdk.run("sh", ["-c", "kill -SEGV $$"])

        def test_leaves(sdk):
            pid = sdk.start_process("sleep", ["60"]).pid
            sdk.kill_process(pid)
            sdk.start_process("sleep", ["61"])

        def test_ends(sdk):
            for row in sdk.list_processes():
                if row.args == ["61"] and row.status == "running":
                    sdk.kill_process(row.pid)
    """
    # The SDK is not made to be imported anew.
    pytester.makepyfile(PROGRAMS + suite)
    result = pytester.runpytest_subprocess(ALL)
    assert failures(result) == {
        "test_is_killed": "OOM-killed: python -c",
        "test_crashes": 'Crashed with SIGSEGV: "kill -SEGV $$"',
        "test_leaves": "Left running: sleep",
    }


def test_finding_is_attributed_to_the_test_and_phase_in_which_the_incident_happened(pytester):
    suite = """
        @pytest.fixture(scope="session")
        def of_the_session(tlsandbox_session):
            be_killed(tlsandbox_session)

        def test_first(): pass
        def test_sets_up(of_the_session): pass
        def test_uses(of_the_session): pass

        @pytest.fixture
        def in_teardown(tlsandbox_session):
            yield
            be_killed(tlsandbox_session)

        def test_a(in_teardown): pass
        def test_b(): pass

        @pytest.fixture
        def broken(tlsandbox_session):
            be_killed(tlsandbox_session)
            raise ZeroDivisionError

        def test_broken(broken): pass

        def test_fails_itself(tlsandbox):
            be_killed(tlsandbox)
            raise ZeroDivisionError

        def test_skips(tlsandbox):
            be_killed(tlsandbox)
            pytest.skip("no need")

        def test_fails_by_name(tlsandbox):
            be_killed(tlsandbox)
            pytest.fail("by name")
    """
    result = run(pytester, suite, "--tlsandbox-guard=oom", "-v")
    killed = "OOM-killed: python -c"
    assert failures(result) == {
        "test_sets_up": killed,
        "test_a": killed,
        "test_broken": "ZeroDivisionError",
        "test_fails_itself": "ZeroDivisionError",
        "test_skips": killed,
        "test_fails_by_name": "Failed: by name",
    }
    assert outcomes(result)["test_a"] == ["PASSED", "OOM"]
    assert outcomes(result)["test_broken"] == ["OOM"]
    # Beside a failure of the test's own, in a section of one line.
    beside = re.findall(r"\n-+ tlsandbox guard -+\n(.*)\n[-_=]", result.stdout.str())
    assert beside == [killed] * 3
    assert result.stdout.str().count("raise memory_mb of the sandbox") == 3


def test_junit_file_lists_each_finding_only_under_the_affected_test(pytester):
    suite = """
        def test_clean(): pass

        @pytest.mark.tlsandbox_allow("oom", reason="it is meant")
        def test_two(tlsandbox, tlsandbox_session):
            tlsandbox_session.start_process("sleep", ["60"])
            be_killed(tlsandbox)

        def test_last(): pass
    """
    run(pytester, suite, ALL, "--junitxml=junit.xml")
    [error] = ET.parse(pytester.path / "junit.xml").iter("error")
    assert error.attrib["message"] == 'failed on teardown with "Left running: sleep"'
    source = (pytester.path / "test_it.py").read_text().splitlines()
    line = 1 + next(number for number, text in enumerate(source) if "tlsandbox_allow" in text)
    assert (error.text or "").endswith(f"\n\ntest_it.py:{line}: GuardFailure")
    cases = {
        case.attrib["name"]: {
            entry.attrib["name"]: entry.attrib["value"] for entry in case.iter("property")
        }
        for case in ET.parse(pytester.path / "junit.xml").iter("testcase")
    }
    assert cases == {
        "test_clean": {},
        "test_two": {
            "tlsandbox_oom": "OOM-killed: python -c (allowed: it is meant)",
            "tlsandbox_leak": "Left running: sleep",
            "tlsandbox_cause": "none",
        },
        "test_last": {},
    }


LEFT = """
E   pytest_tlsandbox.GuardFailure: Left running: sleep
E
E     it began in this test and runs after its teardown
E     process  sleep 60
E     run      pid #, started # UTC
E     found    by the guard, after the teardown
E     hint     end the process in the test, or in the fixture that started it
E     expected? mark the test with tlsandbox_allow("leak", reason=...)

sub/test_it.py:1: GuardFailure"""


@pytest.mark.parametrize(
    "options", sample_of({"": (), "-n1 -l": ("-n1", "-l"), "--tb=short": ("--tb=short",)}, "")
)
def test_guard_failure_shows_the_location_of_the_test(pytester, options):
    pytester.mkdir("sub").joinpath("test_it.py").write_text(
        "def test_it(tlsandbox_session, monkeypatch):\n"
        "    monkeypatch.chdir('/')\n"
        "    tlsandbox_session.start_process('sleep', ['60'])\n"
        "def test_last(): pass\n"
    )
    text = pytester.runpytest_subprocess(ALL, *options).stdout.str()
    shown = re.split(r"teardown of test_it _+\n|\n=+ tlsandbox guard", text)[1]
    shown = re.sub(r"(?<=pid )\d+|[\d:.]+(?= UTC)", "#", re.sub(r"\[gw0\] .*\n", "", shown))

    assert re.sub(r" +$", "", shown, flags=re.MULTILINE) == LEFT
    assert "ERROR sub/test_it.py::test_it - Left running: sleep\n" in text


def test_allowed_findings_are_shown_but_do_not_fail_a_test(pytester):
    suite = """
        pytestmark = pytest.mark.tlsandbox_allow("oom", reason="all of this file")

        def test_marked(tlsandbox):
            be_killed(tlsandbox)

        @pytest.mark.tlsandbox_guard("crash", "leak")
        def test_block(tlsandbox, tlsandbox_session, tlsandbox_allow):
            with tlsandbox_allow("crash", reason="in the block"):
                job = tlsandbox.start_process("sh", ["-c", "kill -SEGV $$"])
                tlsandbox.wait_for_process(job, status="signaled")
            job = tlsandbox.start_process("sh", ["-c", "kill -ABRT $$", "not-meant"])
            tlsandbox.wait_for_process(job, status="signaled")

        @pytest.mark.tlsandbox_guard()
        def test_off(tlsandbox):
            be_killed(tlsandbox)

        @pytest.mark.tlsandbox_guard("crash")
        def test_declared(tlsandbox):
            job = tlsandbox.start_process("sh", ["-c", "kill -SEGV $$"])
            tlsandbox.wait_for_process(job, status="signaled")
            tlsandbox.assert_process(job, signal=11)
    """
    result = run(pytester, suite, "--tlsandbox-guard=oom", "-v")
    assert failures(result) == {"test_block": "Crashed with SIGABRT: not-meant"}
    assert summary(result) == [
        "4 findings: 1 fails a test, 3 allowed",
        "test_marked - OOM-killed: python -c, allowed: all of this file",
        'test_block - Crashed with SIGSEGV: "kill -SEGV $$", allowed: in the block',
        "test_block - Crashed with SIGABRT: not-meant",
        'test_declared - Crashed with SIGSEGV: "kill -SEGV $$", allowed: the test waited for it, or asserted it',
    ]


def test_marker_turns_the_guard_on_for_the_marked_test_only(pytester):
    suite = """
        def test_before(tlsandbox):
            be_killed(tlsandbox)

        @pytest.mark.tlsandbox_guard("oom")
        def test_guarded(tlsandbox_session):
            be_killed(tlsandbox_session)

        def test_after(tlsandbox, tlsandbox_allow):
            with tlsandbox_allow("oom", reason="there is no guard to allow it"):
                be_killed(tlsandbox)
    """
    result = run(pytester, suite, "-v")
    assert failures(result) == {"test_guarded": "OOM-killed: python -c"}


def test_findings_do_not_fail_tests_in_report_only_mode(pytester):
    pytester.makeini("[pytest]\ntlsandbox_guard = oom, leak\ntlsandbox_guard_report_only = true\n")
    suite = """
        def test_it(tlsandbox, tlsandbox_session):
            tlsandbox_session.start_process("sleep", ["60"])
            be_killed(tlsandbox)

        def test_last(): pass
    """
    result = run(pytester, suite)
    result.assert_outcomes(passed=2)
    assert result.ret == 0
    result.stdout.fnmatch_lines(["tlsandbox guard: oom, leak, report only"])
    assert summary(result) == [
        "2 findings: 2 reported only",
        "test_it - OOM-killed: python -c",
        "test_it - Left running: sleep",
    ]


MORE_POLLS = {
    "uses only fixtures of pytest and of the plugin": ("def test(tlsandbox, tmp_path): pass", 0),
    "starts a process, which the fixture kills": (
        "def test(tlsandbox): tlsandbox.start_process('true')",
        2,
    ),
    "sets up a fixture of the suite": ("@pytest.fixture\ndef own(): yield\ndef test(own): pass", 2),
    "ends a class": ("class TestIt:\n    def test(self): pass", 1),
}


@pytest.mark.parametrize(("test", "more"), MORE_POLLS.values(), ids=MORE_POLLS)
def test_guard_adds_polls_only_if_a_test_or_fixture_may_have_changed_processes(
    pytester, test, more
):
    tests = "import pytest", "def test_first(): pass", test, "def test_last(): pass"
    pytester.makepyfile("\n".join(tests))

    result = pytester.runpytest_inprocess("--tlsandbox-guard=oom", "-v")

    # One before all, one after each call, one after the last teardown, one at the end.
    assert summary(result) == [f"no findings: oom; 3 tests, {6 + more} polls of small"]


def test_guard_monitors_a_sandbox_that_the_suite_selects(pytester, monkeypatch):
    """Without --tlsandbox: by tlsandbox_target, by tlsandbox_connect, by the embedded one."""
    monkeypatch.delenv("TLSANDBOX")
    pytester.makeconftest(
        """
        import pytest

        @pytest.fixture(scope="session")
        def tlsandbox_target():
            return "small"
        """
    )
    suite = """
        def test_target(tlsandbox): be_killed(tlsandbox)
        def test_connect(tlsandbox_connect): be_killed(tlsandbox_connect("small"))
        def test_connect_local(tlsandbox_connect, tlsandbox_local):
            sandbox = tlsandbox_connect(tlsandbox_local)
            job = sandbox.start_process("sh", ["-c", "kill -SEGV $$"])
            sandbox.wait_for_process(job, status="signaled")
    """
    result = run(pytester, suite, "--tlsandbox-guard=oom,crash", "-v")
    told = {
        "test_target": "OOM-killed: python -c",
        "test_connect": "OOM-killed: python -c",
        "test_connect_local": 'Crashed with SIGSEGV: "kill -SEGV $$"',
    }
    assert failures(result) == told
    rows = [f"{name} - {text}" for name, text in told.items()]
    boxes = ("small", "small", "local")
    expected = [f"{row} (sandbox {box})" for row, box in zip(rows, boxes, strict=True)]
    not_found = (
        "OOM kills of processes that the sandbox does not list are not found (sandbox local)"
    )
    why = "/proc/vmstat of the sandbox does not count OOM kills"
    assert summary(result)[1:] == [*expected, f"{not_found}: {why}"]


def test_guard_finds_oom_kills_of_processes_that_the_sandbox_does_not_list(pytester):
    suite = """
        SCRIPT = 'until [ -e "$2" ]; do sleep 0.02; done; python -c "$1"; echo killed; sleep 600'

        def start(sandbox, go):
            return sandbox.start_process("sh", ["-c", SCRIPT, "build.sh", HOG[1][1], str(go)])

        @pytest.fixture
        def killed_in_teardown(tlsandbox, tmp_path):
            job = start(tlsandbox, tmp_path / "go")
            yield
            (tmp_path / "go").touch()
            tlsandbox.wait_for_output(job, "killed")

        def test_child(tlsandbox, tmp_path):
            (tmp_path / "go").touch()
            tlsandbox.wait_for_output(start(tlsandbox, tmp_path / "go"), "killed")

        def test_after_child(): pass

        def test_child_in_teardown(killed_in_teardown): pass

        def test_after_child_in_teardown(): pass

        @pytest.mark.tlsandbox_allow("oom", reason="it is meant")
        def test_allowed(tlsandbox, tmp_path):
            (tmp_path / "go").touch()
            tlsandbox.wait_for_output(start(tlsandbox, tmp_path / "go"), "killed")
    """
    result = run(pytester, suite, "--tlsandbox-guard=oom")
    unlisted, listed = (
        "OOM-killed: an unlisted process",
        "OOM-killed: build.sh; last output: Killed",
    )
    # The plugin kills the shell in the teardown, and then the embedded sandbox lists its child's kill.
    assert failures(result) == {"test_child": unlisted, "test_child_in_teardown": listed}
    assert summary(result) == [
        "3 findings: 2 fail a test, 1 allowed",
        f"test_child - {unlisted}",
        "test_child_in_teardown - OOM-killed: build.sh",
        f"test_allowed - {unlisted}, allowed: it is meant",
    ]


def test_unlisted_oom_kill_between_two_tests_is_found_in_the_second_test(pytester):
    pytester.makeconftest(
        """
        import pathlib, time

        def pytest_runtest_logfinish(nodeid):
            if nodeid.endswith("test_first"):
                pathlib.Path("go").touch()
                while not pathlib.Path("killed").exists():
                    time.sleep(0.01)
        """
    )
    suite = f"""
        @pytest.fixture(scope="session", autouse=True)
        def shell(tlsandbox_session):
            script = 'until [ -e go ]; do sleep 0.02; done; python -c "$1"; touch killed; sleep 600'
            arguments = ["-c", "cd {pytester.path}; " + script, "build.sh", HOG[1][1]]
            return tlsandbox_session.start_process("sh", arguments)

        def test_first(): pass
        def test_second(): pass
        def test_third(): pass
    """
    result = run(pytester, suite, "--tlsandbox-guard=oom")
    assert failures(result) == {"test_second": "OOM-killed: an unlisted process"}


@pytest.mark.parametrize("options", [(), ("--tlsandbox-no-kernel-counter",)])
def test_counter_of_the_kernel_is_read_unless_this_is_switched_off(pytester, options):
    suite = """
        def test_child(tlsandbox):
            script = 'python -c "$1"; echo killed; sleep 600'
            job = tlsandbox.start_process("sh", ["-c", script, "build.sh", HOG[1][1]])
            tlsandbox.wait_for_output(job, "killed")
            tlsandbox.assert_no_oom()
    """
    run(pytester, suite, *options).assert_outcomes(passed=len(options), failed=1 - len(options))
    suite = "\n        def test_it(tlsandbox): pass"
    result = run(pytester, suite, "--tlsandbox-guard=oom", "-v", *options)
    shown = [line.rpartition(": ")[2] for line in summary(result)[1:]]
    assert shown == ["switched off"] * len(options)
