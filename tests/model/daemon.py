"""A deterministic simulator of one sandbox daemon, with a log of all events.

The caller passes the time in seconds. Internally, time is in integer milliseconds of the *world*,
which stops while the sandbox is suspended. Every change of a row creates a new `Shown`, with the
JSON row and the truth behind it: which run it shows, and which run `last_exit` describes.
"""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, NamedTuple

EPOCH = 1_790_000_000_000
HUP, ABRT, KILL, SEGV, TERM = 1, 6, 9, 11, 15
CRASH_SIGNALS = frozenset({4, 5, ABRT, 7, 8, SEGV, 31})
SIGNALS = (TERM, KILL, HUP, SEGV, ABRT)
NAMES = ("web", "api", "db")
COMMANDS = ("python", "serve", "train")


class End(NamedTuple):
    """The fields of a row that describe an end."""

    status: str
    exit_code: int | None
    signal: int | None
    oom_killed: bool = False

    @property
    def is_oom(self):
        return self.oom_killed or self.status == "oom_killed"

    @property
    def is_lost(self):
        """Return whether there is no real exit code and no signal."""
        known = self.is_oom or self.status == "running" or self.signal is not None
        return not known and self.exit_code in (None, -1)

    @property
    def is_hangup(self):
        """Return whether this is a SIGHUP, also reported for processes that exited properly."""
        return self.status == "signaled" and self.signal == HUP


def exited(code):
    return End("exited", code, None)


def signaled(number):
    return End("signaled", None, number)


# How runs end by themselves, and how often. In the last row, a child was OOM-killed.
ENDS = {
    exited(0): 30, exited(1): 11, exited(3): 5, exited(137): 6,
    **{signaled(number): 4 for number in SIGNALS},
    End("oom_killed", None, KILL): 4, End("oom_killed", None, None): 4,
    End("oom_killed", None, KILL, True): 5, End("signaled", None, KILL, True): 5,
    End("exited", 0, None, True): 4, End("exited", 1, None, True): 4, End("exited", 137, None, True): 4,
}  # fmt: skip


@dataclass(eq=False)
class Run:
    """One execution of a program, and the causes of its start and its end.

    Attributes:
        by: deploy, supervisor, own restart or outside restart.
        ended: when the run ended, in world time; ``ended_at`` is the same time on the wire.
        cause: itself, kernel, outside, own signal, own kill, own restart or daemon.
        truth: how the run really ended. ``row_end`` is the end in its row, once the row does not
            lag behind; ``shown_exit`` is the end in last_exit.
        acts: the numbers of our signals, and of the signals that our requests sent.
        oom_at: when the OOM kill (of the process or of a child) happened.
        raced: whether one of our actions reached the run before a list call showed it (U7).

    """

    gen: Generation
    number: int
    handle: int
    pid: int
    started_at: int  # on the wire
    began: int  # world time
    by: str
    slot: Slot
    acts: set[int] = field(default_factory=set)
    ended = ended_at = oom_at = truth = row_end = shown_exit = None
    cause, raced, lags = "", False, False

    @property
    def shown(self):
        """Return the end that the row of the run lists now."""
        return None if self.lags else self.row_end

    def __repr__(self):
        name = self.gen.id or "unmanaged"
        return f"<{name} g{self.gen.order} run {self.number} pid {self.pid} handle {self.handle}>"


@dataclass(eq=False, repr=False)
class Generation:
    """One deployment; an unmanaged process is a generation of one run.

    Attributes:
        restart: the restart configuration on the wire.
        ours: whether this client deployed it.
        used: the number of restarts since the last manual restart.
        ticket: a number that makes a planned restart void when it changes.

    """

    order: int
    id: str | None
    name: str | None
    command: str
    args: list[str]
    restart: dict[str, Any]
    health: bool
    ours: bool
    runs: list[Run] = field(default_factory=list)
    count = used = failures = ticket = 0
    last_exit = last_error = next_at = None
    stopping = killed_by_us = gave_up = False

    def __repr__(self):
        name = f"{self.id or 'unmanaged'} g{self.order} {self.command} {self.args[0]}"
        return f"<{name} {[*self.restart.values()]}>"

    @property
    def run(self):
        """Return the newest run."""
        return self.runs[-1]

    @property
    def living(self):
        """Return whether the process runs (its end may not be listed yet) or will be restarted."""
        return self.run.shown_exit is None or self.status == "backing_off"


