"""The driver: it draws a session, calls a plugin, and compares the answers with the oracle.

The driver uses the plugin only through `Plugin`, and the plugin uses the simulated daemon only
through `Wire`. `run(seed, factory, counts)` raises AssertionError at the first disagreement.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from .daemon import ABRT, HUP, KILL, SEGV, TERM, Daemon, Generation, Run
from .oracle import OPEN_ENDED, RULE_OF, History, Incident, Question, Target

RULES = ("oom", "crash", "restart", "unhealthy", "leak")
# What a call that acts (start, signal, kill, restart) may raise when the process is not there.
REFUSALS = frozenset({
    "RequestRefused", "ProcessNotFound", "AmbiguousProcess", "SandboxReplaced", "Inconclusive",
    "SandboxUnreachable", "SandboxNotRunning", "UnexpectedExit", "InvalidArgument",
})  # fmt: skip
MOST_REQUESTS = 4000


class Fault(Exception):
    """A transient infrastructure error: a poll failed."""


class Refused(Exception):
    """The daemon answered 4xx or 5xx."""

    def __init__(self, status: int, text: object) -> None:
        """Keep status and body."""
        super().__init__(f"{status} {text}")
        self.status = status
        self.text = text


@dataclass(frozen=True)
class Reported:
    """A finding of the guard."""

    rule: str
    observed: bool
    handle: int | None
    pid: int | None
    started_at: int | None
    managed_id: str | None
    run_number: int | None
    allowed: bool
    of_test: bool


class Plugin(Protocol):
    """The interface of the plugin for the driver; `by` is the public function, and optional."""

    box: Any
    by: Any

    def begin_test(self, rules: Sequence[str], allowed: Mapping[str, str]) -> None:
        """Begin the setup of a test and take its baseline."""

    def begin_call(self) -> None:
        """Begin the call phase."""

    def end_phase(self, phase: str) -> list[Reported]:
        """End "call" or "teardown"; return the findings."""

    def end_test(self) -> None:
        """End the test."""

    def allow(self, *rules: str) -> AbstractContextManager[Any]:
        """Return a block that allows findings."""

    def end_session(self) -> list[Reported]:
        """End the session; return the findings that belong to no test."""

    def incidents(self) -> list[tuple[Any, ...]]:
        """Return all incidents so far."""


class Wire:
    """The connection from the plugin to the daemon, with a fake clock and failing polls."""

    def __init__(self, daemon: Daemon, history: History) -> None:
        """Start at second 0 of the daemon."""
        self.daemon = daemon
        self.history = history
        self.clock = 0.0
        self.polls: list[tuple[float, bool]] = []
        self.requests = 0

    def now(self) -> float:
        """Return the fake time in seconds."""
        return self.clock

    def sleep(self, seconds: float) -> None:
        """Advance the fake clock."""
        self.clock += max(0.0, seconds)

    def request(self, method: str, path: str, body: object | None = None) -> object:
        """Answer a request (path relative to /api/v1); a request takes 2 ms."""
        self.clock += 0.002
        self.requests += 1
        assert self.requests < MOST_REQUESTS, f"more than {MOST_REQUESTS} requests"
        daemon, history, now = self.daemon, self.history, self.clock
        parts = path.strip("/").split("/")
        listing = method == "GET" and parts == ["processes"]
        awake = daemon.advance(now)
        if not awake or (listing and daemon.is_faulty(now)):
            if listing:
                self.polls.append((now, False))
            raise Fault("suspended" if not awake else "503")
        if listing:
            rows = daemon.listed()
            self.polls.append((now, True))
            history.see(now, rows, full=True)
            return {"processes": [shown.row for shown in rows]}
        if method != "GET" and len(parts) > 1:
            target = daemon.find(parts[1])
            if target is not None:
                gen = target.gen if isinstance(target, Run) else target
                history.act(target if isinstance(target, Run) else gen.run, gen)
        status, document = daemon.request(method, path, body, now)
        if status >= 400:
            raise Refused(status, document)
        if method == "POST" and isinstance(document, dict) and "pid" in document:
            shown = next(s for s in reversed(daemon.listed()) if s.row is document)
            history.see(now, [shown], full=False)
        return document


@dataclass(eq=False, slots=True)
class Block:
    """A block that allows rules, with its first and last view and time."""

    rules: tuple[str, ...]
    manager: AbstractContextManager[Any]
    view: int
    world: int
    last_view: int = OPEN_ENDED
    last_world: int = OPEN_ENDED


@dataclass(eq=False, slots=True)
class Test:
    """The state of one test that the expected findings depend on."""

    rules: tuple[str, ...]
    allowed: dict[str, str]
    position: int
    blocks: list[Block] = field(default_factory=list)
    call_view: int = OPEN_ENDED
    call_world: int = OPEN_ENDED
    call_end: int = OPEN_ENDED
    # An end that the test named: True if by its exact word, None if the documents do not say.
    declared: dict[tuple[str, Run], bool | None] = field(default_factory=dict)
    started: set[Generation] = field(default_factory=set)


class Session:
    """One random session of two or three tests."""

    def __init__(self, seed: int, factory: Callable[[Wire], Plugin], counts: Counter[str]) -> None:
        """Create the world and the plugin."""
        self.seed = seed
        self.random = random.Random(f"session {seed}")
        self.counts = counts
        self.daemon = Daemon(seed)
        self.history = History(self.daemon, counts)
        self.wire = Wire(self.daemon, self.history)
        self.plugin = factory(self.wire)
        self.objects: list[tuple[Any, Run]] = []
        self.guarded = -1  # the last view that the guard has judged
        self.reported: set[tuple[str, object]] = set()
        self.steps: list[str] = []
        self.asked = self.answered = ""
        self.permitted: object = ""
        self.test = Test((), {}, -1)
        self.question: Question | None = None
        self.same_rules = self.random.random() < 0.85
        self.rules = RULES if self.random.random() < 0.7 else tuple(
            rule for rule in RULES if self.random.random() < 0.7)  # fmt: skip

    # --- the account of a disagreement --------------------------------------------------------

    def disagree(self, what: str) -> None:
        """Raise AssertionError with a full report."""
        daemon = self.daemon
        lines = [f"seed {self.seed}: {what}", f"layout {daemon.layout}"]
        lines += [f"question {self.asked}", f"answer {self.answered}"]
        lines += [f"allowed {self.permitted}", f"position view {self.test.position}", "log"]
        lines += [f"  {at - daemon.past:6d} ms {text} {it or ''}" for at, text, it in daemon.log]
        lines += ["views (good answers)"]
        for view in self.history.views:
            rows = " | ".join(
                f"{s.run} {s.end or 'running'} {s.status} {s.count} last {s.exit}"
                for s in view.rows
            )
            kind = "list" if view.full else "own call"
            lines.append(f"  {view.index} at {view.at:.3f} s ({view.world - daemon.past} ms) "
                         f"{kind}: {rows}")  # fmt: skip
        faulty = [f"{at:.3f}" for at, good in self.wire.polls if not good]
        lines += [f"failed polls: {', '.join(faulty)}", "steps", *(f"  {s}" for s in self.steps)]
        lines += ["incidents"]
        for (kind, run), i in self.history.incidents.items():
            lines.append(f"  {kind} {run} view {i.low}..{i.high} required {i.required} "
                         f"retracted {i.retracted} ours {set(self.history.caused(i))}")  # fmt: skip
        lines.append(f"doubts {self.history.doubts}")
        raise AssertionError("\n".join(lines))

    def note(self, text: str) -> None:
        """Record a step for the report."""
        self.steps.append(f"{self.wire.clock:7.3f} s, view {len(self.history.views) - 1}: {text}")

    # --- the session --------------------------------------------------------------------------

    def play(self) -> None:
        """Play the whole session."""
        rng, plugin = self.random, self.plugin
        for number in range(rng.choice((2, 2, 3))):
            rules = self.rules if self.same_rules else tuple(
                rule for rule in RULES if rng.random() < 0.6)  # fmt: skip
            allowed = {rule: "expected" for rule in rules if rng.random() < 0.08}
            self.note(f"begin test {number}, rules {rules}, allowed {set(allowed)}")
            plugin.begin_test(rules, allowed)
            self.test = Test(rules, allowed, len(self.history.views) - 1)
            if number == 0:
                self.guarded = self.test.position
            self._phase(rng.choice((0, 1, 2)))
            plugin.begin_call()
            self.test.call_view, self.test.call_world = self._here()
            self.note("begin call")
            self._phase(rng.randint(3, 6))
            self._end_phase("call")
            self.test.call_end = self.guarded
            self._phase(rng.choice((0, 1, 1)))
            self._leave_blocks()
            if rng.random() < 0.7:
                self.note("kill_started")
                self._act(lambda: plugin.box.kill_started())
            self._end_phase("teardown")
            plugin.end_test()
            self.note("end test")
        if rng.random() < 0.5:
            self._pass_time()
        self._end_phase("")
        self._check_incidents()

    def _here(self) -> tuple[int, int]:
        self.daemon.advance(self.wire.clock)
        return len(self.history.views) - 1, self.daemon.world

    def _phase(self, steps: int) -> None:
        rng = self.random
        for _ in range(steps):
            draw = rng.random()
            if draw < 0.2:
                self._pass_time()
            elif draw < 0.25:
                self.note("list")
                self._list()
            elif draw < 0.37:
                self._start()
            elif draw < 0.52:
                self._do_something()
            elif draw < 0.6:
                self._block()
            else:
                self._ask()
        self._leave_blocks()

    def _pass_time(self) -> None:
        self.wire.clock += self.random.choice((0.02, 0.2, 0.6, 1.5, 3.0)) * self.random.random()

    def _act(self, call: Callable[[], Any]) -> Any:
        """Call an action of the sandbox; the sandbox may reject it."""
        try:
            return call()
        except Exception as error:
            if type(error).__name__ not in REFUSALS:
                self.asked, self.answered = self.steps[-1], repr(error)
                self.permitted = sorted(REFUSALS)
                raise
            self.note(f"refused: {type(error).__name__}")
            return None

    def _list(self) -> Any:
        return self._act(lambda: self.plugin.box.list_processes())

    def _run_of(self, pid: int) -> Run | None:
        return next((run for run in reversed(self.daemon.runs) if run.pid == pid), None)

    def _start(self) -> None:
        rng = self.random
        spec = self.daemon.draw_process(rng)
        health = {"type": "tcp", "port": 8080} if spec.pop("health") else None
        name = spec["name"]
        old = self.daemon.names.get(name) if name else None
        if old and old.living and rng.random() < 0.7:
            self.note(f"kill {name} to deploy it again")
            self._act(lambda: self.plugin.box.kill_process(name))
            self.wire.clock += rng.choice((0.0, 0.1, 0.4))
        if old and rng.random() < 0.5:  # the same command and configuration
            spec["command"], spec["args"] = old.command, list(old.args)
            spec["restart"] = {key: value for key, value in old.wire_config.items()
                               if key != "max_backoff_ms"}  # fmt: skip
        self.note(f"start {spec}")
        found = self._act(lambda: self.plugin.box.start_process(**spec, health_check=health))
        if found is not None:
            run = self._run_of(found.pid)
            assert run is not None
            self.objects.append((found, run))
            self.test.started.add(run.gen)

    def _do_something(self) -> None:
        rng, box = self.random, self.plugin.box
        if rng.random() < 0.8:
            self._list()  # rarely does somebody act on an old view (U7)
        target = self._draw_target(alive=True, ways=("object", "pid", "name"))
        if target is None:
            return
        draw, value = rng.random(), target.value
        if draw < 0.45:
            signal = rng.choice((TERM, KILL, HUP, SEGV, ABRT))
            self.note(f"send signal {signal} to {target.how} {target.run}")
            self._act(lambda: box.send_signal(value, signal))
        elif draw < 0.7 or target.run.gen.id is None:
            self.note(f"kill {target.how} {target.run}")
            self._act(lambda: box.kill_process(value))
        else:
            self.note(f"restart {target.how} {target.run}")
            found = self._act(lambda: box.restart_process(value))
            run = self._run_of(found.pid) if found is not None else None
            if run is not None:
                self.objects.append((found, run))

    def _block(self) -> None:
        rng, blocks = self.random, self.test.blocks
        current = next((b for b in blocks if b.last_view == OPEN_ENDED), None)
        if current:
            self._leave(current)
            return
        rules = tuple(rng.sample(RULES, rng.choice((1, 1, 2))))
        view, world = self._here()
        manager = self.plugin.allow(*rules)
        manager.__enter__()
        # If entering takes a list call, what that list shows had happened before the block.
        view, world = max(view, len(self.history.views) - 1), world
        self.note(f"allow {rules}")
        blocks.append(Block(rules, manager, view, world))

    def _leave(self, block: Block) -> None:
        block.manager.__exit__(None, None, None)
        block.last_view, block.last_world = self._here()
        self.note(f"end of the block that allows {block.rules}")

    def _leave_blocks(self) -> None:
        for block in self.test.blocks:
            if block.last_view == OPEN_ENDED:
                self._leave(block)

    # --- questions ----------------------------------------------------------------------------

    def _draw_target(self, *, alive: bool = False, ways: tuple[str, ...] = ()) -> Target | None:
        """Draw a listed process and a way to select it."""
        rng, history = self.random, self.history
        runs = [run for run, known in history.known.items() if known.listed]
        if alive or rng.random() < 0.6:
            runs = [run for run in runs if history.known[run].over is None] or runs
        if self.objects and rng.random() < 0.45:
            runs = [run for _, run in self.objects]
        if not runs:
            return None
        run = rng.choice(runs[-6:])
        gen = run.gen
        options = list(ways or ("object", "pid", "text", "text", "name", "regex", "predicate",
                                "by"))  # fmt: skip
        how = rng.choice(options)
        if how == "name" and gen.name is None:
            how = "object"
        if how == "by" and getattr(self.plugin, "by", None) is None:
            how = "text"
        tag = gen.args[0]
        if how == "object":
            made = next((obj for obj, its in self.objects if its is run), None)
            if made is None:
                rows = self._list()
                made = next((r for r in rows or () if r.pid == run.pid), None)
            if made is None:
                how = "pid"
            elif gen.id:
                return Target(how, made, run, lambda other: other.gen is gen)
            else:
                return Target(how, made, run, lambda other: other is run)
        if how == "pid":
            return Target(how, run.pid, run, lambda other: other is run)
        if how == "name" or (how == "by" and gen.name and rng.random() < 0.5):
            name = gen.name
            value: Any = name if how == "name" else self.plugin.by(name=name)
            return Target(how, value, run, lambda other: other.gen.name == name, str(name))
        command = gen.command
        if how == "by":
            value = self.plugin.by(command=command, args=[tag])
        elif how == "regex":
            value = re.compile(re.escape(f"{command} {tag}"))
        elif how == "predicate":
            value = lambda row: row.command == command and list(row.args) == [tag]  # noqa: E731
        else:
            value = f"{command} {tag}"
        return Target(
            how, value, run,
            lambda other: other.gen.args[0] == tag and other.gen.command == command,
            f"{command} {tag}",
        )  # fmt: skip

    def _ask(self) -> None:
        """Call a helper, and compare its answer with the oracle."""
        rng = self.random
        draw = rng.random()
        target: Target | None
        options: dict[str, Any] = {}
        if draw < 0.5:
            helper = rng.choice(("assert_no_oom", "assert_no_oom", "assert_no_crash",
                                 "assert_no_restart", "assert_no_incidents"))  # fmt: skip
            target = self._draw_target() if rng.random() < 0.4 else None
            if helper == "assert_no_oom" and rng.random() < 0.4:
                options["suspected"] = True
        else:
            target = self._draw_target()
            if target is None:
                return
            helper = rng.choice(("assert_not_running", "assert_process", "assert_process",
                                 "assert_stays", "wait_for_process", "wait_for_exit"))  # fmt: skip
            statuses = ("running", "running", "exited", "exited", "signaled", "oom_killed",
                        ["exited", "signaled"])  # fmt: skip
            if helper == "assert_process":
                kind = rng.random()
                if kind < 0.5:
                    options["status"] = rng.choice(statuses)
                elif kind < 0.85:
                    options["exit_code"] = rng.choice((0, 0, 1, -1, [0, 1]))
                else:
                    options["signal"] = rng.choice((SEGV, ABRT, KILL))
            elif helper == "assert_stays":
                options = {"stable_for": rng.choice((0.3, 1.2)), "status": rng.choice(statuses[:3])}
            elif helper == "wait_for_process":
                options = {"status": rng.choice(statuses), "timeout": rng.choice((0.1, 1.0, 3.5))}
                if options["status"] == "running" and rng.random() < 0.4:
                    options["stable_for"] = rng.choice((0.3, 1.0))
            elif helper == "wait_for_exit":
                options = {"exit_code": rng.choice((0, 0, "any", 1, [0, 3])),
                           "timeout": rng.choice((0.1, 1.0, 3.5))}  # fmt: skip
            if helper != "assert_not_running" and not target.exact and rng.random() < 0.15:
                options["pick"] = rng.choice(("newest", "oldest"))
        targets = (target,) if target else ()
        question = Question(helper, targets, options, self.wire.clock, self.test.position,
                            len(self.history.views))  # fmt: skip
        shown = f"{target.how} {target.text} {target.run}" if target else ""
        at = f"at {self.wire.clock:.3f} s, views from {question.first_view}"
        self.asked = f"{helper}({shown} {options}) {at}"
        self.note(self.asked)
        values = [target.value] if target else []
        self.question = question
        try:
            getattr(self.plugin.box, helper)(*values, **options)
            self.answered, full = "pass", "pass"
        except Exception as error:
            self.answered, full = type(error).__name__, f"{type(error).__name__}: {error}"
        self.counts["questions"] += 1
        self.counts[helper] += 1
        allowed = self.history.allowed(question, self.wire.clock)
        self.permitted = sorted(allowed)
        self.note(f"-> {self.answered}")
        self.counts["questions about a doubtful process"] += self.history.doubted
        self.counts["unsure questions"] += len(allowed) > 8
        if self.answered not in allowed:
            self.answered = full
            self.disagree("wrong answer")
        if self.answered == "pass":
            negative = not targets or helper.startswith(("assert_no_", "assert_no_incidents"))
            if negative and not self.history.settled(question):
                self.disagree("passed without two polls at least 0.2 s apart")
            self._declare(question)

    def _declare(self, question: Question) -> None:
        """Record the ends that a passing call asked for."""
        if not question.targets or question.first_view >= len(self.history.views):
            return
        status: Any = question.options.get("status")
        view = self.history.views[-1]
        named = [status] if isinstance(status, str) else list(status or ())
        declared = self.test.declared
        for shown in view.rows:
            if not question.targets[0].matches(shown.run) or not shown.end:
                continue
            kinds = set()
            if "oom_killed" in named:
                kinds.add("oom")
            if question.options.get("signal") is not None:
                kinds.add("crash")
            newest = self.history.newest.get(shown.run.gen)
            for kind in kinds if newest is None or newest.run is shown.run else ():
                declared[kind, shown.run] = True
            if kinds or "signaled" in named:  # of what else it may have declared is not known
                for kind in {"oom"} if kinds == {"oom"} else {"oom", "crash"}:
                    declared.setdefault((kind, shown.run), None)

    def _check_incidents(self) -> None:
        self.asked = "incidents()"
        reported = self.plugin.incidents()
        self.counts["questions"] += 1
        self.answered, self.permitted = "\n  ".join(map(str, reported)), "see below"
        wrong = self.history.check_incidents(reported)
        if wrong:
            self.disagree(wrong)

    # --- the guard ----------------------------------------------------------------------------

    def _end_phase(self, phase: str) -> None:
        """End a phase ("" for the session), and compare the findings."""
        plugin, history = self.plugin, self.history
        self.asked = f"findings at the end of {phase or 'the session'}"
        self.note(self.asked)
        seen = len(history.views)
        reports = plugin.end_phase(phase) if phase else plugin.end_session()
        if seen == len(history.views) and not reports:
            return  # no poll succeeded, so nothing is due yet
        self.counts["questions"] += 1
        self.answered = "\n  ".join(map(str, reports)) or "none"
        last = len(history.views) - 1
        rules = set(self.test.rules if phase else self.rules)
        strict = bool(phase) or self.same_rules
        due = self._due(last, rules)
        self.permitted = "\n  ".join(
            f"{'must' if must else 'may'} {rule} {i.kind} {i.run}" for rule, i, must in due
        ) or "none"  # fmt: skip
        matched: set[int] = set()
        for report in reports:
            if report.of_test != bool(phase):
                self.disagree(f"of_test is wrong: {report}")
            if strict and report.rule not in rules:
                self.disagree(f"the rule is off: {report}")
            if report.rule == "leak":
                self._check_leak(report, phase, last)
            elif report.rule == "unhealthy":
                self._check_unhealthy(report, last)
            else:
                self._check_report(report, due, matched, phase, last)
        if strict:
            about = {(r.managed_id, r.pid) for r in reports}
            ids = {r.managed_id for r in reports if r.managed_id}
            for index, (rule, incident, must) in enumerate(due):
                run = incident.run
                if not must or index in matched:
                    continue
                if rule == "inconclusive" and (
                    run.gen.id in ids or any(pid == run.pid for _, pid in about)
                ):
                    continue  # another finding of the same process shows it
                if incident.low > self._first(run.gen) and self.history.doubtful(
                    run, 0, incident.low
                ):
                    continue  # the corrected end of a doubtful run may be that of another one
                self.disagree(f"no finding for {incident.kind} of {run}")
            self._check_missing(reports, phase, last, rules)
        self.reported.update((rule, incident) for rule, incident, must in due if must)
        self.guarded = last

    def _due(self, last: int, rules: set[str]) -> list[tuple[str, Incident, bool]]:
        """Return the allowed and the required findings for the views since the last phase."""
        history, test, due = self.history, self.test, []
        for incident in history.incidents.values():
            kind, run = incident.kind, incident.run
            rule = RULE_OF.get(kind, "inconclusive" if kind.endswith("_end") else "")
            if not rule or incident.low > last or incident.high <= self.guarded:
                continue
            if (rule, incident) in self.reported:
                continue
            ours = history.caused(incident)
            if ours == {True} or (incident.retracted and kind == "unseen_end"):
                continue
            must = incident.required and ours == {False} and incident.high <= last
            # The list call that begins a test may show what happened between two tests.
            must = must and not self.guarded < incident.low <= test.position
            must = must and not history.doubtful(run, incident.low - 1, incident.low + 1)
            must = must and (rule, run) not in test.declared and not incident.retracted
            must = must and history.replaced_at <= self.guarded
            if rule == "inconclusive":
                must = must and bool(rules & {"oom", "crash"})
                must = must and (not incident.vanished or run.gen in test.started)
                if kind == "lost_end":
                    if run.gen not in test.started:
                        continue
                    must = must and "crash" in rules and last > history.known[run].first
            elif kind in ("restart", "gave_up"):
                before = run.gen.runs[run.number - 1] if kind == "restart" else run
                must = must and rule in rules
                # What follows a declared end may count as declared.
                must = must and not {("oom", before), ("crash", before)} & test.declared.keys()
            else:
                must = must and rule in rules
            due.append((rule, incident, must))
        return due

    def _same(self, report: Reported, run: Run) -> bool:
        known = self.history.known.get(run)
        if report.pid is not None:
            return report.pid == run.pid and report.started_at == run.started_at and (
                not self.daemon.layout.handles or report.handle == run.handle)  # fmt: skip
        return run.gen.id is not None and report.managed_id == run.gen.id and (
            known is None or not known.listed)  # fmt: skip

    def _check_report(
        self, report: Reported, due: list[tuple[str, Incident, bool]], matched: set[int],
        phase: str, last: int,
    ) -> None:  # fmt: skip
        fits = []
        for index, (rule, incident, _) in enumerate(due):
            run = incident.run
            if rule == report.rule and report.observed:
                # A restart may be reported by the run that ended or by the run that began.
                if self._same(report, run) or (
                    incident.kind == "restart"
                    and any(self._same(report, run.gen.runs[n]) for n in range(run.number))
                ):
                    fits.append((index, incident))
            elif rule == "inconclusive" and not report.observed and (
                self._same(report, run)
                or (run.gen.id is not None and report.managed_id == run.gen.id)
                or (report.pid is not None and report.pid == run.pid)
            ):  # fmt: skip
                fits.append((index, incident))
        name = str(report.managed_id)
        views = [at for key in (name, "U4 " + name) for at, _ in self.history.doubts.get(key, ())]
        doubted = any(self.guarded <= at + 1 and at <= last + 1 for at in views)
        if not fits:
            if self.history.has_doubt(name, "U3"):
                # An end that shows late may be taken for that of another hidden run.
                fits = [
                    (index, incident)
                    for index, (rule, incident, _) in enumerate(due)
                    if rule == report.rule and incident.run.gen.id == name
                ]
                if fits or report.pid is None:
                    self.counts["findings of another hidden run"] += 1
                    matched.update(index for index, _ in fits)
                    self.reported.update((due[index][0], incident) for index, incident in fits)
                    return
            if doubted:
                self.counts["doubted findings"] += 1
                return
            if self.guarded < self.history.replaced_at <= last and not report.observed:
                return
            self.disagree(f"unexpected finding: {report}")
        for index, incident in fits:
            matched.add(index)
            self.reported.add((due[index][0], incident))
        if not report.observed and (self.test.blocks or self.test.allowed):
            return
        # What was possible at first, and is certain later, counts from either moment on.
        flags = [
            self._allowed(report.rule, i.at, view, phase)
            for _, i in fits
            for view in (
                (i.low, min(i.high, last)) if not i.required or i.kind == "gave_up" else (i.low,)
            )
        ]
        if any(self.test.declared.get((report.rule, i.run), False) is not False for _, i in fits):
            flags.append({True})
            if all(self.test.declared.get((report.rule, i.run)) for _, i in fits):
                flags = [{True}]
        if not doubted and not any(report.allowed in flag for flag in flags):
            self.disagree(f"wrong value of allowed: {report}; expected {flags}")

    def _allowed(self, rule: str, at: int, view: int, phase: str) -> set[bool]:
        """Return the allowed values of `allowed` for an event at this time and view."""
        if not phase:
            return {False}
        if rule in self.test.allowed:
            return {True}
        result = {False}
        for block in self.test.blocks:
            if rule in block.rules:
                in_time = block.world <= at <= block.last_world
                in_view = block.view < view <= block.last_view
                if in_time and in_view:
                    return {True}
                if in_time or in_view:
                    result.add(True)  # happened within the block or became visible in it, not both
        return result

    def _alive(self, gen: Generation) -> bool:
        rows = [shown for run, shown in self.history.shown.items() if run.gen is gen]
        newest = max(rows, key=lambda shown: shown.run.number, default=None)
        if newest is None:
            return False
        return newest.end is None or newest.status == "backing_off"

    def _first(self, gen: Generation) -> int:
        known = self.history.known
        return min((known[run].first for run in gen.runs if run in known), default=OPEN_ENDED)

    def _check_leak(self, report: Reported, phase: str, last: int) -> None:
        test = self.test
        if self.history.replaced_at > test.position:
            return  # what began before the replacement seems to have begun after it
        epoch = self.history.views[-1].epoch  # a replacement may not be visible yet
        gens = [
            gen for gen in self.daemon.gens
            if gen.epoch == epoch and (
                any(run.pid == report.pid for run in gen.runs)
                or (report.pid is None and gen.id and gen.id == report.managed_id)
            )
        ]  # fmt: skip
        fits = [gen for gen in gens if self._alive(gen) and self._first(gen) > test.call_view]
        if phase != "teardown" or (not fits and not any(
            self.history.doubted_since(gen.run, test.position)
            # Its newest row was removed, and the row of an older run looks as if it went on.
            or all(row.run is not gen.run for row in self.history.views[-1].rows)
            for gen in gens
        )):  # fmt: skip
            self.disagree(f"not a leak: {report}")
        flags = [self._allowed("leak", g.runs[0].began, self._first(g), phase) for g in fits]
        doubted = any(self.history.doubted_since(gen.run, test.position) for gen in fits)
        if flags and not doubted and not any(report.allowed in flag for flag in flags):
            self.disagree(f"wrong value of allowed: {report}; expected {flags}")

    def _check_unhealthy(self, report: Reported, last: int) -> None:
        fits = [
            (at, run) for at, run, _, _ in self.history.unhealthy
            if self.guarded < at <= last
            and (run.pid == report.pid or (report.pid is None and run.gen.id == report.managed_id))
        ]  # fmt: skip
        if not fits:
            self.disagree(f"no health check began to fail: {report}")

    def _check_missing(
        self, reports: list[Reported], phase: str, last: int, rules: set[str]
    ) -> None:
        """Check that leaks and failing health checks were reported."""
        test, history = self.test, self.history
        if "unhealthy" in rules:
            found = {r.pid for r in reports if r.rule == "unhealthy"}
            ids = {r.managed_id for r in reports if r.rule == "unhealthy"}
            for at, run, _, began in history.unhealthy:
                if max(self.guarded, test.position) < at <= last and began and (
                    run.pid not in found and run.gen.id not in ids
                    and not history.doubted_since(run, -1) and history.replaced_at <= self.guarded
                ):  # fmt: skip
                    self.disagree(f"no finding for the failing health check of {run}")
        if phase == "teardown" and "leak" in rules and history.replaced_at < test.position:
            leaked = {r.pid for r in reports if r.rule == "leak"}
            ids = {r.managed_id for r in reports if r.rule == "leak" and r.managed_id}
            for gen in self.daemon.gens:
                if gen.runs[0].began < test.call_world or gen.epoch != self.daemon.epoch:
                    continue
                if not test.call_view < self._first(gen) <= test.call_end:
                    continue
                if gen.stopping or not gen.living or not self._alive(gen):
                    continue
                if history.doubted_since(gen.run, test.position):
                    continue
                if gen.id not in ids and not any(run.pid in leaked for run in gen.runs):
                    self.disagree(f"no finding for the leak of {gen.run}")


def run(seed: int, plugin_factory: Callable[[Wire], Plugin], counts: Counter[str]) -> None:
    """Play one history; raise AssertionError with a report at the first disagreement."""
    session = Session(seed, plugin_factory, counts)
    counts["histories"] += 1
    try:
        session.play()
    except AssertionError as error:
        if str(error).startswith("seed "):
            raise
        session.disagree(f"AssertionError: {error}")
    except Exception as error:
        session.disagree(f"unexpected {type(error).__name__}: {error}")
