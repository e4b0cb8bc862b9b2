"""Conditions on one process: its status, its exit, its fields, that it stays as it is."""

from __future__ import annotations

from dataclasses import replace
from itertools import zip_longest
from typing import TYPE_CHECKING

from pytest_tlsandbox.errors import AssertionFailed, Inconclusive, WaitTimedOut
from pytest_tlsandbox.formatting.states import describe_state, signal_name
from pytest_tlsandbox.formatting.words import (
    capitalized,
    count,
    named,
    seconds,
    shown,
    shown_wanted,
)
from pytest_tlsandbox.history.incidents import CRASH, OOM
from pytest_tlsandbox.history.snapshot import differences, value_of
from pytest_tlsandbox.messages.failure import Explanation, Field
from pytest_tlsandbox.redact import mask_args
from pytest_tlsandbox.waiting.conditions.one_process import OneProcess
from pytest_tlsandbox.waiting.conditions.results import (
    CORRECTION_TIME,
    Impossible,
    Met,
    Pending,
    Verdict,
)
from pytest_tlsandbox.waiting.selectors import Selector

if TYPE_CHECKING:
    from pytest_tlsandbox.history.history import History
    from pytest_tlsandbox.history.runs import Run
    from pytest_tlsandbox.history.snapshot import ProcessSnapshot
    from pytest_tlsandbox.models import ProcessInfo
    from pytest_tlsandbox.types import Pick
    from pytest_tlsandbox.waiting.selectors import Selection


_CHANGING = frozenset(
    {"ended_at", "exit_code", "managed", "oom_killed", "signal", "status", "stdin_writable"}
)
"""Fields of a living process that may yet become what is wanted."""


class HasStatus(OneProcess):
    """It has one of these statuses, is healthy if that is asked, and stays so for a while."""

    def __init__(
        self,
        selector: Selector,
        history: History,
        statuses: tuple[str, ...],
        *,
        healthy: bool,
        stable_for: float,
        pick: Pick | None,
    ) -> None:
        super().__init__(selector, history, pick)
        self._statuses = statuses
        self._healthy = healthy
        self._stable_for = stable_for
        self.wanted = " or ".join(statuses) + (" and healthy" if healthy else "")
        self.wants_an_end = statuses != ("running",)

    def fits(self, row: ProcessInfo) -> bool:
        if row.state not in self._statuses:
            return False
        return not self._healthy or _health(row) == "healthy"

    def fields(self, row: ProcessInfo) -> tuple[Field, ...]:
        status = Field(
            "status",
            " or ".join(self._statuses),
            describe_state(row),
            row.state not in self._statuses,
        )
        if not self._healthy:
            return (status,)
        health = _health(row)
        return (status, Field("health", "healthy", health, health != "healthy"))

    def satisfied(self, row: ProcessInfo) -> Verdict:
        verdict = super().satisfied(row)
        if not self._stable_for or not isinstance(verdict, Met):
            return verdict
        return replace(
            verdict,
            stands_for=max(self._stable_for, verdict.stands_for),
            longest_gap=_longest_gap(self._stable_for),
            key=(row.identity, _restarts(row)),
            unsettled=Explanation(
                WaitTimedOut,
                f"Not stable: {named(row)}, wanted {seconds(self._stable_for)}",
                process=row,
                fields=self.fields(row),
                hint="a timeout= well above stable_for=; the timeline shows what interrupts it",
            ),
        )

    def declare(self, row: ProcessInfo) -> None:
        if "oom_killed" in self._statuses and row.state == "oom_killed":
            _declare(self._history, row, OOM)

    def waiting(self, row: ProcessInfo) -> Verdict:
        if self._healthy and row.state in self._statuses:
            if _health(row) in ("disabled", "not managed"):
                return Impossible(
                    Explanation(
                        AssertionFailed,
                        f"No health check: {named(row)}",
                        because="it can never be healthy",
                        process=row,
                        fields=self.fields(row),
                        hint="start it with health_check=, or wait without healthy=True",
                    )
                )
            return Pending(
                lambda: Explanation(
                    WaitTimedOut,
                    f"Not healthy: {named(row)} is {_health(row)}",
                    process=row,
                    fields=self.fields(row),
                    hint=_hint_on_health(row),
                )
            )
        return super().waiting(row)


