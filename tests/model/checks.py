"""Check whether a simulated world allows the answer of a helper.

The checks do not know how the helpers work. They get the answer, the times of the polls, and the
state of the world at these times.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from pytest_tlsandbox.errors import TLSandboxError

from .strategies import Call
from .world import Life, Poll, Run, World

EPSILON = 0.0021
LAST_POLL = 0.5
SUCCESSOR, CORRECTION = 2.0, 1.0
BUDGET = 30.0


@dataclass(eq=False)
class Target:
    """A selected process: a run (by object or pid), a managed life (by object or name), or text."""

    world: World
    how: str
    life: Life
    text: str = ""
    run: Run | None = None

    @property
    def one_run(self):
        return self.how in ("run", "pid")

    def bind(self, pid, good):
        """Bind a pid to the run in the newest row of the first poll that lists the pid."""
        for t in good:
            rows = [(life, run) for life, run in self.world.listed(t) if run.pid == pid]
            if rows:
                self.life, self.run = max(rows, key=lambda row: (row[1].start, row[1].handle))
                return

    def candidates(self, t):
        """Return the listed lives and runs that match at time ``t``."""
        return [(life, run) for life, run in self.world.listed(t) if self._matches(life, run)]

    def _matches(self, life, run):
        if self.how == "text":
            return self.text in life.command and not self._over_at_baseline(life, run)
        if life is not self.life:
            return False
        if self.one_run:
            return run is self.run
        return self.how == "managed" or not self._over_at_baseline(life, run)

    def _over_at_baseline(self, life, run):
        return life.run_at(0.0) is run and not life.alive(0.0)

    def over(self, life, run, t):
        """Return whether the target has ended at time ``t`` and will not be restarted."""
        return run.end <= t and (self.one_run or not life.alive(t))


@dataclass
class Answer:
    """The answer of a helper (a value or an error) and its polls; times are in world time."""

    world: World
    call: Call
    value: Any
    error: TLSandboxError | None
    polls: list[Poll]
    ended: float
    target: Target

    def __post_init__(self):
        self.outcome = "pass" if self.error is None else type(self.error).__name__
        self.good = [poll.at for poll in self.polls if poll.good]
        self.seen, self.living = [], []
        if self.good:
            self.last, target = self.good[-1], self.target
            self.seen = target.candidates(self.last)
            self.living = [pair for pair in self.seen if not target.over(*pair, self.last)]
        self.deadline = self.call.at + self.call.timeout
        self.at_the_deadline = self.polls[-1].at >= self.deadline - EPSILON

    def __str__(self):
        text = f"{self.outcome}: {self.error.first_line if self.error else repr(self.value)}"
        first, last = self.polls[0].at, self.polls[-1].at
        return f"{text}; polled {first:.3f} to {last:.3f}, {len(self.polls)}x"

    def returned(self, run):
        """Return whether the process that the helper returned shows this run."""
        row = self.value
        if self.world.handles:
            return row.handle == run.handle
        started_at = row.started_at.timestamp() * 1000
        return (row.pid, started_at) == (run.pid, self.world.wire_time(run.start))

    @property
    def looks_replaced(self):
        """Return whether all rows of a poll vanished before the next poll."""
        return any(
            {run.end <= before for _, run in self.world.listed(before)} == {True, False}
            and not {life for life, _ in self.world.listed(before)}
            & {life for life, _ in self.world.listed(after)}
            for before, after in pairwise([0.0, *self.good])
        )


def has_answer(answer, *, deadline=None):
    """Check errors that any helper may raise; return False if the answer is such an error."""
    polls, failed = answer.polls, [poll for poll in answer.polls if not poll.good]
    if deadline is not None:
        assert answer.ended <= deadline + LAST_POLL + EPSILON, "past its deadline"
    refused = [poll for poll in polls if poll.at >= answer.world.refused]
    assert len(refused) == (answer.outcome == "AuthenticationFailed"), "polled after a final error"
    if refused:
        return False
    if answer.outcome == "SandboxReplaced":
        assert answer.looks_replaced, "some rows stayed, or all were of the same state"
        return False
    if answer.outcome != "SandboxUnreachable":
        assert answer.good, "answered without a successful poll"
        return True
    assert failed, "no poll failed"
    assert not polls[-1].good, "the last poll succeeded"
    since = next(poll.at for poll in polls if not answer.good or poll.at > answer.good[-1])
    in_budget = failed[-1].at - since < BUDGET - EPSILON - LAST_POLL
    assert not in_budget or (deadline is not None and answer.at_the_deadline), "gave up too early"
    return False


def doubtful(run, t):
    """Return whether the sandbox lost the end, or may correct it later."""
    if t < run.end or run.how.oom:
        return False
    return run.how.signal == 1 or (run.how.signal is None and run.code(t) is None)


def check_wait(answer, fits, *, wants_an_end=False, stable_for=0.0):
    """Check the answer of a wait for one process."""
    if not has_answer(answer, deadline=answer.deadline):
        return
    last, target, outcome = answer.last, answer.target, answer.outcome
    seen, living = answer.seen, answer.living
    fitting = [run for _, run in seen if fits(run, last)]
    if outcome == "pass":
        assert any(map(answer.returned, fitting)), "passed, but the condition is not met"
        if stable_for:
            _check_stayed(answer, stable_for)
        return
    unsure = outcome == "Inconclusive" or (stable_for and outcome == "WaitTimedOut")
    unsure = unsure or (wants_an_end and any(doubtful(run, last) for run in fitting))
    assert len(fitting) != 1 or unsure, "failed, but the last poll met the condition"
    if outcome == "AmbiguousProcess":
        assert len(fitting) > 1 or (not fitting and len(living) > 1), "only one process matches"
    elif outcome == "WaitTimedOut":
        assert answer.at_the_deadline, "gave up before the deadline"
        assert living, "timed out, but no match is alive"
    elif outcome == "ProcessNotFound":
        assert not seen, "it is listed"
        if not answer.at_the_deadline:
            listed = [t for t in (0.0, *answer.good) if target.candidates(t)]
            assert listed, "gave up before the deadline"
            assert target.one_run or target.how == "managed", "gave up before the deadline"
            missing = next(t for t in answer.good if t > listed[-1])
            assert last - missing >= CORRECTION - EPSILON, "gave up too early"
    else:
        assert outcome in ("UnexpectedExit", "ProcessOOMKilled", "Inconclusive"), "another error"
        assert seen, "no match is listed"
        assert not living, "success was still possible"
        newest = max((run for _, run in seen), key=lambda run: (run.start, run.handle))
        lasted = last - newest.end
        if outcome == "ProcessOOMKilled":
            assert newest.how.oom, "no OOM kill"
        elif outcome == "Inconclusive":
            assert wants_an_end
            assert doubtful(newest, last), "the end is known"
            assert lasted >= CORRECTION - EPSILON or answer.at_the_deadline
        if target.how == "text" and not answer.at_the_deadline:
            assert lasted >= SUCCESSOR - EPSILON, "no grace period for a successor"


def check_stays(answer, seconds):
    """Check the answer of an assertion that the same run keeps running."""
    if not has_answer(answer):
        return
    outcome, target = answer.outcome, answer.target
    if outcome == "pass":
        _check_stayed(answer, seconds)
    elif outcome == "Inconclusive":
        assert not all(poll.good for poll in answer.polls), "every poll succeeded"
    elif outcome == "AmbiguousProcess":
        # A process that its supervisor is about to restart is alive, too.
        assert len(answer.living) > 1, "only one process matches"
    else:
        # The first poll selects the run.
        first = {run.handle for _, run in target.candidates(answer.good[0])}
        still = {run.handle for _, run in answer.seen} & first
        if outcome == "ProcessNotFound":
            assert not still, "it is listed"
            return
        assert outcome in ("UnexpectedExit", "ProcessOOMKilled", "AssertionFailed"), "another error"
        alive = {run.handle for _, run in answer.seen if answer.last < run.end}
        assert len(first) != 1 or not still & alive, "failed, but the run stayed alive"


def _check_stayed(answer, seconds):
    """Check that the returned run ran for these seconds and was polled without a long gap."""
    last, good = answer.last, answer.good
    polls = [t for t in good if t >= last - seconds - EPSILON]
    assert last - good[0] >= seconds - EPSILON, "passed too early"
    run = next(run for life in answer.world.lives for run in life.runs if answer.returned(run))
    assert run.start <= polls[0] + EPSILON, "passed, but the run began later"
    assert run.end > last, "passed, but the run ended"
    # A gap may end at the first poll of the window.
    gaps = [after - before for before, after in pairwise(polls)]
    longest = max(1.0, seconds / 10) + answer.world.latency
    assert max(gaps, default=0.0) <= longest + EPSILON, "a gap"


def check_now(answer, fits, *, wants_an_end=False):
    """Check the answer of an assertion on the fields of one process."""
    if not has_answer(answer):
        return
    last, seen, outcome = answer.last, answer.seen, answer.outcome
    fitting = [run for _, run in seen if fits(run, last)]
    if outcome == "pass":
        assert any(map(answer.returned, fitting)), "passed, but the condition is not met"
        return
    assert len(fitting) != 1, "failed, but the condition is met"
    if outcome == "ProcessNotFound":
        assert not seen, "it is listed"
    elif outcome == "AmbiguousProcess":
        assert len(seen) > 1, "only one process matches"
    elif outcome == "Inconclusive":
        assert wants_an_end
        assert any(doubtful(run, last) for _, run in seen), "the end is known"
    else:
        assert outcome == "AssertionFailed", "another error"
        assert seen, "no match is listed"


def check_output(answer):
    """Check the answer of a wait for a line of output."""
    if not has_answer(answer, deadline=answer.deadline):
        return
    last, ended, seen, outcome = answer.last, answer.ended, answer.seen, answer.outcome
    target = answer.target
    # The helper reads the output by pid after the poll; by then, another run may have the pid.
    others = {run: _others_with_its_pid(run, answer) for _, run in seen}
    if outcome == "pass":
        readable = [*others, *(other for found in others.values() for other in found)]
        assert any(run.wrote(ended) for run in readable), "passed, but no match has written"
    elif outcome == "AmbiguousProcess":
        assert len(seen) > 1, "only one process matches"
    elif outcome == "Inconclusive":
        listed = [run for _, run in answer.world.listed(last)]
        assert any(
            other.pid == run.pid and other.start > run.start for run in others for other in listed
        ), "the output could be read"
    else:
        wrote = [
            run
            for life, run in seen
            if run.wrote(last) and life.run_at(ended) is run and not others[run]
        ]
        assert len(seen) != 1 or not wrote, "failed, but the process has written"
        if outcome in ("WaitTimedOut", "ProcessNotFound"):
            gone = target.one_run or target.how == "managed"
            assert answer.at_the_deadline or (gone and not seen), "gave up before the deadline"
        else:
            assert outcome in ("UnexpectedExit", "ProcessOOMKilled"), "another error"
            assert not answer.living, "success was still possible"


def _others_with_its_pid(run, answer):
    """Return other runs whose output the helper may have read by the same pid.

    Such a run started after the last poll, or had the pid before and is the only one listed now.
    """
    listed = [row for _, row in answer.world.listed(answer.ended)]
    return [
        other
        for life in answer.world.lives
        for other in life.runs
        if other.pid == run.pid
        and other is not run
        and (
            answer.last < other.start <= answer.ended
            or (run not in listed and other in listed)
        )
    ]  # fmt: skip


def check_until(answer, pids):
    """Check the answer of a wait for at least ``pids`` living processes."""
    if not has_answer(answer, deadline=answer.deadline):
        return
    alive = sum(run.end > answer.last for _, run in answer.world.listed(answer.last))
    assert (alive >= pids) == (answer.outcome == "pass")
    assert answer.outcome == "pass" or answer.at_the_deadline
