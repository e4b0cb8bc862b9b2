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
    "several workers send the same findings": (
        [{"findings": [found("oom 1"), found("oom 2")]}] * 3,
        [("oom 1", "session", None), ("oom 2", "session", None)],
    ),
    "one worker attributed a finding to a test, or allowed it": (
        [
            {"findings": [found("a"), found("b"), found("c")]},
            {"findings": [found("a", reported_in="test"), found("b", allowed="expected")]},
        ],
        [("c", "session", None), ("a", "test", None), ("b", "session", "expected")],
    ),
    "a test of one worker caused some of the incidents": (
        [
            {"findings": [found("a"), found("b"), found("c", allowed="expected")]},
            {"findings": [found("b", allowed="expected")], "caused": ["a", "c"]},
        ],
        [("b", "session", "expected")],
    ),
    "two workers identify an incident differently": (
        [
            {"findings": [found("its row", "its end"), found("its end", "its successor")]},
            {"findings": [found("another")], "caused": ["another", "the same"]},
        ],
        [("its row", "session", None)],
    ),
}


@pytest.mark.parametrize(("data", "findings"), FINDINGS.values(), ids=FINDINGS)
def test_each_finding_is_reported_once_if(data, findings):
    assert [
        (finding["keys"][0], finding["reported_in"], finding["allowed"])
        for finding in session_of(*data).findings
    ] == findings


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


def failed(**fields: Any) -> Any:
    """Return the report of a failed call phase."""
    times = {"start": 0.0, "stop": 1.0}
    outcome = {"when": "call", "outcome": "failed", "failed": True}
    return SimpleNamespace(nodeid="test_a", **outcome, **times, longrepr="", sections=[], **fields)


def test_session_data_contains_the_masked_first_error_of_a_failed_test():
    session = SessionData()
    report = failed(longreprtext="E  lost --token=abc")
    message = "Error: lost --token=abc\nmore"
    report.longrepr = SimpleNamespace(reprcrash=SimpleNamespace(message=message))
    report.sections = [("sandbox during this test", "web exited 1"), ("stdout", "secret")]
    session.pytest_runtest_logreport(report)
    session.pytest_runtest_logreport(failed(longreprtext="E  a later failure"))
    assert session.tests[0]["failure"] == {
        "phase": "call",
        "line": "Error: lost --token=***",
        "text": "E  lost --token=***\n\nsandbox during this test:\nweb exited 1",
    }


def test_text_of_a_very_long_failure_loses_its_beginning():
    session = SessionData()
    session.pytest_runtest_logreport(failed(longreprtext="x" * 30_000 + "end"))
    text = session.tests[0]["failure"]["text"]
    assert text.startswith("... 10,003 characters were cut\nxxx")
    assert text.endswith("xend")


def test_change_that_two_workers_observe_is_recorded_once():
    change = {"sandbox": "box", "process": "1", "state": "running", "at": None, "test": None}
    process = {"id": "1", "sandbox": "box", "before_the_session": True, "test": None}
    mine = {**process, "before_the_session": False, "test": "test_a"}
    session = session_of(
        {"processes": [process], "changes": [{**change, "seen_at": "2"}]},
        {"processes": [mine], "changes": [{**change, "seen_at": "1"}]},
    )
    [merged] = document_of(session, Settings(), 0)["processes"]
    assert (merged["before_the_session"], merged["test"]) == (False, "test_a")
    assert [one["seen_at"] for one in merged["changes"]] == ["1"]
