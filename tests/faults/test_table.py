"""For each fault and each helper the outcome is written in one table, and the table is the test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_tlsandbox import process_control
from pytest_tlsandbox.monitoring.monitored_sandbox import FIRST_PATIENCE
from tests.fault_proxy import Fault, faults

from .helpers import HELPERS, Scene, play_all
from .table import SPARE, TABLE, Row, scaled_down

if TYPE_CHECKING:
    from .helpers import World


@pytest.mark.parametrize("row", TABLE, ids=[row.name.replace(" ", "_") for row in TABLE])
def test_each_helper_gives_what_the_table_says_in_time(
    here: World, row: Row, monkeypatch: pytest.MonkeyPatch
) -> None:
    scaled_down(monkeypatch, row.pace)

    outcomes = play_all(row.scene, here, timeout=row.pace.timeout)

    assert {name: outcome.text for name, outcome in outcomes.items()} == {
        helper.name: row.expected(helper) for helper in HELPERS
    }
    late = {name: o.seconds for name, o in outcomes.items() if o.seconds > row.seconds + SPARE}
    assert not late


def test_every_fault_is_in_the_table() -> None:
    named = {fault.name for fault in vars(faults).values() if isinstance(fault, Fault)}
    rows = {row.name.removesuffix(", once").removesuffix(", and stays") for row in TABLE}

    assert named <= rows


def rollout(seconds: float) -> Scene:
    """What a rollout of the control plane does (fact sheet 1.7)."""
    third = seconds / 3
    return Scene(
        lambda proxy, *_: (
            proxy.fail(faults.SANDBOX_NOT_READY, seconds=third)
            .then(faults.AUTH_SERVICE_UNAVAILABLE, seconds=third)
            .then(faults.SANDBOX_UNREACHABLE, seconds=third)
        )
    )


@pytest.mark.parametrize("seconds", [7, pytest.param(30, marks=pytest.mark.slow)])
def test_a_rollout_is_ridden_out_by_every_helper_and_by_the_guard_for_22_seconds(
    here: World, seconds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # But for the end of a test, which does not hold the next one up for so long.
    monkeypatch.setattr(process_control, "_LONGEST_FAREWELL", 30.0)

    outcomes = play_all(rollout(seconds), here, timeout=40)

    expected = dict.fromkeys(outcomes, "pass")
    if seconds > FIRST_PATIENCE:
        expected["the guard"] = (
            "not watched: local answered 503 SANDBOX_UNREACHABLE: the proxy could not serve this"
        )
    assert {name: outcome.text for name, outcome in outcomes.items()} == expected
    assert max(outcome.seconds for outcome in outcomes.values()) < seconds + SPARE
