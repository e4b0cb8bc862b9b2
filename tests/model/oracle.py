"""The oracle: expected incidents, answers and findings, derived from the truth of the simulator.

`History` folds the successful answers (views) of the daemon. It knows which run each row shows and
which run `last_exit` describes, so it does not guess. If a client must guess (cases U1 to U7 in
`docs/history.md`), the oracle allows several answers and counts the case.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from .daemon import CRASH_SIGNALS, KILL, TERM, Daemon, End, Generation, Run, Shown, is_lost

GONE_AFTER = 1.0  # seconds without being listed after which a process counts as gone
RULE_OF = {"oom": "oom", "crash": "crash", "gave_up": "crash", "restart": "restart"}
OPEN_ENDED = 1 << 30
UNSURE = frozenset({
    "pass", "ProcessNotFound", "AmbiguousProcess", "WaitTimedOut", "UnexpectedExit", "ProcessOOMKilled",
    "ProcessCrashed", "ProcessRestarted", "ProcessUnhealthy", "AssertionFailed", "Inconclusive",
})  # fmt: skip
INCONCLUSIVE = frozenset({"Inconclusive"})
CORRECTABLE = frozenset({"oom", "suspected_oom", "crash"})  # what a late flag or code may show


@dataclass(eq=False, slots=True)
class View:
    """One successful answer: a list, or the single row that our own start or restart returned."""

    index: int
    at: float
    world: int
    epoch: int
    rows: list[Shown]
    full: bool


@dataclass(eq=False, slots=True)
class Known:
    """The evidence about one run from all views so far."""

    first: int
    listed: bool = False
    over: int | None = None  # the view at which it was known to have ended
    oom: bool = False
    end: End | None = None  # the best end known
    certain: bool = False
    gone_at: float = -1.0  # when a full list did not have it any more


@dataclass(eq=False, slots=True)
class Incident:
    """One kind of event of one run, and the views at which it may first be reported."""

    kind: str
    run: Run
    low: int
    high: int
    at: int  # world time of the event
    required: bool
    retracted: bool = False
    vanished: bool = False


@dataclass(eq=False, slots=True)
class Target:
    """How a question selects a process; `matches` decides on the truth behind a row."""

    how: str  # object, pid, text, name, regex, predicate, by
    value: object
    run: Run
    matches: Callable[[Run], bool]
    text: str = ""

    @property
    def exact(self) -> bool:
        """Return whether it selects a process regardless of its age."""
        return self.how in ("object", "pid")


@dataclass(eq=False, slots=True)
class Question:
    """One call of a helper."""

    helper: str
    targets: tuple[Target, ...] = ()
    options: dict[str, object] = field(default_factory=dict)
    began: float = 0.0
    position: int = 0
    first_view: int = 0  # index of the first view after the call


class History:
    """All views so far and the incidents that they show."""

    def __init__(self, daemon: Daemon, counts: Counter[str]) -> None:
        """Start without views."""
        self.daemon = daemon
        self.counts = counts
        self.views: list[View] = []
        self.known: dict[Run, Known] = {}
        self.shown: dict[Run, Shown] = {}  # the last full list
        self.open: set[Run] = set()  # listed, and not known to be over
        self.incidents: dict[tuple[str, Run], Incident] = {}
        self.newest: dict[Generation, Shown] = {}
        self.by_id: dict[tuple[int, str], Generation] = {}
        self.unhealthy: list[tuple[int, Run, int, bool]] = []
        self.doubts: dict[str, list[tuple[int, str]]] = {}  # by managed id: view, case
        self.late: list[Incident] = []  # vanished runs whose time is not up
        self.acted = False  # whether the last view was of an own call
        self.last_rows: list[Shown] = []
        self.way_known = False  # whether the count rises when backing off begins
        self.partial: list[Incident] = []  # from rows of our own calls, until the next list
        self.replaced_at = -1
        self.replacements: set[int] = set()  # the first full lists of other daemons
        self.listed_epoch = 0
        self.doubted = False  # whether the last question was about a doubtful process
        self.mixed: set[Run] = set()  # ends to which U6 applies

    # --- the fold -----------------------------------------------------------------------------

    def see(self, at: float, rows: list[Shown], *, full: bool) -> View:
        """Fold one successful answer into the history."""
        daemon = self.daemon
        view = View(len(self.views), at, daemon.world, daemon.epoch, rows, full)
        if self.views and self.views[-1].epoch != view.epoch:
            self.replaced_at = view.index
            self.shown = {run: s for run, s in self.shown.items() if run.gen.epoch == view.epoch}
        self.views.append(view)
        if full and rows == self.last_rows and not self.late and not self.acted:
            return view  # rows are compared by identity: nothing has changed
        self.acted = not full
        before = self.shown
        changed = [shown for shown in rows if before.get(shown.run) is not shown]
        for shown in changed:
            self._see_row(shown, view, before.get(shown.run))
        if not full:
            for shown in changed:
                if shown.run.gen.id is not None:
                    self._progress(shown.run.gen, shown, view)
                    self._take_name(shown.run.gen, view)
            return view
        for incident in self.partial:
            incident.high = view.index
        self.partial.clear()
        self.last_rows = rows
        self.shown = current = {shown.run: shown for shown in rows}
        ended = {shown.end is None for shown in before.values()}
        if len(ended) == 2 and not before.keys() & current.keys():
            self.replaced_at = view.index  # it looks like another daemon
            self.replacements.add(view.index)
        if self.listed_epoch != view.epoch:
            self.listed_epoch = view.epoch
            self.replacements.add(view.index)
        latest: dict[Generation, Shown] = {}
        for shown in changed:
            gen = shown.run.gen
            if gen.id is not None and (
                gen not in latest or latest[gen].run.number < shown.run.number
            ):
                latest[gen] = shown
        for gen in sorted(latest, key=lambda gen: gen.order):
            self._progress(gen, latest[gen], view)
        if len(current) < len(before) or changed or self.late or self.open - current.keys():
            self._vanish(view, current)
        return view

    def _add(
        self, kind: str, run: Run, view: View, at: int, *, required: bool = True, high: int = -1
    ) -> None:
        key = (kind, run)
        if key not in self.incidents:
            # A row of our own call is a position, but a client may as well wait for the list.
            high = high if high >= 0 else view.index if view.full else OPEN_ENDED
            required = required and view.index != self.replaced_at
            if view.index == 0 and not self.known[run].listed:
                required = False  # the past before the first list
            self.incidents[key] = incident = Incident(kind, run, view.index, high, at, required)
            if not view.full:
                self.partial.append(incident)

    def _see_row(self, shown: Shown, view: View, before: Shown | None) -> None:
        run = shown.run
        known = self.known.get(run)
        if known is None:
            known = self.known[run] = Known(view.index)
        known.listed, known.gone_at = True, -1.0
        if shown.end:
            self._see_end(run, shown.end, view)
        elif known.over is None:
            self.open.add(run)
        if shown.exit_run and shown.exit:
            self._see_end(shown.exit_run, shown.exit, view)
        gen, end = run.gen, shown.exit or shown.end
        looks_so = (
            shown.status == "stopped" and end is not None and gen.limit is not None
            and gen.policy != "never" and shown.count >= gen.limit and end[1] != 0
        )  # fmt: skip
        if shown.gave_up or looks_so:
            # U5: without last_error, a deliberate stop and a supervisor that gave up look alike;
            # documents are silent on a clean exit under "always", and on a lost end.
            sure = self.daemon.layout.says_why and end is not None and end[1] != 0
            if not sure and end is not None:
                mild = end[2] in (TERM, KILL) or end[1] in (137, 143)
                sure = not mild and end[1] != 0 and not is_lost(end)
            sure = sure and shown.gave_up
            incident = self.incidents.get(("gave_up", run))
            if incident is None:
                self.counts["U5"] += not sure
                self._add("gave_up", run, view, run.ended or 0, required=sure)
            elif not incident.required and incident.low != self.replaced_at:
                # A lost end was corrected, perhaps.
                incident.high = view.index
                incident.required = sure and view.index != self.replaced_at
        if shown.unhealthy and not (before and before.unhealthy):
            was = self.newest.get(run.gen)
            same = not (was and was.unhealthy and was.run is not run) and shown.end is None
            self.unhealthy.append((view.index, run, run.gen.unhealthy_at, same))

    def _see_end(self, run: Run, end: End, view: View) -> None:
        known = self.known.get(run)
        if known is None:
            known = self.known[run] = Known(view.index)
        self.open.discard(run)
        if known.over is None:
            known.over = view.index
        at = run.ended or 0
        unseen = self.incidents.get(("unseen_end", run))
        if unseen:
            unseen.retracted = True
        if (end[3] or end[0] == "oom_killed") and not known.oom:
            known.oom = True
            self._add("oom", run, view, run.oom_at or at)
            self._correct_gave_up(run, view)
        if is_lost(end) and not known.oom:
            if not known.certain:
                known.end = end
                self._add("lost_end", run, view, at)
            return
        first = not known.certain
        known.certain = True
        if known.end is None or first or known.oom:
            known.end = end
        lost = self.incidents.get(("lost_end", run))
        if lost:
            lost.retracted = True
            self._correct_gave_up(run, view)
        if end[2] in CRASH_SIGNALS:
            self._add("crash", run, view, at)
        if (end[2] == KILL or end[1] == 137) and not known.oom:
            self._add("suspected_oom", run, view, at)

    def _correct_gave_up(self, run: Run, view: View) -> None:
        """Allow "gave up" from this view on: the corrected end may be a failure (U5)."""
        gave_up = self.incidents.get(("gave_up", run))
        if gave_up and not gave_up.required:
            gave_up.high = view.index

    def _progress(self, gen: Generation, shown: Shown, view: View) -> None:
        """Record restarts and hidden runs of a managed process."""
        assert gen.id is not None
        before, number = self.newest.get(gen), shown.run.number
        if before is not None and number < before.run.number:
            return  # an older row, after the newest one was removed
        self.newest[gen] = shown
        key = (gen.epoch, gen.id)
        old = self.by_id.get(key)
        alive = shown.end is None and shown.exit_run is not shown.run
        sure = True
        if before is None:
            # The first list may begin in the middle of a life: nothing is required of its past.
            sure = view.index > 0
            mine = [row for row in view.rows if row.run.gen is gen]
            self._check_redeployed(old, gen, shown, view)
            if old is None or old.order < gen.order:
                self.by_id[key] = gen
            if any(run.by == "outside restart" for run in gen.runs[1 : number + 1]):
                if not self.daemon.layout.counts_manual:
                    self._doubt(gen, view.index, "U3")  # restarts that no count shows
                elif gen.name and any(row.status == "stopped" for row in mine if row is not shown):
                    self._doubt(gen, view.index, "U2")
            # One end or two (U4)? The oldest listed row decides where the numbers begin.
            oldest = min(mine, key=lambda row: row.run.number)
            first = self.known.get(gen.runs[0])
            known_before = first is not None and first.listed and first.first < view.index
            waits = oldest.end is not None or oldest.status == "backing_off"
            if waits and oldest.count and not known_before:
                self.counts["U4"] += 1
                sure = False
                self.doubts.setdefault("U4 " + gen.id, []).append((view.index, "U4"))
        elif number > before.run.number:
            self._check_outside_restart(gen, before, shown, view)
            if not self.way_known and "backing_off" in (before.status, shown.status):
                self._doubt(gen, view.index, "U4")
            elif shown.status == "backing_off":  # one hidden run more or less
                self.doubts.setdefault("U4 " + gen.id, []).append((view.index, "U4"))
        elif before.run is shown.run and shown.status == "backing_off" != before.status:
            self.way_known = True  # the same run, before and after its end: did the count rise?
        start = before.run.number if before else 0
        for run in gen.runs[start : number + 1]:
            known = self.known.setdefault(run, Known(view.index))
            if run.number > start or (before is None and run.number):
                newest = run.number == number
                self._add("restart", run, view, run.began, required=sure and newest)
            if run.number < number and known.over is None:
                # A run that no list had, in a gap of the count: certain only if the row lives.
                self._over_unseen(run, view, required=sure and (known.listed or alive))

    def _take_name(self, gen: Generation, view: View) -> None:
        """Allow an unseen end of the process that had the name; the next list may show it."""
        for run in self.open:
            if (run.gen.epoch, run.gen.id) == (gen.epoch, gen.id) and run.gen is not gen:
                self._add("unseen_end", run, view, run.ended or view.world, required=False)

    def _over_unseen(self, run: Run, view: View, *, required: bool) -> None:
        self.known[run].over = view.index
        self.open.discard(run)
        self._add("unseen_end", run, view, run.ended or view.world, required=required)
        incident = self.incidents["unseen_end", run]
        if incident.low < view.index and not incident.vanished:  # allowed when its name was taken
            incident.required = required and view.index != self.replaced_at
        if view.full:
            incident.high = view.index

    def _vanish(self, view: View, current: dict[Run, Shown]) -> None:
        for incident in self.late[:]:
            run = incident.run
            if run not in self.open:
                self.late.remove(incident)
            elif view.at - self.known[run].gone_at >= GONE_AFTER:
                incident.high = view.index
                self.known[run].over = view.index
                self.open.discard(run)
                self.late.remove(incident)
        for run in [run for run in self.open if run not in current]:
            known, gen = self.known[run], run.gen
            replaced = gen.epoch != view.epoch
            newest = self.by_id.get((gen.epoch, gen.id)) if gen.id else gen
            newer = newest is not gen or (gen in self.newest and self.newest[gen].run is not run)
            if replaced or newer:
                self._over_unseen(run, view, required=not replaced)
                if replaced:  # the documents do not say how soon a lost sandbox is noticed
                    self.incidents["unseen_end", run].high = OPEN_ENDED
            elif known.gone_at < 0:
                known.gone_at = view.at
                self._add("unseen_end", run, view, run.ended or view.world, high=OPEN_ENDED)
                self.incidents["unseen_end", run].vanished = True
                self.late.append(self.incidents["unseen_end", run])

    # --- what the data cannot decide ----------------------------------------------------------

    def _doubt(self, gen: Generation, view: int, case: str) -> None:
        assert gen.id is not None
        self.counts[case] += 1
        self.doubts.setdefault(gen.id, []).append((view, case))

    def _check_redeployed(
        self, old: Generation | None, gen: Generation, shown: Shown, view: View
    ) -> None:
        """Record U1: the same name and configuration, first seen after its first run."""
        if old is None or gen.ours:
            return
        before = self.newest.get(old)
        if before is not None and any(
            row.run is before.run and row.status == "stopped" for row in view.rows
        ):
            return  # its row is still listed, and shows that its supervisor had stopped
        if (
            old.config == gen.config
            and shown.exit_run is not None
            and (before is None or shown.count >= before.count)
        ):
            self._doubt(gen, view.index, "U1")

    def _check_outside_restart(
        self, gen: Generation, before: Shown, shown: Shown, view: View
    ) -> None:
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
            self._doubt(gen, view.index, "U2")
        if not self.daemon.layout.counts_manual and (gen.name or len(between) > 1):
            self._doubt(gen, view.index, "U3")

    def act(self, run: Run, gen: Generation) -> None:
        """Record U7: our action reaches a process that has changed since the last list."""
        if gen.id is None and run in self.known:
            return  # a signal by pid reaches that run or nothing
        seen = self.newest.get(gen)
        own = self.views[-1].rows[0] if self.views and not self.views[-1].full else None
        if own and own.run.gen is gen:
            seen = own
        looked = seen is not None and seen.run is gen.run
        if looked and seen is not None and self.shown.get(seen.run, seen) is not None:
            visible = self.known[seen.run].over is not None
            if visible == (gen.run.ended is not None):
                return
        for stale in (gen.run, run, *([seen.run] if seen else [])):
            stale.raced = True
        if gen.id:
            self._doubt(gen, len(self.views), "U7")
            self.doubts[gen.id].append((len(self.views) + 1, "U7"))
        else:
            self.counts["U7"] += 1

    def doubtful(self, run: Run, low: int, high: int = -1) -> str:
        """Return the case that makes incidents of this process undecidable at these views."""
        high = max(low, high)
        if run.gen.id:
            for at, case in self.doubts.get(run.gen.id, ()):
                if low <= at <= high:
                    return case
        return ""

    def has_doubt(self, managed_id: str, case: str) -> bool:
        """Return whether a case ever concerned this managed id."""
        return any(found == case for _, found in self.doubts.get(managed_id, ()))

    def doubted_since(self, run: Run, position: int) -> str:
        """Return the first case that concerns this process after the position."""
        return self.doubtful(run, position + 1, OPEN_ENDED)

    # --- who caused it ------------------------------------------------------------------------

    def caused(self, incident: Incident) -> frozenset[bool]:
        """Return the allowed values for whether this client caused the incident."""
        run = incident.run
        if incident.kind == "oom":
            return frozenset({False})
        if incident.kind == "restart":
            before = run.gen.runs[run.number - 1]
            if run.by == "own restart":
                return frozenset({True, False}) if before.raced else frozenset({True})
            ours = self.caused_end(before)
            if run.by == "outside restart" or before.raced:
                return ours | {False}  # it looks like the supervisor's, after an end of ours
            return ours
        return self.caused_end(run)

    def caused_end(self, run: Run) -> frozenset[bool]:
        """Return whether this client's actions explain the end of a run, by the documented rule."""
        known = self.known.get(run)
        acts = run.acts
        if not acts and not run.raced:
            return frozenset({False})
        strong = KILL in acts or "kill" in acts or "restart" in acts
        end = known.end if known else None
        if known and known.oom:
            rule = False
        elif end is None or is_lost(end):
            rule = strong or any(act in CRASH_SIGNALS for act in acts)
        elif end[2] is not None:
            rule = end[2] in acts or (end[2] in (TERM, KILL) and bool(acts & {"kill", "restart"}))
        else:
            rule = strong or (end[1] or 0) - 128 in acts
        if run.raced:
            return frozenset({True, False})
        if rule != run.cause.startswith("own") and not (known and known.oom):
            self.counts["U6"] += run not in self.mixed
            self.mixed.add(run)
            return frozenset({True, False})
        return frozenset({rule})

    # --- (a) incidents ------------------------------------------------------------------------

    def check_incidents(self, reported: Iterable[tuple[object, ...]]) -> str:
        """Return the first error in the reported incidents, or ""."""
        seen: set[tuple[str, Run]] = set()
        hidden: set[tuple[str, str]] = set()
        by_identity: dict[tuple[str, int, int], Incident] = {}
        by_id: dict[tuple[str, str], list[Incident]] = {}
        for (kind, run), incident in self.incidents.items():
            if self.known[run].listed:
                by_identity[kind, run.pid, run.started_at] = incident
            elif run.gen.id:
                by_id.setdefault((kind, run.gen.id), []).append(incident)
        for kind, handle, pid, started_at, managed_id, number, index, ours in reported:
            assert isinstance(kind, str)
            assert isinstance(index, int)
            text = f"{kind} of {managed_id or pid} (run {number}) at view {index}, ours: {ours}"
            if pid is not None:
                assert isinstance(pid, int)
                assert isinstance(started_at, int)
                found = by_identity.get((kind, pid, started_at))
                options = [found] if found else []
                if not found and kind in CORRECTABLE and self._doubted_pid(pid, started_at):
                    continue  # the late end of a hidden run, whose number no count shows
                if found and self.daemon.layout.handles and found.run.handle != handle:
                    return f"wrong handle: {text}"
            else:
                options = by_id.get((kind, str(managed_id)), [])
                if index in self.replacements and not options:
                    # What was started just before another daemon showed is forgotten with the rest.
                    options = [i for i in self.incidents.values() if i.kind == kind and (
                        i.run.gen.id == managed_id)]  # fmt: skip
            if any(low <= index + 1 and index <= low + 1 for low, _ in
                   self.doubts.get(str(managed_id), ())):  # fmt: skip
                seen.update((option.kind, option.run) for option in options)
                continue
            if pid is None and kind in CORRECTABLE and self.has_doubt(str(managed_id), "U3"):
                continue  # which of the hidden runs it was is not known
            if not options or all(option.retracted for option in options):
                if kind == "suspected_oom" and options:
                    continue  # confirmed since
                if kind in ("unseen_end", "restart") and (
                    index == 0 or "U4 " + str(managed_id) in self.doubts
                ):
                    continue  # of the past before the first list, or one end or two (U4)
                return f"not an incident: {text}"
            # Rows that our own start or restart returned may show it before the next list does.
            timely = [
                option
                for option in options
                if index <= option.high
                and not any(view.full for view in self.views[index : option.low])
            ]
            if not timely and pid is None and "U4 " + str(managed_id) in self.doubts:
                continue
            if not timely:
                when = ", ".join(f"{o.run} at view {o.low}..{o.high}" for o in options)
                return f"wrong view: {text}; expected {when}"
            if not any(ours in self.caused(option) for option in timely):
                if self.doubted_since(timely[0].run, -1) or "U4 " + str(managed_id) in self.doubts:
                    continue  # a wrong assignment of runs may have changed an older end
                return f"wrong cause: {text}; acts {timely[0].run.acts}, {timely[0].run.cause}"
            seen.update((option.kind, option.run) for option in timely)
            hidden.add((kind, str(managed_id)))
        last = self.last_full()
        for key, incident in self.incidents.items():
            if (
                key in seen
                or not incident.required
                or incident.retracted
                or min(incident.high, OPEN_ENDED - 1) > last
                or self.doubtful(incident.run, incident.low - 1, incident.low + 1)
            ):
                continue
            if incident.kind == "suspected_oom" and self.known[incident.run].oom:
                continue
            if incident.kind in CORRECTABLE and self.doubted_since(incident.run, -1):
                continue
            if incident.kind == "unseen_end" and f"U4 {incident.run.gen.id}" in self.doubts:
                continue  # one end or two: which of them was seen is not known either
            if incident.high == OPEN_ENDED:
                continue
            return f"missing: {incident.kind} of {incident.run} at view {incident.low}"
        return ""

    def _doubted_pid(self, pid: int, started_at: int) -> str:
        """Return the case that makes a listed run undecidable, if any."""
        runs = (run for run in self.known if (run.pid, run.started_at) == (pid, started_at))
        return next((case for run in runs if (case := self.doubted_since(run, -1))), "")

    def last_full(self) -> int:
        """Return the index of the last full list, or -1."""
        return next((view.index for view in reversed(self.views) if view.full), -1)

    # --- (b) answers --------------------------------------------------------------------------

    def allowed(self, question: Question, now: float) -> frozenset[str]:
        """Return the allowed outcomes of a call that ended at ``now``."""
        views = [view for view in self.views[question.first_view :] if view.full]
        if not views:
            # Only a wait has a deadline of its own; an assertion rides out 30 s.
            wait = question.helper.startswith("wait")
            return frozenset({"SandboxUnreachable", "SandboxNotRunning", "WaitTimedOut"}
                             if wait or now - question.began > 25 else ())  # fmt: skip
        if question.helper.startswith("wait") and now - views[-1].at >= 0.9:
            # Without an answer for so long, what was seen before is no answer any more.
            return frozenset({"SandboxUnreachable"}) | self._answers(question, views, now)
        return self._answers(question, views, now)

    def _answers(self, question: Question, views: list[View], now: float) -> frozenset[str]:
        self.doubted = False
        replaced = self.replaced_at > question.position
        old = any(t.run.gen.epoch != self.views[-1].epoch for t in question.targets)
        negative = (
            question.helper.startswith("assert_no_") or question.helper == "assert_no_incidents"
        )
        if negative:
            result = self._no_incident(question, views)
            if replaced or old:
                doubt = UNSURE | {"SandboxReplaced"}
                return doubt if "pass" in result else doubt - {"pass"}
            return result
        if replaced or old:
            return UNSURE | {"SandboxReplaced"}
        meant = [target.run for target in question.targets]
        meant += [
            run for t in question.targets if not t.exact for run in self.known if t.matches(run)
        ]
        if any(self.doubted_since(run, -1) for run in meant):
            self.doubted = True
            return UNSURE
        if question.helper == "assert_not_running":
            return self._not_running(question, views)
        if question.helper == "assert_stays":
            return self._stays(question, views, now)
        if question.helper == "assert_process":
            results = [self._evaluate(question, view) for view in views]
            return frozenset().union(*(self._as_outcome(result) for result in results))
        return self._wait(question, views, now)

    def _eligible(self, target: Target, shown: Shown, position: int) -> bool | None:
        """Return whether a row counts for a selector; None if the documentation does not say."""
        if target.exact:
            return True
        known = self.known[shown.run]
        if known.first > position or known.over is None or known.over > position:
            return True
        # It may have been waiting for its restart when the test began.
        rows = self.views[position].rows if 0 <= position < len(self.views) else ()
        before = next((row for row in rows if row.run is shown.run), shown)
        waits = (before.status or "stopped") != "stopped"
        return None if waits or before.end is None else False

    def _candidates(self, target: Target, view: View, position: int) -> tuple[list[Shown], bool]:
        """Return the newest row of each process that matches, and whether that is certain."""
        newest: dict[Generation, Shown] = {}
        sure = True
        for shown in view.rows:
            if target.matches(shown.run):
                best = newest.get(shown.run.gen)
                if best is None or best.run.number < shown.run.number:
                    newest[shown.run.gen] = shown
        rows = []
        for shown in newest.values():
            last = self.newest.get(shown.run.gen)
            if target.how == "object" and last is not None and last.run is not shown.run:
                continue  # an object stands for the newest run, and its row was removed
            eligible = self._eligible(target, shown, position)
            if eligible is None:
                sure = False
            if eligible is not False:
                rows.append(shown)
        return rows, sure

    def _is_last(self, shown: Shown) -> bool:
        """Return whether nothing was deployed later under the id of a row's generation."""
        gen = shown.run.gen
        return self.by_id.get((gen.epoch, gen.id or ""), gen) is gen

    def _evaluate(self, question: Question, view: View) -> tuple[str, frozenset[str]]:
        """Return (met, pending, over, none, unsure) and the classes of a failure."""
        target = question.targets[0]
        rows, sure = self._candidates(target, view, question.position)
        if not rows:
            if target.exact and self.known[target.run].over is not None:
                return "unsure", UNSURE  # its end may be known although it is not listed any more
            return ("none" if sure else "unsure"), frozenset({"ProcessNotFound"})
        if not sure or (not target.exact and any(
            (shown.run.gen in self.newest and self.newest[shown.run.gen].run is not shown.run)
            or (shown.run.gen.id and self.by_id.get((shown.run.gen.epoch, shown.run.gen.id))
                is not shown.run.gen)
            for shown in rows
        )):  # fmt: skip
            return "unsure", UNSURE  # the newest row was removed, and an older one is still listed
        if len(rows) > 1:
            running = [shown for shown in rows if shown.end is None]
            pick = question.options.get("pick")
            if len(running) == len(rows) and pick:
                rows = [_picked(question, rows)]
            elif len(running) > 1 and not pick:
                return "ambiguous", frozenset({"AmbiguousProcess"})
            else:
                return "unsure", UNSURE
        return self._evaluate_row(question, target, rows[0])

    def _evaluate_row(
        self, question: Question, target: Target, shown: Shown
    ) -> tuple[str, frozenset[str]]:
        end, options = shown.end, question.options
        if end and end[0] == "signaled" and end[2] == 1:
            return "unsure", UNSURE  # daemons report SIGHUP for processes that finished properly
        if end is None and shown.exit_run is shown.run:
            return "unsure", UNSURE  # the supervisor knows the end, the row does not show it yet
        if target.how == "pid" and shown.status and shown.run is not shown.run.gen.run:
            return "unsure", UNSURE  # a pid of a managed process may identify the run or the whole
        lost = is_lost(end)
        child = end is not None and end[3] and end[0] == "exited"
        statuses = options.get("status")
        codes = options.get("exit_code", ...)
        signal = options.get("signal")
        exit_wanted = question.helper == "wait_for_exit"
        if exit_wanted:
            exited = end is not None and end[0] == "exited" and not lost
            if exited and (codes == "any" or _among(end[1], codes)):
                # Exited as wanted, and a child was OOM-killed, or it will be started again.
                unsure = child or shown.status == "backing_off"
                return ("unsure", UNSURE) if unsure else ("met", frozenset())
        elif signal is not None:
            if end is not None and end[2] == signal:
                return "met", frozenset()
            if lost:
                return "lost", frozenset({"Inconclusive", "UnexpectedExit"})
        elif question.helper == "assert_process" and codes is not ...:
            if lost:
                return "lost", frozenset({"Inconclusive"})
            if _among(end[1] if end else None, codes):
                return "met", frozenset()
        else:
            status = end[0] if end else "running"
            if lost and _among("exited", statuses):
                return "lost", frozenset({"Inconclusive"})
            if child and (_among("exited", statuses) or _among("oom_killed", statuses)):
                return "unsure", UNSURE
            one_of_both = _among("signaled", statuses) != _among("oom_killed", statuses)
            if end and end[3] and status == "signaled" and one_of_both:
                return "unsure", UNSURE
            if _among(status, statuses):
                return "met", frozenset()
        if end is None:
            return "pending", frozenset({"AssertionFailed"})
        if shown.status and shown.status != "stopped":
            if target.how == "pid" or not self._is_last(shown):
                return "unsure", UNSURE  # of the run or the whole; or its name was taken
            return "pending", self._end_classes(question, shown)
        if lost:
            return "lost", frozenset(
                {"Inconclusive"} if exit_wanted else {"Inconclusive", "UnexpectedExit"}
            )
        return "over", self._end_classes(question, shown)

    def _end_classes(self, question: Question, shown: Shown) -> frozenset[str]:
        """Return the error classes that an unexpected end may raise."""
        end = shown.end
        assert end is not None
        classes = {"UnexpectedExit"}
        if question.helper.startswith("assert"):
            classes.add("AssertionFailed")
        if is_lost(end) or (end[0] == "signaled" and end[2] == 1):
            classes.add(
                "Inconclusive"
            )  # daemons report SIGHUP for processes that finished properly
        if end[3] or end[0] == "oom_killed":
            classes.add("ProcessOOMKilled")
            if not question.helper.startswith("assert") and end[0] != "exited":
                classes.discard("UnexpectedExit")
        elif any(self.known[run].oom for run in shown.run.gen.runs if run in self.known):
            classes.add("ProcessOOMKilled")
        return frozenset(classes)

    def _as_outcome(self, result: tuple[str, frozenset[str]]) -> frozenset[str]:
        """Return the outcome of an assertion that sees only this view."""
        kind, classes = result
        if kind == "met":
            return frozenset({"pass"})
        if kind == "lost":
            return classes | ({"AssertionFailed"} if "UnexpectedExit" in classes else set())
        return UNSURE if kind == "unsure" else classes

    def _wait(self, question: Question, views: list[View], now: float) -> frozenset[str]:
        stable = float(question.options.get("stable_for", 0.0))  # type: ignore[arg-type]
        timeout = float(question.options["timeout"])  # type: ignore[arg-type]
        target = question.targets[0]
        since: float | None = None  # when the result that ends the wait was first seen
        met_since: float | None = None
        run: Run | None = None
        kind, classes = "none", frozenset[str]()
        gap = last_at = 0.0
        seen = False
        for view in views:
            was = kind
            kind, classes = self._evaluate(question, view)
            gap = max(gap, view.at - last_at) if last_at else 0.0
            last_at = view.at
            if kind == "unsure":
                return UNSURE
            seen = seen or kind != "none"
            if kind == "ambiguous":
                return classes | ({"pass", "WaitTimedOut"} if stable else set())
            if kind == "met":
                if not stable:
                    return frozenset({"pass"})
                rows, _ = self._candidates(target, view, question.position)
                if was != "met" or rows[0].run is not run:
                    met_since, run = view.at, rows[0].run
                assert met_since is not None
                if view.at - met_since >= stable + 0.6 and gap < 0.6:
                    return frozenset({"pass"})  # it should have ended here at the latest
            elif kind != was:
                since = view.at
        timed_out = now - question.began >= timeout - 0.002
        result: set[str] = set()
        if kind == "met":
            assert met_since is not None
            if last_at - met_since >= stable - 0.02:
                result.add("pass")
            if timed_out:
                result.add("WaitTimedOut")
        elif kind == "pending" and timed_out:
            result.add("WaitTimedOut")
        elif kind == "none":
            gone = seen or target.exact
            if timed_out or (gone and since is not None):
                result.add("ProcessNotFound")
            if gone and timed_out:
                result.add("WaitTimedOut")
            if gone:
                result |= INCONCLUSIVE
        elif kind in ("over", "lost"):
            result |= classes
            grace = (1.0 if kind == "lost" else 0.0) + (0.0 if target.exact else 2.0)
            assert since is not None
            lasted = last_at - since
            if timed_out and lasted < grace + 0.3:
                result.add("WaitTimedOut")
            if lasted > grace + 1.0 and gap < 0.6:
                return frozenset({"an earlier end of the wait"})
        if timed_out and self.daemon.layout.faults and now - last_at > 0.3:
            result |= {"SandboxUnreachable", "WaitTimedOut"}  # its last polls failed
        return frozenset(result)

    def _stays(self, question: Question, views: list[View], now: float) -> frozenset[str]:
        seconds = float(question.options["stable_for"])  # type: ignore[arg-type]
        failing = {"UnexpectedExit", "AssertionFailed", "ProcessRestarted"}
        gap = previous = 0.0
        run: Run | None = None
        for view in views:
            kind, classes = self._evaluate(question, view)
            gap = max(gap, view.at - previous) if previous else 0.0
            previous = view.at
            if kind in ("unsure",):
                return UNSURE
            if kind == "ambiguous" and run is not None:
                return UNSURE  # from the first poll on it is about one run
            if kind == "lost" and view is not views[-1]:
                continue  # it may still be corrected
            if kind != "met":
                extra = INCONCLUSIVE if kind in ("none", "lost") or gap > 0.9 else frozenset()
                if kind in ("pending", "over", "lost"):
                    return frozenset(failing | classes | extra)
                return classes | extra
            rows = self._candidates(question.targets[0], view, question.position)[0]
            row = _picked(question, rows)
            if run is not None and row.run is not run:
                if "pick" in question.options and any(shown.run is run for shown in rows):
                    return UNSURE  # another one is the newest now; it is about one run
                # A deployment that took the name leaves nothing listed of the run.
                return frozenset(
                    failing | {"ProcessNotFound"} | ({"Inconclusive"} if gap > 0.9 else set())
                )
            run = row.run
        limit = max(1.0, seconds / 10)
        if gap > limit + 0.15:
            return frozenset({"Inconclusive"})
        # The documents do not say whether the time counts from the call or from the first poll.
        whole = now - question.began >= seconds - 0.05
        return frozenset(({"pass"} if whole else set()) | ({"Inconclusive"} if gap > limit - 0.3
                                                           else set()))  # fmt: skip

    def _not_running(self, question: Question, views: list[View]) -> frozenset[str]:
        target, view = question.targets[0], views[-1]
        rows, sure = self._candidates(target, view, question.position)
        if not sure:
            return frozenset({"pass", "AssertionFailed"})
        if target.how != "pid" and any(
            # Its newest row was removed; what is left may look like a run that is being restarted.
            s.run is not s.run.gen.run and all(row.run is not s.run.gen.run for row in view.rows)
            for s in rows
        ):
            return frozenset({"pass", "AssertionFailed"}) | INCONCLUSIVE
        if any(s.end is None and s.exit_run is s.run for s in rows):
            return frozenset({"pass", "AssertionFailed"})
        if any(s.end is None or (s.status == "backing_off" and self._is_last(s)) for s in rows):
            # A pid stands for its run; whether the next one counts too is not documented.
            ended = target.how == "pid" and all(s.end is not None for s in rows)
            return frozenset({"AssertionFailed", "pass"} if ended else {"AssertionFailed"})
        run = target.run
        newest = self.newest.get(run.gen)
        if target.how == "object" and newest:
            run = newest.run  # an object of a managed process follows its restarts
        gone = self.incidents.get(("unseen_end", run))
        if target.exact and gone and not gone.retracted and (run.gen.id is None or not rows):
            ours = self.caused(gone)
            if gone.low in self.replacements:
                ours |= {True}  # it ended with its daemon, as it seems
            if newest is not None and newest.run is not run:
                ours |= {True}  # the pid of an older run of a managed process
            answers = set(INCONCLUSIVE | {"ProcessNotFound"}) if False in ours else set()
            return frozenset(answers | ({"pass"} if True in ours else set()))
        if not target.exact and any(
            i.kind == "unseen_end" and target.matches(i.run) and i.high > question.position
            for i in self.incidents.values()
        ):
            return frozenset({"pass"}) | INCONCLUSIVE  # documents speak of objects only
        return frozenset({"pass"})

    def _no_incident(self, question: Question, views: list[View]) -> frozenset[str]:
        """Return the allowed outcomes of the four assertions on incidents."""
        position, last, helper = question.position, views[-1].index, question.helper
        healthy, targets = helper == "assert_no_incidents", question.targets
        classes: dict[str, frozenset[str]] = {}
        if helper == "assert_no_oom" or healthy:
            classes["oom"] = frozenset({"ProcessOOMKilled"})
        if helper == "assert_no_crash" or healthy:
            classes["crash"] = classes["gave_up"] = frozenset({"ProcessCrashed"})
        if helper == "assert_no_restart" or healthy:
            classes["restart"] = frozenset({"ProcessRestarted"})
        if question.options.get("suspected"):
            classes["suspected_oom"] = frozenset({"ProcessOOMKilled"})
            classes["lost_end"] = frozenset({"ProcessOOMKilled"}) | INCONCLUSIVE
        certain: set[str] = set()
        possible: set[str] = set()
        vague: set[str] = set()
        silent = True
        for incident in self.incidents.values():
            run, kind = incident.run, incident.kind
            if incident.retracted or incident.low > last or incident.high <= position:
                continue
            if targets and not any(target.matches(run) for target in targets):
                if not any(t.how == "pid" and t.run.gen is run.gen for t in targets):
                    continue
                possible |= classes.get(kind, INCONCLUSIVE)  # a pid may select the whole process
                continue
            found = classes.get(kind)
            weak = not incident.required or incident.low <= position
            first = self.known.get(run.gen.runs[0])
            started = run.gen.ours and first is not None and first.first > position
            if kind == "lost_end" and not question.options.get("suspected"):
                if helper == "assert_no_restart" or not (targets or started):
                    continue
                weak = weak or helper == "assert_no_oom"
                # A process of the guarded test that others restarted is still the test's.
            elif incident.vanished and not targets and not started:
                possible |= INCONCLUSIVE  # somebody else removed it: only a named process counts
                continue
            elif kind == "unseen_end" and helper == "assert_no_restart":
                if run.gen.id is not None:
                    possible |= INCONCLUSIVE
                continue
            elif found is None and kind != "unseen_end":
                continue
            ours = self.caused(incident)
            if ours == {True}:
                continue
            case = self.doubtful(run, incident.low - 1, incident.low + 1)
            if kind == "suspected_oom" and self.known[run].oom:
                weak = True
            if case or weak or True in ours:
                possible |= found or INCONCLUSIVE
                continue
            if found and kind != "lost_end":
                certain |= found
            else:
                vague |= found or INCONCLUSIVE
        # A wrong assignment of runs may hide or invent an incident.
        for key, doubts in self.doubts.items():
            for at, case in doubts:
                if at > position and (not targets or self._selects(targets, key)):
                    possible |= INCONCLUSIVE
                    if any(
                        shown.status == "stopped" and key.endswith(str(shown.run.gen.id))
                        for shown in views[-1].rows
                    ):
                        possible |= classes.get("restart", frozenset())  # U4: or stopped before it
                    if case != "U4":
                        possible |= frozenset().union(*classes.values())
                        silent = silent and case not in ("U1", "U3", "U7")
        if any(
            case != "U4"
            for key, doubts in self.doubts.items()
            if targets and self._selects(targets, key)
            for _, case in doubts
        ):
            silent = False  # the runs may have been assigned to another process since then
            possible.add("ProcessNotFound")
            possible |= INCONCLUSIVE.union(*classes.values())
        if healthy:
            for at, run, _, began in self.unhealthy:
                if at <= last and (not targets or any(t.matches(run) for t in targets)):
                    row = self.shown.get(run)
                    now = row is not None and row.unhealthy and row.end is None and \
                        self.views[-1].epoch == run.gen.epoch  # fmt: skip
                    if now and at > position and began:
                        certain.add("ProcessUnhealthy")
                    elif now or at > position:
                        possible.add("ProcessUnhealthy")
        listed = {shown.run for shown in views[-1].rows}
        if any(
            gen in self.newest and self.newest[gen].run not in listed
            for t in targets
            for gen in [t.run.gen, *(run.gen for run in listed if not t.exact and t.matches(run))]
        ):
            possible |= {"ProcessNotFound"}  # its newest row was removed, older ones were not
        if targets and not all(any(t.matches(s.run) for s in views[-1].rows) for t in targets):
            possible |= {"ProcessNotFound"} | INCONCLUSIVE
        if (
            targets
            and not certain
            and not all(
                any(map(self._is_last, self._candidates(t, views[-1], position)[0]))
                for t in targets
            )
        ):
            possible |= {"ProcessNotFound"}
        if certain:
            return frozenset(certain | possible | (set() if silent else {"pass"}))
        if vague:
            return frozenset(vague | possible | (set() if silent else {"pass"}))
        return frozenset(possible | {"pass"})

    def _selects(self, targets: Sequence[Target], key: str) -> bool:
        """Return whether a question is about the managed id that a doubt belongs to."""
        return any(
            run.gen.id and key.endswith(run.gen.id) and any(t.matches(run) for t in targets)
            for run in self.known
        )

    def settled(self, question: Question) -> bool:
        """Return whether a negative assertion that passed had enough polls."""
        views = [view for view in self.views[question.first_view :] if view.full]
        targets = question.targets
        if targets and any(self._selects(targets, key) for key in self.doubts):
            return True  # its runs may have been assigned to another process
        # The row of an older run, or of what had its name before, says what its supervisor did then.
        newest: dict[str, tuple[int, int]] = {}
        for shown in views[-1].rows:
            run, name = shown.run, shown.run.gen.id or str(shown.run.pid)
            newest[name] = max(newest.get(name, (-1, -1)), (run.gen.order, run.number))
        alive = any(
            (shown.end is None or shown.status == "backing_off")
            and (shown.run.gen.order, shown.run.number) in newest.values()
            and self.by_id.get((shown.run.gen.epoch, shown.run.gen.id)) in (None, shown.run.gen)
            and (not targets or any(target.matches(shown.run) for target in targets))
            for shown in views[-1].rows
        )
        return not alive or views[-1].at - views[0].at >= 0.199


def _picked(question: Question, rows: Sequence[Shown]) -> Shown:
    """Return the row that the question's ``pick`` selects from several."""
    first_or_last = max if question.options.get("pick") == "newest" else min
    return first_or_last(rows, key=lambda shown: shown.run.handle)


def _among(value: object, wanted: object) -> bool:
    return value in wanted if isinstance(wanted, Sequence) and not isinstance(wanted, str) else (
        value == wanted)  # fmt: skip
