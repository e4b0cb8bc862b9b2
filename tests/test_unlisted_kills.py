"""OOM kills of processes that the sandbox does not list, with real kills on the embedded sandbox.

A proxy hides what only the embedded sandbox shows: that a child of an ended process was OOM-killed.
"""

from __future__ import annotations

import random
from textwrap import dedent

import pytest

from pytest_tlsandbox import errors
from pytest_tlsandbox.client.kernel_counter import KernelCounter
from pytest_tlsandbox.local.sandbox import start_local_sandbox
from pytest_tlsandbox.sandbox import Sandbox
from pytest_tlsandbox.testing import FakeClock, ScriptedLister
from pytest_tlsandbox.types import KernelCount
from tests.client.servers import connected
from tests.fakes.changed_daemons import Change, ChangedDaemon
from tests.fault_proxy import Fault, FaultProxy, faults
from tests.local.conftest import HOG
from tests.local.test_memory import CGROUPS
from tests.support import OOM, ended, failure, pass_time, raw, sample_of, signaled

CHILD_FLAG = (rb'("status":"exited"[^}]*"oom_killed":)true', rb"\1false")
KILLED = 'python -c "$1"; echo killed'
SCRIPTS = {
    "a child of a shell": (1, KILLED),
    "a child that is started again": (2, f'python -c "$1"; {KILLED}'),
    "a double fork": (1, f"sleep 60 & sh -c '({KILLED}; kill $2) & exit' sh \"$1\" $!; wait $!"),
    "another session": (1, f"setsid -w sh -c '{KILLED}' sh \"$1\""),
}


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
        box._client.kernel = KernelCounter(box._client._transport)
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
@pytest.mark.parametrize(
    "end",
    ["exit 0", *(pytest.param(end, marks=pytest.mark.slow) for end in ("exit 7", "sleep 600"))],
)
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
        box._client.kernel = KernelCounter(box._client._transport)
        box.assert_no_oom()
        box.wait_for_process(box.start_process("python", ["-c", HOG]), status="oom_killed")
        error = failure(box.assert_no_oom, errors.ProcessOOMKilled)
        box._client.kernel.close()
    assert error.first_line == "OOM-killed: python -c"


# ---------------------------------------------------------------- simulated daemons


class FakeCounter:
    """A counter of OOM kills that happen at given times on a fake clock."""

    unknown = ""

    def __init__(self, clock, kills, own):
        self.clock, self.kills, self.own = clock, kills, own
        self.start_time = clock.monotonic()

    def start(self, _limit):
        now = self.clock.monotonic() - self.start_time
        count = KernelCount(sum(at <= now for at in self.kills), self.own)
        return lambda: count


def simulated(script, kills, *, own=True):
    """Return a sandbox whose kernel counts OOM kills at the given times."""
    lister = ScriptedLister(script, clock=FakeClock())
    lister.kernel = FakeCounter(lister.clock, kills, own)
    return Sandbox(lister).from_now()


def test_message_names_the_processes_that_were_running_when_the_kernel_counted_the_kill():
    shell = raw(41, command="sh", args=["-c", "./build.sh"])
    box = pass_time(simulated({0: [raw(1), shell, raw(7, **ended(0))]}, [0.9]), 2)

    assert str(failure(box.assert_no_oom, errors.ProcessOOMKilled)) == dedent("""\
        OOM-killed: an unlisted process

          the kernel counted an OOM kill of a process that the sandbox does not list; running then: train.py
          (pid 1), "./build.sh" (pid 41)
          hint  raise memory_mb of the sandbox if this memory use is expected""")


def test_sigkill_is_an_oom_kill_if_the_kernel_counted_one_at_that_time():
    box = pass_time(simulated({0: [raw(1)], 1: [raw(1, **signaled(9))]}, [0.9]), 2)

    error = failure(box.assert_no_oom, errors.ProcessOOMKilled)

    assert error.first_line == "OOM-killed: train.py"
    assert "signaled 9 (SIGKILL), and the kernel counted an OOM kill" in str(error)


def test_kill_of_a_kernel_that_may_be_shared_is_only_suspected():
    box = pass_time(simulated({0: [raw(1)]}, [0.9], own=False), 2)

    box.assert_no_oom()
    error = failure(lambda: box.assert_no_oom(suspected=True), errors.SuspectedOOMKill)
    assert error.first_line == "Possibly OOM-killed: an unlisted process"
    assert "share this kernel with others; running then: train.py (pid 1)" in str(error)


def test_assertion_about_a_selected_process_ignores_kills_of_unlisted_processes():
    pass_time(simulated({0: [raw(1, "process.py")]}, [0.9]), 2).assert_no_oom("process")


@pytest.mark.parametrize(
    "seeds", [range(100), pytest.param(range(100, 1000), marks=pytest.mark.slow)]
)
def test_list_may_show_a_kill_up_to_a_second_after_the_kernel_counted_it(seeds):
    """Random histories: OOM kills that the list shows a little later, and SIGKILLs by other clients."""
    for seed in seeds:
        rng = random.Random(seed)
        ends = {}  # by pid: when the process ends, when the list shows it, and how
        for pid in range(1, rng.randint(2, 9)):
            at = rng.uniform(0, 20)
            how = rng.choice([OOM, OOM, signaled(9), ended(0), ended(137)])
            ends[pid] = at, at + rng.choice([0, 0.01, rng.uniform(0, 0.8)]), how
        times = {0.0, *(shown for _, shown, _ in ends.values())}
        script = {time: [] for time in times}
        for time, rows in script.items():
            for pid, (_, shown, how) in ends.items():
                rows.append(raw(pid, **(how if shown <= time else {})))
        kills = [at for at, _, how in ends.values() if how is OOM]
        box = simulated(script, kills)
        for _ in range(3):
            clock, start_time = box._client.clock, box._client.kernel.start_time
            start_of_step = clock.now - start_time
            box = pass_time(box.from_now(), rng.uniform(0, 9))
            error = ""
            try:
                box.assert_no_oom()
            except errors.ProcessOOMKilled as raised:
                error = str(raised)
            now = clock.now - start_time
            shown = [at for _, at, how in ends.values() if how is OOM and start_of_step < at <= now]
            assert (error == "", "unlisted" in error) == (not shown, False), seed
