"""How a thing is called in one word or two: a time, a process, a moment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_tlsandbox.redact import mask_args, mask_text

if TYPE_CHECKING:
    from datetime import datetime

    from pytest_tlsandbox.client.models import ProcessInfo

_LONGEST_NAME = 24
_INTERPRETERS = ("python", "node", "ruby", "perl", "bash", "sh", "dash", "zsh", "deno", "bun")


def seconds(value: float) -> str:
    """Give a time with the precision it is worth: "4 ms", "0.31 s", "8.2 s", "120 s"."""
    if 0.0005 <= value < 0.0995:
        return f"{value * 1000:.0f} ms"
    text = f"{value:.{2 if value < 1 else 1 if value < 100 else 0}f}"
    return f"{text.rstrip('0').rstrip('.') if '.' in text else text} s"


def capitalized(text: str) -> str:
    """Begin with a capital, and leave the rest as it is."""
    return text[:1].upper() + text[1:]


def count(number: int, noun: str) -> str:
    """Give "1 look", "3 looks"."""
    plural = noun + ("es" if noun.endswith("s") else "s")
    return f"{number} {noun if number == 1 else plural}"


def cut(text: str, width: int) -> str:
    """Cut a text to a width, and show that it was; control characters are escaped."""
    text = printable(text)
    return text if len(text) <= width else text[: max(width - 1, 0)] + "…"


def printable(text: str) -> str:
    """Escape what would move a terminal's cursor or turn its writing direction."""
    return (
        text
        if text.isprintable()
        else "".join(
            char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
        )
    )


def shown(value: object) -> str:
    """Give the value of a field as it may be shown."""
    if value is None:
        return "none"
    if isinstance(value, (set, frozenset, range)):
        return " or ".join(map(str, value))
    if isinstance(value, (list, tuple)):
        return str(mask_args([str(item) for item in value]))
    return mask_text(str(value))


def short_name(row: ProcessInfo) -> str:
    """Call a process by its managed name, the script it runs, or its program."""
    if row.managed and row.managed.name:
        return cut(row.managed.name, _LONGEST_NAME)
    command, args = mask_text(row.command), mask_args(row.args)
    program = command.rpartition("/")[2] or command
    if program.rstrip("0123456789.") in _INTERPRETERS and args:
        first, *rest = args
        if first == "-m" and rest:
            return cut(rest[0], _LONGEST_NAME)
        if not first.startswith("-"):
            return cut(first.rpartition("/")[2], _LONGEST_NAME)
        return cut(f"{program} {first}", _LONGEST_NAME)
    return cut(program, _LONGEST_NAME)


def named(row: ProcessInfo) -> str:
    """Give "train.py (pid 41)"."""
    return f"{short_name(row)} (pid {row.pid})"


def moment(time: datetime) -> str:
    """Give the time of day, to the millisecond, in UTC."""
    return f"{time:%H:%M:%S}.{time.microsecond // 1000:03d}"
