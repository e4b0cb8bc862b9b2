"""What is seen, as data: what is new is told once, what goes on is told again."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_tlsandbox.connections import Connection
from pytest_tlsandbox.history.history import History
from pytest_tlsandbox.monitoring.monitor import Monitor
from pytest_tlsandbox.monitoring.monitored_sandbox import MonitoredSandbox
from pytest_tlsandbox.monitoring.plain_data import Place
from pytest_tlsandbox.report.recorder import Recorder

from ..guard.boxes import REFUSED, Box
from ..support import FakeClock, managed, raw, snapshot


def recorder() -> Recorder:
    monitor = Monitor(FakeClock())
    monitor.wall_clock._offset = 1_767_268_800.0  # noon of a day
    return Recorder(monitor)


def listed(recorder: Recorder, *rows: dict[str, Any]) -> None:
    """Have a list call show these rows."""
    history = History(lambda: 0.0)
    recorder.listed("box", history, history.fold(snapshot(*rows)))


def outages(recorder: Recorder) -> list[tuple[str, str, str, str | None]]:
    return [
        (told["from_at"][17:23], told["to_at"][17:23], told["faults"], told["test"])
        for told in recorder.take_data().get("outages", [])
    ]


def outputs(recorder: Recorder) -> list[Any]:
    return [
        (told["process"].split("/")[1], told["stream"], told["lines"], told["total"])
        for told in recorder.take_data().get("outputs", [])
    ]


def test_an_outage_lasts_until_the_next_answer_and_belongs_to_the_test_in_which_it_began():
    seen = recorder()
    seen._monitor.place = Place("test_a", 1, "call")
    seen.failed("box", REFUSED, 1.0, 1.5)
    seen._monitor.place = Place("test_b", 1, "setup")
    seen.failed("box", REFUSED, 2.0, 2.5)
    seen.recovered("box", 4.0)
    assert outages(seen) == [("01.000", "04.000", "refused x2", "test_a")]
    assert outages(seen) == []


@pytest.mark.parametrize("call", ["list", "output"])
def test_an_outage_ends_with_the_first_good_answer_of_any_call(call):
    seen, clock = recorder(), FakeClock(1.0)
    box = Box(clock, raw(1))
    seen.add_sandbox(MonitoredSandbox(Connection(box, shared=False), "box"))
    box.fault, box.latency = REFUSED, 0.5
    with pytest.raises(type(REFUSED)):
        box.look()
    box.fault, clock.now = None, 2.0
    _ = box.look() if call == "list" else box.output(1)
    assert outages(seen) == [("01.000", "02.000", "refused", None)]


def test_an_outage_that_goes_on_is_reported_as_far_as_it_is_known_and_again():
    seen = recorder()
    seen.failed("box", REFUSED, 1.0, 1.5)
    assert outages(seen) == [("01.000", "01.500", "refused", None)]
    seen.failed("box", REFUSED, 2.0, 2.5)
    assert outages(seen) == [("01.000", "02.500", "refused x2", None)]


def test_an_answer_of_one_sandbox_does_not_end_an_outage_of_another():
    seen = recorder()
    seen.failed("box", REFUSED, 1.0, 1.5)
    seen.recovered("other", 2.0)
    assert outages(seen) == [("01.000", "01.500", "refused", None)]


def test_the_name_of_a_managed_process_is_masked():
    seen = recorder()
    listed(seen, raw(41, managed=managed("web --token=abc")))
    [process] = seen.take_data()["processes"]
    assert process["name"] == "web --token=***"
    assert process["managed"] == {"id": "web --token=***", "name": "web --token=***"}


def test_of_what_was_read_the_last_lines_are_kept_masked_and_cut():
    seen = recorder()
    listed(seen, raw(41))
    lines = [f"line {number}" for number in range(30)] + ["API_KEY=abc " + "x" * 9000]
    seen.read("box", 41, "stderr", lines)
    [(pid, stream, kept, total)] = outputs(seen)
    assert (pid, stream, total) == ("41", "stderr", 31)
    assert kept[:-1] == lines[11:-1]
    assert kept[-1].startswith("API_KEY=*** xxx")
    assert len(kept[-1]) <= 4096
    assert outputs(seen) == []


def test_what_is_read_by_a_pid_is_of_its_newest_process_and_silence_takes_nothing_away():
    seen = recorder()
    listed(seen, raw(41, started_at=1_700_000_000_000), raw(41, handle=9))
    seen.read("box", 41, "stdout", ["first"])
    seen.read("box", 41, "stderr", [])
    seen.read("box", 42, "stdout", ["of no one that is listed"])
    [told] = seen.take_data()["outputs"]
    assert told["process"].split("/")[0] == "9"
    assert told["lines"] == ["first"]


def test_a_change_has_how_the_run_before_ended_as_its_supervisor_tells():
    seen = recorder()
    last = {"exit_code": None, "signal": 9, "oom_killed": True, "ended_at": 1_710_000_009_000}
    listed(seen, raw(1, managed=managed(restart_count=1, last_exit=last)))
    [change] = seen.take_data()["changes"]
    assert change["supervisor"]["last_exit"] == {
        "text": "OOM-killed",
        "exit_code": None,
        "signal": 9,
        "oom_killed": True,
        "at": "2024-03-09T16:00:09.000Z",
    }


def test_the_end_of_a_run_that_only_its_supervisor_reports_is_a_change_of_that_run():
    seen = recorder()
    history = History(lambda: 0.0)
    last = {"exit_code": None, "signal": 9, "oom_killed": True, "ended_at": 1_710_000_009_000}
    after = managed(restart_count=1, last_exit=last)
    for row in (raw(1, managed=managed()), raw(2, started_at=1_710_000_010_000, managed=after)):
        seen.listed("box", history, history.fold(snapshot(row)))
    changes = seen.take_data()["changes"]
    assert [(told["process"].split("/")[1], told["state"], told["at"]) for told in changes] == [
        ("1", "running", "2024-03-09T16:00:00.000Z"),
        ("1", "oom_killed", "2024-03-09T16:00:09.000Z"),
        ("1", "not listed", None),
        ("2", "running", "2024-03-09T16:00:10.000Z"),
    ]
