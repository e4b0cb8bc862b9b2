"""What happened since a baseline, and what is no incident."""

from __future__ import annotations

import pytest

from pytest_tlsandbox import evidence
from pytest_tlsandbox.evidence import Ledger
from tests.support import T0, ended, managed, process, raw, signaled, snapshot

OOM = signaled(9, status="oom_killed", oom_killed=True)


def last(code=None, signal=None, *, oom=False, at=9000):
    return {"exit_code": code, "signal": signal, "oom_killed": oom, "ended_at": T0 + at}


def told(rule, *rows, before=(), ledger=None):
    seen = snapshot(*rows)
    baseline = snapshot(*before)
    return [(item.what, item.confirmed) for item in rule(seen, baseline, ledger or Ledger())]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (raw(**OOM), [("the sandbox lists it as OOM-killed", True)]),
        (raw(**signaled(9, oom_killed=True)), [("the sandbox lists it as OOM-killed", True)]),
        (raw(**ended(1, oom_killed=True)), [("a child of it was OOM-killed", True)]),
        (raw(**signaled(9)), [("killed by a SIGKILL that was not sent here", False)]),
        (raw(**ended(137)), [("exited 137, as a shell does whose child was SIGKILLed", False)]),
        (raw(**ended(-1)), [("ended, and the sandbox lost its exit code", False)]),
        (raw(**signaled(15)), []),
        (raw(**signaled(1)), []),
        (raw(**ended(0)), []),
        (raw(), []),
        (
            raw(managed=managed(restart_count=1, last_exit=last(signal=9, oom=True))),
            [("restarted after an OOM kill and is running again", True)],
        ),
        (
            raw(managed=managed(restart_count=1, last_exit=last(signal=9))),
            [("restarted after: killed by a SIGKILL that was not sent here", False)],
        ),
        (raw(managed=managed(restart_count=1, last_exit=last(code=1))), []),
        (
            raw(**OOM, managed=managed(status="backing_off", last_exit=last(signal=9, oom=True))),
            [("the sandbox lists it as OOM-killed", True)],
        ),
    ],
    ids=lambda value: None,
)
def test_an_oom_kill_is_found_wherever_it_hides(row, expected):
    assert told(evidence.oom_kills, row) == expected


def test_an_oom_kill_of_before_the_baseline_is_no_incident():
    masked = raw(8, managed=managed(restart_count=1, last_exit=last(signal=9, oom=True)))

    assert told(evidence.oom_kills, raw(7, **OOM), masked, before=(raw(7, **OOM), masked)) == []
    assert told(evidence.oom_kills, raw(7, **OOM), before=(raw(7),)) == [
        ("the sandbox lists it as OOM-killed", True)
    ]


def test_a_kill_through_the_plugin_is_no_suspicion():
    ledger = Ledger()
    ledger.signal_sent(process(41), 9)

    assert told(evidence.oom_kills, raw(41, **signaled(9)), ledger=ledger) == []
    assert told(evidence.oom_kills, raw(41, **ended(137)), ledger=ledger) == []
    # ... and no excuse for what the sandbox itself calls an OOM kill.
    assert told(evidence.oom_kills, raw(41, **OOM), ledger=ledger) == [
        ("the sandbox lists it as OOM-killed", True)
    ]


@pytest.mark.parametrize("number", [4, 5, 6, 7, 8, 11, 31])
def test_a_crash_signal_is_a_crash(number):
    assert told(evidence.crashes, raw(**signaled(number)))


@pytest.mark.parametrize("number", [1, 2, 3, 9, 10, 13, 14, 15])
def test_other_signals_are_none(number):
    assert told(evidence.crashes, raw(**signaled(number))) == []


def test_a_failing_exit_is_no_crash():
    assert told(evidence.crashes, raw(**ended(1)), raw(42, **ended(139))) == []


def test_a_crash_behind_a_restart_is_one():
    row = raw(managed=managed(restart_count=1, last_exit=last(signal=11)))

    assert told(evidence.crashes, row) == [("crashed with 11 (SIGSEGV) and is running again", True)]


def test_a_signal_that_was_sent_through_the_plugin_is_no_crash():
    ledger = Ledger()
    ledger.signal_sent(process(41), 6)

    assert told(evidence.crashes, raw(41, **signaled(6)), ledger=ledger) == []


