"""Convert a JSON report to an HTML page.

The command is ``python -m pytest_tlsandbox.report in.json out.html``.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from pytest_tlsandbox.report.document import VERSION
from pytest_tlsandbox.report.report_file import is_page, write_report


def main(arguments: list[str] | None = None) -> int:
    """Read a JSON report, and write it as an HTML page.

    Returns:
        The exit code: 0 if the page was written, or 1 if the report is invalid or a file cannot be
        read or written.

    """
    parser = argparse.ArgumentParser(
        prog="python -m pytest_tlsandbox.report",
        description="Create the HTML timeline of a JSON report.",
    )
    parser.add_argument("report", type=Path, help="the JSON file that --tlsandbox-report wrote")
    parser.add_argument("page", type=Path, help="the page to write; its name must end in .html")
    options = parser.parse_args(arguments)
    if not is_page(options.page):
        parser.error(f"the name of the page must end in .html, got {options.page}")
    try:
        document = _read(options.report)
    except OSError as error:
        return _fail(f"{options.report} cannot be read: {error.strerror}")
    except ValueError as error:
        return _fail(f"{options.report} {error}")
    try:
        write_report(document, options.page)
    except OSError as error:
        return _fail(f"{options.page} cannot be written: {error.strerror}")
    except (KeyError, TypeError, ValueError, AttributeError, IndexError):
        return _fail(f"{options.report} does not follow the schema of a report")
    return 0


def _read(path: Path) -> dict[str, Any]:
    """Read a report.

    Args:
        path: the JSON file.

    Returns:
        The report.

    Raises:
        OSError: the file cannot be read.
        ValueError: the file is not a report. The text of the error describes the problem.

    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        raise ValueError("is not JSON") from None
    if not isinstance(document, dict) or "version" not in document:
        raise ValueError("is not a report of pytest-tlsandbox")
    if document["version"] != VERSION:
        version = document["version"]
        raise ValueError(f"has version {version!r}; this release reads version {VERSION}")
    return document


def _fail(message: str) -> int:
    print(message, file=sys.stderr)  # noqa: T201
    return 1


if __name__ == "__main__":
    sys.exit(main())
