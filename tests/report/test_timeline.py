"""The layout of the timeline in a report."""

import pytest

from pytest_tlsandbox.report.timeline import timeline_of

from ..browser import made_up_reports as made
from ..browser.made_up_reports import attempt, change, finding, process, report, service


def section_of(*processes, tests=(), **fields):
    """Return the only section of the timeline of a session of 10 s."""
    [section] = timeline_of(report(10, [*processes], [*tests], **fields))["sections"]
    return section


def rows_of(*processes, **fields):
    return section_of(*processes, **fields)["rows"]


def bar_of(*args, **fields):
    [row] = rows_of(process(*args, **fields))
    [bar] = row["bars"]
    return bar


def marks_of(row):
    return [(mark["at"], mark["text"]) for mark in row["marks"]]


def pids(rows):
    return [row["bars"][0]["pid"] for row in rows]


def killed(run, number, test=None, **fields):
    """Return the incident that the run with this number of its generation was OOM-killed."""
    return finding("oom", "OOM-killed", run, test, run=number, **fields)


def restart_of(run, number, **fields):
    """Return the incident that a supervisor restarted a run."""
    return finding("restart", "Restarted", run, None, run=number, **fields)


def test_all_times_from_a_sandbox_with_a_wrong_clock_are_corrected_by_the_same_offset():
    early = [change("exited", 5 - 3600, seen_at=made.at(5.5)), change("exited", 8 - 3600)]
    jobs = [process(n, n - 3600, end) for n, end in enumerate(early, 1)]
    for job, seen in zip(jobs, (1.2, 2.3), strict=True):
        job["changes"][0]["seen_at"] = made.at(seen)
    jobs[1]["changes"][1]["seen_at"] = made.at(8.6)
    section = section_of(*jobs)
    assert section["offset"] == 3_600_200
    places = [(bar["from"], bar["to"]) for row in section["rows"] for bar in row["bars"]]
    assert places == [(1200, 5200), (2200, 8200)]


ENDS = [
    ([], "running", "open", 10_000),
    ([change("not listed", 4)], "gone", "gone", 4010),
    ([change("exited", 4, at=None)], "exited", "seen", 4010),
    ([change("exited", 4)], "exited", "sandbox", 4010),
    ([change("exited", 4), change("not listed", 5)], "exited", "sandbox", 4010),
    ([change("exited", 4, exit_code=-1)], "failed", "sandbox", 4010),
    ([change("exited", 4, exit_code=None)], "failed", "sandbox", 4010),
    ([change("exited", 4, oom_killed=True)], "oom", "sandbox", 4010),
    ([change("signaled", 4, signal=15)], "signaled", "sandbox", 4010),
    ([change("signaled", 4, signal=None)], "signaled", "sandbox", 4010),
    ([change("signaled", 4, signal=11)], "crash", "sandbox", 4010),
    # A change that the daemon corrects later is observed twice.
    ([change("exited", 4, exit_code=-1), change("oom_killed", 4)], "oom", "sandbox", 4010),
]


@pytest.mark.parametrize(("changes", "kind", "ended", "to"), ENDS)
def test_bar_ends_where_the_process_ended_or_vanished_or_stays_open(changes, kind, ended, to):
    bar = bar_of(1, 2, *changes)
    assert (bar["kind"], bar["ended"], bar["to"]) == (kind, ended, to)
    assert (bar["begun"], bar["from"]) == ("sandbox", 2010)


def test_bar_starts_at_the_left_edge_if_the_process_started_before_the_session():
    assert bar_of(1, -5, before_the_session=True)["begun"] == "before"
    known, fixture = process(1, 1, change("exited", 2)), process(2, 0.5, before_the_session=True)
    [bar] = rows_of(known, fixture)[0]["bars"]
    assert (bar["begun"], bar["from"]) == ("sandbox", 510)


def test_processes_that_ended_before_the_session_are_counted_but_not_drawn():
    shown = change("oom_killed", -5, signal=9, seen_at=made.at(0.5))
    old = process(1, -9, before_the_session=True, changes=[shown])
    ended = change("exited", 0, at=None)
    unknown = process(2, -9, before_the_session=True, changes=[ended])
    alive = process(3, -9, change("exited", 2), before_the_session=True)
    section = section_of(old, unknown, alive)
    assert (section["earlier"], pids(section["rows"])) == (2, [1003])


def test_runs_of_a_managed_process_share_one_row_with_marks_for_restarts_and_oom_kills():
    runs = [service(n, 3 * n, change("oom_killed", 3 * n + 2), restarts=n) for n in range(3)]
    # The row of a run that is still listed has the current number of restarts.
    runs[1]["changes"][1]["supervisor"] = made.supervisor(2)
    kills = [killed(run, n) for n, run in enumerate(runs)]
    restarts = [restart_of(run, n) for n, run in enumerate(runs[:2])]
    [row] = rows_of(*runs, incidents=kills + restarts)
    ends, starts = (2010, 5010, 8010), (3010, 6010)
    expected = [(at, "OOM-killed") for at in ends] + [(at, "Restarted") for at in starts]
    assert marks_of(row) == sorted(expected)


