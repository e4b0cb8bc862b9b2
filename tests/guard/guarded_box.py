"""A sandbox whose rows a test can change, and a guard that monitors the sandbox."""

from pytest_tlsandbox.connections import Connection
from pytest_tlsandbox.errors import SandboxUnreachable
from pytest_tlsandbox.guard.plugin import Guard
from pytest_tlsandbox.monitoring.monitor import Monitor
from pytest_tlsandbox.settings import Settings
from pytest_tlsandbox.testing.scripted_lister import ScriptedLister
from pytest_tlsandbox.types import Screen

from ..support import OOM, FakeClock, raw

REFUSED = SandboxUnreachable(
    "my-sandbox cannot be reached: the connection was refused", label="refused", transient=True
)
ALL = ("oom", "crash", "restart", "unhealthy", "leak")
STDERR = ["shard 1/8 loaded", "shard 2/8 loaded"]


class Box(ScriptedLister):
    """A sandbox that lists ``rows``, or fails with ``fault`` after ``latency`` seconds.

    ``later`` maps the number of a list call to the rows from then on.
    """

    def __init__(self, clock, *rows):
        super().__init__({}, clock=clock)
        self.rows, self.later, self.fault, self.latency = [*rows], {}, None, 0.0

    @property
    def looks(self):
        return len(self.polls)

    def _request(self, method, path, **sent):
        if path == "/processes":
            self.rows = self.later.get(self.looks + 1, self.rows)
            self._script, self._latency = {0.0: self.fault or self.rows}, self.latency
        elif path.endswith("/stderr"):
            self._outputs[path] = STDERR
        return super()._request(method, path, **sent)


class GuardedBox:
    """A guard that monitors one box; short methods run the phases of a test.

    A phase leaves the rows that are passed to it, and returns the findings that fail the test.
    """

    def __init__(self, *rows, rules=ALL, shared=False, of_suite=False):
        self.clock = FakeClock()
        self.box = Box(self.clock, *rows)
        self.monitor = Monitor(self.clock)
        self.guard = Guard(Settings(guard=rules), self.monitor, Screen)
        self.connection = Connection(self.box, shared, of_suite, loopback=True)
        self.rules = rules

    def begin(self, name, rules=None, **allowed):
        """Begin a test and its call phase; the first test connects to the box."""
        self.guard.begin_test(self.rules if rules is None else rules, allowed)
        self.monitor.begin_test(name, 1)
        if not self.box.history.observers:  # the monitor does not know the box yet
            self.monitor.add(self.connection)
        self.monitor.begin_call(fixtures=False)

    def findings(self, phase, *rows):
        if rows:
            self.box.rows = [*rows]
        earlier = len(self.guard.failing())  # pytest takes the findings of each phase
        self.monitor.end_phase(phase)
        return self.guard.failing()[earlier:]

    def call(self, *rows):
        return [f"{found.rule} {found.row.pid}" for found in self.findings("call", *rows)]

    def teardown(self, *rows):
        found = [f"{found.rule} {found.row.pid}" for found in self.findings("teardown", *rows)]
        self.monitor.end_test()
        self.guard.end_test()
        return found

    def test(self, name, *rows, **allowed):
        self.begin(name, **allowed)
        return self.call(*rows) + self.teardown()

    def reported(self):
        """Return all findings since the previous call of this method, one line for each."""
        return [
            f"{found['test'] or 'no test'}, {found['phase']}: {found['rule']} of {found['name']}, "
            f"reported in the {found['reported_in']}"
            + (f", allowed: {found['allowed']}" if found["allowed"] else "")
            for found in self.monitor.take_data().get("findings", [])
        ]

    def gap(self):
        """Return the only monitoring gap since the previous call of this method.

        Returns:
            Its reason, its first and its last test, their number, and whether a test was guarded.

        """
        [gap] = self.monitor.take_data()["gaps"]
        return gap["why"], gap["from_test"], gap["to_test"], gap["tests"], gap["guarded"]


def in_call(*rows, **more):
    """Return a guard that monitors one box, in the call phase of the first test."""
    guarded = GuardedBox(*rows, **more)
    guarded.begin("a")
    return guarded


def oom(pid=41, **fields):
    """Return the row of an OOM-killed process."""
    return raw(pid, **OOM | fields)
