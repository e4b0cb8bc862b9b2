"""The data of a session: what several workers observed is reported once."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from pytest_tlsandbox.monitoring.session_data import SessionData
from pytest_tlsandbox.report.document import document_of
from pytest_tlsandbox.settings import Settings


def found(*keys: str, reported_in: str = "session", allowed: str | None = None, **more: Any) -> Any:
    return {"keys": [*keys], "reported_in": reported_in, "allowed": allowed, **more}


def report(when: str, outcome: str = "passed", worker: str | None = None, **more: Any) -> Any:
    return SimpleNamespace(
        nodeid="test_a",
        when=when,
        outcome=outcome,
        passed=outcome == "passed",
        failed=outcome == "failed",
        start=0.0,
        stop=1.0,
        worker_id=worker,
        **more,
    )


def outcome(*reports: Any) -> list[tuple[int, str]]:
    record = SessionData()
    for one in reports:
        record.add_report(one)
    return [(test["attempt"], test["outcome"]) for test in record.tests]


def test_a_finding_that_several_workers_saw_is_reported_once():
    record = SessionData()
    for _ in range(3):
        record.add_data({"findings": [found("oom 1"), found("oom 2")]})
    assert [finding["keys"][0] for finding in record.findings] == ["oom 1", "oom 2"]


def test_a_finding_that_is_attributed_to_a_test_or_allowed_by_one_is_not_reported_again():
    record = SessionData()
    record.add_data({"findings": [found("a"), found("b"), found("c")]})
    record.add_data({"findings": [found("a", reported_in="test"), found("b", allowed="meant")]})
    assert [(finding["keys"][0], finding["reported_in"]) for finding in record.findings] == [
        ("c", "session"),
        ("a", "test"),
        ("b", "session"),
    ]


def test_incident_that_a_worker_caused_or_a_test_allows_is_not_reported_by_another():
    record = SessionData()
    record.add_data({"findings": [found("a"), found("b"), found("c", allowed="meant")]})
    record.add_data({"findings": [found("b", allowed="meant")], "caused": ["a", "c"]})
    assert [(finding["keys"][0], finding["allowed"]) for finding in record.findings] == [
        ("b", "meant")
    ]


def test_workers_that_know_a_finding_in_different_ways_report_it_once():
    record = SessionData()
    record.add_data({"findings": [found("its row", "its end"), found("its end", "its successor")]})
    record.add_data({"findings": [found("another")], "caused": ["another", "the same"]})
    assert [finding["keys"][0] for finding in record.findings] == ["its row"]


def test_a_gap_that_several_workers_met_is_reported_once_with_all_its_tests():
    gap = {"sandbox": "box", "why": "refused", "guarded": True, "from_test": "a"}
    begun = {**gap, "open": True, "to_test": None, "to_at": None}
    mine, other = {"id": "gw0/1", "worker": "gw0"}, {"id": "gw1/1", "worker": "gw1"}
    record = SessionData()
    record.add_data({"gaps": [{**begun, **mine, "from_at": "1", "tests": 1}]})
    ended = {"open": False, "to_test": "d", "to_at": "9"}
    record.add_data({"gaps": [{**gap, **mine, **ended, "from_at": "1", "tests": 3}]})
    record.add_data({"gaps": [{**begun, **other, "from_at": "2", "tests": 2}]})
    [merged] = record.gaps
    assert (merged["tests"], merged["open"], merged["to_test"]) == (5, True, None)
    assert merged["times"] == [
        {"worker": "gw0", "from_at": "1", "to_at": "9"},
        {"worker": "gw1", "from_at": "2", "to_at": None},
    ]


def test_an_outage_that_goes_on_is_reported_again_and_kept_once():
    outage = {"sandbox": "box", "from_at": "1", "test": "a"}
    record = SessionData()
    for faults, to_at in (("502", "2"), ("502 x4", "5")):
        told = {**outage, "faults": faults, "to_at": to_at}
        record.add_data({"worker": "gw0", "outages": [told]})
    document = document_of(record, Settings(), 0)
    assert document["outages"] == [{**outage, "faults": "502 x4", "to_at": "5", "worker": "gw0"}]


def test_outcome_of_a_test_combines_its_phases():
    good = report("setup"), report("call"), report("teardown")
    assert outcome(*good) == [(1, "passed")]
    assert outcome(report("setup", "failed"), report("teardown")) == [(1, "error")]
    assert outcome(report("setup"), report("call", "failed"), report("teardown")) == [(1, "failed")]
    assert outcome(*good[:2], report("teardown", "failed")) == [(1, "error")]
    assert outcome(report("setup", "skipped"), report("teardown")) == [(1, "skipped")]
    both = report("setup"), report("call", "failed"), report("teardown", "failed")
    assert outcome(*both) == [(1, "failed")]
    assert outcome(report("setup"), report("call", wasxfail="x"), report("teardown")) == [
        (1, "xpassed")
    ]
    assert outcome(report("setup"), report("call", "skipped", wasxfail="x")) == [(1, "xfailed")]
    assert outcome(report("setup"), report("call", "rerun"), report("teardown"), *good) == [
        (1, "rerun"),
        (2, "passed"),
    ]


def test_a_test_in_which_its_worker_died_has_crashed_and_keeps_its_place():
    node = SimpleNamespace(gateway=SimpleNamespace(id="gw1"))
    crash = report("???", "failed", node=node)
    assert outcome(report("setup", worker="gw1"), crash) == [(1, "crashed")]
    assert outcome(crash) == [(1, "crashed")]


def test_change_observed_by_two_workers_is_reported_once():
    change = {"sandbox": "box", "process": "1", "state": "running", "at": None, "test": None}
    record = SessionData()
    process = {"id": "1", "sandbox": "box", "before_the_session": True, "test": None}
    record.add_data({"processes": [process], "changes": [{**change, "seen_at": "2"}]})
    mine = {**process, "before_the_session": False, "test": "test_a"}
    record.add_data({"processes": [mine], "changes": [{**change, "seen_at": "1"}]})
    document = document_of(record, Settings(), 0)
    [told] = document["processes"]
    assert (told["before_the_session"], told["test"]) == (False, "test_a")
    assert [one["seen_at"] for one in told["changes"]] == ["1"]
