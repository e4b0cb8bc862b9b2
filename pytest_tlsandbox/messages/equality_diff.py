"""Compare two processes or two snapshots field by field, to explain failed assertions."""

from __future__ import annotations

from dataclasses import fields
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pytest_tlsandbox.formatting.processes import (
    describe_end,
    describe_state,
    named,
    process_table,
    signal_name,
)
from pytest_tlsandbox.formatting.text import align, count, cut, moment, shown
from pytest_tlsandbox.history.snapshot import FIELDS, ProcessSnapshot, value_of
from pytest_tlsandbox.models import LastExit, ManagedProcess, ProcessInfo, RestartPolicy

if TYPE_CHECKING:
    from collections.abc import Sequence

_MOST_ROWS = 20


def compare(left: object, right: object, columns: int) -> list[str] | None:
    """Return lines that show how two processes or two snapshots differ.

    Args:
        left: the left operand of the comparison.
        right: the right operand.
        columns: width of the terminal.

    Returns:
        The lines; None if the objects are not two processes or two snapshots.

    """
    if isinstance(left, ProcessInfo) and isinstance(right, ProcessInfo):
        return [f"{named(left)} == {named(right)}", *_fields(left, right, columns)]
    if isinstance(left, ProcessSnapshot) and isinstance(right, ProcessSnapshot):
        return _compare_snapshots(left, right, columns)
    return None


def _compare_snapshots(left: ProcessSnapshot, right: ProcessSnapshot, columns: int) -> list[str]:
    only_left = [row for row in left if right.find(row.identity) is None]
    only_right = [row for row in right if left.find(row.identity) is None]
    pairs = [(row, right.find(row.identity)) for row in left]
    changed = [(row, other) for row, other in pairs if other is not None and other != row]
    numbers = {"changed": len(changed), "only left": len(only_left), "only right": len(only_right)}
    differ = ", ".join(f"{number} {how}" for how, number in numbers.items() if number)
    if len(changed) == 1 and not (only_left or only_right):
        [(row, other)] = changed
        change = f"from {describe_state(row)} to {describe_state(other)}"
        differ = f"{named(row)} changed {change}"
    lines = [
        f"left == right, snapshots of {left.sandbox} differ: {differ or 'unreadable rows differ'}"
    ]
    lines += _one_sided("left", only_left, columns)
    lines += _one_sided("right", only_right, columns)
    for row, other in changed[:_MOST_ROWS]:
        lines += [f"changed: {named(row)}", *_fields(row, other, columns)]
    if len(changed) > _MOST_ROWS:
        lines.append(f"... and {len(changed) - _MOST_ROWS} more changed")
    if left.unreadable != right.unreadable:
        lines.append("unreadable rows differ:")
        lines += [f"  {row}" for row in (*left.unreadable, *right.unreadable)]
    return lines


def _one_sided(side: str, rows: Sequence[ProcessInfo], columns: int) -> list[str]:
    if not rows:
        return []
    table = process_table(rows, most=_MOST_ROWS, columns=columns - 2)
    return [f"only {side}:", *(f"  {line}" for line in table)]


def _fields(left: ProcessInfo, right: ProcessInfo, columns: int) -> list[str]:
    room = max((columns - 22) // 2, 20)
    rows = [("", "left", "right")]
    for field in FIELDS:
        one, other = value_of(left, field), value_of(right, field)
        if field == "managed" and left.managed and right.managed:
            inside = [part.name for part in fields(left.managed) if part.name != "id"]
            rows += [
                (f"managed.{name}", *_sides(a, b, room))
                for name in inside
                if (a := getattr(left.managed, name)) != (b := getattr(right.managed, name))
            ]
        elif one != other:
            if field == "signal":
                one, other = _signal(one), _signal(other)
            rows.append((field, *_sides(one, other, room)))
    if len(rows) == 1:
        return ["  no field differs"]
    return [f"  {line}" for line in align(rows)]


def _sides(one: object, other: object, room: int) -> tuple[str, str]:
    left, right = _brief(one), _brief(other)
    if left == right:
        return cut(left, room), "another, masked"
    return cut(left, room), cut(right, room)


def _signal(number: Any) -> object:
    return None if number is None else signal_name(number)


def _brief(value: object) -> str:
    if isinstance(value, LastExit):
        return describe_end(value)
    if isinstance(value, RestartPolicy):
        return value.policy
    if isinstance(value, ManagedProcess):
        return f"{value.status}, {count(value.restart_count, 'restart')}"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d} {moment(value)}"
    return shown(value)
