"""Assertions about OOM kills that the kernel counted, on simulated daemons."""

from __future__ import annotations

import random
from textwrap import dedent

import pytest

from pytest_tlsandbox import errors
from pytest_tlsandbox.sandbox import Sandbox
from pytest_tlsandbox.testing import FakeClock, ScriptedLister
from pytest_tlsandbox.types import KernelCount
from tests.support import OOM, ended, failure, pass_time, raw, signaled


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
    assert "raise memory_mb of the sandbox" in str(error)


def test_kill_in_the_first_list_does_not_hide_a_later_kill_of_an_unlisted_process():
    box = simulated({0: [raw(1, **OOM)]}, [-1, 1.5])
    failure(lambda: box.assert_no_oom(since=None), errors.ProcessOOMKilled)

    error = failure(pass_time(box, 2).assert_no_oom, errors.ProcessOOMKilled)
    assert error.first_line == "OOM-killed: an unlisted process"


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
