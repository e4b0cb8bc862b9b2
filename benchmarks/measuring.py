"""The result of a benchmark, and the timing of variants in turn."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

RATIO = "x"
ALLOWANCE = 1.25
"""The factor by which a ratio may exceed its target with ``--short``."""


@dataclass(frozen=True)
class Target:
    """A figure and its maximum; ``unit`` is "x" for a ratio."""

    what: str
    figure: float
    at_most: float
    unit: str = RATIO

    @property
    def met(self) -> bool:
        """Whether the figure is at most the maximum."""
        return self.figure <= self.at_most

    @property
    def broken(self) -> bool:
        """Whether a ratio is so far over its target that the load of the machine cannot explain it."""
        return self.unit == RATIO and self.figure > self.at_most * ALLOWANCE


@dataclass
class Result:
    """One table of figures, and the targets of some of them."""

    title: str
    about: str
    head: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)

    def markdown(self) -> str:
        """Return the table and the targets as a section of a page."""
        lines = [f"## {self.title}", "", self.about, ""]
        lines += [_row(self.head), _row("---" for _ in self.head), *map(_row, self.rows)]
        if self.targets:
            lines += ["", _row(("target", "measured", "at most", "")), _row(["---"] * 4)]
        for target in self.targets:
            measured, most = f"{target.figure:.4g}", f"{target.at_most:g}"
            met = "met" if target.met else "**missed**"
            lines += [
                _row((target.what, f"{measured} {target.unit}", f"{most} {target.unit}", met))
            ]
        return "\n".join([*lines, ""])


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def side_by_side(
    variants: Mapping[str, Callable[[], object]],
    rounds: int,
    before_each_round: Callable[[], object] = lambda: None,
) -> dict[str, list[float]]:
    """Time each variant once per round, one after the other, so that other load affects all of them.

    Returns:
        The seconds of each round, by variant.

    """
    times: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        before_each_round()
        for name, variant in variants.items():
            began = time.perf_counter()
            variant()
            times[name].append(time.perf_counter() - began)
    return times


def median_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Return the median of the ratios of times that were measured in turn."""
    return statistics.median(one / other for one, other in zip(ours, theirs, strict=True))


def in_ms(seconds: float) -> str:
    """Return seconds as milliseconds with three digits."""
    ms = seconds * 1000
    return f"{ms:.0f} ms" if ms >= 100 else f"{ms:.3g} ms"
