"""Read process lists, and parse only the rows that changed since the last list."""

from __future__ import annotations

import copy

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
        # The last body, its snapshot, and the process of each text of a row.
        self._last: tuple[bytes | None, ProcessSnapshot, dict[bytes, ProcessInfo]]
        self._last = None, ProcessSnapshot(()), {}

    def read(self, body: bytes) -> ProcessSnapshot:
        """Convert a body to a snapshot. The caller adds the times of the list call.

        Args:
            body: the body of the response to a list call.

        Returns:
            The snapshot.

        Raises:
            ContractViolation: the body is not JSON, or does not contain a list of processes.

        """
        last_body, snapshot, known = self._last
        if body == last_body:
            return copy.copy(snapshot)  # keeps the cached properties
        rows, known = _read_rows(body, known)
        processes = [row for row in rows if isinstance(row, ProcessInfo)]
        unreadable = [row for row in rows if isinstance(row, UnreadableRow)]
        snapshot = ProcessSnapshot(processes, unreadable, sandbox=self._sandbox)
        self._last = body, snapshot, known
        return snapshot


def _read_rows(
    body: bytes, known: dict[bytes, ProcessInfo]
) -> tuple[list[ProcessInfo | UnreadableRow], dict[bytes, ProcessInfo]]:
    """Return the rows of a body, and the process of each text of a row.

    Args:
        body: the body.
        known: the process of each text of a row in the last list.

    """
    is_split = body.startswith(_START) and body.endswith(_END)
    pieces = body[len(_START) : -len(_END)].split(_BETWEEN) if is_split else []
    rows: list[ProcessInfo | UnreadableRow] = []
    read: dict[bytes, ProcessInfo] = {}
    try:
        for position, piece in enumerate(pieces):
            row = known.get(piece) or read.get(piece) or parse_row(position, b"{%b}" % piece)
            if isinstance(row, ProcessInfo):
                read[piece] = row
            rows.append(row)
    except (ValueError, RecursionError):
        # The separator also occurs inside a row, for example in a string. In this case, at least
        # one piece is not a JSON object.
        rows = []
    return rows or parse_list(body), read
