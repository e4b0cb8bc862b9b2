"""The guard fails a test for incidents that it does not check: real processes and OOM kills."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest

from .inner import PROGRAMS, failures, outcomes, summary

pytestmark = pytest.mark.usefixtures("limited")


ALL = "--tlsandbox-guard=oom,crash,restart,unhealthy,leak"


@pytest.fixture(autouse=True)
def _wide_terminal(monkeypatch, pytester):
    """So that no line of the short summary is cut."""
    monkeypatch.setenv("COLUMNS", "200")


def test_each_rule_finds_its_own_at_the_right_test_and_nothing_else(pytester):
    """True positives, each followed by a test that is clean though the list still shows it."""
    pytester.makepyfile(
        PROGRAMS
        + """
        import pytest

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
            job = tlsandbox.start_process("sleep", ["60"], name="sick", health_check=SICK)
            tlsandbox.wait_until(unhealthy)

        def test_after_unhealthy(): pass

        def test_leak(tlsandbox_session):
            tlsandbox_session.start_process("sleep", ["60"])

        def test_after_leak(): pass
        """
    )
    result = pytester.runpytest_inprocess(ALL, "-v")
    assert failures(result) == {
        "test_oom": "OOM-killed in this test: python -c (pid #)",
        "test_oom_behind_a_restart": "OOM-killed in this test: hog, first run",
        "test_crash": "Crashed in this test: sh -c (pid #)",
        "test_restart": "Restarted in this test: web, first run",
        "test_unhealthy": "Unhealthy in this test: sick (pid #)",
        "test_leak": "Left running after this test: sleep (pid #)",
    }
    assert outcomes(result)["test_oom"] == ["OOM"]
    assert outcomes(result)["test_crash"] == ["FAILED"]
    assert outcomes(result)["test_leak"] == ["PASSED", "ERROR"]
    clean = [words for name, words in outcomes(result).items() if name.startswith("test_after")]
    assert clean == [["PASSED"]] * 6
    assert summary(result) == [
        "OOM-killed    test_oom (call): python -c (pid #): the sandbox lists it as OOM-killed",
        "OOM-killed    test_oom_behind_a_restart (call): hog, first run: it was OOM-killed, "
        "restarted as pid #",
        "Restarted     test_oom_behind_a_restart (call): hog, first run: OOM-killed, restarted as "
        "pid #",
        "Crashed       test_crash (call): sh -c (pid #): crashed with 11 (SIGSEGV)",
        "Restarted     test_restart (call): web, first run: exited 1, restarted as pid #",
        "Unhealthy     test_unhealthy (call): sick (pid #): # checks failed in a row",
        "Left running  test_leak (teardown): sleep (pid #): it began in the test, and runs after "
        "its teardown",
    ]
    assert result.ret == 1


def test_an_ordinary_suite_is_green(pytester):
    """Misses of grep, kills, time-outs, jobs that fail, servers that fixtures end: no findings."""
    pytester.makepyfile(
        PROGRAMS
        + """
        import socket
        import pytest
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
    )
    result = pytester.runpytest_inprocess(ALL)
    result.assert_outcomes(passed=23)
    assert summary(result) == []
    assert result.ret == 0


def test_suite_that_uses_only_the_sdk_is_guarded_too(pytester):
    """The test calls no helper and checks no end; the guard does not report its own kills."""
    pytester.makepyfile(
        PROGRAMS
        + """
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

        @pytest.fixture
        def server(sdk):
            pid = sdk.start_process("sleep", ["60"]).pid
            yield pid
            sdk.kill_process(pid)

        def test_misses(sdk):
            assert sdk.run("grep", ["-q", "x", "/dev/null"]).exit_code == 1

        def test_is_killed(sdk):
            sdk.run(*HOG)

        def test_serves(server): pass

        def test_crashes(sdk):
            sdk.run("sh", ["-c", "kill -SEGV $$"])

        def test_leaves(sdk):
            pid = sdk.start_process("sleep", ["60"]).pid
            sdk.kill_process(pid)
            sdk.start_process("sleep", ["61"])

        def test_ends(sdk):
            for row in sdk.list_processes():
                if row.args == ["61"]:
                    sdk.kill_process(row.pid)
        """
    )
    # The SDK is not made to be imported anew.
    result = pytester.runpytest_subprocess(ALL)
    assert failures(result) == {
        "test_is_killed": "OOM-killed in this test: python -c (pid #)",
        "test_crashes": "Crashed in this test: sh -c (pid #)",
        "test_leaves": "Left running after this test: sleep (pid #)",
    }


