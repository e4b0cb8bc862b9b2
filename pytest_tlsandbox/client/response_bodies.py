"""Parse the bodies of responses into processes."""

from __future__ import annotations

import json
from typing import Any

from pydantic import TypeAdapter, ValidationError

from pytest_tlsandbox.errors import ContractViolation
from pytest_tlsandbox.models import ProcessInfo, UnreadableRow

_PROCESS = TypeAdapter(ProcessInfo)


def parse_list(body: bytes) -> tuple[tuple[ProcessInfo, ...], tuple[UnreadableRow, ...]]:
    """Parse the body of ``GET /api/v1/processes``.

    Args:
        body: the body.

    Returns:
        The processes in the order in which the server lists them, and the unreadable rows.

    Raises:
        ContractViolation: the body is not JSON, or does not contain a list of processes.

    """
    try:
        document = json.loads(body)
        rows = document.get("processes") if isinstance(document, dict) else None
        if not isinstance(rows, list):
            raise ContractViolation(
                "The sandbox answered with JSON that does not contain a 'processes' list",
                label="no list",
            )
        # Convert each row to JSON again, because the models accept JSON and not Python objects.
        read = [parse_row(position, json.dumps(row).encode()) for position, row in enumerate(rows)]
    except (ValueError, RecursionError):
        raise ContractViolation(
            f"The sandbox answered with {describe_body(body)}, not a process list", label="not JSON"
        ) from None
    processes = tuple(row for row in read if isinstance(row, ProcessInfo))
    return processes, tuple(row for row in read if isinstance(row, UnreadableRow))


# The message for invalid JSON would contain a position within the row.
_PROBLEMS = {"missing": "missing", "json_invalid": "cannot be read"}


def _in_words(kind: str, message: str) -> str:
    text = message.replace("Input should be ", "not ").removeprefix("Value error, ")
    return _PROBLEMS.get(kind, text)


def parse_row(position: int, text: bytes) -> ProcessInfo | UnreadableRow:
    """Parse the text of one row.

    Args:
        position: the index of the row in the list.
        text: the JSON text of the row.

    Returns:
        The process, or the unreadable row.

    Raises:
        ValueError: the text is not JSON.
        RecursionError: the text is nested too deeply.

    """
    try:
        return _PROCESS.validate_json(text)
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False, include_context=False)
    reason = ", ".join(
        f"{'.'.join(map(str, detail['loc'])) or 'row'}: {_in_words(detail['type'], detail['msg'])}"
        for detail in details
    )
    row = json.loads(text.decode())
    fields = row if isinstance(row, dict) else {}
    pid = fields.get("pid")
    marks = [fields.get(key) for key in ("handle", "pid", "started_at")] if fields else row
    return UnreadableRow(
        position, reason, pid if type(pid) is int else None, json.dumps(marks, sort_keys=True)
    )


def parse_process(body: bytes) -> ProcessInfo:
    """Parse a body that contains one process, such as the response to a start or a restart.

    Args:
        body: the body.

    Returns:
        The process.

    Raises:
        ContractViolation: the body is not a process.

    """
    try:
        return _PROCESS.validate_json(body)
    except ValidationError:
        raise ContractViolation(
            f"The sandbox answered with {describe_body(body)}, not a process", label="not a process"
        ) from None


def json_object(body: bytes) -> dict[str, Any]:
    """Return the fields of a JSON object; an empty dictionary if the body is not a JSON object."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def describe_body(body: bytes) -> str:
    """Describe an unexpected body in a few words, without quoting it."""
    start = body[:200].lstrip().lower()
    if not start:
        kind = "an empty response"
    elif start.startswith((b"<!doctype", b"<html")):
        kind = "an HTML page"
    elif start[:1] in b"{[":
        kind = "unexpected or incomplete JSON"
    else:
        kind = "text that is not JSON"
    return f"{kind} ({len(body)} bytes)"
