"""What the plugin adds to the start of pytest: installed only, then used."""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.measuring import Result, Target, in_ms
from benchmarks.serving import serve

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ROUNDS, ROUNDS_IN_SHORT, ROUNDS_OF_USE = 60, 30, 16
PLUGIN = "pytest_tlsandbox"
# Both sides look for plugins among what is installed, as pytest does; none but ours may be found.
ALONE = [f"-pno:{entry.name}" for entry in entry_points(group="pytest11") if entry.name != PLUGIN]

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
        "waited for: what else a machine does can only add to it.",
        ("what", "wall", "processor", "processor, quickest quarter"),
    )
    with tempfile.TemporaryDirectory() as name, serve(10) as served:
        empty, used = Path(name, "empty"), Path(name, "used")
        empty.mkdir()
        used.mkdir()
        (used / "test_it.py").write_text(TEST)
        (used / "conftest.py").write_text(STOPWATCH)
        collect = ("--co", "-q")
        without, with_it = _side_by_side(
            ROUNDS_IN_SHORT if short else ROUNDS,
            lambda: _whole(empty, *collect, f"-pno:{PLUGIN}"),
            lambda: _whole(empty, *collect),
        )
        _tell(result, "empty folder, `--co -q`, without the plugin", without)
        _tell(result, "the same with it", with_it)
        before, after = _quickest(without), _quickest(with_it)
        result.targets += [
            Target("unused: ratio", after / before, 1.03, allowance=1.07),
            Target("unused: more", (after - before) * 1000, 5, "ms"),
        ]
        if short:
            return [result]
        remote, local = _side_by_side(
            ROUNDS_OF_USE,
            lambda: _first_use(used, "--tlsandbox", served.url),
            lambda: _first_use(used, "--tlsandbox", "local"),
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


def _whole(folder: Path, *options: str) -> Cost:
    """Give what a whole run costs."""
    began = time.perf_counter()
    with subprocess.Popen(
        _command(*options), cwd=folder, env=_environment(), stdout=subprocess.DEVNULL
    ) as run:
        _, _, usage = os.wait4(run.pid, 0)
        run.returncode = 0
    return Cost(time.perf_counter() - began, usage.ru_utime + usage.ru_stime)


def _first_use(folder: Path, *options: str) -> Cost:
    """Give what it costs to set the only test up."""
    said = subprocess.run(
        _command("-s", *options),
        cwd=folder,
        env=_environment(),
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    took = re.search(r"took (\S+) (\S+)", said)
    assert took is not None
    return Cost(float(took[1]), float(took[2]))


def _command(*options: str) -> list[str]:
    return [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *ALONE, *options, "."]


def _environment() -> dict[str, str]:
    kept = {name: text for name, text in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "TENSORLAKE_API_KEY": "benchmark-key"}
