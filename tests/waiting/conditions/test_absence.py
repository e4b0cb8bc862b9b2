"""Conditions on absence: what they must observe, and for how long."""

from __future__ import annotations

import pytest

from pytest_tlsandbox import errors
from pytest_tlsandbox.sandbox import Sandbox
from tests.support import (
    OOM,
    T0,
    FakeClock,
    ScriptedLister,
    dedented,
    ended,
    failure,
    managed,
    outcome,
    pass_time,
    polls,
    process,
    raw,
    signaled,
    snapshot,
    unreachable,
)
from tests.support import box_of as writing_box
from tests.support import silent_box as box_of

RUNNING = raw(41)
UNREADABLE = {"pid": 77, "status": 3, "command": "x"}


def vanished(*before, killed=None):
    """Return a sandbox that listed ``before`` when the test began and now lists another process."""
    box = box_of({0: list(before), 1: [raw(43)]}).from_now()
    if killed is not None:
        box._history.note_signals(process(killed), 9)
    return pass_time(box)


# ------------------------------------------------------------------------ vanished rows


def test_assertion_is_inconclusive_if_a_process_that_the_test_started_is_missing_for_one_second():
    box = box_of([raw(42)], started=[process(41)])
    box._history.note_start(process(41))

    error = failure(box.assert_no_oom, errors.Inconclusive)

    assert str(error) == dedented("""
        Cannot check for OOM kills: it is not known how train.py ended

          it was alive and is no longer listed
          process  python train.py
          run      pid 41, started 16:00:00.000 UTC
    """)
    assert 1.0 <= polls(box)[-1] <= 1.1


def test_oom_assertion_passes_if_a_process_vanishes_after_the_test_killed_it():
    box = box_of({0: [RUNNING], 1: [raw(42)]}, started=[process(41)])
    box._history.note_start(process(41))
    box._history.note_signals(process(41), 9)

    pass_time(box).assert_no_oom()


def test_assertion_is_inconclusive_only_if_all_living_processes_vanished():
    error = failure(vanished(raw(41), raw(42)).assert_no_oom)
    assert str(error) == dedented("""
        Cannot check for OOM kills: it is not known how 2 runs of train.py ended

            pid 41  running  python train.py    it was alive and is no longer listed
            pid 42  running  python train.py    it was alive and is no longer listed
    """)
    error = failure(vanished(raw(41), raw(42), killed=41).assert_no_oom)
    assert "\n  run      pid 42, " in str(error)

    box_of([raw(42)], baseline=snapshot(raw(41), raw(42))).assert_no_oom()
    vanished(raw(41, **ended(0))).assert_no_oom()
    vanished(raw(41), killed=41).assert_no_oom()


def test_assertion_about_a_selected_process_passes_even_if_other_processes_vanished():
    box = box_of([raw(41, **ended(0))], baseline=snapshot(raw(40)))

    box.assert_no_oom(41)
    failure(box.assert_no_oom, errors.Inconclusive)


def test_oom_assertion_fails_after_one_second_if_a_process_object_is_not_listed():
    box = box_of([raw(42)])
    line = "No process matches pid 41"
    assert outcome(lambda: box.assert_no_oom(process(41))) == ("ProcessNotFound", line)
    assert 1.0 <= polls(box)[-1] <= 1.1


@pytest.mark.parametrize("name", ["trian.py", 99])
def test_oom_assertion_fails_immediately_if_the_process_is_not_listed(name):
    box = box_of([raw(1)])

    failure(lambda: box.assert_no_oom(name), errors.ProcessNotFound)
    assert polls(box) == [0.0]
    box.assert_not_running(name)


# ---------------------------------------------------------------------- still running


def test_absence_assertion_fails_for_a_process_that_is_about_to_be_restarted():
    row = raw(7, **ended(1), managed=managed("web", status="backing_off", restart_count=1))

    line = "Unexpectedly backing off: web"
    assert outcome(lambda: box_of([row]).assert_not_running("web")) == ("AssertionFailed", line)


def test_absence_assertion_ignores_a_stale_running_status_right_after_a_kill():
    box_of({0: [RUNNING], 0.15: [raw(41, **signaled(9))]}).assert_not_running("train.py")


# -------------------------------------------------------------------- unreadable rows


def test_assertion_ignores_a_row_that_was_unreadable_before_the_test():
    box = box_of({0: [raw(1), UNREADABLE], 1: [raw(1), UNREADABLE, {"pid": 4}]}).from_now()

    box.assert_no_oom()
    line = "Cannot check for OOM kills: 1 of 3 rows in the process list cannot be read"
    assert outcome(pass_time(box).assert_no_oom) == ("Inconclusive", line)


