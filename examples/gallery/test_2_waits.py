"""The time is over, or nothing fits."""

import pytest


def test_still_running(tlsandbox):
    """The job takes longer than it may."""
    job = tlsandbox.start_process("python", ["train.py", "--endless"])
    tlsandbox.wait_for_exit(job, exit_code=0, timeout=0.5)


@pytest.mark.timeout(1)
def test_cut_by_pytest_timeout(tlsandbox):
    """pytest-timeout would end the test before: the wait ends earlier, and tells what it saw."""
    job = tlsandbox.start_process("python", ["train.py", "--endless"])
    tlsandbox.wait_for_exit(job, exit_code=0, timeout=60)


def test_not_found_two_letters_swapped(tlsandbox):
    """The name is spelt wrong."""
    tlsandbox.start_process("python", ["train.py", "--endless"])
    tlsandbox.start_process("sh", ["-c", "sleep 60"])
    tlsandbox.wait_for_process("trian.py", timeout=0.5)


def test_not_found_other_port(tlsandbox):
    """The same command, on another port."""
    tlsandbox.start_process("python", ["-m", "http.server", "8643", "--bind", "127.0.0.1"])
    tlsandbox.wait_for_process("http.server 8642", timeout=0.5)


def test_not_found_ended_before_this_test(tlsandbox):
    """What fits had ended before the test began, and does not answer for this one's."""
    job = tlsandbox.start_process("python", ["train.py", "--done"])
    tlsandbox.wait_for_exit(job)
    later = tlsandbox.from_now()
    later.wait_for_exit("train.py --done", timeout=0.5)


def test_ambiguous(tlsandbox):
    """Several processes fit."""
    for shard in (1, 2, 3):
        tlsandbox.start_process("python", ["train.py", "--endless", f"--shard={shard}"])
    tlsandbox.wait_for_process("train.py")


def test_line_not_written(tlsandbox):
    """The process runs, and does not say what was waited for."""
    server = tlsandbox.start_process("python", ["train.py", "--endless"])
    tlsandbox.wait_for_output(server, "listening on", timeout=0.5)


def test_not_stable(tlsandbox):
    """The server is up, and ends within the time it should be stable for."""
    server = tlsandbox.start_process("sh", ["-c", "sleep 0.3; echo address in use; exit 1"])
    tlsandbox.wait_for_process(server, stable_for=1, timeout=10)


def test_never_true(tlsandbox):
    """A condition of the test's own does not come true."""
    tlsandbox.start_process("python", ["train.py", "--endless"])

    def two_jobs_run(processes):
        return len(processes.where(command="python", status="running")) >= 200

    tlsandbox.wait_until(two_jobs_run, timeout=0.3)
