"""How a process went: changes of state, not looks, and the gaps in what was seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_tlsandbox.formatting.text import align, count, cut, moment, printable, seconds, width

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_tlsandbox.history.timeline import Timeline
    from pytest_tlsandbox.models import ProcessInfo


def changes(timeline: Timeline, row: ProcessInfo, columns: int, most: int) -> list[str]:
    """Give the states a process was in, with both clocks, and the gaps between the looks.

    None where nothing changed. In one line if it fits: "+0 s running, 3 looks | +0.7 s exited 1,
    1 look". The first and the last are kept where there are more than ``most``: a first error is
    not hidden by later ones.
    """
    events = [
        (outage.start, f"to +{seconds(outage.end)}", f"no listing ({outage})")
        for outage in timeline.outages
    ]
    states = timeline.states(row)
    for seen in states:
        state = f"{seen.state}, {count(seen.looks, 'look')}" if seen.looks else seen.state
        clock = moment(seen.moment) if seen.moment is not None else ""
        events.append((seen.at, clock, state))
    events.sort(key=lambda event: event[0])
    cells = [(f"+{seconds(at)}", clock, printable(text)) for at, clock, text in events]
    if len(cells) <= 1:
        return []  # it was so from the first look on
    line = " | ".join(f"{at} {text}" for at, _, text in cells)
    if len(states) == len(cells) == 2 and width(line) <= columns:
        return [line]
    return _middle_out([cut(line, columns) for line in align(cells)], most)


def gaps(timeline: Timeline, columns: int, most: int) -> list[str]:
    """Give the stretches of time without an answer: "+1.2 s to +4.1 s no listing (502 x9)"."""
    lines = [
        f"+{seconds(outage.start)} to +{seconds(outage.end)} no listing ({outage})"
        for outage in timeline.outages
    ]
    return _middle_out([cut(line, columns) for line in lines], most)


def looks(timeline: Timeline) -> str:
    """Say how often it was looked: "22, 61 ms each", "12 good, 9 failed (502, reset), 61 ms each"."""
    parts = [f"{timeline.looks or 'none'} good"] if timeline.faults else [str(timeline.looks)]
    if timeline.faults:
        parts.append(f"{timeline.faults.total()} failed ({', '.join(timeline.faults)})")
    if timeline.looks:
        parts.append(f"{timeline.seconds_a_look * 1000:.0f} ms each")
    return ", ".join(parts)


def _middle_out(lines: Sequence[str], most: int) -> list[str]:
    if len(lines) <= most:
        return [*lines]
    hidden = len(lines) - most + 1
    first = most // 2
    return [*lines[:first], f"... {hidden} more ...", *lines[first + hidden :]]
