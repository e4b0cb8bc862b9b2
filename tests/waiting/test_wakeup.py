"""Waits that are woken when a process ends: the notice changes when they poll, never their result.

tests/model/test_helpers.py compares the results of waits with and without notices.
"""

import json
import random
from unittest import mock
from unittest.mock import call

import pytest

from pytest_tlsandbox import errors
from pytest_tlsandbox.client.transport import Answer
from pytest_tlsandbox.sandbox import Sandbox
from tests.fakes.streams import AlarmClock, FakeNotice
from tests.rows import T0, ended, managed, process, raw
from tests.support import ScriptedLister, box_of, failure, make, polls, unreachable

RUNNING, EXITED = raw(41), raw(41, **ended(0))


def streaming(script, *times, live=True, latency=0.0):
    """Return a sandbox whose streams end at these seconds, and the pid and notice of each stream.

    The last time applies to all further streams.
    """
    clock, streams = AlarmClock(), []
    script = script if isinstance(script, dict) else {0: script}
    box = Sandbox(ScriptedLister(clock, script, latency))

    def notice_end(pid, limit, wake):
        at = times[min(len(streams), len(times) - 1)]
        notice = FakeNotice(clock, None if at is None else 1000 + at, wake, live=live)
        streams.append((pid, notice))
        return notice

    box._client.notice_end = notice_end
    return box, streams


def test_wait_polls_once_a_second_until_the_exit_notice():
    box, streams = streaming({0: [RUNNING], 60: [EXITED]}, 60.001, latency=0.06)

    assert box.wait_for_exit(41, timeout=100).exit_code == 0

    # Half of the 60 ms of a call may pass before the list is read, and one call may be under way.
    assert polls(box)[-1] <= 60.001 + 0.06
    assert len(polls(box)) <= 65
    [(pid, notice)] = streams
    assert (pid, notice.closed) == (41, True)


def test_wait_polls_at_the_usual_rate_if_its_stream_is_refused():
    with_refusal, _ = streaming([RUNNING], None, live=False)
    without = box_of([RUNNING])
    for box in (with_refusal, without):
        with mock.patch("pytest_tlsandbox.client.retry._jitter", random.Random(1)):
            failure(lambda box=box: box.wait_for_exit(41, timeout=10), errors.WaitTimedOut)

    assert polls(with_refusal) == polls(without)


@pytest.mark.parametrize("begin", [0.5, 8.0, 8.25, 8.5, 8.75])
def test_long_outage_before_the_deadline_is_reported_even_if_a_stream_is_live(begin):
    box, _ = streaming({0: [RUNNING], begin: unreachable()}, None)

    failure(lambda: box.wait_for_exit(41, timeout=begin + 1.3), errors.SandboxUnreachable)


def test_wait_ignores_streams_after_two_false_exit_notices():
    box, streams = streaming([RUNNING], 0.3, 0.5, 0.7)

    failure(lambda: box.wait_for_exit(41, timeout=10), errors.WaitTimedOut)

    assert [pid for pid, _ in streams] == [41, 41]
    assert len(polls(box)) > 30


def test_new_stream_is_opened_for_each_run_during_a_wait_for_a_managed_process():
    script = {
        0: [raw(41, managed=managed())],
        2: [raw(41, managed=managed(status="backing_off"), **ended(1, ended_at=T0 + 2000))],
        3: [raw(42, managed=managed(), started_at=T0 + 3000)],
        5: [raw(42, managed=managed(status="stopped"), started_at=T0 + 3000, **ended(0))],
    }
    box, streams = streaming(script, 2.001, 5.001)

    assert box.wait_for_exit("web", timeout=20).exit_code == 0
    assert [pid for pid, _ in streams] == [41, 42]
    assert polls(box)[-1] == pytest.approx(5.001, abs=0.001)


