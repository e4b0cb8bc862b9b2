"""The report as one HTML page: the cause of each failure, beside a timeline.

The page is one file and does not send requests. The content security policy identifies the style
and the script of the page by their hashes, and blocks all other styles and scripts. The page
contains the data of the session as escaped text and as JSON. The script shows the values of the
JSON as text. The page shows the causes even if the script does not run.
"""

from __future__ import annotations

import base64
import hashlib
import json
from importlib import resources
from string import Template
from typing import Any

from pytest_tlsandbox.formatting.processes import list_texts
from pytest_tlsandbox.formatting.text import count, printable, seconds
from pytest_tlsandbox.report.cards import cards_of, escaped, headline, list_of_cards
from pytest_tlsandbox.report.timeline import Data, timeline_of


def page_of(document: Data) -> str:
    """Return a report as an HTML page."""
    timeline = timeline_of(document)
    causes, others = cards_of(document, timeline)
    style = _file("page.css")
    script = "".join(map(_file, ("chart.js", "details.js", "interaction.js")))
    return Template(_file("page.html")).substitute(
        policy=f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; "
        "img-src data:; base-uri 'none'; form-action 'none'",
        title=escaped(headline(document, causes, timeline)),
        style=style,
        about=escaped(_about(document, timeline)),
        cards=list_of_cards(document, [*causes, *others]),
        data=_as_data({**timeline, "findings": [*map(_describe, document["findings"])]}),
        script=script,
    )


def _describe(finding: Data) -> str:
    """Return where a finding happened, to which process, and what happened."""
    test, name, verdict = finding["test"], finding["name"], finding["verdict"]
    where = f"{test} ({finding['phase']})" if test else finding["sandbox"]
    if finding["allowed"] is not None:
        return f"allowed: {where}: {name}: {verdict}, allowed: {finding['allowed']}"
    return f"{verdict}: {where}{'' if test else ', in no test'}: {name}: {finding['what']}"


def _about(document: Data, timeline: Data) -> str:
    """Return a line with the sandboxes, time, workers, guard and exit status of the session."""
    names = [section["name"] for section in timeline["sections"]]
    rules = ", ".join(document["guard"]["rules"])
    guard = f"guard rules: {rules}" if rules else "no guard"
    began = document["started_at"]
    parts = [
        list_texts(names) or "no sandbox",
        f"{began[:10]} {began[11:19]} UTC",
        seconds(timeline["span"] / 1000),
        count(len(document["workers"]), "worker") if document["workers"] else "",
        count(len(document["processes"]), "run") + " of processes",
        guard + (", report only" if document["guard"]["report_only"] else ""),
        f"exit status of pytest: {document['exit_status']}",
    ]
    return " \u00b7 ".join(filter(None, parts))


def _file(name: str) -> str:
    return (resources.files(__package__) / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _as_data(value: object) -> str:
    """Return a value as JSON that is safe inside a script element.

    The function escapes HTML markup characters and all characters that are not printable. Fields
    without a value are left out, which makes a large page a fifth smaller.
    """
    text = json.dumps(_shown(value), ensure_ascii=False, separators=(",", ":"))
    for char in "<>&":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text


def _shown(value: Any) -> Any:
    """Return data with printable texts, and without the fields that have no value."""
    if isinstance(value, dict):
        return {key: _shown(part) for key, part in value.items() if part is not None}
    if isinstance(value, (list, tuple)):
        return [_shown(part) for part in value]
    return printable(value) if isinstance(value, str) else value
