"""Conditions on the end, the exit code, the status, the restarts and the fields of one process."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import zip_longest

from pytest_tlsandbox.errors import AssertionFailed, ProcessOOMKilled, WaitTimedOut
from pytest_tlsandbox.formatting.processes import describe_state
from pytest_tlsandbox.formatting.text import capitalized, count, cut, seconds, shown, shown_wanted
from pytest_tlsandbox.history.incidents import CRASH, OOM, RESTART
from pytest_tlsandbox.history.runs import End, Run
from pytest_tlsandbox.history.snapshot import differences
from pytest_tlsandbox.messages.explanation import Field
from pytest_tlsandbox.messages.incidents import ended_row
from pytest_tlsandbox.models import ProcessInfo
from pytest_tlsandbox.redact import mask_args
from pytest_tlsandbox.waiting.conditions.process_condition import ProcessCondition
from pytest_tlsandbox.waiting.results import CORRECTION_TIME, Impossible, Met, Pending, Result
from pytest_tlsandbox.waiting.selectors import Selection, Selector, is_over

_CHANGING = {"ended_at", "exit_code", "managed", "oom_killed", "signal", "status", "stdin_writable"}
"""The fields that can change while the process is alive."""
_LONGEST_VALUE = 30
"""Maximum width, in columns, of a value in the first line of a message."""


class HasEnded(ProcessCondition):
    """A condition that is met if the process has ended and will not be restarted.

    The way in which the process ended does not matter. A process that is no longer listed also
    meets the condition.
    """

    wanted = "its end"
    wants_an_end = True

    def ended(self, row: ProcessInfo, _selection: Selection) -> Result:
        return self.met(row)

    def _gone(self, row: ProcessInfo | None) -> Result:
        return Met(row, CORRECTION_TIME)


@dataclass(eq=False, repr=False)
class HasExited(ProcessCondition):
    """A condition that is met if a process exited with one of the given codes.

    If ``codes`` is None, every exit code meets the condition.
    """

    codes: tuple[int, ...] | None

    def __post_init__(self) -> None:
        codes = " or ".join(map(str, self.codes or ()))
        self.wanted = f"exit code {codes}" if codes else "an exit code"
        self.wants_an_end = True

    def fits(self, row: ProcessInfo) -> bool:
        return row.state == "exited" and (self.codes is None or row.exit_code in self.codes)


@dataclass(eq=False, repr=False)
class HasStatus(ProcessCondition):
    """A condition that is met if a process keeps an accepted status for ``stable_for`` seconds.

    If ``healthy`` is true, the health check of the process must also pass.
    """

    statuses: tuple[str, ...]
    healthy: bool = False
    stable_for: float = 0.0
    _restarts: int | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.wanted = " or ".join(self.statuses) + (" and healthy" if self.healthy else "")
        if self.stable_for:
            kept = "a run time of" if self.wanted == "running" else f"{self.wanted} for"
            self.wanted = f"{kept} {seconds(self.stable_for)}"
        self.wants_an_end = self.statuses != ("running",)

    def fits(self, row: ProcessInfo) -> bool:
        return not self.fields(row)

    def fields(self, row: ProcessInfo) -> tuple[Field, ...]:
        fields, health = [], _health(row)
        if row.state not in self.statuses:
            fields.append(Field("status", " or ".join(self.statuses), describe_state(row)))
        if self.healthy and health != "healthy":
            fields.append(Field("health", "healthy", health))
        return tuple(fields)

    def met(self, row: ProcessInfo) -> Result:
        if not self.stable_for:
            return super().met(row)
        restarts = row.managed.restart_count if row.managed else 0
        self._restarts = restarts if self._restarts is None else self._restarts
        what, hint = capitalized(row.state), "pass a timeout= well above stable_for="
        if restarts > self._restarts:
            since = "ran" if row.state == "running" else row.state
            what, hint = f"{_end_before(row)}, then restarted and {since}", ""
        unsettled = self._explain(WaitTimedOut, what, row, hint)
        settling_time = max(self.stable_for, self._correction_time(row))
        return Met(row, settling_time, row.identity, _longest_gap(self.stable_for), unsettled)

    def declare(self, row: ProcessInfo) -> None:
        if "oom_killed" in self.statuses and row.state == "oom_killed":
            self._run_of(row).declared |= {OOM}

    def alive(self, row: ProcessInfo) -> Result:
        if not self.healthy or row.state not in self.statuses:
            return super().alive(row)
        health = _health(row)
        if health in ("disabled", "not managed"):
            hint = "start it with health_check=, or wait without healthy=True"
            explanation = self._explain(AssertionFailed, "No health check is configured", row, hint)
            return Impossible(explanation._replace(output=False))
        failures = row.managed.consecutive_health_failures if row.managed else 0
        often = f"its health check failed {count(failures, 'time')} in a row" if failures else ""
        what = f"Still {health}"
        return Pending(lambda: self._explain(WaitTimedOut, what, row)._replace(because=often))


@dataclass(eq=False, repr=False)
class Stays(HasStatus):
    """A condition that is met if one run keeps an accepted status for ``stable_for`` seconds.

    If the run is restarted or its status is no longer accepted, the condition is impossible.
    """

    waits = False
    _run: Run | None = field(default=None, init=False)

    def fits(self, row: ProcessInfo) -> bool:
        same_run = self._run is None or self.selector.history.run_of(row) is self._run
        return row.state in self.statuses and same_run

    def met(self, row: ProcessInfo) -> Result:
        if self._run is None:
            # From now on, only this run counts. The selector follows its process over restarts, so
            # that a failure names the restart.
            self._run = self.selector.history.run_of(row)
            self.selector = Selector(row, self.selector.history)
        return Met(row, self.stable_for, row.identity, _longest_gap(self.stable_for))

    def alive(self, row: ProcessInfo) -> Result:
        if row.ended:
            return Impossible(self._explain_end(row))
        if row.state not in self.statuses:
            return Impossible(self._explain(AssertionFailed, capitalized(describe_state(row)), row))
        last = row.managed.last_exit if row.managed else None
        error = ProcessOOMKilled if last is not None and last.oom_killed else AssertionFailed
        explanation = self._explain(error, f"{_end_before(row)}, then restarted", row)
        run = self._run
        if run is not None and run.successor is not None:
            explanation = explanation._replace(process=ended_row(run), run=run)
        return Impossible(explanation)


@dataclass(eq=False, repr=False)
class WasRestarted(ProcessCondition):
    """A condition that is met after a given number of restarts of one process.

    Only restarts after a given position in the history count. Restarts that this plugin requested
    do not count.
    """

    picks_first = True  # the restart of another process that matches is not a restart of this one
    restarts: int
    position: int

    def __post_init__(self) -> None:
        self.wanted = count(self.restarts, "restart")

    def fits(self, row: ProcessInfo) -> bool:
        return self._restarts(row) >= self.restarts

    def alive(self, row: ProcessInfo) -> Result:
        if row.managed is None:
            hint = "start it with name= or restart="
            return Impossible(self._explain(AssertionFailed, "Has no supervisor", row, hint))
        # From now on, follow this process over its restarts, even if it was selected by its pid.
        self.selector = Selector(row, self.selector.history)
        what = count(self._restarts(row), "restart")
        explanation = self._explain(WaitTimedOut, what, row)._replace(wanted=str(self.restarts))
        return Pending(lambda: explanation, until_end_of=None if row.ended else row)

    def ended(self, row: ProcessInfo, selection: Selection) -> Result:
        restarts = self.selector.one_run and not is_over(row)
        return self.alive(row) if restarts else super().ended(row, selection)

    def declare(self, row: ProcessInfo) -> None:
        for run in self._restarted_runs(row):
            run.declared |= {RESTART}

    def _restarts(self, row: ProcessInfo) -> int:
        return sum(run.times for run in self._restarted_runs(row))

    def _restarted_runs(self, row: ProcessInfo) -> list[Run]:
        incidents = self.selector.history.incidents(self.position)
        runs = [incident.run for incident in incidents if incident.kind == RESTART]
        own = [run for run in runs if run.generation is self._run_of(row).generation]
        return [run for run in own if not (run.restarted_here or run.assumed)]


@dataclass(eq=False, repr=False)
class HasFields(ProcessCondition):
    """A condition that is met if every field has the expected value. The condition never waits."""

    expected: dict[str, object]
    waits = False

    def __post_init__(self) -> None:
        texts = [f"{name}={shown_wanted(value, name)}" for name, value in self.expected.items()]
        self.wanted = " and ".join(texts)
        expects_an_end = self.expected.get("status", "running") != "running"
        self.wants_an_end = expects_an_end or bool({"exit_code", "signal"} & self.expected.keys())

    def fits(self, row: ProcessInfo) -> bool:
        return not differences(row, self.expected)

    def fields(self, row: ProcessInfo) -> tuple[Field, ...]:
        fields: list[Field] = []
        for name, was in differences(row, self.expected).items():
            wanted = self.expected[name]
            if name == "args" and isinstance(wanted, (list, tuple)):
                fields += _arguments(mask_args([*map(str, wanted)]), mask_args(row.args))
            else:
                fields.append(Field(name, shown_wanted(wanted, name), shown(was)))
        return tuple(fields)

    def declare(self, row: ProcessInfo) -> None:
        run, expected = self._run_of(row), self.expected
        if expected.get("status") == "oom_killed" or expected.get("oom_killed"):
            run.declared |= {OOM}
        if row.signal is not None and expected.get("signal") == row.signal:
            run.declared |= {CRASH}

    def alive(self, row: ProcessInfo) -> Result:
        if self._is_lost(row):
            return Impossible(self._explain_end(row), CORRECTION_TIME, row.identity)
        hint = "use by(...) or longer text to select another process" * bool(self.selector.text)
        if differences(row, self.expected).keys() <= _CHANGING:
            hint = "use wait_for_process() or wait_for_exit(), which wait for a change"
        return self._mismatch(row, hint)

    def ended(self, row: ProcessInfo, selection: Selection) -> Result:
        if self._correction_time(row):
            return super().ended(row, selection)
        return self._mismatch(row, self._hint_after(row))

    def _mismatch(self, row: ProcessInfo, hint: str) -> Impossible:
        names = differences(row, self.expected).keys()
        first, *others = self.fields(row)
        ended = row.ended and names <= _CHANGING
        if names == {"exit_code"} and row.state == "exited":
            what, wanted = End.of_row(row).headline, first.wanted
        elif others and ended:
            what, wanted = End.of_row(row).headline, cut(self.wanted, _LONGEST_VALUE)
        else:
            what = f"{first.name} was {cut(first.was, _LONGEST_VALUE)}"
            wanted = cut(first.wanted, _LONGEST_VALUE)
            differ = "differ" if len(others) > 1 else "differs"
            wanted += f" ({count(len(others), 'more field')} {differ})" if others else ""
        explanation = self._explain(AssertionFailed, what, row, hint)
        return Impossible(explanation._replace(wanted=wanted, output=ended))


def _longest_gap(duration: float) -> float:
    """Return the longest allowed time between two polls, in seconds.

    The result is a tenth of ``duration``, but at least 1 s.
    """
    return max(1.0, duration / 10)


def _end_before(row: ProcessInfo) -> str:
    """Return a headline that describes how the previous run of a process ended."""
    last = row.managed.last_exit if row.managed else None
    return "Ended" if last is None else End.of_last_exit(last).headline


def _health(row: ProcessInfo) -> str:
    return row.managed.health_status if row.managed else "not managed"


def _arguments(wanted: list[str], was: list[str]) -> list[Field]:
    """Return a ``Field`` for each argument that differs from the expected argument.

    The label of each ``Field`` contains the position of its argument.
    """
    pairs = zip_longest(wanted, was, fillvalue="(absent)")
    differing = [(at, one, other) for at, (one, other) in enumerate(pairs) if one != other]
    if not differing:
        return [Field("args", "another secret", "a secret")]
    return [Field(f"args[{at}]", one, other) for at, one, other in differing]
