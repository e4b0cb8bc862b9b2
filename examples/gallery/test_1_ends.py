"""A process ended in another way than expected."""

import os
import signal


def test_wrong_exit_code(tlsandbox):
    """The job exits with another code. Its last line of output names the reason."""
    job = tlsandbox.start_process("python", ["train.py", "--corrupt", "--token=tl_secret"])
    tlsandbox.wait_for_exit(job, exit_code=0, timeout=60)


def test_oom_kill(tlsandbox):
    """The kernel kills the job because memory ran out. The wait stops immediately."""
    job = tlsandbox.start_process("python", ["train.py", "--too-big"])
    tlsandbox.wait_for_exit(job, exit_code=0, timeout=60)


def test_crash(tlsandbox):
    """A crash signal ends the job."""
    job = tlsandbox.start_process("python", ["train.py", "--crash"])
    tlsandbox.wait_for_exit(job, exit_code=0, timeout=60)


def test_killed_by_another(tlsandbox):
    """Something other than the test kills the job."""
    job = tlsandbox.start_process("python", ["train.py", "--endless"])
    tlsandbox.wait_for_output(job, "shard 6/8")
    os.kill(job.pid, signal.SIGTERM)
    tlsandbox.wait_for_process(job, status="signaled")
    tlsandbox.wait_for_exit(job, exit_code=0, timeout=60)


def test_program_not_found_by_a_shell(tlsandbox):
    """A shell does not find the program."""
    job = tlsandbox.start_process("sh", ["-c", "sleep 0.2; trian --shards 8"])
    tlsandbox.wait_for_exit(job, exit_code=0, timeout=60)


def test_ended_already(tlsandbox):
    """The server has ended before the first poll."""
    server = tlsandbox.start_process("python", ["train.py", "--done"])
    tlsandbox.wait_for_exit(server)
    tlsandbox.wait_for_process(server, timeout=60)


def test_ended_and_nothing_followed(tlsandbox):
    """The test selects the process by text, so the wait gives a successor 2 s to appear."""
    tlsandbox.start_process("python", ["train.py", "--corrupt"])
    tlsandbox.wait_for_exit("train.py --corrupt", exit_code=0, timeout=60)


def test_gave_up(tlsandbox):
    """A supervisor restarts a failing process until no restart is left."""
    web = tlsandbox.start_process(
        "python",
        ["train.py", "--corrupt"],
        name="web",
        restart={"policy": "on_failure", "max_restarts": 1},
    )
    tlsandbox.wait_for_exit(web, exit_code=0, timeout=60)
