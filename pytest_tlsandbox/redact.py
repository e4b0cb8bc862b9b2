"""What must not be printed: the key, and what a command line or a URL may hide."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

MASK = "***"

# Words that name a secret. Look-alikes that are everyday options stay readable: --max-tokens,
# --author, --keyboard.
_NAME = (
    r"[\w.-]*(?:api[-_]?key|access[-_]?key|auth(?!or)|bearer|credential|key(?!board|word|s\b|stroke)"
    r"|pass(?:phrase|wd|word)|pwd|secret|token(?!s|iz))[\w.-]*"
)
# --token=x, API_KEY=x, password: x
_ASSIGNMENT = re.compile(rf"(?<![\w.-])({_NAME}\s*[=:]\s*[\"']?)([^\s\"'&;,]+)", re.IGNORECASE)
# --token, with what it announces in the next argument
_FLAG = re.compile(rf"--?{_NAME}", re.IGNORECASE)
_SCHEME = re.compile(r"\b(Bearer|Basic)\s+[\w.~+/=-]+", re.IGNORECASE)
_USERINFO = re.compile(r"(?<=://)[^/@\s]+(?=@)")
# The form of the platform's own keys (fact sheet 1.4).
_OWN_KEY = re.compile(r"\btl_(?:apiKey|pat)_[\w-]+")


class Secret:
    """A text that shows as ``***`` wherever it turns up; ``reveal()`` gives it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Give the text itself."""
        return self._value

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __repr__(self) -> str:
        return MASK

    def __reduce__(self) -> NoReturn:
        message = "a Secret is not written to files or sent to other processes"
        raise TypeError(message)


def mask_text(text: str) -> str:
    """Replace what looks like a secret: ``token=…``, ``Bearer …``, ``://user:password@``."""
    text = _USERINFO.sub(MASK, text)
    text = _SCHEME.sub(rf"\1 {MASK}", text)
    text = _OWN_KEY.sub(MASK, text)
    return _ASSIGNMENT.sub(rf"\1{MASK}", text)


def mask_args(args: Sequence[str]) -> list[str]:
    """Mask each argument, and whole the one that follows a flag like ``--token``."""
    masked = []
    announced = False
    for arg in args:
        masked.append(MASK if announced and not arg.startswith("-") else mask_text(arg))
        announced = _FLAG.fullmatch(arg) is not None
    return masked
