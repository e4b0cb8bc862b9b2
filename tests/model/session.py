"""Draw random sessions, call a plugin, and compare its answers with the oracle."""

import random
import re
from types import SimpleNamespace
from unittest import mock

from pytest_tlsandbox import by, errors
from pytest_tlsandbox.waiting import polling

from .daemon import ABRT, KILL, SEGV, SIGNALS, Daemon
from .oracle import OPEN_ENDED, RULE_OF, History, Incident, Question, Target
from .plugin import STREAMS, Transport

RULES = ("oom", "crash", "restart", "unhealthy", "leak")
# Errors that start, signal, kill and restart may raise if the process does not exist.
REFUSALS = (
    errors.RequestRefused, errors.ProcessNotFound, errors.AmbiguousProcess, errors.SandboxReplaced,
    errors.Inconclusive, errors.SandboxUnreachable, errors.SandboxNotRunning, errors.UnexpectedExit,
    errors.InvalidArgument,
)  # fmt: skip


NEGATIVE = (
    "assert_no_oom", "assert_no_oom", "assert_no_crash", "assert_no_restart", "assert_no_incidents",
)  # fmt: skip
POSITIVE = (
    "assert_not_running", "assert_process", "assert_process", "assert_stays", "wait_for_process",
    "wait_for_exit", "wait_for_port", "wait_for_restart", "wait_for_count",
)  # fmt: skip
STATUSES = (
    "running", "running", "exited", "exited", "signaled", "oom_killed", ["exited", "signaled"],
)  # fmt: skip


