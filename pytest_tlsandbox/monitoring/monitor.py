"""Poll sandboxes around each test, and record the intervals in which polls failed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any, NamedTuple

from pytest_tlsandbox.clock import Clock
from pytest_tlsandbox.connections import Connection
from pytest_tlsandbox.history.incidents import Incident
from pytest_tlsandbox.history.runs import Run
from pytest_tlsandbox.history.snapshot import ProcessSnapshot
from pytest_tlsandbox.monitoring.monitored_sandbox import Gap, MonitoredSandbox
from pytest_tlsandbox.monitoring.plain_data import Place, WallClock

Undecided = Callable[[MonitoredSandbox, ProcessSnapshot], float]
_ENDED = (
    "it ended during the call; end it in a fixture, so that it is monitored until the call ends"
)
_REPLACED = "it was replaced or restarted: the ends of the processes listed before are not known"
_PAUSE = 0.02
_INSTANT = 1e-6


class Observation(NamedTuple):
    """A snapshot that the monitor took of a sandbox.

    Attributes:
        incidents: the incidents since the previous observation.
        place: the running test, or an empty place if the sandbox was not monitored before.
        ends_phase: whether a phase of the running test has just ended.

    """

    sandbox: MonitoredSandbox
    incidents: list[Incident]
    snapshot: ProcessSnapshot
    place: Place
    ends_phase: bool


class Observer:
    """The interface through which the guard and the report receive observations."""

    def add_sandbox(self, sandbox: MonitoredSandbox) -> None:
        """Begin to observe another sandbox."""

    def examine(self, seen: Observation) -> None:
        """Evaluate what is new in the history of a sandbox."""

    def take_data(self) -> dict[str, Any]:
        """Return the plain data that was added or changed since the last call of this method.

        The result may be empty.
        """
        return {}


class Monitor:
    """Polls every sandbox after the call and the teardown of each test.

    The last snapshot of a test is the baseline of the next test.

    Attributes:
        sandboxes: the monitored sandboxes.
        observers: the guard and the report, if any.
        worker: the name of the xdist worker in which the monitor runs, if any.
        place: the running test and its phase.
        guarding: whether rules of the guard apply now (set by the guard).
        recording: whether a report will be written, so that every test must be monitored.
        undecided: a function that returns for how many seconds to poll again at the end of a phase
            (set by the guard).
        tears_nothing_down: whether no fixture of the suite ends in the teardown of the running
            test.
        snapshots: the number of successful list calls.

    """

    def __init__(self, clock: Clock, *, worker: str | None = None, recording: bool = False) -> None:
        self.sandboxes: list[MonitoredSandbox] = []
        self.observers: list[Observer] = []
        self.worker = worker
        self.place = Place()
        self.guarding = False
        self.recording = recording
        self.undecided: Undecided = lambda _sandbox, _snapshot: 0.0
        self.tears_nothing_down = False
        self.snapshots = 0
        self.wall_clock = WallClock(clock)
        self._clock = clock
        self._gaps: list[Gap] = []
        """The gaps that are open, or that ended since their data was taken."""
        self._new: dict[str, dict[str, object]] = {}

    @property
    def active(self) -> bool:
        """Whether the guard or the report needs snapshots now."""
        return self.guarding or self.recording

    def add(self, connection: Connection, *, patient: bool = True) -> None:
        """Begin to monitor another sandbox, and ignore its earlier incidents."""
        name = label = connection.client.label
        limit = connection.client.memory_limit
        # The sandboxes of different workers may have the same name, so add the name of the worker.
        # This is not necessary if the sandbox is shared, or if its name contains the name of the
        # worker.
        if not connection.shared and self.worker not in (None, *label.split("-")):
            name = f"{label}@{self.worker}"
        sandbox = MonitoredSandbox(connection, name)
        self.sandboxes.append(sandbox)
        self._new[name] = {"label": label, "shared": connection.shared, "memory_limit": limit}

        def count(_snapshot: ProcessSnapshot, _changed: list[Run]) -> None:
            self.snapshots += 1
            if sandbox.ended is not None:  # it seemed to be terminated, but it answered this call
                sandbox.gap = self._begin_gap(name, sandbox.why, sandbox.ended)
                sandbox.ended = sandbox.position = None
                self._end_gap(sandbox.gap, self._clock.monotonic())
                self.sandboxes.append(sandbox)

        connection.client.history.observers.append(count)
        for observer in self.observers:
            observer.add_sandbox(sandbox)
        self._take_baseline(sandbox, patient=patient)
        kernel = connection.client.kernel
        unknown = "switched off" if kernel is None else kernel.unknown
        self._new[name]["no_kernel_counter"] = unknown or None

    def add_unconnected(self, label: str, why: str) -> None:
        """Record a gap for a sandbox to which the plugin could not connect."""
        self._begin_gap(label, why, self._clock.monotonic())

    def begin_test(self, test: str, attempt: int) -> None:
        """Take the baseline of a test, or reuse the last snapshot of the previous test."""
        self.place = Place(test, attempt, "setup")
        for sandbox in [*self.sandboxes]:
            sandbox.begin_test()
            self._take_baseline(sandbox)

    def _take_baseline(self, sandbox: MonitoredSandbox, *, patient: bool = True) -> None:
        if not self.active:
            sandbox.baseline = sandbox.position = None
        elif sandbox.baseline is None:
            sandbox.baseline = self._observe(sandbox, ends_phase=False, patient=patient)
        sandbox.connection.baseline = sandbox.before_call = sandbox.baseline

    def begin_call(self, *, fixtures: bool) -> None:
        """Poll before the call phase if fixtures ran.

        This poll is necessary because the processes of fixtures may outlive the test.
        """
        self.place = self.place._replace(phase="call")
        for sandbox in [*self.sandboxes] if fixtures and self.active else ():
            sandbox.before_call = self.poll(sandbox)

    def end_phase(self, phase: str) -> None:
        """Poll after a phase of the running test."""
        self.place = self.place._replace(phase=phase)
        for sandbox in [*self.sandboxes] if self.active else ():
            if phase != "teardown" or not self._is_settled(sandbox):
                sandbox.baseline = self._observe(sandbox, ends_phase=True)
        self.place = self.place._replace(phase="teardown")

    def _is_settled(self, sandbox: MonitoredSandbox) -> bool:
        """Return whether a poll after the teardown is unnecessary because nothing can change.

        After a skipped poll, a process that is still running may cause incidents. These incidents
        are attributed to the next test.
        """
        last, left_nothing = sandbox.baseline, self.tears_nothing_down and not sandbox.started
        return left_nothing and last is not None and not self.undecided(sandbox, last)

    def end_test(self) -> None:
        """Record that no test is running."""
        for gap in self._gaps:
            if gap.to_at is None:
                gap.tests += 1
        self.place = Place()

    def end_session(self) -> None:
        """Poll for incidents that happened outside of tests, or in a test that was interrupted."""
        for sandbox in [*self.sandboxes] if self.active else ():
            if sandbox.position is not None:
                self._observe(sandbox, ends_phase=False)

    def take_data(self) -> dict[str, Any]:
        """Return the plain data that was added or changed since the last call of this method.

        The result may be empty.
        """
        data: dict[str, Any] = {"gaps": [asdict(gap) for gap in self._gaps], "sandboxes": self._new}
        for observer in self.observers:
            data |= observer.take_data()
        self._gaps = [gap for gap in self._gaps if gap.to_at is None]
        self._new = {}
        return {kind: new for kind, new in data.items() if new}

    def poll(self, sandbox: MonitoredSandbox, *, patient: bool = True) -> ProcessSnapshot | None:
        """Return a snapshot of a sandbox; if an error occurs, begin a gap and return None.

        If the suite has terminated the sandbox, usually in a teardown, the monitor stops monitoring
        the sandbox. There is a gap only if the test terminated the sandbox in its call phase. This
        gap fails the session if the test is guarded and the sandbox existed before the test.
        """
        begun = self._clock.monotonic()
        snapshot = sandbox.poll(patient=patient and self.guarding)
        if sandbox.ended is not None:
            self.sandboxes.remove(sandbox)
            if self.place.phase == "call":  # the monitor may have missed incidents in the test
                gap = self._begin_gap(sandbox.name, _ENDED, sandbox.ended, fails=not sandbox.is_new)
                self._end_gap(gap, sandbox.ended)
        elif snapshot is None and not sandbox.in_gap:
            sandbox.gap = self._begin_gap(sandbox.name, sandbox.why, begun)
        return snapshot

    def poll_until_decided(
        self, sandbox: MonitoredSandbox, snapshot: ProcessSnapshot, undecided: Undecided
    ) -> ProcessSnapshot:
        """Poll a sandbox again for as long as ``undecided`` requires.

        This method calls ``undecided`` with the sandbox and each snapshot. The result of
        ``undecided`` is the number of seconds that this method must take in total.

        Returns:
            The last snapshot.

        """
        start = self._clock.monotonic()
        while (left := start + undecided(sandbox, snapshot) - self._clock.monotonic()) > _INSTANT:
            self._clock.sleep(min(_PAUSE, left))
            again = sandbox.poll(patient=True)
            if again is None:
                break
            snapshot = again
        return snapshot

    def _observe(
        self, sandbox: MonitoredSandbox, *, ends_phase: bool, patient: bool = True
    ) -> ProcessSnapshot | None:
        """Poll, and let the observers examine what is new."""
        snapshot = self.poll(sandbox, patient=patient)
        if snapshot is None:
            return None
        if ends_phase:
            snapshot = self.poll_until_decided(sandbox, snapshot, self.undecided)
        since, sandbox.position = sandbox.position, snapshot.position
        in_gap = sandbox.in_gap
        history = sandbox.client.history
        if since is not None and history.replaced_at > since:
            self._end_gap(sandbox.gap, snapshot.begun)
            sandbox.before_call = None
            begun = snapshot.begun if sandbox.baseline is None else sandbox.baseline.begun
            sandbox.gap = self._begin_gap(sandbox.name, _REPLACED, begun)
            since = history.replaced_at
        if since is not None:
            incidents = history.incidents(since)
            place = Place() if in_gap else self.place
            seen = Observation(sandbox, incidents, snapshot, place, ends_phase and not in_gap)
            for observer in self.observers:
                observer.examine(seen)
        self._end_gap(sandbox.gap, snapshot.begun)
        return snapshot

    def _begin_gap(self, sandbox: str, why: str, begun: float, *, fails: bool = True) -> Gap:
        gap = Gap(sandbox, why, self.wall_clock.at(begun), self.place.test, self.guarding and fails)
        self._gaps.append(gap)
        return gap

    def _end_gap(self, gap: Gap | None, at: float) -> None:
        """Record that the sandbox is monitored again, unless the gap has already ended."""
        if gap is not None and gap.to_at is None:
            gap.tests += 1
            gap.to_at, gap.to_test = self.wall_clock.at(at), self.place.test
