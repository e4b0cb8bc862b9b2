"""The cost of the guard: 300 trivial tests on ``local``, with and without it."""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.measuring import Result, Target

TESTS, ROWS, ROUNDS = 300, 10, 9
ALLOWED, ALLOWED_WITH_SANDBOX = 1.0, 0.3
"""Milliseconds that the guard may add to a test, and to a test that requests ``tlsandbox``."""
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
def test_trivial(number{{fixture}}):
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


def measure(*, short: bool = False) -> list[Result]:
    """Time every variant in each round, so that other load affects all of them alike."""
    if short:
        return []
    result = Result(
        "A guarded test",
        f"Milliseconds per test: {TESTS} trivial tests on `local` with {ROWS} processes, without and "
        f"with the guard; medians of {ROUNDS} rounds.",
        ("what", "without", "with", "more"),
    )
    with tempfile.TemporaryDirectory() as name:
        plain, using = Path(name, "plain"), Path(name, "using")
        for folder, fixture in ((plain, ""), (using, ", tlsandbox")):
            folder.mkdir()
            (folder / "test_trivial.py").write_text(SUITE.format(fixture=fixture))
        guarded = f"--tlsandbox-guard={RULES}"
        report = f"--tlsandbox-report={Path(name, 'out.json')}"
        variants: dict[str, tuple[Path, list[str], float]] = {
            "guard, oom": (plain, ["--tlsandbox-guard=oom"], ALLOWED),
            "guard, five rules": (plain, [guarded], ALLOWED),
            "guard, five rules, report": (plain, [guarded, report], ALLOWED),
            "tlsandbox, guard, five rules": (using, [guarded], ALLOWED_WITH_SANDBOX),
        }
        rounds = [
            (
                {folder: run(folder) for folder in (plain, using)},
                [run(folder, *options) for folder, options, _ in variants.values()],
            )
            for _ in range(ROUNDS)
        ]
    for number, (label, (folder, _, allowed)) in enumerate(variants.items()):
        without = statistics.median(before[folder] for before, _ in rounds)
        with_it = statistics.median(after[number] for _, after in rounds)
        more = statistics.median(after[number] - before[folder] for before, after in rounds)
        result.rows.append((label, f"{without:.3f}", f"{with_it:.3f}", f"{more:.3f}"))
        result.targets.append(Target(label, more, allowed, "ms more"))
    return [result]
