"""What requests say: bodies read, and turned down, as the daemon does.

Its framework answers 400, 415 and 422 in plain text of its own (daemon-captures.md); the wording
here follows the captures. Only the column of some type errors is our own reading.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

StdinMode = Literal["closed", "pipe"]
OutputMode = Literal["capture", "discard"]

_INT32 = range(-(2**31), 2**31)
_DECODER = json.JSONDecoder()
_SPACE = " \t\r\n"


class Rejection(Exception):
    """A request that cannot be acted upon: the HTTP status and the plain text to answer with."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


@dataclass(frozen=True)
class StartRequest:
    """The body of ``POST /processes`` (fact sheet section 4); fields it does not have are ignored."""

    command: str
    args: list[str] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)
    working_dir: str | None = None
    stdin_mode: StdinMode = "closed"
    stdout_mode: OutputMode = "capture"
    stderr_mode: OutputMode = "capture"


def read_start(body: bytes, content_type: str) -> StartRequest:
    """Read the body of a start. Raises Rejection (400, 415, 422)."""
    fields = _read_object(body, content_type)
    return StartRequest(
        command=fields.text("command"),
        args=fields.texts("args"),
        env=fields.text_map("env"),
        working_dir=fields.optional_text("working_dir"),
        stdin_mode=fields.choice("stdin_mode", get_args(StdinMode)),
        stdout_mode=fields.choice("stdout_mode", get_args(OutputMode)),
        stderr_mode=fields.choice("stderr_mode", get_args(OutputMode)),
    )


def read_signal(body: bytes, content_type: str) -> int:
    """Read the body of a signal: its number. Raises Rejection (400, 415, 422)."""
    return _read_object(body, content_type).int32("signal")


def read_pid(segment: str) -> int:
    """Read the pid in a path, an unsigned 32-bit number. Raises Rejection (400)."""
    if segment.isascii() and segment.isdigit() and len(segment) < 20 and int(segment) < 2**32:
        return int(segment)
    raise Rejection(400, f'Invalid URL: Cannot parse `"{segment}"` to a `u32`')


class _Fields:
    """The fields of a JSON object, each with the place where its value ends."""

    def __init__(self, values: dict[str, Any], ends: dict[str, int], source: str) -> None:
        self._values = values
        self._ends = ends
        self._source = source

    def text(self, name: str) -> str:
        if name not in self._values:
            raise self._missing(name)
        return self._checked_text(name, name, self._values[name])

    def optional_text(self, name: str) -> str | None:
        return None if self._values.get(name) is None else self.text(name)

    def texts(self, name: str) -> list[str]:
        values = self._values.get(name, [])
        if not isinstance(values, list):
            raise self._wrong_type(name, name, values, "a sequence")
        return [self._checked_text(name, f"{name}[{i}]", value) for i, value in enumerate(values)]

    def text_map(self, name: str) -> dict[str, str]:
        values = self._values.get(name)
        if values is None:
            return {}
        if not isinstance(values, dict):
            raise self._wrong_type(name, name, values, "a map")
        return {
            key: self._checked_text(name, f"{name}.{key}", value) for key, value in values.items()
        }

    def choice(self, name: str, choices: tuple[Any, ...]) -> Any:
        """Give the value, which is one of two; absent, the first."""
        if name not in self._values:
            return choices[0]
        value = self.text(name)
        if value not in choices:
            expected = " or ".join(f"`{choice}`" for choice in choices)
            problem = f"unknown variant `{value}`, expected {expected}"
            raise self._unfit(name, problem, self._ends[name])
        return value

    def int32(self, name: str) -> int:
        if name not in self._values:
            raise self._missing(name)
        value = self._values[name]
        if not isinstance(value, int) or isinstance(value, bool):
            raise self._wrong_type(name, name, value, "i32")
        if value not in _INT32:
            problem = f"invalid value: integer `{value}`, expected i32"
            raise self._unfit(name, problem, self._ends[name])
        return value

    def _checked_text(self, name: str, path: str, value: object) -> str:
        if not isinstance(value, str):
            raise self._wrong_type(name, path, value, "a string")
        return value

    def _missing(self, name: str) -> Rejection:
        return self._unfit(".", f"missing field `{name}`", len(self._source))

    def _wrong_type(self, name: str, path: str, value: object, expected: str) -> Rejection:
        problem = f"invalid type: {_describe(value)}, expected {expected}"
        return self._unfit(path, problem, self._ends[name])

    def _unfit(self, path: str, problem: str, end: int) -> Rejection:
        return _unfit(path, problem, self._source, end)


