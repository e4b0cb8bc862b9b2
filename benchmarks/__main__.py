"""Run the benchmarks and write ``results.md``: ``python -m benchmarks [--short] [NAME ...]``.

With ``--short``, the run takes about a minute, does not write anything, and fails only if a ratio
is far above its target. Short runs ignore absolute times, because these depend more on the machine
than on the plugin.
"""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.measuring import Result

NAMES = ("startup", "look", "history", "notice", "memory")
GUARD = Path(__file__).with_name("guard.py")
RESULTS = Path(__file__).with_name("results.md")
TRIES = 3
"""The number of times that a ratio must be measured above its target before the run fails."""
PACKAGES = ("pytest", "requests", "urllib3", "pydantic", "tenacity", "tensorlake")


def main() -> int:
    """Measure, print and write; fail if a target is missed or, in short runs, far exceeded."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES))
    options = parser.parse_args()
    if unknown := set(options.names) - set(NAMES):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    sections, failed = [], []
    for name in options.names or NAMES:
        began = time.perf_counter()
        results = _measure(name, short=options.short)
        text = "\n".join(result.markdown() for result in results)
        print(f"{text}\n({name}: {time.perf_counter() - began:.0f} s)\n", flush=True)
        sections.append(text)
        failed += [
            target.what
            for result in results
            for target in result.targets
            if (target.broken if options.short else not target.met)
        ]
    if not options.short and not options.names:
        text, met = _guarded_test()
        print(text, flush=True)
        sections.append(text)
        failed += [] if met else ["a guarded test"]
    if not options.short and not options.names:
        RESULTS.write_text("\n".join([_heading(), *sections]))
    well = "no ratio is far over its target" if options.short else "every target is met"
    print(f"over the target: {', '.join(failed)}" if failed else well)
    return 1 if failed else 0


def _guarded_test() -> tuple[str, bool]:
    """Run the benchmark of the guard; return its table, and whether its target is met."""
    run = subprocess.run([sys.executable, str(GUARD)], capture_output=True, text=True, check=False)
    return f"## A guarded test\n\n```text\n{run.stdout}```\n", run.returncode == 0


def _measure(name: str, *, short: bool) -> list[Result]:
    results: list[Result] = []
    for _ in range(TRIES if short else 1):
        results = importlib.import_module(f"benchmarks.{name}").measure(short=short)
        if not any(target.broken for result in results for target in result.targets):
            break
    return results


def _heading() -> str:
    versions = ", ".join(f"{package} {version(package)}" for package in PACKAGES)
    return (
        "# What was measured\n\n"
        "Written by `make bench`; [README.md](README.md) says what stands behind it. Compare within "
        "a table only: each was taken side by side, on a machine that did other things as well.\n\n"
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[1]:.1f} at the end, "
        f"Python {platform.python_version()}, {versions}.\n"
    )


if __name__ == "__main__":
    sys.exit(main())
