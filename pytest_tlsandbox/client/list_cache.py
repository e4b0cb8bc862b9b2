"""Read process lists, and parse only the rows that changed since the last list."""

from __future__ import annotations

import copy
import itertools
import operator
from collections.abc import Sequence
from typing import NamedTuple

from pytest_tlsandbox.client.response_bodies import parse_list, parse_row
from pytest_tlsandbox.history.snapshot import ProcessSnapshot
from pytest_tlsandbox.models import ProcessInfo, UnreadableRow

# The format in which the sandbox writes a list, without white space. A list in any other format is
# parsed as a whole.
_START, _BETWEEN, _END = b'{"processes":[{', b"},{", b"}]}"


class _Read(NamedTuple):
    """The body that was read last, together with its rows and its snapshot.

    Attributes:
        body: the body.
        pieces: the text of each row; empty if the body was parsed as a whole.
        rows: for each piece, the parsed row; None if the row is unreadable.
        snapshot: the snapshot of all rows.

    """

    body: bytes
    pieces: list[bytes]
    rows: list[ProcessInfo | None]
    snapshot: ProcessSnapshot


class ListReader:
    """Reads the process lists of one sandbox. Several threads can use the same object.

    If the body did not change, the reader parses nothing. If some rows changed, the reader parses
    only these rows, and reuses the objects of all other rows.

    Args:
        sandbox: the name of the sandbox, for the snapshots.

    """

    def __init__(self, sandbox: str) -> None:
        self._sandbox = sandbox
        self._last: _Read | None = None

    def read(self, body: bytes) -> ProcessSnapshot:
        """Convert a body to a snapshot. The caller adds the times of the list call.

        Args:
            body: the body of the response to a list call.

        Returns:
            The snapshot.

        Raises:
            ContractViolation: the body is not JSON, or does not contain a list of processes.

        """
        last = self._last
        if last is not None and body == last.body:
            return copy.copy(last.snapshot)  # keeps the cached properties
        is_split = body.startswith(_START) and body.endswith(_END)
        pieces = body[len(_START) : -len(_END)].split(_BETWEEN) if is_split else []
        try:
            rows, unreadable = _read_rows(pieces, last)
        except (ValueError, RecursionError):
            pieces, rows = [], []
        if pieces:
            readable = [row for row in rows if row is not None]
            snapshot = ProcessSnapshot(readable, unreadable, sandbox=self._sandbox)
        else:
            snapshot = ProcessSnapshot(*parse_list(body), sandbox=self._sandbox)
        self._last = _Read(body, pieces, rows, snapshot)
        return snapshot


def _read_rows(
    pieces: Sequence[bytes], last: _Read | None
) -> tuple[list[ProcessInfo | None], list[UnreadableRow]]:
    """Read a body row by row, and reuse the rows that were also in the last list.

    The row separator may also occur inside a row, for example in a string. If the body was
    split inside a row, at least one piece is not a JSON object. In this case, this function raises
    ValueError instead of returning wrong rows.

    Args:
        pieces: the text of each row, without its braces.
        last: the last list; None if there was no list before.

    Returns:
        The parsed row of each piece (None if the row is unreadable), and the unreadable rows.

    Raises:
        ValueError: a piece is not JSON.
        RecursionError: the JSON in a piece is nested too deeply.

    """
    old_pieces, old_rows = ([], []) if last is None else (last.pieces, last.rows)
    kept = list(map(operator.eq, pieces, old_pieces))
    moved = {
        piece: row
        for piece, row, same in itertools.zip_longest(old_pieces, old_rows, kept)
        if not same
    }
    rows = [row if same else None for row, same in zip(old_rows, kept, strict=False)]
    rows += [None] * (len(pieces) - len(rows))
    unreadable = []
    for position in [position for position, row in enumerate(rows) if row is None]:
        row = moved.get(pieces[position])
        if row is None:
            read = parse_row(position, b"{%b}" % pieces[position])
            if isinstance(read, UnreadableRow):
                unreadable.append(read)
            else:
                row = read
        rows[position] = row
    return rows, unreadable
