"""Describe a run's bar in the timeline: where the bar begins and ends, and how the run ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_tlsandbox.formatting.text import printable
from pytest_tlsandbox.monitoring.plain_data import epoch
from pytest_tlsandbox.types import CRASH_SIGNALS

if TYPE_CHECKING:
    from collections.abc import Mapping

_LONGEST_TEXT = 2000
_LONGEST_LINE = 400
_MOST_STATES = 20


def page_text(text: str) -> str:
    """Escape control characters, without the mark that a terminal needs after Hebrew or Arabic."""
    return printable(text).removesuffix("\u200e")


class Axis:
    """Converts times to positions on an axis, in milliseconds after ``start``.

    A time comes from the clock of the test machine or from the clock of a sandbox.

    ``offset`` is the number of milliseconds by which the sandbox's clock is behind the clock of the
    test machine. If this number is not known, ``offset`` is None.
    """

    def __init__(self, start: int, span: int, offset: int | None = None) -> None:
        self.span = span
        self._start = start
        self._offset = offset

    def by_host_clock(self, time: str) -> int:
        """Return the axis position of a time on the test machine's clock."""
        return min(max(epoch(time) - self._start, 0), self.span)

    def by_sandbox_clock(self, time: str | None) -> int | None:
        """Return the axis position, possibly negative, of a time on the sandbox's clock."""
        if time is None or self._offset is None:
            return None
        return min(epoch(time) + self._offset - self._start, self.span)


def states_of(run: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return all state changes of a run except the change to "not listed"."""
    return [change for change in run["changes"] if change["state"] != "not listed"]


def has_ended(change: Mapping[str, Any]) -> bool:
    """Return whether a change shows that the run ended."""
    known = change["exit_code"] is not None or change["signal"] is not None
    return known or change["state"] in ("exited", "signaled", "oom_killed")


def had_ended(run: Mapping[str, Any], axis: Axis) -> bool:
    """Return whether a run had ended before the session began.

    A sandbox may still list such runs.
    """
    first = states_of(run)[0]
    if not run["before_the_session"] or not has_ended(first):
        return False
    ended = axis.by_sandbox_clock(first["at"])
    return ended is None or ended <= 0


def end_of(run: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the change that shows how a run ended, or None if no change shows this.

    Either the run's row or the run's supervisor reported this change.
    """
    ends = [change for change in states_of(run) if has_ended(change)]
    return {**ends[-1], "seen_at": ends[0]["seen_at"]} if ends else None  # the last is right


def bar_of(run: Mapping[str, Any], end: Mapping[str, Any] | None, axis: Axis) -> dict[str, Any]:
    """Return the bar of a run.

    ``end`` is the change that shows how the run ended, or None if no change shows this.
    """
    begun, begun_by = _begin(run, axis)
    gone = run["changes"][-1] if run["changes"][-1]["state"] == "not listed" else None
    if end is not None:
        reported = axis.by_sandbox_clock(end["at"])
        ended = axis.by_host_clock(end["seen_at"]) if reported is None else reported
        ended_by, kind = "seen" if reported is None else "sandbox", _kind(end)
    elif gone is not None:
        ended, ended_by, kind = axis.by_host_clock(gone["seen_at"]), "gone", "gone"
    else:
        ended, ended_by, kind = axis.span, "open", "running"
    lived = None
    if end is not None and end["at"] is not None:
        lived = epoch(end["at"]) - epoch(run["started_at"])
    last = states_of(run)[-1]
    return {
        "id": run["id"],
        "from": begun,
        "to": max(ended, begun),
        "begun": begun_by,
        "ended": ended_by,
        "kind": kind,
        "state": page_text((end or last)["text"]),
        "history": [_state(change, axis) for change in run["changes"][-_MOST_STATES:]],
        "signal": None if end is None else end["signal"],
        "name": page_text(run["name"]),
        "command": _text(run["command_line"], _LONGEST_TEXT),
        "pid": run["pid"],
        "handle": run["handle"],
        "lived": lived,
        "test": None if run["test"] is None else page_text(run["test"]),
        "supervisor": None if last["supervisor"] is None else _supervised(last["supervisor"]),
        "output": None if run["output"] is None else _output(run["output"]),
    }


def _state(change: Mapping[str, Any], axis: Axis) -> tuple[int, str]:
    """Return when a change was seen, and the state that it began."""
    text = page_text(change.get("text", change["state"]))
    supervisor = change.get("supervisor")
    if supervisor is not None:
        text += f"; {_supervised(supervisor)}"
    return axis.by_host_clock(change["seen_at"]), text


def _begin(run: Mapping[str, Any], axis: Axis) -> tuple[int, str]:
    """Return the position at which a bar begins, and how this position was determined."""
    reported = axis.by_sandbox_clock(run["started_at"])
    if run["before_the_session"] and (reported is None or reported <= 0):
        return 0, "before"
    if reported is not None:
        return max(reported, 0), "sandbox"
    return axis.by_host_clock(run["changes"][0]["seen_at"]), "seen"


def _kind(end: Mapping[str, Any]) -> str:
    if end["oom_killed"]:
        return "oom"
    if end["signal"] in CRASH_SIGNALS:
        return "crash"
    if end["signal"] is not None or end.get("state") == "signaled":
        return "signaled"
    return "exited" if end["exit_code"] == 0 else "failed"


def _supervised(supervisor: Mapping[str, Any]) -> str:
    text = f"supervisor {supervisor['status']}, restarted {supervisor['restarts']}x"
    if supervisor["health"] not in ("disabled", "unknown"):
        text += f", {supervisor['health']}"
    return page_text(text)


def _output(output: Mapping[str, Any]) -> dict[str, Any]:
    return {**output, "lines": [_text(line, _LONGEST_LINE) for line in output["lines"]]}


def _text(text: str, most: int) -> str:
    beyond = len(text) - most
    shown = page_text(text[:most])
    return f"{shown} ... and {beyond:,} characters more" if beyond > 0 else shown
