"""The guard fails a test if an incident happens in the sandbox, even if the test calls no helper."""

import pytest


@pytest.mark.tlsandbox_guard("oom", "crash", "restart", "leak")
def test_no_incident_happens_during_the_test(tlsandbox):
    job = tlsandbox.start_process("sh", ["-c", "grep -q needle /etc/hostname; sleep 0.1"])

    tlsandbox.wait_for_exit(job)


@pytest.mark.tlsandbox_guard("crash")
def test_expected_crash_is_allowed(tlsandbox, tlsandbox_allow):
    with tlsandbox_allow("crash", reason="this test is about the handling of crashes"):
        job = tlsandbox.start_process("sh", ["-c", "kill -SEGV $$"])
        tlsandbox.wait_for_process(job, status="signaled")
