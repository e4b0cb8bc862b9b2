"""When the loop looks, and when it stops."""

from __future__ import annotations

import itertools

import pytest

from pytest_tlsandbox import errors
from pytest_tlsandbox.sandbox import Sandbox
from tests.support import T0, FakeClock, ScriptedLister, ended, managed, raw, signaled

RUNNING = raw(41)
FAILED = raw(41, **ended(1))


def unreachable(label: str = "502", **more) -> errors.SandboxUnreachable:
    return errors.SandboxUnreachable(
        f"my-sandbox answered {label}", label=label, transient=True, **more
    )


def box_of(script, *, latency: float = 0.0, **options) -> tuple[Sandbox, ScriptedLister, FakeClock]:
    clock = FakeClock()
    lister = ScriptedLister(clock, script, latency)
    return Sandbox(lister, **options), lister, clock


# ------------------------------------------------------------------ the schedule


def test_the_first_look_is_at_once_and_a_wait_that_is_satisfied_looks_once():
    box, lister, _ = box_of({0: [RUNNING]})

    assert box.wait_for_process("train.py").pid == 41
    assert lister.polls == [0.0]


def test_the_pause_is_a_twentieth_of_the_elapsed_time_between_50_and_250_ms():
    box, lister, _ = box_of({0: [RUNNING]})

    with pytest.raises(errors.WaitTimedOut):
        box.wait_for_exit("train.py", timeout=20)

    pauses = [after - before for before, after in itertools.pairwise(lister.polls)]
    for at, pause in list(zip(lister.polls, pauses, strict=False))[:-1]:
        ideal = min(0.25, max(0.05, at * 0.05))
        assert 0.89 * ideal <= pause <= 1.11 * ideal or pause in (0.05, 0.25), at


@pytest.mark.parametrize("timeout", [0.0, 0.01, 0.3, 1.0, 5.0, 31.7])
@pytest.mark.parametrize("latency", [0.0, 0.06, 0.4])
def test_the_last_look_starts_at_the_deadline(timeout, latency):
    box, lister, clock = box_of({0: [RUNNING]}, latency=latency)

    with pytest.raises(errors.WaitTimedOut):
        box.wait_for_exit("train.py", timeout=timeout)

    assert lister.polls[-1] == pytest.approx(timeout, abs=1e-6)
    assert clock.now - 1000 <= timeout + 0.5


def test_what_becomes_true_at_the_deadline_is_seen():
    box, _, _ = box_of({0: [RUNNING], 4.9999: [raw(41, **ended(0))]})

    assert box.wait_for_exit("train.py", timeout=5).exit_code == 0


def test_a_look_before_the_deadline_may_not_go_past_it_and_the_last_may_take_half_a_second():
    box, lister, clock = box_of({0: unreachable("no answer")}, latency=99)

    with pytest.raises(errors.SandboxUnreachable):
        box.wait_for_exit("train.py", timeout=2)

    assert lister.limits == [2.0, 0.5]
    assert clock.now - 1000 == pytest.approx(2.5)


def test_a_wait_ends_250_ms_before_pytest_timeout_would_end_the_test_and_says_so():
    box, lister, _ = box_of({0: [RUNNING]})
    lister.test_deadline = lambda: 1030.0

    with pytest.raises(errors.WaitTimedOut) as caught:
        box.wait_for_exit("train.py", timeout=60)

    assert lister.polls[-1] == pytest.approx(29.75)
    # The last look leaves 150 ms to tell what was seen.
    assert lister.limits[-1] == pytest.approx(0.1)
    assert caught.value.first_line == (
        "Still running: train.py (pid 41) after 29.8 s (60 s cut by pytest-timeout)"
    )


def test_a_test_that_is_about_to_be_ended_still_has_a_look():
    box, lister, _ = box_of({0: [RUNNING]})
    lister.test_deadline = lambda: 1000.1

    with pytest.raises(errors.WaitTimedOut):
        box.wait_for_exit("train.py", timeout=60)

    assert lister.limits == [pytest.approx(0.02)]


# ------------------------------------------------------- certain, and no sooner


def test_the_end_of_a_run_that_is_meant_by_object_or_pid_is_the_end():
    for meant in (41, raw_object()):
        box, lister, _ = box_of({0: [RUNNING], 1: [FAILED]})

        with pytest.raises(errors.UnexpectedExit):
            box.wait_for_exit(meant, timeout=30)
        assert lister.polls[-1] < 1.1


def raw_object():
    from tests.support import process

    return process(41)


