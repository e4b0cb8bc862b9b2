"""Reads a report and checks that it has the fields of the schema and no others."""

from __future__ import annotations

import json
from importlib import resources
from typing import TYPE_CHECKING, Any

import jsonschema

if TYPE_CHECKING:
    from pathlib import Path


def schema() -> Any:
    """Read the schema from the package, as a user would."""
    files = resources.files("pytest_tlsandbox.report")
    return json.loads((files / "report-2.schema.json").read_text())


def read(path: Path) -> Any:
    """Read a report; raise ValidationError if it differs from the schema or has other fields."""
    document = json.loads(path.read_text())
    jsonschema.validate(document, _closed(schema()), jsonschema.Draft202012Validator)
    return document


def _closed(part: Any) -> Any:
    if isinstance(part, list):
        return [_closed(item) for item in part]
    if not isinstance(part, dict):
        return part
    closed = {key: _closed(value) for key, value in part.items()}
    if isinstance(part.get("properties"), dict) and part.get("type") == "object":
        closed.setdefault("additionalProperties", False)
    return closed