def _read_object(body: bytes, content_type: str) -> _Fields:
    media_type = content_type.partition(";")[0].strip().lower()
    if not media_type.startswith("application/") or not media_type.endswith(("/json", "+json")):
        raise Rejection(415, "Expected request with `Content-Type: application/json`")
    try:
        source = body.decode("utf-8").strip(_SPACE)
    except UnicodeDecodeError:
        raise Rejection(400, _not_json(".", "invalid unicode code point", "", 0)) from None
    if source.startswith("{"):
        return _read_members(source)
    value = _read_value(source, 0, ".")[0]
    problem = f"invalid type: {_describe(value)}, expected a map"
    raise _unfit(".", problem, source, len(source))


def _read_members(source: str) -> _Fields:
    """Read an object member by member, for the standard decoder does not tell where each one ends."""
    values: dict[str, Any] = {}
    ends: dict[str, int] = {}
    at = _skip_space(source, 1)
    while source[at : at + 1] != "}":
        if values:
            at = _expect(",", source, at, ".")
        if source[at : at + 1] not in ('"', ""):
            raise Rejection(400, _not_json(".", "key must be a string", source, at + 1))
        key, at = _read_value(source, at, ".")
        at = _expect(":", source, at, key)
        values[key], at = _read_value(source, at, key)
        ends[key] = at
        at = _skip_space(source, at)
    if at + 1 != len(source):
        raise Rejection(400, _not_json(".", "trailing characters", source, at + 2))
    return _Fields(values, ends, source)


def _read_value(source: str, at: int, path: str) -> tuple[Any, int]:
    try:
        value, end = _DECODER.raw_decode(source, at)
        # Half a surrogate pair is no text, and could not be handed to a program.
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except json.JSONDecodeError as error:
        cut_short = error.pos >= len(source)
        problem = "EOF while parsing a value" if cut_short else "expected value"
        place = error.pos if cut_short else error.pos + 1
        raise Rejection(400, _not_json(path, problem, source, place)) from None
    except (RecursionError, ValueError):
        raise Rejection(400, _not_json(path, "expected value", source, at + 1)) from None
    return value, end


def _expect(character: str, source: str, at: int, path: str) -> int:
    at = _skip_space(source, at)
    if source[at : at + 1] == character:
        return _skip_space(source, at + 1)
    cut_short = at >= len(source)
    problem = "EOF while parsing an object" if cut_short else f"expected `{character}`"
    raise Rejection(400, _not_json(path, problem, source, at if cut_short else at + 1))


def _skip_space(source: str, at: int) -> int:
    while at < len(source) and source[at] in _SPACE:
        at += 1
    return at


def _not_json(path: str, problem: str, source: str, end: int) -> str:
    return f"Failed to parse the request body as JSON: {path}: {problem} {_place(source, end)}"


def _unfit(path: str, problem: str, source: str, end: int) -> Rejection:
    prefix = "Failed to deserialize the JSON body into the target type"
    return Rejection(422, f"{prefix}: {path}: {problem} {_place(source, end)}")


def _place(source: str, end: int) -> str:
    line = source.count("\n", 0, end) + 1
    column = end - (source.rfind("\n", 0, end) + 1)
    return f"at line {line} column {column}"


def _describe(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return f"boolean `{str(value).lower()}`"
    if isinstance(value, int):
        return f"integer `{value}`"
    if isinstance(value, float):
        return f"floating point `{value}`"
    if isinstance(value, str):
        return f"string {json.dumps(value, ensure_ascii=False)}"
    return "sequence" if isinstance(value, list) else "map"
