"""Waits that are woken when a process ends: the notice changes when they poll, never their result."""

from __future__ import annotations

import json
import random
from unittest import mock

import pytest

from pytest_tlsandbox import errors
from pytest_tlsandbox.client.transport import Answer
from pytest_tlsandbox.sandbox import Sandbox
from tests.fakes.streams import AlarmClock, FakeNotice
from tests.support import (
    T0,
    ScriptedLister,
    box_of,
    ended,
    failure,
    managed,
    outcome,
    polls,
    process,
    raw,
    unreachable,
)

RUNNING = raw(41)
OPENED_AFTER = 0.1
"""Seconds after which a wait opens a stream (`docs/contributing/api-notes.md`, "Calls")."""


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


def test_wait_ends_with_the_first_poll_after_the_exit_notice():
    box, streams = streaming({0: [RUNNING], 60: [raw(41, **ended(0))]}, 60.001, latency=0.06)

    assert box.wait_for_exit(41, timeout=100).exit_code == 0

    # Half of the 60 ms of a call may pass before the list is read, and one call may be under way.
    assert polls(box)[-1] <= 60.001 + 0.06
    assert len(polls(box)) <= 65
    [(pid, notice)] = streams
    assert (pid, notice.closed) == (41, True)


def test_wait_polls_once_a_second_while_a_stream_is_live():
    box, _ = streaming([RUNNING], None)

    failure(lambda: box.wait_for_exit(41, timeout=10), errors.WaitTimedOut)

    late = [at for at in polls(box) if OPENED_AFTER + 0.1 < at < 8]
    assert len(late) == 7


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
    def run(pid, supervisor="running", **fields):
        started_at = T0 + (3000 if pid == 42 else 0)
        return raw(pid, started_at=started_at, managed=managed("web", supervisor), **fields)

    script = {
        0: [run(41)],
        2: [run(41, "backing_off", **ended(1, ended_at=T0 + 2000))],
        3: [run(42)],
        5: [run(42, "stopped", **ended(0, ended_at=T0 + 5000))],
    }
    box, streams = streaming(script, 2.001, 5.001)

    assert box.wait_for_exit("web", timeout=20).exit_code == 0
    assert [pid for pid, _ in streams] == [41, 42]
    assert polls(box)[-1] == pytest.approx(5.001, abs=0.001)


OTHER_WAITS = {
    "for an end within 100 ms": lambda box: box.wait_for_exit(41, timeout=0.09),
    "for a process to run": lambda box: box.wait_for_process(99, timeout=3),
    "until it is healthy": lambda box: box.wait_for_process("web", healthy=True, timeout=3),
    "for a line": lambda box: box.wait_for_output(41, "never", timeout=3),
    "until a condition is true": lambda box: box.wait_until(lambda _: False, timeout=3),
}


@pytest.mark.parametrize("wait", OTHER_WAITS.values(), ids=OTHER_WAITS)
def test_wait_opens_a_stream_only_if_it_has_waited_100_ms_for_an_exit(wait):
    starting = managed("web", health_status="starting")
    box, streams = streaming([RUNNING, raw(50, managed=starting)], None)

    failure(lambda: wait(box))

    assert streams == []


NOTICES = {
    "on time": lambda end, rng: ([end + rng.uniform(0, 0.01)], True),
    "early": lambda end, rng: ([rng.uniform(0, end) for _ in range(3)], True),
    "late": lambda end, rng: ([end + rng.uniform(0, 5)], True),
    "missing": lambda end, rng: ([None], True),
    "refused": lambda end, rng: ([None], False),
}


@pytest.mark.parametrize("notice", NOTICES.values(), ids=NOTICES)
@pytest.mark.parametrize("seed", range(20))
def test_exit_notice_never_changes_the_result_of_a_wait(notice, seed):
    rng = random.Random(seed)
    end, outage = rng.uniform(0.2, 20), rng.uniform(0.2, 20)
    last = raw(41, **ended(rng.choice([0, 1])))
    script = {0: [RUNNING], end: [last]}
    if rng.random() < 0.5:
        script |= {outage: unreachable(), outage + 0.5: [last] if outage + 0.5 > end else [RUNNING]}
    if rng.random() < 0.3:
        script[25.0] = []
    timeout = rng.choice([end / 2, end + 3, 60])
    times, live = notice(end, rng)
    latency = rng.choice([0, 0.06])
    box, _ = streaming(script, *times, live=live, latency=latency)
    without = box_of(script, latency=latency)

    def result(box):
        return box.wait_for_exit(41, exit_code=0, timeout=timeout).identity

    try:
        expected = result(without)
    except errors.TLSandboxError as error:
        kind, line = type(error).__name__, error.first_line
        assert outcome(lambda: result(box)) == (kind, line)
    else:
        assert result(box) == expected
    # It comes at most one poll later, which a transient error may delay.
    assert polls(box)[-1] <= polls(without)[-1] + 1 + latency + 0.5


# ------------------------------------------------------------- one row of a long list


def long_list(*rows):
    return [*(raw(pid, args=(f"other-{pid}.py",)) for pid in range(100, 250)), *rows]


@pytest.fixture
def long_lived():
    """Return a sandbox with 151 processes, of which one ends after 115 s, and the requested rows."""
    script = {0: long_list(RUNNING), 115: long_list(raw(41, **ended(0)))}
    box, _ = streaming(script, 115.001)
    requested = []

    def get(pid, *, limit):
        requested.append(pid)
        (row,) = [row for row in box._client._list(limit) if row.pid == pid]
        return row

    box._client.get = get
    return box, requested


def test_all_processes_are_listed_only_every_ten_seconds_during_a_wait_for_one_process(long_lived):
    box, requested = long_lived
    lists, times, get = [], [], box._client.get
    box._client.listeners.add(lists.append)

    def get_at(*args, **options):
        times.append(box._client.clock.now)
        return get(*args, **options)

    box._client.get = get_at

    assert box.wait_for_exit(41, timeout=120).exit_code == 0

    assert lists[-1].begun == pytest.approx(1115.001, abs=0.001)
    assert max(times) < lists[-1].begun - 0.1  # after a notice, the list is requested at once
    assert len(lists) <= 3 + 12 + 1
    assert 90 <= len(requested) <= 120
    assert set(requested) == {41}


@pytest.mark.parametrize("fault", [unreachable(), errors.RequestRefused("404"), None])
def test_wait_lists_all_processes_if_the_requested_process_is_missing(long_lived, fault):
    box, _ = long_lived
    lists = []
    box._client.listeners.add(lists.append)

    def get(pid, *, limit):
        if fault is None:
            return process(41, started_at=T0 + 5)
        raise fault

    box._client.get = get

    assert box.wait_for_exit(41, timeout=120).exit_code == 0
    assert len(lists) > 100


@pytest.mark.parametrize(("timeout", "ends"), [(7, (7, 7.5)), (100, (33, 39))])
def test_waiting_for_one_of_many_processes_ends_on_time_if_the_sandbox_hangs(timeout, ends):
    box, _ = streaming(long_list(RUNNING), None)
    clock, wire = box._client.clock, box._client._transport
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
