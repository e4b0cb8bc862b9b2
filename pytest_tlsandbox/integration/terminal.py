"""pytest's terminal: the width of messages, and how to print a line while a test runs."""

from __future__ import annotations

import contextlib
import shutil
from typing import TYPE_CHECKING

from pytest_tlsandbox.types import Screen

if TYPE_CHECKING:
    import pytest

# pytest puts "E" and the indent of the raising line before each line of a message. This leaves room
# for a line in a class or a block.
_MARGIN, _NARROWEST = 12, 60


def screen_of(config: pytest.Config) -> Screen:
    """Return the terminal of this run of pytest, for which messages are written."""
    reporter: pytest.TerminalReporter | None = config.pluginmanager.get_plugin("terminalreporter")
    capture = config.pluginmanager.get_plugin("capturemanager")

    def say(text: str) -> None:
        """Print a line between pytest's dots, past its capture."""
        if reporter is None:
            return
        with capture.global_and_fixture_disabled() if capture else contextlib.nullcontext():
            reporter.write_line(f"tlsandbox: {text}")

    # A worker of xdist has no terminal.
    talks = reporter is not None and config.get_verbosity() >= 0
    return Screen(config.get_verbosity(), columns_of(config), say if talks else None)


def columns_of(config: pytest.Config) -> int:
    """Return the width of a message in columns, without the mark and indent that pytest adds."""
    has_terminal = config.pluginmanager.has_plugin("terminalreporter")
    writer = config.get_terminal_writer() if has_terminal else None
    wide = writer.fullwidth if writer else shutil.get_terminal_size().columns
    return max(wide - _MARGIN, _NARROWEST)
