"""The section "sandbox during this test" in the report of a failed test."""

from __future__ import annotations

from pytest_tlsandbox.failed_tests.used_sandbox import Event, badness
from pytest_tlsandbox.formatting.processes import list_texts
from pytest_tlsandbox.formatting.text import align, cut
from pytest_tlsandbox.history.runs import Run
from pytest_tlsandbox.messages.failure import LONGEST_LINE
from pytest_tlsandbox.messages.incidents import name_of
from pytest_tlsandbox.redact import mask_text
from pytest_tlsandbox.types import Screen
from pytest_tlsandbox.waiting.outcome_to_error import Tails

TITLE = "sandbox during this test"
_MOST_LINES = (12, 40, 200)
"""The maximum number of lines without -v, with -v and with -vv."""


def section_of(
    events: list[Event], failed_at: float, deadline: float, screen: Screen, explained: set[Run]
) -> str:
    """Return the text of the section, or "" if there is nothing to show.

    Args:
        events: the events during the test.
        failed_at: when the test failed, in seconds of the monotonic clock.
        deadline: the time at which reading output must end, on the same clock.
        screen: the terminal for which the section is written.
        explained: the runs that the message of the failure already explains.

    """
    worst = [event for event in events if event.kind]
    if explained and all(event.run in explained for event in worst):
        return ""
    others: dict[str, list[str]] = {}
    for event in events:
        if event.run is not None and not event.kind:
            others.setdefault(event.what, []).append(name_of(event.run))
    most = _MOST_LINES[min(max(screen.verbosity, 0), 2)]
    worst.sort(key=lambda event: (badness(event.kind), -event.at))
    shown = worst[: most // 2 - 1]
    rest = [f"{len(worst) - len(shown)} more events"] if len(shown) < len(worst) else []
    rest += [f"{what}: {list_texts(names)}" for what, names in others.items()]
    room = (most - len(shown) - bool(rest)) // max(1, len(shown))
    # Read the output of the worst event first, because time may run out.
    outputs = {each: _output(each, room, deadline) for each in shown if each.run not in explained}
    several = len({event.sandbox for event in worst}) > 1
    shown.sort(key=lambda event: event.at)
    heads = align(
        (_when(event, failed_at), f"{event.sandbox.label}: " * several + event.what)
        for event in shown
    )
    lines = []
    for event, head in zip(shown, heads, strict=True):
        lines += [head, *(f"  | {cut(line, screen.columns)}" for line in outputs.get(event, ()))]
    return "\n".join([*lines, *(["; ".join(rest)] if rest else [])])


def _when(event: Event, failed_at: float) -> str:
    ago = failed_at - event.at
    if event.run is None:
        ago = max(0.0, ago)  # an outage began before the list call that found it
    return f"{abs(ago):.1f} s {'before' if ago > -0.05 else 'after'}"


def _output(event: Event, most: int, deadline: float) -> list[str]:
    """Return the last lines of a run's output; the list is empty if they cannot be read."""
    client = event.sandbox.client
    if event.run is None or event.sandbox.outage or client.clock.monotonic() >= deadline:
        return []
    tail = Tails(client, deadline).read(event.run.row, event.run)
    lines = tail.lines if tail is not None else ()
    return [mask_text(line[:LONGEST_LINE]) for line in lines[-most:]]
