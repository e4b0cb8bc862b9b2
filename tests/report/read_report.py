"""Reads a report and checks that it has the fields of the schema and no others."""

import json
from importlib import resources

import jsonschema


def read(path):
    """Read a report; raise ValidationError if it differs from the schema or has other fields."""
    document = json.loads(path.read_text())
    text = (resources.files("pytest_tlsandbox.report") / "report-2.schema.json").read_text()
    schema = json.loads(text, object_hook=_closed)
    jsonschema.validate(document, schema, jsonschema.Draft202012Validator)
    return document


def _closed(part):
    """Forbid fields that the schema of an object does not name, unless it says otherwise."""
    if isinstance(part.get("properties"), dict) and part.get("type") == "object":
        part.setdefault("additionalProperties", False)
    return part
