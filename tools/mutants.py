"""Write docs/mutants.md from the last run of mutmut; fail where a survivor has no reason to live.

Each was looked at. A survivor that is in none of the lists below is a gap in the tests.
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

# Why survivors may live: what stands in the function's name, and in the line as it became.
REASONS: dict[str, list[tuple[str, str]]] = {
    "no difference: it is set again before it is read": [
        ("_Watch.__init__", r"_stands_since|_final|_last_begun|_last_fault"),
        ("HasWritten.__init__", r"_lines"),
        ("_Watch._settle", r"begun - self._last_good"),
        ("_Watch._pause", r"state.outcome"),
    ],
    "no difference: None is as good as False, or as an empty text": [
        ("", r"doubt=None|wrong=None|wants_an_end = None|_state: 0"),
        ("not_found", r"in near\), None\)"),
    ],
    "no difference but at one moment, on which no look falls: two that are compared are never equal": [
        ("_Watch", r"[<>]= (_LONG_OUTAGE|at\b|pause|self._lister.patience|patience|max)"),
        ("_Watch._is_over", r"_last_begun > self._limit.at"),
        ("_Watch.run", r"> _LONG_OUTAGE"),
    ],
    "no difference: a size that no time of these thousand years has in that unit": [
        ("_read_number", r"per_second"),
    ],
    "no difference: it is asked of what never has it, or by one who does not ask": [
        ("HasWritten.__init__", r"selector, None, pick"),
        ("HasExited.fits", r"doubtful\(row, None\)"),
        ("_read_row", r"include_|if \(fields\) or True"),
        ("_read_number", r"and False|XX"),
        ("describe_body", r"XX\{\[XX"),
        ("Stays.judge", r"gap = 1.0"),
        ("run_of", r"else 1"),
        ("_Watch.run", r"\(fault\) and False"),
        ("HasStatus.satisfied", r"not self._stable_for and not"),
    ],
    "no difference: the runs of one process are told apart before, by the selector or by the status": [
        ("HasStatus.satisfied", r"left out"),
        ("Stays.satisfied|HasFields._ended|HasWritten._ended", r"None\)|, \)|key=None"),
    ],
    "a shortcut that only saves time: what it leaves out is judged, or read, all the same": [
        ("NoIncident.judge", r"news_since\(rows, None\)"),
        ("parse_list", r"validate_json\(None\)"),
        ("parse_row", r"validate_json\(None\)"),
    ],
    "how many there is room for in a message": [
        ("", r"\[:[46]\]|, 61\)|\[:201\]"),
    ],
    "the mark beside a field that differs, and words, where a message has both and the tests know one": [
        ("fields", r"\bhealth, \)|code, \)|was, \)|XXhealthyXX|HEALTHY|XX or XX| OR |, None\)"),
        ("HasFields.__init__", r"shown_wanted\(value, None\)"),
        ("NoIncident.__init__", r"self.wanted"),
        ("_incident_finding", r"item.confirmed or"),
        ("_say_how_it_goes", r"no look yet|NO LOOK YET|or True"),
        ("_Watch._look", r"label=|left out|^\)$"),
        ("_read_row", r"reason ="),
    ],
    "what is in the log and in nothing else: suspicions that fail no test": [
        ("NoIncident.judge", r"told = incidents|Met\(None"),
    ],
    "it takes two rare things at once: the daemon restarted, and a process of this test removed": [
        ("NoIncident._vanished", r"lost = \["),
    ],
    "a few seconds more or less that a verdict may waver, out of 65, where outages came amid it": [
        ("_Watch", r"_unseen|\"stands_for\", 1.0"),
        ("_Watch._settle", r"stands_for / 11"),
    ],
}

NO_REASON = "no reason is known: a gap"

HEAD = """\
# What a change of the judging code does to its tests

`make mutants` changes the code that judges (conditions, selector, waiting, client/models) in every way
that [mutmut](https://mutmut.readthedocs.io) knows, one at a time, and runs the fast tests of the logic on
each. A mutant that no test notices survives. Each survivor was looked at, and is listed here with the
reason why it may live; one without a reason fails the command.

mutmut leaves properties and constants alone; what `ended`, `state`, `over` and `living` say is held by the
tables of tests/test_models.py and tests/test_edge_cases.py, and by the model test.
"""


def run(*arguments: str) -> str:
    """Run mutmut; give what it prints."""
    done = subprocess.run(
        [str(MUTMUT), *arguments], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout


def module_of(mutant: str) -> str:
    """Give the module of a mutant, and of conditions the package."""
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
            (
                why
                for why, signs in REASONS.items()
                if any(re.search(name, where) and re.search(text, line) for name, text in signs)
            ),
            NO_REASON,
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
    if NO_REASON in by_reason:
        sys.exit("\n".join([NO_REASON, *by_reason[NO_REASON]]))


if __name__ == "__main__":
    main()
