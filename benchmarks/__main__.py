"""Run the benchmarks and write ``results.md``: ``python -m benchmarks [--short] [NAME ...]``.

``--short`` takes about 15 seconds and writes nothing. It measures only what has ratios as targets,
and fails only if a ratio is well over its target, because times depend on the machine more than on
the plugin.
"""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import sys
import time
from importlib.metadata import version
from pathlib import Path

from benchmarks.measuring import Result

NAMES = ("startup", "poll", "history", "notice", "memory", "guard", "checks", "local")
IN_SHORT = ("poll", "history", "notice")
RESULTS = Path(__file__).with_name("results.md")
TRIES = 3
"""Maximum number of measurements of a ratio that exceeds its target."""
PACKAGES = ("pytest", "requests", "urllib3", "pydantic", "tenacity", "tensorlake")


def main() -> int:
    """Measure, print and write; return 1 if a target is missed (short: if a ratio is broken)."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES))
    options = parser.parse_args()
    allowed = IN_SHORT if options.short else NAMES
    if unknown := set(options.names) - set(allowed):
        parser.error(f"NAME must be one of {', '.join(allowed)}, got {', '.join(sorted(unknown))}")
    sections, failed = [], []
    for name in options.names or allowed:
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
        RESULTS.write_text("\n".join([_heading(), *sections]))
    passed = "no ratio is far over its target" if options.short else "every target is met"
    print(f"over the target: {', '.join(failed)}" if failed else passed)
    return 1 if failed else 0


def _measure(name: str, *, short: bool) -> list[Result]:
    results: list[Result] = []
    for _ in range(TRIES if short else 1):
        measure = importlib.import_module(f"benchmarks.{name}").measure
        results = measure(short=True) if short else measure()
        if not any(target.broken for result in results for target in result.targets):
            break
    return results


def _heading() -> str:
    versions = ", ".join(f"{package} {version(package)}" for package in PACKAGES)
    return (
        "# Results\n\n"
        "`make bench` writes this page; [README.md](README.md) explains it. Compare figures only within "
        "a table, because they were measured in turn, on a machine with other load.\n\n"
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[1]:.1f} at the end, "
        f"Python {platform.python_version()}, {versions}.\n"
    )


if __name__ == "__main__":
    sys.exit(main())
