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
        self._margin = 0
        self._output_at = -1

    def __getattr__(self, name: str) -> Any:
        return getattr(self._writer, name)

    def line(self, text: str = "", **markup: bool) -> None:
        """Write a line; pytest calls this method for the lines of an error."""
        self._writer.line(text, **(self._markup(text) if markup == _OF_AN_ERROR else markup))

    def _markup(self, text: str) -> dict[str, bool]:
        if first := _FIRST_LINE.match(text):
            self._margin = first.end()
            return _OF_AN_ERROR
        text = text[self._margin :]
        indent = len(text) - len(text.lstrip())
        if text.startswith("| ", indent):
            self._output_at = indent + len("| ")
        elif indent != self._output_at:  # not the continuation of a long line of output
            self._output_at = -1
        return {} if self._output_at > 0 else {"light": True}
