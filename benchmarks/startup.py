"""The time that the plugin adds to the start of pytest, if installed only and if used."""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from benchmarks.measuring import Result, Target, in_ms
from benchmarks.serving import serve

ROUNDS, ROUNDS_OF_USE = 60, 16
PROJECT = Path(__file__).parent.parent
PYTEST = f"pytest=={version('pytest')}"

TEST = "def test_it(tlsandbox):\n    assert tlsandbox.list_processes() is not None\n"
STOPWATCH = """
import time
import pytest

@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item):
    wall, processor = time.perf_counter(), time.process_time()
    yield
    print("took", time.perf_counter() - wall, time.process_time() - processor)
"""


class Cost(NamedTuple):
    """Elapsed seconds, and seconds of processor time."""

    wall: float
    processor: float


def measure() -> list[Result]:
    """Time runs of pytest; the compared runs follow one another."""
    result = Result(
        "Start-up",
        "Runs of pytest without other plugins; compared runs take turns. Medians, and the mean "
        "processor time of the fastest quarter. The targets use this processor time, because other "
        "load on the machine can only add to it. Runs without and with the plugin use two "
        "environments; only the second one has the dependencies of the plugin.",
        ("what", "wall", "processor", "processor, fastest quarter"),
    )
    with tempfile.TemporaryDirectory() as name, serve(10) as (url, _):
        empty, used = Path(name, "empty"), Path(name, "used")
        empty.mkdir()
        used.mkdir()
        (used / "test_it.py").write_text(TEST)
        (used / "conftest.py").write_text(STOPWATCH)
        bare = _environment(Path(name, "without"), PYTEST)
        installed = _environment(Path(name, "with"), PYTEST, str(PROJECT))
        extra = _environment(Path(name, "extra"), PYTEST, f"{PROJECT}[local]")
        block = "-p no:tlsandbox"
        unused = {
            "empty folder, `--co -q`, without the plugin": partial(_whole, bare, empty),
            f"the same, installed and blocked: `{block}`": partial(_whole, installed, empty, block),
            "the same with it": partial(_whole, installed, empty),
            "the same with `[local]`": partial(_whole, extra, empty),
        }
        before, _, after, after_extra = map(_fastest, _compare(result, unused, ROUNDS))
        result.targets += [
            Target("unused: ratio", after / before, 1.04),
            Target("unused: more", (after - before) * 1000, 7, "ms"),
            Target("unused, with `[local]`: ratio", after_extra / before, 1.04),
            Target("unused, with `[local]`: more", (after_extra - before) * 1000, 7, "ms"),
        ]
        running = "first use of `tlsandbox`: imports and first poll, server running"
        first_use = {
            running: partial(_first_use, extra, used, url),
            "the same on `local`, which is started": partial(_first_use, extra, used, "local"),
        }
        remote, local = _compare(result, first_use, ROUNDS_OF_USE)
        on_top = statistics.median(
            after.wall - before.wall for before, after in zip(remote, local, strict=True)
        )
        result.targets += [
            # 150 ms on a machine on which pytest starts in 175 ms.
            Target("first use of a running server, in starts", _fastest(remote) / before, 0.86),
            Target("first use of local, on top (wall, median)", on_top * 1000, 400, "ms"),
        ]
    return [result]


def _compare(
    result: Result, variants: Mapping[str, Callable[[], Cost]], rounds: int
) -> list[tuple[Cost, ...]]:
    """Let the variants take turns, add a row about each, and return the costs of each."""
    for variant in [*variants.values()] * 2:  # writes the compiled modules
        variant()
    taken = [[variant() for variant in variants.values()] for _ in range(rounds)]
    costs = [*zip(*taken, strict=True)]
    for what, of_one in zip(variants, costs, strict=True):
        medians = (in_ms(statistics.median(times)) for times in zip(*of_one, strict=True))
        result.rows.append((what, *medians, in_ms(_fastest(of_one))))
    return costs


def _fastest(costs: Sequence[Cost]) -> float:
    """Return the mean processor time of the fastest quarter."""
    times = sorted(cost.processor for cost in costs)
    return statistics.fmean(times[: max(1, len(times) // 4)])


def _environment(folder: Path, *requirements: str) -> Path:
    """Create an environment with these requirements; return its Python."""
    venv.create(folder)
    python = folder / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", f"--python={python}")
    subprocess.run([*pip, "install", "--quiet", *requirements], check=True)
    return python


def _whole(python: Path, folder: Path, options: str = "") -> Cost:
    """Return the cost of a whole run."""
    began = time.perf_counter()
    with subprocess.Popen(
        _command(python, "--co", "-q", *options.split()),
        cwd=folder,
        env=_variables(),
        stdout=subprocess.DEVNULL,
    ) as run:
        _, _, usage = os.wait4(run.pid, 0)
        run.returncode = 0
    return Cost(time.perf_counter() - began, usage.ru_utime + usage.ru_stime)


def _first_use(python: Path, folder: Path, target: str) -> Cost:
    """Return the cost of the setup of the only test."""
    output = subprocess.run(
        _command(python, "-s", "--tlsandbox", target),
        cwd=folder,
        env=_variables(),
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    took = re.search(r"took (\S+) (\S+)", output)
    assert took is not None
    return Cost(float(took[1]), float(took[2]))


def _command(python: Path, *options: str) -> list[str]:
    return [str(python), "-m", "pytest", "-p", "no:cacheprovider", *options, "."]


def _variables() -> dict[str, str]:
    kept = {name: text for name, text in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "TENSORLAKE_API_KEY": "benchmark-key"}
