"""Add texts and links to the rows of tests in the report of pytest-html."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import pytest


def add_extra(
    config: pytest.Config,
    report: pytest.TestReport,
    kind: Literal["text", "url"],
    content: object,
    name: str,
) -> None:
    """Add a text or a link to the row of a test in the HTML report.

    ``content`` is converted to text only if pytest-html writes a report.
    """
    if not config.getoption("htmlpath", None):
        return
    from pytest_html import extras  # type: ignore[import-not-found,import-untyped,unused-ignore]

    report.extras = [  # type: ignore[attr-defined]
        *getattr(report, "extras", ()),
        getattr(extras, kind)(str(content), name=name),
    ]
