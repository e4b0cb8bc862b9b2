"""Plugins that change how tests are run: on workers, again, in random order, with a timeout."""

import pytest

EATER = "taken = [bytearray(10_000_000) for _ in range(300)]"
JOBS = f"""
import pytest

@pytest.fixture(scope="module")
def server(tlsandbox_session): return tlsandbox_session.start_process("sleep", ["60"])

@pytest.mark.parametrize("number", range(3))
def test_job(server, tlsandbox, number):
    program = {EATER!r} if number == 2 else "raise SystemExit(0)"
    tlsandbox.run_process("python", ["-c", program], timeout=20)
    tlsandbox.assert_no_oom()
    tlsandbox.assert_process(server, status="running")
"""


@pytest.mark.parametrize("dist", ["load", "loadscope", "worksteal"])
def test_finding_is_reported_once_for_the_right_test_in_any_xdist_distribution_mode(run, dist):
    files = {"test_one": JOBS, "test_two": JOBS}
    plugins = "xdist.plugin xdist.looponfail"
    result = run(files, plugins, "-n2", f"--dist={dist}", "--tlsandbox-guard=oom,leak")
    assert result.ret == 1
    result.assert_outcomes(passed=4, failed=2)
    found = [line for line in result.outlines if line.startswith("OOM ")]
    assert sorted(found) == [
        f"OOM test_{module}.py::test_job[2] - OOM-killed, wanted exit code 0: python -c"
        for module in ("one", "two")
    ]


WAITS = """
def test_it(tlsandbox):
    tlsandbox.start_process("sleep", ["60"])
    tlsandbox.wait_for_exit("sleep 60", timeout=30)
"""


SLOW_REPORTS = """
import time

def pytest_runtest_makereport():
    time.sleep(1)
"""


@pytest.mark.parametrize("method", ["signal", "thread"])
def test_wait_raises_its_own_error_before_pytest_timeout_stops_the_test(run, method):
    """The report may be late: the timer of pytest-timeout is stopped once the test has failed."""
    files = {"conftest": SLOW_REPORTS, "test_wait": WAITS}
    result = run(files, "pytest_timeout", "--timeout=4", f"--timeout-method={method}")
    result.assert_outcomes(failed=1)
    cut = "Still running after * (wait of 30 s cut short by pytest-timeout), wanted exit code 0"
    result.stdout.fnmatch_lines([f"E *WaitTimedOut: {cut}: sleep"])
    result.stdout.no_fnmatch_line("*Timeout (>*")


ASSERTION_AND_INFRASTRUCTURE = """
def test_result(tlsandbox): tlsandbox.run_process("false", timeout=5)
def test_error(tlsandbox_connect): tlsandbox_connect("no-such").list_processes()
"""


def test_pytest_rerunfailures_can_limit_reruns_to_infrastructure_errors(run):
    only = "--only-rerun=SandboxNotFound|Unreachable|Failed"
    result = run(ASSERTION_AND_INFRASTRUCTURE, "pytest_rerunfailures", "--reruns=1", only, "-v")
    result.stdout.fnmatch_lines(["*::test_error RERUN *", "*2 failed, 1 rerun*"])


RANDOM = """
import random, pytest

@pytest.mark.parametrize("number", range(6))
def test_it(tlsandbox, number):
    state = random.getstate()
    tlsandbox.run_process("sleep", ["0.2"], timeout=5)
    assert random.getstate() == state
"""


def test_polling_does_not_change_the_random_numbers_of_a_test(run):
    run(RANDOM, "pytest_randomly").assert_outcomes(passed=6)
