"""Draw random sessions, call a plugin, and compare its answers with the oracle."""

import random
from itertools import pairwise
from types import SimpleNamespace
from unittest import mock

import pytest

from pytest_tlsandbox import errors
from pytest_tlsandbox.waiting import polling

from .daemon import ABRT, KILL, SEGV, SIGNALS, TERM, Daemon
from .oracle import OPEN_ENDED, OUTAGE_BUDGET, RULE_OF, History, Incident, Question, Target, Unclear
from .plugin import STREAMS, Transport

RULES = ("oom", "crash", "restart", "unhealthy", "leak")
# Errors that start, signal, kill and restart may raise if the process does not exist.
REFUSALS = (
    errors.RequestRefused, errors.ProcessNotFound, errors.AmbiguousProcess, errors.SandboxReplaced,
    errors.Inconclusive, errors.SandboxUnreachable, errors.SandboxNotRunning, errors.UnexpectedExit,
    errors.InvalidArgument,
)  # fmt: skip
STEPS = {"_pass_time": 20, "_list": 5, "_start": 12, "_do_something": 15, "_block": 8, "_ask": 40}
WAYS = ("object", "pid", "text", "text", "text", "name")
STATUSES = (
    "running", "running", "exited", "exited", "signaled", "oom_killed", ["exited", "signaled"],
)  # fmt: skip
TIMEOUTS = {"timeout": (0.1, 1.0, 3.5)}
COUNTS = {"count": (1, 1, 2), **TIMEOUTS}


def two_run(snapshot):
    return sum(row.status == "running" for row in snapshot) >= 2


# Helpers, and the values from which their options are drawn.
NEGATIVE = (
    ("assert_no_oom", {}), ("assert_no_oom", {"suspected": [True]}), ("assert_no_crash", {}),
    ("assert_no_restart", {}), ("assert_no_incidents", {}),
)  # fmt: skip
POSITIVE = (
    ("assert_not_running", {}),
    ("assert_not_running", {}),
    ("assert_process", {"status": STATUSES}),
    ("assert_process", {"exit_code": (0, 0, 1, -1, [0, 1])}),
    ("assert_process", {"signal": (SEGV, ABRT, KILL)}),
    ("assert_stays", {"status": STATUSES[:3], "stable_for": (0.3, 1.2, 3.0)}),
    ("wait_for_process", {"status": STATUSES, **TIMEOUTS}),
    ("wait_for_process", {"status": ["running"], "stable_for": (0.3, 1.0, 2.0), **TIMEOUTS}),
    ("wait_for_exit", {"exit_code": (0, 0, "any", 1, [0, 3]), "timeout": (0.1, 1.0, 3.5, 8.0)}),
    ("wait_for_exit", {"exit_code": ("any", 1), "timeout": (1.0, 8.0)}),
    ("wait_for_output", {"pattern": ["ready"], **TIMEOUTS}),
    ("wait_for_port", {"port": [8080], **TIMEOUTS}),
    ("wait_for_restart", COUNTS),
    ("wait_for_count", COUNTS),
    ("wait_until", {"condition": [two_run], **TIMEOUTS}),
)


def disagreement(seed, factory, counts):
    """Play one history; return a report of the first disagreement, or an empty text."""
    session = Session(seed, factory, counts)
    # Half of the sessions request only the row of a process, as if the list were long.
    long_list = 1 if seed // 32 % 2 else 100
    try:
        with mock.patch.object(polling, "_LONG_LIST", long_list):
            session.play()
    except Unclear:
        return ""
    except Exception as error:
        return session.report(f"{type(error).__name__}: {error}")
    return ""


