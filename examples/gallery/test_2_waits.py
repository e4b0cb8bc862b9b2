"""The deadline has passed, or no process matches."""

import pytest


def test_still_running(tlsandbox):
    """The job takes longer than the timeout."""
    job = tlsandbox.start_process("python", ["train.py", "--endless"])
    tlsandbox.wait_for_exit(job, exit_code=0, timeout=0.5)


@pytest.mark.timeout(1)
def test_cut_by_pytest_timeout(tlsandbox):
    """pytest-timeout would kill the test first, so the wait ends before that and reports."""
    job = tlsandbox.start_process("python", ["train.py", "--endless"])
    tlsandbox.wait_for_exit(job, exit_code=0, timeout=60)


def test_not_found_two_letters_swapped(tlsandbox):
    """The name is misspelt."""
    tlsandbox.start_process("python", ["train.py", "--endless"])
    tlsandbox.start_process("sh", ["-c", "sleep 60"])
    tlsandbox.wait_for_process("trian.py", timeout=0.5)


def test_not_found_other_port(tlsandbox):
    """The server listens on another port."""
    tlsandbox.start_process("python", ["-m", "http.server", "8643", "--bind", "127.0.0.1"])
    tlsandbox.wait_for_process("http.server 8642", timeout=0.5)


def test_not_found_ended_before_this_test(tlsandbox):
    """The matching processes had ended before the test began, so they do not count."""
    job = tlsandbox.start_process("python", ["train.py", "--done"])
    tlsandbox.wait_for_exit(job)
    later = tlsandbox.from_now()
    later.wait_for_exit("train.py --done", timeout=0.5)


def test_ambiguous(tlsandbox):
    """Several processes match."""
    for shard in (1, 2, 3):
        tlsandbox.start_process("python", ["train.py", "--endless", f"--shard={shard}"])
    tlsandbox.wait_for_process("train.py")


def test_line_not_written(tlsandbox):
    """The process runs, but does not write the expected line."""
    server = tlsandbox.start_process("python", ["train.py", "--endless"])
    tlsandbox.wait_for_output(server, "listening on", timeout=0.5)


def test_port_not_open(tlsandbox):
    """The server listens on another port."""
    server = tlsandbox.start_process("python", ["-m", "http.server", "8644", "--bind", "127.0.0.1"])
    tlsandbox.wait_for_port(server, 8645, timeout=0.5)


def test_port_of_another_process(tlsandbox):
    """Another server has the port. Only the embedded sandbox can report this before the server ends."""
    args = ["-m", "http.server", "8646", "--bind", "127.0.0.1"]
    tlsandbox.wait_for_port(tlsandbox.start_process("python", args), 8646)
    second = tlsandbox.start_process("python", args)
    tlsandbox.wait_for_port(second, 8646, timeout=10)


def test_not_restarted(tlsandbox):
    """The supervisor does not restart the process again."""
    restart = {"max_restarts": 1, "initial_backoff_ms": 10}
    tlsandbox.start_process("python", ["train.py", "--corrupt"], name="train", restart=restart)
    tlsandbox.wait_for_restart("train", 2, timeout=10)


def test_too_few_running(tlsandbox):
    """One of three workers has ended."""
    tlsandbox.run_process("python", ["train.py", "--corrupt", "--pool"], exit_code=1)
    for _ in range(2):
        tlsandbox.start_process("python", ["train.py", "--endless", "--pool"])
    tlsandbox.wait_for_count("--pool", 3, timeout=2)


def test_not_stable(tlsandbox):
    """The server starts, but ends before it has been stable for one second."""
    server = tlsandbox.start_process("sh", ["-c", "sleep 0.3; echo address in use; exit 1"])
    tlsandbox.wait_for_process(server, stable_for=1, timeout=10)


def test_never_true(tlsandbox):
    """A function of the test does not become true."""
    tlsandbox.start_process("python", ["train.py", "--endless"])

    def two_jobs_run(processes):
        return len(processes.where(command="python", status="running")) >= 2

    tlsandbox.wait_until(two_jobs_run, timeout=0.3)
