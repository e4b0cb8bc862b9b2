"""The cost of the guard: 300 trivial tests on ``local``, with and without it.

Ten processes are listed. Each figure is the median over rounds. Each round runs every variant once,
so that other load on the machine affects all of them. Run it with ``python benchmarks/guard.py``.
"""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

TESTS, ROWS, ROUNDS = 300, 10, 9
ALLOWED = 2.0
"""Milliseconds that the guard may add to a test."""
RULES = "oom,crash,restart,unhealthy,leak"
SUITE = f"""
import time
import pytest


@pytest.fixture(scope="session", autouse=True)
def rows(tlsandbox_session):
    for _ in range({ROWS}):
        tlsandbox_session.start_process("sleep", ["1000"])
    assert len(tlsandbox_session.list_processes()) == {ROWS}


@pytest.fixture(scope="session", autouse=True)
def stopwatch():
    yield
    print("seconds", time.perf_counter() - begun)


begun = 0.0


@pytest.mark.parametrize("number", range({TESTS + 1}))
def test_trivial(number):
    global begun
    if number == 0:  # the sandbox has started
        begun = time.perf_counter()
"""


def run(folder: Path, *options: str) -> float:
    """Run the suite; return the milliseconds per test, without the first test."""
    command = [sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "--tlsandbox=local", *options, str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.search(r"seconds ([\d.]+)", done.stdout)
    if done.returncode != 0 or found is None:
        raise SystemExit(done.stdout + done.stderr)
    return float(found[1]) / TESTS * 1000


def main() -> int:
    """Measure and print; return 1 if the guard costs too much."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "test_trivial.py").write_text(SUITE)
        report = f"--tlsandbox-report={folder / 'out.json'}"
        variants = {
            "guard, oom": ["--tlsandbox-guard=oom"],
            "guard, five rules": [f"--tlsandbox-guard={RULES}"],
            "guard, five rules, report": [f"--tlsandbox-guard={RULES}", report],
        }
        print(f"{TESTS} trivial tests, {ROWS} rows, median of {ROUNDS} rounds, ms a test")
        rounds = [
            (run(folder), *(run(folder, *options) for options in variants.values()))
            for _ in range(ROUNDS)
        ]
        without = statistics.median(times[0] for times in rounds)
        worst = 0.0
        for number, label in enumerate(variants, 1):
            with_it = statistics.median(times[number] for times in rounds)
            more = statistics.median(times[number] - times[0] for times in rounds)
            worst = max(worst, more)
            print(f"{label:<28} {without:6.3f} without {with_it:6.3f} with {more:6.3f} more")
    print(f"allowed: {ALLOWED} more")
    return 0 if worst <= ALLOWED else 1


if __name__ == "__main__":
    raise SystemExit(main())
