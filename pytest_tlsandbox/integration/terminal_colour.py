"""Colour this package's errors in pytest's terminal output.

pytest shows each line of an error in bold red. This module leaves the first line bold red, but
makes lines of output plain and all other lines dim. The text of the failure does not change. If
pytest does not use colours, this module has no effect.
"""

from __future__ import annotations

import contextlib
import re
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

_FIRST_LINE = re.compile(r"E +(?=pytest_tlsandbox\.\w+: )")
_BAR = re.compile(r"E? *\| ")
"""The bar before each line of output; the continuation of a long line has no bar."""
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
    """A ``TerminalWriter`` that changes the markup of an error's lines."""

    def __init__(self, writer: Any) -> None:
        self._writer = writer
        self._output_at = -1
        """The column of the output if the previous line was output."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._writer, name)

    def line(self, text: str = "", **markup: bool) -> None:
        """Write a line; pytest calls this method for the lines of an error."""
        if markup == _OF_AN_ERROR and not _FIRST_LINE.match(text):
            bar = _BAR.match(text)
            is_continued = len(text) - len(text[1:].lstrip()) == self._output_at
            if bar or not is_continued:
                self._output_at = bar.end() if bar else -1
            markup = {} if self._output_at > 0 else {"light": True}
        self._writer.line(text, **markup)
