"""Check the arguments of helpers; each error message says which values are allowed.

An invalid value raises :class:`InvalidArgument`.
"""

from __future__ import annotations

import difflib
import inspect
import math
import os
import re
from collections.abc import Callable, Iterable
from datetime import datetime
from types import NoneType
from typing import TYPE_CHECKING, Any, Literal

from pytest_tlsandbox.errors import InvalidArgument
from pytest_tlsandbox.formatting.text import separator_after, shorten
from pytest_tlsandbox.redact import mask_text
from pytest_tlsandbox.types import STATUSES

if TYPE_CHECKING:
    from pytest_tlsandbox.types import Pick, Stream

STREAMS = ("stdout", "stderr", "output")
SEVERAL = (list, tuple, set, frozenset)
"""The types of collections of accepted values. For ``args``, a list is a single value."""
_PLAIN = {str, bytes, int, float, bool, NoneType, datetime, dict, *SEVERAL}
_NUMBER = (int, float, bool)  # because 0, 0.0 and False are equal
_KINDS: dict[str, tuple[str, tuple[type, ...]]] = {
    "args": ("text", (str,)),
    "command": ("text", (str,)),
    "ended_at": ("a datetime", (datetime, NoneType)),
    "exit_code": ("a number", (*_NUMBER, NoneType)),
    "handle": ("a number", (*_NUMBER, NoneType)),
    "managed": ("a ManagedProcess", (NoneType,)),
    "name": ("text", (str, NoneType)),
    "oom_killed": ("a bool", _NUMBER),
    "pid": ("a number", _NUMBER),
    "signal": ("a number", (*_NUMBER, NoneType)),
    "started_at": ("a datetime", (datetime,)),
    "stdin_writable": ("a bool", _NUMBER),
}
"""For each field, its type in words, and the built-in types whose values can equal it."""


def must_be(name: str, expected: str, value: object, hint: str = "") -> str:
    """Return the message for an argument with a wrong value."""
    return f"{name} must be {expected}{separator_after(expected)} got {shown(value)}{hint}"


def check_statuses(status: str | Iterable[str]) -> tuple[str, ...]:
    """Return one or several statuses as a tuple.

    Raises:
        InvalidArgument: a word is not a status. The message suggests the most similar status.

    """
    statuses = (status,) if isinstance(status, str) else _several(status)
    for word in statuses:
        if word not in STATUSES:
            hint = suggestion(word, STATUSES, cutoff=0.76)
            raise InvalidArgument(must_be("status", f"one of {', '.join(STATUSES)}", word, hint))
    if not statuses:
        raise InvalidArgument(f"status must be one or more of {', '.join(STATUSES)}; got no status")
    return statuses


def check_value(field: str, value: Any) -> None:
    """Check that an expected value is possible for a field of a process.

    Only values of built-in types are checked, because other objects may define their own
    ``__eq__``.

    Args:
        field: the name of the field.
        value: the expected value, or a collection of accepted values.

    Raises:
        InvalidArgument: the field can never equal the value.

    """
    if field == "status":
        check_statuses(value)
        return
    if field == "args" and type(value) in _PLAIN.difference(SEVERAL):
        raise InvalidArgument(not_a_list(value))
    noun, kinds = _KINDS[field]
    for one in value if type(value) in SEVERAL else (value,):
        if type(one) in _PLAIN and type(one) not in kinds:
            raise InvalidArgument(must_be(field, noun, one, _cure(one, noun)))


def _cure(value: object, noun: str) -> str:
    if noun == "a number" and isinstance(value, str) and value.isdecimal():
        return f"; write {int(value)}"
    return f"; write '{value}'" if noun == "text" and isinstance(value, (int, float)) else ""


def not_a_list(args: object) -> str:
    """Return the error message for a value of ``args`` that is not a list."""
    given = "one string" if isinstance(args, str) else shown(args)
    return f"args must be a list of strings, got {given}"


