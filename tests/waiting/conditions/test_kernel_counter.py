"""Assertions about OOM kills that the kernel counted, on simulated daemons."""

import random
from types import SimpleNamespace

import pytest

from pytest_tlsandbox import errors
from pytest_tlsandbox.sandbox import Sandbox
from pytest_tlsandbox.testing import FakeClock, ScriptedLister
from pytest_tlsandbox.types import KernelCount
from tests.rows import OOM, ended, raw, signaled
from tests.support import dedented, failure, pass_time, result_of


def simulated(script, kills, *, own=True):
    """Return a sandbox whose kernel counts OOM kills at the given times."""
    lister = ScriptedLister(script)

    def start(_limit):
        count = KernelCount(sum(at <= elapsed(lister.clock) for at in kills), own)
        return lambda: count

    lister.kernel = SimpleNamespace(unknown="", start=start)
    return Sandbox(lister).from_now()


def elapsed(clock):
    return clock.now - FakeClock().now


def test_message_names_the_processes_that_were_running_when_the_kernel_counted_the_kill():
    shell = raw(41, command="sh", args=["-c", "./build.sh"])
    box = pass_time(simulated({0: [raw(1), shell, raw(7, **ended(0))]}, [0.9]), 2)

    assert str(failure(box.assert_no_oom, errors.ProcessOOMKilled)) == dedented("""
        OOM-killed: an unlisted process

          the kernel counted an OOM kill of a process that the sandbox does not list; running then: train.py
          (pid 1), "./build.sh" (pid 41)
          hint  raise memory_mb of the sandbox if this memory use is expected
    """)


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


MORE = pytest.param(range(100, 1000), marks=pytest.mark.slow)


@pytest.mark.parametrize("seeds", [range(100), MORE])
def test_list_may_show_a_kill_up_to_a_second_after_the_kernel_counted_it(seeds):
    """Random histories: OOM kills that the list shows a little later, and SIGKILLs by other clients."""
    for seed in seeds:
        rng = random.Random(seed)
        ends = {}  # by pid: when the process ends, when the list shows it, and how
        for pid in range(1, rng.randint(2, 9)):
            at = rng.uniform(0, 20)
            how = rng.choice([OOM, OOM, signaled(9), ended(0), ended(137)])
            ends[pid] = at, at + rng.choice([0, 0.01, rng.uniform(0, 0.8)]), how
        script = {
            time: [
                raw(pid, **(how if shown <= time else {})) for pid, (_, shown, how) in ends.items()
            ]
            for time in {0.0, *(shown for _, shown, _ in ends.values())}
        }
        box = simulated(script, [at for at, _, how in ends.values() if how is OOM])
        for _ in range(3):
            start = elapsed(box._client.clock)
            box = pass_time(box.from_now(), rng.uniform(0, 9))
            result = result_of(box.assert_no_oom)
            now = elapsed(box._client.clock)
            shown = any(how is OOM and start < at <= now for _, at, how in ends.values())
            assert result.partition(":")[0] == ("ProcessOOMKilled" if shown else "passes"), seed
            assert "unlisted" not in result, seed
