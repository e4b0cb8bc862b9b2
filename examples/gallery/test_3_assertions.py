"""An assertion about the sandbox fails."""

import os
import signal


def test_oom_behind_a_restart(tlsandbox, tmp_path):
    """The server looks healthy because its supervisor restarted it after an OOM kill."""
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
    """Two jobs are OOM-killed, one after the other."""
    for shard in (1, 2):
        job = tlsandbox.start_process("python", ["train.py", "--too-big", f"--shard={shard}"])
        tlsandbox.wait_for_process(job, status="oom_killed", timeout=30)
    tlsandbox.assert_no_oom()


def test_suspected_oom(tlsandbox):
    """The test did not send the SIGKILL. With suspected=True, the assertion fails."""
    job = tlsandbox.start_process("python", ["train.py", "--endless"])
    tlsandbox.wait_for_output(job, "shard 6/8")
    os.kill(job.pid, signal.SIGKILL)
    tlsandbox.wait_for_process(job, status="signaled")
    tlsandbox.assert_no_oom(suspected=True)


def test_crashed(tlsandbox):
    """A process crashed, although no test waited for it."""
    job = tlsandbox.start_process("python", ["train.py", "--crash"])
    tlsandbox.wait_for_process(job, status="signaled")
    tlsandbox.assert_no_crash()


def test_restarted(tlsandbox):
    """A supervisor restarted a process, and the test did not request it."""
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
        restart={"policy": "never"},
        health_check={"type": "tcp", "port": 9, "interval_ms": 50, "failure_threshold": 2},
    )
    tlsandbox.wait_until(
        lambda processes: processes.where(name="web")[0].managed.health_status == "unhealthy"
    )
    tlsandbox.assert_no_incidents(web)


def test_fields_differ(tlsandbox):
    """A process has other arguments than expected."""
    job = tlsandbox.start_process("python", ["train.py", "--endless", "--password", "hunter2"])
    tlsandbox.wait_for_output(job, "shard 6/8")
    tlsandbox.assert_process(job, status="running", args=["train.py", "--endless", "--resume"])


def test_does_not_stay(tlsandbox):
    """The server should run for 5 s. The assertion fails at the first change."""
    server = tlsandbox.start_process("sh", ["-c", "sleep 0.3; exit 1"])
    tlsandbox.assert_stays(server, stable_for=5)


def test_still_alive(tlsandbox):
    """A process should have ended, but still runs."""
    job = tlsandbox.start_process("python", ["train.py", "--endless"])
    tlsandbox.wait_for_output(job, "shard 6/8")
    tlsandbox.assert_not_running("train.py")


def test_several_checks(tlsandbox):
    """Several checks are evaluated together, and two of them fail."""
    job = tlsandbox.start_process("python", ["train.py", "--corrupt"])
    tlsandbox.wait_for_exit(job, exit_code=1)
    server = tlsandbox.start_process("python", ["train.py", "--endless"])
    with tlsandbox.soft() as check:
        check.assert_process(server, status="running")
        check.assert_process(job, exit_code=0)
        check.assert_not_running(server)
        check.assert_no_oom()


def test_two_snapshots_compared(tlsandbox):
    """Two snapshots should be equal; pytest shows what changed."""
    job = tlsandbox.start_process("sh", ["-c", "read line; exit 3"], stdin_mode="pipe")
    before = tlsandbox.list_processes()
    tlsandbox.send_signal(job, 15)
    tlsandbox.wait_for_process(job, status="signaled")
    assert before == tlsandbox.list_processes()


def test_hostile_command_line(tlsandbox):
    """A command line contains colour codes, line breaks, right-to-left letters and 100,000 more characters."""
    job = tlsandbox.start_process(
        "sh", ["-c", "sleep 0.2; exit 3", "\x1b[31mred\n", "שלום", "漢字", "x" * 100_000]
    )
    tlsandbox.wait_for_exit(job)