def test_what_is_meant_by_text_may_be_followed_within_two_seconds():
    again = raw(42, started_at=T0 + 1000)
    box, _, _ = box_of({0: [RUNNING], 1: [FAILED], 2.9: [FAILED, again]})

    box.wait_until(lambda snapshot: "exited" in str(snapshot))
    assert box.wait_for_process("train.py", timeout=30).pid == 42


def test_when_nothing_follows_within_two_seconds_the_wait_stops():
    box, lister, _ = box_of({0: [FAILED]})

    with pytest.raises(errors.UnexpectedExit):
        box.wait_for_process("train.py", timeout=30)

    assert 2.0 <= lister.polls[-1] < 2.1


def test_a_process_that_is_no_longer_listed_for_a_second_is_gone():
    box, lister, _ = box_of({0: [RUNNING], 2: []})

    with pytest.raises(errors.ProcessNotFound) as caught:
        box.wait_for_exit(41, timeout=30)

    assert caught.value.first_line == "Gone: train.py (pid 41) is no longer listed"
    assert 3.0 <= lister.polls[-1] < 3.3


def test_a_process_that_is_listed_again_within_a_second_is_not_gone():
    box, _, _ = box_of({0: [RUNNING], 2: [], 2.5: [RUNNING], 4: [raw(41, **ended(0))]})

    assert box.wait_for_exit(41, timeout=30).exit_code == 0


def test_a_pid_stands_for_the_run_it_was_first_seen_with():
    reused = raw(41, handle=90, command="web", args=(), started_at=T0 + 60_000)
    box, _, _ = box_of({0: [RUNNING], 1: [FAILED, reused]})

    with pytest.raises(errors.UnexpectedExit):
        box.wait_for_exit(41, timeout=30)


def test_a_managed_process_has_ended_when_its_supervisor_has_stopped():
    web = {"command": "web", "args": ()}
    script = {
        0: [raw(7, **web, managed=managed())],
        1: [raw(7, **web, **ended(1), managed=managed(status="backing_off", restart_count=1))],
        2: [raw(8, **web, managed=managed(restart_count=1))],
        9: [raw(8, **web, **ended(1), managed=managed(status="stopped", restart_count=5))],
    }
    box, lister, _ = box_of(script)

    with pytest.raises(errors.UnexpectedExit) as caught:
        box.wait_for_exit("web", timeout=30)

    assert 9.0 <= lister.polls[-1] < 9.3
    assert "its supervisor gave up after 5 restarts" in str(caught.value)


def test_stable_for_starts_anew_when_the_process_is_started_again():
    first = raw(7, command="web", args=(), managed=managed())
    second = raw(8, command="web", args=(), managed=managed(restart_count=1))
    box, lister, _ = box_of({0: [first], 0.6: [second]})

    assert box.wait_for_process("web", stable_for=1, timeout=5).pid == 8
    assert 1.6 <= lister.polls[-1] < 1.8


def test_a_process_that_dies_before_it_was_stable_is_told_as_ended():
    box, _, _ = box_of({0: [RUNNING], 0.5: [FAILED]})

    with pytest.raises(errors.UnexpectedExit):
        box.wait_for_process(41, stable_for=1)


def test_assert_stays_stops_at_the_first_breach():
    box, lister, _ = box_of({0: [RUNNING], 3: [FAILED]})

    with pytest.raises(errors.UnexpectedExit):
        box.assert_stays("train.py", stable_for=10)
    assert lister.polls[-1] < 3.3


def test_assert_stays_takes_the_time_it_names_and_no_more():
    box, lister, _ = box_of({0: [RUNNING]})

    box.assert_stays("train.py", stable_for=10)

    assert lister.polls[-1] == pytest.approx(10.0, abs=0.01)


def test_assert_stays_does_not_take_a_restart_for_staying():
    first = raw(7, command="web", args=(), managed=managed())
    last_exit = {"exit_code": 1, "signal": None, "oom_killed": False, "ended_at": T0 + 1000}
    again = {"started_at": T0 + 1500, "managed": managed(restart_count=1, last_exit=last_exit)}
    box, _, _ = box_of({0: [first], 1: [raw(8, command="web", args=(), **again)]})

    with pytest.raises(errors.AssertionFailed) as caught:
        box.assert_stays("web", stable_for=5)
    assert caught.value.first_line == "Restarted: web (pid 8), wanted running for 5 s"


def test_assert_stays_has_not_observed_what_lies_in_a_gap():
    box, _, _ = box_of({0: [RUNNING], 1: unreachable(), 3: [RUNNING]})

    with pytest.raises(errors.Inconclusive):
        box.assert_stays("train.py", stable_for=5)


def test_a_negative_assertion_looks_again_for_200_ms_while_something_is_alive():
    box, lister, _ = box_of({0: [RUNNING]})
    box.assert_no_oom()
    assert 0.2 <= lister.polls[-1] < 0.3

    box, lister, _ = box_of({0: [raw(41, **ended(0))]})
    box.assert_no_oom()
    assert lister.polls == [0.0]


