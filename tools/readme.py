"""Run the README's test with the README's command; insert the output, or ``--check`` it."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

from pages import ROOT, failing_pytest, without_numbers, write_or_check

README = ROOT / "README.md"
PARTS = re.compile(
    r"<!-- readme: test -->\n```python\n(?P<test>.*?)```\n.*?```console\n\$ pytest (?P<options>.*?)\n"
    r"```\n<!-- readme: output -->\n```text\n(?P<output>.*?)```\n<!-- readme: end -->",
    re.DOTALL,
)


def run(test: str, options: str) -> str:
    """Run the test; return its failure as pytest prints it, without the test's source."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "test_job.py").write_text(test, encoding="utf-8")
        settings = ("-c", os.devnull, "--rootdir=.")
        lines = failing_pytest(Path(folder), *options.split(), *settings).splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(">"))
    return "\n".join(lines[start:]) + "\n"


def page() -> str:
    """Return the README with the current output of its test."""
    text = README.read_text(encoding="utf-8")
    [parts] = PARTS.finditer(text)
    start, end = parts.span("output")
    return text[:start] + run(parts["test"], parts["options"]) + text[end:]


if __name__ == "__main__":
    write_or_check(README, "make readme", page, without_numbers)