def test_a_finding_belongs_to_the_phase_and_the_test_in_which_it_happened(pytester):
    pytester.makepyfile(
        PROGRAMS
        + """
        import pytest

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
    )
    result = pytester.runpytest_inprocess("--tlsandbox-guard=oom", "-v")
    killed = "OOM-killed in this test: python -c (pid #)"
    assert failures(result) == {
        "test_sets_up": killed,
        "test_a": "OOM-killed in the teardown of this test: python -c (pid #)",
        "test_broken": "ZeroDivisionError",
        "test_fails_itself": "ZeroDivisionError",
        "test_skips": killed,
        "test_fails_by_name": "Failed: by name",
    }
    assert outcomes(result)["test_a"] == ["PASSED", "OOM"]
    assert outcomes(result)["test_broken"] == ["OOM"]
    # Beside a failure of the test's own, in a section.
    result.stdout.fnmatch_lines(["*--- tlsandbox guard ---*"])
    assert result.stdout.str().count("\nOOM-killed in this test: python -c (pid") == 5


def test_junit_has_findings_as_texts_and_only_where_there_are_any(pytester):
    pytester.makepyfile(
        PROGRAMS
        + """
        import pytest

        def test_clean(): pass

        @pytest.mark.tlsandbox_allow("oom", reason="it is meant")
        def test_two(tlsandbox, tlsandbox_session):
            tlsandbox_session.start_process("sleep", ["60"])
            be_killed(tlsandbox)

        def test_last(): pass
        """
    )
    result = pytester.runpytest_inprocess(ALL, "--junitxml=junit.xml")
    # The whole message, and no code: no line of the test raised it.
    shown = result.stdout.str().partition("____\n")[2]
    assert re.match(r"Left running after this test: sleep \(pid \d+\)\n\n  it began", shown)
    [error] = ET.parse(pytester.path / "junit.xml").iter("error")
    assert re.search(r'"Left running after this test: sleep \(pid \d+\)"$', error.attrib["message"])
    cases = {
        case.attrib["name"]: {
            entry.attrib["name"]: re.sub(r"pid \d+", "pid #", entry.attrib["value"])
            for entry in case.iter("property")
        }
        for case in ET.parse(pytester.path / "junit.xml").iter("testcase")
    }
    assert cases == {
        "test_clean": {},
        "test_two": {
            "tlsandbox_oom": "OOM-killed: python -c (pid #): the sandbox lists it as OOM-killed (allowed: it is "
            "meant)",
            "tlsandbox_leak": "Left running: sleep (pid #): it began in the test, and runs after "
            "its teardown",
            "tlsandbox_cause": "none",
        },
        "test_last": {},
    }


def test_marker_or_block_allows_expected_findings_and_shows_them(pytester):
    pytester.makepyfile(
        PROGRAMS
        + """
        import pytest

        pytestmark = pytest.mark.tlsandbox_allow("oom", reason="all of this file")

        def test_marked(tlsandbox):
            be_killed(tlsandbox)

        @pytest.mark.tlsandbox_guard("crash", "leak")
        def test_block(tlsandbox, tlsandbox_session, tlsandbox_allow):
            with tlsandbox_allow("crash", reason="in the block"):
                job = tlsandbox.start_process("sh", ["-c", "kill -SEGV $$"])
                tlsandbox.wait_for_process(job, status="signaled")
            job = tlsandbox.start_process("sh", ["-c", "kill -ABRT $$", "not meant"])
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
    )
    result = pytester.runpytest_inprocess("--tlsandbox-guard=oom", "-v")
    assert failures(result) == {"test_block": "Crashed in this test: sh -c (pid #)"}
    assert summary(result) == [
        "allowed  test_marked (call): python -c (pid #): OOM-killed, allowed: all of this file",
        "allowed  test_block (call): sh -c (pid #): Crashed, allowed: in the block",
        "Crashed  test_block (call): sh -c (pid #): crashed with 6 (SIGABRT)",
        "allowed  test_declared (call): sh -c (pid #): Crashed, allowed: the test waited for it, or "
        "asserted it",
    ]


