"""Read process lists, and parse only the rows that changed since the last list."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, NamedTuple

from pytest_tlsandbox.client.response_bodies import parse_list, parse_row
from pytest_tlsandbox.history.snapshot import ProcessSnapshot
from pytest_tlsandbox.models import UnreadableRow

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_tlsandbox.models import ProcessInfo

# The format in which the sandbox writes a list, without white space. A list in any other format is
# parsed as a whole.
_START, _BETWEEN, _END = b'{"processes":[{', b"},{", b"}]}"


class _Read(NamedTuple):
    """The body that was read last, together with its rows and its snapshot.

    Attributes:
        body: the body.
        rows: a mapping from the text of each row to the parsed row, or to None if the row is
            unreadable; empty if the body was parsed as a whole.
        snapshot: the snapshot of all rows.

    """

    body: bytes
    rows: Mapping[bytes, ProcessInfo | None]
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
            rows, unreadable = _read_rows(pieces, {} if last is None else last.rows)
        except (ValueError, RecursionError):
            pieces, rows = [], []
        if pieces:
            readable = [row for row in rows if row is not None]
            snapshot = ProcessSnapshot(readable, unreadable, sandbox=self._sandbox)
        else:
            snapshot = ProcessSnapshot(*parse_list(body), sandbox=self._sandbox)
        self._last = _Read(body, dict(zip(pieces, rows, strict=True)), snapshot)
        return snapshot


def _read_rows(
    pieces: Sequence[bytes], known: Mapping[bytes, ProcessInfo | None]
) -> tuple[list[ProcessInfo | None], list[UnreadableRow]]:
    """Read a body row by row, and reuse the rows that were also in the last list.

    The row separator may also occur inside a row, for example in a string. If the body was
    split inside a row, at least one piece is not a JSON object. In this case, this function raises
    ValueError instead of returning wrong rows.

    Args:
        pieces: the text of each row, without its braces.
        known: the rows of the last list by their texts.

    Returns:
        The parsed row of each piece (None if the row is unreadable), and the unreadable rows.

    Raises:
        ValueError: a piece is not JSON.
        RecursionError: the JSON in a piece is nested too deeply.

    """
    rows = list(map(known.get, pieces))
    unreadable = []
    for position in [position for position, row in enumerate(rows) if row is None]:
        read = parse_row(position, b"{%b}" % pieces[position])
        if isinstance(read, UnreadableRow):
            unreadable.append(read)
        else:
            rows[position] = read
    return rows, unreadable
