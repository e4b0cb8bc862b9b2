"""The layout of the timeline in a report."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_tlsandbox.report.timeline_rows import timeline_of

from ..browser.made_up_reports import at as time_at
from ..browser.made_up_reports import attempt, change, finding, process, report

WEB = {"name": "web", "managed": {"id": "web", "name": "web"}}


def supervisor(restarts: int, **fields: Any) -> dict[str, Any]:
    own = {"status": "running", "restarts": restarts, "health": "disabled", "last_exit": None}
    return {**own, **fields}


def rows_of(*processes: Any, seconds: float = 10, **fields: Any) -> list[dict[str, Any]]:
    [section] = timeline_of(report(seconds, [*processes], [], **fields))["sections"]
    rows: list[dict[str, Any]] = section["rows"]
    return rows


def bar_of(*args: Any, **fields: Any) -> dict[str, Any]:
    [row] = rows_of(process(*args, **fields))
    [bar] = row["bars"]
    return bar


def told(row: dict[str, Any]) -> list[tuple[int, str]]:
    return [(mark["at"], mark["text"]) for mark in row["marks"]]


def test_a_bar_is_from_the_start_to_the_end_that_the_sandbox_tells():
    bar = bar_of(1, 2, change("exited", 5))
    assert (bar["from"], bar["to"], bar["kind"]) == (2010, 5010, "exited")
    assert (bar["begun"], bar["ended"], bar["lived"]) == ("sandbox", "sandbox", 3000)


def test_a_clock_of_a_sandbox_that_is_an_hour_behind_is_distinguished_from_what_is_seen():
    early = [change("exited", 5 - 3600, seen_at=time_at(5.5)), change("exited", 8 - 3600)]
    jobs = [process(n, n - 3600, end) for n, end in enumerate(early, 1)]
    for job, seen in zip(jobs, (1.2, 2.3), strict=True):
        job["changes"][0]["seen_at"] = time_at(seen)
    jobs[1]["changes"][1]["seen_at"] = time_at(8.6)
    [section] = timeline_of(report(10, jobs, []))["sections"]
    assert section["offset"] == 3_600_200  # the smallest delay there was
    places = [(bar["from"], bar["to"]) for row in section["rows"] for bar in row["bars"]]
    assert places == [(1200, 5200), (2200, 8200)]


@pytest.mark.parametrize(
    ("changes", "kind", "ended", "to"),
    [
        ([], "running", "open", 10_000),
        ([change("not listed", 4)], "gone", "gone", 4010),
        ([change("exited", 4, at=None)], "exited", "seen", 4010),
        ([change("exited", 4), change("not listed", 5)], "exited", "sandbox", 4010),
        ([change("exited", 4, exit_code=-1)], "failed", "sandbox", 4010),
        ([change("exited", 4, exit_code=None)], "failed", "sandbox", 4010),
        ([change("exited", 4, oom_killed=True)], "oom", "sandbox", 4010),
        ([change("signaled", 4, signal=15)], "signaled", "sandbox", 4010),
        ([change("signaled", 4, signal=None)], "signaled", "sandbox", 4010),
        ([change("signaled", 4, signal=11)], "crash", "sandbox", 4010),
        # A change that the daemon corrects later is observed twice.
        ([change("exited", 4, exit_code=-1), change("oom_killed", 4)], "oom", "sandbox", 4010),
    ],
)
def test_an_end_is_what_it_was_seen_to_be_or_open(changes, kind, ended, to):
    bar = bar_of(1, 2, *changes)
    assert (bar["kind"], bar["ended"], bar["to"]) == (kind, ended, to)


def test_only_runs_from_before_the_session_begin_at_its_edge():
    assert bar_of(1, -5, before_the_session=True)["begun"] == "before"
    known = process(1, 1, change("exited", 2))
    fixture = process(2, 0.5, before_the_session=True)
    bars = {row["bars"][0]["pid"]: row["bars"][0] for row in rows_of(known, fixture)}
    assert (bars[1002]["begun"], bars[1002]["from"]) == ("sandbox", 510)


def test_runs_that_ended_before_the_session_are_counted_and_not_drawn():
    old = process(1, -9, before_the_session=True)
    old["changes"] = [change("oom_killed", -5, signal=9, seen_at=time_at(0.5))]
    unknown = process(2, -9, before_the_session=True)
    unknown["changes"] = [change("exited", 0, at=None)]
    alive = process(3, -9, change("exited", 2), before_the_session=True)
    [section] = timeline_of(report(10, [old, unknown, alive], []))["sections"]
    assert section["earlier"] == 2
    assert [row["bars"][0]["pid"] for row in section["rows"]] == [1003]


def test_the_runs_of_a_managed_process_are_one_row_with_its_restarts_and_oom_kills():
    runs = [process(number, 3 * number, **WEB) for number in range(3)]
    for number, run in enumerate(runs):
        begun = change("running", 3 * number, supervisor=supervisor(number))
        end = change("oom_killed", 3 * number + 2, signal=9, supervisor=supervisor(number))
        run["changes"] = [begun, end]
    # The row of a run that is still listed has the count of restarts that is so far.
    runs[1]["changes"][1]["supervisor"] = supervisor(2)
    [row] = rows_of(*runs)
    assert told(row) == [
        (2010, "OOM-killed"),
        (3010, "Restarted"),
        (5010, "OOM-killed"),
        (6010, "Restarted"),
        (8010, "OOM-killed"),
    ]
    assert row["totals"] == {"oom": 3, "restart": 2}


def test_a_run_that_was_never_listed_is_marked_where_the_next_one_begins():
    first, second = process(1, 1, change("oom_killed", 4, signal=9), **WEB), process(2, 5, **WEB)
    first["changes"] += [change("not listed", 6)]
    first["changes"][0]["supervisor"] = supervisor(0)
    second["changes"] = [change("running", 5, supervisor=supervisor(1))]
    [row] = rows_of(first, second)
    assert [(bar["kind"], bar["to"]) for bar in row["bars"]] == [("oom", 4010), ("running", 10_000)]
    assert told(row) == [(4010, "OOM-killed"), (5010, "Restarted")]
    second["changes"][0]["supervisor"]["restarts"] = 3
    hidden = finding("oom", "OOM-killed", second, "test_a", run=2, at=time_at(7))
    assert rows_of(first, second, incidents=[hidden]) == [
        {**row, "bars": [row["bars"][0], {**row["bars"][1], "findings": []}]}
        for row in rows_of(first, second, findings=[hidden], incidents=[hidden])
    ]
    [row] = rows_of(first, second, findings=[hidden])
    assert told(row) == [(4010, "OOM-killed"), (5010, "Restarted 3 times"), (5010, "OOM-killed")]
    assert row["totals"] == {"oom": 2, "restart": 3}


def test_a_health_check_is_marked_when_it_begins_to_fail_and_once():
    web = process(1, 1, **WEB)
    states = ("starting", "healthy", "unhealthy", "unhealthy", "healthy", "unhealthy")
    web["changes"] = [
        change("running", 1, seen_at=time_at(second), supervisor=supervisor(0, health=health))
        for second, health in enumerate(states, 2)
    ]
    [row] = rows_of(web)
    assert told(row) == [(4000, "Unhealthy"), (7000, "Unhealthy")]


def test_finding_without_another_mark_is_marked_and_an_allowed_one_is_not_a_problem():
    server = process(1, 1)
    hog = process(2, 2, change("oom_killed", 3, signal=9))
    found = [
        finding("leak", "Left running", server, "test_a", at=time_at(4)),
        finding("oom", "OOM-killed", hog, "test_a", allowed="it is meant"),
    ]
    first, second = rows_of(server, hog, findings=found)
    assert [(row["name"], told(row)) for row in (first, second)] == [
        ("job-1.py", [(4000, "Left running")]),
        ("job-2.py", [(3010, "OOM-killed")]),
    ]
    assert [mark["allowed"] for row in (first, second) for mark in row["marks"]] == [False, True]
    assert first["bars"][0]["findings"] == [0]


def test_a_restart_that_was_found_before_the_new_run_was_listed_is_marked_once():
    first, second = process(1, 1, **WEB), process(2, 5, **WEB)
    ended = change("exited", 4, exit_code=1, supervisor=supervisor(1, status="starting"))
    first["changes"] = [change("running", 1, supervisor=supervisor(0)), ended]
    second["changes"] = [change("running", 5, supervisor=supervisor(1))]
    found = [finding("restart", "Restarted", first, "test_a", at=time_at(4.5))]
    [row] = rows_of(first, second, findings=found)
    assert told(row) == [(5010, "Restarted")]
    assert [mark["allowed"] for mark in row["marks"]] == [False]
    [row] = rows_of(first, second, findings=[{**found[0], "allowed": "expected"}])
    assert [mark["allowed"] for mark in row["marks"]] == [True]
    [row] = rows_of(first, findings=found)
    assert told(row) == [(4500, "Restarted")]


def test_where_something_went_wrong_comes_first_then_what_is_managed_then_the_rest_in_time():
    web = process(3, 3, **WEB)
    web["changes"][0]["supervisor"] = supervisor(0)
    jobs = [
        process(2, 2, change("exited", 3)),
        process(1, 1, change("exited", 3, exit_code=1)),
        web,
        process(4, 4, change("signaled", 5, signal=6)),
    ]
    assert [row["bars"][0]["pid"] for row in rows_of(*jobs)] == [1004, 1003, 1001, 1002]


def test_gaps_and_outages_stand_at_their_sandbox_and_a_gap_tells_the_outages_in_it():
    times = [{"worker": None, "from_at": time_at(2), "to_at": time_at(4)},
             {"worker": None, "from_at": time_at(8), "to_at": None}]  # fmt: skip
    gap = {"sandbox": "box", "why": "refused", "times": times}
    outages = [
        {"sandbox": "box", "from_at": time_at(start), "to_at": time_at(end), "faults": "502 x3",
         "test": "test_a"}
        for start, end in ((1, 1.5), (2, 3.5), (8, 9))
    ]  # fmt: skip
    document = report(10, [process(1, 1)], [], gaps=[gap], outages=outages)
    [section] = timeline_of(document)["sections"]
    assert section["gaps"] == [
        {"from": 2000, "to": 4000, "open": False, "why": "refused"},
        {"from": 8000, "to": 10_000, "open": True, "why": "refused"},
    ]
    assert section["outages"] == [{"from": 1000, "to": 1500, "faults": "502 x3", "test": "test_a"}]


def test_a_sandbox_that_could_not_be_connected_to_has_its_place_too():
    gap = {
        "sandbox": "other",
        "why": "no key",
        "times": [{"worker": None, "from_at": time_at(1), "to_at": None}],
    }
    sections = timeline_of(report(10, [], [], gaps=[gap]))["sections"]
    assert [(section["name"], len(section["gaps"])) for section in sections] == [
        ("box", 0),
        ("other", 1),
    ]


@pytest.mark.parametrize(
    ("name", "label", "worker"),
    [("local@gw1", "local", "gw1"), ("ci-gw1", "ci-gw1", "gw1"), ("shared", "shared", None)],
)
def test_a_sandbox_of_one_worker_has_the_tests_of_that_worker_behind_its_bars(name, label, worker):
    workers = [{"id": f"gw{number}", "lost": False} for number in range(2)]
    boxes = [{"name": name, "label": label, "shared": worker is None}]
    [section] = timeline_of(report(10, [], [], workers=workers, sandboxes=boxes))["sections"]
    assert section["worker"] == worker


def test_a_test_whose_end_is_not_known_keeps_its_place():
    lost = attempt("test_a", 1, 2, "crashed") | {"ended_at": None}
    never = attempt("test_b", 1, 2, "crashed") | {"started_at": None, "ended_at": None}
    picture = timeline_of(report(10, [], [lost, never]))
    assert [(test["from"], test["to"]) for test in picture["tests"]] == [(1000, 1000), (0, 0)]


def test_long_texts_are_cut_and_say_so():
    output = {"stream": "stdout", "lines": ["x" * 500], "total": 1}
    bar = bar_of(1, 1, command_line="y" * 2100, output=output)
    assert bar["command"].endswith("yyy ... and 100 characters more")
    assert bar["output"]["lines"][0].endswith("xxx ... and 100 characters more")
