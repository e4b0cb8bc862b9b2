"""Poll sandboxes around each test, and record the intervals in which polls failed."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_tlsandbox.monitoring.monitored_sandbox import MonitoredSandbox
from pytest_tlsandbox.monitoring.plain_data import Place, WallClock
from pytest_tlsandbox.monitoring.unmonitored_time import Gap

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_tlsandbox.clock import Clock
    from pytest_tlsandbox.connections import Connection
    from pytest_tlsandbox.history.runs import Run
    from pytest_tlsandbox.history.snapshot import ProcessSnapshot

_ENDED = (
    "it ended during the call; end it in a fixture, so that it is monitored until the call ends"
)
_REPLACED = "it was replaced or restarted: the ends of the processes listed before are not known"
_PAUSE = 0.02
_INSTANT = 1e-6


class Observation(NamedTuple):
    """A snapshot that the monitor took of a sandbox.

    Attributes:
        since: the position of the previous observation in the history, after which incidents are
            new.
        place: the running test, or an empty place if the sandbox was not monitored before.
        ends_phase: whether a phase of the running test has just ended.

    """

    sandbox: MonitoredSandbox
    since: int
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
        self.place = Place()
        self.guarding = False
        self.recording = recording
        self.undecided: Callable[[MonitoredSandbox, ProcessSnapshot], float] | None = None
        self.tears_nothing_down = False
        self.snapshots = 0
        self.wall_clock = WallClock(clock)
        self._clock = clock
        self.worker = worker
        self._gaps = 0
        self._changed_gaps: dict[str, Gap] = {}
        self._unconnected: list[Gap] = []
        self._new: dict[str, dict[str, object]] = {}
        self._has_baselines = True

    @property
    def active(self) -> bool:
        """Whether the guard or the report needs snapshots now."""
        return self.guarding or self.recording

    def add(self, connection: Connection, *, patient: bool = True) -> None:
        """Begin to monitor another sandbox; earlier incidents do not count."""
        label = connection.client.label
        # The sandboxes of different workers may have the same name, so add the name of the worker.
        # This is not necessary if the sandbox is shared, or if its name contains the name of the
        # worker.
        if connection.shared or self.worker in (None, *label.split("-")):
            sandbox = MonitoredSandbox(connection, label)
        else:
            sandbox = MonitoredSandbox(connection, f"{label}@{self.worker}")
        self.sandboxes.append(sandbox)
        self._new[sandbox.name] = {
            "label": label,
            "shared": connection.shared,
            "memory_limit": connection.client.memory_limit,
        }

        def count(_snapshot: ProcessSnapshot, _changed: list[Run]) -> None:
            self.snapshots += 1
            if sandbox.ended is not None:
                self._resume(sandbox, sandbox.ended)

        connection.client.history.observers.append(count)
        for observer in self.observers:
            observer.add_sandbox(sandbox)
        if self.active:
            self._take_baseline(sandbox, patient=patient)

    def add_unconnected(self, label: str, why: str) -> None:
        """Record a gap for a sandbox to which the plugin could not connect."""
        self._unconnected.append(self._begin_gap(label, label, why, self._clock.monotonic()))

    def begin_test(self, test: str, attempt: int) -> None:
        """Take the baseline of a test, or reuse the last snapshot of the previous test."""
        self.place = Place(test, attempt, "setup")
        for sandbox in [*self.sandboxes]:
            sandbox.begin_test()
            sandbox.connection.baseline = None
            if not self.active:
                continue
            if self._has_baselines and sandbox.baseline is not None:
                sandbox.connection.baseline = sandbox.before_call = sandbox.baseline
            else:
                if not self._has_baselines:
                    sandbox.position = None
                self._take_baseline(sandbox)
        self._has_baselines = self.active

    def begin_call(self, *, fixtures: bool) -> None:
        """Poll before the call phase if fixtures ran.

        This poll is necessary because the processes of fixtures may outlive the test.
        """
        self.place = self.place._replace(phase="call")
        if fixtures and self.active:
            for sandbox in [*self.sandboxes]:
                sandbox.before_call = self.poll(sandbox)

    def end_phase(self, phase: str) -> None:
        """Poll after a phase of the running test."""
        if self.place.test is None or not self.active:
            return
        if phase == "teardown":
            self.place = self.place._replace(phase=phase)
        for sandbox in [*self.sandboxes]:
            if phase == "teardown" and self._is_settled(sandbox):
                continue
            sandbox.baseline = self._observe(sandbox, ends_phase=True)
            if phase != "teardown":
                sandbox.after_call = sandbox.baseline
        self.place = self.place._replace(phase="teardown")

    def _is_settled(self, sandbox: MonitoredSandbox) -> bool:
        """Return whether a poll after the teardown is unnecessary because nothing can change.

        If this poll is skipped, a process that is still running may cause incidents later. These
        incidents are attributed to the next test.
        """
        last = sandbox.after_call
        if not self.tears_nothing_down or last is None or sandbox.started:
            return False
        return self.undecided is None or not self.undecided(sandbox, last)

    def end_test(self) -> None:
        """Record that no test is running."""
        for sandbox in self.sandboxes:
            sandbox.connection.baseline = None
        for gap in [*self._unconnected, *(sandbox.gap for sandbox in self.sandboxes)]:
            self._count_test(gap)
        self.place = Place()

    def end_session(self) -> None:
        """Poll for incidents that happened outside of tests, or in a test that was interrupted."""
        if self.active and self._has_baselines:
            for sandbox in [*self.sandboxes]:
                self._observe(sandbox, ends_phase=False)
        self.place = Place()

    def take_data(self) -> dict[str, Any]:
        """Return the plain data that was added or changed since the last call of this method.

        The result may be empty.
        """
        data: dict[str, Any] = {}
        for observer in self.observers:
            data |= observer.take_data()
        if self._changed_gaps:
            data["gaps"] = [asdict(gap) for gap in self._changed_gaps.values()]
            self._changed_gaps = {}
        if self._new:
            data["sandboxes"], self._new = self._new, {}
        return data

    def poll(self, sandbox: MonitoredSandbox, *, patient: bool = True) -> ProcessSnapshot | None:
        """Return a snapshot of a sandbox; if an error occurs, begin a gap and return None."""
        begun = self._clock.monotonic()
        snapshot = sandbox.poll(patient=patient and self.guarding)
        if sandbox.ended is not None:
            self._remove(sandbox, sandbox.ended)
        elif snapshot is None:
            if not sandbox.in_gap:
                sandbox.gap = self._begin_gap(
                    sandbox.name, sandbox.client.label, sandbox.why, begun
                )
        elif sandbox.position is None:
            self._end_gap(sandbox.gap, snapshot.begun)
        return snapshot

    def poll_until_decided(
        self,
        sandbox: MonitoredSandbox,
        snapshot: ProcessSnapshot,
        undecided: Callable[[ProcessSnapshot], float],
    ) -> ProcessSnapshot:
        """Poll a sandbox again for as long as ``undecided`` requires.

        This method calls ``undecided`` with each snapshot. The result of ``undecided`` is the total
        number of seconds for which to poll, counted from the start of this method.

        Returns:
            The last snapshot.

        """
        start = self._clock.monotonic()
        while (left := start + undecided(snapshot) - self._clock.monotonic()) > _INSTANT:
            self._clock.sleep(min(_PAUSE, left))
            again = sandbox.poll(patient=True)
            if again is None:
                break
            snapshot = again
        return snapshot

    def _take_baseline(self, sandbox: MonitoredSandbox, *, patient: bool = True) -> None:
        if sandbox.position is None:
            snapshot = self.poll(sandbox, patient=patient)
            sandbox.position = None if snapshot is None else snapshot.position
        else:
            snapshot = self._observe(sandbox, ends_phase=False)
        sandbox.connection.baseline = sandbox.before_call = sandbox.baseline = snapshot

    def _observe(self, sandbox: MonitoredSandbox, *, ends_phase: bool) -> ProcessSnapshot | None:
        """Poll, and let the observers examine what is new."""
        snapshot = self.poll(sandbox)
        if snapshot is None:
            return None
        if ends_phase and self.undecided is not None:
            undecided = partial(self.undecided, sandbox)
            snapshot = self.poll_until_decided(sandbox, snapshot, undecided)
        since, sandbox.position = sandbox.position, snapshot.position
        in_gap = sandbox.in_gap
        replaced_at = sandbox.client.history.replaced_at
        if since is not None and replaced_at > since:
            self._end_gap(sandbox.gap, snapshot.begun)
            sandbox.before_call = None
            begun = snapshot.begun if sandbox.baseline is None else sandbox.baseline.begun
            sandbox.gap = self._begin_gap(sandbox.name, sandbox.client.label, _REPLACED, begun)
            since = replaced_at
        if since is not None:
            place = Place() if in_gap else self.place
            seen = Observation(sandbox, since, snapshot, place, ends_phase and not in_gap)
            for observer in self.observers:
                observer.examine(seen)
        self._end_gap(sandbox.gap, snapshot.begun)
        return snapshot

    def _remove(self, sandbox: MonitoredSandbox, ended: float) -> None:
        """Stop monitoring a sandbox that the suite has terminated, usually in a teardown.

        The monitor polls after the call phase of each test. If the test terminates the sandbox
        before this poll, the monitor records a gap, because the monitor may have missed incidents.
        If the test is guarded and the sandbox existed before the test, the gap fails the session.
        """
        self.sandboxes.remove(sandbox)
        if self.place.phase == "call":
            gap = self._begin_gap(
                sandbox.name, sandbox.client.label, _ENDED, ended, fails=not sandbox.is_new
            )
            self._end_gap(gap, ended)

    def _resume(self, sandbox: MonitoredSandbox, ended: float) -> None:
        """Resume monitoring a sandbox that seemed to be terminated, but answered a call."""
        sandbox.gap = self._begin_gap(sandbox.name, sandbox.client.label, sandbox.why, ended)
        sandbox.ended = sandbox.position = None
        self._end_gap(sandbox.gap, self._clock.monotonic())
        self.sandboxes.append(sandbox)

    def _begin_gap(
        self, sandbox: str, label: str, why: str, begun: float, *, fails: bool = True
    ) -> Gap:
        self._gaps += 1
        gap = Gap(
            id=f"{self.worker or 'main'}/{self._gaps}",
            sandbox=sandbox,
            label=label,
            worker=self.worker,
            why=why,
            from_at=self.wall_clock.at(begun),
            from_test=self.place.test,
            guarded=self.guarding and fails,
        )
        self._changed_gaps[gap.id] = gap
        return gap

    def _count_test(self, gap: Gap | None) -> None:
        """Increment the number of tests that a gap affects, unless the gap has ended."""
        if gap is not None and gap.open:
            gap.tests += 1
            self._changed_gaps[gap.id] = gap

    def _end_gap(self, gap: Gap | None, at: float) -> None:
        """Record that the sandbox is monitored again."""
        if gap is not None and gap.open:
            self._count_test(gap)
            gap.open, gap.to_at, gap.to_test = False, self.wall_clock.at(at), self.place.test
