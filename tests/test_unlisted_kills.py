"""OOM kills of processes that the sandbox does not list, with real kills on the embedded sandbox.

A proxy hides what only the embedded sandbox shows: that a child of an ended process was OOM-killed.
"""

from __future__ import annotations

import pytest

from pytest_tlsandbox import errors
from pytest_tlsandbox.client.kernel_counter import KernelCounter
from pytest_tlsandbox.local.sandbox import start_local_sandbox
from tests.client.servers import connected
from tests.fakes.changed_daemons import Change, ChangedDaemon
from tests.fault_proxy import Fault, FaultProxy, faults
from tests.local.conftest import HOG
from tests.local.test_memory import CGROUPS
from tests.support import failure, sample_of

CHILD_FLAG = (rb'("status":"exited"[^}]*"oom_killed":)true', rb"\1false")
KILLED = 'python -c "$1"; echo killed'
SCRIPTS = {
    "a child of a shell": (1, KILLED),
    "a child that is started again": (2, f'python -c "$1"; {KILLED}'),
    "a double fork": (1, f"sleep 60 & sh -c '({KILLED}; kill $2) & exit' sh \"$1\" $!; wait $!"),
    "another session": (1, f"setsid -w sh -c '{KILLED}' sh \"$1\""),
}
ENDS = ("exit 0", "exit 7", "sleep 600")


@pytest.fixture(scope="module", params=[*CGROUPS, "watchdog"])
def daemon(request):
    with (
        start_local_sandbox(memory_limit=64 << 20, mechanism=request.param) as local,
        ChangedDaemon(local, Change("", CHILD_FLAG)) as daemon,
    ):
        yield daemon


@pytest.fixture
def box(daemon, monkeypatch):
    # The counter and the list of the embedded sandbox show a kill at the same time.
    monkeypatch.setattr("pytest_tlsandbox.waiting.conditions.absence.CORRECTION_TIME", 0.2)
    with connected(daemon) as box:
        box._client.kernel = KernelCounter(box._client.transport)
        box = box.from_now()
        yield box
        assert box.kill_started() == []
        box._client.kernel.close()


def start(box, script):
    """Start a shell whose child is OOM-killed, and wait for the kill."""
    job = box.start_process("sh", ["-c", script, "build.sh", HOG])
    box.wait_for_output(job, "killed")
    return job


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("end", sample_of({end: end for end in ENDS}, "exit 0"))
def test_oom_kill_is_found_although_the_list_does_not_show_it(box, script, end):
    kills, script = SCRIPTS[script]
    job = start(box, f"{script}; {end}")
    if end != "sleep 600":
        box.wait_for_exit(job, exit_code="any")

    error = failure(box.assert_no_oom, errors.ProcessOOMKilled)

    number = "OOM-killed" if kills == 1 else f"{kills} processes OOM-killed"
    assert error.first_line == f"{number}: an unlisted process"


def test_only_kills_that_the_list_does_not_show_count_as_unlisted(box):
    for _ in range(2):
        box.wait_for_process(box.start_process("python", ["-c", HOG]), status="oom_killed")
    start(box, f"{KILLED}; sleep 600")

    error = failure(box.assert_no_oom, errors.ProcessOOMKilled)

    assert error.first_line.startswith("3 processes OOM-killed: ")
    assert str(error).count("an unlisted process") == 2  # the first line, and a row


def test_oom_kill_before_the_test_is_not_found(box):
    start(box, f"{KILLED}; sleep 600")

    box.from_now().assert_no_oom()


def test_listed_oom_kills_and_other_sigkills_are_not_reported_as_unlisted(box):
    box.wait_for_process(box.start_process("python", ["-c", HOG]), status="oom_killed")
    later = box.from_now()
    later.wait_for_process(later.start_process("sh", ["-c", "kill -9 $$"]), status="signaled")

    later.assert_no_oom()


FAULTS = {
    fault.name: fault
    for fault in vars(faults).values()
    if isinstance(fault, Fault) and not fault.refuses
}


@pytest.mark.parametrize("fault", sample_of(FAULTS, "cut JSON", "401"))
def test_fault_of_the_counter_changes_no_result(fault):
    limited = start_local_sandbox(memory_limit=64 << 20)
    with limited as local, FaultProxy(local) as proxy, connected(proxy) as box:
        proxy.fail(fault, only="/files")
        box._client.kernel = KernelCounter(box._client.transport)
        box.assert_no_oom()
        box.wait_for_process(box.start_process("python", ["-c", HOG]), status="oom_killed")
        error = failure(box.assert_no_oom, errors.ProcessOOMKilled)
        box._client.kernel.close()
    assert error.first_line == "OOM-killed: python -c"