class Session:
    """One random session of two or three tests."""

    def __init__(self, seed, factory, counts):
        """Create the world and the plugin."""
        self.seed = seed
        self.random = random.Random(f"session {seed}")
        self.counts = counts
        self.daemon = Daemon(seed)
        self.history = History(self.daemon)
        # The lowest bits of the seed select the layout of the daemon.
        self.wire = Transport(self.daemon, self.history, STREAMS[seed // 8 % len(STREAMS)])
        self.clock = self.wire.clock
        self.plugin = factory(self.wire)
        self.objects = {}  # the process objects that actions returned, by run
        self.guarded = -1  # the last view that the guard checked
        self.reported = set()
        self.steps = []
        self.test = None
        self.gap = False  # whether the guard could not poll since the last phase, or at its end

    def report(self, what):
        """Return a full report of a disagreement."""
        daemon, history = self.daemon, self.history
        incidents = [f"{i}, ours {set(history.caused(i))}" for i in history.incidents.values()]
        parts = {
            f"seed {self.seed}: {what}": [daemon.layout, f"stream {self.wire.follow}"],
            "log": [f"{at:6d} ms {text} {it or ''}" for at, text, it in daemon.log],
            "views (good answers)": history.views,
            "failed polls": [", ".join(self.wire.failed_polls)],
            "steps": self.steps,
            "incidents": incidents,
            "doubts": history.doubts,
        }
        return "\n".join("\n  ".join(map(str, (name, *lines))) for name, lines in parts.items())

    def note(self, text):
        """Record a step for the report."""
        self.steps.append(f"{self.clock.now:7.3f} s, view {len(self.history.views) - 1}: {text}")

    # --- the session --------------------------------------------------------------------------

    def play(self):
        """Play the whole session."""
        rng, plugin = self.random, self.plugin
        for number in range(rng.choice((2, 2, 3))):
            some = tuple(rule for rule in RULES if rng.random() < 0.7)
            rules = RULES if rng.random() < 0.6 else some
            allowed = {rule: "expected" for rule in rules if rng.random() < 0.08}
            self.note(f"begin test {number}, rules {rules}, allowed {[*allowed]}")
            try:
                plugin.begin_test(rules, allowed)
            except errors.SandboxUnreachable:  # a test cannot begin without a baseline
                assert self.clock.now - self.history.failing >= OUTAGE_BUDGET - 1
                return
            self.test = test = SimpleNamespace(
                rules=rules, allowed=allowed, position=len(self.history.views) - 1, blocks=[],
                declared=set(), started=set(),
            )  # fmt: skip
            if number == 0:
                self.guarded = test.position
            self._phase(rng.choice((0, 1, 2)))
            views = len(self.history.views)
            plugin.monitor.begin_call(fixtures=True)
            test.call_view, test.call_world = self._here()
            if views == len(self.history.views):  # the poll failed, so no leak has to be found
                self.gap, test.call_world = True, OPEN_ENDED
            self.note("begin call")
            self._phase(rng.randint(3, 6))
            self._end_phase("call")
            test.call_end = self.guarded
            self._phase(rng.choice((0, 1, 1)))
            if rng.random() < 0.7:
                self.note("kill_started")
                self._act(plugin.box.kill_started)
            self._end_phase("teardown")
            plugin.end_test()
            self.note("end test")
        if rng.random() < 0.5:
            self._pass_time()
        self._end_phase("")
        self._check_incidents()
        self._check_refused_key()

    def _here(self):
        self.daemon.advance(self.clock.now)
        return len(self.history.views) - 1, self.daemon.world

    def _phase(self, steps):
        for step in self.random.choices([*STEPS], STEPS.values(), k=steps):
            getattr(self, step)()

    def _pass_time(self):
        self.clock.now += self.random.choice((0.02, 0.2, 0.6, 1.5, 3.0)) * self.random.random()

    def _act(self, call, *args, **options):
        """Call an action of the sandbox; the sandbox may reject it."""
        try:
            return call(*args, **options)
        except REFUSALS as error:
            self.note(f"refused: {type(error).__name__}")
            return None

    def _list(self):
        return self._act(self.plugin.box.list_processes)

    def _run_of(self, found):
        """Return the run that a process object shows."""
        shown = found.pid, round(found.started_at.timestamp() * 1000)
        return next(run for run in self.daemon.runs if (run.pid, run.started_at) == shown)

    def _keep(self, found):
        """Keep a process object that an action returned; return its run, or None."""
        if found is None:
            return None
        run = self._run_of(found)
        self.objects[run] = found
        return run

    def _start(self):
        rng, box = self.random, self.plugin.box
        spec = self.daemon.draw_process(rng)
        health = {"type": "tcp", "port": 8080} if spec.pop("health") else None
        name = spec["name"]
        old = self.daemon.names.get(name)
        if old and old.living and rng.random() < 0.7:
            self.note(f"kill {name} to deploy it again")
            self._act(box.kill_process, name)
            self.clock.now += rng.choice((0.0, 0.1, 0.4))
        if old and rng.random() < 0.5:  # the same command and configuration
            spec |= {"command": old.command, "args": [*old.args], "restart": {**old.restart}}
        self.note(f"start {spec}")
        run = self._keep(self._act(box.start_process, **spec, health_check=health))
        if run is not None:
            self.test.started.add(run.gen)

    def _do_something(self):
        rng, box = self.random, self.plugin.box
        if rng.random() < 0.8:
            self._list()  # a client rarely acts on an old view (U7)
        target = self._draw_target(alive=True, ways=("object", "pid", "name"))
        if target is None:
            return
        weights = (45, 25, 30 if target.run.gen.id else 0)
        if rng.random() < 0.25:
            lives, acts = target.run.ended is None, {*target.run.acts}
            self._compare("stop_process", target, grace=rng.choice((0, 0.2, 2.0)))
            if lives and target.run.acts != acts:
                target.run.acts |= {TERM, KILL}
        else:
            calls = (box.send_signal, box.kill_process, box.restart_process)
            call = rng.choices(calls, weights)[0]
            args = [rng.choice(SIGNALS)] if call == box.send_signal else []
            self.note(f"{call.__name__} {target.how} {target.run} {args}")
            self._keep(self._act(call, target.value, *args))

    def _block(self):
        """Perform some steps in a block that allows some rules."""
        rules = tuple(self.random.sample(RULES, self.random.choice((1, 1, 2))))
        before, world = self._here()
        with self.plugin.guard.allowing(rules, "the model allows it"):
            # If entering the block makes a list call, its incidents happened before the block.
            view = len(self.history.views) - 1
            self.note(f"allow {rules}")
            self._phase(self.random.randint(1, 4))
            last, _ = self._here()
        self.test.blocks.append((rules, view, world, *self._here()))
        self.gap = self.gap or view == before or last == len(self.history.views) - 1
        self.note(f"end of the block that allows {rules}")

    # --- questions ----------------------------------------------------------------------------

    def _draw_target(self, *, alive=False, ways=WAYS):
        """Draw a listed process and a way to select it."""
        rng, history = self.random, self.history
        runs = [run for run, known in history.known.items() if known.listed]
        if alive or rng.random() < 0.6:
            runs = [run for run in runs if history.known[run].over is None] or runs
        if self.objects and rng.random() < 0.45:
            runs = [*self.objects]
        if not runs:
            return None
        run = rng.choice(runs[-6:])
        gen, command, tag = run.gen, run.gen.command, run.gen.args[0]
        how = rng.choice(ways)
        if how == "object" or (how == "name" and gen.name is None):
            listed = () if run in self.objects else self._list() or ()
            made = {self._run_of(row): row for row in listed} | self.objects
            if run in made:
                whole = gen.runs if gen.id else [run]
                return Target("object", made[run], run, lambda it: it in whole)
            how = "pid"
        if how == "pid":
            run = max((it for it in runs if it.pid == run.pid), key=lambda it: it.handle)
            return Target(how, run.pid, run, lambda it: it is run)
        if how == "name":
            return Target(how, gen.name, run, lambda it: it.gen.name == gen.name)
        return Target(
            how, f"{command} {tag}", run,
            lambda it: (it.gen.args[0], it.gen.command) == (tag, command),
        )  # fmt: skip

    def _ask(self):
        """Call a helper about a process or the whole sandbox, and compare its answer."""
        rng = self.random
        negative = rng.random() < 0.5
        helper, options = rng.choice(NEGATIVE if negative else POSITIVE)
        options = {name: rng.choice(values) for name, values in options.items()}
        whole = helper == "wait_until" or (negative and rng.random() < 0.6)
        target = None if whole else self._draw_target()
        if target is None and not (whole or negative):
            return
        if helper == "wait_for_count":
            run, command = target.run, target.run.gen.command
            target = Target("text", command, run, lambda it: it.gen.command == command)
        elif not (negative or whole or helper == "assert_not_running" or target.exact):
            options |= {"pick": rng.choice(("newest", "oldest"))} if rng.random() < 0.15 else {}
        self._compare(helper, target, **options)

    def _compare(self, helper, target, **options):
        """Call a helper, and compare its answer with the allowed answers."""
        history, asked, views = self.history, len(self.wire.asked), len(self.history.views)
        question = Question(helper, target, options, self.clock.now, self.test.position, views)
        selected = f"{target.how} {target.run}" if target else ""
        self.note(f"{helper}({selected} {options}), views from {views}")
        answered, full, value = "pass", "", None
        try:
            value = getattr(self.plugin.box, helper)(*[target.value] if target else (), **options)
        except Exception as error:
            answered, full = type(error).__name__, f": {error}"
        permitted = history.allowed(question, self.clock.now)
        self.note(f"-> {answered}, allowed {sorted(permitted)}")
        assert answered in permitted, f"wrong answer{full}"
        self.counts["questions"] += 1
        self.counts["unsure"] += len(permitted) > 8
        if "timeout" in options:
            self._check_times(question, self.wire.asked[asked:])
        if answered == "pass":
            if question.negative:
                assert history.settled(question), "passed without two polls at least 0.2 s apart"
            if target and hasattr(value, "started_at") and len(permitted) <= 8:
                run = self._run_of(value)
                selected = target.matches(run) or run.gen is target.run.gen
                assert selected or run.pid == target.value, f"returned {run}"
                assert history.fits(question, run), f"returned {run}"
            self._declare(question)

    def _check_times(self, question, asked):
        """Check the deadline of a wait, and that it polls at least once a second."""
        deadline = question.began + question.options["timeout"]
        assert self.clock.now <= deadline + 0.503, "past its deadline"
        pauses = [after - before for before, after in pairwise(asked)]
        if self.daemon.always_answers:
            assert max(pauses, default=0.0) <= 1.003, "polled too rarely"

    def _declare(self, question):
        """Record the ends that a passing call named, or perhaps named."""
        if not question.target or question.first_view >= len(self.history.views):
            return
        named, matches = question.options.get("status") or (), question.target.matches
        kinds = {"oom"} if "oom_killed" in named else set()
        if "signaled" in named or question.options.get("signal") is not None:
            kinds = {"oom", "crash"}
        for shown in self.history.views[-1].rows:
            if shown.end and matches(shown.run):
                self.test.declared |= {(kind, shown.run) for kind in kinds}
        for kind, run in self.history.incidents if question.helper == "wait_for_restart" else ():
            if kind == "restart" and any(map(matches, run.gen.runs)):
                self.test.declared.add((kind, run))

    def _check_incidents(self):
        reported = [*self.plugin.incidents()]
        self.note("incidents:" + "".join(f"\n    {found}" for found in reported))
        wrong = self.history.check_incidents(reported)
        assert not wrong, wrong

    def _check_refused_key(self):
        """Reject the key soon: a wait ends at its next poll."""
        if self.history.failing is None:
            self.wire.refuses_from = self.clock.now + 0.2
            with pytest.raises(errors.AuthenticationFailed):
                self.plugin.box.wait_for_exit("no such job", timeout=1)
            assert self.wire.asked[-2] < self.wire.refuses_from

    # --- the guard ----------------------------------------------------------------------------

    def _end_phase(self, phase):
        """End a phase ("" for the session), and compare the findings."""
        history = self.history
        seen = len(history.views)
        reports = self.plugin.end_phase(phase)
        self.note(f"end of {phase or 'the session'}, findings {reports}")
        if seen == len(history.views) and not reports:
            self.gap = True
            return  # no poll succeeded, so no finding is required yet
        last, rules = len(history.views) - 1, set(self.test.rules)
        due = self._due(last, rules) + (self._leaks(rules) if phase == "teardown" else [])
        matched = set()
        for report in reports:
            assert report.of_test == bool(phase) or self.gap, report
            assert report.rule in rules, f"the rule is off: {report}"
            matched |= self._check_report(report, due, phase, last)
        pids = {report.pid for report in reports}
        for rule, incident, must in due:
            # Another finding about the same process may report an inconclusive incident.
            run, inconclusive = incident.run, rule == "inconclusive"
            found = (rule, incident) in matched or (inconclusive and run.pid in pids)
            assert found or not must, f"no finding for {incident.kind} of {run}"
        self.reported |= {(rule, incident) for rule, incident, must in due if must} | matched
        self.guarded, self.gap = last, False

    def _due(self, last, rules):
        """Return the allowed and the required findings for the views since the last phase."""
        history, test, due = self.history, self.test, []
        for incident in (*history.incidents.values(), *history.unhealthy):
            kind, run = incident.kind, incident.run
            rule = RULE_OF.get(kind)
            if not rule or incident.low > last or incident.high <= self.guarded:
                continue
            ours = history.caused(incident)
            if (rule, incident) in self.reported or ours == {True}:
                continue
            must = (
                history.is_certain(incident) and ours == {False} and incident.high <= last
                # The list call that begins a test may show what happened between two tests.
                and not self.guarded < incident.low <= test.position
                and (rule, run) not in test.declared
            )  # fmt: skip
            if rule == "inconclusive":
                must = must and (not incident.vanished or run.gen in test.started)
                must = must and bool(rules & {"oom", "crash"})
                if kind == "lost_end":
                    if run.gen not in test.started:
                        continue
                    must = must and "crash" in rules and last > history.known[run].first
            else:
                must = must and rule in rules
            due.append((rule, incident, must))
        return due

    def _leaks(self, rules):
        """Return the allowed and the required findings of processes that a test left running."""
        history, test, due = self.history, self.test, []
        for gen in self.daemon.gens:
            began, known = gen.runs[0].began, history.known
            first = min((known[run].first for run in gen.runs if run in known), default=OPEN_ENDED)
            # If the newest row was removed, the older run in the remaining row seems to continue.
            removed = gen.run not in history.shown
            doubted = removed or history.doubted_since(gen.run, test.position)
            if doubted or (self._alive(gen) and first > test.call_view):
                must = (
                    not doubted and "leak" in rules and gen.living and not gen.stopping
                    and began >= test.call_world and first <= test.call_end
                )  # fmt: skip
                leak = Incident("leak", gen.run, first, first, began, not doubted)
                due.append(("leak", leak, must))
        return due

    def _fits(self, report, rule, incident):
        """Return whether a finding may be about an incident."""
        run = incident.run
        if rule == report.rule and report.observed:
            # A restart may be reported by the run that ended or by the run that began.
            whole = rule in ("restart", "leak")
            return any(self.history.is_of(it, report) for it in (run.gen.runs if whole else [run]))
        same = report.managed_id == run.gen.id if run.gen.id else report.pid == run.pid
        return rule == "inconclusive" and not report.observed and same

    def _check_report(self, report, due, phase, last):
        """Check one finding; return the rules and incidents that it may be about."""
        history, test, rule = self.history, self.test, report.rule
        fits = [(its, incident) for its, incident, _ in due if self._fits(report, its, incident)]
        doubted = any(
            managed_id == report.managed_id and self.guarded <= at + 1 and at <= last + 1
            for managed_id, at, _ in history.doubts
        )
        # With U3, the plugin may attribute an end that appears late to another hidden run.
        cases = {case for managed_id, _, case in history.doubts if managed_id == report.managed_id}
        late = not fits and "U3" in cases
        if late:
            fits = [
                (its, i) for its, i, _ in due if (its, i.run.gen.id) == (rule, report.managed_id)
            ]
        assert fits or doubted or late, f"unexpected finding: {report}"
        doubted = doubted or any(i.kind == "leak" and not i.required for _, i in fits)
        if late or doubted or self.gap or (not report.observed and (test.blocks or test.allowed)):
            return {*fits}
        # An event that became certain after it was possible counts from either view on.
        flags = set()
        for _, i in fits:
            flags |= self._allowed(rule, i.at, i.low, phase)
            if not i.required or i.kind == "gave_up":
                flags |= self._allowed(rule, i.at, min(i.high, last), phase)
        if any((rule, i.run) in test.declared for _, i in fits):
            flags.add(True)
        assert report.allowed in flags, f"allowed: {report}, not {flags}"
        return {*fits}

    def _allowed(self, rule, at, view, phase):
        """Return the allowed values of `allowed` for an event at this time and view."""
        if not phase or rule in self.test.allowed:
            return {bool(phase)}
        inside = {
            (begun <= at <= ended, first < view <= last)
            for rules, first, begun, last, ended in self.test.blocks if rule in rules
        }  # fmt: skip
        # An event may be in a block only by its time, or only by its view.
        return {True} if (True, True) in inside else {False, *map(any, inside)}

    def _alive(self, gen):
        rows = [shown for run, shown in self.history.shown.items() if run.gen is gen]
        newest = max(rows, key=lambda shown: shown.run.number, default=None)
        return newest is not None and (newest.end is None or newest.status == "backing_off")
