"""Compare the outcome of each helper for each fault with docs/contributing/faults.md."""

import pytest

from pytest_tlsandbox import process_control
from pytest_tlsandbox.monitoring.monitored_sandbox import FIRST_PATIENCE
from tests.fault_proxy import Fault, faults
from tests.support import sample_of

from .helpers import play_all
from .page import section, sections, without_times
from .table import SPARE, TABLE, rollout, scaled_down

SAMPLE = (
    "connection refused, once", "reset before headers, and stays", "TLS, certificate expired",
    "cut JSON", "401", "404 SANDBOX_NOT_FOUND", "502 PROXY_ERROR, once",
    "503 SANDBOX_NOT_READY, and stays", "daemon restarted",
)  # fmt: skip
"""One fault of each kind; `make nightly` plays them all."""


@pytest.mark.parametrize("row", sample_of({row.name: row for row in TABLE}, *SAMPLE))
def test_each_helper_has_the_outcome_on_the_page_and_ends_in_time(here, row, monkeypatch):
    scaled_down(monkeypatch, row.pace)

    outcomes = play_all(row, here, timeout=row.pace.timeout)

    assert without_times(section(row.name, outcomes)) == without_times(sections()[row.name])
    late = {name: o.seconds for name, o in outcomes.items() if o.seconds > row.seconds + SPARE}
    assert not late


def test_fault_table_contains_every_fault():
    named = {fault.name for fault in vars(faults).values() if isinstance(fault, Fault)}
    rows = {row.name.removesuffix(", once").removesuffix(", and stays") for row in TABLE}

    assert named <= rows


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [7, 30])
def test_helpers_survive_30_s_rollout_but_guard_gives_up_after_22_s(here, seconds, monkeypatch):
    # Except for the end of a test, which does not delay the next test for so long.
    monkeypatch.setattr(process_control, "_LONGEST_FAREWELL", 30.0)

    outcomes = play_all(rollout(seconds), here, timeout=40)

    expected = dict.fromkeys(outcomes, "pass")
    if seconds > FIRST_PATIENCE:
        expected["the guard"] = (
            "not monitored: local answered 503 SANDBOX_UNREACHABLE: the proxy could not serve this"
        )
    assert {name: outcome.text for name, outcome in outcomes.items()} == expected
    assert max(outcome.seconds for outcome in outcomes.values()) < seconds + SPARE
