"""Jobs that succeed, fail, crash, and run at the same time."""

import pytest

from pytest_tlsandbox import ProcessCrashed, UnexpectedExit


def test_job_succeeds(tlsandbox):
    job = tlsandbox.start_process("python", ["-c", "print('done')"])

    tlsandbox.wait_for_exit(job, exit_code=0, timeout=30)

    assert tlsandbox.output(job) == ["done"]
    tlsandbox.assert_no_incidents()


def test_failure_of_a_job_shows_the_cause(tlsandbox, capsys):
    job = tlsandbox.start_process("python", ["-c", "import nosuchmodule"])

    with pytest.raises(UnexpectedExit) as failure:
        tlsandbox.wait_for_exit(job, exit_code=0, timeout=30)

    with capsys.disabled():
        print("\n\nThis is what a failure looks like (and the test that caught it passes):\n")
        print(failure.value)
        print()


def test_crash_differs_from_a_failure(tlsandbox):
    job = tlsandbox.start_process("sh", ["-c", "kill -SEGV $$"])

    tlsandbox.wait_for_process(job, status="signaled", timeout=10)

    with pytest.raises(ProcessCrashed):
        tlsandbox.assert_no_crash()


def test_two_jobs_may_end_in_any_order(tlsandbox):
    jobs = [tlsandbox.start_process("sleep", [f"0.{number}"]) for number in (2, 1)]

    tlsandbox.wait_until(
        lambda processes: all(processes.find(job.identity).ended for job in jobs), timeout=10
    )
