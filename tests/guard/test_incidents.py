"""Test which incidents the guard reports, for which run, and how a test can allow them."""

from __future__ import annotations

from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_tlsandbox.errors import ProcessOOMKilled
from pytest_tlsandbox.guard.findings import error_for
from pytest_tlsandbox.monitoring.session_data import SessionData
from pytest_tlsandbox.sandbox import Sandbox
from pytest_tlsandbox.types import Screen

from ..support import T0, ended, managed, raw, signaled, snapshot
from .guarded_box import GuardedBox, in_call, oom


def last(code=None, signal=None, *, oom=False, at=9000):
    return {"exit_code": code, "signal": signal, "oom_killed": oom, "ended_at": T0 + at}


def web(pid, status="running", start=0, fields=None, **supervised):
    return raw(
        pid,
        "web",
        (),
        started_at=T0 + start,
        managed=managed("web", status, **supervised),
        **(fields or {}),
    )


KILLED_TWICE = web(
    8,
    "backing_off",
    10_000,
    signaled(9, oom_killed=True, ended_at=T0 + 15_000),
    restart_count=1,
    last_exit=last(None, 9, oom=True, at=15_000),
)


def test_guard_reports_an_oom_flag_that_appears_after_a_fixture_process_ended():
    guarded = GuardedBox(raw(1, **ended(0)))

    assert guarded.test("a", raw(1, **ended(0, oom_killed=True))) == ["oom 1"]


def test_restart_that_a_test_requested_is_not_reported_in_a_later_test():
    guarded = in_call(web(7))
    again = web(8, start=10_000, restart_count=1, last_exit=last(signal=15))
    history = guarded.box.history
    history.note_restart(history.last[0], snapshot(again)[0])
    assert guarded.end("call", again) == []
    assert guarded.end("teardown") == []
    guarded.end_test()

    over = web(
        8,
        "stopped",
        10_000,
        ended(0, ended_at=T0 + 12_000),
        restart_count=1,
        last_exit=last(0, at=12_000),
    )
    assert guarded.test("b", over) == []


def test_fixture_process_is_not_a_leak_even_if_it_reuses_a_name():
    guarded = in_call(web(7, "stopped", fields=ended(0), last_exit=last(0)))
    fixturedef: Any = SimpleNamespace(scope="session")
    with contextmanager(guarded.guard.pytest_fixture_setup)(fixturedef):
        guarded.box.rows = [web(9, start=20_000)]

    assert guarded.end("call") + guarded.end("teardown") == []


def test_guard_reports_a_new_unhealthy_process_even_if_it_reuses_a_name():
    guarded = GuardedBox(web(7, "stopped", fields=ended(0), health_status="unhealthy"))

    assert guarded.test("a", web(9, start=20_000, health_status="unhealthy")) == [
        "unhealthy 9",
        "leak 9",
    ]


@pytest.mark.parametrize(
    ("now", "found"),
    [
        (web(7, health_status="healthy"), ["unhealthy 7"]),
        (
            web(
                8, start=10_000, restart_count=1, last_exit=last(None, 15), health_status="healthy"
            ),
            ["unhealthy 7", "restart 7"],
        ),
    ],
    ids=["the same run", "the next run"],
)
def test_guard_reports_a_process_that_was_listed_as_unhealthy_but_has_recovered(now, found):
    guarded = in_call(web(7, health_status="healthy"))
    guarded.box.rows = [web(7, health_status="unhealthy", consecutive_health_failures=3)]
    guarded.box.poll()

    assert sorted(guarded.end("call", now)) == sorted(found)


def test_allow_block_does_not_excuse_an_oom_kill_after_the_block():
    guarded = in_call(web(7))
    killed = web(
        7, "backing_off", fields=signaled(9, oom_killed=True), last_exit=last(None, 9, oom=True)
    )
    with guarded.guard.allowing(("oom",), "the limit is under test"):
        guarded.box.rows = [killed]
    again = web(8, start=10_000, restart_count=1, last_exit=last(None, 9, oom=True))
    guarded.box.rows = [again]
    guarded.box.poll()
    assert guarded.end("call", KILLED_TWICE) == ["oom 8", "restart 7"]