def test_timeline_marks_incidents_of_unlisted_runs_at_the_start_of_the_next_run():
    first = service(1, 1, change("oom_killed", 4), change("not listed", 6))
    second = service(2, 5, restarts=3)
    kills = [killed(first, 0), killed(second, 2, "test_a", at=made.at(7))]
    restarts = [restart_of(first, 0), restart_of(second, 1, times=2)]
    [row] = rows_of(first, second, findings=kills[1:], incidents=kills[:1] + restarts)
    assert [(bar["kind"], bar["to"]) for bar in row["bars"]] == [("oom", 4010), ("running", 10_000)]
    marks = [(4010, "OOM-killed"), (5010, "Restarted 3 times"), (5010, "OOM-killed")]
    assert (marks_of(row), row["bars"][1]["findings"]) == (marks, [0])
    [without_guard] = rows_of(first, second, incidents=kills + restarts)
    assert (marks_of(without_guard), without_guard["bars"][1]["findings"]) == (marks, [])


def test_allowed_finding_is_marked_but_does_not_count_as_a_problem():
    server, hog = process(1, 1), made.hog(2, 2, 3)
    leak = finding("leak", "Left running", server, "test_a", at=made.at(4))
    allowed = killed(hog, None, "test_a", allowed="on purpose")
    first, second = rows_of(server, hog, findings=[leak, allowed])
    assert (marks_of(first), first["wrong"]) == ([(4000, "Left running")], True)
    assert (marks_of(second), second["wrong"]) == ([(3010, "OOM-killed")], False)
    assert [row["bars"][0]["findings"] for row in (first, second)] == [[0], [1]]


@pytest.mark.parametrize("allowed", [None, "expected"])
def test_incident_that_is_also_a_finding_is_marked_once(allowed):
    first = service(1, 1, change("exited", 4))
    incidents = [restart_of(first, 0, at=made.at(4.5)), restart_of(first, 0, at=made.at(8))]
    fields = {"incidents": incidents[:1], "findings": [{**incidents[1], "allowed": allowed}]}
    [row] = rows_of(first, service(2, 5, restarts=1), **fields)
    assert (marks_of(row), row["wrong"]) == ([(5010, "Restarted")], allowed is None)
    [row] = rows_of(first, **fields)  # the next run is not listed yet
    assert (marks_of(row), row["wrong"]) == ([(4500, "Restarted")], allowed is None)


def test_causes_of_failed_tests_come_first_and_uneventful_rows_come_last():
    failed = process(1, 1, change("exited", 3, exit_code=1))
    crashed = process(4, 4, change("signaled", 5, signal=6))
    jobs = [process(2, 2, change("exited", 3)), failed, service(3, 3), crashed]
    test = attempt("test_a", 1, 2, "failed", cause=made.cause("exit", failed))
    rows = rows_of(*jobs, tests=[test])
    assert pids(rows) == [1001, 1004, 1002, 1003]
    assert [row["quiet"] for row in rows] == [False, False, True, True]


def test_outages_inside_a_monitoring_gap_are_not_shown_separately():
    outages = [made.outage(*times, "502 x3", "test_a") for times in ((1, 1.5), (2, 3.5), (8, 9))]
    section = section_of(process(1, 1), gaps=[made.gap((2, 4), (8, None))], outages=outages)
    assert section["gaps"] == [
        {"from": 2000, "to": 4000, "open": False, "why": "refused"},
        {"from": 8000, "to": 10_000, "open": True, "why": "refused"},
    ]
    assert section["outages"] == [{"from": 1000, "to": 1500, "faults": "502 x3", "test": "test_a"}]


def test_sandbox_that_was_never_reached_is_shown_in_the_timeline():
    document = report(10, [], [], gaps=[made.gap((1, None), sandbox="other")])
    gaps = {section["name"]: len(section["gaps"]) for section in timeline_of(document)["sections"]}
    assert gaps == {"box": 0, "other": 1}


WORKERS = [("local@gw1", "gw1"), ("ci-gw1", "gw1"), ("shared", None)]


@pytest.mark.parametrize(("name", "worker"), WORKERS)
def test_timeline_section_names_the_worker_unless_workers_share_the_sandbox(name, worker):
    workers = [{"id": f"gw{number}", "lost": False} for number in range(2)]
    assert section_of(process(1, 1, sandbox=name), workers=workers)["worker"] == worker


def test_test_with_unknown_end_time_is_drawn_at_its_start():
    lost = attempt("test_a", 1, 2, "crashed") | {"ended_at": None}
    never = attempt("test_b", 1, 2, "crashed") | {"started_at": None, "ended_at": None}
    picture = timeline_of(report(10, [], [lost, never]))
    assert [(test["from"], test["to"]) for test in picture["tests"]] == [(1000, 1000), (0, 0)]


def test_long_texts_are_truncated_and_the_number_of_omitted_characters_is_shown():
    output = {"stream": "stdout", "lines": ["x" * 500], "total": 1}
    bar = bar_of(1, 1, command_line="y" * 2100, output=output)
    assert bar["command"].endswith("yyy ... and 100 characters more")
    assert bar["output"]["lines"][0].endswith("xxx ... and 100 characters more")
