"""Processes as an aligned table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_tlsandbox.formatting.states import describe_state
from pytest_tlsandbox.formatting.text import align, cut, pad, printable, shorten, width, wrap
from pytest_tlsandbox.formatting.words import command_line, named, seconds
from pytest_tlsandbox.redact import mask_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_tlsandbox.models import ProcessInfo

_GAP = "    "
_LONGEST_STATE = 36
_NARROWEST, _ENOUGH = 18, 40
"""Columns that a command line is given even where there is no room for it, or beside a remark."""


def process_table(
    rows: Sequence[ProcessInfo],
    remarks: Sequence[str] = (),
    *,
    most: int | None = None,
    columns: int = 240,
) -> list[str]:
    """Give a line a process: pid, state, how long it lived, command line masked, a remark.

    ``most`` cuts the table, ``columns`` the command lines; both say by how much.
    """
    shown = rows if most is None else rows[:most]
    heads = align(
        (
            f"pid {row.pid}",
            shorten(describe_state(row), _LONGEST_STATE),
            "" if row.lifetime is None else seconds(row.lifetime.total_seconds()),
        )
        for row in shown
    )
    taken = max(map(width, heads), default=0) + 2
    lines = []
    for index, row in enumerate(shown):
        name = f"[{mask_text(row.managed.name)}] " if row.managed and row.managed.name else ""
        line, beyond = command_line(row)
        remark = remarks[index] if index < len(remarks) else ""
        room = columns - taken - (width(_GAP + remark) if remark else 0)
        beside = room >= min(width(printable(name + line)), _ENOUGH)
        room = max(room if beside else columns - taken, _NARROWEST)
        whole = pad(heads[index], taken) + cut(name + line, room, beyond=beyond)
        lines.append(whole + _GAP + remark if remark and beside else whole)
        if remark and not beside:
            lines += [_GAP + part for part in wrap(remark, columns - len(_GAP))]
    if len(shown) < len(rows):
        lines.append(f"... and {len(rows) - len(shown)} more")
    return lines


def list_names(rows: Sequence[ProcessInfo], most: int = 3) -> str:
    """Give "a.py (pid 1), b.py (pid 2) and 3 more"."""
    return list_texts([named(row) for row in rows], most)


def list_texts(texts: Sequence[str], most: int = 3) -> str:
    """Return "a, b, c and 3 more"."""
    return ", ".join(texts[:most]) + (f" and {len(texts) - most} more" if len(texts) > most else "")