@pytest.mark.parametrize("wait", [call.wait_for_port("web", 80), call.wait_for_restart("web")])
def test_wait_for_a_living_process_ends_at_the_exit_notice(wait):
    stopped = raw(41, managed=managed(status="stopped"), **ended(1))
    box, streams = streaming({0: [raw(41, managed=managed())], 4.9: [stopped]}, 4.901)
    box._client._ports = {0: "closed"}

    failure(lambda: make(wait, box), errors.UnexpectedExit)

    assert [pid for pid, _ in streams] == [41]
    assert 4.9 <= polls(box)[-1] < 4.902


OTHER_WAITS = {
    "for an end within 100 ms": lambda box: box.wait_for_exit(41, timeout=0.09),
    "for a process to run": lambda box: box.wait_for_process(99, timeout=3),
    "until it is healthy": lambda box: box.wait_for_process("web", healthy=True, timeout=3),
    "for a restart of a process that backs off": lambda box: box.wait_for_restart("db", timeout=3),
    "for a line": lambda box: box.wait_for_output(41, "never", timeout=3),
    "until a condition is true": lambda box: box.wait_until(lambda _: False, timeout=3),
}


@pytest.mark.parametrize("wait", OTHER_WAITS.values(), ids=OTHER_WAITS)
def test_wait_opens_a_stream_only_if_it_has_waited_100_ms_for_an_exit(wait):
    starting = managed("web", health_status="starting")
    backing_off = raw(51, managed=managed("db", "backing_off"), **ended(1))
    box, streams = streaming([RUNNING, raw(50, managed=starting), backing_off], None)

    failure(lambda: wait(box))

    assert streams == []


# ------------------------------------------------------------- one row of a long list


OTHERS = [raw(pid, args=(f"other-{pid}.py",)) for pid in range(100, 250)]


@pytest.fixture
def long_lived():
    """Return a sandbox with 151 processes, one of which ends after 115 s, and its list calls."""
    box, _ = streaming({0: [*OTHERS, RUNNING], 115: [*OTHERS, EXITED]}, 115.001)
    lists = []
    box._client.history.observers.append(lambda seen, _changed: lists.append(seen))
    return box, lists


def test_all_processes_are_listed_only_every_ten_seconds_during_a_wait_for_one_process(long_lived):
    box, lists = long_lived
    times = []

    def get(pid, *, limit):
        times.append(box._client.clock.now)
        return process(pid)

    box._client.get = get

    assert box.wait_for_exit(41, timeout=120).exit_code == 0

    assert lists[-1].begun == pytest.approx(1115.001, abs=0.001)
    assert times[-1] < lists[-1].begun - 0.1  # after a notice, the list is requested at once
    assert len(lists) <= 3 + 12 + 1
    assert 90 <= len(times) <= 120


FAILS, REFUSED = ({"side_effect": error} for error in (unreachable(), errors.RequestRefused("404")))
ANOTHER = {"return_value": process(41, started_at=T0 + 5)}


@pytest.mark.parametrize("answer", [FAILS, REFUSED, ANOTHER])
def test_wait_lists_all_processes_if_the_requested_process_is_missing(long_lived, answer):
    box, lists = long_lived
    box._client.get = mock.Mock(**answer)

    assert box.wait_for_exit(41, timeout=120).exit_code == 0
    assert len(lists) > 100


@pytest.mark.parametrize(("timeout", "ends"), [(7, (7, 7.5)), (100, (33, 39))])
def test_waiting_for_one_of_many_processes_ends_on_time_if_the_sandbox_hangs(timeout, ends):
    box, _ = streaming([*OTHERS, RUNNING], None)
    clock, wire = box._client.clock, box._client.transport
    answer = wire.request

    def hang_after_three_seconds(method, path, *, limit, **more):
        if clock.now >= 1003:
            clock.now += limit
            raise unreachable()
        if path.endswith("/41"):
            return Answer(200, json.dumps(RUNNING).encode(), announced=True)
        return answer(method, path, limit=limit, **more)

    wire.request = hang_after_three_seconds

    failure(lambda: box.wait_for_exit(41, timeout=timeout), errors.SandboxUnreachable)

    # The outage budget is 30 s, and a call may take 5 s.
    assert ends[0] <= clock.now - 1000 <= ends[1]