def check_seconds(name: str, value: object) -> float:
    """Return a duration in seconds as a float after checking that it is finite and not negative."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidArgument(must_be(name, "a number of seconds", value))
    if value < 0:
        raise InvalidArgument(must_be(name, ">= 0 seconds", value))
    if not math.isfinite(value):
        raise InvalidArgument(must_be(name, "a finite number of seconds", value))
    return float(value)


def check_number(name: str, value: Any, least: int, most: int | None = None) -> int:
    """Return a whole number after checking that it is not below ``least`` or above ``most``."""
    is_number = isinstance(value, int) and not isinstance(value, bool)
    if not is_number or value < least or (most is not None and value > most):
        allowed = f"a number >= {least}" if most is None else f"a number from {least} to {most}"
        raise InvalidArgument(must_be(name, allowed, value, _cure(value, "a number")))
    return int(value)


def check_codes(exit_code: int | Iterable[int] | Literal["any"]) -> tuple[int, ...] | None:
    """Return one or several exit codes as a tuple, or None if ``exit_code`` is "any"."""
    if exit_code == "any":
        return None
    codes = _several(exit_code)
    for code in codes:
        if isinstance(code, bool) or not isinstance(code, int) or not 0 <= code <= 255:
            hint = ""
            if code is None:
                hint = '; pass "any" to accept every exit code'
            elif isinstance(code, int) and code < 0:
                hint = '; to wait for a signal that ends the process, use wait_for_process(process, status="signaled")'
            raise InvalidArgument(must_be("exit_code", "from 0 to 255", code, hint))
    if not codes:
        raise InvalidArgument('exit_code must be one or more codes, or "any"; got no code')
    return codes


def check_signal(signal: int) -> int:
    """Return a signal number after checking that it is a number from 1 to 64."""
    if isinstance(signal, bool) or not isinstance(signal, int) or not 1 <= signal <= 64:
        raise InvalidArgument(
            must_be("signal", "a number from 1 to 64, such as 15 or signal.SIGTERM", signal)
        )
    return int(signal)


def check_stream(stream: Stream) -> Stream:
    """Return the name of an output stream after checking it."""
    if stream not in STREAMS:
        hint = suggestion(stream, STREAMS)
        raise InvalidArgument(must_be("stream", f"one of {', '.join(STREAMS)}", stream, hint))
    return stream


def check_pattern(pattern: object) -> str | re.Pattern[str]:
    """Return a text or a compiled regex after checking that it can match a line of output."""
    if isinstance(pattern, re.Pattern) and isinstance(pattern.pattern, str):
        return pattern
    if not isinstance(pattern, str):
        raise InvalidArgument(
            must_be("pattern", "text without a line break or a compiled regex", pattern)
        )
    if not pattern:
        raise InvalidArgument(
            "pattern must not be empty, because an empty pattern matches every line"
        )
    if "\n" in pattern:
        hint = "; wait for one line at a time"
        raise InvalidArgument(must_be("pattern", "text without a line break", pattern, hint))
    return pattern


def check_text(place: str, value: object, *, secret: bool = False) -> None:
    """Check that a value can be passed to a program as text.

    Args:
        place: the place of the value, such as "args[1]", for the error message.
        value: the value.
        secret: whether the error message must not show the value.

    Raises:
        InvalidArgument: the value is not text, contains NUL, or cannot be encoded as UTF-8.

    """
    if not isinstance(value, str):
        if secret:
            raise InvalidArgument(f"{place} must be text, got {type_name(value)}")
        cure = f"; write {str(value)!r}" if isinstance(value, (int, float, os.PathLike)) else ""
        raise InvalidArgument(must_be(place, "text", value, cure))
    if "\0" in value:
        raise InvalidArgument(
            f"{place} must not contain a NUL character, got one at position {value.index(chr(0))}"
        )
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InvalidArgument(
            f"{place} must be valid Unicode text, got a lone surrogate at position {error.start}"
        ) from None


def check_condition(condition: Callable[..., object]) -> None:
    """Check that a condition can be called with a snapshot."""
    if not callable(condition):
        raise InvalidArgument(must_be("condition", "a function that takes the snapshot", condition))
    if inspect.iscoroutinefunction(condition):
        raise InvalidArgument(
            "condition must be a plain function that takes the snapshot, got a coroutine function, whose "
            "result is always truthy"
        )
    check_takes_one("condition", condition, "the snapshot")


def check_takes_one(name: str, function: Callable[..., object], what: str) -> None:
    """Check that a function can be called with one argument; ``what`` describes this argument."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some built-in functions have no signature
        return
    try:
        signature.bind(None)
    except TypeError:
        called = f"{getattr(function, '__name__', type(function).__name__)}{signature}"
        raise InvalidArgument(
            f"{name} must be a function that takes one argument ({what}), got {shorten(mask_text(called), 60)}"
        ) from None


def suggestion(word: object, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """Return "; did you mean 'x'?" for the most similar known word, or "" if no word is similar."""
    near = difflib.get_close_matches(str(word), [*known], 1, cutoff)
    return f"; did you mean {near[0]!r}?" if near else ""


def shown(value: object) -> str:
    """Return a value as shortened text in which secrets are masked.

    If the value may contain a secret that cannot be masked, return only the type of the value.
    """
    if isinstance(value, re.Pattern):
        return "a regex of bytes"  # unlike a regex of text, which is accepted
    if type(value) not in _PLAIN or isinstance(value, bytes):
        return type_name(value)
    return shorten(mask_text(repr(value)), 60)


def type_name(value: object) -> str:
    """Return the type of a value in words, for a message that must not show the value."""
    return f"a value of type {type(value).__name__}"


def _several(value: object) -> tuple[Any, ...]:
    """Return a single value or a collection of values as a tuple."""
    return tuple(value) if isinstance(value, Iterable) and not isinstance(value, str) else (value,)


def check_pick(pick: Pick | None) -> Pick | None:
    """Return ``pick`` after checking that it is "newest", "oldest" or None."""
    if pick not in (None, "newest", "oldest"):
        raise InvalidArgument(must_be("pick", '"newest" or "oldest"', pick))
    return pick
