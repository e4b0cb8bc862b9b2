"""Two sandboxes with a job in each; an incident in one does not affect the other."""

import pytest

from pytest_tlsandbox import ProcessOOMKilled, start_local_sandbox


@pytest.fixture
def second(tlsandbox_connect):
    with start_local_sandbox(identifier="second", memory_limit=64 * 2**20) as sandbox:
        yield tlsandbox_connect(sandbox)  # an id, a URL or an SDK object would do as well


def test_incident_in_one_sandbox_does_not_affect_the_other(tlsandbox, second):
    small = second.start_process("python", ["-c", "taken = bytearray(200_000_000)"])
    fine = tlsandbox.start_process("sh", ["-c", "exit 0"])

    tlsandbox.wait_for_exit(fine, timeout=10)
    with pytest.raises(ProcessOOMKilled):
        second.wait_for_exit(small, timeout=30)
    tlsandbox.assert_no_incidents()
