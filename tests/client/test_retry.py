"""Retries: which errors, after which pauses, and for how long."""

import pytest

from pytest_tlsandbox.client.retry import (
    OUTAGE_BUDGET,
    call_with_retries,
    pause_after,
)
from pytest_tlsandbox.errors import AuthenticationFailed, SandboxUnreachable
from tests.support import FakeClock

DOWN = SandboxUnreachable("down", transient=True)
REFUSED = SandboxUnreachable("refused", transient=True, delivered=False)
FINAL = AuthenticationFailed("no")


class Script:
    """Raises what is in the list, then gives "done"."""

    def __init__(self, *faults):
        self.faults = list(faults)
        self.calls = 0

    def __call__(self, limit):
        self.calls += 1
        if self.faults:
            raise self.faults.pop(0)
        return "done"


def always(fault):
    def call(limit):
        raise fault

    return call


def test_good_response_is_returned_at_once():
    clock = FakeClock()

    assert call_with_retries(lambda limit: 7, clock) == 7
    assert clock.slept == []


def test_transient_errors_are_retried_with_pauses_that_double():
    clock = FakeClock()

    assert call_with_retries(Script(*[DOWN] * 8), clock) == "done"

    expected = [0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0, 2.0]
    assert clock.slept == pytest.approx(expected, rel=0.101)
    assert clock.slept != pytest.approx(expected, rel=1e-6), "no jitter"


def test_last_error_is_raised_after_30_seconds():
    clock = FakeClock()
    start = clock.now

    with pytest.raises(SandboxUnreachable) as raised:
        call_with_retries(always(DOWN), clock)

    assert raised.value is DOWN
    assert OUTAGE_BUDGET == 30.0
    # The last pause is cut, so that an outage as long as the budget is ridden out.
    assert clock.now - start == pytest.approx(30.0)


def test_time_of_the_calls_counts():
    clock = FakeClock()
    calls = 0

    def slow(limit):
        nonlocal calls
        calls += 1
        clock.now += 15.0
        raise DOWN

    with pytest.raises(SandboxUnreachable):
        call_with_retries(slow, clock)

    assert calls == 2


@pytest.mark.parametrize("outage", [0, 2])
@pytest.mark.parametrize("error", [FINAL, KeyboardInterrupt(), SystemExit(2), ValueError("a bug")])
def test_every_other_exception_ends_the_retries(outage, error):
    clock = FakeClock()
    script = Script(*[DOWN] * outage, error)

    with pytest.raises(type(error)) as raised:
        call_with_retries(script, clock)

    assert raised.value is error
    assert (script.calls, len(clock.slept)) == (outage + 1, outage)


def test_pause_is_as_long_as_the_server_asks():
    clock = FakeClock()
    busy = SandboxUnreachable("busy", transient=True, retry_after=7.0)

    assert call_with_retries(Script(busy, DOWN, busy), clock) == "done"
    assert clock.slept == [7.0, pytest.approx(0.2, rel=0.101), 7.0]


def test_retry_after_beyond_the_budget_is_not_waited_for():
    clock = FakeClock()
    busy = SandboxUnreachable("busy", transient=True, retry_after=31.0)

    with pytest.raises(SandboxUnreachable) as raised:
        call_with_retries(always(busy), clock)

    assert raised.value is busy
    assert clock.slept == []


def test_retry_after_of_0_does_not_poll_without_end():
    clock = FakeClock()
    at_once = SandboxUnreachable("busy", transient=True, retry_after=0.0)
    calls = 0

    def call(limit):
        nonlocal calls
        calls += 1
        if calls == 10_000:
            return "done"
        raise at_once

    with pytest.raises(SandboxUnreachable):
        call_with_retries(call, clock)


@pytest.mark.parametrize(("fault", "again"), [(REFUSED, True), (DOWN, False), (FINAL, False)])
def test_request_that_may_have_been_delivered_is_not_repeated_on_request(fault, again):
    script = Script(fault)

    if again:
        assert call_with_retries(script, FakeClock(), only_undelivered=True) == "done"
    else:
        with pytest.raises(type(fault)):
            call_with_retries(script, FakeClock(), only_undelivered=True)
    assert script.calls == (2 if again else 1)


@pytest.mark.parametrize(
    ("tries", "seconds"), [(1, 0.1), (2, 0.2), (5, 1.6), (6, 2.0), (100, 2.0), (100_000, 2.0)]
)
def test_pause_doubles_up_to_two_seconds(tries, seconds):
    assert pause_after(DOWN, tries) == pytest.approx(seconds, rel=0.101)


def test_call_may_take_5_s_and_no_longer_than_there_is_time_left():
    clock = FakeClock()
    limits = []

    def slow(limit):
        limits.append(limit)
        clock.now += limit
        raise DOWN

    with pytest.raises(SandboxUnreachable):
        call_with_retries(slow, clock, until=clock.now + 7.0)

    assert limits == [5.0, pytest.approx(1.9, abs=0.02)]
    assert clock.now - 1000 <= 7.0


@pytest.mark.parametrize(("until", "seconds"), [(None, 0.5), (9.0, 0.5), (2.0, 0.1)])
def test_last_call_has_time_for_a_new_connection_unless_the_test_is_about_to_be_killed(
    until, seconds
):
    clock = FakeClock()
    limits = []

    def down(limit):
        limits.append(limit)
        raise DOWN

    with pytest.raises(SandboxUnreachable):
        call_with_retries(down, clock, patience=3.0, until=until and clock.now + until)

    assert limits[-1] == pytest.approx(seconds)
