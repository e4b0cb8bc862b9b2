"""The oracle: expected incidents, answers and findings, derived from the truth of the simulator.

`History` folds the successful answers (views) of the daemon. It knows which run each row shows and
which run `last_exit` describes, so it does not guess. If a client must guess (cases U1 to U7 in
`docs/explanation/history.md`), the oracle allows several answers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from types import SimpleNamespace

from .daemon import CRASH_SIGNALS, KILL, RUNNING, TERM, Run

GONE_AFTER = 1.0  # a process counts as gone after it was not listed for this number of seconds
CORRECTION, SUCCESSOR = 1.0, 2.0  # seconds until a lost end is final, or no successor is expected
OUTAGE_BUDGET = 30.0
LONGEST_GAP = 1.15  # after a longer time without a poll, a period begins again
RULE_OF = {
    "oom": "oom", "crash": "crash", "gave_up": "crash", "restart": "restart",
    "unhealthy": "unhealthy", "leak": "leak", "unseen_end": "inconclusive", "lost_end": "inconclusive",
}  # fmt: skip
ERROR_OF = {"oom": "ProcessOOMKilled", "crash": "ProcessCrashed", "restart": "ProcessRestarted"}
OPEN_ENDED = 1 << 30
UNSURE = frozenset({
    "pass", "ProcessNotFound", "AmbiguousProcess", "WaitTimedOut", "UnexpectedExit", "ProcessOOMKilled",
    "ProcessCrashed", "ProcessRestarted", "ProcessUnhealthy", "AssertionFailed", "Inconclusive",
    "SuspectedOOMKill",
})  # fmt: skip
UNSURE_RESULT = "unsure", UNSURE
MET = "met", frozenset({"pass"})
INCONCLUSIVE = frozenset({"Inconclusive"})
NOT_THE_SAME = frozenset({
    "UnexpectedExit", "AssertionFailed", "ProcessOOMKilled", "ProcessRestarted", "ProcessNotFound",
})  # fmt: skip
PASS_OR_FAIL = frozenset({"pass", "AssertionFailed"})
BOTH = frozenset({True, False})
CORRECTABLE = frozenset({"oom", "suspected_oom", "crash"})  # a late flag or code may reveal these
ONE_END_OR_TWO = "U4, before this list"


class Unclear(BaseException):
    """All rows are new, as if another daemon replaced this one; nothing later is compared."""


@dataclass(eq=False)
class Known:
    """The evidence about one run from all views so far.

    Attributes:
        first: the first view that showed the run.
        over: the first view that showed that the run had ended.
        end: the best known end.
        gone_at: the time of the first full list without the run.

    """

    first: int
    listed = oom = False
    over = end = None
    gone_at = -1.0


@dataclass(eq=False)
class Incident:
    """One kind of event of one run, and the views at which it may first be reported.

    Attributes:
        at: the world time of the event.

    """

    kind: str
    run: Run
    low: int
    high: int
    at: int
    required: bool
    retracted = vanished = False


@dataclass(eq=False)
class Target:
    """How a question selects a process; `matches` decides on the truth behind a row."""

    how: str  # object, pid, text, name, regex, predicate, by
    value: object
    run: Run
    matches: Callable[[Run], bool]

    @property
    def exact(self):
        """Return whether the target selects a process regardless of its age."""
        return self.how in ("object", "pid")


@dataclass(eq=False)
class Question:
    """One call of a helper."""

    helper: str
    target: Target | None
    options: dict[str, object] = field(default_factory=dict)
    began: float = 0.0
    position: int = 0
    first_view: int = 0  # index of the first view after the call

    @property
    def negative(self):
        """Return whether the call asserts that something did not happen."""
        return self.helper.startswith("assert_no_")

    def selects(self, run):
        return self.target is None or self.target.matches(run)


class History:
    """All views so far and the incidents that they show."""

    def __init__(self, daemon):
        """Start without views."""
        self.daemon = daemon
        self.views, self.known, self.incidents, self.newest, self.by_id = [], {}, {}, {}, {}
        self.unhealthy = []
        self.shown = {}  # the last full list, by run
        self.open = set()  # listed, and not known to have ended
        self.doubts = []  # managed id, view, case
        self.probes = {}  # whether "port" was open, or "output" written; by the last view before it
        self.failing = None  # since when no request succeeded
        self.way_known = False  # whether the count rises when backing off begins

    # --- the fold -----------------------------------------------------------------------------

    def see(self, at, rows, *, full):
        """Fold one successful answer: a list, or the row that our own start or restart returned."""
        world = self.daemon.world
        view = SimpleNamespace(index=len(self.views), at=at, world=world, rows=rows, full=full)
        before = self.shown
        ended = {shown.end is None for shown in before.values()}
        if full and len(ended) == 2 and not before.keys() & {shown.run for shown in rows}:
            raise Unclear
        self.views.append(view)
        changed = [shown for shown in rows if before.get(shown.run) is not shown]
        for shown in changed:
            self._see_row(shown, view, before.get(shown.run))
        in_order = sorted(changed, key=lambda shown: (shown.run.gen.order, shown.run.number))
        latest = {shown.run.gen: shown for shown in in_order if shown.run.gen.id is not None}
        if full:
            for incident in self.incidents.values():
                if not self.views[incident.low].full and not incident.vanished:
                    incident.high = min(incident.high, view.index)
            self.shown = {shown.run: shown for shown in rows}
        for gen, shown in latest.items():
            self._progress(gen, shown, view)
            for run in () if full else self.open:
                if run.gen.id == gen.id and run.gen is not gen:  # the next list may show its end
                    self._add("unseen_end", run, view, run.ended or view.world, required=False)
        if full:
            self._vanish(view)

    def _add(self, kind, run, view, at, *, required=True):
        """Add an incident, if it is not known; return it."""
        if (kind, run) not in self.incidents:
            # A row from our own call counts as a view, but a client may wait for the next list.
            high = view.index if view.full else OPEN_ENDED
            self.incidents[kind, run] = Incident(kind, run, view.index, high, at, required)
        return self.incidents[kind, run]

    def _see_row(self, shown, view, before):
        run, gen, end = shown.run, shown.run.gen, shown.exit or shown.end
        known = self.known.setdefault(run, Known(view.index))
        known.listed, known.gone_at = True, -1.0
        if shown.end:
            self._see_end(run, shown.end, view)
        elif known.over is None:
            self.open.add(run)
        if shown.exit_run and shown.exit:
            self._see_end(shown.exit_run, shown.exit, view)
        limit = gen.restart["max_restarts"]
        looks_so = (
            shown.status == "stopped" and end is not None and limit is not None
            and gen.restart["policy"] != "never" and shown.count >= limit and end.exit_code != 0
        )  # fmt: skip
        if shown.gave_up or looks_so:
            # U5: without last_error, a deliberate stop and a supervisor that gave up look alike;
            # documents are silent on a clean exit under "always", and on a lost end.
            mild = end.signal in (TERM, KILL) or end.exit_code in (137, 143) or end.is_lost
            clear = self.daemon.layout.says_why or not mild
            sure = shown.gave_up and end.exit_code != 0 and clear
            incident = self._add("gave_up", run, view, run.ended or 0, required=sure)
            if not incident.required:  # perhaps a lost end was corrected
                incident.high, incident.required = view.index, sure
        if shown.unhealthy and not (before and before.unhealthy):
            index, alive = view.index, shown.end is None
            self.unhealthy.append(Incident("unhealthy", run, index, index, view.world, alive))

    def _see_end(self, run, end, view):
        known = self.known.setdefault(run, Known(view.index))
        self.open.discard(run)
        if known.over is None:
            known.over = view.index
        at = run.ended or 0
        self._retract("unseen_end", run)
        if end.is_oom and not known.oom:
            known.oom = True
            self._add("oom", run, view, run.oom_at or at)
            self._correct_gave_up(run, view)
        if end.is_lost and not known.oom:
            self._add("lost_end", run, view, at)
            return
        known.end = end
        if self._retract("lost_end", run):
            self._correct_gave_up(run, view)
        if end.signal in CRASH_SIGNALS:
            self._add("crash", run, view, at)
        if (end.signal == KILL or end.exit_code == 137) and not known.oom:
            self._add("suspected_oom", run, view, at)

    def _retract(self, kind, run):
        incident = self.incidents.get((kind, run))
        if incident:
            incident.retracted = True
        return incident

    def _correct_gave_up(self, run, view):
        """Allow "gave up" from this view on: the corrected end may be a failure (U5)."""
        gave_up = self.incidents.get(("gave_up", run))
        if gave_up and not gave_up.required:
            gave_up.high = view.index

    def _progress(self, gen, shown, view):
        """Record restarts and hidden runs of a managed process."""
        before, number = self.newest.get(gen), shown.run.number
        if before is not None and number < before.run.number:
            return  # an older row, because the newest row was removed
        self.newest[gen] = shown
        sure = True
        if before is None:
            sure = self._first_progress(gen, shown, view)
        elif number > before.run.number:
            self._check_outside_restart(gen, before, shown, view)
            if not self.way_known and "backing_off" in (before.status, shown.status):
                self.doubts.append((gen.id, view.index, "U4"))
        elif shown.status == "backing_off" != before.status:
            self.way_known = True  # the same run, before and after its end: did the count rise?
        start = before.run.number if before else 0
        for run in gen.runs[start : number + 1]:
            known = self.known.setdefault(run, Known(view.index))
            if run.number > start or (before is None and run.number):
                required = sure and run.number == number
                self._add("restart", run, view, run.began, required=required)
            if run.number < number and known.over is None:  # no list showed its end
                self._over_unseen(run, view, required=sure)

    def _first_progress(self, gen, shown, view):
        """Begin with the first row of a managed process; return whether its past is certain."""
        number, old = shown.run.number, self.by_id.get(gen.id)
        self._check_redeployed(old, gen, shown, view)
        if old is None or old.order < gen.order:
            self.by_id[gen.id] = gen
        mine = [row for row in view.rows if row.run.gen is gen]
        mine.sort(key=lambda row: row.run.number)
        restarted = any(run.by == "outside restart" for run in gen.runs[1 : number + 1])
        if restarted and not self.daemon.layout.counts_manual:
            self.doubts.append((gen.id, view.index, "U3"))  # restarts that no count shows
        elif restarted and gen.name and any(row.status == "stopped" for row in mine[:-1]):
            self.doubts.append((gen.id, view.index, "U2"))
        # One end or two (U4)? The oldest listed row decides where the numbers begin.
        oldest, first = mine[0], self.known.get(gen.runs[0])
        known_before = first is not None and first.listed and first.first < view.index
        waits = oldest.end is not None or oldest.status == "backing_off"
        if waits and oldest.count and not known_before:
            self.doubts.append((gen.id, view.index, ONE_END_OR_TWO))
            return False
        # The first list may show a process that started before; earlier incidents are optional.
        return view.index > 0

    def _over_unseen(self, run, view, *, required):
        self.known[run].over = view.index
        self.open.discard(run)
        ended = run.ended or view.world
        incident = self._add("unseen_end", run, view, ended, required=required)
        if incident.low < view.index and not incident.vanished:  # allowed when its name was taken
            incident.required = required
        if view.full:
            incident.high = view.index

    def _vanish(self, view):
        for run in self.open - self.shown.keys():
            known, gen = self.known[run], run.gen
            if not self._is_last(gen) or (gen in self.newest and self.newest[gen].run is not run):
                self._over_unseen(run, view, required=True)
            elif known.gone_at < 0:
                known.gone_at = view.at
                incident = self._add("unseen_end", run, view, run.ended or view.world)
                incident.high, incident.vanished = OPEN_ENDED, True
            elif view.at - known.gone_at >= GONE_AFTER:
                self.incidents["unseen_end", run].high = known.over = view.index
                self.open.discard(run)

    # --- what the data cannot decide ----------------------------------------------------------

    def _check_redeployed(self, old, gen, shown, view):
        """Record U1: the same name and configuration, first seen after its first run."""
        if old is None or gen.ours:
            return
        before = self.newest.get(old)
        counts_on = before is None or shown.count >= before.count
        stopped = [row.run for row in view.rows if row.status == "stopped"]  # and still listed
        same = (old.command, old.args, old.restart) == (gen.command, gen.args, gen.restart)
        if same and counts_on and shown.exit_run and not (before and before.run in stopped):
            self.doubts.append((gen.id, view.index, "U1"))

    def _check_outside_restart(self, gen, before, shown, view):
        """Record U2 and U3: another client restarted the process between two lists."""
        between = gen.runs[before.run.number + 1 : shown.run.number + 1]
        if not any(run.by == "outside restart" for run in between):
            return
        stopped = before.status == "stopped" or gen.killed_by_us or any(
            row.status == "stopped" for row in view.rows
            if row.run.gen is gen and row.run is not shown.run
        )  # fmt: skip
        ended = shown.exit_run is not before.run or self.known[before.run].over == view.index
        if gen.name and stopped and ended:
            self.doubts.append((gen.id, view.index, "U2"))
        if not self.daemon.layout.counts_manual and (gen.name or len(between) > 1):
            self.doubts.append((gen.id, view.index, "U3"))

    def act(self, run):
        """Record U7: our action reaches a process that has changed since the last list."""
        if run is None or (run.gen.id is None and run in self.known):
            return  # a signal by pid reaches that run or nothing
        gen = run.gen
        seen = self.newest.get(gen)
        if seen is not None and seen.run is gen.run and (
            (self.known[seen.run].over is not None) == (gen.run.ended is not None)
        ):  # fmt: skip
            return
        for stale in (gen.run, run, *([seen.run] if seen else [])):
            stale.raced = True
        if gen.id:
            self.doubts += [(gen.id, len(self.views) + later, "U7") for later in (0, 1)]

    def doubtful(self, run, low, high):
        """Return whether a case makes incidents of this process undecidable at these views."""
        return any(
            managed_id == run.gen.id and low <= at <= high and case != ONE_END_OR_TWO
            for managed_id, at, case in self.doubts
        )

    def is_certain(self, incident):
        """Return whether a client must find an incident once all its views were seen."""
        doubtful = self.doubtful(incident.run, incident.low - 1, incident.low + 1)
        return incident.required and not incident.retracted and not doubtful

    def doubted_since(self, run, position):
        """Return whether a case concerns this process after the position."""
        return self.doubtful(run, position + 1, OPEN_ENDED)

    # --- who caused it ------------------------------------------------------------------------

    def caused(self, incident):
        """Return the allowed values for whether this client caused the incident."""
        run = incident.run
        if incident.kind in ("oom", "unhealthy", "leak"):
            return frozenset({False})
        if incident.kind != "restart":
            return self.caused_end(run)
        if run.by == "own restart":
            return frozenset({True})
        # After an end of ours, a restart by others looks like the supervisor's.
        others = {False} if run.by == "outside restart" else set()
        return self.caused_end(run.gen.runs[run.number - 1]) | others

    def caused_end(self, run):
        """Return whether this client's actions explain the end of a run, by the documented rule."""
        known, acts = self.known.get(run), run.acts
        if run.raced:
            return BOTH
        if not acts or (known and known.oom):
            return frozenset({False})
        end = known.end if known else None
        if end is None or end.is_lost:
            rule = bool(acts & {KILL, *CRASH_SIGNALS})
        elif end.signal is not None:
            rule = end.signal in acts
        else:
            rule = KILL in acts or end.exit_code - 128 in acts
        if rule != run.cause.startswith("own"):
            return BOTH  # U6
        return frozenset({rule})

    # --- (a) incidents ------------------------------------------------------------------------

    def check_incidents(self, reported):
        """Return the first error in the reported incidents, or ""."""
        seen, doubted = set(), {managed_id for managed_id, *_ in self.doubts}
        for found in reported:
            known = self.incidents.values()
            options = [i for i in known if i.kind == found.kind and self.is_of(i.run, found)]
            right = [i for i in options if self._agrees(i, found)]
            before_the_first_list = found.view == 0 and found.kind in ("unseen_end", "restart")
            if not (right or found.managed_id in doubted or before_the_first_list):
                options = [f"{i}, ours {set(self.caused(i))}" for i in options]
                return f"not an incident: {found}; known {options}"
            seen.update((i.kind, i.run) for i in right)
        return self._missing(seen)

    def is_of(self, run, found):
        """Return whether a reported incident or finding shows a run: by its row, or as hidden."""
        if found.pid is not None:
            handle = run.handle if self.daemon.layout.handles else None
            shown = found.handle, found.pid, found.started_at
            return shown == (handle, run.pid, run.started_at)
        known = self.known.get(run)
        hidden = known is None or not known.listed
        return hidden and run.gen.id is not None and run.gen.id == found.managed_id

    def _agrees(self, incident, found):
        """Return whether an incident has the view and the cause of a reported one."""
        retracted = incident.retracted and incident.kind != "suspected_oom"  # confirmed later
        in_time = incident.low <= found.view <= incident.high
        return in_time and not retracted and found.ours in self.caused(incident)

    def _missing(self, seen):
        """Return which required incident was not reported, or ""."""
        last = next((view.index for view in reversed(self.views) if view.full), -1)
        for (kind, run), incident in self.incidents.items():
            unsure = (kind == "suspected_oom" and self.known[run].oom) or (
                kind in CORRECTABLE and self.doubted_since(run, -1)
            )
            certain = self.is_certain(incident) and incident.high <= last and not unsure
            if certain and (kind, run) not in seen:
                return f"missing: {kind} of {run} at view {incident.low}"
        return ""

    # --- (b) answers --------------------------------------------------------------------------

    def allowed(self, question, now):
        """Return the allowed outcomes of a call that ended at ``now``."""
        views = [view for view in self.views[question.first_view :] if view.full]
        waits = question.helper.startswith("wait") or question.helper == "stop_process"
        deadline = question.began + question.options.get("timeout", OPEN_ENDED)
        over = now >= deadline - 0.002
        long_outage = self.failing is not None and now - self.failing >= OUTAGE_BUDGET - 0.6
        gives_up = over or long_outage or question.helper == "stop_process"
        if not views:
            unreachable = {"SandboxUnreachable", "SandboxNotRunning"}
            return unreachable | ({"WaitTimedOut"} if waits else set()) if gives_up else set()
        answers = self._answers(question, views, now)
        if gives_up and now - views[-1].at >= 0.9:
            # After such a long time without a snapshot, the last snapshot no longer counts.
            return answers | {"SandboxUnreachable"}
        return answers

    def _answers(self, question, views, now):
        target = question.target
        if target is not None and target.how == "pid":
            same = [row.run for row in views[0].rows if row.run.pid == target.value]
            if target.run is not max(same, key=lambda run: run.handle, default=target.run):
                return UNSURE  # the call selected the newest run that its first poll listed
        if question.negative:
            return self._no_incident(question, views)
        if target is None:
            return self._wait(question, views, now)
        selected = [run for run in self.known if not target.exact and target.matches(run)]
        doubted = any(self.doubted_since(run, -1) for run in (target.run, *selected))
        if doubted and question.helper != "wait_for_count":
            return UNSURE
        return getattr(self, f"_{question.helper}", self._wait)(question, views, now)

    def _eligible(self, target, shown, position):
        """Return whether a row counts for a selector."""
        known = self.known[shown.run]
        if target.exact or known.first > position or known.over is None or known.over > position:
            return True
        # The process may have been waiting for its restart when the test began.
        rows = self.views[position].rows if 0 <= position < len(self.views) else ()
        before = next((row for row in rows if row.run is shown.run), shown)
        return before.end is None or before.status not in ("", "stopped")

    def _candidates(self, target, view, position):
        """Return the newest row of each process that matches."""
        in_order = sorted(view.rows, key=lambda row: row.run.number)
        newest = {row.run.gen: row for row in in_order if target.matches(row.run)}.values()
        # An object stands for the newest run, even if its row was removed.
        whole = target.how == "object"
        rows = [row for row in newest if not (whole and self._is_replaced(row.run, view))]
        return [row for row in rows if self._eligible(target, row, position)]

    def _is_replaced(self, run, view):
        """Return whether a later run of the process was known at a view."""
        later = run.gen.runs[run.number + 1 :]
        return any(self.known[it].first <= view.index for it in later if it in self.known)

    def _is_removed(self, gen, view):
        """Return whether the newest row of a process was removed; older ones may still be listed."""
        newest = self.newest.get(gen)
        return newest is not None and all(row.run is not newest.run for row in view.rows)

    def _is_last(self, gen):
        """Return whether nothing was deployed later under the id of a generation."""
        return self.by_id.get(gen.id, gen) is gen

    def _lives(self, shown):
        waits = shown.status == "backing_off" and self._is_last(shown.run.gen)
        return shown.end is None or waits

    def _evaluate(self, question, view):
        """Return (met, pending, over, failed, none, unsure) and the classes of a failure."""
        target, pick = question.target, question.options.get("pick")
        if question.helper == "wait_until":
            running = sum(row.end is None for row in view.rows)
            return MET if running >= 2 else ("pending", set())
        if question.helper == "wait_for_count":
            return self._evaluate_count(question, view)
        rows = self._candidates(target, view, question.position)
        if not rows:
            return "none", frozenset({"ProcessNotFound"})
        if not target.exact and any(
            not self._is_last(shown.run.gen) or self._is_replaced(shown.run, view) for shown in rows
        ):
            return UNSURE_RESULT  # the newest row was removed, and an older one is still listed
        if len(rows) > 1:
            running = sum(shown.end is None for shown in rows)
            if running > 1 and not pick:
                return "ambiguous", frozenset({"AmbiguousProcess"})
            if running < len(rows) or not pick:
                return UNSURE_RESULT
        shown = self._chosen(question, view)
        if question.helper == "wait_for_output":
            return self._evaluate_output(question, shown, view)
        return self._evaluate_row(question, target, shown)

    def _chosen(self, question, view):
        """Return the only candidate, or the one that the question's ``pick`` selects."""
        rows = self._candidates(question.target, view, question.position)
        first_or_last = max if question.options.get("pick") == "newest" else min
        return first_or_last(rows, key=lambda shown: shown.run.handle)

    def _evaluate_output(self, question, shown, view):
        same = [run for run in self.daemon.runs if run.pid == shown.run.pid]
        later = same[same.index(shown.run) + 1 :]
        if any(row.run in later for row in view.rows):
            return "failed", INCONCLUSIVE  # output is requested by pid
        if later or (question.target.how == "pid" and shown.status):
            return UNSURE_RESULT
        if self.probes.get(("output", view.index)):
            return MET
        if shown.end is None or shown.status not in ("", "stopped"):
            return "pending", set()
        return "over", self._end_classes(question, shown)

    def fits(self, question, run):
        """Return whether a process that a passing call returned meets the condition."""
        shown = next((shown for shown in self.views[-1].rows if shown.run is run), None)
        if shown is None or question.helper in ("stop_process", "wait_for_output"):
            return True
        return self._evaluate_row(question, question.target, shown)[0] in ("met", "unsure")

    def _evaluate_count(self, question, view):
        rows = [row for row in view.rows if question.target.matches(row.run)]
        if sum(row.end is None for row in rows) == question.options["count"]:
            return MET
        if any(self._lives(row) for row in rows if not self._is_replaced(row.run, view)):
            return "pending", frozenset()
        # Processes that ended before the test began do not count.
        ended = {"UnexpectedExit", "ProcessOOMKilled"} if rows else set()
        return "over" if rows else "none", ended | {"ProcessNotFound"}

    def _evaluate_restart(self, question, shown):
        """Return whether there were enough restarts; None if not known."""
        since, enough = question.position, question.options["count"]
        restarts = [
            incident for (kind, run), incident in self.incidents.items()
            if kind == "restart" and run.gen is shown.run.gen and run.by != "own restart"
            and run.number <= shown.run.number and incident.high > since
        ]  # fmt: skip
        # Whether a restart by another client counts is not documented.
        certain = sum(i.low > since and i.required and i.run.by == "supervisor" for i in restarts)
        return certain >= enough or (None if len(restarts) >= enough else False)

    def _evaluate_row(self, question, target, shown):
        end, options, helper = shown.end or RUNNING, question.options, question.helper
        child = end.oom_killed and end.status == "exited"
        # A pid of a managed process may identify the run or the whole.
        older = target.how == "pid" and shown.status and shown.run is not shown.run.gen.run
        if end.is_hangup or shown.lags or older:
            return UNSURE_RESULT
        may_lose = INCONCLUSIVE
        if "exit_code" not in options:
            asserts = {"AssertionFailed"} if helper.startswith("assert") else set()
            may_lose = {"Inconclusive", "UnexpectedExit"} | asserts
        if helper == "assert_process" and "status" not in options:
            if end.is_lost:
                return "lost", may_lose
            met = all(
                _among(getattr(end, name), options[name]) for name in options if name != "pick"
            )
        elif helper == "wait_for_restart":
            if not shown.status:
                if end is RUNNING:
                    return "failed", {"AssertionFailed"}
                return "over", {"AssertionFailed"} | self._end_classes(question, shown)
            met = self._evaluate_restart(question, shown)
        elif helper == "wait_for_exit":
            codes = options["exit_code"]
            exited = end.status == "exited" and not end.is_lost
            met = exited and (codes == "any" or _among(end.exit_code, codes))
            if met and (child or shown.status == "backing_off"):
                met = None  # a child was OOM-killed, or it will be started again
        else:
            statuses = options.get("status", "running")
            wanted = {*statuses} if isinstance(statuses, list) else {statuses}
            if end.is_lost and "exited" in wanted:
                return "lost", INCONCLUSIVE
            met = end.status in wanted
            if (child and wanted & {"exited", "oom_killed"}) or (
                end.oom_killed and end.status == "signaled"
                and len(wanted & {"signaled", "oom_killed"}) == 1
            ):  # fmt: skip
                met = None
        if met is None:
            return UNSURE_RESULT
        if met:
            return MET
        if end is RUNNING:
            return "pending", {"AssertionFailed"}
        if shown.status not in ("", "stopped"):
            if target.how == "pid" or not self._is_last(shown.run.gen):
                return UNSURE_RESULT  # of the run or the whole; or its name was taken
            return "pending", self._end_classes(question, shown)
        return ("lost", may_lose) if end.is_lost else ("over", self._end_classes(question, shown))

    def _end_classes(self, question, shown):
        """Return the error classes that an unexpected end may raise."""
        end, asserts = shown.end, question.helper.startswith("assert")
        classes = {"UnexpectedExit"} | ({"AssertionFailed"} if asserts else set())
        if end.is_lost or end.is_hangup:
            classes.add("Inconclusive")
        if end.is_oom:
            classes.add("ProcessOOMKilled")
            if not asserts and end.status != "exited":
                classes.discard("UnexpectedExit")
        elif any(self.known[run].oom for run in shown.run.gen.runs if run in self.known):
            classes.add("ProcessOOMKilled")
        return classes

    def _assert_process(self, question, views, _now):
        return frozenset().union(*(self._evaluate(question, view)[1] for view in views))

    def _wait(self, question, views, now):
        """Return the allowed outcomes of a wait."""
        target, helper = question.target, question.helper
        # From the first poll on, these waits keep to one process.
        bound = helper == "wait_for_restart" or (target is not None and target.exact)
        stable = "stable_for" in question.options
        run = before = since = last = None
        for view in views:
            kind, classes = self._evaluate(question, view)
            if helper == "wait_for_port":
                running = {row.run for row in view.rows if row.end is None}
                if run is not None and run not in running:
                    return classes | NOT_THE_SAME  # the wait concerns the first run that it saw
                if kind == "met":
                    run = run or self._chosen(question, view).run
                    kind = "met" if self.probes.get(("port", view.index)) else "pending"
            if kind == "unsure":
                return UNSURE
            if kind in ("ambiguous", "failed"):
                return classes | ({"pass", "WaitTimedOut"} if stable else set())
            if kind == "met" and not stable:
                return {"pass"}
            state = "over" if kind == "lost" else kind
            if stable and kind == "met":
                state = self._chosen(question, view).run
            if state != before or (kind == "met" and view.at - last.at > LONGEST_GAP):
                since = view.at
            before, last = state, view
        timed_out = now - question.began >= question.options["timeout"] - 0.002
        steady = last.at - since + 0.003
        lasted = OPEN_ENDED if timed_out else steady
        result = {"WaitTimedOut"} if timed_out else set()
        if kind == "met":
            result |= {"pass"} if steady >= question.options["stable_for"] else set()
        elif kind == "none":
            patience = CORRECTION if bound else OPEN_ENDED
            result |= {"ProcessNotFound"} if lasted >= patience else set()
        elif helper == "wait_for_port":
            result |= classes
        elif before == "over":
            grace = CORRECTION if helper == "wait_for_output" else 0.0
            grace = grace if bound or target.how == "name" else SUCCESSOR
            result |= classes if lasted >= grace else set()
            result -= INCONCLUSIVE if lasted < CORRECTION else set()
        return result

    def _assert_stays(self, question, views, now):
        """Return the allowed outcomes of a check that one run keeps running."""
        times = [view.at for view in views]
        # After a gap, the period begins again.
        gaps = [after for before, after in pairwise(times) if after - before > LONGEST_GAP]
        run = None
        for view in views:
            kind, classes = self._evaluate(question, view)
            if kind == "unsure" or (kind == "ambiguous" and run is not None):
                return UNSURE  # after the first poll, the wait concerns one run
            if kind == "lost" and view is not views[-1]:
                continue  # the end may still be corrected
            if kind in ("none", "ambiguous"):
                return classes | INCONCLUSIVE
            if kind != "met":
                return classes | NOT_THE_SAME | (INCONCLUSIVE if kind == "lost" else set())
            its = self._chosen(question, view).run
            if run is not None and its is not run:
                # A deployment that took the name leaves nothing listed of the run.
                return UNSURE if "pick" in question.options else NOT_THE_SAME
            run = its
        # The documents do not say whether the time counts from the call or from the first poll.
        began = max([question.began, *gaps])
        return {"pass"} if now - began >= question.options["stable_for"] - 0.05 else set()

    def _stop_process(self, question, views, _now):
        """Return the allowed outcomes of a call that stops a process."""
        view = views[-1]
        rows = self._candidates(question.target, view, question.position)
        if not question.target.exact and any(
            row.run.gen is not question.target.run.gen or self._is_replaced(row.run, view)
            for row in rows
        ):
            return UNSURE  # its name was taken, or its newest row was removed
        if question.target.how == "pid" and self._is_replaced(question.target.run, view):
            return UNSURE  # of the run or the whole
        living = [row for row in rows if row.end is None or row.status not in ("", "stopped")]
        unlisted = set() if rows else {"ProcessNotFound", "Inconclusive"}
        return {"RequestRefused", "WaitTimedOut"} if living else {"pass"} | unlisted

    def _assert_not_running(self, question, views, _now):
        target, view = question.target, views[-1]
        rows = self._candidates(target, view, question.position)
        if any(row.lags for row in rows):
            return PASS_OR_FAIL
        if target.how != "pid" and any(self._is_removed(row.run.gen, view) for row in rows):
            return PASS_OR_FAIL | INCONCLUSIVE  # the older row may look like a pending restart
        if any(map(self._lives, rows)):
            # A pid stands for its run; whether the next one counts too is not documented.
            ended = target.how == "pid" and all(row.end is not None for row in rows)
            return PASS_OR_FAIL if ended else {"AssertionFailed"}
        run, newest = target.run, self.newest.get(target.run.gen)
        if target.how == "object" and newest:
            run = newest.run  # an object of a managed process follows its restarts
        gone = self.incidents.get(("unseen_end", run))
        if target.exact and gone and not gone.retracted and (run.gen.id is None or not rows):
            ours = self.caused(gone)
            answers = {"Inconclusive", "ProcessNotFound"} if False in ours else set()
            return answers | ({"pass"} if True in ours else set())
        return {"pass"}

    def _no_incident(self, question, views):
        """Return the allowed outcomes of the four assertions on incidents."""
        position, view, helper = question.position, views[-1], question.helper
        target, last, suspected = question.target, view.index, "suspected" in question.options
        rule = helper.removeprefix("assert_no_")
        checked = ERROR_OF if rule == "incidents" else {rule}
        error_of = {kind: {ERROR_OF[rule]} for kind, rule in RULE_OF.items() if rule in checked}
        if rule != "restart":
            error_of["unseen_end"] = error_of["lost_end"] = INCONCLUSIVE
        if suspected:
            error_of["suspected_oom"] = {"SuspectedOOMKill"}
            error_of["lost_end"] = {"SuspectedOOMKill", "Inconclusive"}
        any_error = INCONCLUSIVE.union(*error_of.values())
        certain, possible, vague, silent = set(), set(), set(), True
        for incident in self.incidents.values():
            run, kind = incident.run, incident.kind
            seen = incident.low <= last and incident.high > position
            if kind not in error_of or incident.retracted or not seen:
                continue
            found = error_of[kind]
            if not question.selects(run):
                if target.how == "pid" and target.run.gen is run.gen:
                    possible |= found  # a pid may select the whole process
                continue
            weak = not self.is_certain(incident) or incident.low <= position
            first = self.known.get(run.gen.runs[0])
            started = run.gen.ours and first is not None and first.first > position
            unclear = incident.vanished or (kind == "lost_end" and not suspected)
            if unclear and not target and not started:  # only a named process counts
                possible |= INCONCLUSIVE if incident.vanished else set()
                continue
            ours = self.caused(incident)
            if ours == {True}:
                continue
            if weak or True in ours:
                possible |= found
            elif kind in ("lost_end", "unseen_end"):
                vague |= found
            else:
                certain |= found
        # A wrong assignment of runs may hide or invent an incident.
        for managed_id, at, case in self.doubts:
            real, selected = case not in ("U4", ONE_END_OR_TWO), self._selects(target, managed_id)
            if real and selected:  # the runs may have been assigned to another process since then
                return any_error | {"ProcessNotFound", "ProcessUnhealthy", "pass"}
            if at > position and (not target or selected):
                possible |= any_error
                silent = silent and not real
        for incident in self.unhealthy if helper == "assert_no_incidents" else ():
            row, new = self.shown.get(incident.run), incident.low > position
            now = row and row.unhealthy and not row.end
            if (now or new) and incident.low <= last and question.selects(incident.run):
                sure = now and new and incident.required
                (certain if sure else possible).add("ProcessUnhealthy")
        if target:
            listed = {row.run for row in view.rows}
            matching = [run for run in listed if target.matches(run)]
            if not matching:
                possible |= {"ProcessNotFound", "Inconclusive"}
            gens = {target.run.gen, *(run.gen for run in matching if not target.exact)}
            removed = any(self._is_removed(gen, view) for gen in gens)
            if removed or not (certain or self._candidates(target, view, position)):
                possible.add("ProcessNotFound")
        if certain or vague:
            return (certain or vague) | possible | (set() if silent else {"pass"})
        return possible | {"pass"}

    def _selects(self, target, managed_id):
        """Return whether a target is about the managed id that a doubt belongs to."""
        return target is not None and any(
            run.gen.id == managed_id and target.matches(run) for run in self.known
        )

    def settled(self, question):
        """Return whether a negative assertion that passed had enough polls."""
        views = [view for view in self.views[question.first_view :] if view.full]
        if any(self._selects(question.target, managed_id) for managed_id, *_ in self.doubts):
            return True  # the runs may have been assigned to another process
        # The row of an older run or process with this name shows an outdated supervisor.
        rows = sorted(views[-1].rows, key=lambda row: (row.run.gen.order, row.run.number))
        newest = {row.run.gen.id or row.run.pid: row for row in rows}
        alive = any(
            self._lives(row) and self._is_last(row.run.gen) and question.selects(row.run)
            for row in newest.values()
        )
        return not alive or views[-1].at - views[0].at >= 0.199


def _among(value, wanted):
    return value in wanted if isinstance(wanted, list) else value == wanted