def test_marker_of_the_last_test_does_not_excuse_an_incident_after_the_test():
    guarded = GuardedBox(web(7))
    guarded.begin("a", oom="the limit is under test", restart="the limit is under test")
    again = web(8, start=10_000, restart_count=1, last_exit=last(None, 9, oom=True))
    assert guarded.call(again) + guarded.end("teardown") == []
    guarded.end_test()
    record = SessionData()
    record.add_data(guarded.monitor.take_data())

    guarded.box.rows = [KILLED_TWICE]
    guarded.monitor.end_session()
    record.add_data(guarded.monitor.take_data())

    assert [
        (found["rule"], found["reported_in"], found["allowed"]) for found in record.findings
    ] == [
        ("oom", "test", "the limit is under test"),
        ("restart", "test", "the limit is under test"),
        ("oom", "session", None),
    ]


@pytest.mark.parametrize(
    ("row", "declare"),
    [
        (oom(1), lambda box: box.wait_for_process(1, status="oom_killed")),
        (raw(1, **signaled(11)), lambda box: box.assert_process(1, signal=11)),
    ],
    ids=["oom", "crash"],
)
def test_incident_is_allowed_if_the_test_waited_for_it_or_asserted_it(row, declare):
    guarded = in_call(raw(1))
    guarded.box.rows = [row]
    declare(Sandbox(guarded.box))

    assert guarded.end("call") == []
    [finding] = guarded.monitor.take_data()["findings"]
    assert finding["allowed"] == "the test waited for it, or asserted it"


def test_incident_is_reported_with_advice_even_if_the_test_catches_the_error():
    guarded = in_call(raw(1))
    guarded.box.rows = [oom(1)]
    with pytest.raises(ProcessOOMKilled):
        Sandbox(guarded.box).wait_for_exit(1)

    findings = guarded.findings("call")
    assert 'tlsandbox_allow("oom", reason=...)' in str(error_for(findings, Screen()))


def test_exit_codes_that_the_sandbox_lost_are_counted_but_do_not_fail_a_test():
    guarded = GuardedBox(raw(1))
    assert guarded.test("a", raw(1, **ended(-1))) == []

    record = SessionData()
    record.add_data(guarded.monitor.take_data())
    assert [unknown["name"] for unknown in record.unknown_ends.values()] == ["train.py (pid 1)"]


def test_lost_exit_code_is_reported_if_the_test_started_the_process():
    guarded = in_call()
    guarded.box.history.note_start(snapshot(raw(1))[0])
    guarded.end("call", raw(1, **ended(-1)))

    [finding] = guarded.monitor.take_data()["findings"]
    assert (finding["verdict"], finding["test"]) == ("End not seen", "a")


def test_marker_that_allows_restarts_does_not_excuse_an_oom_kill_hidden_by_a_restart():
    guarded = GuardedBox(web(7), rules=("oom", "restart"))
    guarded.begin("a", restart="the server restarts once a minute")
    hidden = web(9, start=20_000, restart_count=2, last_exit=last(1, at=19_000))

    assert guarded.call(hidden) == ["oom 7"]


def test_session_data_masks_secrets_in_names_of_managed_processes():
    web = managed("web --token=abc")
    guarded = GuardedBox(raw(7, managed=web), rules=("crash",))
    guarded.test("a", raw(7, managed={**web, "status": "stopped"}, **signaled(11)))

    facts = guarded.monitor.take_data()
    [finding] = facts["findings"]
    assert finding["name"] == "web --token=*** (pid 7)"
    assert "abc" not in str(facts)
    assert "abc" not in repr([*guarded.box.history.runs()])
