"""Inject each fault into each helper and write docs/contributing/faults.md.

With ``--check``, only check that the page has the section of each fault. The tests check what the
sections contain, except for the times, which are from the last run.
"""

from __future__ import annotations

import re
import sys

from pages import ROOT, write_or_check

sys.path.insert(0, str(ROOT))

import pytest

from tests.faults import table
from tests.faults.helpers import HELPERS, Outcome, play_all, world
from tests.faults.page import LISTING, PAGE, section

HEAD = f"""\
# What each helper does if the sandbox does not answer as expected

The result of each helper for each fault, from a real run: `make faults` runs the
[table of the tests](../../tests/faults/table.py) and writes this page. A proxy with real sockets,
[`FaultProxy`](../../tests/fault_proxy/proxy.py), is in front of an embedded sandbox with real processes, and
injects the fault into each request. `make nightly` compares each outcome with this page, `make test` those of a few faults.

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


def play() -> dict[str, dict[str, Outcome]]:
    """Inject all faults; return the outcomes by fault."""
    played = {}
    with world() as here:
        for row in table.TABLE:
            with pytest.MonkeyPatch.context() as patch:
                table.scaled_down(patch, row.pace)
                played[row.name] = play_all(row, here, timeout=row.pace.timeout)
    return played


def page(played: dict[str, dict[str, Outcome]]) -> str:
    """Return the page for these outcomes."""
    names = [f"`{helper.name}`" for helper in HELPERS]
    head = HEAD.format(helpers=", ".join(names), listing=", ".join(f"`{name}`" for name in LISTING))
    cells = len(played) * len(names)
    faults = {re.sub(", (once|and stays)$", "", name) for name in played}
    size = f"\n{len(faults)} faults in {len(played)} scenes x {len(names)} helpers = {cells:,} outcomes.\n"
    return head + size + "".join(section(name, outcomes) for name, outcomes in played.items())


def without_outcomes(text: str) -> str:
    """Remove the outcomes, which the tests compare with a run."""
    return re.sub(r"(?m)^\|.*\n", "", text)


if __name__ == "__main__":
    checks = "--check" in sys.argv[1:]
    played: dict[str, dict[str, Outcome]] = {row.name: {} for row in table.TABLE}
    write_or_check(
        PAGE, "make faults", lambda: page(played if checks else play()), without_outcomes
    )
