"""A deterministic simulator of one sandbox daemon, with a log of all events.

The caller passes the time in seconds. Internally, time is in integer milliseconds of the *world*,
which stops while the sandbox is suspended. Every change of a row creates a new `Shown`, with the
JSON row and the truth behind it: which run it shows, and which run `last_exit` describes.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

EPOCH = 1_790_000_000_000
HUP, ABRT, KILL, SEGV, TERM = 1, 6, 9, 11, 15
CRASH_SIGNALS = frozenset({4, 5, ABRT, 7, 8, SEGV, 31})
NAMES = ("web", "api", "db")
COMMANDS = ("python", "serve", "train")
# An end as it is listed: status, exit_code, signal, oom_killed.
End = tuple[str, int | None, int | None, bool]


@dataclass
class Layout:
    """Behaviour that the documentation leaves open, drawn once for each history."""

    keeps_rows: bool  # older rows of a managed id stay listed
    handles: bool  # rows have a handle
    counts_manual: bool  # restart_count counts manual restarts
    counts_early: bool  # the count rises when backing off begins, not when the new run starts
    says_why: bool  # last_error is set when a supervisor gives up
    clock_stops: bool  # the sandbox's clock stands still while it is suspended
    reaps: bool  # a kill removes the row
    faults: float  # share of polls that fail


@dataclass(eq=False, slots=True)
class Run:
    """One execution of a program, and who caused its start and its end."""

    gen: Generation
    number: int
    handle: int
    pid: int
    started_at: int  # on the wire
    began: int  # world time
    by: str  # deploy, supervisor, own restart, outside restart
    ended: int | None = None  # world time
    ended_at: int | None = None  # on the wire
    truth: End | None = None
    cause: str = ""  # itself, kernel, outside, own signal, own kill, own restart, daemon
    shown: End | None = None  # the end as the row lists it now
    due: End | None = None  # the end that the row will list
    shown_exit: End | None = None  # the end as last_exit lists it
    acts: set[int | str] = field(default_factory=set)  # our signal numbers, "kill", "restart"
    oom_at: int | None = None  # when the OOM kill (of the process or of a child) happened
    raced: bool = False  # one of our actions met it unseen (U7)
    slot: Slot | None = None

    @property
    def lost(self) -> bool:
        """Return whether the listed end has neither a real exit code nor a signal."""
        return is_lost(self.shown)

    def __repr__(self) -> str:
        """Return the text for the report of a disagreement."""
        name = self.gen.id or "unmanaged"
        return f"<{name} g{self.gen.order} run {self.number} pid {self.pid} handle {self.handle}>"


@dataclass(eq=False, slots=True, repr=False)
class Generation:
    """One deployment; an unmanaged process is a generation of one run."""

    order: int
    id: str | None
    name: str | None
    command: str
    args: list[str]
    policy: str
    limit: int | None
    backoff: int
    health: bool
    ours: bool  # deployed through this client
    epoch: int
    runs: list[Run] = field(default_factory=list)
    status: str = "running"
    count: int = 0
    used: int = 0  # restarts since the last manual one
    last_exit: Run | None = None
    last_error: str | None = None
    next_at: int | None = None
    health_status: str = "disabled"
    failures: int = 0
    unhealthy_at: int = 0
    stopping: bool = False
    killed_by_us: bool = False
    gave_up: bool = False
    ticket: int = 0  # makes a planned restart void
    config: tuple[object, ...] = ()
    wire_config: dict[str, object] = field(default_factory=dict)

    def __repr__(self) -> str:
        """Return the text for the report of a disagreement."""
        name, policy = self.id or "unmanaged", f"{self.policy} at most {self.limit}"
        return f"<{name} g{self.order} {self.command} {self.args[0]} {policy} {self.backoff} ms>"

    @property
    def run(self) -> Run:
        """Return the newest run."""
        return self.runs[-1]

    @property
    def living(self) -> bool:
        """Return whether it runs (its end may not be listed yet) or will be restarted."""
        return self.run.shown_exit is None or self.status == "backing_off"


@dataclass(eq=False, slots=True)
class Shown:
    """One version of a row, and the truth behind it."""

    row: dict[str, Any]
    run: Run
    end: End | None  # of the run, as the row lists it
    exit_run: Run | None  # the run that last_exit describes
    exit: End | None  # as last_exit lists it
    status: str  # of the supervisor; "" if unmanaged
    count: int
    gave_up: bool
    unhealthy: bool


@dataclass(eq=False, slots=True)
class Slot:
    """A position in the list."""

    now: Shown | None = None
    listed: bool = True


def is_lost(end: End | None) -> bool:
    """Return whether an end has no real exit code and no signal."""
    if end is None or end[3] or end[0] == "oom_killed":
        return False
    return end[2] is None and end[1] in (None, -1)


class Daemon:
    """One sandbox daemon, its processes and other clients."""

    def __init__(self, seed: int) -> None:
        """Draw the layout and the first processes."""
        self.seed = seed
        self.random = rng = random.Random(seed)
        # All eight layouts are equally frequent; the other switches are independent.
        bits = seed % 8
        self.layout = Layout(
            keeps_rows=bool(bits & 1),
            handles=bool(bits & 2),
            counts_manual=bool(bits & 4),
            counts_early=rng.random() < 0.5,
            says_why=rng.random() < 0.5,
            clock_stops=rng.random() < 0.5,
            reaps=rng.random() < 0.3,
            faults=rng.choice((0.0, 0.0, 0.1, 0.5)),
        )
        self.world = 0  # now, in milliseconds of the world
        self.frozen = 0  # milliseconds spent suspended so far
        self.suspend_from = self.suspend_to = -1
        self.log: list[tuple[int, str, object]] = []
        self.slots: list[Slot] = []
        self.gens: list[Generation] = []
        self.runs: list[Run] = []
        self.names: dict[str, Generation] = {}
        self.epoch = 0
        self.next_handle = rng.randint(1, 30)
        self.next_pid = rng.randint(40, 900)
        self.salt = rng.getrandbits(32)
        self.heap: list[tuple[int, int, int, Callable[..., None], tuple[Any, ...]]] = []
        self.sequence = 0
        self.tags = 0
        self.calm = rng.random() < 0.25  # fewer outside events
        for _ in range(rng.randint(1, 4)):
            self._deploy_something()
        self.after(self._gap(), self._outside)
        if rng.random() < 0.06:
            self.after(rng.randint(1000, 9000), self._replace)
        if rng.random() < 0.12:
            self.suspend_from = rng.randint(1000, 8000)
            self.suspend_to = self.suspend_from + rng.randint(300, 4000)
        # Let the world have a past: ends and restarts that the first list call finds.
        self._run_until(rng.randint(0, 4000))
        self.past = self.world

    # --- time ---------------------------------------------------------------------------------

    def after(self, milliseconds: int, action: Callable[..., None], *args: Any) -> None:
        """Schedule an action; it is dropped if the daemon is replaced before."""
        self.sequence += 1
        heapq.heappush(
            self.heap, (self.world + milliseconds, self.sequence, self.epoch, action, args)
        )

    def wire_time(self) -> int:
        """Return the time of the sandbox's clock."""
        return EPOCH + self.world + (0 if self.layout.clock_stops else self.frozen)

    def advance(self, now: float) -> bool:
        """Advance the world to `now`; return whether the sandbox answers (is not suspended)."""
        ms = round(now * 1000)
        if self.suspend_from >= 0 and ms >= self.suspend_from:
            self._run_until(self.past + self.suspend_from)
            if ms < self.suspend_to:
                return False
            self.frozen = self.suspend_to - self.suspend_from
            self.suspend_from = -1
            self.log.append((self.world, f"was suspended for {self.frozen} ms", None))
        self._run_until(self.past + ms - self.frozen)
        return True

    def _run_until(self, world: int) -> None:
        heap = self.heap
        while heap and heap[0][0] <= world:
            at, _, epoch, action, args = heapq.heappop(heap)
            if epoch == self.epoch:
                self.world = at
                action(*args)
        self.world = max(world, self.world)

    def is_faulty(self, now: float) -> bool:
        """Return whether a poll at this time fails."""
        if not self.layout.faults:
            return False
        mixed = (round(now * 1000) * 2654435761 + self.salt) & 0xFFFFFFFF
        mixed = ((mixed ^ (mixed >> 15)) * 2246822519) & 0xFFFFFFFF
        return ((mixed ^ (mixed >> 13)) & 0xFFFF) / 65536 < self.layout.faults

    # --- deployments and runs -----------------------------------------------------------------

    def _deploy(
        self,
        command: str,
        args: list[str],
        name: str | None,
        restart: dict[str, Any] | None,
        health: bool,
        *,
        ours: bool,
    ) -> Generation:
        managed = name is not None or restart is not None or health
        restart = restart or {}
        order = len(self.gens)
        gen = Generation(
            order=order,
            id=(name or f"p-{order:02x}") if managed else None,
            name=name,
            command=command,
            args=args,
            policy=str(restart.get("policy", "on_failure")) if managed else "never",
            limit=restart.get("max_restarts"),
            backoff=int(restart.get("initial_backoff_ms", 500)),
            health=health,
            ours=ours,
            epoch=self.epoch,
        )
        gen.wire_config = {
            "policy": gen.policy,
            "max_restarts": gen.limit,
            "initial_backoff_ms": gen.backoff,
            "max_backoff_ms": max(30000, gen.backoff),
        }
        gen.config = (command, tuple(args), gen.policy, gen.limit, gen.backoff)
        self.gens.append(gen)
        old = self.names.get(name) if name else None
        if name:
            self.names[name] = gen
        self.log.append((self.world, f"deployed by {'us' if ours else 'others'}", gen))
        self._begin(gen, "deploy", old.run.slot if old and not self.layout.keeps_rows else None)
        return gen

    def _begin(self, gen: Generation, by: str, slot: Slot | None) -> Run:
        rng = self.random
        self.next_handle += 1
        self.next_pid += rng.randint(1, 9)
        run = Run(
            gen, len(gen.runs), self.next_handle, self.next_pid, self.wire_time(), self.world, by
        )
        gen.runs.append(run)
        self.runs.append(run)
        gen.status = "starting" if gen.health else "running"
        gen.health_status = "starting" if gen.health else "disabled"
        gen.failures, gen.next_at, gen.stopping, gen.gave_up = 0, None, False, False
        gen.last_error = None
        gen.ticket += 1
        if slot is None or not slot.listed:
            slot = Slot()
            # The order of the list means nothing.
            self.slots.insert(rng.randint(0, len(self.slots)), slot)
        run.slot = slot
        self._show(run)
        self.log.append((self.world, f"began by {by}", run))
        draw = rng.random()
        if draw < 0.62:
            life = rng.randint(1, 60) if draw < 0.1 else rng.randint(60, 900)
            self.after(life if draw < 0.4 else rng.randint(800, 6000), self._end_by_itself, run)
        if gen.health:
            self.after(rng.randint(50, 1500), self._check_health, run)
        return run

    def _end_by_itself(self, run: Run) -> None:
        rng = self.random
        draw = rng.random()
        if draw < 0.3:
            end: End = ("exited", 0, None, False)
        elif draw < 0.52:
            end = ("exited", rng.choice((1, 1, 3, 137)), None, False)
        elif draw < 0.7:
            end = ("signaled", None, rng.choice((TERM, KILL, HUP, SEGV, ABRT)), False)
        elif draw < 0.78:
            self._kill(run, ("oom_killed", None, rng.choice((KILL, None)), False), "kernel")
            return
        elif draw < 0.88:
            status = rng.choice(("oom_killed", "signaled"))
            self._kill(run, (status, None, KILL, True), "kernel")
            return
        else:  # a child is killed, and the process exits
            late = rng.random() < 0.5
            code = rng.choice((0, 1, 137))
            self._kill(run, ("exited", code, None, True), "kernel", late=late)
            return
        self._kill(run, end, "itself")

    def _kill(self, run: Run, end: End, cause: str, *, late: bool = False, lag: int = 0) -> None:
        """End a run now; the list shows it `lag` ms later, perhaps with a lost exit code."""
        if run.ended is not None:
            return
        rng = self.random
        run.ended, run.ended_at = self.world, self.wire_time()
        run.truth, run.cause = end, cause
        oom = end[3] or end[0] == "oom_killed"
        shown = end
        if late:
            shown = ("exited", end[1], None, False)
            self.after(lag + rng.choice((120, 400, 900, 2500, 4000)), self._flag_late, run)
        elif oom:
            run.oom_at = self.world
        elif rng.random() < 0.09:
            shown = ("exited", rng.choice((-1, None)), None, False)
            if rng.random() < 0.5:
                self.after(lag + rng.choice((30, 150, 500, 900, 2500)), self._correct, run)
        self.log.append((self.world, f"ended {end}, by {cause}; lag {lag}", run))
        if lag:
            self.after(lag, self._list_end, run, shown)
        else:
            self._list_end(run, shown)

    def _list_end(self, run: Run, shown: End) -> None:
        """List the end of a run, and let the supervisor react."""
        gen, rng = run.gen, self.random
        if run is not gen.run or run.shown_exit is not None:
            return  # a restart listed it already
        self.log.append((self.world, f"end listed as {shown}", run))
        run.due = run.shown_exit = shown
        if shown[0] == "oom_killed" and not shown[3]:
            # Only the status says so: last_exit has no status, so that it may say less.
            run.shown_exit = ("signaled", None, shown[2], rng.random() < 0.5)
        # The supervisor may know the end before the row shows it.
        row_lags = gen.id is not None and rng.random() < 0.08
        if not row_lags:
            run.shown = shown
        else:
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
        failed = shown[0] != "exited" or shown[1] != 0
        if gen.stopping:
            self._stop(gen)
        elif gen.policy == "never" or (gen.policy == "on_failure" and not failed):
            gen.status = "stopped"
            self._show(run)
        elif gen.limit is not None and gen.used >= gen.limit:
            gen.status, gen.gave_up = "stopped", True
            gen.last_error = "restart limit reached" if self.layout.says_why else None
            self.log.append((self.world, "gave up", gen))
            self._show(run)
        else:
            gen.status = "backing_off"
            gen.used += 1
            if self.layout.counts_early:
                gen.count += 1
            gen.next_at = self.wire_time() + gen.backoff
            self._show(run)
            self.after(gen.backoff, self._restart_by_supervisor, gen, gen.ticket)

    def _stop(self, gen: Generation) -> None:
        gen.status, gen.next_at, gen.stopping = "stopped", None, False
        gen.ticket += 1
        self.log.append((self.world, "stopped", gen))
        self._show(gen.run)
        if self.layout.reaps:
            self._remove(gen.run)

    def _restart_by_supervisor(self, gen: Generation, ticket: int) -> None:
        if ticket != gen.ticket or gen.status != "backing_off":
            return
        self._succeed(gen, "supervisor", counted=not self.layout.counts_early)

    def _succeed(self, gen: Generation, by: str, *, counted: bool) -> Run:
        old = gen.run
        if old.shown is None:  # the row must not lag behind its successor
            old.shown = old.due
        if self.layout.keeps_rows:
            self._show(old)  # frozen from here on
        gen.count += counted
        return self._begin(gen, by, None if self.layout.keeps_rows else old.slot)

    def _catch_up(self, run: Run) -> None:
        run.shown = run.due
        self._show_again(run)

    def _correct(self, run: Run) -> None:
        assert run.truth is not None
        if run.shown is not None:
            run.shown = run.truth
        run.due = run.shown_exit = run.truth
        self.log.append((self.world, "end corrected", run))
        self._show_again(run)

    def _flag_late(self, run: Run) -> None:
        for name in ("shown", "due", "shown_exit"):
            end = getattr(run, name)
            if end is not None:
                setattr(run, name, (end[0], end[1], end[2], True))
        run.oom_at = self.world
        self.log.append((self.world, "late OOM flag", run))
        self._show_again(run)

    def _show_again(self, run: Run) -> None:
        """List a change of an old end, if its row is still listed."""
        if run.slot and run.slot.now and run.slot.now.run is run:
            self._show(run)
        newest = run.gen.run
        if newest is not run and run.gen.last_exit is run and newest.slot and newest.slot.now:
            self._show(newest)

    def _show(self, run: Run) -> None:
        """Create a new row of a run from the state of its process and supervisor."""
        gen, slot, end, was = run.gen, run.slot, run.shown, None
        if slot is None or not slot.listed or (slot.now and slot.now.run.handle > run.handle):
            return
        row: dict[str, Any] = {}
        if self.layout.handles:
            row["handle"] = run.handle
        row["pid"] = run.pid
        row["status"] = end[0] if end else "running"
        row["exit_code"] = end[1] if end else None
        row["signal"] = end[2] if end else None
        row["oom_killed"] = bool(end and end[3])
        row["stdin_writable"] = False
        row["command"], row["args"] = gen.command, gen.args
        row["started_at"] = run.started_at
        row["ended_at"] = run.ended_at if end else None
        if gen.id is None:
            slot.now = Shown(row, run, end, None, None, "", 0, False, False)
            return
        if run is not gen.run and slot.now and slot.now.run is run:
            # An older row keeps what its supervisor said then; only its own end may change.
            was = slot.now
            managed = dict(was.row["managed"])
            if was.exit_run is run:
                managed["last_exit"] = _exit_json(run)
            row["managed"] = managed
            slot.now = Shown(
                row, run, end, was.exit_run, run.shown_exit if was.exit_run is run else was.exit,
                was.status, was.count, was.gave_up, False,
            )  # fmt: skip
            return
        last = gen.last_exit
        row["managed"] = {
            "id": gen.id,
            "name": gen.name,
            "status": gen.status,
            "restart_count": gen.count,
            "restart": gen.wire_config,
            "health_check": {"type": "tcp", "port": 8080} if gen.health else None,
            "health_status": gen.health_status,
            "consecutive_health_failures": gen.failures,
            "last_exit": _exit_json(last) if last else None,
            "last_error": gen.last_error,
            "next_restart_at": gen.next_at,
        }
        slot.now = Shown(
            row, run, end, last, last.shown_exit if last else None,
            gen.status, gen.count, gen.gave_up, gen.health_status == "unhealthy",
        )  # fmt: skip

    def _remove(self, run: Run) -> None:
        slot = run.slot
        if slot and slot.listed and slot.now and slot.now.run is run:
            self.log.append((self.world, "row removed", run))
            self.slots.remove(slot)
            slot.now, slot.listed = None, False

    def _check_health(self, run: Run) -> None:
        gen, rng = run.gen, self.random
        if run.ended is not None or gen.run is not run:
            return
        if rng.random() < 0.6:
            gen.health_status, gen.failures, gen.status = "healthy", 0, "running"
        else:
            if gen.health_status != "unhealthy":
                gen.unhealthy_at = self.world
                self.log.append((self.world, "unhealthy", gen))
            gen.health_status, gen.failures, gen.status = "unhealthy", rng.randint(3, 9), "running"
        self._show(run)
        self.after(rng.randint(300, 4000), self._check_health, run)

    # --- signals, kills and restarts, of this client or of others -----------------------------

    def _send(self, run: Run, signal: int, *, ours: bool) -> None:
        rng, who = self.random, "own signal" if ours else "outside"
        self.log.append((self.world, f"signal {signal} by {who}", run))
        if ours:
            run.acts.add(signal)
        draw = rng.random()
        end: End = ("signaled", None, signal, False)
        if signal != KILL and draw > 0.75:
            if draw > 0.88 and signal in (TERM, HUP):
                return  # ignored
            end = ("exited", rng.choice((128 + signal, 0, 1) if signal in (TERM, HUP) else
                                        (128 + signal,)), None, False)  # fmt: skip
        delay = rng.choice((0, 1, 20, 90))
        lag = rng.choice((0, 0, 5, 60, 150))
        self.after(delay, lambda: self._kill(run, end, who, lag=lag))

    def _delete(self, gen: Generation, *, ours: bool) -> bool:
        """Kill a process, or stop a supervisor; return False if it has ended."""
        rng, run, who = self.random, gen.run, "own kill" if ours else "outside"
        if gen.stopping or not gen.living or (gen.id is None and run.ended is not None):
            return False  # (of an unmanaged process whose end is not listed yet, too)
        self.log.append((self.world, f"killed by {who}", run))
        if ours:
            gen.killed_by_us = True
            if run.ended is None:
                run.acts.add("kill")
        gen.stopping = True
        if run.ended is not None:
            if gen.status == "backing_off":  # else the end is about to be listed
                self._stop(gen)
        elif gen.id is None:
            lag = rng.choice((0, 0, 5, 60, 150))
            self._kill(run, ("signaled", None, KILL, False), who, lag=lag)
        else:
            end, delay = self._asked_to_stop()
            self.after(delay, lambda: self._kill(run, end, who))
        return True

    def _asked_to_stop(self) -> tuple[End, int]:
        rng = self.random
        draw = rng.random()
        if draw < 0.6:
            return ("signaled", None, TERM, False), rng.choice((0, 5, 80))
        if draw < 0.85:
            return ("exited", rng.choice((0, 143)), None, False), rng.choice((0, 20, 200))
        return ("signaled", None, KILL, False), 300

    def _restart(self, gen: Generation, *, ours: bool) -> Run:
        """Restart a managed process, running or not; return its new run."""
        run, who = gen.run, "own restart" if ours else "outside"
        self.log.append((self.world, f"restart by {who}", run))
        waited = gen.status == "backing_off" and self.layout.counts_early
        if run.shown_exit is None and run.ended is not None:  # its end was about to be listed
            run.shown = run.due = run.shown_exit = run.truth
            gen.last_exit = run
        elif run.ended is None:
            if ours:
                run.acts.add("restart")
            end, _ = self._asked_to_stop()
            gen.stopping = False
            run.ended, run.ended_at = self.world, self.wire_time()
            run.truth = run.shown = run.due = run.shown_exit = end
            run.cause = who
            gen.last_exit = run
            self.log.append((self.world, f"ended {end}, by {who}", run))
        gen.used = 0
        counted = self.layout.counts_manual and not waited
        return self._succeed(gen, "own restart" if ours else "outside restart", counted=counted)

    # --- the outside world --------------------------------------------------------------------

    def _gap(self) -> int:
        return self.random.randint(200, 6000 if self.calm else 2200)

    def _outside(self) -> None:
        """Perform an action of another client, and schedule the next one."""
        rng = self.random
        self.after(self._gap(), self._outside)
        draw = rng.random()
        recent = self.gens[-8:]
        living = [gen for gen in recent if gen.epoch == self.epoch and gen.run.ended is None]
        managed = [gen for gen in recent if gen.epoch == self.epoch and gen.id]
        managed = [gen for gen in managed if gen.name is None or self.names[gen.name] is gen]
        if draw < 0.3 or not recent:
            self._deploy_something()
        elif draw < 0.5 and living:
            signal = rng.choice((TERM, KILL, HUP, SEGV, ABRT))
            self._send(rng.choice(living).run, signal, ours=False)
        elif draw < 0.65 and living:
            self._delete(rng.choice(living), ours=False)
        elif draw < 0.8 and managed:
            gen = rng.choice(managed)
            if gen.run.slot and gen.run.slot.listed and not gen.stopping:
                self._restart(gen, ours=False)
        elif draw < 0.95 and managed:
            gen = rng.choice(managed)
            if gen.name and not gen.stopping:
                self._redeploy(gen)

    def _redeploy(self, gen: Generation) -> None:
        """Stop a named process and immediately start another one under its name."""
        run, rng = gen.run, self.random
        if run.ended is None:
            gen.stopping = True
            self._kill(run, ("signaled", None, TERM, False), "outside")
        if gen.status == "backing_off":
            gen.status, gen.next_at = "stopped", None
            gen.ticket += 1
            self._show(run)
        if run.shown_exit is None or gen.status != "stopped":
            return  # its end is about to be listed, or its supervisor goes on
        args = gen.args
        restart: dict[str, Any] = dict(gen.wire_config)
        if rng.random() < 0.4:
            self.tags += 1
            args = [f"job{self.tags}.py"]
        elif rng.random() < 0.3:
            restart["max_restarts"] = (gen.limit or 0) + 1
        self._deploy(gen.command, args, gen.name, restart, gen.health, ours=False)

    def _deploy_something(self) -> None:
        spec = self.draw_process()
        if spec["name"] and spec["name"] in self.names and self.names[spec["name"]].living:
            spec["name"] = None
        self._deploy(**spec, ours=False)

    def draw_process(self, rng: random.Random | None = None) -> dict[str, Any]:
        """Draw a process to start; two in five are unmanaged."""
        rng = rng or self.random
        self.tags += 1
        tag = self.tags if rng.random() < 0.85 else max(1, self.tags - 1)
        spec: dict[str, Any] = {
            "command": rng.choice(COMMANDS),
            "args": [f"job{tag}.py"],
            "name": None,
            "restart": None,
            "health": False,
        }
        if rng.random() < 0.6:
            if rng.random() < 0.75:
                spec["name"] = rng.choice(NAMES)
            spec["restart"] = {
                "policy": rng.choice(("never", "on_failure", "on_failure", "always", "always")),
                "max_restarts": rng.choice((None, None, 0, 1, 2)),
                "initial_backoff_ms": rng.choice((0, 10, 80, 300, 1200)),
            }
            spec["health"] = rng.random() < 0.3
        return spec

    def _replace(self) -> None:
        """Replace the daemon: all processes end; some older ended rows may stay listed."""
        self.log.append((self.world, "daemon replaced", None))
        for run in self.runs:
            if run.ended is None:
                run.ended, run.cause = self.world, "daemon"
        old = [slot for slot in self.slots if slot.now and slot.now.end]
        for slot in self.slots:
            slot.listed = False  # no later event of the old world changes a row
        self.epoch += 1
        self.heap.clear()
        self.names = {}
        # A snapshot may bring an older list back: only rows that had ended.
        keeps = self.random.random() < 0.3
        self.slots = old[: len(old) // 2] if keeps else []
        kept = [slot.now.run for slot in self.slots if slot.now]
        self.next_handle = max([0, *(run.handle for run in kept)])
        self.next_pid = max([39, *(run.pid for run in kept)])
        for _ in range(self.random.choice((0, 1, 2))):
            self._deploy_something()
        self.after(self._gap(), self._outside)

    # --- the wire -----------------------------------------------------------------------------

    def listed(self) -> list[Shown]:
        """Return the rows that a list call returns now."""
        return [slot.now for slot in self.slots if slot.now]

    def find(self, key: str) -> Generation | Run | None:
        """Return the run with this pid or the generation with this name."""
        if not key.isdigit():
            return self.names.get(key)
        pid = int(key)
        return next((s.now.run for s in self.slots if s.now and s.now.run.pid == pid), None)

    def request(self, method: str, path: str, body: object, now: float) -> tuple[int, object]:
        """Answer one request (paths are relative to /api/v1)."""
        if not self.advance(now):
            text = "Sandbox is not running (status: suspending)."
            return 400, {"error": text, "code": "SANDBOX_NOT_RUNNING"}
        parts = path.strip("/").split("/")
        if parts == ["processes"]:
            if method == "GET":
                return 200, {"processes": [shown.row for shown in self.listed()]}
            return self._start(body if isinstance(body, dict) else {})
        target = self.find(parts[1])
        if method == "GET" and len(parts) == 3:
            run = target.run if isinstance(target, Generation) else target
            lines = [f"ready, pid {run.pid}"] if run else []
            return 200, {"pid": run.pid if run else 0, "lines": lines, "line_count": len(lines)}
        if target is None:
            return 404, {"error": f"Process {parts[1]} not found", "code": "NOT_FOUND"}
        gen = target.gen if isinstance(target, Run) else target
        run = target if isinstance(target, Run) else gen.run
        if method == "GET":
            shown = run.slot.now if run.slot else None
            return (200, shown.row) if shown else (404, {"error": "gone", "code": "NOT_FOUND"})
        return self._act(method, parts[2] if len(parts) > 2 else "", gen, run, body)

    def _start(self, body: dict[str, Any]) -> tuple[int, object]:
        name = body.get("name")
        if name in self.names and (self.names[name].living or self.names[name].stopping):
            return 409, {"error": f"{name} exists", "code": "ALREADY_EXISTS"}
        health = bool(body.get("health_check"))
        args = list(body.get("args", ()))
        gen = self._deploy(body["command"], args, name, body.get("restart"), health, ours=True)
        assert gen.run.slot
        assert gen.run.slot.now
        return 201, gen.run.slot.now.row

    def _act(
        self, method: str, verb: str, gen: Generation, run: Run, body: object
    ) -> tuple[int, object]:
        ended = {"error": f"Process {run.pid} is not running"}
        if method == "DELETE":
            if run is not gen.run or not self._delete(gen, ours=True):
                return 500, ended
            return 204, None
        if verb == "signal":
            if run.ended is not None:
                return 400, ended
            assert isinstance(body, dict)
            self._send(run, int(body["signal"]), ours=True)
            return 200, {"success": True}
        if verb == "restart":
            if gen.id is None:
                return 400, {"error": "not a managed process", "code": "NOT_MANAGED"}
            if gen.name and self.names.get(gen.name) is not gen:
                return 409, {"error": f"{gen.name} exists", "code": "ALREADY_EXISTS"}
            if gen.run.slot is None or not gen.run.slot.listed:
                return 404, {"error": f"Process {run.pid} not found", "code": "NOT_FOUND"}
            new = self._restart(gen, ours=True)
            assert new.slot
            assert new.slot.now
            return 200, new.slot.now.row
        return 405, None


def _exit_json(run: Run) -> dict[str, Any]:
    end = run.shown_exit
    assert end is not None
    return {
        "exit_code": end[1],
        "signal": end[2],
        "oom_killed": end[3],
        "ended_at": run.ended_at,
    }