def disagreement(seed, factory, counts):
    """Play one history; return a report of the first disagreement, or an empty text."""
    session = Session(seed, factory, counts)
    # Half of the sessions request only the row of a process, as if the list were long.
    long_list = 1 if seed // 32 % 2 else 100
    try:
        with mock.patch.object(polling, "_LONG_LIST", long_list):
            session.play()
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
        self.objects = []
        self.guarded = -1  # the last view that the guard checked
        self.reported = set()
        self.steps = []
        self.asked = self.answered = self.permitted = ""
        self.test = None
        self.same_rules = self.random.random() < 0.85
        self.rules = RULES if self.random.random() < 0.7 else self._some_rules(0.7)

    def _some_rules(self, share):
        return tuple(rule for rule in RULES if self.random.random() < share)

    def report(self, what):
        """Return a full report of a disagreement."""
        daemon, history = self.daemon, self.history
        parts = {
            f"seed {self.seed}: {what}": [daemon.layout, f"stream {self.wire.follow}"],
            "question": [self.asked],
            "answer": [self.answered],
            "allowed": [self.permitted],
            "log": [f"{at - daemon.past:6d} ms {text} {it or ''}" for at, text, it in daemon.log],
            "views (good answers), by world time": [
                f"{view.index} at {view.at:.3f} s ({view.world - daemon.past} ms) "
                f"{'list' if view.full else 'own call'}: {view.rows}"
                for view in history.views
            ],
            "failed polls": [", ".join(self.wire.failed_polls)],
            "steps": self.steps,
            "incidents": [
                f"{i}, ours {set(history.caused(i))}" for i in history.incidents.values()
            ],
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
            rules = self.rules if self.same_rules else self._some_rules(0.6)
            allowed = {rule: "expected" for rule in rules if rng.random() < 0.08}
            self.note(f"begin test {number}, rules {rules}, allowed {[*allowed]}")
            plugin.begin_test(rules, allowed)
            # declared: True if the test named the end exactly, None if the documentation does not
            # say whether the end counts as named.
            self.test = test = SimpleNamespace(
                rules=rules, allowed=allowed, position=len(self.history.views) - 1, blocks=[],
                declared={}, started=set(), call_view=OPEN_ENDED,
            )  # fmt: skip
            if number == 0:
                self.guarded = test.position
            self._phase(rng.choice((0, 1, 2)))
            plugin.begin_call()
            test.call_view, test.call_world = self._here()
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

    def _here(self):
        self.daemon.advance(self.clock.now)
        return len(self.history.views) - 1, self.daemon.world

    def _phase(self, steps):
        for _ in range(steps):
            draw = self.random.random()
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
        for block in self.test.blocks:
            if block.last_view == OPEN_ENDED:
                self._leave(block)

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

    def _keep(self, found):
        """Keep a process object that an action returned; return its run, or None."""
        runs = () if found is None else reversed(self.daemon.runs)
        run = next((run for run in runs if run.pid == found.pid), None)
        if run is not None:
            self.objects.append((found, run))
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
        if rng.random() < 0.2:
            options = {
                "exit_code": rng.choice((0, "any", [0, 1])),
                "timeout": rng.choice((0.5, 4.0)),
            }
            question = self._question("wait_for_exit", None, options)
            self._compare("run_process", question, "", **spec, health_check=health, **options)
            return
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
        draw, value = rng.random(), target.value
        if rng.random() < 0.25:
            options = {"grace": rng.choice((0, 0.2, 2.0))}
            question = self._question("stop_process", target, options)
            lives = target.run.ended is None
            self._compare("stop_process", question, target.run, value, **options)
            if lives and target.run.acts:
                target.run.acts.add("stop")
        elif draw < 0.45:
            signal = rng.choice(SIGNALS)
            self.note(f"send signal {signal} to {target.how} {target.run}")
            self._act(box.send_signal, value, signal)
        elif draw < 0.7 or target.run.gen.id is None:
            self.note(f"kill {target.how} {target.run}")
            self._act(box.kill_process, value)
        else:
            self.note(f"restart {target.how} {target.run}")
            self._keep(self._act(box.restart_process, value))

    def _block(self):
        """Begin a block that allows some rules, or end the current one."""
        blocks = self.test.blocks
        if blocks and blocks[-1].last_view == OPEN_ENDED:
            self._leave(blocks[-1])
            return
        rules = tuple(self.random.sample(RULES, self.random.choice((1, 1, 2))))
        _, world = self._here()
        manager = self.plugin.allow(*rules)
        manager.__enter__()
        # If entering the block makes a list call, its incidents happened before the block.
        view = len(self.history.views) - 1
        self.note(f"allow {rules}")
        blocks.append(SimpleNamespace(
            rules=rules, manager=manager, view=view, world=world,
            last_view=OPEN_ENDED, last_world=OPEN_ENDED,
        ))  # fmt: skip

    def _leave(self, block):
        block.manager.__exit__(None, None, None)
        block.last_view, block.last_world = self._here()
        self.note(f"end of the block that allows {block.rules}")

    # --- questions ----------------------------------------------------------------------------

    def _draw_target(
        self, *, alive=False,
        ways=("object", "pid", "text", "text", "name", "regex", "predicate", "by"),
    ):  # fmt: skip
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
        gen, command, tag = run.gen, run.gen.command, run.gen.args[0]
        how = rng.choice(ways)
        if how == "name" and gen.name is None:
            how = "object"
        if how == "object":
            made = next((obj for obj, its in self.objects if its is run), None)
            made = made or next((row for row in self._list() or () if row.pid == run.pid), None)
            if made is not None:
                return Target(how, made, run, lambda it: it.gen is gen if gen.id else it is run)
            how = "pid"
        if how == "pid":
            return Target(how, run.pid, run, lambda it: it is run)
        if how == "name" or (how == "by" and gen.name and rng.random() < 0.5):
            value = gen.name if how == "name" else by(name=gen.name)
            return Target(how, value, run, lambda it: it.gen.name == gen.name, gen.name)
        text = f"{command} {tag}"
        value = {
            "by": by(command=command, args=[tag]),
            "regex": re.compile(re.escape(text)),
            "predicate": lambda row: row.command == command and [*row.args] == [tag],
        }.get(how, text)
        return Target(
            how, value, run, lambda it: (it.gen.args[0], it.gen.command) == (tag, command), text
        )  # fmt: skip

    def _draw_question(self):
        """Draw a helper, its target (None for the whole sandbox) and its options."""
        rng, options = self.random, {}
        if rng.random() < 0.5:
            helper = rng.choice(NEGATIVE)
            target = self._draw_target() if rng.random() < 0.4 else None
            if helper == "assert_no_oom" and rng.random() < 0.4:
                options["suspected"] = True
            return helper, target, options
        target = self._draw_target()
        if target is None:
            return None
        helper = rng.choice(POSITIVE)
        if helper == "assert_process":
            kind = rng.random()
            if kind < 0.5:
                options["status"] = rng.choice(STATUSES)
            elif kind < 0.85:
                options["exit_code"] = rng.choice((0, 0, 1, -1, [0, 1]))
            else:
                options["signal"] = rng.choice((SEGV, ABRT, KILL))
        elif helper == "assert_stays":
            options = {"stable_for": rng.choice((0.3, 1.2)), "status": rng.choice(STATUSES[:3])}
        elif helper == "wait_for_process":
            options = {"status": rng.choice(STATUSES), "timeout": rng.choice((0.1, 1.0, 3.5))}
            if options["status"] == "running" and rng.random() < 0.4:
                options["stable_for"] = rng.choice((0.3, 1.0))
        elif helper == "wait_for_exit":
            options["exit_code"] = rng.choice((0, 0, "any", 1, [0, 3]))
            options["timeout"] = rng.choice((0.1, 1.0, 3.5, 8.0))
        elif helper.startswith("wait"):
            options = {"timeout": rng.choice((0.1, 1.0, 3.5))}
            if helper == "wait_for_port":
                options["port"] = 8080
            else:
                options["count"] = rng.choice((1, 1, 2))
        if helper == "wait_for_count":
            run, command = target.run, target.run.gen.command
            target = Target("text", command, run, lambda it: it.gen.command == command, command)
            return helper, target, options
        if helper != "assert_not_running" and not target.exact and rng.random() < 0.15:
            options["pick"] = rng.choice(("newest", "oldest"))
        return helper, target, options

    def _ask(self):
        """Call a helper, and compare its answer with the oracle."""
        drawn = self._draw_question()
        if drawn is None:
            return
        helper, target, options = drawn
        args = [target.value] if target else []
        shown = f"{target.how} {target.text} {target.run}" if target else ""
        self._compare(helper, self._question(helper, target, options), shown, *args, **options)

    def _question(self, helper, target, options):
        now, views = self.clock.now, len(self.history.views)
        return Question(helper, target, options, now, self.test.position, views)

    def _compare(self, helper, question, shown, *args, **options):
        """Call a helper, and compare its answer with the allowed answers to a question."""
        at = f"at {self.clock.now:.3f} s, views from {question.first_view}"
        self.asked = f"{helper}({shown} {options}) {at}"
        self.note(self.asked)
        self.answered, full, known = "pass", "", len(self.daemon.gens)
        try:
            getattr(self.plugin.box, helper)(*args, **options)
        except Exception as error:
            self.answered, full = type(error).__name__, f": {error}"
        if helper == "run_process":
            started = next((gen for gen in self.daemon.gens[known:] if gen.ours), None)
            if started is None:
                assert self.answered in {error.__name__ for error in REFUSALS}, full
                return
            self.test.started.add(started)
            question.target = Target(
                "object", None, started.runs[0], lambda run: run.gen is started
            )
        self.permitted = sorted(self.history.allowed(question, self.clock.now))
        self.note(f"-> {self.answered}")
        if not self.history.replaced:
            self.counts["questions"] += 1
            self.counts["unsure"] += len(self.permitted) > 8
        assert self.answered in self.permitted, f"wrong answer{full}"
        if self.answered == "pass":
            settled = not question.negative or self.history.settled(question)
            assert settled or self.history.replaced, "passed without two polls at least 0.2 s apart"
            self._declare(question)

    def _declare(self, question):
        """Record the ends that a passing call named."""
        if not question.target or question.first_view >= len(self.history.views):
            return
        status = question.options.get("status") or ()
        named = [status] if isinstance(status, str) else status
        kinds = {"oom"} if "oom_killed" in named else set()
        if question.options.get("signal") is not None:
            kinds.add("crash")
        declared = self.test.declared
        if question.helper == "wait_for_restart":
            for kind, run in self.history.incidents:
                if kind == "restart" and any(map(question.target.matches, run.gen.runs)):
                    declared[kind, run] = None
        for shown in self.history.views[-1].rows:
            if not question.target.matches(shown.run) or not shown.end:
                continue
            newest = self.history.newest.get(shown.run.gen)
            for kind in kinds if newest is None or newest.run is shown.run else ():
                declared[kind, shown.run] = True
            if kinds or "signaled" in named:  # it is unknown what else the call declared
                for kind in {"oom"} if kinds == {"oom"} else {"oom", "crash"}:
                    declared.setdefault((kind, shown.run), None)

    def _check_incidents(self):
        self.asked, self.permitted = "incidents()", "see below"
        reported = [*self.plugin.incidents()]
        self.answered = "\n  ".join(map(str, reported))
        wrong = "" if self.history.replaced else self.history.check_incidents(reported)
        assert not wrong, wrong

    # --- the guard ----------------------------------------------------------------------------

    def _end_phase(self, phase):
        """End a phase ("" for the session), and compare the findings."""
        plugin, history = self.plugin, self.history
        self.asked = f"findings at the end of {phase or 'the session'}"
        self.note(self.asked)
        seen = len(history.views)
        reports = plugin.end_phase(phase) if phase else plugin.end_session()
        if history.replaced or (seen == len(history.views) and not reports):
            return  # no poll succeeded, so no finding is required yet
        self.answered = "\n  ".join(map(str, reports)) or "none"
        last = len(history.views) - 1
        rules = set(self.test.rules if phase else self.rules)
        strict = bool(phase) or self.same_rules
        due = self._due(last, rules) + (self._leaks(rules) if phase == "teardown" else [])
        self.permitted = "\n  ".join(
            f"{'must' if must else 'may'} {rule} {i.kind} {i.run}" for rule, i, must in due
        )
        matched = set()
        for report in reports:
            assert report.of_test == bool(phase), report
            assert not strict or report.rule in rules, f"the rule is off: {report}"
            matched |= self._check_report(report, due, phase, last)
        if strict:
            pids, ids = {r.pid for r in reports}, {r.managed_id for r in reports} - {None}
            for rule, incident, must in due:
                run = incident.run
                if not must or (rule, incident) in matched:
                    continue
                if rule == "inconclusive" and (run.gen.id in ids or run.pid in pids):
                    continue  # another finding about the same process reports this incident
                # The plugin may attribute the corrected end of a doubtful run to another one.
                late = incident.low > self._first(run.gen)
                doubted = late and history.doubtful(run, 0, incident.low)
                assert doubted, f"no finding for {incident.kind} of {run}"
        self.reported |= {(rule, incident) for rule, incident, must in due if must} | matched
        self.guarded = last

    def _due(self, last, rules):
        """Return the allowed and the required findings for the views since the last phase."""
        history, test, due = self.history, self.test, []
        for incident in (*history.incidents.values(), *history.unhealthy):
            kind, run = incident.kind, incident.run
            rule = RULE_OF.get(kind)
            if not rule or incident.low > last or incident.high <= self.guarded:
                continue
            ours = history.caused(incident)
            if (rule, incident) in self.reported or ours == {True} or (
                incident.retracted and kind == "unseen_end"
            ):  # fmt: skip
                continue
            must = (
                incident.required and ours == {False} and incident.high <= last
                # The list call that begins a test may show what happened between two tests.
                and not self.guarded < incident.low <= test.position
                and not history.doubtful(run, incident.low - 1, incident.low + 1)
                and (rule, run) not in test.declared and not incident.retracted
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
                must = must and not (kind == "unhealthy" and history.doubted_since(run, -1))
                if kind in ("restart", "gave_up"):
                    before = run.gen.runs[run.number - 1] if kind == "restart" else run
                    # What follows a declared end may count as declared.
                    must = must and not {("oom", before), ("crash", before)} & test.declared.keys()
            due.append((rule, incident, must))
        return due

    def _leaks(self, rules):
        """Return the allowed and the required findings of processes that a test left running."""
        history, test, due = self.history, self.test, []
        for gen in self.daemon.gens:
            first, began = self._first(gen), gen.runs[0].began
            # If the newest row was removed, the older run in the remaining row seems to continue.
            doubted = history.doubted_since(gen.run, test.position)
            unsure = doubted or gen.run not in history.shown
            if unsure or (self._alive(gen) and first > test.call_view):
                must = (
                    not unsure and "leak" in rules and gen.living and not gen.stopping
                    and began >= test.call_world and first <= test.call_end
                )  # fmt: skip
                leak = Incident("leak", gen.run, first, first, began, not unsure)
                due.append(("leak", leak, must))
        return due

    def _fits(self, report, rule, incident):
        """Return whether a finding may be about an incident."""
        run = incident.run
        if rule == report.rule and report.observed:
            # A restart may be reported by the run that ended or by the run that began.
            whole = rule in ("restart", "leak")
            return any(self.history.is_of(it, report) for it in (run.gen.runs if whole else [run]))
        return rule == "inconclusive" and not report.observed and (
            self.history.is_of(run, report)
            or (run.gen.id is not None and report.managed_id == run.gen.id)
            or report.pid == run.pid
        )  # fmt: skip

    def _check_report(self, report, due, phase, last):
        """Check one finding; return the rules and incidents that it may be about."""
        history, test, rule = self.history, self.test, report.rule
        fits = [(its, incident) for its, incident, _ in due if self._fits(report, its, incident)]
        doubted = any(
            managed_id == report.managed_id and self.guarded <= at + 1 and at <= last + 1
            for managed_id, at, _ in history.doubts
        )
        if not fits:
            if history.has_doubt(report.managed_id, "U3"):
                # The plugin may attribute an end that appears late to another hidden run.
                fits = [
                    (its, incident) for its, incident, _ in due
                    if its == rule and incident.run.gen.id == report.managed_id
                ]  # fmt: skip
                if fits or report.pid is None:
                    return {*fits}
            assert doubted, f"unexpected finding: {report}"
            return set()
        doubted = doubted or any(i.kind == "leak" and not i.required for _, i in fits)
        if doubted or (not report.observed and (test.blocks or test.allowed)):
            return {*fits}
        # An event that became certain after it was possible counts from either view on.
        flags = [
            self._allowed(rule, i.at, view, phase)
            for _, i in fits
            for view in {
                i.low, i.low if i.required and i.kind != "gave_up" else min(i.high, last)
            }
        ]  # fmt: skip
        declared = [test.declared.get((rule, i.run), False) for _, i in fits]
        if all(declared):
            flags = [{True}]
        elif any(named is not False for named in declared):
            flags.append({True})
        assert any(report.allowed in flag for flag in flags), f"allowed: {report}, not {flags}"
        return {*fits}

    def _allowed(self, rule, at, view, phase):
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
                    result.add(True)  # only one of the two was in the block
        return result

    def _alive(self, gen):
        rows = [shown for run, shown in self.history.shown.items() if run.gen is gen]
        newest = max(rows, key=lambda shown: shown.run.number, default=None)
        return newest is not None and (newest.end is None or newest.status == "backing_off")

    def _first(self, gen):
        known = self.history.known
        return min((known[run].first for run in gen.runs if run in known), default=OPEN_ENDED)