@dataclass(eq=False, repr=False)
class Shown:
    """One version of a row, and the truth behind it.

    Attributes:
        end: the end of the run, as the row lists it.
        exit_run: the run that last_exit describes; ``exit`` is the end that last_exit lists.
        status: the status of the supervisor; "" if unmanaged.

    """

    row: dict[str, Any]
    run: Run
    end: End | None
    exit_run: Run | None = None
    exit: End | None = None
    status: str = ""
    count: int = 0
    gave_up: bool = False
    unhealthy: bool = False

    @property
    def lags(self):
        """Whether the supervisor knows the end of the run, but the row does not show it yet."""
        return self.end is None and self.exit_run is self.run

    def __repr__(self):
        return f"{self.run} {self.end} {self.status} {self.count} last {self.exit}"


class Slot:
    """A position in the list; ``now`` is the row at this position."""

    now, listed = None, True


RUNNING = End("running", None, None)


class Daemon:
    """One sandbox daemon, its processes and other clients."""

    def __init__(self, seed):
        """Draw the layout and the first processes."""
        self.random = rng = random.Random(seed)
        # These switches cover what the documentation leaves open. The first three create eight
        # equally frequent layouts; the other switches are independent.
        self.layout = SimpleNamespace(
            keeps_rows=bool(seed & 1),  # older rows of a managed id stay listed
            handles=bool(seed & 2),  # rows have a handle
            counts_manual=bool(seed & 4),  # restart_count counts manual restarts
            # The count rises when backing off begins, not when the new run starts.
            counts_early=rng.random() < 0.5,
            says_why=rng.random() < 0.5,  # last_error is set when a supervisor gives up
            clock_stops=rng.random() < 0.5,  # the sandbox's clock stands still while suspended
            reaps=rng.random() < 0.3,  # a kill removes the row
            faults=rng.choice((0.0, 0.0, 0.1, 0.5)),  # the proportion of polls that fail
        )
        self.world = 0  # now, in milliseconds of the world
        self.frozen = 0  # milliseconds spent suspended so far
        self.suspend_from = self.suspend_to = -1
        self.log, self.slots, self.gens, self.runs, self.heap = [], [], [], [], []
        self.names = {}
        self.sequence = self.tags = 0
        self.next_handle, self.next_pid = rng.randint(1, 30), rng.randint(40, 900)
        self.salt = rng.getrandbits(32)
        self.calm = rng.random() < 0.25  # fewer outside events
        for _ in range(rng.randint(1, 4)):
            self._deploy_something()
        self.after(self._gap(), self._outside)
        if rng.random() < 0.12:
            self.suspend_from = rng.randint(1000, 8000)
            self.suspend_to = self.suspend_from + rng.choice(
                (rng.randint(300, 4000), 25_000, 40_000)
            )
        # The first list call must find earlier ends and restarts.
        self._run_until(rng.randint(0, 4000))
        self.past = self.world

    def note(self, text, about=None):
        self.log.append((self.world, text, about))

    # --- time ---------------------------------------------------------------------------------

    def after(self, milliseconds, action, *args):
        """Schedule an action."""
        self.sequence += 1
        heapq.heappush(self.heap, (self.world + milliseconds, self.sequence, action, args))

    def wire_time(self):
        """Return the time of the sandbox's clock."""
        return EPOCH + self.world + (0 if self.layout.clock_stops else self.frozen)

    def advance(self, now):
        """Advance the world to `now`; return whether the sandbox answers (is not suspended)."""
        ms = round(now * 1000)
        if self.suspend_from >= 0 and ms >= self.suspend_from:
            self._run_until(self.past + self.suspend_from)
            if ms < self.suspend_to:
                return False
            self.frozen = self.suspend_to - self.suspend_from
            self.suspend_from = -1
            self.note(f"was suspended for {self.frozen} ms")
        self._run_until(self.past + ms - self.frozen)
        return True

    def _run_until(self, world):
        while self.heap and self.heap[0][0] <= world:
            self.world, _, action, args = heapq.heappop(self.heap)
            action(*args)
        self.world = max(world, self.world)

    @property
    def always_answers(self):
        return not (self.layout.faults or self.frozen or self.suspend_from >= 0)

    def is_faulty(self, now):
        """Return whether a poll at this time fails."""
        at = random.Random(self.salt + round(now * 1000))
        return at.random() < self.layout.faults

    # --- deployments and runs -----------------------------------------------------------------

    def _deploy(self, command, args, name, restart, health, *, ours):
        order = len(self.gens)
        managed = name is not None or restart is not None or health
        restart = {
            "policy": "on_failure" if managed else "never", "max_restarts": None,
            "initial_backoff_ms": 500, "max_backoff_ms": 30000, **(restart or {}),
        }  # fmt: skip
        managed_id = (name or f"p-{order:02x}") if managed else None
        gen = Generation(order, managed_id, name, command, args, restart, health, ours)
        self.gens.append(gen)
        old = self.names.get(name)
        if name:
            self.names[name] = gen
        self.note(f"deployed by {'us' if ours else 'others'}", gen)
        self._begin(gen, "deploy", old.run.slot if old and not self.layout.keeps_rows else None)
        return gen

    def _begin(self, gen, by, slot):
        rng = self.random
        self.next_handle += 1
        self.next_pid += rng.randint(1, 9)
        if slot is None or not slot.listed:
            slot = Slot()
            # The order of the list has no meaning.
            self.slots.insert(rng.randint(0, len(self.slots)), slot)
        ended = [shown.run.pid for shown in self.listed() if shown.end and not shown.status]
        free = sorted({*ended} - {run.pid for run in self.runs if run.ended is None})
        reuses = free and gen.id is None and rng.random() < 0.2
        pid = rng.choice(free) if reuses else self.next_pid
        run = Run(
            gen, len(gen.runs), self.next_handle, pid, self.wire_time(), self.world, by, slot
        )  # fmt: skip
        gen.runs.append(run)
        self.runs.append(run)
        gen.status = "starting" if gen.health else "running"
        gen.health_status = "starting" if gen.health else "disabled"
        gen.failures, gen.next_at, gen.last_error = 0, None, None
        gen.stopping = gen.gave_up = False
        gen.ticket += 1
        self._show(run)
        self.note(f"began by {by}", run)
        draw = rng.random()
        if draw < 0.62:
            life = rng.randint(1, 60) if draw < 0.1 else rng.randint(60, 900)
            self.after(life if draw < 0.4 else rng.randint(800, 6000), self._end_by_itself, run)
        if gen.health:
            self.after(rng.randint(50, 1500), self._check_health, run)
        return run

    def _end_by_itself(self, run):
        end = self.random.choices([*ENDS], ENDS.values())[0]
        late = end.oom_killed and end.status == "exited" and self.random.random() < 0.5
        self._kill(run, end, "kernel" if end.is_oom else "itself", late=late)

    def _kill(self, run, end, cause, *, late=False, lag=0):
        """End a run now; the list shows it `lag` ms later, perhaps with a lost exit code."""
        if run.ended is not None:
            return
        rng, shown = self.random, end
        run.ended, run.ended_at = self.world, self.wire_time()
        run.truth, run.cause = end, cause
        if late:
            shown = exited(end.exit_code)
            self.after(lag + rng.choice((120, 400, 900, 2500, 4000)), self._correct, run)
        elif end.is_oom:
            run.oom_at = self.world
        elif rng.random() < 0.15:
            shown = exited(rng.choice((-1, None)))
            if rng.random() < 0.5:
                self.after(lag + rng.choice((30, 150, 500, 900, 2500)), self._correct, run)
        self.note(f"ended {end}, by {cause}; lag {lag}", run)
        if lag:
            self.after(lag, self._list_end, run, shown)
        else:
            self._list_end(run, shown)

    def _list_end(self, run, shown):
        """List the end of a run, and let the supervisor react."""
        gen, rng = run.gen, self.random
        if run is not gen.run or run.shown_exit is not None:
            return  # a restart already listed this end
        self.note(f"end listed as {shown}", run)
        run.row_end = run.shown_exit = shown
        if shown.status == "oom_killed" and not shown.oom_killed:
            # Only the status shows the OOM kill; last_exit has no status and may show less.
            run.shown_exit = End("signaled", None, shown.signal, rng.random() < 0.5)
        # The supervisor may know the end before the row shows it.
        if gen.id is not None and rng.random() < 0.08:
            run.lags = True
            self.after(rng.randint(20, 150), self._catch_up, run)
        if gen.id is None:
            if gen.stopping and self.layout.reaps:
                self._remove(run)
            else:
                self._show(run)
                if rng.random() < 0.06:
                    self.after(rng.randint(300, 5000), self._remove, run)
            return
        gen.last_exit = run
        gen.health_status, gen.failures = ("starting" if gen.health else "disabled"), 0
        policy, limit, backoff, _ = gen.restart.values()
        if gen.stopping:
            self._stop(gen)
            return
        gen.status = "stopped"
        if policy != "never" and (policy == "always" or shown.exit_code != 0):
            if limit is not None and gen.used >= limit:
                gen.gave_up = True
                gen.last_error = "restart limit reached" if self.layout.says_why else None
                self.note("gave up", gen)
            else:
                gen.status, gen.next_at = "backing_off", self.wire_time() + backoff
                gen.used += 1
                gen.count += self.layout.counts_early
                self.after(backoff, self._restart_by_supervisor, gen, gen.ticket)
        self._show(run)

    def _stop(self, gen):
        gen.status, gen.next_at, gen.stopping = "stopped", None, False
        gen.ticket += 1
        self.note("stopped", gen)
        self._show(gen.run)
        if self.layout.reaps:
            self._remove(gen.run)

    def _restart_by_supervisor(self, gen, ticket):
        if ticket == gen.ticket and gen.status == "backing_off":
            self._succeed(gen, "supervisor", counted=not self.layout.counts_early)

    def _succeed(self, gen, by, *, counted):
        old = gen.run
        old.lags = False  # the row must not lag behind its successor
        if self.layout.keeps_rows:
            self._show(old)  # the row does not change any more
        gen.count += counted
        return self._begin(gen, by, None if self.layout.keeps_rows else old.slot)

    def _catch_up(self, run):
        run.lags = False
        self._show_again(run)

    def _correct(self, run):
        run.row_end = run.shown_exit = run.truth
        run.oom_at = self.world if run.truth.is_oom else None
        self.note("end corrected", run)
        self._show_again(run)

    def _show_again(self, run):
        """List a change of an old end, if its row is still listed."""
        if run.slot.now and run.slot.now.run is run:
            self._show(run)
        newest = run.gen.run
        if newest is not run and run.gen.last_exit is run and newest.slot.now:
            self._show(newest)

    def _show(self, run):
        """Create a new row of a run from the state of its process and supervisor."""
        gen, slot = run.gen, run.slot
        was, last = slot.now, gen.last_exit
        row = {
            "pid": run.pid, **(run.shown or RUNNING)._asdict(),
            "stdin_writable": False, "command": gen.command, "args": gen.args,
            "started_at": run.started_at, "ended_at": run.ended_at if run.shown else None,
            **({"handle": run.handle} if self.layout.handles else {}),
        }  # fmt: skip
        if gen.id is None:
            slot.now = Shown(row, run, run.shown)
        elif run is not gen.run and was and was.run is run:
            # An older row keeps the state of its supervisor; only the end of its run may change.
            slot.now = replace(was, row=row | {"managed": was.row["managed"]}, end=run.shown)
            if was.exit_run is run:
                row = slot.now.row
                row["managed"] = {**row["managed"], "last_exit": _exit_json(run)}
                slot.now.exit = run.shown_exit
        else:
            row["managed"] = {
                "id": gen.id, "name": gen.name, "status": gen.status, "restart_count": gen.count,
                "restart": gen.restart,
                "health_check": {"type": "tcp", "port": 8080} if gen.health else None,
                "health_status": gen.health_status, "consecutive_health_failures": gen.failures,
                "last_exit": _exit_json(last) if last else None, "last_error": gen.last_error,
                "next_restart_at": gen.next_at,
            }  # fmt: skip
            slot.now = Shown(
                row, run, run.shown, last, last.shown_exit if last else None,
                gen.status, gen.count, gen.gave_up, gen.health_status == "unhealthy",
            )  # fmt: skip

    def _remove(self, run):
        slot = run.slot
        if slot.listed and slot.now and slot.now.run is run:
            self.note("row removed", run)
            self.slots.remove(slot)
            slot.now, slot.listed = None, False

    def _check_health(self, run):
        gen, rng = run.gen, self.random
        if run.ended is not None or gen.run is not run:
            return
        gen.status = "running"
        if rng.random() < 0.6:
            gen.health_status, gen.failures = "healthy", 0
        else:
            if gen.health_status != "unhealthy":
                self.note("unhealthy", gen)
            gen.health_status, gen.failures = "unhealthy", rng.randint(3, 9)
        self._show(run)
        self.after(rng.randint(300, 4000), self._check_health, run)

    # --- signals, kills and restarts, of this client or of others -----------------------------

    def _send(self, run, signal, by):
        rng = self.random
        self.note(f"signal {signal} by {by}", run)
        if by != "outside":
            run.acts.add(signal)
        draw, end, mild = rng.random(), signaled(signal), signal in (TERM, HUP)
        if signal != KILL and draw > 0.75:
            if draw > 0.88 and mild:
                return  # ignored
            end = exited(rng.choice((128 + signal, 0, 1) if mild else (128 + signal,)))
        delay, lag = rng.choice((0, 1, 20, 90)), rng.choice((0, 0, 5, 60, 150))
        self.after(delay, lambda: self._kill(run, end, by, lag=lag))

    def _delete(self, gen, by):
        """Kill a process, or stop a supervisor; return False if it has ended."""
        run = gen.run
        if gen.stopping or not gen.living or (gen.id is None and run.ended is not None):
            return False  # (of an unmanaged process whose end is not listed yet, too)
        self.note(f"killed by {by}", run)
        if by != "outside":
            gen.killed_by_us = True
            if run.ended is None:
                run.acts |= {TERM, KILL} if gen.id else {KILL}
        gen.stopping = True
        if run.ended is not None:
            if gen.status == "backing_off":  # otherwise the end is about to be listed
                self._stop(gen)
        elif gen.id is None:
            self._kill(run, signaled(KILL), by, lag=self.random.choice((0, 0, 5, 60, 150)))
        else:
            end, delay = self._asked_to_stop()
            self.after(delay, lambda: self._kill(run, end, by))
        return True

    def _asked_to_stop(self):
        """Draw how a run ends after a request to stop, and after how many milliseconds."""
        rng = self.random
        draw = rng.random()
        if draw < 0.6:
            return signaled(TERM), rng.choice((0, 5, 80))
        if draw < 0.85:
            return exited(rng.choice((0, 143))), rng.choice((0, 20, 200))
        return signaled(KILL), 300

    def _restart(self, gen, by):
        """Restart a managed process, running or not; return its new run."""
        run = gen.run
        self.note(f"restart by {by}", run)
        waited = gen.status == "backing_off" and self.layout.counts_early
        if run.ended is None:
            if by == "own restart":
                run.acts |= {TERM, KILL}
            run.truth, _ = self._asked_to_stop()
            run.ended, run.ended_at, run.cause = self.world, self.wire_time(), by
            self.note(f"ended {run.truth}, by {by}", run)
        if run.shown_exit is None:  # it ended just now, or its end was about to be listed
            run.row_end = run.shown_exit = run.truth
            gen.last_exit = run
        gen.used = 0
        return self._succeed(gen, by, counted=self.layout.counts_manual and not waited)

    # --- the outside world --------------------------------------------------------------------

    def _gap(self):
        return self.random.randint(200, 6000 if self.calm else 2200)

    def _outside(self):
        """Perform an action of another client, and schedule the next one."""
        rng = self.random
        self.after(self._gap(), self._outside)
        draw = rng.random()
        recent = self.gens[-8:]
        living = [gen for gen in recent if gen.run.ended is None]
        managed = [gen for gen in recent if gen.id and self.names.get(gen.name, gen) is gen]
        if draw < 0.3:
            self._deploy_something()
        elif draw < 0.5 and living:
            signal = rng.choice(SIGNALS)
            self._send(rng.choice(living).run, signal, "outside")
        elif draw < 0.65 and living:
            self._delete(rng.choice(living), "outside")
        elif draw < 0.8 and managed:
            gen = rng.choice(managed)
            if gen.run.slot.listed and not gen.stopping:
                self._restart(gen, "outside restart")
        elif draw < 0.95 and managed:
            gen = rng.choice(managed)
            if gen.name and not gen.stopping:
                self._redeploy(gen)

    def _redeploy(self, gen):
        """Stop a named process and immediately start another one under its name."""
        run, rng = gen.run, self.random
        if run.ended is None:
            gen.stopping = True
            self._kill(run, signaled(TERM), "outside")
        if gen.status == "backing_off":
            self._stop(gen)
        if run.shown_exit is None or gen.status != "stopped":
            return  # its end is about to be listed, or its supervisor goes on
        args, restart = gen.args, dict(gen.restart)
        if rng.random() < 0.4:
            self.tags += 1
            args = [f"job{self.tags}.py"]
        elif rng.random() < 0.3:
            restart["max_restarts"] = (restart["max_restarts"] or 0) + 1
        self._deploy(gen.command, args, gen.name, restart, gen.health, ours=False)

    def _deploy_something(self):
        spec = self.draw_process()
        if spec["name"] in self.names and self.names[spec["name"]].living:
            spec["name"] = None
        self._deploy(**spec, ours=False)

    def draw_process(self, rng=None):
        """Draw a process to start; two in five are unmanaged."""
        rng = rng or self.random
        self.tags += 1
        tag = self.tags if rng.random() < 0.85 else max(1, self.tags - 1)
        command, managed = rng.choice(COMMANDS), rng.random() < 0.6
        return {
            "command": command, "args": [f"job{tag}.py"],
            "name": rng.choice(NAMES) if managed and rng.random() < 0.75 else None,
            "restart": {
                "policy": rng.choice(("never", "on_failure", "on_failure", "always", "always")),
                "max_restarts": rng.choice((None, None, 0, 1, 2)),
                "initial_backoff_ms": rng.choice((0, 10, 80, 300, 1200)),
            } if managed else None,
            "health": managed and rng.random() < 0.3,
        }  # fmt: skip

    # --- the wire -----------------------------------------------------------------------------

    def listed(self):
        """Return the rows that a list call returns now."""
        return [slot.now for slot in self.slots if slot.now]

    def find(self, key):
        """Return the newest run with this pid or name."""
        if not key.isdigit():
            return self.names[key].run if key in self.names else None
        runs = [shown.run for shown in self.listed() if str(shown.run.pid) == key]
        return max(runs, key=lambda run: run.handle, default=None)

    def request(self, method, path, body):
        """Answer one request (paths are relative to /api/v1)."""
        parts = path.strip("/").split("/")
        if parts == ["processes"]:
            if method == "GET":
                return 200, {"processes": [shown.row for shown in self.listed()]}
            return self._start(body)
        run = self.find(parts[1])
        if method == "GET" and len(parts) == 3:
            # A run writes a line 0.3 s after its start, if it still runs then.
            end = self.world if run is None or run.ended is None else run.ended
            lines = ["ready"] if run and run.began + 300 <= end else []
            return 200, {"pid": run.pid if run else 0, "lines": lines, "line_count": len(lines)}
        if run is None:
            return 404, {"error": f"Process {parts[1]} not found", "code": "NOT_FOUND"}
        if method == "GET":
            return 200, next(shown.row for shown in self.listed() if shown.run is run)
        return self._act(method, parts[2:], run, body)

    def _start(self, body):
        name, health = body.get("name"), bool(body.get("health_check"))
        if name in self.names and (self.names[name].living or self.names[name].stopping):
            return 409, {"error": f"{name} exists", "code": "ALREADY_EXISTS"}
        args = list(body.get("args", ()))
        gen = self._deploy(body["command"], args, name, body.get("restart"), health, ours=True)
        return 201, gen.run.slot.now.row

    def _act(self, method, verb, run, body):
        gen, ended = run.gen, {"error": f"Process {run.pid} is not running"}
        if method == "DELETE":
            if run is not gen.run or not self._delete(gen, "own kill"):
                return 500, ended
            return 204, None
        if verb == ["signal"]:
            if run.ended is not None:
                return 400, ended
            self._send(run, int(body["signal"]), "own signal")
            return 200, {"success": True}
        if self.names.get(gen.name, gen) is not gen:
            return 409, {"error": f"{gen.name} exists", "code": "ALREADY_EXISTS"}
        if not gen.run.slot.listed:
            return 404, {"error": f"Process {run.pid} not found", "code": "NOT_FOUND"}
        return 200, self._restart(gen, "own restart").slot.now.row


def _exit_json(run):
    ended = {**run.shown_exit._asdict(), "ended_at": run.ended_at}
    del ended["status"]
    return ended
