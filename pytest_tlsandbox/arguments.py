"""Check the arguments of helpers, and define the types of the ``start_process`` options.

An invalid value raises :class:`InvalidArgument`, whose message says which values are allowed.
"""

from __future__ import annotations

import difflib
import inspect
import math
import os
import re
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from types import NoneType
from typing import Any, Literal, TypedDict, get_args, get_origin, get_type_hints, is_typeddict

from pytest_tlsandbox.errors import InvalidArgument
from pytest_tlsandbox.formatting.text import separator_after, shorten
from pytest_tlsandbox.redact import mask_text
from pytest_tlsandbox.types import STATUSES

SEVERAL = (list, tuple, set, frozenset)
"""The types of collections of accepted values. For ``args``, a list is a single value."""
_PLAIN = {str, bytes, int, float, bool, NoneType, datetime, dict, *SEVERAL}
_NUMBERS = (int, float, bool)  # because 0, 0.0 and False are equal
_KINDS: list[tuple[str, tuple[type, ...], tuple[str, ...]]] = [
    ("text", (str,), ("args", "command", "name")),
    ("a number", _NUMBERS, ("exit_code", "handle", "pid", "signal")),
    ("a bool", _NUMBERS, ("oom_killed", "stdin_writable")),
    ("a datetime", (datetime,), ("started_at", "ended_at")),
    ("a ManagedProcess", (), ("managed",)),
]
"""A type in words, the built-in types whose values can equal such a value, and the fields."""


def argument_label(place: str) -> str:
    """Return an argument in words for an error message, such as "argument 'since'".

    A place inside an argument, such as "args[1]", is returned unchanged.
    """
    return f"argument {place!r}" if place.isidentifier() else place


def must_be(place: str, expected: str, value: object, hint: str = "") -> str:
    """Return the message for an argument with an invalid value."""
    separator = separator_after(expected)
    return f"{argument_label(place)} must be {expected}{separator} got {shown(value)}{hint}"


def check_choice(name: str, value: object, known: Collection[str]) -> None:
    """Check that a value is one of the known words.

    Raises:
        InvalidArgument: the value is not a known word. The message suggests the most similar word.

    """
    if value not in known:
        hint = suggestion(value, known, cutoff=0.76)
        raise InvalidArgument(must_be(name, f"one of {', '.join(known)}", value, hint))


def check_statuses(status: str | Iterable[str]) -> tuple[str, ...]:
    """Return one or several statuses as a tuple."""
    statuses = _several(status)
    for word in statuses or (status,):
        check_choice("status", word, STATUSES)
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
        raise InvalidArgument(must_be("args", "a list of strings", value))
    [(noun, kinds)] = [(noun, kinds) for noun, kinds, fields in _KINDS if field in fields]
    for one in value if type(value) in SEVERAL else (value,):
        if type(one) in _PLAIN.difference(kinds, {NoneType}):
            raise InvalidArgument(must_be(field, noun, one, _cure(one, noun)))


def _cure(value: object, noun: str) -> str:
    if noun == "a number" and isinstance(value, str) and value.isdecimal():
        return f"; write {int(value)}"
    written = noun == "text" and isinstance(value, (int, float, os.PathLike))
    return f"; write {str(value)!r}" if written else ""


