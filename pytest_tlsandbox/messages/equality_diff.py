"""Compare two processes or two snapshots field by field, to explain failed assertions."""

from __future__ import annotations

from dataclasses import fields
from datetime import datetime

from pytest_tlsandbox.formatting.processes import describe_state, named, process_table, signal_name
from pytest_tlsandbox.formatting.text import align, cut, moment, shown
from pytest_tlsandbox.history.runs import End
from pytest_tlsandbox.history.snapshot import FIELDS, ProcessSnapshot, value_of
from pytest_tlsandbox.models import LastExit, ProcessInfo

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
    pairs = [(row, right.find(row.identity)) for row in left]
    only_left = [row for row, other in pairs if other is None]
    only_right = [row for row in right if left.find(row.identity) is None]
    changed = [(row, other) for row, other in pairs if other is not None and other != row]
    numbers = {"changed": len(changed), "only left": len(only_left), "only right": len(only_right)}
    differ = ", ".join(f"{number} {how}" for how, number in numbers.items() if number)
    if differ == "1 changed":
        [(row, other)] = changed
        differ = f"{named(row)} changed from {describe_state(row)} to {describe_state(other)}"
    differ = differ or "unreadable rows differ"
    lines = [f"left == right, snapshots of {left.sandbox} differ: {differ}"]
    for side, rows in (("left", only_left), ("right", only_right)):
        if rows:
            table = process_table(rows, most=_MOST_ROWS, columns=columns - 2)
            lines += [f"only {side}:", *(f"  {line}" for line in table)]
    for row, other in changed[:_MOST_ROWS]:
        lines += [f"changed: {named(row)}", *_fields(row, other, columns)]
    if len(changed) > _MOST_ROWS:
        lines.append(f"... and {len(changed) - _MOST_ROWS} more changed")
    return lines


def _fields(left: ProcessInfo, right: ProcessInfo, columns: int) -> list[str]:
    room = max((columns - 22) // 2, 20)
    rows = [("", "left", "right")]
    of_left, of_right = _values(left), _values(right)
    for name in of_left | of_right:
        values = of_left.get(name), of_right.get(name)
        if values[0] != values[1]:
            one, other = map(_text, values)
            other = "another, masked" if one == other else other
            rows.append((name, cut(one, room), cut(other, room)))
    if len(rows) == 1:
        return ["  no field differs"]
    return [f"  {line}" for line in align(rows)]


def _values(row: ProcessInfo) -> dict[str, object]:
    """Return the values of all fields, with a separate value for each field of the supervisor."""
    values = {field: value_of(row, field) for field in FIELDS if field != "managed"}
    if row.signal is not None:
        values["signal"] = signal_name(row.signal)
    for part in fields(row.managed) if row.managed else ():
        if part.name != "id":
            values[f"managed.{part.name}"] = getattr(row.managed, part.name)
    return values


def _text(value: object) -> str:
    if isinstance(value, LastExit):
        return str(End.of_last_exit(value))
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d} {moment(value)}"
    return shown(value)
