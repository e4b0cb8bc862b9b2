"""Text as a terminal shows it: what is escaped, how wide it is, where it is cut; values as text."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

from pytest_tlsandbox.redact import mask_args, mask_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

_LEFT_TO_RIGHT_MARK = "\u200e"
# A number stays with its unit.
_BETWEEN_WORDS = re.compile(r" (?!(?:ms|s)\b)")


def printable(text: str) -> str:
    """Escape what would move a terminal's cursor, colour it or turn its writing direction.

    Letters that are written from right to left stay; a mark after them keeps what follows, on the
    same line, in its place.
    """
    return _steady(_escape(text))


def width(text: str) -> int:
    """Count the columns that a printable text takes: East Asian letters take two, accents none."""
    if text.isascii():
        return len(text)
    return sum(map(_columns, text))


def pad(text: str, columns: int) -> str:
    """Fill up with spaces on the right."""
    return text + " " * (columns - width(text))


def align(rows: Iterable[Sequence[str]]) -> list[str]:
    """Pad every column but the last to its widest cell."""
    rows = list(rows)
    widths = [max(map(width, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(pad(cell, columns) for cell, columns in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def cut(text: str, columns: int, *, beyond: int = 0) -> str:
    """Escape, cut to a width, and say how many characters were left out: "python -c aaa… +99871".

    ``beyond``: so many more were left out before.
    """
    whole = _escape(text)
    if width(whole) <= columns and not beyond:
        return _steady(whole)
    mark = f"… +{len(text) + beyond}"  # as wide as the true one, or a column wider
    head = _head(text, max(columns - len(mark), 1))
    return _steady(_escape(head)) + f"… +{len(text) - len(head) + beyond}"


def shorten(text: str, columns: int) -> str:
    """Escape and cut a name, where a count would be longer than what it counts."""
    whole = _escape(text)
    return _steady(whole if width(whole) <= columns else _escape(_head(text, columns - 1)) + "…")


def fold(text: str, columns: int, most: int, *, beyond: int = 0) -> list[str]:
    """Escape and break a text into lines of a width, ``most`` of them at most: the last is cut.

    Between words, unless that would leave more than half a line empty.
    """
    lines: list[str] = []
    while len(lines) < most - 1 and len(head := _head(text, columns)) < len(text):
        head = head[: space + 1] if (space := head.rfind(" ")) > len(head) // 2 else head
        lines.append(_steady(_escape(head)))
        text = text[len(head) :]
    return [*lines, cut(text, columns, beyond=beyond)]


def wrap(text: str, columns: int, most: int = 8) -> list[str]:
    """Escape prose and break it between words; a word that is wider than a line stays whole.

    What is more than ``most`` lines is cut.
    """
    lines: list[str] = []
    for word in re.split(_BETWEEN_WORDS, cut(text, columns * most)):
        if lines and (len(lines) == most or width(lines[-1]) + 1 + width(word) <= columns):
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines if len(lines) < most else [*lines[:-1], cut(lines[-1], columns)]


def seconds(value: float) -> str:
    """Return a duration with a suitable precision: "4 ms", "0.31 s", "8.2 s", "120 s"."""
    if 0.0005 <= value < 0.0995:
        return f"{value * 1000:.0f} ms"
    text = f"{value:.{2 if value < 1 else 1 if value < 100 else 0}f}"
    return f"{text.rstrip('0').rstrip('.') if '.' in text else text} s"


def capitalized(text: str) -> str:
    """Begin with a capital, and leave the rest as it is."""
    return text[:1].upper() + text[1:]


def count(number: int, noun: str) -> str:
    """Return "1 line", "3 lines"."""
    plural = noun + ("es" if noun.endswith("s") else "s")
    return f"{number} {noun if number == 1 else plural}"


def moment(time: datetime) -> str:
    """Return the time of day, to the millisecond, in UTC."""
    return f"{time:%H:%M:%S}.{time.microsecond // 1000:03d}"


def shown_wanted(value: object, field: str) -> str:
    """Return the expected value of a field, or its values: any of several, except for arguments."""
    if field != "args" and isinstance(value, (set, frozenset, range, list, tuple)):
        return " or ".join(map(shown, value))
    return shown(value)


def shown(value: object) -> str:
    """Return the value of a field, masked."""
    if value is None:
        return "none"
    if isinstance(value, (list, tuple)):
        return str(mask_args([str(item) for item in value]))
    return mask_text(str(value))


def _escape(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def _steady(text: str) -> str:
    turns = not text.isascii() and any(
        unicodedata.bidirectional(char) in ("R", "AL") for char in text
    )
    return text + _LEFT_TO_RIGHT_MARK if turns else text


def _head(text: str, columns: int) -> str:
    """Return as much of a text as fits in a width when escaped, at least one character."""
    if text.isascii() and text[:columns].isprintable():
        return text[:columns]
    taken = 0
    for index, char in enumerate(text):
        taken += width(_escape(char))
        if taken > columns:
            return text[: max(index, 1)]
    return text


def _columns(char: str) -> int:
    if unicodedata.combining(char) or unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in ("F", "W") else 1
