"""The cost of the guard: 300 trivial tests on ``local``, with and without it."""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.measuring import Result, Target

TESTS, ROWS, ROUNDS = 300, 10, 9
ALLOWED, ALLOWED_WITH_SANDBOX, ALLOWED_WITH_LIMIT, ALLOWED_FOR_COUNTER = 1.0, 0.3, 1.7, 0.7
"""Milliseconds that the guard may add to a test: to a trivial test, to a test that requests
``tlsandbox``, and if the memory is limited; and the part of the last that reads the kernel's counter
of OOM kills."""
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
        [*command, "-p", "pytest_tlsandbox", "--tlsandbox=local", *options, str(folder)],
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.search(r"seconds ([\d.]+)", done.stdout)
    if done.returncode != 0 or found is None:
        raise SystemExit(done.stdout + done.stderr)
    return float(found[1]) / TESTS * 1000


def measure() -> list[Result]:
    """Time every variant in each round, so that other load affects all of them alike."""
    result = Result(
        "A guarded test",
        f"Milliseconds per test, without other plugins: {TESTS} trivial tests on `local` with {ROWS} "
        f"processes, without and with the guard; medians of {ROUNDS} rounds.",
        ("what", "without", "with", "more"),
    )
    with tempfile.TemporaryDirectory() as name:
        plain, using = Path(name, "plain"), Path(name, "using")
        for folder, fixture in ((plain, ""), (using, ", tlsandbox")):
            folder.mkdir()
            (folder / "test_trivial.py").write_text(SUITE.format(fixture=fixture))
        rules = f"--tlsandbox-guard={RULES}"
        report = f"--tlsandbox-report={Path(name, 'out.json')}"
        limit = "--tlsandbox-memory=512M"
        off = "--tlsandbox-no-kernel-counter"
        variants: dict[str, tuple[Path, list[str], list[str], float]] = {
            "guard, oom": (plain, [], ["--tlsandbox-guard=oom"], ALLOWED),
            "guard, five rules": (plain, [], [rules], ALLOWED),
            "guard, five rules, report": (plain, [], [rules, report], ALLOWED),
            "tlsandbox, guard, five rules": (using, [], [rules], ALLOWED_WITH_SANDBOX),
            "guard, five rules, memory limit": (plain, [limit], [limit, rules], ALLOWED_WITH_LIMIT),
            "kernel counter": (plain, [limit, rules, off], [limit, rules], ALLOWED_FOR_COUNTER),
        }
        taken: dict[str, list[tuple[float, float]]] = {label: [] for label in variants}
        for _ in range(ROUNDS):
            for label, (folder, plainly, guarded, _) in variants.items():
                taken[label].append((run(folder, *plainly), run(folder, *guarded)))
    for label, (*_, allowed) in variants.items():
        without, with_it = map(statistics.median, zip(*taken[label], strict=True))
        more = statistics.median(after - before for before, after in taken[label])
        result.rows.append((label, f"{without:.3f}", f"{with_it:.3f}", f"{more:.3f}"))
        result.targets.append(Target(label, more, allowed, "ms more"))
    return [result]
