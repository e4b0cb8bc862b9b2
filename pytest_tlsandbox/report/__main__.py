"""Convert a JSON report to an HTML page.

The command is ``python -m pytest_tlsandbox.report in.json out.html``.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from pytest_tlsandbox.report.document import VERSION, is_page, write_report


def main(arguments: list[str] | None = None) -> None:
    """Read a JSON report, and write it as an HTML page.

    Raises:
        SystemExit: the report is invalid, or a file cannot be read or written.

    """
    command = "python -m pytest_tlsandbox.report"
    purpose = "Create the HTML timeline of a JSON report."
    parser = argparse.ArgumentParser(command, description=purpose)
    parser.add_argument("report", type=Path, help="the JSON file that --tlsandbox-report wrote")
    parser.add_argument("page", type=Path, help="the page to write; its name must end in .html")
    options = parser.parse_args(arguments)
    if not is_page(options.page):
        parser.error(f"the name of the page must end in .html, got {options.page}")
    try:
        content = options.report.read_bytes()
    except OSError as error:
        sys.exit(f"{options.report} cannot be read: {error.strerror}")
    try:
        document = json.loads(content)
        if document["version"] != VERSION:
            version = f"version {document['version']!r}; this release reads version {VERSION}"
            sys.exit(f"{options.report} has {version}")
        write_report(document, options.page)
    except OSError as error:
        sys.exit(f"{options.page} cannot be written: {error.strerror}")
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError):
        sys.exit(f"{options.report} does not follow the schema of a report")


if __name__ == "__main__":
    main()
