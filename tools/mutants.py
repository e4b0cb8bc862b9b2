"""Write docs/mutants.md from the last run of mutmut; tell where fewer than nine in ten were killed.

Each survivor is shown with the reason why it may live. One without a reason is a gap in the tests.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "mutants.md"
MUTMUT = Path(sys.executable).parent / "mutmut"
ENOUGH = 0.9

# What a survivor's function and changed line look like, and why it may live. The first that fits.
REASONS = [
    (
        r"logger\.|_say_how_it_goes|_said",
        "wording or level of a log line: read by people, asserted in part",
    ),
    (
        r"hint|_hint_after|_SAID_BY|where_it",
        "a hint of what to try: advice, and no part of the verdict",
    ),
    (
        r"XX|because=|headline|f\"|[A-Z]{3,} [A-Z]{3,}|remarks|told_as|listed_as",
        "words of a message in a case whose whole message is not asserted",
    ),
    (r"label=", "label of a fault, which shows in a timeline only"),
    (r"include_url|include_input|include_context", "equivalent: what is left out is not read"),
    (r"encoding|errors=", "equivalent on UTF-8"),
    (
        r"[<>]=|[<>] |_INSTANT|EPSILON|max\(|min\(",
        "equivalent but for one moment: a look falls on it with probability zero",
    ),
    (r"jitter|_PAUSE|pause", "equivalent within the jitter of a pause"),
    (
        r"key=|stands_for|CORRECTION_TIME|SETTLING_TIME|SUCCESSOR_TIME",
        "how long a verdict must stand: shown by the model test (make nightly), which is too slow to run per mutant",
    ),
    (r"= None|\(None|, None|, \)", "an argument that only the message of a rare case reads"),
    (
        r"and False|or True",
        "a guard for a case that the next line handles as well, with the same end",
    ),
]

HEAD = """\
# What a change of the judging code does to its tests

`make mutants` changes the code that judges (conditions, selector, waiting, client/models) in every way
that [mutmut](https://mutmut.readthedocs.io) knows, one at a time, and runs the fast tests of the logic on
each. A mutant that no test notices survives, and is listed here with the reason why it may.

mutmut leaves properties and constants alone; what `ended`, `state`, `over` and `living` say is held by the
tables of tests/client/test_models.py and tests/test_edge_cases.py, and by the model test.
"""


def run(*arguments: str) -> str:
    """Run mutmut; give what it prints."""
    done = subprocess.run(
        [str(MUTMUT), *arguments], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout


def module_of(mutant: str) -> str:
    """Give the module of a mutant, as it is written in the issue."""
    path = re.sub(r"\.x[_ǁ].*", "", mutant).removeprefix("pytest_tlsandbox.")
    return "conditions" if path.startswith("conditions") else path


def change(mutant: str) -> str:
    """Give the first line that a mutant changes, as it became."""
    lines = [
        line[1:].strip() for line in run("show", mutant).splitlines() if re.match(r"\+ ", line)
    ]
    return lines[0] if lines else "(a line is left out)"


def main() -> None:
    """Write the page."""
    fates: dict[str, str] = {}
    for line in run("results", "--all", "true").splitlines():
        mutant, _, fate = line.strip().rpartition(": ")
        if mutant:
            fates[mutant] = fate
    total = Counter(map(module_of, fates))
    killed = Counter(
        module_of(name) for name, fate in fates.items() if fate in ("killed", "timeout")
    )
    share = killed.total() / total.total()
    rows = [
        f"| {module} | {total[module]} | {killed[module]} | {killed[module] / total[module]:.1%} |"
        for module in sorted(total)
    ]
    rows.append(f"| **all** | {total.total()} | {killed.total()} | **{share:.1%}** |")
    table = "\n| module | mutants | killed | |\n|---|---|---|---|\n" + "\n".join(rows) + "\n"
    by_reason: dict[str, list[str]] = {}
    for mutant in (name for name, fate in fates.items() if fate not in ("killed", "timeout")):
        where = re.sub(r"__mutmut_\d+$", "", mutant).removeprefix("pytest_tlsandbox.")
        where = re.sub(r"\.x_?ǁ?", ".", where).replace("ǁ", ".")
        line = change(mutant)
        reason = next(
            (why for sign, why in REASONS if re.search(sign, f"{where} {line}")),
            "no reason yet: a gap",
        )
        by_reason.setdefault(reason, []).append(f"`{where}`: `{line[:110].replace('`', '')}`")
    parts = [
        f"\n## {len(lines)} because: {reason}\n\n" + "\n".join(f"- {line}" for line in lines) + "\n"
        for reason, lines in sorted(by_reason.items(), key=lambda item: -len(item[1]))
    ]
    PAGE.write_text(HEAD + table + "".join(parts), encoding="utf-8")
    print(f"{killed.total()} of {total.total()} mutants killed: {share:.1%}")
    if share < ENOUGH:
        sys.exit(f"fewer than {ENOUGH:.0%}")


if __name__ == "__main__":
    main()
