"""Messages show the state changes of a process, outages and polls."""

import pytest

from pytest_tlsandbox import errors
from pytest_tlsandbox.history.history import History
from pytest_tlsandbox.history.timeline import Timeline
from pytest_tlsandbox.messages.failure import changes, polls
from tests.rows import ended, process, raw, snapshot

RUNS, JOB = [raw(41)], process(41)


def timeline(events, took=0.0) -> Timeline:
    """Return a timeline; each event is an offset in seconds, and rows or the label of a fault."""
    history = History(lambda: 100.0)
    seen = Timeline(100.0, history)
    for at, what in events.items():
        if isinstance(what, str):
            fault = errors.SandboxUnreachable(f"my-sandbox: {what}", label=what, transient=True)
            seen.add_fault(fault, 100.0 + at, 100.0 + at + took)
        else:
            look = snapshot(*what, at=100.0 + at)
            look.ended += took
            history.fold(look)
            seen.add(look)
    return seen


# fmt: off
CHANGES = {
    "no change": ({0: RUNS, 1: RUNS}, []),
    "two states": (
        {0: RUNS, 0.5: RUNS, 1.25: [raw(41, **ended(3))]}, ["+0 s    running", "+1.2 s  exited 3"]),
    "control characters": (
        {0: RUNS, 1: [raw(41, status="\x1b[31mpaused\n")]},
        ["+0 s  running", r"+1 s  \x1b[31mpaused\n"]),
    "lines that are too long": (
        {0: RUNS, 1: [raw(41, status="x" * 40)]},
        ["+0 s  running", "+1 s  " + "x" * 29 + "… +11"]),
    "process that disappears and reappears": (
        {0: RUNS, 1: [], 2: [], 3: RUNS}, ["+0 s  running", "+1 s  not listed", "+3 s  running"]),
    "outages": (
        {0: "403", 1: "502", 2: "502", 3: "403", 4: RUNS, 5: "reset", 6: RUNS},
        ["+0 s  unavailable until +4 s (403, … +22", "+4 s  running",
         "+5 s  unavailable until +6 s (reset)"]),
    "many states": (
        {at: [raw(41, **ended(at))] for at in range(6)},
        ["+0 s  exited 0", "+1 s  exited 1", "... 2 more ...", "+4 s  exited 4", "+5 s  exited 5"]),
    "as many states as lines": (
        {at: [raw(41, **ended(at))] for at in range(5)},
        [f"+{at} s  exited {at}" for at in range(5)]),
}
# fmt: on


@pytest.mark.parametrize(("events", "expected"), CHANGES.values(), ids=CHANGES)
def test_timeline_shows_the_first_and_last_changes_and_outages(events, expected):
    assert changes(timeline(events), JOB, 40, 5) == expected


def test_timeline_without_a_process_shows_only_the_outages():
    seen = timeline({0: RUNS, 1: "403", 2: "502", 3: "502", 4: "403", 5: RUNS})

    faults = "403, then 502 x2, then 403"
    assert changes(seen, None, 100, 5) == [f"+1 s  unavailable until +5 s ({faults})"]


POLLS = [
    ({0: RUNS, 1: RUNS}, "2 (61 ms each)"),
    ({0: "502", 1: "reset", 2: [], 3: "502"}, "1 good (61 ms each), 3 failed (502, reset)"),
    ({0: "502", 1: "502"}, "none good, 2 failed (502)"),
    ({}, "0"),
]


@pytest.mark.parametrize(("events", "expected"), POLLS)
def test_summary_of_the_polls_shows_their_number_and_duration_and_errors(events, expected):
    assert polls(timeline(events, took=0.0614)) == expected