class HasExited(OneProcess):
    """It exited with one of these codes, or with any known one."""

    wants_an_end = True

    def __init__(
        self,
        selector: Selector,
        history: History,
        codes: tuple[int, ...] | None,
        pick: Pick | None = None,
    ) -> None:
        super().__init__(selector, history, pick)
        self._codes = codes
        self._code_text = "any" if codes is None else " or ".join(map(str, codes))
        self.wanted = "any exit code" if codes is None else f"exit code {self._code_text}"

    def fits(self, row: ProcessInfo) -> bool:
        if row.state != "exited" or self._is_lost(row):
            return False
        return self._codes is None or row.exit_code in self._codes

    def fields(self, row: ProcessInfo) -> tuple[Field, ...]:
        code = "none" if row.exit_code is None else str(row.exit_code)
        fields = [
            Field("status", "exited", row.state, row.state != "exited"),
            Field("exit code", self._code_text, code, not self.fits(row)),
        ]
        if row.signal is not None:
            ours = ", sent by this test" if self._was_sent(row, row.signal) else ""
            fields.append(Field("signal", "", signal_name(row.signal) + ours, wrong=False))
        return tuple(fields)


class HasFields(OneProcess):
    """Every field is as given, now."""

    waits = False

    def __init__(
        self,
        selector: Selector,
        history: History,
        expected: dict[str, object],
        pick: Pick | None = None,
    ) -> None:
        super().__init__(selector, history, pick)
        self._expected = expected
        self.wanted = ", ".join(
            f"{name} {shown_wanted(value, name)}" for name, value in expected.items()
        )
        asks_for_an_end = expected.get("status", "running") != "running"
        self.wants_an_end = asks_for_an_end or bool({"exit_code", "signal"} & expected.keys())

    def fits(self, row: ProcessInfo) -> bool:
        return not differences(row, self._expected)

    def fields(self, row: ProcessInfo) -> tuple[Field, ...]:
        wrong = differences(row, self._expected)
        fields: list[Field] = []
        for name, value in self._expected.items():
            if name == "args" and name in wrong and isinstance(value, (list, tuple)):
                fields += _arguments(mask_args([*map(str, value)]), mask_args(row.args))
            else:
                was = shown(value_of(row, name))
                fields.append(Field(name, shown_wanted(value, name), was, name in wrong))
        return tuple(fields)

    def declare(self, row: ProcessInfo) -> None:
        named = self._expected.get("status") == "oom_killed" or self._expected.get("oom_killed")
        if named and (row.oom_killed or row.state == "oom_killed"):
            _declare(self._history, row, OOM)
        if row.signal is not None and self._expected.get("signal") == row.signal:
            _declare(self._history, row, CRASH)

    def waiting(self, row: ProcessInfo) -> Verdict:
        if self.wants_an_end and self._is_lost(row):
            return Impossible(self._end_finding(row, doubt=True), CORRECTION_TIME, row.identity)
        if differences(row, self._expected).keys() & _CHANGING:
            return self._mismatch(
                row, "wait_for_process or wait_for_exit, if it only needs more time"
            )
        return self._mismatch(row, "by(...) or a longer text, if another process was meant")

    def _ended(self, row: ProcessInfo, _selection: Selection) -> Verdict:
        if self._open_to_doubt(row):
            return Impossible(self._end_finding(row, doubt=True), CORRECTION_TIME, row.identity)
        return self._mismatch(row, self._hint_after(row))

    def _mismatch(self, row: ProcessInfo, hint: str) -> Impossible:
        wrong = differences(row, self._expected)
        return Impossible(
            Explanation(
                AssertionFailed,
                f"{named(row)} differs in {', '.join(wrong)}",
                process=row,
                fields=self.fields(row),
                hint=hint,
            )
        )


class IsListed(OneProcess):
    """It is listed, alive or not: what a signal, a kill or a look at its output is for."""

    wanted = "a process"
    wants_an_end = False
    waits = False
    pick_hint = ""

    def fits(self, row: ProcessInfo) -> bool:
        return not row.ended

    def fields(self, row: ProcessInfo) -> tuple[Field, ...]:  # noqa: ARG002 - none was asked for
        return ()

    def _ended(self, row: ProcessInfo, _selection: Selection) -> Verdict:
        return Met(row)

    def waiting(self, row: ProcessInfo) -> Verdict:
        return Met(row)


