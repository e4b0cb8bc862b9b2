"""Test which errors are retried, after which pauses, and for how long."""

import pytest

from pytest_tlsandbox.client.retry import call_with_retries, pause_after
from pytest_tlsandbox.errors import AuthenticationFailed, SandboxUnreachable
from tests.support import FakeClock

DOWN = SandboxUnreachable("down", transient=True)
FINAL = AuthenticationFailed("no")
ENDLESS = [DOWN] * 10_000
START = FakeClock().now


def busy(seconds):
    return SandboxUnreachable("busy", transient=True, retry_after=seconds)


def play(*faults, takes=0.0, **options):
    """Retry a call that raises one of these faults at each try, and then returns "done".

    Return the result or the raised exception, the clock, and the time limit of each try.
    """
    clock, limits, faults = FakeClock(), [], iter(faults)

    def call(limit):
        limits.append(limit)
        clock.now += min(takes, limit)
        for fault in faults:
            raise fault
        return "done"

    try:
        return call_with_retries(call, clock, **options), clock, limits
    except BaseException as error:
        return error, clock, limits


def test_pause_between_retries_doubles_until_it_reaches_two_seconds():
    result, clock, _ = play(*[DOWN] * 8)

    expected = [0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0, 2.0]
    assert result == "done"
    assert clock.slept == pytest.approx(expected, rel=0.101)
    assert clock.slept != pytest.approx(expected, rel=1e-6), "no jitter"
    assert pause_after(DOWN, 100_000) == pytest.approx(2.0, rel=0.101)


def test_time_spent_in_calls_counts_towards_the_total_retry_time():
    _, _, limits = play(*ENDLESS, takes=5.0)

    assert len(limits) == 6


@pytest.mark.parametrize("outage", [0, 2])
@pytest.mark.parametrize("error", [FINAL, KeyboardInterrupt(), SystemExit(2), ValueError("a bug")])
def test_exception_that_is_not_transient_stops_the_retries(outage, error):
    result, clock, limits = play(*[DOWN] * outage, error)

    assert result is error
    assert (len(limits), len(clock.slept)) == (outage + 1, outage)


def test_pause_before_a_retry_is_as_long_as_the_server_requests():
    result, clock, _ = play(busy(7.0), DOWN, busy(7.0))

    assert result == "done"
    assert clock.slept == [7.0, pytest.approx(0.2, rel=0.101), 7.0]


def test_call_fails_immediately_if_the_server_requests_too_long_a_delay():
    result, clock, _ = play(*[busy(31.0)] * 2)

    assert (str(result), clock.slept) == ("busy", [])


def test_zero_in_a_retry_after_header_does_not_cause_endless_retries():
    result, _, _ = play(*[busy(0.0)] * 10_000)

    assert str(result) == "busy"


def test_each_attempt_is_limited_to_5_s_or_the_remaining_time():
    _, clock, limits = play(*ENDLESS, takes=5.0, until=START + 7.0)

    assert limits == [5.0, pytest.approx(1.9, abs=0.02)]
    assert clock.now - START <= 7.0


@pytest.mark.parametrize(("until", "seconds"), [(None, 0.5), (9.0, 0.5), (2.0, 0.1)])
def test_last_attempt_is_short_if_pytest_timeout_is_about_to_kill_the_test(until, seconds):
    _, _, limits = play(*ENDLESS, patience=3.0, until=until and START + until)

    assert limits[-1] == pytest.approx(seconds)
