"""Write a report to a file. If the file exists, it is replaced atomically."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


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
