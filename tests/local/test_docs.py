"""Test the page on the embedded sandbox: every route and the right numbers."""

import re
from pathlib import Path

from pydantic_core import PydanticUndefined

from pytest_tlsandbox.local.process_table import KEPT_OUTPUT, KEPT_ROWS
from pytest_tlsandbox.local.request_bodies import HealthCheck, Restart
from tests.local.openapi import document

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "embedded-sandbox.md"
DOCS = PAGE.read_text(encoding="utf-8")


def test_every_route_is_documented():
    section = DOCS.partition("## Routes")[2].partition("## Memory")[0]
    routes = section.replace("…", "/processes/{p}")
    for path in document()["paths"]:
        short = path.removeprefix("/api/v1").replace("{process}", "{p}")
        assert re.search(rf"[ `]{re.escape(short)}`", routes), short


def test_docs_list_every_restart_and_health_check_key_with_its_default():
    section = DOCS.partition("## Managed processes")[2].partition("## Memory")[0]
    rows = re.findall(r"^\|[^|]*\| `(\w+)` \| ([^|]*) \|", section, re.MULTILINE)
    words = {PydanticUndefined: "required", None: "none", "on_failure": '`"on_failure"`'}
    told = [
        (name, words.get(field.default, str(field.default)))
        for part in (Restart, HealthCheck)
        for name, field in part.model_fields.items()
    ]
    assert rows == told


def test_documented_limits_match_the_code():
    assert f"the newest {KEPT_ROWS:,} rows of ended processes" in DOCS
    assert f"{KEPT_OUTPUT >> 20} MiB of output in total" in DOCS
