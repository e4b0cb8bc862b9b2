"""Add texts and links to the rows of tests in the pytest-html report."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal
from urllib.parse import quote

import pytest

Kind = Literal["text", "url"]


def link_to(config: pytest.Config, path: Path) -> str | None:
    """Return a link from the pytest-html report to a file, or None if there is no report."""
    page = config.getoption("htmlpath", None)
    if not page:
        return None
    folder = Path(os.path.expandvars(page)).expanduser().parent
    return quote(Path(os.path.relpath(path, folder)).as_posix())


def add_extra(
    config: pytest.Config, report: pytest.TestReport, kind: Kind, content: object, name: str
) -> None:
    """Add a text or a link to the row of a test in the HTML report.

    ``content`` is converted to text only if pytest-html writes a report.
    """
    if not config.getoption("htmlpath", None):
        return
    from pytest_html import extras  # type: ignore[import-not-found,import-untyped,unused-ignore]

    extra = getattr(extras, kind)(str(content), name=name)
    report.extras = [*getattr(report, "extras", ()), extra]  # type: ignore[attr-defined]