class Stays(OneProcess):
    """The same run has that status, look after look, for some seconds; stops at the first breach."""

    waits = False

    def __init__(
        self,
        selector: Selector,
        history: History,
        statuses: tuple[str, ...],
        duration: float,
        pick: Pick | None = None,
    ) -> None:
        super().__init__(selector, history, pick)
        self._statuses = statuses
        self._duration = duration
        self._longest_gap = _longest_gap(duration)
        self._run: Run | None = None
        self._restarts = 0
        self._last_look: float | None = None
        self._label = selector.label
        self.wanted = f"{' or '.join(statuses)} for {seconds(duration)}"
        self.wants_an_end = "running" not in statuses

    def judge(self, snapshot: ProcessSnapshot) -> Verdict:
        gap = 0.0 if self._last_look is None else snapshot.begun - self._last_look
        self._last_look = snapshot.ended
        if gap > self._longest_gap:
            return Impossible(
                Explanation(
                    Inconclusive,
                    f"Not observed: {seconds(gap)} between looks at {self._label}",
                    because=f"wanted no gap above {seconds(self._longest_gap)}",
                    hint="a longer seconds= allows for longer gaps: a tenth of it",
                )
            )
        return super().judge(snapshot)

    def fits(self, row: ProcessInfo) -> bool:
        if self._run is None:
            return row.state in self._statuses
        # A daemon may restart a process in place: its row is the same, and only the count rises.
        in_place = not row.ended and _restarts(row) > self._restarts
        same = self._history.run_of(row) is self._run and not in_place
        return row.state in self._statuses and same

    def fields(self, row: ProcessInfo) -> tuple[Field, ...]:
        wrong = row.state not in self._statuses
        return (Field("status", " or ".join(self._statuses), describe_state(row), wrong),)

    def satisfied(self, row: ProcessInfo) -> Verdict:
        if self._run is None:
            # From here on it is this run, whatever else the selector would fit.
            self._run, self._restarts = self._history.run_of(row), _restarts(row)
            if self._selector.may_select_others or row.managed is None:
                self._selector = Selector(row, self._history)
        return Met(row, self._duration, key=row.identity, longest_gap=self._longest_gap)

    def waiting(self, row: ProcessInfo) -> Verdict:
        restarted = row.state in self._statuses
        run = (Field("run", "the same", "another: it was restarted"),) if restarted else ()
        return Impossible(
            Explanation(
                AssertionFailed,
                f"{'Restarted' if restarted else capitalized(describe_state(row))}: {named(row)}, "
                f"wanted {self.wanted}",
                process=row,
                fields=self.fields(row) + run,
                hint="wait_for_process(process, stable_for=...), if it only needs time to settle",
            )
        )

    def _ended(self, row: ProcessInfo, _selection: Selection) -> Verdict:
        return Impossible(self._end_finding(row, doubt=False))


def _arguments(wanted: list[str], was: list[str]) -> list[Field]:
    """Set the arguments that differ beside each other, each by its position."""
    pairs = zip_longest(wanted, was, fillvalue="none")
    differing = [(at, one, other) for at, (one, other) in enumerate(pairs) if one != other]
    if not differing:
        return [Field("args", "other values", "masked")]
    return [Field(f"args[{at}]", one, other) for at, one, other in differing]


def _declare(history: History, row: ProcessInfo, kind: str) -> None:
    run = history.run_of(row)
    if run is not None:
        run.declared |= {kind}


def _longest_gap(duration: float) -> float:
    """Return the seconds that may pass between two polls of something that must not be interrupted."""
    return max(1.0, duration / 10)


def _restarts(row: ProcessInfo) -> int:
    return row.managed.restart_count if row.managed else 0


def _health(row: ProcessInfo) -> str:
    return row.managed.health_status if row.managed else "not managed"


def _hint_on_health(row: ProcessInfo) -> str:
    if row.managed is None or row.managed.health_status != "unhealthy":
        return "a longer timeout=, if it only needs more time"
    failures = row.managed.consecutive_health_failures
    often = f"it failed {count(failures, 'time')} in a row" if failures else "it fails"
    return f"its health check by hand: {often}"
