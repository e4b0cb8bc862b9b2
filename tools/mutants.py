"""Print the mutants that survived the last run of mutmut; fail if too few mutants were killed.

mutmut does not change properties and constants. The results of `ended`, `state`, `over` and `living`
are covered by the tables in tests/test_models.py and tests/test_edge_cases.py, and by the model test.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parent.parent
MUTMUT = Path(sys.executable).parent / "mutmut"
ENOUGH = 0.96
KILLED = ("killed", "timeout")


def run(*arguments: str) -> str:
    """Return the output of mutmut."""
    done = subprocess.run(
        [str(MUTMUT), *arguments], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout


def module_of(mutant: str) -> str:
    """Return the module of a mutant, or the package if it is a condition."""
    path = re.sub(r"\.x[_ǁ].*", "", mutant).removeprefix("pytest_tlsandbox.")
    return "waiting.conditions" if path.startswith("waiting.conditions") else path


def change(mutant: str) -> str:
    """Return the first line that a mutant changes, after the change."""
    added = re.search(r"^\+ (.*)", run("show", mutant), re.MULTILINE)
    return added[1].strip() if added else "(a line is removed)"


def main() -> None:
    """Print the survivors, and the number of killed mutants of each module."""
    results = run("results", "--all", "true")
    fates = dict(re.findall(r"^ *(.+): (.+?) *$", results, re.MULTILINE))
    total = Counter(map(module_of, fates))
    killed = Counter(module_of(name) for name, fate in fates.items() if fate in KILLED)
    for mutant, fate in fates.items():
        if fate not in KILLED:
            print(f"{mutant}: {change(mutant)}")
    for module, count in sorted(total.items()):
        print(f"{module}: {killed[module]} of {count} mutants killed")
    share = killed.total() / total.total()
    print(f"{killed.total()} of {total.total()} mutants killed: {share:.1%}")
    if share < ENOUGH:
        sys.exit(f"fewer than {ENOUGH:.0%}")


if __name__ == "__main__":
    main()
