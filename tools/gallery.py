"""Run the gallery of failures and write docs/failures.md; with ``--check``, only tell if it is stale.

Times, pids and counts of looks differ from run to run: they are written as they were in the last
run, and left out of the comparison.
"""

from __future__ import annotations

import ast
import os
import re
import tempfile
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

from pages import ROOT, failing_pytest, without_numbers, write_or_check

if TYPE_CHECKING:
    from pathlib import Path

GALLERY = ROOT / "examples" / "gallery"
PAGE = ROOT / "docs" / "failures.md"
HEAD = """\
# What failures look like

Every kind of failure, from a real run: `make gallery` runs the tests in
[examples/gallery](../examples/gallery) on the embedded sandbox and writes this page. Each block shows
the line that fails and what pytest prints under it, at 80 columns. The first line of a message is what
the short summary, a JUnit report and an annotation show; `-q` tells less, `-v` more lines of output
and more changes, `-vv` every process there is.

Where an answer of a sandbox on a bad day is needed (502, suspended, replaced), a small server of the
gallery's stands between, [front.py](../examples/gallery/front.py), and fakes it.
"""


def run(*options: str, folder: Path = GALLERY) -> dict[str, str]:
    """Run tests that fail; give what pytest shows of each, by name."""
    with tempfile.NamedTemporaryFile(suffix=".xml") as report:
        failing_pytest(folder, f"--junitxml={report.name}", *options)
        cases = ET.parse(report.name).getroot().iter("testcase")  # noqa: S314 - pytest wrote it
        shown = {}
        for case in cases:
            for failure in (*case.findall("failure"), *case.findall("error")):
                shown[case.attrib["name"]] = _told(failure.text or "")
    return shown


def _told(text: str) -> str:
    """Give the line that failed and the message, without pytest's marks and indent."""
    lines = text.splitlines()
    code = [line[1:].strip() for line in lines if line.startswith(">")]
    message = [line[1:] for line in lines if re.match(r"E( |$)", line)]
    indent = min(len(line) - len(line.lstrip()) for line in message if line.strip())
    return "\n".join([*(f"> {line}" for line in code[-1:]), *(line[indent:] for line in message)])


def page() -> str:
    """Write the page of what the tests print."""
    shown = run()
    (no_target,) = run("-c", os.devnull, "--rootdir=.", "-k", "test_no_target").values()
    shown["test_no_target"] = no_target
    parts = [HEAD]
    for file in sorted(GALLERY.glob("test_*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        parts.append(f"\n## {ast.get_docstring(tree)}\n")
        for test in tree.body:
            if isinstance(test, ast.FunctionDef) and test.name.startswith("test_"):
                title = test.name.removeprefix("test_").replace("_", " ").capitalize()
                title = re.sub(r"\b[Oo]om\b", "OOM", title)
                text = "\n".join(line.rstrip() for line in shown[test.name].splitlines())
                parts.append(
                    f"\n### {title}\n\n{ast.get_docstring(test)}\n\n```text\n{text}\n```\n"
                )
    return "".join(parts)


if __name__ == "__main__":
    # Twice: on a busy machine a first poll may come late, and see less.
    write_or_check(PAGE, "make gallery", page, without_numbers, tries=2)