def test_unreadable_row_makes_an_assertion_inconclusive_unless_another_pid_is_selected():
    box = box_of([raw(41, **ended(0)), UNREADABLE])

    box.assert_no_oom(41)
    box.assert_not_running(41)
    for check, call in {
        "for OOM kills": box.assert_no_oom,
        'for OOM kills of "train.py"': lambda: box.assert_no_oom("train.py"),
        'whether "none" is running': lambda: box.assert_not_running("none"),
    }.items():
        line = f"Cannot check {check}: 1 of 2 rows in the process list cannot be read"
        assert outcome(call) == ("Inconclusive", line)


# ---------------------------------------------------------------------- settling time


def test_negative_assertion_polls_for_200_ms_while_a_process_is_alive():
    box = box_of([RUNNING])
    box.assert_no_oom()
    assert 0.2 <= polls(box)[-1] < 0.3

    box = box_of([raw(41, **ended(0))])
    box.assert_no_oom()
    assert polls(box) == [0.0]


@pytest.mark.parametrize(
    ("first", "then", "error"),
    [
        ({}, OOM, errors.ProcessOOMKilled),
        (ended(None), OOM, errors.ProcessOOMKilled),
        (signaled(1), signaled(11), errors.ProcessCrashed),
    ],
    ids=["alive", "lost", "hang-up"],
)
def test_incident_during_the_200_ms_of_polling_fails_the_assertion(first, then, error):
    box = box_of({0: [raw(41, **first)], 0.1: [raw(41, **then)]})

    failure(box.assert_no_incidents, error)


def test_process_whose_exit_code_is_reported_late_is_not_a_suspected_oom_kill():
    box_of({0: [raw(1, **ended(-1))], 0.5: [raw(1, **ended(0))]}).assert_no_oom(suspected=True)


def test_exit_code_that_was_lost_before_the_test_does_not_delay_the_assertion():
    over = raw(2, managed=managed(status="stopped"), **ended(-1))
    box = box_of([raw(1, **ended(-1)), over]).from_now()

    box.assert_no_oom()

    assert polls(box) == [0.0, 0.0]


class _Alternating(ScriptedLister):
    """Lists an unreadable row in every second poll."""

    def poll(self, **options):
        self._script = {0.0: [RUNNING, {"pid": 5}] if len(self.polls) % 2 else [RUNNING]}
        return super().poll(**options)


def test_assertion_whose_result_never_becomes_stable_is_inconclusive():
    box = Sandbox(_Alternating(FakeClock(), {}))

    error = failure(box.assert_no_oom, errors.Inconclusive)

    assert 5 < polls(box)[-1] < 6.5
    assert error.first_line == "Cannot be checked: the result did not settle"


def test_two_polls_around_an_outage_are_enough_for_a_negative_assertion():
    """Regression: an outage of 7 s right after the first poll made the assertion inconclusive."""
    box = box_of({0: [RUNNING], 0.01: unreachable(), 7: [RUNNING]})

    box.assert_no_oom()

    assert 7 <= polls(box)[-1] < 9.5


def test_two_slow_polls_are_enough_for_a_negative_assertion():
    box = box_of([raw(1)], latency=1.2)

    box.assert_no_oom()

    assert len(polls(box)) == 2


@pytest.mark.parametrize("name", ["oom", "crash", "restart", "incidents"])
def test_assertion_never_passes_without_a_successful_poll(name):
    box = box_of({0: unreachable()})

    failure(getattr(box, f"assert_no_{name}"), errors.SandboxUnreachable)
    failure(lambda: box.assert_not_running("train.py"), errors.SandboxUnreachable)


# -------------------------------------------------------------------------- messages


def test_negative_assertion_error_describes_the_expected_state_in_words():
    box = box_of([raw(41, **signaled(11))])
    assert failure(box.assert_no_incidents).wanted == (
        "no OOM kills, crashes, restarts or failing health checks"
    )
    error = failure(lambda: box_of([RUNNING]).assert_not_running(41))
    assert error.wanted == "no living process that matches pid 41"


LAST = {"signal": 9, "oom_killed": True, "ended_at": T0 + 4000}
AGAIN = raw(8, started_at=T0 + 9000, managed=managed(restart_count=1, last_exit=LAST))


def test_message_about_a_run_that_was_never_listed_shows_no_output_of_the_next_run():
    error = failure(writing_box([AGAIN]).assert_no_oom)

    assert error.first_line == "OOM-killed, then restarted: web"
    assert "Traceback: no memory" not in str(error)


def test_assertion_about_a_pid_ignores_earlier_runs_but_reports_the_restart_that_led_to_the_pid():
    box = pass_time(box_of({0: [raw(7, managed=managed())], 1: [AGAIN]}).from_now())

    box.assert_no_oom(8)
    failure(lambda: box.assert_no_oom("web"), errors.ProcessOOMKilled)
    failure(lambda: box.assert_no_restart(8), errors.ProcessRestarted)


def test_process_that_several_selectors_match_is_reported_once():
    box = box_of([raw(8, managed=managed(health_status="unhealthy"))])

    assert (
        failure(lambda: box.assert_no_incidents("web", "train.py")).first_line == "Unhealthy: web"
    )