def test_a_marker_alone_brings_the_guard_in_and_only_for_its_test(pytester):
    pytester.makepyfile(
        PROGRAMS
        + """
        import pytest

        def test_before(tlsandbox):
            be_killed(tlsandbox)

        @pytest.mark.tlsandbox_guard("oom")
        def test_guarded(tlsandbox_session):
            be_killed(tlsandbox_session)

        def test_after(tlsandbox, tlsandbox_allow):
            with tlsandbox_allow("oom", reason="there is no guard to allow it"):
                be_killed(tlsandbox)
        """
    )
    result = pytester.runpytest_inprocess("-v")
    assert failures(result) == {"test_guarded": "OOM-killed in this test: python -c (pid #)"}


def test_report_only_reports_and_fails_nothing(pytester):
    pytester.makeini("[pytest]\ntlsandbox_guard = oom, leak\ntlsandbox_guard_report_only = true\n")
    pytester.makepyfile(
        PROGRAMS
        + """
        def test_it(tlsandbox, tlsandbox_session):
            tlsandbox_session.start_process("sleep", ["60"])
            be_killed(tlsandbox)

        def test_last(): pass
        """
    )
    result = pytester.runpytest_inprocess()
    result.assert_outcomes(passed=2)
    assert result.ret == 0
    result.stdout.fnmatch_lines(["tlsandbox guard: oom, leak, report only"])
    assert summary(result) == [
        "OOM-killed    test_it (call): python -c (pid #): the sandbox lists it as OOM-killed",
        "Left running  test_it (teardown): sleep (pid #): it began in the test, and runs after its "
        "teardown",
    ]


def test_a_guard_that_found_nothing_prints_so_only_with_v_and_shares_the_baseline_of_a_test(
    pytester,
):
    pytester.makepyfile(
        """
        def test_one(tlsandbox):
            assert tlsandbox.baseline is not None

        def test_two(tlsandbox): pass
        """
    )
    rules = ("--tlsandbox-guard=leak", "--tlsandbox-guard=oom,crash")
    assert summary(pytester.runpytest_inprocess(*rules)) == []
    result = pytester.runpytest_inprocess(*rules, "-v")
    result.stdout.fnmatch_lines(["tlsandbox guard: oom, crash, leak"])
    # One before all, two for each test, one at the end: the fixture does not list again.
    assert summary(result) == ["nothing found: oom, crash, leak; 2 tests, 6 looks at small"]


def test_the_guard_monitors_a_sandbox_that_the_suite_names_itself(pytester, monkeypatch):
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
    pytester.makepyfile(
        PROGRAMS
        + """
        import pytest

        def test_target(tlsandbox): be_killed(tlsandbox)
        def test_connect(tlsandbox_connect): be_killed(tlsandbox_connect("small"))
        def test_connect_local(tlsandbox_connect, tlsandbox_local):
            sandbox = tlsandbox_connect(tlsandbox_local)
            job = sandbox.start_process("sh", ["-c", "kill -SEGV $$"])
            sandbox.wait_for_process(job, status="signaled")
        """
    )
    result = pytester.runpytest_inprocess("--tlsandbox-guard=oom,crash", "-v")
    assert failures(result) == {
        "test_target": "OOM-killed in this test: python -c (pid #)",
        "test_connect": "OOM-killed in this test: python -c (pid #)",
        "test_connect_local": "Crashed in this test: sh -c (pid #)",
    }
