"""Run the test in the README and insert its output; ``--check`` checks that it is current.

The ``train.py`` of the test prints some lines and takes more memory than the sandbox has.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from pathlib import Path

from pages import ROOT, failing_pytest, without_numbers, write_or_check

README = ROOT / "README.md"
PARTS = re.compile(
    r"(<!-- readme: test -->\n```python\n)(?P<test>.*?)(```\n<!-- readme: output -->\n```text\n)"
    r"(?P<output>.*?)(```\n<!-- readme: end -->)",
    re.DOTALL,
)
TRAIN = """\
import sys
import time

for shard in range(1, 7):
    time.sleep(0.1)
    print(f"shard {shard}/8 loaded", file=sys.stderr, flush=True)
taken = [bytearray(10_000_000) for _ in range(300)]
"""


def run(test: str) -> str:
    """Run the test on the embedded sandbox; return its failure as pytest prints it."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "train.py").write_text(TRAIN, encoding="utf-8")
        Path(folder, "test_training.py").write_text(test, encoding="utf-8")
        options = ("--tlsandbox=local", "--tlsandbox-memory=128M", "-c", os.devnull, "--rootdir=.")
        lines = failing_pytest(Path(folder), *options).splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(">"))
    return "\n".join(lines[start:]) + "\n"


def page() -> str:
    """Return the README with the current output of its test."""
    text = README.read_text(encoding="utf-8")
    parts = PARTS.search(text)
    if parts is None:
        sys.exit("README.md: the marks around the test and its output are missing")
    return text.replace(parts["output"], run(parts["test"]))


if __name__ == "__main__":
    write_or_check(README, "make readme", page, without_numbers)
