"""Memory: a process that takes too much is OOM-killed, and does not pass for an ordinary end."""

import pytest

from pytest_tlsandbox import ProcessOOMKilled

# Takes up to 3 GB, in steps, so that a sandbox of any usual size is too small for it.
EATER = "taken = [bytearray(10_000_000) for _ in range(300)]"


def test_an_oom_kill_is_its_own_verdict(tlsandbox):
    job = tlsandbox.start_process("python", ["-c", EATER])

    with pytest.raises(ProcessOOMKilled):
        tlsandbox.wait_for_exit(job, timeout=60)

    with pytest.raises(ProcessOOMKilled):
        tlsandbox.assert_no_oom()


def test_the_oom_kill_of_an_earlier_test_does_not_fail_this_one(tlsandbox):
    tlsandbox.assert_no_oom()