def check_seconds(name: str, value: object) -> float:
    """Return a duration in seconds as a float after checking that it is finite and not negative."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise InvalidArgument(must_be(name, "a number of seconds", value))
    if value < 0:
        raise InvalidArgument(must_be(name, ">= 0 seconds", value))
    return float(value)


def check_number(name: str, value: Any, least: int, most: float = math.inf) -> int:
    """Return a whole number after checking that ``least`` <= number <= ``most``."""
    if not _is_whole(value, least, most):
        allowed = f">= {least}" if most == math.inf else f"from {least} to {most}"
        raise InvalidArgument(must_be(name, f"a number {allowed}", value, _cure(value, "a number")))
    return int(value)


def _is_whole(value: object, least: int, most: float) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def check_codes(exit_code: int | Iterable[int] | Literal["any"]) -> tuple[int, ...] | None:
    """Return one or several exit codes as a tuple, or None if ``exit_code`` is "any"."""
    if exit_code == "any":
        return None
    codes = _several(exit_code)
    for code in codes or (exit_code,):
        if not _is_whole(code, 0, 255):
            hint = '; pass "any" to accept every exit code'
            if isinstance(code, int) and code < 0:
                hint = '; to wait for a signal that ends the process, use wait_for_process(process, status="signaled")'
            raise InvalidArgument(must_be("exit_code", "from 0 to 255", code, hint))
    return codes


def check_pattern(pattern: object) -> str | re.Pattern[str]:
    """Return a text or a compiled regex after checking that it can match a line of output."""
    if isinstance(pattern, re.Pattern) and isinstance(pattern.pattern, str):
        return pattern
    if not isinstance(pattern, str) or not pattern or "\n" in pattern:
        allowed = "a non-empty text without a line break or a compiled regex"
        raise InvalidArgument(must_be("pattern", allowed, pattern))
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
        got = type_name(value) if secret else f"{shown(value)}{_cure(value, 'text')}"
        raise InvalidArgument(f"{argument_label(place)} must be text, got {got}")
    if wrong := re.search("[\0\ud800-\udfff]", value):
        raise InvalidArgument(
            f"{argument_label(place)} must not contain a NUL character or a lone surrogate, got one at "
            f"position {wrong.start()}"
        )


def check_function(name: str, function: object, argument: str) -> None:
    """Check that a function can be called with one argument.

    Args:
        name: the name of the argument that contains the function.
        function: the function.
        argument: the argument of the function, in words.

    Raises:
        InvalidArgument: the value is not a function of one argument, or is a coroutine function.

    """
    must = f"{argument_label(name)} must be a function that takes one argument ({argument}), got"
    if not callable(function):
        raise InvalidArgument(f"{must} {shown(function)}")
    if inspect.iscoroutinefunction(function):
        raise InvalidArgument(f"{must} a coroutine function, whose result is always truthy")
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some built-in functions have no signature
        return
    try:
        signature.bind(None)
    except TypeError:
        called = f"{getattr(function, '__name__', type(function).__name__)}{signature}"
        raise InvalidArgument(f"{must} {shorten(mask_text(called), 60)}") from None


def suggestion(word: object, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """Return "; did you mean 'x'?" for the most similar known word, or "" if no word is similar."""
    near = difflib.get_close_matches(str(word), [*known], 1, cutoff)
    return f"; did you mean {near[0]!r}?" if near else ""


def shown(value: object) -> str:
    """Return a value as shortened text in which secrets are masked.

    If the value may contain a secret that cannot be masked, return only the type of the value.
    """
    if type(value) not in _PLAIN or isinstance(value, bytes):
        return type_name(value)
    return shorten(mask_text(repr(value)), 60)


def type_name(value: object) -> str:
    """Return the type of a value in words, for a message that must not show the value."""
    return f"a value of type {type(value).__name__}"


def _several(value: object) -> tuple[Any, ...]:
    """Return a single value or a collection of values as a tuple."""
    return tuple(value) if isinstance(value, Iterable) and not isinstance(value, str) else (value,)


class RestartOptions(TypedDict, total=False):
    """The value of ``start_process(restart=...)``, which defines when the process is restarted.

    All keys are optional; the sandbox has a default for each key.

    Attributes:
        policy: "on_failure" restarts the process if it fails, "always" restarts it whenever it
            ends, and "never" does not restart it.
        max_restarts: the maximum number of restarts; None for no limit.
        initial_backoff_ms: the shortest pause before a restart, in milliseconds.
        max_backoff_ms: the longest pause before a restart, in milliseconds.

    """

    policy: Literal["on_failure", "never", "always"]
    max_restarts: int | None
    initial_backoff_ms: int
    max_backoff_ms: int


class _Required(TypedDict):
    type: Literal["http", "tcp"]
    port: int


class HealthCheckOptions(_Required, total=False):
    """The value of ``start_process(health_check=...)``, which defines how the health is checked.

    ``type`` and ``port`` are required; the sandbox has a default for every other key.

    Attributes:
        type: the kind of check: "http" sends a request, "tcp" opens a connection.
        port: the port in the sandbox, from 1 to 65535.
        path: the path of the request, which applies only if ``type`` is "http".
        initial_delay_ms: milliseconds from the start of the process to the first check.
        interval_ms: milliseconds between two checks.
        timeout_ms: milliseconds that a check may take.
        failure_threshold: the number of consecutive failures after which the process is unhealthy.

    """

    path: str | None
    initial_delay_ms: int
    interval_ms: int
    timeout_ms: int
    failure_threshold: int


class StartOptions(TypedDict, total=False):
    """The options of the method ``start_process``. None stands for the sandbox's own default.

    Attributes:
        env: environment variables to set.
        working_dir: the working directory of the program, a folder in the sandbox.
        user: the user that runs the program: a name, a uid or "uid:gid" as text, or a mapping in
            the format of the API.
        stdin_mode: "pipe" keeps the standard input open; "closed" closes it.
        stdout_mode: "capture" stores the standard output; "discard" drops it.
        stderr_mode: "capture" stores the standard error; "discard" drops it.
        name: the name of the managed process, which stays the same across restarts.
        restart: when the supervisor restarts the program; see ``RestartOptions``.
        health_check: how the supervisor checks the health of the process; see
            ``HealthCheckOptions``.

    """

    env: Mapping[str, str] | None
    working_dir: str | None
    user: str | Mapping[str, object] | None
    stdin_mode: Literal["closed", "pipe"] | None
    stdout_mode: Literal["capture", "discard"] | None
    stderr_mode: Literal["capture", "discard"] | None
    name: str | None
    restart: RestartOptions | None
    health_check: HealthCheckOptions | None


_EXAMPLES = {"restart": '{"policy": "always"}', "health_check": '{"type": "http", "port": 8080}'}
"""For each option that is a mapping, an example for error messages."""


def check_options(options: Mapping[str, object]) -> None:
    """Check the options of ``start_process``.

    Raises:
        InvalidArgument: an option is unknown, has the wrong type or an unknown key, or a key has an
            invalid value.

    """
    hints = get_type_hints(StartOptions)
    for name, value in options.items():
        check_choice("each option of start_process", name, hints)
        _check_by_type(name, hints[name], value)


def _check_by_type(place: str, hint: Any, value: object) -> None:
    """Check a value by its type hint."""
    optional = NoneType in get_args(hint)
    if optional and value is None:
        return
    kind = get_args(hint)[0] if optional else hint
    if get_origin(kind) is Literal:
        check_choice(place, value, get_args(kind))
    elif is_typeddict(kind):
        _check_mapping(place, kind, value)
    elif place == "health_check['port']":
        check_number(place, value, 1, 2**16 - 1)
    elif kind is int:
        check_number(place, value, 0, 2**32 - 1)
    elif place == "env":
        _check_env(value)
    elif not (place == "user" and isinstance(value, Mapping)):
        check_text(place, value)


def _check_env(env: object) -> None:
    if not isinstance(env, Mapping):
        raise InvalidArgument(
            f"argument 'env' must be a mapping such as {{'A': '1'}}, got a {type(env).__name__}"
        )
    for key, value in env.items():
        check_text("each name in 'env'", key)
        check_text(f"env[{key!r}]", value, secret=True)


def _check_mapping(name: str, kind: Any, value: object) -> None:
    hints = get_type_hints(kind)
    example = f"; for example, write {name}={_EXAMPLES[name]}"
    if not isinstance(value, Mapping):
        expected = f"a mapping with the keys {', '.join(hints)}"
        raise InvalidArgument(must_be(name, expected, value, example))
    for key, given in value.items():
        check_choice(f"each key of '{name}'", key, hints)
        _check_by_type(f"{name}[{key!r}]", hints[key], given)
    for key in hints:
        if key in kind.__required_keys__ and key not in value:
            raise InvalidArgument(f"{argument_label(name)} has no key {key!r}{example}")
