"""What the plugin adds to the start of pytest: installed only, then used."""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.measuring import Result, Target, in_ms
from benchmarks.serving import serve

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ROUNDS, ROUNDS_IN_SHORT, ROUNDS_OF_USE = 60, 16, 16
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
    """Seconds by the clock on the wall, and of the processor."""

    wall: float
    processor: float


def measure(*, short: bool = False) -> list[Result]:
    """Time runs of pytest, those that are compared one right after the other."""
    result = Result(
        "Start-up",
        "Runs of pytest with no other plugin, those that are compared in turn: medians, and the "
        "time of the processor in the quickest quarter. The latter is judged where nothing is "
        "waited for: what else a machine does can only add to it. Without and with are two "
        "environments: all that pip brings for the plugin is in the second alone.",
        ("what", "wall", "processor", "processor, quickest quarter"),
    )
    with tempfile.TemporaryDirectory() as name, serve(10) as served:
        empty, used = Path(name, "empty"), Path(name, "used")
        empty.mkdir()
        used.mkdir()
        (used / "test_it.py").write_text(TEST)
        (used / "conftest.py").write_text(STOPWATCH)
        bare = _environment(Path(name, "without"), PYTEST)
        installed = _environment(Path(name, "with"), PYTEST, str(PROJECT))
        extra = _environment(Path(name, "extra"), PYTEST, f"{PROJECT}[local]")
        without, blocked, with_it, with_extra = _side_by_side(
            ROUNDS_IN_SHORT if short else ROUNDS,
            lambda: _whole(bare, empty),
            lambda: _whole(installed, empty, "-p", "no:tlsandbox"),
            lambda: _whole(installed, empty),
            lambda: _whole(extra, empty),
        )
        _tell(result, "empty folder, `--co -q`, without the plugin", without)
        _tell(result, "the same, installed and blocked: `-p no:tlsandbox`", blocked)
        _tell(result, "the same with it", with_it)
        _tell(result, "the same with `[local]`", with_extra)
        before, after, after_extra = map(_quickest, (without, with_it, with_extra))
        result.targets += [
            Target("unused: ratio", after / before, 1.03, allowance=1.07),
            Target("unused: more", (after - before) * 1000, 5, "ms"),
            Target("unused, with `[local]`: ratio", after_extra / before, 1.04, allowance=1.07),
            Target("unused, with `[local]`: more", (after_extra - before) * 1000, 7, "ms"),
        ]
        if short:
            return [result]
        remote, local = _side_by_side(
            ROUNDS_OF_USE,
            lambda: _first_use(extra, used, "--tlsandbox", served.url),
            lambda: _first_use(extra, used, "--tlsandbox", "local"),
        )
        _tell(result, "first use of `tlsandbox`: imports and first look, server running", remote)
        _tell(result, "the same on `local`, which is started", local)
        on_top = statistics.median(
            after.wall - before.wall for before, after in zip(remote, local, strict=True)
        )
        result.targets += [
            Target("first use of a running server", _quickest(remote) * 1000, 150, "ms"),
            Target("first use of local, on top (wall, median)", on_top * 1000, 400, "ms"),
        ]
    return [result]


def _side_by_side(rounds: int, *ways: Callable[[], Cost]) -> list[list[Cost]]:
    for way in ways * 2:  # compiled modules are written
        way()
    taken = [[way() for way in ways] for _ in range(rounds)]
    return [list(costs) for costs in zip(*taken, strict=True)]


def _quickest(costs: Sequence[Cost]) -> float:
    """Give the mean of the quickest quarter."""
    times = sorted(cost.processor for cost in costs)
    return statistics.fmean(times[: max(1, len(times) // 4)])


def _tell(result: Result, what: str, costs: Sequence[Cost]) -> None:
    medians = (in_ms(statistics.median(times)) for times in zip(*costs, strict=True))
    result.rows.append((what, *medians, in_ms(_quickest(costs))))


def _environment(folder: Path, *requirements: str) -> Path:
    """Make one with these installed, and give its Python."""
    venv.create(folder)
    python = folder / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", f"--python={python}")
    subprocess.run([*pip, "install", "--quiet", *requirements], check=True)
    return python


def _whole(python: Path, folder: Path, *options: str) -> Cost:
    """Give what a whole run costs."""
    began = time.perf_counter()
    with subprocess.Popen(
        _command(python, "--co", "-q", *options),
        cwd=folder,
        env=_variables(),
        stdout=subprocess.DEVNULL,
    ) as run:
        _, _, usage = os.wait4(run.pid, 0)
        run.returncode = 0
    return Cost(time.perf_counter() - began, usage.ru_utime + usage.ru_stime)


def _first_use(python: Path, folder: Path, *options: str) -> Cost:
    """Give what it costs to set the only test up."""
    said = subprocess.run(
        _command(python, "-s", *options),
        cwd=folder,
        env=_variables(),
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    took = re.search(r"took (\S+) (\S+)", said)
    assert took is not None
    return Cost(float(took[1]), float(took[2]))


def _command(python: Path, *options: str) -> list[str]:
    return [str(python), "-m", "pytest", "-p", "no:cacheprovider", *options, "."]


def _variables() -> dict[str, str]:
    kept = {name: text for name, text in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "TENSORLAKE_API_KEY": "benchmark-key"}