def test_an_oom_that_shows_while_it_looks_again_is_seen():
    box, _, _ = box_of({0: [RUNNING], 0.1: [raw(41, **signaled(9, status="oom_killed"))]})

    with pytest.raises(errors.ProcessOOMKilled):
        box.assert_no_oom()


def test_a_list_that_still_says_running_just_after_a_kill_is_not_believed():
    box, _, _ = box_of({0: [RUNNING], 0.15: [raw(41, **signaled(9))]})

    box.assert_not_running("train.py")


# ---------------------------------------------------------------------- faults


def test_faults_that_may_pass_are_ridden_out():
    box, _, _ = box_of({0: [RUNNING], 1: unreachable("503 SANDBOX_NOT_READY"), 28: [FAILED]})

    with pytest.raises(errors.UnexpectedExit):
        box.wait_for_exit(41, timeout=60)


def test_assertions_ride_them_out_as_well():
    box, _, clock = box_of({0: unreachable(), 29: [raw(41, **ended(0))]})

    box.assert_no_oom()

    assert clock.now - 1000 > 29


def test_an_outage_of_30_s_is_the_end_of_a_longer_wait():
    box, lister, clock = box_of({0: [RUNNING], 5: unreachable()})

    with pytest.raises(errors.SandboxUnreachable) as caught:
        box.wait_for_exit(41, timeout=120)

    assert 35 <= clock.now - 1000 < 35.5
    assert caught.value.first_line.startswith(
        "Not checked: no listing of my-sandbox has succeeded since +5"
    )
    assert caught.value.snapshot is not None
    assert len(lister.polls) > 10


def test_a_good_look_between_two_outages_starts_the_budget_anew():
    box, _, _ = box_of({0: unreachable(), 20: [RUNNING], 23: unreachable(), 47: [FAILED]})

    with pytest.raises(errors.UnexpectedExit):
        box.wait_for_exit(41, timeout=120)


def test_a_final_fault_ends_the_wait_at_once():
    refused = errors.AuthenticationFailed("my-sandbox: the API key was refused (401)", label="401")
    box, lister, _ = box_of({0: [RUNNING], 1: refused})

    with pytest.raises(errors.AuthenticationFailed) as caught:
        box.wait_for_exit(41, timeout=120)

    assert lister.polls[-1] < 1.1
    assert caught.value.first_line == "my-sandbox: the API key was refused (401)"


def test_retry_after_is_obeyed_inside_the_deadline():
    box, lister, _ = box_of({0: unreachable("429", retry_after=3.0), 3: [RUNNING]})
    box.wait_for_process("train.py", timeout=10)
    assert lister.polls == [0.0, 3.0]

    box, lister, _ = box_of({0: unreachable("429", retry_after=3600.0)})
    with pytest.raises(errors.SandboxUnreachable):
        box.wait_for_process("train.py", timeout=2)
    assert lister.polls == [0.0, 2.0]


def test_one_failed_look_at_the_deadline_does_not_hide_what_was_seen_just_before():
    box, _, _ = box_of({0: [RUNNING], 4.99: unreachable()})

    with pytest.raises(errors.WaitTimedOut):
        box.wait_for_exit(41, timeout=5)


def test_what_was_seen_before_a_long_outage_is_no_answer():
    box, _, _ = box_of({0: [RUNNING], 2: unreachable()})

    with pytest.raises(errors.SandboxUnreachable):
        box.wait_for_exit(41, timeout=5)


def test_nothing_learned_is_never_a_pass():
    for ask in (
        lambda box: box.assert_no_oom(),
        lambda box: box.assert_no_crash(),
        lambda box: box.assert_not_running("train.py"),
        lambda box: box.assert_no_incidents(),
    ):
        box, _, _ = box_of({0: unreachable()})
        with pytest.raises(errors.SandboxUnreachable):
            ask(box)


def test_a_sandbox_whose_handles_start_again_was_replaced():
    box, _, clock = box_of({0: [raw(41, handle=1)], 1: [raw(12, handle=1, started_at=T0 + 5000)]})
    box = box.from_now()
    clock.sleep(1)

    with pytest.raises(errors.SandboxReplaced):
        box.assert_no_oom()


def test_what_a_condition_of_the_user_raises_is_the_users_own():
    box, _, _ = box_of({0: [RUNNING]})

    with pytest.raises(ZeroDivisionError):
        box.wait_until(lambda snapshot: 1 / 0)


