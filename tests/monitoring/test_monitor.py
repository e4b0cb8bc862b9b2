"""The monitor if only a report was requested, without the guard."""

from __future__ import annotations

from pytest_tlsandbox.connections import Connection
from pytest_tlsandbox.monitoring.monitor import Monitor
from pytest_tlsandbox.report.recorder import Recorder

from ..guard.guarded_box import REFUSED, Box, oom
from ..support import T0, FakeClock, ended, managed, raw


class Recorded:
    """A monitor of one box, without a guard."""

    def __init__(self, row: dict[str, object], *, recording: bool) -> None:
        self.clock = FakeClock()
        self.box = Box(self.clock, row)
        self.monitor = Monitor(self.clock, recording=recording)
        self.monitor.observers.append(Recorder(self.monitor))
        self.monitor.add(Connection(self.box, shared=False))

    def test(self, *rows: dict[str, object]) -> None:
        self.monitor.begin_test("a", 1)
        self.monitor.begin_call(fixtures=False)
        self.box.rows = [*rows]
        self.monitor.end_phase("call")
        self.monitor.end_phase("teardown")
        self.monitor.end_test()


def test_monitor_polls_after_each_test_phase_without_waiting_if_only_a_report_is_requested():
    """It waits neither for the correction of an end nor for a process that still runs."""
    recorded = Recorded(raw(1), recording=True)
    recorded.test(oom(1), raw(2, **ended(-1)), raw(3))
    recorded.test(raw(3), raw(4))

    assert (recorded.box.looks, recorded.clock.slept) == (5, [])
    kinds = {"sandboxes", "processes", "changes", "incidents", "outputs"}
    assert recorded.monitor.take_data().keys() == kinds


def test_outage_does_not_delay_or_fail_a_session_that_is_monitored_only_for_a_report():
    recorded = Recorded(raw(1), recording=True)
    recorded.box.fault = REFUSED
    recorded.test(raw(1))

    assert recorded.clock.slept == []
    [gap] = recorded.monitor.take_data()["gaps"]
    assert (gap["from_test"], gap["guarded"]) == ("a", False)


def test_sandbox_is_polled_only_if_the_guard_or_the_report_is_on():
    recorded = Recorded(raw(1), recording=False)
    recorded.test(raw(1))
    recorded.monitor.end_session()

    assert recorded.box.looks == 0


def test_report_includes_incidents_of_runs_that_were_never_listed():
    last = {"exit_code": None, "signal": 9, "oom_killed": True, "ended_at": T0 + 9000}
    recorded = Recorded(raw(1, managed=managed()), recording=True)
    after = managed(restart_count=2, last_exit=last)
    recorded.test(raw(3, started_at=T0 + 10_000, managed=after))

    incidents = recorded.monitor.take_data()["incidents"]
    killed = "OOM-killed, restarted as pid 3"
    assert ("OOM-killed", "web, restart 1", killed, "a") in [
        (seen["verdict"], seen["name"], seen["what"], seen["test"]) for seen in incidents
    ]
    assert {seen["rule"] for seen in incidents} == {"restart", "oom"}
