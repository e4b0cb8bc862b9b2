"""Find the events of a test in the history of a sandbox."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_tlsandbox.formatting.processes import headline_of_end, short_name
from pytest_tlsandbox.history.incidents import CRASH, OOM, UNHEALTHY
from pytest_tlsandbox.messages.incidents import run_label, shown_row
from pytest_tlsandbox.types import CRASH_SIGNALS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_tlsandbox.failed_tests.used_sandbox import UsedSandbox
    from pytest_tlsandbox.history.runs import Run


@dataclass(frozen=True)
class Event:
    """An event in a sandbox that may explain a failure.

    Attributes:
        at: when the event happened, in seconds of this machine's monotonic clock.
        what: what happened, in words.
        kind: the kind of cause: "sandbox", "oom", "crash", "exit", "restart" or "none".
        sandbox: the sandbox in which the event happened.
        run: the affected run; None if the event affected the whole sandbox.

    """

    at: float
    what: str
    kind: str
    sandbox: UsedSandbox
    run: Run | None = None


class Happened:
    """The events in sandboxes during a test.

    Attributes:
        events: the events that may explain a failure.
        others: the names of all other processes, grouped by what happened to them.

    """

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.others: dict[str, list[str]] = defaultdict(list)

    def add(self, sandbox: UsedSandbox, needed: Iterable[Run]) -> None:
        """Add the events that happened in a sandbox since the running test began.

        If the test has already failed, only events since its last failure are added.

        Args:
            sandbox: the sandbox.
            needed: the runs that fixtures of the test started; the end of such a run is always
                added.

        """
        history = sandbox.history
        if history.first is not None and history.first.begun > sandbox.since:
            history.runs()  # converts the rows of the first list call, which may be new
        ends: dict[Run, float | None] = {}
        for run in history.changed_since(sandbox.since):
            if run.over_at is not None and run.over_at > sandbox.since:
                ends[run] = sandbox.time_of(run.end and run.end.ended_at, run.over_at, run)
            elif run.first_seen > sandbox.position and run is run.generation.runs[0]:
                began = sandbox.time_of(shown_row(run).started_at, run.changes[0].at, run)
                if began is not None and sandbox.belongs_to_the_test(run):
                    self.others["started"].append(name_of(run))
        since = max(sandbox.position, history.position_of(history.first))
        for incident in history.incidents(since):
            run, seen = incident.run, incident.at
            if incident.kind != UNHEALTHY:
                moment = run.end and run.end.ended_at
                ends[run] = ends.get(run) or sandbox.time_of(moment, seen, run)
            elif sandbox.belongs_to_the_test(run):
                what = f"Unhealthy: {name_of(run)}"
                self.events.append(Event(seen, what, "none", sandbox, run))
        for run in {each.generation.newest for each in needed if not each.generation.alive}:
            if kind_of(run) or run.ended_here:
                ends.setdefault(run, run.over_at)
        for run, at in ends.items():
            if at is not None and not run.assumed:
                self._add_end(Event(at, _describe(run), kind_of(run) or "", sandbox, run), run)
        if history.replaced_at > sandbox.position and history.last is not None:
            what = f"Another sandbox answers as {sandbox.label}"
            self.events.append(Event(history.last.begun, what, "sandbox", sandbox))
        if (outage := sandbox.outage) is not None:
            self.events.append(Event(outage.since, outage.what, "sandbox", sandbox))

    def _add_end(self, event: Event, run: Run) -> None:
        if not event.sandbox.belongs_to_the_test(run):
            self.others["ended in other tests"].append(name_of(run))
        elif event.kind:
            self.events.append(event)
        else:
            killed = "killed by the tests" if run.ended_here else "ended normally"
            self.others[killed].append(name_of(run))


def kind_of(run: Run) -> str | None:
    """Return the kind of cause if a run ended in an unexpected way, or None otherwise."""
    end = run.end
    if end is not None and end.oom_killed:
        return None if OOM in run.declared else "oom"
    if run.ended_here or not run.over:
        return None
    if run.gave_up or (end is not None and end.signal in CRASH_SIGNALS):
        return None if CRASH in run.declared else "crash"
    if end is not None and end.lost:
        return "none"
    if end is None or end.signal is not None or end.exit_code:
        return "exit"
    return "restart" if run.successor is not None and not run.restarted_here else None


def name_of(run: Run) -> str:
    """Return the name of a run without its pid, such as "train.py" or "web, restart 2"."""
    return ", ".join(filter(None, (short_name(shown_row(run)), run_label(run))))


def _describe(run: Run) -> str:
    end = run.end
    if end is None:
        text = "No longer listed" if run.is_newest else "End not seen"
    else:
        text = "End not known" if end.lost else headline_of_end(end)
    gave_up = "; its supervisor gave up" if run.gave_up else ""
    return f"{text}{', then restarted' if run.successor else ''}{gave_up}: {name_of(run)}"
