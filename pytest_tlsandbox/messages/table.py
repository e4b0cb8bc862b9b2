"""Processes as an aligned table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_tlsandbox.messages.words import named, printable, seconds
from pytest_tlsandbox.status import describe_state

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pytest_tlsandbox.client.models import ProcessInfo


def process_table(
    rows: Sequence[ProcessInfo], remarks: Sequence[str] = (), *, most: int | None = None
) -> list[str]:
    """Give a line a process: pid, state, how long it lived, command line masked, a remark.

    ``most`` cuts the table, and says by how much.
    """
    shown = rows if most is None else rows[:most]
    cells = [
        (
            f"pid {row.pid}",
            describe_state(row),
            "" if row.lifetime is None else seconds(row.lifetime.total_seconds()),
            printable(
                (f"[{row.managed.name}] " if row.managed and row.managed.name else "")
                + row.masked_command_line
            ),
        )
        for row in shown
    ]
    lines = align(cells)
    for index, remark in enumerate(remarks[: len(lines)]):
        if remark:
            lines[index] += f"    {remark}"
    if len(shown) < len(rows):
        lines.append(f"... and {len(rows) - len(shown)} more")
    return lines


def align(rows: Iterable[Sequence[str]]) -> list[str]:
    """Pad every column but the last to its widest cell."""
    rows = list(rows)
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def list_names(rows: Sequence[ProcessInfo], most: int = 3) -> str:
    """Give "a.py (pid 1), b.py (pid 2) and 3 more"."""
    names = ", ".join(named(row) for row in rows[:most])
    return names + (f" and {len(rows) - most} more" if len(rows) > most else "")
