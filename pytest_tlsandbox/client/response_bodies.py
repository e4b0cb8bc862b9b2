"""Parse the bodies of responses into processes."""

from __future__ import annotations

import json
from typing import Any

from pydantic import TypeAdapter, ValidationError

from pytest_tlsandbox.errors import ContractViolation
from pytest_tlsandbox.models import ProcessInfo, UnreadableRow

_PROCESS = TypeAdapter(ProcessInfo)


def parse_list(body: bytes) -> tuple[list[ProcessInfo], list[UnreadableRow]]:
    """Parse the body of ``GET /api/v1/processes``.

    Args:
        body: the body.

    Returns:
        The processes in the order in which the server lists them, and the unreadable rows.

    Raises:
        ContractViolation: the body is not JSON, or does not contain a list of processes. The
            message says what it is.

    """
    try:
        document = json.loads(body)
        rows = document.get("processes") if isinstance(document, dict) else None
        if not isinstance(rows, list):
            what = "JSON that does not contain a 'processes' list"
            raise ContractViolation(what, label="no list")
        # Convert each row to JSON again, because the models accept JSON and not Python objects.
        read = [parse_row(position, json.dumps(row).encode()) for position, row in enumerate(rows)]
    except (ValueError, RecursionError):
        what = f"{describe_body(body)}, not a process list"
        raise ContractViolation(what, label="not JSON") from None
    processes = [row for row in read if isinstance(row, ProcessInfo)]
    return processes, [row for row in read if isinstance(row, UnreadableRow)]


# The message for invalid JSON would contain a position within the row.
_PROBLEMS = {"missing": "missing", "json_invalid": "cannot be read"}


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
    reasons = []
    for detail in details:
        problem = detail["msg"].replace("Input should be ", "not ").removeprefix("Value error, ")
        place = ".".join(map(str, detail["loc"])) or "row"
        reasons.append(f"{place}: {_PROBLEMS.get(detail['type'], problem)}")
    row = json.loads(text.decode())
    fields = row if isinstance(row, dict) else {}
    pid = fields.get("pid")
    marks = [fields.get(key) for key in ("handle", "pid", "started_at")] if fields else row
    pid = pid if type(pid) is int else None
    return UnreadableRow(position, ", ".join(reasons), pid, json.dumps(marks, sort_keys=True))


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
        what = f"The sandbox answered with {describe_body(body)}, not a process"
        raise ContractViolation(what, label="not a process") from None


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
