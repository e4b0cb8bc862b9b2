"""Run the README's test and paste what it prints; with ``--check``, only tell whether it is stale.

The test trains nothing: its ``train.py`` says three lines and takes more memory than there is.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

README = Path(__file__).parent.parent / "README.md"
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
    """Run the test on the embedded sandbox; give its failure as pytest prints it."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "train.py").write_text(TRAIN, encoding="utf-8")
        Path(folder, "test_training.py").write_text(test, encoding="utf-8")
        environment = {key: value for key, value in os.environ.items() if key != "CI"}
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "pytest",
                "--tlsandbox=local",
                "--tlsandbox-memory=128M",
                "-c",
                os.devnull,
                "--rootdir=.",
            ],
            cwd=folder,
            env={**environment, "COLUMNS": "80"},
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode != 1:
        sys.exit(f"the README's test should fail, and pytest said:\n{done.stdout}{done.stderr}")
    lines = done.stdout.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(">"))
    return "\n".join(lines[start:]) + "\n"


def stable(text: str) -> str:
    """Leave out what differs from run to run: times, pids, counts, and the rule that fills a line."""
    text = re.sub(r"\d+(\.\d+)?( ms| s)?", "N", text)
    return re.sub(r"[ =]+", " ", text)


def main() -> None:
    """Paste, or check."""
    text = README.read_text(encoding="utf-8")
    parts = PARTS.search(text)
    if parts is None:
        sys.exit("README.md: the marks around the test and its output are missing")
    output = run(parts["test"])
    if "--check" in sys.argv[1:]:
        if stable(output) != stable(parts["output"]):
            sys.exit(f"README.md is stale: run `make readme`. The test now prints:\n{output}")
        return
    README.write_text(
        PARTS.sub(lambda m: m[1] + m["test"] + m[3] + output + m[5], text), encoding="utf-8"
    )


if __name__ == "__main__":
    main()