def test_an_interruption_is_not_retried():
    box, lister, clock = box_of({0: [RUNNING]})

    def interrupt(_seconds):
        raise KeyboardInterrupt

    clock.sleep = interrupt
    with pytest.raises(KeyboardInterrupt):
        box.wait_for_exit("train.py")
    assert lister.polls == [0.0]


def test_a_fault_that_a_condition_of_the_user_raises_is_not_taken_for_the_loops_own():
    box, lister, _ = box_of({0: [RUNNING]})
    fault = unreachable("their own")

    def ask(_snapshot):
        raise fault

    with pytest.raises(errors.SandboxUnreachable) as caught:
        box.wait_until(ask)
    assert caught.value is fault
    assert lister.polls == [0.0]


def test_an_outage_is_no_time_in_which_a_process_was_seen_to_be_stable():
    box, lister, _ = box_of({0: [RUNNING], 0.2: unreachable(), 20: [RUNNING]})

    box.wait_for_process(41, stable_for=2, timeout=60)

    assert lister.polls[-1] >= 22


@pytest.mark.parametrize(
    ("stable_for", "back", "took"),
    [(5, 1.2, (6, 7.5)), (20, 1.2, (20, 21)), (20, 4, (24, 26.5))],
    ids=["a second", "less than a tenth of it", "more than that"],
)
def test_stable_begins_anew_where_nothing_was_seen_for_a_second_or_a_tenth_of_it(
    stable_for, back, took
):
    box, lister, _ = box_of({0: [RUNNING], 0.2: unreachable(), back: [RUNNING]})

    box.wait_for_process(41, stable_for=stable_for, timeout=60)

    assert took[0] <= lister.polls[-1] < took[1]


class _Wavering(ScriptedLister):
    """Lists a row that cannot be read at every second look."""

    def poll(self, **options):
        spoilt = {"pid": 5}
        self._script = {0.0: [RUNNING, spoilt] if len(self.polls) % 2 else [RUNNING]}
        return super().poll(**options)


def test_an_assertion_whose_verdict_wavers_ends_in_six_seconds():
    clock = FakeClock()
    box = Sandbox(_Wavering(clock, {}))

    with pytest.raises(errors.Inconclusive) as caught:
        box.assert_no_oom()

    assert 5 < clock.now - 1000 < 6.5
    assert caught.value.first_line.startswith("Not observed: the time ended after ")


def test_looking_does_not_draw_from_the_tests_own_random_numbers():
    import random

    random.seed(7)
    expected = random.random()
    random.seed(7)
    box, _, _ = box_of({0: [RUNNING], 5: [FAILED]})
    with pytest.raises(errors.UnexpectedExit):
        box.wait_for_exit(41)

    assert random.random() == expected


def test_a_sandbox_that_was_given_up_costs_the_next_tests_a_second_each():
    clock = FakeClock()
    lister = ScriptedLister(clock, {0: unreachable(), 40: [RUNNING]})
    took = []
    for _ in range(3):
        before = clock.now
        with pytest.raises(errors.SandboxUnreachable):
            Sandbox(lister).list_processes()
        took.append(clock.now - before)
    assert [round(seconds) for seconds in took] == [30, 1, 1]

    clock.sleep(10)
    Sandbox(lister).list_processes()
    assert lister.outage.left == 30.0


def test_negative_assertion_needs_a_good_poll_on_each_side_of_an_outage_and_no_more():
    """A rollout of 7 s, right after the first poll, was reported as "too soon to be sure"."""
    box, lister, _ = box_of({0: [RUNNING], 0.01: unreachable(), 7: [RUNNING]})

    box.assert_no_oom()

    assert 7 <= lister.polls[-1] < 9.5


def test_outages_without_end_do_not_make_an_assertion_go_on_without_end():
    script = {at: [RUNNING] if at % 11 == 0 else unreachable() for at in range(400)}
    box, lister, _ = box_of(script, latency=0.9)

    with pytest.raises(errors.InfrastructureError):
        box.assert_stays("train.py", stable_for=300)

    assert lister.polls[-1] < 100


@pytest.mark.parametrize(
    "read", [lambda box: box.wait_for_output(SETUP, "first"), lambda box: box.output(SETUP)]
)
def test_the_output_of_another_process_with_the_same_pid_is_not_taken_for_its_own(read):
    """Output is asked for by pid, and the kernel uses a pid again."""
    web = raw(41, handle=90, command="web", args=(), started_at=T0 + 60_000)
    box, _, _ = box_of({0: [FAILED, web]})

    with pytest.raises(errors.Inconclusive) as caught:
        read(box)

    assert caught.value.first_line == "Not read: the output of train.py (pid 41)"
    assert "pid 41 is another process's by now, and output is asked for by pid" in str(caught.value)


SETUP = raw_object()
