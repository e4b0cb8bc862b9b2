"""The way from a report of pytest-html, where one is written, to the timeline."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from pytest_tlsandbox.integration.pytest_html import add_extra
from pytest_tlsandbox.report.write import is_page

if TYPE_CHECKING:
    import pytest

NAME = "timeline of the processes"


def timeline_link(config: pytest.Config, report: Path | None) -> str | None:
    """Give the address of the timeline as seen from pytest-html's report; None without the two."""
    path = config.getoption("htmlpath", None)
    if not path or report is None or not is_page(report):
        return None
    folder = Path(os.path.expandvars(path)).expanduser().parent
    return quote(Path(os.path.relpath(report, folder)).as_posix())


def link_test(config: pytest.Config, report: pytest.TestReport, timeline: Path | None) -> None:
    """Have the row of a test that failed lead to that test in the timeline."""
    link = timeline_link(config, timeline)
    if link is not None and report.failed:
        add_extra(config, report, "url", f"{link}#test={quote(report.nodeid, safe='')}", NAME)
