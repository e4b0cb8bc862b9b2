"""Run the gallery of failures, and write docs/reference/failures.md.

With ``--check``, only report whether the page is stale. The comparison ignores times, pids and
counts of polls, because they differ from run to run.
"""

from __future__ import annotations

import ast
import os
import re
import tempfile
import xml.etree.ElementTree as ET
from pathlib import Path

from pages import ROOT, failing_pytest, without_numbers, write_or_check

GALLERY = ROOT / "examples" / "gallery"
PAGE = ROOT / "docs" / "reference" / "failures.md"
HEAD = """\
# What failures look like

Every kind of failure, from a real run: `make gallery` runs the tests in
[examples/gallery](../../examples/gallery) on the embedded sandbox and writes this page. Each block shows
the line that fails and what pytest prints under it, at 80 columns. pytest's short summary, JUnit
reports and annotations show only the first line of a message. `-q` shows less, `-v` more output and
how the sandbox was polled, `-vv` all processes.

A small server between the plugin and the sandbox fakes failures of the sandbox (502, suspended,
replaced): [front.py](../../examples/gallery/front.py).
"""


def run(*options: str, folder: Path = GALLERY) -> dict[str, str]:
    """Run tests that fail; return the text that pytest shows for each test, by its name."""
    with tempfile.NamedTemporaryFile(suffix=".xml") as report:
        failing_pytest(folder, "-p", "pytest_timeout", f"--junitxml={report.name}", *options)
        cases = ET.parse(report.name).getroot().iter("testcase")  # noqa: S314 - pytest wrote it
        shown = {}
        for case in cases:
            for failure in (*case.findall("failure"), *case.findall("error")):
                shown[case.attrib["name"]] = _told(failure.text or "")
    return shown


def _told(text: str) -> str:
    """Return the line that failed, and the message without pytest's marks and indent."""
    lines = text.splitlines()
    code = [line[1:].strip() for line in lines if line.startswith(">")]
    message = [line[1:] for line in lines if re.match(r"E( |$)", line)]
    indent = min(len(line) - len(line.lstrip()) for line in message if line.strip())
    return "\n".join([*(f"> {line}" for line in code[-1:]), *(line[indent:] for line in message)])


def page() -> str:
    """Return the page, which contains the output of the tests."""
    # A message names the sandbox only if the session uses several, so each file has its own session.
    parts, without_target = [HEAD], run("-c", os.devnull, "--rootdir=.", "-k", "test_no_target")
    for file in sorted(GALLERY.glob("test_*.py")):
        shown = run(file.name) | without_target
        tree = ast.parse(file.read_text(encoding="utf-8"))
        title = (ast.get_docstring(tree) or "").rstrip(".")
        parts.append(f"\n## {title}\n")
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
    # Try twice, because on a busy machine, the first poll may be late and miss a state.
    write_or_check(PAGE, "make gallery", page, without_numbers, tries=2)
