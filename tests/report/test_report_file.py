"""A report file is complete or absent."""

from __future__ import annotations

import json
import stat

import jsonschema
import pytest

from pytest_tlsandbox.report.report_file import write_report

from .read_report import schema


def test_missing_folders_are_created_and_the_file_has_the_usual_permissions(tmp_path):
    path = tmp_path / "a" / "b" / "out.json"
    write_report({"version": 1, "name": "ä"}, path)
    assert json.loads(path.read_text(encoding="utf-8")) == {"version": 1, "name": "ä"}
    (tmp_path / "other").touch()
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((tmp_path / "other").stat().st_mode)


def test_failed_write_keeps_the_old_file_and_leaves_no_temporary_file(tmp_path):
    path = tmp_path / "out.json"
    write_report({"version": 1}, path)
    with pytest.raises(TypeError):
        write_report({"version": object()}, path)
    assert json.loads(path.read_text()) == {"version": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.json"]


def test_schema_is_valid_and_rejects_a_document_that_is_not_a_report():
    jsonschema.Draft202012Validator.check_schema(schema())
    assert schema()["description"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"version": 2}, schema())
