"""Read process lists, and parse only the rows that changed since the last list."""

from __future__ import annotations

import copy
import itertools
import operator

from pytest_tlsandbox.client.response_bodies import parse_list, parse_row
from pytest_tlsandbox.history.snapshot import ProcessSnapshot
from pytest_tlsandbox.models import ProcessInfo, UnreadableRow

# The format in which the sandbox writes a list, without white space. A list in any other format is
# parsed as a whole.
_START, _BETWEEN, _END = b'{"processes":[{', b"},{", b"}]}"


class ListReader:
    """Reads the process lists of one sandbox. Several threads can use the same object.

    If the body did not change, the reader parses nothing. If some rows changed, the reader parses
    only these rows, and reuses the objects of all other rows.

    Args:
        sandbox: the name of the sandbox, for the snapshots.

    """

    def __init__(self, sandbox: str) -> None:
        self._sandbox = sandbox
        # The last body, its snapshot, the text of each row, and each row; None if it is unreadable.
        self._last: tuple[bytes | None, ProcessSnapshot, list[bytes], list[ProcessInfo | None]]
        self._last = None, ProcessSnapshot(()), [], []

    def read(self, body: bytes) -> ProcessSnapshot:
        """Convert a body to a snapshot. The caller adds the times of the list call.

        Args:
            body: the body of the response to a list call.

        Returns:
            The snapshot.

        Raises:
            ContractViolation: the body is not JSON, or does not contain a list of processes.

        """
        last_body, snapshot, old_pieces, old_rows = self._last
        if body == last_body:
            return copy.copy(snapshot)  # keeps the cached properties
        is_split = body.startswith(_START) and body.endswith(_END)
        pieces = body[len(_START) : -len(_END)].split(_BETWEEN) if is_split else []
        kept = [*map(operator.eq, pieces, old_pieces)]
        old = itertools.zip_longest(old_pieces, old_rows, kept)
        moved = {piece: row for piece, row, same in old if not same}
        rows = [row if same else None for row, same in zip(old_rows, kept, strict=False)]
        rows += [None] * (len(pieces) - len(rows))
        unreadable = []
        try:
            for position in [position for position, row in enumerate(rows) if row is None]:
                piece = pieces[position]
                row = moved.get(piece) or parse_row(position, b"{%b}" % piece)
                if isinstance(row, UnreadableRow):
                    unreadable.append(row)
                else:
                    rows[position] = row
        except (ValueError, RecursionError):
            # The separator also occurs inside a row, for example in a string. In this case, at
            # least one piece is not a JSON object.
            pieces = []
        if pieces:
            snapshot = ProcessSnapshot([*filter(None, rows)], unreadable, sandbox=self._sandbox)
        else:
            snapshot = ProcessSnapshot(*parse_list(body), sandbox=self._sandbox)
        self._last = body, snapshot, pieces, rows if pieces else []
        return snapshot
