"""Check whether the answer of a helper is allowed for a world.

The checks do not know how the helpers work. They get the answer, the times of the polls, and the
state of the world at these times.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeAlias

from pytest_tlsandbox.errors import TLSandboxError

from .world import Life, Run, World, known_code

if TYPE_CHECKING:
    from collections.abc import Callable

    from .strategies import Asked
    from .world import Look

EPSILON = 0.0021
LAST_LOOK = 0.5
SUCCESSOR, CORRECTION, SETTLING = 2.0, 1.0, 0.2
BUDGET = 30.0


@dataclass
class Told:
    """The answer of a helper (a value or an error) and its polls; times are of the world."""

    world: World
    asked: Asked
    value: Any
    error: TLSandboxError | None
    looks: list[Look]
    begun: float
    ended: float
    target: Target

    @property
    def verdict(self) -> str:
        return "pass" if self.error is None else type(self.error).__name__

    @property
    def good(self) -> list[float]:
        """The times of the successful polls."""
        return [look.at for look in self.looks if look.good]

    @property
    def last(self) -> float:
        """The time of the last successful poll."""
        return self.good[-1]

    def __str__(self) -> str:
        text = f"{self.verdict}: {self.error.first_line}" if self.error else f"pass: {self.value!r}"
        return (
            f"{text}; looked {self.looks[0].at:.3f} to {self.looks[-1].at:.3f}, {len(self.looks)}x"
        )


class Target:
    """A selected process: a run (by object or pid), a managed life (by object or name), or text."""

    def __init__(self, world: World, meant_by: str, life: Life, text: str = "") -> None:
        self.world = world
        self.meant_by = meant_by
        self.life = life
        self.text = text
        self.run: Run | None = None

    @property
    def one_run(self) -> bool:
        return self.meant_by in ("run", "pid")

    def bind(self, pid: int, good: list[float]) -> None:
        """Bind a pid to its newest row in the first poll that has one, and to that run."""
        for t in good:
            rows = [
                (run.start, run.handle, life, run)
                for life in self.world.lives
                if (run := life.run_at(t)) is not None and run.pid == pid
            ]
            if rows:
                *_, self.life, self.run = max(rows, key=lambda row: row[:2])
                return

    def candidates(self, t: float) -> list[tuple[Life, Run]]:
        """Return the listed lives and runs that match at time ``t``."""
        if self.one_run:
            listed = self.life.run_at(t)
            return [(self.life, listed)] if listed is not None and listed is self.run else []
        if self.meant_by == "managed":
            run = self.life.run_at(t)
            return [(self.life, run)] if run else []
        if self.meant_by == "name":
            run = self.life.run_at(t)
            return [(self.life, run)] if run and not self._over_at_baseline(self.life, run) else []
        return [
            (life, run)
            for life in self.world.lives
            if (run := life.run_at(t)) is not None
            and self.text in life.command
            and not self._over_at_baseline(life, run)
        ]

    def _over_at_baseline(self, life: Life, run: Run) -> bool:
        return life.run_at(0.0) is not None and not life.alive(0.0) and life.run_at(0.0) is run

    def over(self, life: Life, run: Run, t: float) -> bool:
        """Return whether the target has ended at time ``t`` and will not be restarted."""
        ended = run.end is not None and run.end <= t
        return ended if self.one_run else ended and not life.alive(t)


def doubtful(run: Run, t: float) -> bool:
    """Return whether the sandbox lost the end, or may correct it later."""
    if run.end is None or t < run.end or run.how.oom:
        return False
    return run.how.signal == 1 or (run.how.signal is None and known_code(run, t) is None)


Fits: TypeAlias = "Callable[[Life, Run, float], bool]"


def judge_wait(
    told: Told, fits: Fits, *, wants_an_end: bool = False, stable_for: float = 0.0
) -> None:
    """Check the answer of a wait for one process."""
    deadline = told.begun + told.asked.timeout
    assert told.ended <= deadline + LAST_LOOK + EPSILON, "past its deadline"
    if not _saw_enough(told, deadline):
        return
    last, target = told.last, told.target
    seen = target.candidates(last)
    fitting = [(life, run) for life, run in seen if fits(life, run, last)]
    living = [(life, run) for life, run in seen if not target.over(life, run, last)]
    at_the_deadline = told.looks[-1].at >= deadline - EPSILON
    if told.verdict == "pass":
        assert any(_is(told.value, run, told.world) for _, run in fitting), (
            "passed, and it is not so"
        )
        if stable_for:
            _stayed(told, stable_for)
        return
    if stable_for and told.verdict == "WaitTimedOut" and "Not stable" in told.error.first_line:
        assert at_the_deadline, "gave up before the deadline"
        return
    assert (
        len(fitting) != 1
        or told.verdict == "Inconclusive"
        or (wants_an_end and doubtful(fitting[0][1], last))
    ), "failed, and it was so at the last look"
    if told.verdict == "AmbiguousProcess":
        assert len(fitting) > 1 or (not fitting and len(living) > 1), "only one is meant"
    elif told.verdict == "WaitTimedOut":
        assert at_the_deadline, "gave up before the deadline"
        assert living, "nothing lives, and it says that something still may"
    elif told.verdict == "ProcessNotFound":
        assert not seen, "it is listed"
        gone = target.one_run or target.meant_by == "managed"
        if gone and "Gone" in told.error.first_line:
            since = [t for t in told.good if target.candidates(t)]
            first_missing = next(t for t in told.good if not since or t > since[-1])
            assert last - first_missing >= CORRECTION - EPSILON or at_the_deadline
        else:
            assert at_the_deadline, "gave up before the deadline"
    else:
        assert told.verdict in ("UnexpectedExit", "ProcessOOMKilled", "Inconclusive"), (
            "another error"
        )
        assert seen, "nothing is listed"
        assert not living, "success was still possible"
        _, newest = max(seen, key=lambda pair: (pair[1].start, pair[1].handle))
        assert newest.end is not None
        if told.verdict == "ProcessOOMKilled":
            assert newest.how.oom, "no OOM kill"
        elif told.verdict == "Inconclusive":
            assert wants_an_end
            assert doubtful(newest, last), "the end is known"
            assert last - newest.end >= CORRECTION - EPSILON or at_the_deadline
        if target.meant_by == "text" and not at_the_deadline:
            assert last - newest.end >= SUCCESSOR - EPSILON, "left a successor no time"


def _is(row: Any, run: Run, world: World) -> bool:
    if world.handles:
        return bool(row.handle == run.handle)
    return bool(row.pid == run.pid and row.started_at.timestamp() * 1000 == world._time(run.start))


def _saw_enough(told: Told, deadline: float | None) -> bool:
    """Check that outage errors come only after the retry budget; return whether polls remain."""
    refused = [look for look in told.looks if look.at >= told.world.refused]
    assert len(refused) == (told.verdict == "AuthenticationFailed"), "what is final is final"
    if refused:
        return False
    failed = [look for look in told.looks if not look.good]
    if told.verdict != "SandboxUnreachable":
        assert told.good, "judged, and saw nothing"
        return True
    assert failed, "no look failed"
    assert not told.looks[-1].good, "the last look succeeded"
    streak = failed[-1].at - next(
        look.at
        for position, look in enumerate(told.looks)
        if not any(later.good for later in told.looks[position:])
    )
    cut = deadline is not None and told.looks[-1].at >= deadline - EPSILON
    assert cut or streak >= BUDGET - EPSILON - LAST_LOOK, "an outage was not ridden out"
    return False


def judge_stays(told: Told) -> None:
    """Check the answer of an assertion that the same run keeps running."""
    if not _saw_enough(told, None):
        return
    last, target = told.last, told.target
    if told.verdict == "pass":
        _stayed(told, told.asked.seconds)
        return
    if told.verdict == "Inconclusive":
        assert any(not look.good for look in told.looks), "every look succeeded"
        return
    seen = target.candidates(last)
    living = [(life, run) for life, run in seen if run.end is None or last < run.end]
    if told.verdict == "AmbiguousProcess":
        # What a supervisor is about to start again lives, too.
        assert len([run for life, run in seen if not target.over(life, run, last)]) > 1
        return
    # From the first look on it is about the run that was seen then.
    first = {(life.number, run.handle) for life, run in target.candidates(told.good[0])}
    if told.verdict == "ProcessNotFound":
        assert not first & {(life.number, run.handle) for life, run in seen}, "it is listed"
    else:
        assert told.verdict in ("UnexpectedExit", "ProcessOOMKilled", "AssertionFailed"), (
            "another error"
        )
        still = {(life.number, run.handle) for life, run in living}
        assert len(first) != 1 or not first & still, "failed, and it stayed"


def _stayed(told: Told, seconds: float) -> None:
    """Check that the returned run ran for these seconds and was polled without a long gap."""
    last = told.last
    looks = [t for t in told.good if t >= last - seconds - EPSILON]
    assert last - told.good[0] >= seconds - EPSILON, "not for so long"
    run = next(
        run for life in told.world.lives for run in life.runs if _is(told.value, run, told.world)
    )
    assert run.start <= looks[0] + EPSILON, "passed, and it had not begun"
    assert run.end is None or run.end > last, "passed, and it did not stay"
    # The window's first look may be the end of a gap that began before it.
    gaps = [after - before for before, after in pairwise(looks)]
    assert max(gaps, default=0.0) <= max(1.0, seconds / 10) + told.world.latency + EPSILON, "a gap"


def judge_now(told: Told, fits: Fits, *, wants_an_end: bool = False) -> None:
    """Check the answer of an assertion on the fields of one process."""
    if not _saw_enough(told, None):
        return
    last, target = told.last, told.target
    seen = target.candidates(last)
    fitting = [(life, run) for life, run in seen if fits(life, run, last)]
    if told.verdict == "pass":
        assert any(_is(told.value, run, told.world) for _, run in fitting), (
            "passed, and it is not so"
        )
        return
    assert len(fitting) != 1, "failed, and it was so"
    if told.verdict == "ProcessNotFound":
        assert not seen, "it is listed"
    elif told.verdict == "AmbiguousProcess":
        assert len(seen) > 1, "only one is meant"
    elif told.verdict == "Inconclusive":
        assert wants_an_end
        assert any(doubtful(run, last) for _, run in seen), "the end is known"
    else:
        assert told.verdict == "AssertionFailed", "another error"
        assert seen, "nothing is listed"


def judge_output(told: Told) -> None:
    """Check the answer of a wait for a line of output."""
    deadline = told.begun + told.asked.timeout
    assert told.ended <= deadline + LAST_LOOK + EPSILON, "past its deadline"
    if not _saw_enough(told, deadline):
        return
    seen = told.target.candidates(told.last)
    at_the_deadline = told.looks[-1].at >= deadline - EPSILON
    if told.verdict == "pass":
        # Output is asked for by pid, a moment after the look: it may be another's by then.
        readable = [run for _, run in seen] + [
            other for _, run in seen for other in _read_in_its_place(run, told)
        ]
        assert any(run.wrote(told.ended) for run in readable), "passed, and it has not written"
        return
    wrote = [
        run
        for life, run in seen
        if run.wrote(told.last)
        and life.run_at(told.ended) is run
        and not _read_in_its_place(run, told)
    ]
    if told.verdict == "AmbiguousProcess":
        assert len(seen) > 1, "only one is meant"
        return
    if told.verdict == "Inconclusive":
        assert any(_pid_is_anothers(run, told) for _, run in seen), "it could be read"
        return
    assert len(seen) != 1 or not wrote, "failed, and it has written"
    if told.verdict in ("WaitTimedOut", "ProcessNotFound"):
        gone = told.target.one_run or told.target.meant_by == "managed"
        assert at_the_deadline or (gone and not seen), "gave up before the deadline"
    else:
        assert told.verdict in ("UnexpectedExit", "ProcessOOMKilled"), "another error"
        assert all(told.target.over(life, run, told.last) for life, run in seen)


def _read_in_its_place(run: Run, told: Told) -> list[Run]:
    """Return other runs whose output the helper may have read by the same pid.

    Such a run started after the last poll, or had the pid before and is the only one listed now.
    """
    listed = [life.run_at(told.ended) for life in told.world.lives]
    removed = not any(other is run for other in listed)
    return [
        other
        for life in told.world.lives
        for other in life.runs
        if other.pid == run.pid
        and other is not run
        and (
            told.last < other.start <= told.ended
            or (removed and any(other is row for row in listed))
        )
    ]


def _pid_is_anothers(run: Run, told: Told) -> bool:
    listed = [life.run_at(told.last) for life in told.world.lives]
    return any(other and other.pid == run.pid and other.start > run.start for other in listed)


def judge_until(told: Told, pids: int) -> None:
    """Check the answer of a wait for at least ``pids`` living processes."""
    deadline = told.begun + told.asked.timeout
    assert told.ended <= deadline + LAST_LOOK + EPSILON, "past its deadline"
    if not _saw_enough(told, deadline):
        return
    rows = told.world.rows(told.last)
    true = sum(not row.ended for row in rows) >= pids
    assert true == (told.verdict == "pass")
    assert told.verdict == "pass" or told.looks[-1].at >= deadline - EPSILON
