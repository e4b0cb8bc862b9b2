"""What is seen, as data: what is new is told once, what goes on is told again."""

from __future__ import annotations

from typing import Any

from pytest_tlsandbox.guard.facts import HostTime
from pytest_tlsandbox.guard.recording import Recorder

from ..support import FakeClock, managed, raw, snapshot
from .boxes import REFUSED


def recorder() -> Recorder:
    host = HostTime(FakeClock())
    host._offset = 1_767_268_800.0  # noon of a day
    return Recorder(host)


def outages(recorder: Recorder) -> list[tuple[str, str, str, str | None]]:
    return [
        (told["from_at"][17:23], told["to_at"][17:23], told["faults"], told["test"])
        for told in recorder.take().get("outages", [])
    ]


def outputs(recorder: Recorder) -> list[Any]:
    return [
        (told["process"].split("/")[1], told["stream"], told["lines"], told["total"])
        for told in recorder.take().get("outputs", [])
    ]


def test_an_outage_lasts_until_the_next_good_look_and_is_of_the_test_in_which_it_began():
    seen = recorder()
    seen.place = ("test_a", 1, "call")
    seen.miss("box", REFUSED, 1.0, 1.5)
    seen.place = ("test_b", 1, "setup")
    seen.miss("box", REFUSED, 2.0, 2.5)
    seen.observe("box", snapshot(raw(1), at=4.0))
    assert outages(seen) == [("01.000", "04.000", "refused x2", "test_a")]
    assert outages(seen) == []


def test_an_outage_ends_with_the_first_good_answer_of_any_call():
    seen = recorder()
    seen.miss("box", REFUSED, 1.0, 1.5)
    seen.recover("box", 2.0)
    seen.observe("box", snapshot(raw(1), at=4.0))
    assert outages(seen) == [("01.000", "02.000", "refused", None)]


def test_an_outage_that_goes_on_is_told_as_far_as_it_is_known_and_again():
    seen = recorder()
    seen.miss("box", REFUSED, 1.0, 1.5)
    assert outages(seen) == [("01.000", "01.500", "refused", None)]
    seen.miss("box", REFUSED, 2.0, 2.5)
    assert outages(seen) == [("01.000", "02.500", "refused x2", None)]


def test_a_good_look_at_one_sandbox_ends_no_outage_of_another():
    seen = recorder()
    seen.miss("box", REFUSED, 1.0, 1.5)
    seen.observe("other", snapshot(raw(1), at=2.0))
    assert outages(seen) == [("01.000", "01.500", "refused", None)]


def test_of_what_was_read_the_last_lines_are_kept_masked_and_cut():
    seen = recorder()
    seen.observe("box", snapshot(raw(41)))
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
    seen.observe("box", snapshot(raw(41, started_at=1_700_000_000_000), raw(41, handle=9)))
    seen.read("box", 41, "stdout", ["first"])
    seen.read("box", 41, "stderr", [])
    seen.read("box", 42, "stdout", ["of no one that is listed"])
    [told] = seen.take()["outputs"]
    assert told["process"].split("/")[0] == "9"
    assert told["lines"] == ["first"]


def test_a_change_has_how_the_run_before_ended_as_its_supervisor_tells():
    seen = recorder()
    last = {"exit_code": None, "signal": 9, "oom_killed": True, "ended_at": 1_710_000_009_000}
    seen.observe("box", snapshot(raw(1, managed=managed(restart_count=1, last_exit=last))))
    [change] = seen.take()["changes"]
    assert change["supervisor"]["last_exit"] == {
        "text": "OOM-killed",
        "exit_code": None,
        "signal": 9,
        "oom_killed": True,
        "at": "2024-03-09T16:00:09.000Z",
    }
