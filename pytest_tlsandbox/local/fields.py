"""JSON objects in requests, read field by field and turned down as the daemon's framework does.

It answers 400, 415 and 422 in plain text of its own (daemon-captures.md); the wording here follows
the captures. Only the column of some type errors is our own reading.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection

_DECODER = json.JSONDecoder()
_SPACE = " \t\r\n"


class Rejection(Exception):
    """A request that cannot be acted upon: the HTTP status and the plain text to answer with."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


class Fields:
    """The fields of a JSON object, each with the place where its value ends.

    ``inside`` is the name of the field that the object is the value of, if it is within another.
    """

    def __init__(
        self, values: dict[str, Any], ends: dict[str, int], source: str, inside: str = ""
    ) -> None:
        self._values = values
        self._ends = ends
        self._source = source
        self._inside = inside

    def value(self, name: str) -> Any:
        """Give the value as it is; None where there is none."""
        return self._values.get(name)

    def unknown(self, known: Collection[str]) -> str | None:
        """Give the first name that is none of these; None where there is none."""
        return next((name for name in self._values if name not in known), None)

    def section(self, name: str) -> Fields | None:
        """Give the fields of an object within this one; None where there is none."""
        values = self._values.get(name)
        if values is None:
            return None
        if not isinstance(values, dict):
            raise self._wrong_type(name, name, values, "a map")
        # Where each one ends inside is not known; where all of them end is.
        ends = dict.fromkeys(values, self._ends[name])
        return Fields(values, ends, self._source[: self._ends[name]], name)

    def text(self, name: str) -> str:
        """Give a text, which must be there. Raises Rejection (422), as all that follow do."""
        if name not in self._values:
            raise self._missing(name)
        return self._checked_text(name, name, self._values[name])

    def optional_text(self, name: str) -> str | None:
        """Give a text; None where there is none."""
        return None if self._values.get(name) is None else self.text(name)

    def texts(self, name: str) -> list[str]:
        """Give a list of texts; an empty one where there is none."""
        values = self._values.get(name, [])
        if not isinstance(values, list):
            raise self._wrong_type(name, name, values, "a sequence")
        return [self._checked_text(name, f"{name}[{i}]", value) for i, value in enumerate(values)]

    def text_map(self, name: str) -> dict[str, str]:
        """Give an object of texts; an empty one where there is none."""
        values = self._values.get(name)
        if values is None:
            return {}
        if not isinstance(values, dict):
            raise self._wrong_type(name, name, values, "a map")
        return {
            key: self._checked_text(name, f"{name}.{key}", value) for key, value in values.items()
        }

    def choice(self, name: str, choices: tuple[Any, ...], default: str | None = None) -> Any:
        """Give the value, which is one of a few; absent, the default, if it has one."""
        if name not in self._values and default is not None:
            return default
        value = self.text(name)
        if value not in choices:
            quoted = [f"`{choice}`" for choice in choices]
            one_of = " or ".join(quoted) if len(quoted) == 2 else f"one of {', '.join(quoted)}"
            problem = f"unknown variant `{value}`, expected {one_of}"
            raise self._unfit(name, problem, self._ends[name])
        return value

    def optional_integer(self, name: str, within: range) -> int | None:
        """Give a number as ``integer`` does; None where there is none."""
        return None if self._values.get(name) is None else self.integer(name, within)

    def integer(self, name: str, within: range, default: int | None = None) -> int:
        """Give a number that fits into so many bits; absent, the default, if it has one."""
        if name not in self._values:
            if default is not None:
                return default
            raise self._missing(name)
        value = self._values[name]
        kind = f"{'u' if within.start == 0 else 'i'}{len(within).bit_length() - 1}"
        if not isinstance(value, int) or isinstance(value, bool):
            raise self._wrong_type(name, name, value, kind)
        if value not in within:
            problem = f"invalid value: integer `{value}`, expected {kind}"
            raise self._unfit(name, problem, self._ends[name])
        return value

    def optional_seconds(self, name: str) -> float | None:
        """Give a time in seconds; None where there is none."""
        value = self._values.get(name)
        if value is None:
            return None
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            raise self._wrong_type(name, name, value, "f64")
        if not 0 <= value <= sys.float_info.max:
            problem = f"invalid value: {_describe(value)}, expected a number of seconds"
            raise self._unfit(name, problem, self._ends[name])
        return float(value)

    def _checked_text(self, name: str, path: str, value: object) -> str:
        if not isinstance(value, str):
            raise self._wrong_type(name, path, value, "a string")
        return value

    def _missing(self, name: str) -> Rejection:
        return _unfit(
            self._inside or ".", f"missing field `{name}`", self._source, len(self._source)
        )

    def _wrong_type(self, name: str, path: str, value: object, expected: str) -> Rejection:
        problem = f"invalid type: {_describe(value)}, expected {expected}"
        return self._unfit(path, problem, self._ends[name])

    def _unfit(self, path: str, problem: str, end: int) -> Rejection:
        path = f"{self._inside}.{path}" if self._inside else path
        return _unfit(path, problem, self._source, end)


def read_object(body: bytes, content_type: str) -> Fields:
    """Read a JSON object. Raises Rejection (400, 415, 422)."""
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


def _read_members(source: str) -> Fields:
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
    return Fields(values, ends, source)


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
