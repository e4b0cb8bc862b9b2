"""Run random sessions on a simulated daemon; an oracle compares every answer with the truth.

The simulator, the oracle and the driver were written from the documentation alone, without knowledge
of the code of the plugin. The oracle checks which incidents the history contains, which answers of a
helper are right, when a wait may give up, and what the guard reports.
"""

import os
from collections import Counter

import pytest

from .plugin import Plugin
from .session import disagreement

# Each run uses the same few histories, or the number that `make nightly` sets.
HISTORIES = int(os.environ.get("HISTORIES", "400"))
SHARDS = 10


@pytest.mark.parametrize("shard", range(SHARDS))
def test_results_of_helpers_and_guard_agree_with_the_simulated_sandbox(shard):
    counts, seeds = Counter(), range(shard, HISTORIES, SHARDS)
    wrong = [report for seed in seeds if (report := disagreement(seed, Plugin, counts))]
    assert not wrong, f"{len(wrong)} of {len(seeds)} histories: {wrong[0]}"
    # Each history must ask several questions, and few questions may allow nearly every answer.
    assert counts["questions"] >= 4 * len(seeds)
    assert counts["unsure"] <= 0.2 * counts["questions"]


class AgreesToEverything(Plugin):
    """A wrong plugin: it passes every assertion and reports no finding."""

    def begin_test(self, rules, allowed):
        super().begin_test(rules, allowed)
        for name in dir(self.box):
            if name.startswith(("assert_", "wait_")):
                setattr(self.box, name, lambda *_, **__: None)

    def end_phase(self, phase):
        super().end_phase(phase)
        return []


def test_simulation_detects_a_plugin_whose_assertions_always_pass():
    assert all(disagreement(seed, AgreesToEverything, Counter()) for seed in range(20))
