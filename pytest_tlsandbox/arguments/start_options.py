"""The types of the options of ``start_process``, and checks of their values."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict, get_args, get_origin, get_type_hints

from pytest_tlsandbox.arguments.checks import check_text, must_be, shown, suggestion
from pytest_tlsandbox.errors import InvalidArgument


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
    """The options of the method ``start_process``; the method's docstring describes them."""

    env: Mapping[str, str] | None
    working_dir: str | None
    user: str | Mapping[str, object] | None
    stdin_mode: Literal["closed", "pipe"] | None
    stdout_mode: Literal["capture", "discard"] | None
    stderr_mode: Literal["capture", "discard"] | None
    name: str | None
    restart: RestartOptions | None
    health_check: HealthCheckOptions | None


_MODES = {
    "stdin_mode": ("closed", "pipe"),
    "stdout_mode": ("capture", "discard"),
    "stderr_mode": ("capture", "discard"),
}
_MAPPINGS: dict[str, tuple[Any, dict[str, object]]] = {
    "restart": (RestartOptions, {"policy": "always"}),
    "health_check": (HealthCheckOptions, {"type": "http", "port": 8080}),
}
"""For each option that is a mapping, its type, and an example for error messages."""


def check_option(name: str, value: object) -> object:
    """Check an option of ``start_process``.

    Args:
        name: the name of the option.
        value: its value; not None.

    Returns:
        The value in the form that the request needs.

    Raises:
        InvalidArgument: the option has a wrong type or an unknown key, or a key has an invalid
            value.

    """
    if name in _MAPPINGS:
        return _check_mapping(name, value, *_MAPPINGS[name])
    if name in _MODES:
        _check_word(name, "mode", value, _MODES[name])
    elif not (name == "user" and isinstance(value, Mapping)):
        check_text(name, value)
    return value


def _check_mapping(
    name: str, value: object, kind: Any, example: dict[str, object]
) -> dict[str, object]:
    hints = get_type_hints(kind)
    if not isinstance(value, Mapping):
        # The most common mistake is to pass only the value of the first key, as in
        # restart="always".
        first = next(iter(hints))
        word = value if value in get_args(hints[first]) else example[first]
        hint = f"; write {name}={json.dumps({**example, first: word})}"
        raise InvalidArgument(
            must_be(name, f"a mapping with the keys {', '.join(hints)}", value, hint)
        )
    for key, given in value.items():
        _check_word(name, "key", key, [*hints])
        _check_value(name, key, hints[key], given)
    for key in hints:
        if key in kind.__required_keys__ and key not in value:
            raise InvalidArgument(
                f"{name}: missing key {key!r}; for example, write {name}={json.dumps(example)}"
            )
    return dict(value)


def _check_value(name: str, key: str, hint: object, value: object) -> None:
    kinds = get_args(hint) or (hint,)
    if get_origin(hint) is Literal:
        _check_word(name, key, value, kinds)
    elif value is None and type(None) in kinds:
        return
    elif str in kinds:
        check_text(f"{name}: {key}", value)
    else:
        numbers = range(1, 2**16) if key == "port" else range(2**32)
        if isinstance(value, bool) or not isinstance(value, int) or value not in numbers:
            none = " or None" if type(None) in kinds else ""
            expected = f"an integer from {numbers[0]} to {numbers[-1]}{none}"
            raise InvalidArgument(must_be(f"{name}: {key}", expected, value))


def _check_word(name: str, what: str, value: object, known: Sequence[str]) -> None:
    if value not in known:
        hint = suggestion(value, known) or f"; expected one of {', '.join(known)}"
        raise InvalidArgument(f"{name}: unknown {what} {shown(value)}{hint}")
