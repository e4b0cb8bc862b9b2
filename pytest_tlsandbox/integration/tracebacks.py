"""Change how pytest shows this package's errors: tracebacks, one-line summaries and colours."""

from __future__ import annotations

import contextlib
import os
import re
from types import TracebackType
from typing import Any

import pytest

from pytest_tlsandbox.errors import TLSandboxError

_PACKAGE = "pytest_tlsandbox"
# tenacity drives the retry loop, and passes outcomes in futures of concurrent.futures.
_OURS = (_PACKAGE, "concurrent", "tenacity")

_FIRST_LINE = re.compile(r"E +pytest_tlsandbox\.\w+: ")
_OF_AN_ERROR = {"bold": True, "red": True}
"""The markup that pytest uses for each line of an error."""


def without_our_frames(error: BaseException) -> BaseException:
    """Remove this package's frames from the tracebacks of an error and its chained errors.

    If a helper raised the error, the message is a sufficient explanation. Some errors pass through
    a helper that did not raise them. Examples are an error in the user's condition and a timeout
    from pytest-timeout. The user's own frames explain these errors. The frames of this package
    contain arguments that must not be shown. A bug in this package may also raise an error. The
    traceback of that error keeps all frames.

    Returns:
        The same error object.

    """
    seen: set[int] = set()
    left: list[BaseException | None] = [error]
    while left:
        each = left.pop()
        if each is not None and id(each) not in seen:
            seen.add(id(each))
            _trim(each)
            left += [each.__cause__, each.__context__]
    return error


def show_first_line(item: pytest.Item, report: pytest.TestReport, error: BaseException) -> None:
    """Show the first line of the message in places where pytest shows an error as one line.

    This function changes only the reports of this package's errors.
    """
    shown: Any = report.longrepr
    if not isinstance(error, TLSandboxError) or getattr(shown, "reprcrash", None) is None:
        return
    shown.reprcrash.message = error.first_line
    if shown.reprtraceback.extraline is not None:
        # If all frames are hidden, pytest adds a hint how to show them, and a place in its own
        # code.
        shown.reprtraceback.extraline = None
        path, line, _ = item.location
        shown.reprcrash.path, shown.reprcrash.lineno = path, (line or 0) + 1


def at_the_test(item: pytest.Item, error: TLSandboxError) -> Any:
    """Return the report text for an error that no line of the test raised.

    The text contains the message of the error. Instead of code, the text shows the file and the
    line of the test. Something else must have raised the error, because pytest needs a traceback.
    """
    shown: Any = pytest.ExceptionInfo.from_exception(error).getrepr(style="value", chain=False)
    in_root, line, _ = item.location
    path, place = item.config.rootpath / in_root, shown.reprcrash
    place.path, place.lineno, place.message = str(path), (line or 0) + 1, error.first_line
    [entry] = shown.reprtraceback.reprentries
    name = type(error).__name__
    entry.lines = [f"E   {line}" for line in f"{_PACKAGE}.{name}: {error}".split("\n")]
    entry.style = "long"
    shortest = os.path.relpath(path, item.config.invocation_params.dir)
    entry.reprfileloc = type(place)(shortest, place.lineno, name)
    return shown


def colour(report: pytest.TestReport) -> None:
    """Leave only the first line of this package's errors in bold red, also in chained errors.

    pytest shows each line of an error in bold red. If pytest does not use colours, this function
    has no effect. The text of the report does not change, because other plugins may read or send
    the text. pytest does not colour native tracebacks and exception groups, so this function leaves
    them unchanged.
    """
    chain: Any = getattr(report.longrepr, "chain", ())
    with contextlib.suppress(Exception):  # no colour if another plugin made the report
        for entry in (entry for traceback, *_ in chain for entry in traceback.reprentries):
            if any(map(_FIRST_LINE.match, entry.lines)):
                show = entry.toterminal
                entry.toterminal = lambda writer, show=show: show(_Writer(writer))


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


def _trim(error: BaseException) -> None:
    entries: list[TracebackType] = []
    entry = error.__traceback__
    while entry is not None:
        entries.append(entry)
        entry = entry.tb_next
    ours = [entry for entry in entries if _package_of(entry) == _PACKAGE]
    if not ours or (not isinstance(error, TLSandboxError) and entries[-1] is ours[-1]):
        return
    kept = [entry for entry in entries if _package_of(entry) not in _OURS]
    wrappers = _wrappers_of_hooks(entries)
    if isinstance(error, TLSandboxError):
        kept = [entry for entry in kept if entry not in wrappers]
    if all(_package_of(entry) in ("pluggy", "_pytest") for entry in kept):
        # One of our fixtures raised the error, and no line of the user is involved, so show the
        # name of the fixture.
        kept.append(next((entry for entry in ours if entry not in wrappers), ours[0]))
    chain = None
    for entry in reversed(kept):
        chain = TracebackType(chain, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)
    error.__traceback__ = chain


def _wrappers_of_hooks(entries: list[TracebackType]) -> list[TracebackType]:
    """Return the traceback entries of hook wrappers that passed the error on but did not raise it.

    For example, pytest-asyncio contains such a wrapper. pluggy throws the error into each wrapper.
    Therefore, the entries directly before and after a wrapper's entry have the same pluggy frame.
    """
    return [
        entry
        for before, entry, after in zip(entries, entries[1:], entries[2:], strict=False)
        if before.tb_frame is after.tb_frame and _package_of(before) == "pluggy"
    ]


def _package_of(entry: TracebackType) -> str:
    module: str = entry.tb_frame.f_globals.get("__name__", "")
    return module.partition(".")[0]
