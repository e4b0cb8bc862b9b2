"""Take the pictures of the documents: the report of a failing suite, and a failure in a terminal."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from html import escape
from pathlib import Path

from pages import ROOT, failing_pytest
from playwright.sync_api import Page, sync_playwright

PICTURES = ROOT / "docs" / "pictures"
SUITES = ["examples", "tests/browser/shop.py"]
# Its OOM kill is expected, but would be one more finding in the screenshot.
LEFT_OUT = "examples/test_two_sandboxes.py"
TERMINAL = """<style>
pre { width: fit-content; padding: 16px; background: #1e1e2e; color: #cdd6f4;
    font: 14px/1.4 "DejaVu Sans Mono", monospace }
</style><pre>"""
COLOURS = {"1": "font-weight:bold", "2": "opacity:.6", "31": "color:#f38ba8", "32": "color:#a6e3a1"}
COLOURS |= {"33": "color:#f9e2af", "36": "color:#94e2d5", "90": "opacity:.6", "94": "color:#89b4fa"}
"""The styles for the codes of colours and fonts that a terminal knows."""


def report(page: Page) -> None:
    """Run the examples and a suite with failures; open their report."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "out.html"
        where = ("-c", "examples/pytest.ini", f"--rootdir={ROOT}", f"--deselect={LEFT_OUT}")
        plugin = ("--tlsandbox-guard=oom,restart", f"--tlsandbox-report={path}")
        failing_pytest(ROOT, "-q", *where, *plugin, *SUITES)
        page.goto(path.as_uri())
        page.screenshot(path=PICTURES / "timeline.png")


def failure(page: Page) -> None:
    """Run the failing test of the tutorial, and show its output as a terminal does."""
    text = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
    [test] = re.findall(r"<!-- fails -->\n```python\n(.*?)```", text, re.DOTALL)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "test_job.py").write_text(test, encoding="utf-8")
        options = ("--tlsandbox=local", "--color=yes", "-c", os.devnull, "--rootdir=.")
        output = failing_pytest(Path(folder), *options)
    lines = output[output.index("\n", output.index("FAILURES")) + 1 :]
    page.set_content(TERMINAL + coloured(lines))
    page.locator("pre").screenshot(path=PICTURES / "failure.png")


def coloured(text: str) -> str:
    """Return the HTML for the output of a terminal."""
    parts = []
    for part in re.split(r"\x1b\[(?:0|39;49;00)?m", escape(text)):
        opened, count = re.subn(r"\x1b\[([\d;]+)m", span, part)
        parts.append(opened + "</span>" * count)
    return "".join(parts)


def span(found: re.Match[str]) -> str:
    """Return the HTML for a code that changes the colour or the font."""
    styles = [COLOURS[code] for code in found[1].split(";") if code in COLOURS]
    return f'<span style="{";".join(styles)}">'


def main() -> None:
    """Take both pictures."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"))
        size = {"width": 1200, "height": 760}
        for take in (report, failure):
            take(browser.new_page(viewport=size, color_scheme="light"))
        browser.close()


if __name__ == "__main__":
    main()
