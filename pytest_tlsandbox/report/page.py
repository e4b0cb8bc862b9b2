"""The report as one HTML page, with a summary in words above a timeline.

The page is one file and does not send requests. The content security policy identifies the style
and the script of the page by their hashes, and blocks all other styles and scripts. Data of the
session appears on the page in two forms: escaped text, and JSON whose values the script shows as
text. The page shows the summary even if the script does not run.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from importlib import resources
from string import Template
from typing import TYPE_CHECKING, Any

from pytest_tlsandbox.formatting.text import printable
from pytest_tlsandbox.monitoring.summary_rows import finding_rows
from pytest_tlsandbox.report.page_summary import describe_run, headline, list_of_items
from pytest_tlsandbox.report.timeline import timeline_of

if TYPE_CHECKING:
    from collections.abc import Mapping


def page_of(document: Mapping[str, Any]) -> str:
    """Return a report as an HTML page."""
    timeline = timeline_of(document)
    style = _file("timeline.css")
    script = _file("timeline-draw.js") + _file("timeline-interaction.js")
    title = html.escape(headline(document, timeline))
    findings = [": ".join(filter(None, parts)) for parts in finding_rows(document["findings"])]
    return Template(_file("timeline.html")).substitute(
        policy=f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; "
        "img-src data:; base-uri 'none'; form-action 'none'",
        title=title,
        style=style,
        about=html.escape(describe_run(document, timeline)),
        found=list_of_items(document, timeline),
        data=_as_data({**timeline, "findings": [printable(text) for text in findings]}),
        script=script,
    )


def _file(name: str) -> str:
    return (resources.files(__package__) / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _as_data(value: object) -> str:
    """Return a value as JSON that is safe inside a script element.

    The function escapes the characters of HTML markup and the line separators of Unicode.
    """
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text
