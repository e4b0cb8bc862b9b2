"""The types of the ``start_process`` options, and checks of their values."""

from __future__ import annotations

from collections.abc import Mapping
from types import NoneType
from typing import Any, Literal, TypedDict, get_args, get_origin, get_type_hints, is_typeddict

from pytest_tlsandbox.arguments.checks import (
    argument_label,
    check_choice,
    check_number,
    check_text,
    must_be,
)
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


def check_option(name: str, value: object) -> None:
    """Check an option of ``start_process`` other than ``env``.

    Args:
        name: the name of the option.
        value: its value.

    Raises:
        InvalidArgument: the option has the wrong type or an unknown key, or a key has an invalid
            value.

    """
    _check(name, get_type_hints(StartOptions)[name], value)


def _check(place: str, hint: Any, value: object) -> None:
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
    elif not (place == "user" and isinstance(value, Mapping)):
        check_text(place, value)


def _check_mapping(name: str, kind: Any, value: object) -> None:
    hints = get_type_hints(kind)
    example = f"; for example, write {name}={_EXAMPLES[name]}"
    if not isinstance(value, Mapping):
        expected = f"a mapping with the keys {', '.join(hints)}"
        raise InvalidArgument(must_be(name, expected, value, example))
    for key, given in value.items():
        check_choice(f"each key of '{name}'", key, hints)
        _check(f"{name}[{key!r}]", hints[key], given)
    for key in hints:
        if key in kind.__required_keys__ and key not in value:
            raise InvalidArgument(f"{argument_label(name)} has no key {key!r}{example}")
