"""Determine the width of messages, and print lines in the terminal while a test runs."""

from __future__ import annotations

import contextlib
import os
import shutil

import pytest

from pytest_tlsandbox.formatting.text import cut
from pytest_tlsandbox.types import Screen

# pytest puts "E" and the indent of the line that raised before each line of a message. This many
# columns are enough for a line in a class or in a block.
_MARGIN, _NARROWEST = 12, 60


def screen_of(config: pytest.Config) -> Screen:
    """Return the terminal for which messages of this pytest run are formatted."""
    verbosity, columns = config.get_verbosity(), columns_of(config)
    reporter: pytest.TerminalReporter | None = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or verbosity < 0:  # an xdist worker has no terminal
        return Screen(verbosity, columns)
    capture = config.pluginmanager.get_plugin("capturemanager")

    def say(text: str) -> None:
        """Print a line between pytest's dots, even while pytest captures output."""
        line = cut(f"tlsandbox: {_running_test()}: {text}", config.get_terminal_writer().fullwidth)
        with capture.global_and_fixture_disabled() if capture else contextlib.nullcontext():
            reporter.write_line(line)

    return Screen(verbosity, columns, say)


def _running_test() -> str:
    """Return the name of the running test with its parameters, such as "test_orders[eu]"."""
    # pytest sets this variable to, for example, "tests/test_a.py::test_orders[eu] (call)".
    nodeid = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")[0]
    name, bracket, parameters = nodeid.partition("[")
    return name.rpartition("::")[2] + bracket + parameters


def columns_of(config: pytest.Config) -> int:
    """Return the width, in columns, of messages, without the mark and indent that pytest adds."""
    wide = shutil.get_terminal_size().columns
    if config.pluginmanager.has_plugin("terminalreporter"):
        wide = config.get_terminal_writer().fullwidth
    return max(wide - _MARGIN, _NARROWEST)
