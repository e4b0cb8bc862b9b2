"""How a thing is called in one word or two: a time, a process, a moment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_tlsandbox.formatting.text import shorten
from pytest_tlsandbox.redact import mask_args, mask_text

if TYPE_CHECKING:
    from datetime import datetime

    from pytest_tlsandbox.models import ProcessInfo

_LONGEST_NAME = 24
_LONGEST_COMMAND_LINE = 4096
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


def shown_wanted(value: object, field: str) -> str:
    """Give what is wanted of a field: one value or, but for arguments, one of several."""
    if field != "args" and isinstance(value, (set, frozenset, range, list, tuple)):
        return " or ".join(map(shown, value))
    return shown(value)


def shown(value: object) -> str:
    """Give the value of a field as it may be shown."""
    if value is None:
        return "none"
    if isinstance(value, (list, tuple)):
        return str(mask_args([str(item) for item in value]))
    return mask_text(str(value))


def command_line(row: ProcessInfo) -> tuple[str, int]:
    """Give command and arguments as they may be shown, and how many characters were left out.

    What no line has room for is not masked either: arguments may have megabytes.
    """
    room = _LONGEST_COMMAND_LINE
    parts = []
    for part in (row.command, *row.args):
        parts.append(part[:room])
        room -= len(parts[-1]) + 1
        if room <= 0:
            break
    beyond = len(row.command_line) - len(" ".join(parts))
    return " ".join((mask_text(parts[0]), *mask_args(parts[1:]))), beyond


def short_name(row: ProcessInfo) -> str:
    """Call a process by its managed name, the script it runs, or its program."""
    if row.managed and row.managed.name:
        return shorten(mask_text(row.managed.name[:1000]), _LONGEST_NAME)
    command, args = mask_text(row.command[:1000]), mask_args([arg[:1000] for arg in row.args[:2]])
    program = command.rpartition("/")[2] or command
    if program.rstrip("0123456789.") in _INTERPRETERS and args:
        first, *rest = args
        if first == "-m" and rest:
            return shorten(rest[0], _LONGEST_NAME)
        if not first.startswith("-"):
            return shorten(first.rpartition("/")[2], _LONGEST_NAME)
        return shorten(f"{program} {first}", _LONGEST_NAME)
    return shorten(program, _LONGEST_NAME)


def named(row: ProcessInfo) -> str:
    """Give "train.py (pid 41)"."""
    return f"{short_name(row)} (pid {row.pid})"


def moment(time: datetime) -> str:
    """Give the time of day, to the millisecond, in UTC."""
    return f"{time:%H:%M:%S}.{time.microsecond // 1000:03d}"
