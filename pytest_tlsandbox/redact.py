"""Hide the API key, and mask secrets in command lines, URLs and other text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NoReturn

MASK = "***"

# The patterns are texts, so that they are compiled by their first use, which takes 4 ms, and not at
# import. The module re keeps what it has compiled.

# Words that name a secret. Common options that look similar stay readable, such as --max-tokens,
# --author and --keyboard.
_WORD = (
    r"api[-_]?key|access[-_]?key|auth(?!or(?!iz))|bearer|credential|key(?!board|word|s\b|stroke)"
    r"|pass(?:phrase|wd|word)|pwd|secret|token(?!s|iz)"
)
# "pass" and "pat" count only as the last whole word of a name, unlike in COMPASS and --path. If
# they are the whole name, a colon alone is not enough: "PASS: test_it" and {"pass": 3} do not
# contain a secret, but {"pass": "x"} does.
_LAST_WORD = (
    r"(?:pass(?<![^\W_]pass)|pat(?<![^\W_]pat)|sshpass)(?![\w.-])"
    r"(?:(?<=[^\W_][_.-]pass)|(?<=[^\W_][_.-]pat)|(?!\\{0,3}[\"']?\s{0,9}:(?!\s{0,9}\\{0,3}[\"'])))"
)
# The length is bounded because matching a long series of such words took minutes.
_NAME = rf"[\w.-]{{0,100}}(?:(?:{_WORD})[\w.-]{{0,100}}|{_LAST_WORD})"
# A quote may be escaped, or may be missing because the text was cut.
_WITH_SPACES = r"\\{0,3}\"[^\"]*\"?|\\{0,3}'[^']*'?|(?:Bearer|Basic)\s+\S+"
_VALUE = rf"(?:{_WITH_SPACES}|[^\s\"'&;,}}]+)"
# --token=x, API_KEY=x, password: x, {"token": "x"}
_ASSIGNMENT = rf"(?i)(?<![\w.-])({_NAME}\\{{0,3}}[\"']?\s*[=:]\s*)({_VALUE})"
# The same forms as a whole argument: all text after the separator is the value.
_ARGUMENT = rf"(?is)({_NAME}[=:]).+"
# --token, whose value is the next argument
_FLAG = rf"(?i)-{_NAME}"
# An option such as -v or --verbose is not a value, but other texts that begin with a dash are
# values.
_OPTION = r"(?:-[a-zA-Z]|--[a-z][a-z\d_-]*)"
_OPTION_ARGUMENT = rf"(?s){_OPTION}(?:=.*)?"
# The same in a command line that is written as text: --token x, ["--token", "x"]
_ANNOUNCED = (
    rf"(?i)(-(?<![\w.-]-){_NAME}(?:(?:[ \t]|\\\r?\n){{1,100}}|\\{{0,3}}[\"'],\s{{0,100}}))"
    rf"(?![\"']?(?-i:{_OPTION})(?![^\s=\"';&|)])|[=:]|(?:and|cannot|is|must|needs|not|or|was)\s)"
    rf"({_WITH_SPACES}|(?:\\[^\"'\n]|[^\s\"'&;|)\\])+)"
)
_SCHEME = r"(?i)\bBearer\s+[\w.~+/=-]+"
_USERINFO = r"(?<=://)[^/\s]+(?=@)"
# The format of the platform's API keys.
_OWN_KEY = r"\btl_(?:apiKey|pat)_[\w-]+"


# The texts of all Secret objects, because a server may repeat a key, or a program may print it.
_known: set[str] = set()
# The user's patterns (ini key tlsandbox_mask).
_own: list[re.Pattern[str]] = []
_SHORTEST_KNOWN = 8


class Secret:
    """A text that is shown as ``***``, for example an API key.

    ``reveal()`` returns the original text. If the text has at least 8 characters, the plugin also
    masks every later occurrence of the text in its own output. A ``Secret`` cannot be pickled.

    Args:
        value: the text.

    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value
        if len(value) >= _SHORTEST_KNOWN:
            _known.add(value)

    def reveal(self) -> str:
        """Return the text, unmasked."""
        return self._value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __repr__(self) -> str:
        return MASK

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret must not be written to a file or sent to another process")


def set_masks(patterns: Sequence[re.Pattern[str]]) -> None:
    """Set the patterns that the user configured.

    Any text that matches one of these patterns is masked.
    """
    _own[:] = patterns


def mask_text(text: str) -> str:
    """Mask known secrets, and text that looks like a secret, such as ``://user:password@``."""
    for pattern in _own:
        text = pattern.sub(MASK, text)
    text = re.sub(_USERINFO, MASK, text)
    text = re.sub(_ANNOUNCED, _mask_value, text)
    text = re.sub(_ASSIGNMENT, _mask_value, text)
    text = re.sub(_SCHEME, f"Bearer {MASK}", text)
    text = re.sub(_OWN_KEY, MASK, text)
    for secret in tuple(_known):
        text = text.replace(secret, MASK)
    return text


def mask_args(args: Sequence[str]) -> list[str]:
    """Return the arguments of a program with their secrets masked.

    If an argument follows a flag such as ``--token`` and is not an option, the whole argument is
    masked.
    """
    masked = []
    announced = False
    for arg in args:
        if announced and not re.fullmatch(_OPTION_ARGUMENT, arg):
            masked.append(MASK)
        else:
            assignment = re.fullmatch(_ARGUMENT, arg)
            masked.append(f"{assignment[1]}{MASK}" if assignment else mask_text(arg))
        announced = re.fullmatch(_FLAG, arg) is not None
    return masked


def _mask_value(match: re.Match[str]) -> str:
    opening = re.match(r"\\*[\"']", match[2])
    quote = opening[0] if opening else ""
    return f"{match[1]}{quote}{MASK}{quote}"
