"""Random lives of processes; the answer of every helper is checked against the truth.

A helper must not pass if a poll showed a failure, must not fail if the processes are as expected,
and must not exceed its deadline. A wait must not fail while it could still succeed: for a process
selected by text, that includes the grace period for a successor.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, event, given, note, settings

from pytest_tlsandbox.client import retry
from pytest_tlsandbox.errors import TLSandboxError
from pytest_tlsandbox.sandbox import Sandbox

from .judges import Target, Told, judge_now, judge_output, judge_stays, judge_until, judge_wait
from .strategies import Asked, asked, worlds
from .world import ModelLister, Run, World, baseline_of, known_code

if TYPE_CHECKING:
    from collections.abc import Callable

# A few thousand that are the same each time, or (`make nightly`) as many others as are asked for.
ASKED_FOR = int(os.environ.get("HISTORIES", "0"))
SHARDS = 2 if ASKED_FOR else 1


def meant(world: World, ask: Asked) -> tuple[Any, Target] | None:
    """Return the selector for the helper and the target for the check; None if there is none."""
    if not world.lives:
        return None
    life = world.lives[ask.life % len(world.lives)]
    before = world.row(life, 0.0)
    if ask.meant_by == "object":
        if before is None:
            return None
        target = Target(world, "managed" if life.managed else "run", life)
        target.run = life.run_at(0.0)
        return before, target
    if ask.meant_by == "pid":
        return life.runs[0].pid, Target(world, "pid", life)
    if ask.meant_by == "name" and life.managed:
        return f"name-{life.number}", Target(world, "name", life)
    return life.command, Target(world, "text", life, life.command)


def ask_helper(
    world: World, ask: Asked, process: Any, target: Target, call: Callable[[Sandbox], Any]
) -> Told:
    """Call a helper at the requested time, and return its answer."""
    retry._jitter.seed(0)  # so that a history has one course
    lister = ModelLister(world, ask.at)
    box = Sandbox(lister, baseline=baseline_of(world))  # type: ignore[arg-type]
    value, error = None, None
    try:
        value = call(box)
    except TLSandboxError as raised:
        error = raised
    told = Told(world, ask, value, error, lister.looks, ask.at, lister.now, target)
    if target.meant_by == "pid":
        target.bind(process, told.good)
    return told


def running(_life: Any, run: Run, t: float) -> bool:
    return run.end is None or t < run.end


def exited(code: int | None) -> Callable[[Any, Run, float], bool]:
    def fits(_life: Any, run: Run, t: float) -> bool:
        known = None if run.how.oom else known_code(run, t)
        if run.how.oom == "child":
            known = 1 if run.end is not None and t >= run.end else None
        return known is not None and (code is None or known == code)

    return fits


Helper = tuple[str, "Callable[[Sandbox, Any, Asked], Any]", "Callable[[Told, Asked], None]"]

# fmt: off
HELPERS: list[Helper] = [
    ("wait_for_exit", lambda box, who, ask: box.wait_for_exit(who, exit_code="any" if ask.code is None else ask.code, timeout=ask.timeout),
     lambda told, ask: judge_wait(told, exited(ask.code), wants_an_end=True)),
    ("wait_for_process", lambda box, who, ask: box.wait_for_process(who, timeout=ask.timeout),
     lambda told, _ask: judge_wait(told, running)),
    ("wait_for_process, stable_for", lambda box, who, ask: box.wait_for_process(who, stable_for=ask.seconds, timeout=ask.timeout),
     lambda told, ask: judge_wait(told, running, stable_for=ask.seconds)),
    ("wait_for_output", lambda box, who, ask: box.wait_for_output(who, "ready", timeout=ask.timeout),
     lambda told, _ask: judge_output(told)),
    ("wait_until", lambda box, _who, ask: box.wait_until(lambda seen: len(seen.alive) >= 2, timeout=ask.timeout),
     lambda told, _ask: judge_until(told, 2)),
    ("assert_process, running", lambda box, who, _ask: box.assert_process(who, status="running"),
     lambda told, _ask: judge_now(told, running)),
    ("assert_process, exit code", lambda box, who, ask: box.assert_process(who, status="exited", exit_code=ask.code or 0),
     lambda told, ask: judge_now(told, exited(ask.code or 0), wants_an_end=True)),
    ("assert_stays", lambda box, who, ask: box.assert_stays(who, stable_for=ask.seconds),
     lambda told, _ask: judge_stays(told)),
]
# fmt: on


@pytest.mark.parametrize("shard", range(SHARDS))
@settings(
    max_examples=ASKED_FOR // SHARDS or 500,
    deadline=None,
    derandomize=not ASKED_FOR,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
@given(world=worlds(), ask=asked)
def test_every_helper_returns_an_answer_that_is_true_for_the_world(
    shard: int, world: World, ask: Asked
) -> None:
    for name, call, judge in HELPERS:
        meaning = meant(world, ask)
        if meaning is None:
            return
        process, target = meaning
        told = ask_helper(world, ask, process, target, lambda box: call(box, process, ask))  # noqa: B023
        event(f"{name}: {told.verdict}")
        note(f"{name} by {target.meant_by}: {told}")
        judge(told, ask)
