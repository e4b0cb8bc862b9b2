"""A sandbox made of rows that a test changes, and a guard that watches it."""

from __future__ import annotations

from typing import Any

from pytest_tlsandbox.client.processes import ProcessLister
from pytest_tlsandbox.client.retry import persist
from pytest_tlsandbox.connections import Connection
from pytest_tlsandbox.errors import SandboxFault, SandboxUnreachable
from pytest_tlsandbox.evidence import Ledger
from pytest_tlsandbox.guard.engine import Guard, Run
from pytest_tlsandbox.guard.telling import Pinned
from pytest_tlsandbox.snapshot import ProcessSnapshot

from ..support import FakeClock, raw, snapshot

REFUSED = SandboxUnreachable(
    "my-sandbox cannot be reached: the connection was refused", label="refused", transient=True
)
ALL = ("oom", "crash", "restart", "unhealthy", "leak")
OOM = {"status": "oom_killed", "oom_killed": True, "ended_at": 1_710_000_009_000}


class Box:
    """Lists ``rows``, or fails with ``fault`` after ``latency`` seconds.

    ``later`` maps the number of a look to the rows from then on.
    """

    label = "my-sandbox"
    patience = 30.0
    on_look: Any = None
    test_deadline = staticmethod(lambda: None)
    give_up_at = ProcessLister.give_up_at

    def __init__(self, clock: FakeClock, *rows: dict[str, Any]) -> None:
        self.clock = clock
        self.rows = [*rows]
        self.later: dict[int, list[dict[str, Any]]] = {}
        self.fault: SandboxFault | None = None
        self.latency = 0.0
        self.looks = 0

    def look(self, *, limit: float = 5.0) -> ProcessSnapshot:
        self.looks += 1
        self.rows = self.later.get(self.looks, self.rows)
        begun = self.clock.now
        self.clock.now += min(self.latency, limit)
        if self.fault is not None:
            raise self.fault
        seen = snapshot(*self.rows)
        listed = ProcessSnapshot(
            seen.processes, seen.unreadable, sandbox=self.label, begun=begun, ended=self.clock.now
        )
        if self.on_look is not None:
            self.on_look(listed)
        return listed

    def list(self, *, patience: float = 30.0) -> ProcessSnapshot:
        return persist(lambda limit: self.look(limit=limit), self.clock, patience=patience)


class Watch:
    """A guard over one box, and the phases of tests as short calls."""

    def __init__(
        self,
        *rows: dict[str, Any],
        rules: tuple[str, ...] = ALL,
        shared: bool = False,
        of_suite: bool = False,
        **kwargs: Any,
    ) -> None:
        self.clock = FakeClock()
        self.box = Box(self.clock, *rows)
        self.ledger = Ledger()
        self.guard = Guard(rules, self.clock, **kwargs)
        self.connection = Connection(
            self.box,  # type: ignore[arg-type]
            self.box,  # type: ignore[arg-type]
            self.ledger,
            shared,
            of_suite,
            loopback=True,
        )
        self.rules = rules
        self.watching = False

    def begin(self, name: str, rules: tuple[str, ...] | None = None, **allowed: str) -> None:
        run = Run(name, 1, self.rules if rules is None else rules, allowed)
        self.guard.begin_test(run)
        if not self.watching:
            self.watching = True
            self.guard.watch(self.connection)

    def call(self, *rows: dict[str, Any], fixtures: bool = False) -> list[str]:
        """End the set-up, have the call leave these rows, end it; give what fails it."""
        self.guard.begin_call(fixtures=fixtures)
        return self.end("call", *rows)

    def end(self, phase: str, *rows: dict[str, Any]) -> list[str]:
        if rows:
            self.box.rows = [*rows]
        return _told(self.guard.end_phase(phase))

    def test(self, name: str, *rows: dict[str, Any]) -> list[str]:
        """Run a whole test whose call leaves these rows; give what fails it."""
        self.begin(name)
        found = self.call(*rows) + self.end("teardown")
        self.guard.end_test()
        return found

    def told(self) -> list[str]:
        """Give all findings since the last time, in one line each."""
        return [
            f"{found['test'] or 'no test'}, {found['phase']}: {found['rule']} of {found['name']}, "
            f"told at the {found['told']}"
            + (f", allowed: {found['allowed']}" if found["allowed"] else "")
            for found in self.guard.take_facts().get("findings", [])
        ]


def _told(pinned: list[Pinned]) -> list[str]:
    return [f"{item.incident.rule} {item.incident.row.pid}" for item in pinned]


def oom(pid: int = 41, **fields: Any) -> dict[str, Any]:
    """A row that was killed for want of memory."""
    return raw(pid, **{**OOM, **fields})
