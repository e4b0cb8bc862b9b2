"""The recorder reports new data once, and an outage again while it continues; without the guard."""

from operator import itemgetter

import pytest

from pytest_tlsandbox.connections import Connection
from pytest_tlsandbox.monitoring.monitor import Monitor
from pytest_tlsandbox.monitoring.plain_data import Place
from pytest_tlsandbox.report.recorder import Recorder

from ..guard.guarded_box import REFUSED, Box, oom
from ..support import T0, FakeClock, ended, managed, raw

OOM_KILLED = {"exit_code": None, "signal": 9, "oom_killed": True, "ended_at": T0 + 9000}


class Recorded:
    """A recorder of a sandbox; its clock starts at noon of 1 January 2026."""

    def __init__(self, *rows, recording=False):
        self.clock = FakeClock()
        self.monitor = Monitor(self.clock, recording=recording)
        self.monitor.wall_clock._offset = 1_767_268_800.0
        self.monitor.observers.append(Recorder(self.monitor))
        self.box = self.add(*rows)

    def add(self, *rows):
        """Record another sandbox, with the same name."""
        box = Box(self.clock, *rows)
        self.monitor.add(Connection(box, shared=False))
        return box

    def test(self, *rows):
        """Run a test whose call phase leaves these rows."""
        self.monitor.begin_test("a", 1)
        self.box.rows = [*rows]
        self.monitor.end_phase("call")
        self.monitor.end_phase("teardown")
        self.monitor.end_test()

    def fail(self, begun):
        """Make a list call that takes half a second and fails."""
        self.clock.now, self.box.fault, self.box.latency = begun, REFUSED, 0.5
        with pytest.raises(type(REFUSED)):
            self.box.poll()
        self.box.fault, self.box.latency = None, 0.0

    def take(self, kind):
        return self.monitor.take_data().get(kind, [])

    def outages(self):
        """Return the seconds at which each outage began and ended, its faults, and its test."""
        outages = map(itemgetter("from_at", "to_at", "faults", "test"), self.take("outages"))
        return [(begun[17:23], ended[17:23], *more) for begun, ended, *more in outages]


def test_monitor_polls_after_each_test_phase_without_waiting_if_only_a_report_is_requested():
    """It waits neither for the correction of an end nor for a process that still runs."""
    seen = Recorded(raw(1), recording=True)
    seen.test(oom(1), raw(2, **ended(-1)), raw(3))
    seen.test(raw(3), raw(4))
    assert (seen.box.looks, seen.clock.slept) == (5, [])
    kinds = {"sandboxes", "processes", "changes", "incidents", "outputs"}
    assert seen.monitor.take_data().keys() == kinds


def test_outage_does_not_delay_a_session_that_is_monitored_only_for_a_report():
    seen = Recorded(raw(1), recording=True)
    seen.box.fault = REFUSED
    seen.test(raw(1))
    assert (seen.clock.slept, len(seen.take("gaps"))) == ([], 1)


def test_report_includes_incidents_of_runs_that_were_never_listed():
    seen = Recorded(raw(1, managed=managed()), recording=True)
    after = managed(restart_count=2, last_exit=OOM_KILLED)
    seen.test(raw(3, started_at=T0 + 10_000, managed=after))
    incidents = {incident["rule"]: incident for incident in seen.take("incidents")}
    assert incidents.keys() == {"restart", "oom"}
    texts = itemgetter("verdict", "name", "test", "what")(incidents["oom"])
    assert texts == ("OOM-killed", "web, restart 1", "a", "OOM-killed, restarted as pid 3")


def test_outage_lasts_until_the_sandbox_responds_and_belongs_to_the_test_in_which_it_began():
    seen = Recorded()
    other = seen.add()
    seen.monitor.place = Place("test_a", 1, "call")
    seen.fail(1.0)
    seen.monitor.place = Place("test_b", 1, "setup")
    seen.fail(2.0)
    seen.clock.now = 3.0
    other.poll()
    assert seen.outages() == [("01.000", "02.500", "refused x2", "test_a")]  # it continues
    seen.clock.now = 4.0
    seen.box.output(1)
    assert seen.outages() == [("01.000", "04.000", "refused x2", "test_a")]
    assert seen.outages() == []


def test_last_20_lines_of_output_are_masked_and_truncated_and_recorded_once():
    seen = Recorded(raw(41))
    seen.box.poll()
    lines = [f"line {number}" for number in range(30)] + ["API_KEY=abc " + "x" * 9000]
    seen.box.observers[0].output_read(41, "stderr", lines)
    [recorded] = seen.take("outputs")
    kept = [*lines[11:-1], "API_KEY=*** " + "x" * (4096 - len("API_KEY=abc "))]
    assert recorded["output"] == {"stream": "stderr", "total": 31, "lines": kept}
    assert seen.take("outputs") == []


def test_output_that_is_requested_by_pid_is_recorded_for_the_newest_process_with_the_pid():
    seen = Recorded(raw(41, started_at=T0 - 1), raw(41, handle=9))
    seen.box.poll()
    read = seen.box.observers[0].output_read
    read(41, "stdout", ["first"])
    read(41, "stderr", [])
    read(42, "stdout", ["of a process that is not listed"])
    [recorded] = seen.take("outputs")
    assert recorded["process"].startswith("9/")
    assert recorded["output"]["lines"] == ["first"]


def test_exit_that_only_the_supervisor_reports_is_recorded_as_a_process_change():
    after = managed(restart_count=1, last_exit=OOM_KILLED)
    seen = Recorded(raw(1, managed=managed()))
    seen.box.poll()
    seen.box.rows = [raw(2, started_at=T0 + 10_000, managed=after)]
    seen.box.poll()
    changes = seen.take("changes")
    assert [(change["process"].split("/")[1], change["state"], change["at"]) for change in changes] == [
        ("1", "running", "2024-03-09T16:00:00.000Z"),
        ("1", "oom_killed", "2024-03-09T16:00:09.000Z"),
        ("1", "not listed", None),
        ("2", "running", "2024-03-09T16:00:10.000Z"),
    ]  # fmt: skip
    assert changes[-1]["supervisor"] == {"status": "running", "restarts": 1, "health": "disabled"}


def test_two_sandboxes_with_the_same_name_are_both_recorded():
    """For example, a suite may create a sandbox for each test."""
    seen = Recorded(raw(1))
    again = seen.add(raw(2))
    seen.box.poll()
    again.poll()
    assert [process["pid"] for process in seen.take("processes")] == [1, 2]
