"""Inject every fault into every helper, and write docs/faults.md.

With ``--check``, only report whether the page is stale, which means that it does not agree with the
table in the tests. The times in the page are from the last run.
"""

from __future__ import annotations

import re
import sys

from pages import ROOT, write_or_check

sys.path.insert(0, str(ROOT))

import pytest

from tests.faults import table
from tests.faults.helpers import HELPERS, PASS, Outcome, play_all, world

PAGE = ROOT / "docs" / "faults.md"
HEAD = f"""\
# What each helper does when the sandbox does not answer as it should

Every fault on every helper, from a real run: `make faults` plays the
[table of the tests](../tests/faults/table.py) once more and writes this page. A proxy of real sockets,
[`FaultProxy`](../tests/fault_proxy/proxy.py), stands before an embedded
sandbox in which real processes run, and does to each request what the fault says.

A fault has one of three ends. It **passes**: the helper asks again until it has an answer, and the test
never knows. It **stays**: the helper rides it out for as long as its patience lasts, 30 seconds or its
`timeout=`, and tells what it met. It is **final**: asking again would not help, and the helper says so
at once. A call that changes something (start, signal, restart) is not made twice when the first may
have arrived.

Where a fault stays, patience is {table.SHORT.patience:g} s here and a `timeout=` {table.SHORT.timeout:g} s, for the page to be made in a
minute; rollouts of 7 and of 30 seconds are ridden out by
every helper with nothing scaled down (`make nightly`), by the guard one of 7. N stands for times, counts, pids and ports.
The helpers: {{helpers}}; of these {{looking}}
look at the list and at nothing else.
"""


def part(name: str, outcomes: dict[str, Outcome]) -> str:
    """Return the section about a fault: each outcome with its helpers and their maximum time."""
    by_text: dict[str, list[str]] = {}
    slowest: dict[str, float] = {}
    for helper, outcome in outcomes.items():
        by_text.setdefault(outcome.text, []).append(helper)
        slowest[outcome.text] = max(slowest.get(outcome.text, 0.0), outcome.seconds)
    rows = [
        f"| {'**pass**' if text == PASS else f'`{text}`'} | {_listed(helpers)} | {slowest[text]:.2f} s |"
        for text, helpers in by_text.items()
    ]
    return "\n".join(
        [f"\n## {name}\n", "| outcome | helpers | at most |", "|---|---|---|", *rows, ""]
    )


_LOOKING = [helper.name for helper in HELPERS if helper.kind == "look"]


def _listed(helpers: list[str]) -> str:
    missing = [helper.name for helper in HELPERS if helper.name not in helpers]
    if not missing:
        return "all"
    if len(missing) <= 4:
        return f"all but {', '.join(f'`{name}`' for name in missing)}"
    if set(_LOOKING) <= {*helpers}:
        others = [f"`{name}`" for name in helpers if name not in _LOOKING]
        return ", ".join(["all that look", *others])
    return ", ".join(f"`{name}`" for name in helpers)


def play() -> dict[str, dict[str, Outcome]]:
    """Inject all faults, and return the outcomes by fault and helper."""
    played = {}
    with world() as here:
        for row in table.TABLE:
            with pytest.MonkeyPatch.context() as patch:
                table.scaled_down(patch, row.pace)
                played[row.name] = play_all(row.scene, here, timeout=row.pace.timeout)
    return played


def expected() -> dict[str, dict[str, Outcome]]:
    """Return the outcomes in the table of the tests, which check that they are right."""
    return {
        row.name: {helper.name: Outcome(row.expected(helper), 0.0) for helper in HELPERS}
        for row in table.TABLE
    }


def page(played: dict[str, dict[str, Outcome]]) -> str:
    """Return the page about the outcomes."""
    names = [f"`{helper.name}`" for helper in HELPERS]
    head = HEAD.format(
        helpers=", ".join(names), looking=", ".join(f"`{name}`" for name in _LOOKING)
    )
    cells = sum(len(outcomes) for outcomes in played.values())
    faults = {re.sub(", (once|and stays)$", "", name) for name in played}
    size = f"\n{len(faults)} faults in {len(played)} scenes x {len(names)} helpers = {cells:,} outcomes.\n"
    return head + size + "".join(part(name, outcomes) for name, outcomes in played.items())


def stable(text: str) -> str:
    """Return a text without the parts that differ from run to run."""
    return re.sub(r"\d+(\.\d+)? s\b", "N s", text)


if __name__ == "__main__":
    outcomes = expected if "--check" in sys.argv[1:] else play
    write_or_check(PAGE, "make faults", lambda: page(outcomes()), stable)
