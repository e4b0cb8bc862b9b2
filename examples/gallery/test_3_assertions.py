"""Something is not as it was asserted."""

import os
import signal


def test_oom_behind_a_restart(tlsandbox, tmp_path):
    """The server looks healthy: its supervisor has started it again after an OOM kill."""
    web = tlsandbox.start_process(
        "python",
        ["serve.py"],
        env={"STATE": str(tmp_path)},
        name="web",
        restart={"policy": "always"},
    )
    tlsandbox.wait_until(lambda processes: processes.where(name="web")[0].managed.restart_count)
    tlsandbox.wait_for_output(web, "listening")
    tlsandbox.assert_no_oom()


def test_several_oom_kills(tlsandbox):
    """Two jobs are killed, one after the other."""
    for shard in (1, 2):
        job = tlsandbox.start_process("python", ["train.py", "--too-big", f"--shard={shard}"])
        tlsandbox.wait_for_process(job, status="oom_killed", timeout=30)
    tlsandbox.assert_no_oom()


def test_suspected_oom(tlsandbox):
    """A SIGKILL that the test did not send: with suspected=True, that fails as well."""
    job = tlsandbox.start_process("python", ["train.py", "--endless"])
    tlsandbox.wait_for_output(job, "shard 6/8")
    os.kill(job.pid, signal.SIGKILL)
    tlsandbox.wait_for_process(job, status="signaled")
    tlsandbox.assert_no_oom(suspected=True)


def test_crashed(tlsandbox):
    """Something crashed, though no test waited for it."""
    job = tlsandbox.start_process("python", ["train.py", "--crash"])
    tlsandbox.wait_for_process(job, status="signaled")
    tlsandbox.assert_no_crash()


def test_restarted(tlsandbox):
    """A supervisor has started a process again behind the test's back."""
    web = tlsandbox.start_process(
        "sh", ["-c", "sleep 0.2; exit 1"], name="web", restart={"policy": "on_failure"}
    )
    tlsandbox.wait_until(lambda processes: processes.where(name="web")[0].managed.restart_count)
    tlsandbox.assert_no_restart(web)


def test_unhealthy(tlsandbox):
    """The health check of a server fails."""
    web = tlsandbox.start_process(
        "sleep",
        ["60"],
        name="web",
        health_check={"type": "tcp", "port": 9, "interval_ms": 50, "failure_threshold": 2},
    )
    tlsandbox.wait_until(
        lambda processes: processes.where(name="web")[0].managed.health_status == "unhealthy"
    )
    tlsandbox.assert_no_incidents(web)


def test_fields_differ(tlsandbox):
    """A process is there, and not as it should be."""
    job = tlsandbox.start_process("python", ["train.py", "--endless", "--password", "hunter2"])
    tlsandbox.wait_for_output(job, "shard 6/8")
    tlsandbox.assert_process(job, status="running", args=["train.py", "--endless", "--resume"])


def test_does_not_stay(tlsandbox):
    """The server should run for 5 s, and is stopped at the first breach."""
    server = tlsandbox.start_process("sh", ["-c", "sleep 0.3; exit 1"])
    tlsandbox.assert_stays(server, stable_for=5)


def test_still_alive(tlsandbox):
    """Nothing should run any more."""
    job = tlsandbox.start_process("python", ["train.py", "--endless"])
    tlsandbox.wait_for_output(job, "shard 6/8")
    tlsandbox.assert_not_running("train.py")


def test_several_checks(tlsandbox):
    """Several checks on one look, told together."""
    job = tlsandbox.start_process("python", ["train.py", "--corrupt"])
    tlsandbox.wait_for_exit(job, exit_code=1)
    server = tlsandbox.start_process("python", ["train.py", "--endless"])
    with tlsandbox.soft() as check:
        check.assert_process(server, status="running")
        check.assert_process(job, exit_code=0)
        check.assert_not_running(server)
        check.assert_no_oom()


def test_two_looks_compared(tlsandbox):
    """Two looks should be the same, and pytest shows what has changed between them."""
    job = tlsandbox.start_process("sh", ["-c", "read line; exit 3"], stdin_mode="pipe")
    before = tlsandbox.list_processes()
    tlsandbox.send_signal(job, 15)
    tlsandbox.wait_for_process(job, status="signaled")
    assert before == tlsandbox.list_processes()


def test_hostile_command_line(tlsandbox):
    """A command line with colours, line breaks, letters from right to left, and 100,000 more."""
    job = tlsandbox.start_process(
        "sh", ["-c", "sleep 0.2; exit 3", "\x1b[31mred\n", "שלום", "漢字", "x" * 100_000]
    )
    tlsandbox.wait_for_exit(job)
