"""Conditions on one process: its status, its exit, its fields, that it stays as it is."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from pytest_tlsandbox import evidence
from pytest_tlsandbox.conditions.verdicts import (
    CORRECTION_TIME,
    SUCCESSOR_TIME,
    Hopeless,
    Pending,
    Satisfied,
    Verdict,
    not_found,
)
from pytest_tlsandbox.errors import (
    AmbiguousProcess,
    NotObserved,
    ProcessMismatch,
    ProcessNotFound,
    ProcessOOMKilled,
    UnknownEnd,
    WaitTimedOut,
    WrongEnd,
)
from pytest_tlsandbox.evidence import doubtful
from pytest_tlsandbox.messages.failure import Field, Finding, Listed
from pytest_tlsandbox.messages.words import count, named, seconds
from pytest_tlsandbox.snapshot import differences, value_of
from pytest_tlsandbox.status import describe_state, signal_name

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from pytest_tlsandbox.client.models import ProcessInfo
    from pytest_tlsandbox.evidence import Ledger
    from pytest_tlsandbox.selector import Selection, Selector
    from pytest_tlsandbox.snapshot import ProcessSnapshot

Pick = Literal["newest", "oldest"]


class _OneProcess:
    """What the conditions on one process share: to choose among matches, to tell why none fits."""

    wanted: str
    wants_an_end: bool

    def __init__(self, selector: Selector, ledger: Ledger, pick: Pick | None) -> None:
        self._selector = selector
        self._ledger = ledger
        self._pick = pick

    def judge(self, snapshot: ProcessSnapshot) -> Verdict:
        """Judge one look."""
        selection = self._selector.select(snapshot)
        fitting = [row for row in selection.matches if self.fits(row)]
        if fitting:
            if len(fitting) > 1 and self._pick is None:
                return self._ambiguous(fitting)
            return self.satisfied(self._choose(fitting))
        if selection.gone:
            return self._gone(selection.last_seen)
        if not selection.matches:
            return self._missing(snapshot, selection)
        if selection.living:
            if len(selection.living) > 1 and self._pick is None:
                return self._ambiguous(selection.living)
            row = self._choose(selection.living)
            return self.waiting(row, selection)
        return self._ended(self._choose(selection.matches, "newest"), selection)

    def fits(self, row: ProcessInfo) -> bool:
        """Tell whether a process is as wanted."""
        raise NotImplementedError

    def fields(self, row: ProcessInfo) -> tuple[Field, ...]:
        """Set what was wanted beside what is."""
        raise NotImplementedError

    def satisfied(self, row: ProcessInfo) -> Verdict:
        """Give the verdict for a process that fits."""
        stands_for = CORRECTION_TIME if self._open_to_doubt(row) else 0.0
        return Satisfied(row, stands_for, key=row.identity)

    def waiting(self, row: ProcessInfo, _selection: Selection) -> Verdict:
        """Give the verdict for a living process that does not fit."""
        headline = f"Still {describe_state(row)}: {named(row)}"
        if row.managed and row.ended:
            headline = f"Still {row.managed.status}: {named(row)}"
        return Pending(
            Finding(
                WaitTimedOut,
                headline,
                process=row,
                fields=self.fields(row),
                hint="a longer timeout=, if it only needs more time",
            )
        )

    def _open_to_doubt(self, row: ProcessInfo) -> bool:
        return self.wants_an_end and doubtful(row, self._ledger)

    def _choose(self, rows: Sequence[ProcessInfo], pick: Pick | None = None) -> ProcessInfo:
        return rows[0] if (self._pick or pick) == "oldest" else rows[-1]

    def _ambiguous(self, rows: Sequence[ProcessInfo]) -> Hopeless:
        return Hopeless(
            Finding(
                AmbiguousProcess,
                f"{len(rows)} processes are meant by {self._selector.label}",
                because="one must be",
                listed=tuple(Listed(row) for row in rows),
                listed_as="these",
                hint='a longer text, a pid, by(...), or pick="newest"',
            ),
            key=len(rows),
        )

    def _gone(self, row: ProcessInfo | None) -> Hopeless:
        name = self._selector.label if row is None else named(row)
        return Hopeless(
            Finding(
                ProcessNotFound,
                f"Gone: {name} is no longer listed",
                because=f"wanted {self.wanted}; how it ended cannot be known",
                process=row,
                hint="was the sandbox or its daemon restarted, or the process removed by a kill?",
            ),
            stands_for=CORRECTION_TIME,
        )

    def _missing(self, snapshot: ProcessSnapshot, selection: Selection) -> Verdict:
        return Pending(not_found(self._selector, snapshot, selection))

    def _ended(self, row: ProcessInfo, selection: Selection) -> Hopeless:
        doubt = self._open_to_doubt(row)
        finding = self._end_finding(row, doubt=doubt)
        stands_for = SUCCESSOR_TIME if selection.successors else CORRECTION_TIME if doubt else 0.0
        if selection.successors:
            finding = replace(
                finding, because=f"it has ended, and nothing followed within {SUCCESSOR_TIME:g} s"
            )
        if selection.older:
            before = ("before", f"{count(len(selection.older), 'more')} ended before this test")
            finding = replace(finding, remarks=(*finding.remarks, before))
        return Hopeless(finding, stands_for, key=row.identity)

    def _end_finding(self, row: ProcessInfo, *, doubt: bool) -> Finding:
        finding = Finding(
            WrongEnd,
            self._end_headline(row),
            because="it has ended",
            process=row,
            fields=self.fields(row),
        )
        if row.state == "oom_killed":
            return replace(
                finding,
                error=ProcessOOMKilled,
                headline=f"OOM-killed: {named(row)}, wanted {self.wanted}",
                hint="more memory for the sandbox, or less for the process",
            )
        if doubt:
            return replace(
                finding,
                error=UnknownEnd,
                headline=f"Unknown end: {named(row)} {_unknown_in_words(row)}",
                because=f"it did not change within {CORRECTION_TIME:g} s",
                hint="run it again: the sandbox loses the end of a few processes in a thousand",
            )
        if evidence.gave_up(row) and row.managed:
            restarts = count(row.managed.restart_count, "restart")
            return replace(finding, because=f"its supervisor gave up after {restarts}")
        return finding

    def _end_headline(self, row: ProcessInfo) -> str:
        state = describe_state(row)
        if self.wants_an_end or row.lifetime is None:
            return f"{state[0].upper()}{state[1:]}: {named(row)}, wanted {self.wanted}"
        ran = f"ran {seconds(row.lifetime.total_seconds())} and {state}"
        return f"Ended already: {named(row)} {ran}, wanted {self.wanted}"


class HasStatus(_OneProcess):
    """It has one of these statuses, is healthy if that is asked, and stays so for a while."""

    def __init__(
        self,
        selector: Selector,
        ledger: Ledger,
        statuses: tuple[str, ...],
        *,
        healthy: bool = False,
        stable_for: float = 0.0,
        pick: Pick | None = None,
    ) -> None:
        super().__init__(selector, ledger, pick)
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
        if not self._stable_for or not isinstance(verdict, Satisfied):
            return verdict
        return replace(
            verdict,
            stands_for=max(self._stable_for, verdict.stands_for),
            key=run_of(row),
            unsettled=Finding(
                WaitTimedOut,
                f"Not stable: {named(row)}, wanted {seconds(self._stable_for)}",
                process=row,
                fields=self.fields(row),
                hint="a timeout= above stable_for=",
            ),
        )

    def waiting(self, row: ProcessInfo, selection: Selection) -> Verdict:
        if self._healthy and row.state in self._statuses:
            if _health(row) in ("disabled", "not managed"):
                return Hopeless(
                    Finding(
                        ProcessMismatch,
                        f"No health check: {named(row)}",
                        because="it can never be healthy",
                        process=row,
                        fields=self.fields(row),
                        hint="start it with health_check=, or wait without healthy=True",
                    )
                )
            return Pending(
                Finding(
                    WaitTimedOut,
                    f"Not healthy: {named(row)} is {_health(row)}",
                    process=row,
                    fields=self.fields(row),
                )
            )
        return super().waiting(row, selection)


class HasExited(_OneProcess):
    """It exited with one of these codes, or with any known one."""

    wants_an_end = True

    def __init__(
        self,
        selector: Selector,
        ledger: Ledger,
        codes: tuple[int, ...] | None,
        pick: Pick | None = None,
    ) -> None:
        super().__init__(selector, ledger, pick)
        self._codes = codes
        self._code_text = "any" if codes is None else " or ".join(map(str, codes))
        self.wanted = f"{'any exit code' if codes is None else f'exit code {self._code_text}'}"

    def fits(self, row: ProcessInfo) -> bool:
        if row.state != "exited" or doubtful(row, self._ledger):
            return False
        return self._codes is None or row.exit_code in self._codes

    def fields(self, row: ProcessInfo) -> tuple[Field, ...]:
        code = "none" if row.exit_code is None else str(row.exit_code)
        fields = [
            Field("status", "exited", row.state, row.state != "exited"),
            Field("exit code", self._code_text, code, not self.fits(row)),
        ]
        if row.signal is not None:
            fields.append(Field("signal", "", signal_name(row.signal), wrong=False))
        return tuple(fields)


class HasFields(_OneProcess):
    """Every field is as given, now."""

    def __init__(
        self,
        selector: Selector,
        ledger: Ledger,
        expected: dict[str, object],
        pick: Pick | None = None,
    ) -> None:
        super().__init__(selector, ledger, pick)
        self._expected = expected
        self.wanted = ", ".join(f"{name} {value}" for name, value in expected.items())
        self.wants_an_end = bool({"exit_code", "signal", "status"} & expected.keys())

    def fits(self, row: ProcessInfo) -> bool:
        return not differences(row, self._expected)

    def fields(self, row: ProcessInfo) -> tuple[Field, ...]:
        wrong = differences(row, self._expected)
        return tuple(
            Field(name, str(value), str(value_of(row, name)), name in wrong)
            for name, value in self._expected.items()
        )

    def waiting(self, row: ProcessInfo, _selection: Selection) -> Verdict:
        return self._mismatch(row)

    def _ended(self, row: ProcessInfo, _selection: Selection) -> Hopeless:
        if self._open_to_doubt(row):
            return Hopeless(self._end_finding(row, doubt=True), CORRECTION_TIME, row.identity)
        return self._mismatch(row)

    def _missing(self, snapshot: ProcessSnapshot, selection: Selection) -> Verdict:
        return Hopeless(not_found(self._selector, snapshot, selection))

    def _mismatch(self, row: ProcessInfo) -> Hopeless:
        wrong = differences(row, self._expected)
        return Hopeless(
            Finding(
                ProcessMismatch,
                f"{named(row)} differs in {', '.join(wrong)}",
                process=row,
                fields=self.fields(row),
                hint="wait_for_process or wait_for_exit, if it only needs more time",
            )
        )


class Stays(_OneProcess):
    """The same run has that status, look after look, for some seconds; stops at the first breach."""

    def __init__(
        self,
        selector: Selector,
        ledger: Ledger,
        statuses: tuple[str, ...],
        duration: float,
        pick: Pick | None = None,
    ) -> None:
        super().__init__(selector, ledger, pick)
        self._statuses = statuses
        self._duration = duration
        self._longest_gap = max(1.0, duration / 10)
        self._run: Hashable = None
        self._last_look: float | None = None
        self.wanted = f"{' or '.join(statuses)} for {seconds(duration)}"
        self.wants_an_end = False

    def judge(self, snapshot: ProcessSnapshot) -> Verdict:
        gap = 0.0 if self._last_look is None else snapshot.begun - self._last_look
        self._last_look = snapshot.ended
        if gap > self._longest_gap:
            return Hopeless(
                Finding(
                    NotObserved,
                    f"Not observed: {seconds(gap)} between looks at {self._selector.label}",
                    because=f"wanted no gap above {seconds(self._longest_gap)}",
                )
            )
        return super().judge(snapshot)

    def fits(self, row: ProcessInfo) -> bool:
        return row.state in self._statuses and self._run in (None, run_of(row))

    def fields(self, row: ProcessInfo) -> tuple[Field, ...]:
        wrong = row.state not in self._statuses
        return (Field("status", " or ".join(self._statuses), describe_state(row), wrong),)

    def satisfied(self, row: ProcessInfo) -> Verdict:
        self._run = run_of(row)
        return Satisfied(row, self._duration, key=self._run)

    def waiting(self, row: ProcessInfo, _selection: Selection) -> Verdict:
        restarted = row.state in self._statuses
        return Hopeless(
            Finding(
                ProcessMismatch,
                f"{'Restarted' if restarted else describe_state(row).capitalize()}: {named(row)}, "
                f"wanted {self.wanted}",
                process=row,
                fields=self.fields(row),
            )
        )

    def _ended(self, row: ProcessInfo, _selection: Selection) -> Hopeless:
        return Hopeless(self._end_finding(row, doubt=False))

    def _missing(self, snapshot: ProcessSnapshot, selection: Selection) -> Verdict:
        return Hopeless(not_found(self._selector, snapshot, selection))


def run_of(row: ProcessInfo) -> tuple[Hashable, int]:
    """Give what changes when a process is started again."""
    return row.identity, row.managed.restart_count if row.managed else 0


def _health(row: ProcessInfo) -> str:
    return row.managed.health_status if row.managed else "not managed"


def _unknown_in_words(row: ProcessInfo) -> str:
    if row.state == "exited":
        if row.exit_code is None:
            return "exited with no exit code and no signal"
        return f"exited with code {row.exit_code}; the daemon lost the real one"
    if row.signal is None:
        return "was ended by a signal that is not named"
    return f"shows {signal_name(row.signal)}, which the sandbox also gives to good ends"
