"""Colour this package's errors in pytest's terminal output.

pytest shows each line of an error in bold red. This module leaves only the first line bold red. The
text of the failure does not change. If pytest does not use colours, this module has no effect.
"""

from __future__ import annotations

import contextlib
import re
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

_FIRST_LINE = re.compile(r"E +pytest_tlsandbox\.\w+: ")
_OF_AN_ERROR = {"bold": True, "red": True}
"""The markup that pytest uses for each line of an error."""


def colour(report: pytest.TestReport) -> None:
    """Colour this package's errors in a report, including chained errors.

    The text of the report does not change, because other plugins may read or send the text. pytest
    does not colour native tracebacks and exception groups, so this function leaves them unchanged.
    """
    chain: Any = getattr(report.longrepr, "chain", ())
    with contextlib.suppress(Exception):  # no colour if another plugin made the report
        for entry in (entry for traceback, *_ in chain for entry in traceback.reprentries):
            if any(map(_FIRST_LINE.match, entry.lines)):
                entry.toterminal = partial(_show, entry.toterminal)


def _show(show: Callable[[Any], None], writer: object) -> None:
    show(_Writer(writer))


class _Writer:
    """A ``TerminalWriter`` that colours only the first line of an error."""

    def __init__(self, writer: Any) -> None:
        self._writer = writer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._writer, name)

    def line(self, text: str = "", **markup: bool) -> None:
        """Write a line; pytest calls this method for the lines of an error."""
        is_detail = markup == _OF_AN_ERROR and not _FIRST_LINE.match(text)
        self._writer.line(text, **({} if is_detail else markup))
