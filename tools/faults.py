"""Inject each fault into each helper and write docs/contributing/faults.md.

With ``--check``, only check the page. The page is current if it agrees with the table of the tests;
its times are from the last run.
"""

from __future__ import annotations

import re
import sys

from pages import ROOT, write_or_check

sys.path.insert(0, str(ROOT))

import pytest

from tests.faults import table
from tests.faults.helpers import HELPERS, PASS, Outcome, play_all, world

PAGE = ROOT / "docs" / "contributing" / "faults.md"
HEAD = f"""\
# What each helper does if the sandbox does not answer as expected

The result of each helper for each fault, from a real run: `make faults` runs the
[table of the tests](../../tests/faults/table.py) and writes this page. A proxy with real sockets,
[`FaultProxy`](../../tests/fault_proxy/proxy.py), is in front of an embedded sandbox with real processes, and
injects the fault into each request.

A fault ends in one of three ways. **It happens once**: the helper repeats the request, and the test does not
notice. **It stays**: the helper repeats the request for 30 seconds or until its `timeout=`, and then raises an
error. **It is final**: a repetition cannot help, so the helper raises an error immediately. A call that changes
something (start, signal, restart) is not repeated if the first one may have reached the sandbox.

A wait for the end of a process is also played with each kind of [stream](../../tests/client/streams.py). The
fault begins when the wait opens the stream, and the process ends 0.5 s later. The result is always that of polling alone.

Here, the 30 seconds are reduced to {table.SHORT.patience:g} s and the `timeout=` is {table.SHORT.timeout:g} s, so that the page
takes a minute. `make nightly` tests rollouts of 7 and of 30 seconds without reduced times: every helper survives both,
and the guard survives the first. N replaces times, counts, pids and ports.
The helpers: {{helpers}}. Of these, {{listing}}
only list the processes.
"""


def part(name: str, outcomes: dict[str, Outcome]) -> str:
    """Return the section of one fault: each outcome with its helpers and their longest time."""
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


_LISTING = [helper.name for helper in HELPERS if helper.kind == "poll"]


def _listed(helpers: list[str]) -> str:
    missing = [helper.name for helper in HELPERS if helper.name not in helpers]
    if not missing:
        return "all"
    if len(missing) <= 4:
        return f"all but {', '.join(f'`{name}`' for name in missing)}"
    if set(_LISTING) <= {*helpers}:
        others = [f"`{name}`" for name in helpers if name not in _LISTING]
        return ", ".join(["all that only list", *others])
    return ", ".join(f"`{name}`" for name in helpers)


def play() -> dict[str, dict[str, Outcome]]:
    """Inject all faults; return the outcomes by fault."""
    played = {}
    with world() as here:
        for row in table.TABLE:
            with pytest.MonkeyPatch.context() as patch:
                table.scaled_down(patch, row.pace)
                played[row.name] = play_all(row.scene, here, timeout=row.pace.timeout)
    return played


def expected() -> dict[str, dict[str, Outcome]]:
    """Return the outcomes in the table, which the tests check."""
    return {
        row.name: {helper.name: Outcome(row.expected(helper), 0.0) for helper in HELPERS}
        for row in table.TABLE
    }


def page(played: dict[str, dict[str, Outcome]]) -> str:
    """Return the page for these outcomes."""
    names = [f"`{helper.name}`" for helper in HELPERS]
    head = HEAD.format(
        helpers=", ".join(names), listing=", ".join(f"`{name}`" for name in _LISTING)
    )
    cells = sum(len(outcomes) for outcomes in played.values())
    faults = {re.sub(", (once|and stays)$", "", name) for name in played}
    size = f"\n{len(faults)} faults in {len(played)} scenes x {len(names)} helpers = {cells:,} outcomes.\n"
    return head + size + "".join(part(name, outcomes) for name, outcomes in played.items())


def stable(text: str) -> str:
    """Replace times, which differ from run to run."""
    return re.sub(r"\d+(\.\d+)? s\b", "N s", text)


if __name__ == "__main__":
    outcomes = expected if "--check" in sys.argv[1:] else play
    write_or_check(PAGE, "make faults", lambda: page(outcomes()), stable)
