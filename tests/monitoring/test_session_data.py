"""The data of a session: what several workers observed is in it once."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pytest_tlsandbox.monitoring.session_data import SessionData
from pytest_tlsandbox.report.document import document_of
from pytest_tlsandbox.settings import Settings


def found(*keys: str, reported_in: str = "session", allowed: str | None = None) -> Any:
    return {"keys": [*keys], "reported_in": reported_in, "allowed": allowed}


def session_of(*data: Any) -> SessionData:
    """Return a session that received this data, for example from several workers."""
    session = SessionData()
    for one in data:
        session.add_data(one)
    return session


FINDINGS = {
    "one worker attributed a finding to a test, or allowed it": (
        [{"findings": [found("a"), found("b"), found("c")]},
         {"findings": [found("a", reported_in="test"), found("b", allowed="expected")]}],
        [("c", "session", None), ("a", "test", None), ("b", "session", "expected")]),
    "a test of one worker caused some of the incidents": (
        [{"findings": [found("a"), found("b"), found("c", allowed="expected")]},
         {"findings": [found("b", allowed="expected")], "caused": ["a", "c"]}],
        [("b", "session", "expected")]),
    "two workers identify an incident differently": (
        [{"findings": [found("its row", "its end"), found("its end", "its successor")]},
         {"findings": [found("another")], "caused": ["another", "the same"]}],
        [("its row", "session", None)]),
}  # fmt: skip


@pytest.mark.parametrize(("data", "findings"), FINDINGS.values(), ids=FINDINGS)
def test_each_finding_is_reported_once_if(data, findings):
    found = session_of(*data).findings
    assert [(one["keys"][0], one["reported_in"], one["allowed"]) for one in found] == findings


def test_monitoring_gap_that_several_workers_send_is_reported_once():
    gap = {"sandbox": "box", "why": "refused", "guarded": True, "from_test": "a",
           "to_test": None, "to_at": None, "from_at": "1"}  # fmt: skip
    ended = {"to_test": "d", "to_at": "9"}
    [merged] = session_of(
        {"worker": "gw0", "gaps": [{**gap, "tests": 1}]},
        {"worker": "gw0", "gaps": [{**gap, **ended, "tests": 3}]},
        {"worker": "gw1", "gaps": [{**gap, "from_at": "2", "tests": 2}]},
    ).gaps
    assert (merged["tests"], merged["open"], merged["to_test"]) == (5, True, None)
    assert merged["times"] == [
        {"worker": "gw0", "from_at": "1", "to_at": "9"},
        {"worker": "gw1", "from_at": "2", "to_at": None},
    ]


def test_updates_of_a_continuing_outage_are_merged_into_one_outage():
    outage = {"sandbox": "box", "from_at": "1", "test": "a"}
    first, last = (
        {**outage, "faults": faults, "to_at": at} for faults, at in (("502", "2"), ("502 x4", "5"))
    )
    session = session_of(*({"worker": "gw0", "outages": [one]} for one in (first, last)))
    assert document_of(session, Settings(), 0)["outages"] == [{**last, "worker": "gw0"}]


def test_text_of_a_very_long_failure_loses_its_beginning():
    outcome = {"when": "call", "outcome": "failed", "failed": True, "start": 0.0, "stop": 1.0}
    shown = {"longrepr": "", "longreprtext": "x" * 30_000 + "end", "sections": []}
    session = SessionData()
    session.pytest_runtest_logreport(SimpleNamespace(nodeid="test_a", **outcome, **shown))
    text = session.tests[0]["failure"]["text"]
    assert text.startswith("... 10,003 characters were cut\nxxx")
    assert text.endswith("xend")