def test_a_supervisor_that_spent_its_restarts_gave_up():
    gave_up = managed(status="stopped", restart_count=5, last_exit=last(code=1))

    assert told(evidence.crashes, raw(**ended(1), managed=gave_up)) == [
        ("gave up after 5 restarts", True)
    ]


@pytest.mark.parametrize(
    "row",
    [
        raw(**ended(0), managed=managed(status="stopped", restart_count=5)),
        raw(**ended(1), managed=managed(status="stopped", restart_count=4)),
        raw(**ended(1), managed=managed(status="stopped", restart={"policy": "never"})),
        raw(**ended(1), managed=managed(status="backing_off", restart_count=5)),
        raw(**signaled(15), managed=managed(status="stopped", restart_count=0)),
    ],
    ids=["exited well", "restarts left", "never restarted", "not yet", "stopped by someone"],
)
def test_a_supervisor_that_stopped_for_another_reason_did_not_give_up(row):
    assert told(evidence.crashes, row) == []


def test_restarts_are_counted_from_the_baseline():
    now = raw(managed=managed(restart_count=3))

    assert told(evidence.restarts, now) == [("restarted 3 times and is running again", True)]
    assert told(evidence.restarts, now, before=(raw(managed=managed(restart_count=2)),)) == [
        ("restarted 1 time and is running again", True)
    ]
    assert told(evidence.restarts, now, before=(now,)) == []


def test_a_restart_through_the_plugin_is_no_incident_where_the_sandbox_counts_it():
    before, after = process(7, managed=managed()), process(8, managed=managed(restart_count=1))
    ledger = Ledger()
    ledger.restarted(before, after, at=5.0)
    row = raw(8, managed=managed(restart_count=1, last_exit=last(signal=9)))

    assert told(evidence.restarts, row, ledger=ledger) == []
    assert told(evidence.oom_kills, row, ledger=ledger) == []
    assert told(evidence.unseen_ends, row, ledger=ledger) == []

    uncounted = Ledger()
    uncounted.restarted(before, process(8, managed=managed()), at=5.0)
    assert told(evidence.restarts, row, ledger=uncounted) != []


def test_a_restart_of_an_earlier_test_excuses_none_of_this_one():
    ledger = Ledger()
    one = raw(8, managed=managed(restart_count=1))
    ledger.restarted(
        process(7, managed=managed()), process(8, managed=managed(restart_count=1)), at=5.0
    )
    crashed = raw(9, managed=managed(restart_count=2, last_exit=last(code=1)))

    baseline = snapshot(one, at=10.0)
    incidents = evidence.restarts(snapshot(crashed, at=11.0), baseline, ledger)
    assert [item.what for item in incidents] == ["restarted 1 time and is running again"]


def test_an_end_hides_behind_a_restart_that_was_asked_for():
    ledger = Ledger()
    ledger.restarted(
        process(8, managed=managed(restart_count=1)),
        process(9, managed=managed(restart_count=2)),
        at=5.0,
    )
    row = raw(9, managed=managed(restart_count=2, last_exit=last(signal=15)))

    assert told(evidence.unseen_ends, row, ledger=ledger) != []


def test_an_end_hides_behind_a_kill():
    row = raw(8, **signaled(15), managed=managed(status="stopped", restart_count=1))
    ledger = Ledger()
    ledger.signal_sent(process(8, managed=managed(restart_count=1)), 9)

    assert told(evidence.unseen_ends, row, ledger=ledger) != []
    never_restarted = raw(8, **signaled(15), managed=managed(status="stopped"))
    assert told(evidence.unseen_ends, never_restarted, ledger=ledger) == []


def test_a_name_that_is_used_again_begins_anew():
    old = raw(7, **ended(1), managed=managed("web", status="stopped", restart_count=3))
    new = raw(
        9,
        started_at=T0 + 60_000,
        managed=managed("web", restart_count=2, last_exit=last(signal=11)),
    )

    assert told(evidence.restarts, new, before=(old,)) == [
        ("restarted 2 times and is running again", True)
    ]
    assert told(evidence.crashes, new, before=(old,)) != []


def test_a_last_exit_that_looks_the_same_is_new_when_there_was_a_restart():
    oom = {"exit_code": None, "signal": 9, "oom_killed": True}
    before = raw(7, managed=managed(restart_count=1, last_exit=oom))
    after = raw(8, managed=managed(restart_count=2, last_exit=oom))

    assert told(evidence.oom_kills, after, before=(before,)) != []


