"""Conditions that check whether one process reaches or keeps a status."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pytest_tlsandbox.errors import AssertionFailed, Inconclusive, ProcessOOMKilled, WaitTimedOut
from pytest_tlsandbox.formatting.processes import describe_state, headline_of_end
from pytest_tlsandbox.formatting.text import capitalized, count, seconds
from pytest_tlsandbox.history.incidents import OOM
from pytest_tlsandbox.messages.explanation import Explanation, Field
from pytest_tlsandbox.messages.incidents import ended_row
from pytest_tlsandbox.waiting.conditions.condition import Impossible, Met, Result
from pytest_tlsandbox.waiting.conditions.process_condition import ProcessCondition
from pytest_tlsandbox.waiting.selectors import Selector

if TYPE_CHECKING:
    from pytest_tlsandbox.history.runs import Run
    from pytest_tlsandbox.history.snapshot import ProcessSnapshot
    from pytest_tlsandbox.models import ProcessInfo
    from pytest_tlsandbox.types import Pick
    from pytest_tlsandbox.waiting.selectors import Selection


class HasStatus(ProcessCondition):
    """A condition that is met if a process keeps an accepted status for ``stable_for`` seconds.

    If ``healthy`` is true, the health check of the process must also pass.
    """

    def __init__(
        self,
        selector: Selector,
        statuses: tuple[str, ...],
        *,
        healthy: bool = False,
        stable_for: float = 0.0,
        pick: Pick | None = None,
    ) -> None:
        super().__init__(selector, pick)
        self._statuses = statuses
        self._healthy = healthy
        self._stable_for = stable_for
        self.wanted = " or ".join(statuses) + (" and healthy" if healthy else "")
        if stable_for:
            self.wanted = _for_some_time(self.wanted, stable_for)
        self.wants_an_end = statuses != ("running",)
        self._restarts: int | None = None

    def fits(self, row: ProcessInfo) -> bool:
        return not any(field.wrong for field in self.fields(row))

    def fields(self, row: ProcessInfo) -> tuple[Field, ...]:
        status = _status_field(row, self._statuses)
        health = _health(row)
        healthy = Field("health", "healthy", health, health != "healthy")
        return (status, healthy) if self._healthy else (status,)

    def met(self, row: ProcessInfo) -> Result:
        result = super().met(row)
        if not self._stable_for or not isinstance(result, Met):
            return result
        self._restarts = _restarts(row) if self._restarts is None else self._restarts
        what, hint = capitalized(row.state), "a timeout= well above stable_for="
        if _restarts(row) > self._restarts:
            what, hint = f"{_end_before(row)}, restarted, then {row.state}", ""
        return replace(
            result,
            settling_time=max(self._stable_for, result.settling_time),
            longest_gap=_longest_gap(self._stable_for),
            key=(row.identity, _restarts(row)),
            unsettled=self._explain(WaitTimedOut, what, row, hint),
        )

    def declare(self, row: ProcessInfo) -> None:
        run = self._history.run_of(row)
        if run is not None and "oom_killed" in self._statuses and row.state == "oom_killed":
            run.declared |= {OOM}

    def alive(self, row: ProcessInfo) -> Result:
        if not self._healthy or row.state not in self._statuses:
            return super().alive(row)
        health = _health(row)
        if health in ("disabled", "not managed"):
            hint = "start it with health_check=, or wait without healthy=True"
            explanation = self._explain(AssertionFailed, "No health check is configured", row, hint)
            return Impossible(replace(explanation, output=False))
        failures = row.managed.consecutive_health_failures if row.managed else 0
        often = f"its health check failed {count(failures, 'time')} in a row" if failures else ""
        return self._pending(f"Still {health}", row, because=often)


class Stays(ProcessCondition):
    """A condition that is met if one run keeps an accepted status for ``duration`` seconds.

    If the run is restarted or its status is no longer accepted, the condition is impossible. If the
    time between two polls is too long, the result is inconclusive.
    """

    waits = False

    def __init__(
        self,
        selector: Selector,
        statuses: tuple[str, ...],
        duration: float,
        pick: Pick | None = None,
    ) -> None:
        super().__init__(selector, pick)
        self._statuses = statuses
        self._duration = duration
        self._longest_gap = _longest_gap(duration)
        self._run: Run | None = None
        self._restarts = 0
        self._last_poll: float | None = None
        self._label = selector.label
        self.wanted = _for_some_time(" or ".join(statuses), duration)
        self.wants_an_end = "running" not in statuses

    def evaluate(self, snapshot: ProcessSnapshot) -> Result:
        gap = 0.0 if self._last_poll is None else snapshot.begun - self._last_poll
        self._last_poll = snapshot.ended
        if gap > self._longest_gap:
            return Impossible(
                Explanation(
                    Inconclusive,
                    f"Monitoring was interrupted for {seconds(gap)}, longer than {seconds(self._longest_gap)}",
                    self._label,
                    hint="a longer stable_for: gaps between polls may last up to a tenth of stable_for",
                )
            )
        return super().evaluate(snapshot)

    def fits(self, row: ProcessInfo) -> bool:
        if self._run is None:
            return row.state in self._statuses
        # A daemon may restart a process in place; then only the restart count in the row changes.
        in_place = not row.ended and _restarts(row) > self._restarts
        same = self._history.run_of(row) is self._run and not in_place
        return row.state in self._statuses and same

    def fields(self, row: ProcessInfo) -> tuple[Field, ...]:
        return (_status_field(row, self._statuses),)

    def met(self, row: ProcessInfo) -> Result:
        if self._run is None:
            # From now on, only this run counts, even if the selector matches other processes.
            self._run, self._restarts = self._history.run_of(row), _restarts(row)
            if self._selector.may_select_others or row.managed is None:
                self._selector = Selector(row, self._history)
        return Met(row, self._duration, key=row.identity, longest_gap=self._longest_gap)

    def alive(self, row: ProcessInfo) -> Result:
        if row.state not in self._statuses:
            return Impossible(self._explain(AssertionFailed, capitalized(describe_state(row)), row))
        last = row.managed.last_exit if row.managed else None
        error = ProcessOOMKilled if last is not None and last.oom_killed else AssertionFailed
        explanation = self._explain(error, f"{_end_before(row)}, then restarted", row)
        run = self._run
        if run is not None and run.successor is not None:
            explanation = replace(explanation, process=ended_row(run), run=run)
        return Impossible(replace(explanation, fields=()))

    def ended(self, row: ProcessInfo, _selection: Selection) -> Result:
        return Impossible(self._explain_end(row))


def _for_some_time(status: str, duration: float) -> str:
    if status == "running":
        return f"a run time of {seconds(duration)}"
    return f"{status} for {seconds(duration)}"


def _status_field(row: ProcessInfo, statuses: tuple[str, ...]) -> Field:
    return Field("status", " or ".join(statuses), describe_state(row), row.state not in statuses)


def _longest_gap(duration: float) -> float:
    """Return the longest allowed time between two polls, in seconds.

    This time is a tenth of ``duration``, but at least 1 s.
    """
    return max(1.0, duration / 10)


def _restarts(row: ProcessInfo) -> int:
    return row.managed.restart_count if row.managed else 0


def _end_before(row: ProcessInfo) -> str:
    """Describe how the previous run of a process ended, for the first line of a message."""
    last = row.managed.last_exit if row.managed else None
    return "Ended" if last is None else headline_of_end(last)


def _health(row: ProcessInfo) -> str:
    return row.managed.health_status if row.managed else "not managed"
