"""Functions that escape, measure, cut and wrap text for a terminal, and that format values."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from datetime import datetime

from pytest_tlsandbox.redact import mask_args, mask_text

# A line break must not separate a number from its unit.
_BETWEEN_WORDS = re.compile(r" (?!(?:ms|s)\b)")


def printable(text: str) -> str:
    """Escape characters that move the cursor, change colors or reverse the writing direction.

    Returns:
        The text on one line.

    """
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def width(text: str) -> int:
    """Return the width, in columns, of a text after ``printable`` has escaped it.

    A wide East Asian character takes two columns, and a combining accent takes no column.
    """
    shown = printable(text)
    return len(shown) if shown.isascii() else sum(map(_columns, shown))


def align(rows: Iterable[Sequence[str]]) -> list[str]:
    """Return one line per row, with the columns aligned.

    Each column except the last is padded to the width of its widest cell.
    """
    rows = list(rows)
    widths = [max(map(width, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        pairs = zip(row, widths, strict=True)
        cells = [cell + " " * (columns - width(cell)) for cell, columns in pairs]
        lines.append("  ".join(cells).rstrip())
    return lines


def cut(text: str, columns: int, *, beyond: int = 0) -> str:
    """Escape a text, cut it, and show the number of cut characters, as in "python -c… +99871".

    The result contains at least the first character and the number of cut characters, even if both
    together are wider than ``columns``.

    Args:
        text: the text.
        columns: maximum width of the result.
        beyond: the number of characters that the caller has already left out, which the shown
            number includes.

    Returns:
        The text on one line.

    """
    whole = printable(text)
    if width(whole) <= columns and not beyond:
        return whole
    mark = f"… +{len(text) + beyond}"  # the mark of the result is at most this wide
    head = _head(text, max(columns - len(mark), 1))
    return f"{printable(head)}… +{len(text) - len(head) + beyond}"


def shorten(text: str, columns: int) -> str:
    """Escape a name and cut it to a width given in columns.

    Use this function instead of ``cut`` for short names. ``cut`` appends a number, which may take up
    more columns than the characters that were cut.

    Returns:
        The name on one line.

    """
    whole = printable(text)
    return whole if width(whole) <= columns else printable(_head(text, columns - 1)) + "…"


def fold(text: str, columns: int, most: int, *, beyond: int = 0) -> list[str]:
    """Escape a text and wrap it to a maximum width.

    Lines are broken at word boundaries, unless this would leave more than half of a line empty.

    Args:
        text: the text.
        columns: maximum width of a line.
        most: maximum number of lines; the last line is cut as ``cut`` does.
        beyond: the number of characters that the caller has already left out, as for ``cut``.

    Returns:
        The lines.

    """
    lines: list[str] = []
    while len(lines) < most - 1 and len(head := _head(text, columns)) < len(text):
        head = head[: space + 1] if (space := head.rfind(" ")) > len(head) // 2 else head
        lines.append(printable(head))
        text = text[len(head) :]
    return [*lines, cut(text, columns, beyond=beyond)]


def wrap(text: str, columns: int, most: int = 8) -> list[str]:
    """Escape prose and wrap it at word boundaries.

    A word that is wider than a line is not broken.

    Args:
        text: the text.
        columns: maximum width of a line, except for long words.
        most: maximum number of lines; longer text is cut as ``cut`` does.

    Returns:
        The lines.

    """
    lines: list[str] = []
    for word in re.split(_BETWEEN_WORDS, cut(text, columns * most)):
        if lines and (len(lines) == most or width(lines[-1]) + 1 + width(word) <= columns):
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines if len(lines) < most else [*lines[:-1], cut(lines[-1], columns)]


def seconds(value: float) -> str:
    """Return a duration with a suitable unit and precision, such as "4 ms" or "0.31 s"."""
    if 0.0005 <= value < 0.0995:
        return f"{value * 1000:.0f} ms"
    text = f"{value:.{2 if value < 1 else 1 if value < 100 else 0}f}"
    return f"{text.rstrip('0').rstrip('.') if '.' in text else text} s"


def capitalized(text: str) -> str:
    """Return a string with its first character in upper case and the rest unchanged."""
    return text[:1].upper() + text[1:]


def separator_after(text: str) -> str:
    """Return a semicolon if a text already contains a comma, otherwise a comma."""
    return ";" if ", " in text else ","


def count(number: int, noun: str) -> str:
    """Return a number and a noun in the singular or plural, such as "1 line" or "3 matches"."""
    plural = noun + ("es" if noun.endswith(("s", "ch")) else "s")
    return f"{number} {noun if number == 1 else plural}"


def moment(time: datetime) -> str:
    """Return the time of day of a UTC time, including milliseconds, such as "16:00:09.000"."""
    return f"{time:%H:%M:%S}.{time.microsecond // 1000:03d}"


def shown_wanted(value: object, field: str) -> str:
    """Return the expected value of a field as text.

    If several values are accepted, they are joined by "or". A list of arguments counts as a single
    value.
    """
    if field != "args" and isinstance(value, (set, frozenset, range, list, tuple)):
        return " or ".join(map(shown, value))
    return shown(value)


def shown(value: object) -> str:
    """Return the value of a field as text, with secrets masked."""
    if value is None:
        return "none"
    if isinstance(value, (list, tuple)):
        return str(mask_args([str(item) for item in value]))
    return mask_text(str(value))


def _head(text: str, columns: int) -> str:
    """Return the longest prefix of a text that fits after escaping.

    The prefix contains the first character even if this character alone is too wide.
    """
    if text.isascii() and text[:columns].isprintable():
        return text[:columns]
    taken = 0
    for index, char in enumerate(text):
        taken += width(char)
        if taken > columns:
            return text[: max(index, 1)]
    return text


def _columns(char: str) -> int:
    if unicodedata.combining(char) or unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in ("F", "W") else 1