def test_a_kill_of_what_had_spent_its_restarts_is_no_crash():
    row = raw(
        7,
        **signaled(15),
        managed=managed(status="stopped", restart={"policy": "always", "max_restarts": 0}),
    )
    ledger = Ledger()
    ledger.signal_sent(process(7), 9)

    assert told(evidence.crashes, row, ledger=ledger) == []


def test_a_signal_to_what_has_ended_excuses_nothing():
    ledger = Ledger()
    ledger.signal_sent(process(41, **signaled(9)), 9)

    assert told(evidence.oom_kills, raw(41, **signaled(9)), ledger=ledger) != []


def test_only_the_last_of_several_ends_can_be_seen():
    row = raw(managed=managed(restart_count=2, last_exit=last(code=1)))

    assert told(evidence.unseen_ends, row) != []
    assert told(evidence.unseen_ends, row, before=(raw(managed=managed(restart_count=1)),)) == []


def test_failing_health_is_that_of_now():
    row = raw(managed=managed(health_status="unhealthy", consecutive_health_failures=4))

    assert told(evidence.failing_health, row) == [("4 checks failed in a row", True)]
    stopped = raw(**signaled(15), managed=managed(status="stopped", health_status="unhealthy"))
    assert told(evidence.failing_health, stopped) == []
    for word in ("healthy", "starting", "disabled"):
        assert told(evidence.failing_health, raw(managed=managed(health_status=word))) == []


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (raw(**ended(-1)), True),
        (raw(**ended(None)), True),
        (raw(**signaled(1)), True),
        (raw(**signaled(None)), True),
        (raw(**ended(0)), False),
        (raw(**signaled(15)), False),
        (raw(**OOM), False),
        (raw(), False),
    ],
)
def test_some_ends_are_open_to_doubt(row, expected):
    assert evidence.doubtful(snapshot(row).processes[0], Ledger()) is expected


def test_a_sighup_that_was_sent_through_the_plugin_is_beyond_doubt():
    ledger = Ledger()
    ledger.signal_sent(process(41), 1)

    assert not evidence.doubtful(process(41, **signaled(1)), ledger)


RULES = (
    evidence.oom_kills,
    evidence.crashes,
    evidence.restarts,
    evidence.failing_health,
    evidence.unseen_ends,
)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        ended(0),
        ended(1),
        ended(137),
        ended(-1),
        ended(None),
        signaled(9),
        signaled(11),
        signaled(1),
        ended(0, oom_killed=True),
        {"status": "oom_killed"},
        {"managed": managed(health_status="unhealthy")},
        ended(1, managed=managed(status="stopped", restart_count=5)),
        {"managed": managed(restart_count=2, last_exit=last(signal=9, oom=True))},
    ],
)
def test_what_is_as_it_was_at_the_baseline_is_told_as_if_all_rows_were_judged(fields):
    before = snapshot(raw(41, **fields))
    later = snapshot(raw(41, **fields), raw(42, **signaled(11)))
    rows = [before[0], later[1]]  # as one lister gives them: what did not change is the same object

    for rule in RULES:
        news = evidence.news_since(rows, before)
        assert later[1] in news
        assert rule(news, before, Ledger()) == rule(rows, before, Ledger())


def test_what_cannot_have_changed_since_the_baseline_is_not_judged():
    before = snapshot(raw(41), raw(42, **ended()))

    assert evidence.news_since(before, before) == []
    assert evidence.news_since(before, None) == list(before)
    assert evidence.news_since(snapshot(raw(41)), before) == list(snapshot(raw(41)))


def test_an_end_of_before_that_is_corrected_later_is_still_one_of_before():
    def row(code):
        gone = managed(status="stopped", last_exit=last(code=code))
        return raw(7, **ended(code), managed=gone)

    assert told(evidence.oom_kills, row(137), before=(row(-1),)) == []
    assert told(evidence.oom_kills, row(137)) == [
        ("exited 137, as a shell does whose child was SIGKILLed", False)
    ]


def test_what_the_sandbox_does_not_know_how_it_ended_has_not_given_up():
    gave_up = managed(status="stopped", restart_count=5, last_exit=last(code=-1))

    assert told(evidence.crashes, raw(**ended(-1), managed=gave_up)) == []
    assert told(evidence.crashes, raw(**ended(2), managed=gave_up)) == [
        ("gave up after 5 restarts", True)
    ]
