"""Compare the answers of most helpers with the truth about random processes.

A helper must not pass if a poll showed a failure, must not fail if the processes are as expected,
and must not exceed its deadline. A wait must not fail while it could still succeed: for a process
selected by text, that includes the grace period for a successor. If the world does not change faster
than a wait polls, a stream that is on, wrong or missing must not change the result. ``session.py``
covers the waits for a port, a restart and a number of processes.
"""

import os
from unittest import mock

import pytest
from hypothesis import HealthCheck, event, given, note, settings

from pytest_tlsandbox.client import retry
from pytest_tlsandbox.errors import TLSandboxError
from pytest_tlsandbox.history.snapshot import ProcessSnapshot
from pytest_tlsandbox.sandbox import Sandbox
from pytest_tlsandbox.waiting import polling

from .checks import Answer, Target, check_now, check_output, check_stays, check_until, check_wait
from .strategies import calls, worlds
from .world import ModelLister

# Each run uses the same 250 examples, or the number of random examples that `make nightly` sets.
REQUESTED = int(os.environ.get("HISTORIES", "0"))
SHARDS = 2 if REQUESTED else 1
STREAMS = ("off", "on", "early", "missing")


def select(world, call):
    """Return the selector for the helper and the target for the check; None if there is none."""
    if not world.lives:
        return None
    life = world.lives[call.life % len(world.lives)]
    if call.how == "object":
        run = life.run_at(0.0)
        target = Target(world, "managed" if life.managed else "run", life, run=run)
        return run and (world.row(life, run, 0.0), target)
    if call.how == "pid":
        return life.runs[0].pid, Target(world, "pid", life)
    if call.how == "name" and life.managed:
        return f"name-{life.number}", Target(world, "name", life)
    return life.command, Target(world, "text", life, life.command)


def answer_of(helper, world, call, process, target, stream):
    """Call a helper at the requested time, and return its answer."""
    retry._jitter.seed(0)  # each run makes the same polls
    lister = ModelLister(world, call.at, stream)
    now = lister.clock.now
    baseline = ProcessSnapshot(world.rows(0.0), sandbox=lister.label, begun=now, ended=now)
    box = Sandbox(lister, baseline=baseline)
    value, error = None, None
    try:
        with mock.patch.object(polling, "_LONG_LIST", 1 if call.long_list else 100):
            value = helper(box, process, call)
    except TLSandboxError as raised:
        error = raised
    if target.how == "pid":
        target.bind(process, [poll.at for poll in lister.polls if poll.good])
    return Answer(world, call, value, error, lister.polls, lister.now, target)


def running(run, t):
    return t < run.end


def exited(code):
    """Return a function that returns whether a run exited with this code (None: with any code)."""

    def fits(run, t):
        known = run.code(t)
        if run.how.oom:
            known = 1 if run.how.oom == "child" and t >= run.end else None
        return known is not None and code in (None, known)

    return fits


# fmt: off
HELPERS = {
    "wait_for_exit": (
        lambda box, who, call: box.wait_for_exit(who, exit_code="any" if call.code is None else call.code, timeout=call.timeout),
        lambda answer, call: check_wait(answer, exited(call.code), wants_an_end=True)),
    "wait_for_process": (
        lambda box, who, call: box.wait_for_process(who, timeout=call.timeout),
        lambda answer, _call: check_wait(answer, running)),
    "wait_for_process, stable_for": (
        lambda box, who, call: box.wait_for_process(who, stable_for=call.seconds, timeout=call.timeout),
        lambda answer, call: check_wait(answer, running, stable_for=call.seconds)),
    "wait_for_output": (
        lambda box, who, call: box.wait_for_output(who, "ready", timeout=call.timeout),
        lambda answer, _call: check_output(answer)),
    "wait_until": (
        lambda box, _who, call: box.wait_until(lambda seen: len(seen.alive) >= 2, timeout=call.timeout),
        lambda answer, _call: check_until(answer, 2)),
    "assert_process, running": (
        lambda box, who, _call: box.assert_process(who, status="running"),
        lambda answer, _call: check_now(answer, running)),
    "assert_process, exit code": (
        lambda box, who, call: box.assert_process(who, status="exited", exit_code=call.code or 0),
        lambda answer, call: check_now(answer, exited(call.code or 0), wants_an_end=True)),
    "assert_stays": (
        lambda box, who, call: box.assert_stays(who, stable_for=call.seconds),
        lambda answer, call: check_stays(answer, call.seconds)),
}
# fmt: on


@pytest.mark.parametrize("shard", range(SHARDS))
@settings(
    max_examples=REQUESTED // SHARDS or 250,
    deadline=None,
    derandomize=not REQUESTED,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
@given(world=worlds(), call=calls)
def test_results_of_every_helper_agree_with_the_state_of_the_simulated_sandbox(shard, world, call):
    selected = select(world, call)
    for name, (helper, check) in HELPERS.items() if selected else ():
        alone = None  # Only a wait for an exit opens a stream.
        for stream in STREAMS if name == "wait_for_exit" else ("off",):
            process, target = select(world, call)
            answer = answer_of(helper, world, call, process, target, stream)
            event(f"{name}: {answer.outcome}")
            note(f"{name} by {target.how}, stream {stream}: {answer}")
            check(answer, call)
            alone = alone or answer
            if world.is_slow:
                assert answer.outcome == alone.outcome, "another result than by polling alone"
                assert answer.ended <= alone.ended + 1.0 + 2 * world.latency, (
                    "more than a poll later"
                )
