"""The guard: what happens behind a test's back turns it red, also where it calls no helper."""

import pytest


@pytest.mark.tlsandbox_guard("oom", "crash", "restart", "leak")
def test_nothing_happens_behind_its_back(tlsandbox):
    job = tlsandbox.start_process("sh", ["-c", "grep -q needle /etc/hostname; sleep 0.1"])

    tlsandbox.wait_for_exit(job)


@pytest.mark.tlsandbox_guard("crash")
def test_a_crash_that_is_meant(tlsandbox, tlsandbox_allow):
    with tlsandbox_allow("crash", reason="the handler of crashes is under test"):
        job = tlsandbox.start_process("sh", ["-c", "kill -SEGV $$"])
        tlsandbox.wait_for_process(job, status="signaled")
