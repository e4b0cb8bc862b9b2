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


def findings(*data: Any) -> list[tuple[str, str, str | None]]:
    """Return the first key of each finding, where it was reported, and why it is allowed."""
    return [
        (finding["keys"][0], finding["reported_in"], finding["allowed"])
        for finding in session_of(*data).findings
    ]


def test_finding_that_several_workers_send_is_reported_once():
    assert findings(*[{"findings": [found("oom 1"), found("oom 2")]}] * 3) == [
        ("oom 1", "session", None),
        ("oom 2", "session", None),
    ]


def test_finding_is_not_reported_again_if_one_worker_attributed_it_to_a_test():
    assert findings(
        {"findings": [found("a"), found("b"), found("c")]},
        {"findings": [found("a", reported_in="test"), found("b", allowed="expected")]},
    ) == [("c", "session", None), ("a", "test", None), ("b", "session", "expected")]


def test_merged_findings_keep_allowances_and_exclude_incidents_that_a_test_caused():
    assert findings(
        {"findings": [found("a"), found("b"), found("c", allowed="expected")]},
        {"findings": [found("b", allowed="expected")], "caused": ["a", "c"]},
    ) == [("b", "session", "expected")]


def test_finding_is_reported_once_even_if_two_workers_identify_it_differently():
    assert findings(
        {"findings": [found("its row", "its end"), found("its end", "its successor")]},
        {"findings": [found("another")], "caused": ["another", "the same"]},
    ) == [("its row", "session", None)]


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


def report(when: str, outcome: str = "passed", worker: str | None = None, **more: Any) -> Any:
    passed, failed = outcome == "passed", outcome == "failed"
    node = worker and SimpleNamespace(gateway=SimpleNamespace(id=worker))
    fields = {"nodeid": "test_a", "when": when, "outcome": outcome, "node": node}
    error = {"longrepr": "", "longreprtext": "E  lost --token=abc", "sections": []}
    times = {"start": 0.0, "stop": 1.0}
    return SimpleNamespace(passed=passed, failed=failed, **{**fields, **error, **times, **more})


def outcomes(*reports: Any) -> list[tuple[int, str]]:
    """Return the number and the outcome of each attempt."""
    session = SessionData()
    for one in reports:
        session.pytest_runtest_logreport(one)
    return [(test["attempt"], test["outcome"]) for test in session.tests]


SETUP, CALL, TEARDOWN = report("setup"), report("call"), report("teardown")


OUTCOMES = [
    ([SETUP, CALL, TEARDOWN], "passed"),
    ([report("setup", "failed"), TEARDOWN], "error"),
    ([SETUP, report("call", "failed"), TEARDOWN], "failed"),
    ([SETUP, CALL, report("teardown", "failed")], "error"),
    ([report("setup", "skipped"), TEARDOWN], "skipped"),
    ([SETUP, report("call", "failed"), report("teardown", "failed")], "failed"),
    ([SETUP, report("call", wasxfail="x"), TEARDOWN], "xpassed"),
    ([SETUP, report("call", "skipped", wasxfail="x")], "xfailed"),
]


@pytest.mark.parametrize(("reports", "outcome"), OUTCOMES)
def test_outcome_of_a_test_combines_the_outcomes_of_its_phases(reports, outcome):
    assert outcomes(*reports) == [(1, outcome)]


def test_each_attempt_of_a_rerun_test_has_a_separate_outcome():
    first = SETUP, report("call", "rerun"), TEARDOWN
    assert outcomes(*first, SETUP, CALL, TEARDOWN) == [(1, "rerun"), (2, "passed")]


def test_death_of_a_worker_counts_as_a_crash_of_its_current_test():
    crash = report("???", "failed", worker="gw1")
    assert outcomes(report("setup", worker="gw1"), crash) == outcomes(crash) == [(1, "crashed")]


def test_session_data_contains_the_masked_first_error_of_a_failed_test():
    session = SessionData()
    at = SimpleNamespace(reprcrash=SimpleNamespace(message="Error: lost --token=abc\nmore"))
    long = ("sandbox during this test", "web exited 1")
    session.pytest_runtest_logreport(report("setup"))
    session.pytest_runtest_logreport(
        report("call", "failed", longrepr=at, sections=[long, ("stdout", "secret")])
    )
    session.pytest_runtest_logreport(report("teardown", "failed"))
    assert session.tests[0]["failure"] == {
        "phase": "call",
        "line": "Error: lost --token=***",
        "text": "E  lost --token=***\n\nsandbox during this test:\nweb exited 1",
    }


def test_text_of_a_very_long_failure_loses_its_beginning():
    session = SessionData()
    session.pytest_runtest_logreport(report("call", "failed", longreprtext="x" * 30_000 + "end"))
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
