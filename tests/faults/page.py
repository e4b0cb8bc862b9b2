"""The page docs/contributing/faults.md: the outcome of each helper for each fault."""

import re
from collections.abc import Mapping
from pathlib import Path

from .helpers import HELPERS, PASS, Outcome

PAGE = Path(__file__).parents[2] / "docs" / "contributing" / "faults.md"
LISTING = [helper.name for helper in HELPERS if not helper.only and not helper.warns]
"""The helpers that only list the processes."""


def section(name: str, outcomes: Mapping[str, Outcome]) -> str:
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


def _listed(helpers: list[str]) -> str:
    missing = [helper.name for helper in HELPERS if helper.name not in helpers]
    if not missing:
        return "all"
    if len(missing) <= 4:
        return f"all but {', '.join(f'`{name}`' for name in missing)}"
    if set(LISTING) <= {*helpers}:
        others = [f"`{name}`" for name in helpers if name not in LISTING]
        return ", ".join(["all that only list", *others])
    return ", ".join(f"`{name}`" for name in helpers)


def sections() -> dict[str, str]:
    """Return the sections of the page, by fault."""
    _, *parts = re.split(r"(?m)^(?=\n## )", PAGE.read_text(encoding="utf-8"))
    return {part.split("\n")[1].removeprefix("## "): part for part in parts}


def without_times(text: str) -> str:
    """Replace times, which differ from run to run."""
    return re.sub(r"\d+(\.\d+)? s\b", "N s", text)
