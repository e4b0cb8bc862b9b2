"""Memory: a process that takes too much is OOM-killed, which is a separate error."""

import pytest

from pytest_tlsandbox import ProcessOOMKilled

# Takes up to 3 GB in steps, which is more than most sandboxes have.
EATER = "taken = [bytearray(10_000_000) for _ in range(300)]"


def test_oom_kill_raises_a_separate_error(tlsandbox):
    job = tlsandbox.start_process("python", ["-c", EATER])

    with pytest.raises(ProcessOOMKilled):
        tlsandbox.wait_for_exit(job, timeout=60)

    with pytest.raises(ProcessOOMKilled):
        tlsandbox.assert_no_oom()


def test_oom_kill_in_an_earlier_test_does_not_fail_this_test(tlsandbox):
    tlsandbox.assert_no_oom()
