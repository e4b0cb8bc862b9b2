"""Random sessions on a simulated daemon; an oracle checks every answer against the truth.

The simulator, the oracle and the driver were written from the documentation of the API alone,
without knowledge of the plugin.
"""

from __future__ import annotations

import os
from collections import Counter
from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from .plugin import Plugin
from .session import run

# The same few each time, or (`make nightly`) as many others as are asked for.
ASKED_FOR = int(os.environ.get("HISTORIES", "0"))
HISTORIES = ASKED_FOR or 200
SHARDS = 10


def disagreement(seed, plugin, counts):
    """Play one history; return a report of the first disagreement, or an empty text."""
    try:
        run(seed, plugin, counts)
    except AssertionError as account:
        return str(account)
    return ""


@pytest.mark.parametrize("shard", range(SHARDS))
def test_helpers_guard_and_history_agree_with_the_simulated_daemon(shard):
    counts: Counter[str] = Counter()
    seeds = range(shard, HISTORIES, SHARDS)
    wrong = [account for seed in seeds if (account := disagreement(seed, Plugin, counts))]
    print(f"{counts['histories']} histories, {counts['questions']} questions, {dict(counts)}")
    assert not wrong, f"{len(wrong)} histories: {wrong[0]}"
    assert counts["questions"] >= 8 * counts["histories"]


class AgreesToEverything(Plugin):
    """A wrong plugin: it passes every assertion and reports no finding."""

    def __init__(self, wire):
        super().__init__(wire)
        self._real = self.box

    def begin_test(self, rules, allowed):
        super().begin_test(rules, allowed)
        passed = SimpleNamespace(**{name: lambda *_, **__: None for name in dir(self.box)})
        for name in ("list_processes", "start_process", "kill_process", "restart_process"):
            setattr(passed, name, getattr(self.box, name))
        passed.send_signal, passed.kill_started = self.box.send_signal, self.box.kill_started
        self.box = passed

    def end_phase(self, phase):
        super().end_phase(phase)
        return []

    def allow(self, *rules):
        return nullcontext()


def test_model_detects_a_plugin_that_passes_every_assertion():
    assert all(disagreement(seed, AgreesToEverything, Counter()) for seed in range(20))
