"""Messages show the state changes of a process, outages and polls."""

from __future__ import annotations

import pytest

from pytest_tlsandbox import errors
from pytest_tlsandbox.history.history import History
from pytest_tlsandbox.history.timeline import Timeline
from pytest_tlsandbox.messages.failure import changes, polls
from tests.support import ended, process, raw, signaled, snapshot

WIDE, MANY = 100, 100
JOB = process(41)


def timeline(*events, took=0.0) -> Timeline:
    """Return a timeline from 100 s on; each event is an offset in seconds and rows or a fault."""
    history = History(lambda: 100.0)
    seen = Timeline(100.0, history)
    for at, what in events:
        if isinstance(what, str):
            fault = errors.SandboxUnreachable(f"my-sandbox: {what}", label=what, transient=True)
            seen.add_fault(fault, 100.0 + at, 100.0 + at + took)
        else:
            look = snapshot(*what, at=100.0 + at)
            look.ended += took
            history.fold(look)
            seen.add(look)
    return seen


# --------------------------------------------------------------------- changes


CHANGES = {
    "no change": ([(0, [raw(41)]), (1, [raw(41)])], []),
    "two states": (
        [(0, [raw(41)]), (0.5, [raw(41)]), (1.25, [raw(41, **ended(3))])],
        ["+0 s    running", "+1.2 s  exited 3"],
    ),
    "hostile": (
        [(0, [raw(41)]), (1, [raw(41, status="\x1b[31mpaused\n")])],
        ["+0 s  running", r"+1 s  \x1b[31mpaused\n"],
    ),
    "disappears and reappears": (
        [(0, [raw(41)]), (1, []), (2, []), (3, [raw(41)])],
        [
            "+0 s  running",
            "+1 s  not listed",
            "+3 s  running",
        ],
    ),
    "outages": (
        [
            (0, "403"),
            (1, "502"),
            (2, "502"),
            (3, "403"),
            (4, [raw(41)]),
            (5, "reset"),
            (6, [raw(41)]),
        ],
        [
            "+0 s  unavailable until +4 s (403, then 502 x2, then 403)",
            "+4 s  running",
            "+5 s  unavailable until +6 s (reset)",
        ],
    ),
}


@pytest.mark.parametrize(("events", "expected"), CHANGES.values(), ids=CHANGES)
def test_timeline_shows_each_change_and_each_outage(events, expected):
    assert changes(timeline(*events), JOB, WIDE, MANY) == expected


def test_lines_of_the_timeline_are_truncated_to_the_given_width():
    seen = timeline((0, [raw(41)]), (1.25, [raw(41, **signaled(9))]))

    assert changes(seen, JOB, 20, MANY) == ["+0 s    running", "+1.2 s  signale… +13"]


def test_timeline_without_a_process_shows_only_the_outages():
    seen = timeline((0, [raw(41)]), (1, "502"), (2, [raw(41, **ended(0))]))

    assert changes(seen, None, WIDE, MANY) == ["+1 s  unavailable until +2 s (502)"]


def test_long_timeline_shows_only_the_first_and_last_changes():
    states = [raw(41), *(raw(41, **ended(code)) for code in range(1, 10))]
    seen = timeline(*((float(at), [state]) for at, state in enumerate(states)))

    assert changes(seen, JOB, WIDE, 5) == [
        "+0 s  running",
        "+1 s  exited 1",
        "... 6 more ...",
        "+8 s  exited 8",
        "+9 s  exited 9",
    ]
    assert len(changes(seen, JOB, WIDE, 10)) == 10
    assert changes(seen, JOB, WIDE, 9)[4] == "... 2 more ..."


# ----------------------------------------------------------------------- polls


POLLS = [
    ([(0, [raw(41)]), (1, [raw(41)])], "2 (61 ms each)"),
    ([(0, "502"), (1, "reset"), (2, []), (3, "502")], "1 good (61 ms each), 3 failed (502, reset)"),
    ([(0, "502"), (1, "502")], "none good, 2 failed (502)"),
    ([], "0"),
]


@pytest.mark.parametrize(("events", "expected"), POLLS)
def test_summary_of_the_polls_shows_their_number_and_duration_and_errors(events, expected):
    assert polls(timeline(*events, took=0.0614)) == expected
