"""The report as a document, whose schema is ``report-2.schema.json`` in the same folder.

The document is written to a file either as JSON or as an HTML page.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime, timezone
from importlib import metadata
from operator import itemgetter
from pathlib import Path
from typing import Any

from pytest_tlsandbox.monitoring.plain_data import iso
from pytest_tlsandbox.monitoring.session_data import SessionData
from pytest_tlsandbox.settings import Settings

VERSION = 2
"""The version of the schema, which changes if readers of the old schema would misread a report."""

_PACKAGES = ("pytest-tlsandbox", "pytest", "pytest-xdist", "pytest-rerunfailures", "pytest-timeout")
"""The packages whose versions a report contains, if they are installed."""


def document_of(session: SessionData, settings: Settings, exit_status: int) -> dict[str, Any]:
    """Return the report of a session, in the format that the schema defines."""
    changes: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for change in sorted(session.changes, key=itemgetter("seen_at")):
        same = changes[change["sandbox"], change["process"]]
        if not same or _state(same[-1]) != _state(change):  # several workers see the same
            same.append(_without(change, "sandbox", "process"))
    finished = not any(worker["lost"] for worker in session.workers.values())
    return {
        "version": VERSION,
        "versions": _versions(),
        "started_at": session.started_at,
        "ended_at": iso(datetime.now(timezone.utc)),
        "exit_status": exit_status,
        "complete": finished and exit_status in (0, 1, 5),
        "guard": {"rules": [*settings.guard], "report_only": settings.guard_report_only},
        "workers": [*session.workers.values()],
        "sandboxes": [*session.sandboxes.values()],
        "collection_errors": session.collection_errors,
        "tests": [_timed(test) for test in session.tests],
        "processes": [
            {**process, "changes": changes[owner], "output": session.outputs.get(owner)}
            for owner, process in session.processes.items()
        ],
        "incidents": [*session.incidents.values()],
        "findings": [_without(finding, "keys") for finding in session.findings],
        "unknown_ends": [*session.unknown_ends.values()],
        "gaps": [_without(gap, "label", "from_at", "to_at") for gap in session.gaps],
        "outages": sorted(session.outages.values(), key=lambda outage: outage["from_at"]),
    }


def is_page(path: Path) -> bool:
    """Return whether a report with this file name is an HTML page."""
    return path.suffix.lower() in (".html", ".htm")


def write_report(document: Mapping[str, Any], path: Path) -> None:
    """Write a document as an HTML page if the file name ends in .html, otherwise as JSON.

    A reader of the file sees either the complete report or the previous file, but never a part of
    the report.

    Raises:
        OSError: the report cannot be written; no partial file remains.

    """
    if is_page(path):
        from pytest_tlsandbox.report.page import page_of

        text = page_of(document)
    else:
        text = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    # Use the same folder, because a move is atomic only within a file system.
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        # Escape lone surrogates, for example from a file name that is not UTF-8.
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _state(change: Mapping[str, Any]) -> dict[str, Any]:
    return _without(change, "sandbox", "process", "at", "seen_at", "test", "attempt", "phase")


def _timed(test: Mapping[str, Any]) -> dict[str, Any]:
    """Return a test with the times of its phases as text."""
    phases = [
        {"name": name, "outcome": outcome, "started_at": _time(began), "ended_at": _time(ended)}
        for name, outcome, began, ended in test["phases"]
    ]
    begun, ended = (phases[0]["started_at"], phases[-1]["ended_at"]) if phases else (None, None)
    return {**test, "started_at": begun, "ended_at": ended, "phases": phases}


def _time(seconds: float) -> str:
    return iso(datetime.fromtimestamp(seconds, timezone.utc))


def _without(data: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in data.items() if key not in keys}


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name.replace("-", "_")] = metadata.version(name)
    return found
