"""JSON objects in requests, read field by field and rejected in the words of the daemon's framework.

It answers 400, 415 and 422 in plain text. The words after the first colon of a 400 and the place in
the body, which the daemon adds to a 422, are not its own.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection


class Rejection(Exception):
    """A request that cannot be acted upon: the HTTP status and the plain text to answer with."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


class Fields:
    """The fields of a JSON object; ``inside`` is the name of the field whose value it is, if any."""

    def __init__(self, values: dict[str, Any], inside: str = "") -> None:
        self._values = values
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
            raise self._wrong_type(name, values, "a map")
        return Fields(values, name)

    def text(self, name: str) -> str:
        """Give a text, which must be there. Raises Rejection (422), as all that follow do."""
        if name not in self._values:
            raise self._missing(name)
        return self._checked_text(name, self._values[name])

    def optional_text(self, name: str) -> str | None:
        """Give a text; None where there is none."""
        return None if self._values.get(name) is None else self.text(name)

    def texts(self, name: str) -> list[str]:
        """Give a list of texts; an empty one where there is none."""
        values = self._values.get(name, [])
        if not isinstance(values, list):
            raise self._wrong_type(name, values, "a sequence")
        return [self._checked_text(f"{name}[{i}]", value) for i, value in enumerate(values)]

    def text_map(self, name: str) -> dict[str, str]:
        """Give an object of texts; an empty one where there is none."""
        values = self._values.get(name)
        if values is None:
            return {}
        if not isinstance(values, dict):
            raise self._wrong_type(name, values, "a map")
        return {key: self._checked_text(f"{name}.{key}", value) for key, value in values.items()}

    def choice(self, name: str, choices: tuple[Any, ...], default: str | None = None) -> Any:
        """Give the value, which is one of a few; absent, the default, if it has one."""
        if name not in self._values and default is not None:
            return default
        value = self.text(name)
        if value not in choices:
            quoted = [f"`{choice}`" for choice in choices]
            one_of = " or ".join(quoted) if len(quoted) == 2 else f"one of {', '.join(quoted)}"
            problem = f"unknown variant `{value}`, expected {one_of}"
            raise self._unfit(name, problem)
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
            raise self._wrong_type(name, value, kind)
        if value not in within:
            problem = f"invalid value: integer `{value}`, expected {kind}"
            raise self._unfit(name, problem)
        return value

    def optional_seconds(self, name: str) -> float | None:
        """Give a time in seconds; None where there is none."""
        value = self._values.get(name)
        if value is None:
            return None
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            raise self._wrong_type(name, value, "f64")
        if not 0 <= value <= sys.float_info.max:
            problem = f"invalid value: {_describe(value)}, expected a number of seconds"
            raise self._unfit(name, problem)
        return float(value)

    def _checked_text(self, path: str, value: object) -> str:
        if not isinstance(value, str):
            raise self._wrong_type(path, value, "a string")
        return value

    def _missing(self, name: str) -> Rejection:
        return _unfit(self._inside or ".", f"missing field `{name}`")

    def _wrong_type(self, path: str, value: object, expected: str) -> Rejection:
        return self._unfit(path, f"invalid type: {_describe(value)}, expected {expected}")

    def _unfit(self, path: str, problem: str) -> Rejection:
        return _unfit(f"{self._inside}.{path}" if self._inside else path, problem)


def read_object(body: bytes, content_type: str) -> Fields:
    """Read a JSON object. Raises Rejection (400, 415, 422)."""
    media_type = content_type.partition(";")[0].strip().lower()
    if not media_type.startswith("application/") or not media_type.endswith(("/json", "+json")):
        raise Rejection(415, "Expected request with `Content-Type: application/json`")
    try:
        value = json.loads(body.decode("utf-8"))
        # Not JSON either: NaN, and half a surrogate pair, which no program can be given.
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError) as error:
        raise Rejection(400, f"Failed to parse the request body as JSON: {error}") from None
    if not isinstance(value, dict):
        raise _unfit(".", f"invalid type: {_describe(value)}, expected a map")
    return Fields(value)


def _unfit(path: str, problem: str) -> Rejection:
    prefix = "Failed to deserialize the JSON body into the target type"
    return Rejection(422, f"{prefix}: {path}: {problem}")


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
