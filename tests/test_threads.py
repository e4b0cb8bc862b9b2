"""Many threads share one sandbox: each gets its own answer, and no resource leaks."""

import contextlib
import gc
import itertools
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from unittest import mock

import psutil
import pytest

from pytest_tlsandbox import errors
from pytest_tlsandbox.waiting import polling
from tests.client.servers import Server, connected, reply
from tests.client.streams import ENDING, ENDLESS, USELESS
from tests.fault_proxy import FaultProxy, faults
from tests.support import ended, failure, raw

THREADS = 64


@pytest.fixture
def proxy():
    rows = [raw(pid, args=(f"job-{pid}.py",), **ended(pid % 200)) for pid in range(1, THREADS + 1)]
    with FaultProxy(processes=[*rows, raw(999, args=("server.py",))]) as proxy:
        yield proxy


@pytest.fixture
def box(proxy):
    with connected(proxy) as box:
        yield box


def in_threads(call):
    """Call a function with each number from 1 to 64, in as many threads at the same time."""
    together = threading.Barrier(THREADS, timeout=30)
    with ThreadPoolExecutor(THREADS, initializer=together.wait) as pool:
        list(pool.map(call, range(1, THREADS + 1)))


def used():
    """Return the numbers of threads, file descriptors and objects."""
    gc.collect()
    return threading.active_count(), psutil.Process().num_fds(), len(gc.get_objects())


def test_each_thread_receives_its_own_response_even_after_an_outage_and_nothing_leaks(box, proxy):
    def wait(pid):
        job = box.wait_for_exit(f"job-{pid}.py", exit_code=pid % 200, timeout=20)
        assert job.pid == pid
        box.assert_not_running(pid)
        failure(lambda: box.wait_for_exit(pid, exit_code=201, timeout=20), errors.UnexpectedExit)

    in_threads(wait)
    proxy.fail(faults.RESET_BEFORE_HEADERS, seconds=0.3).then(faults.SANDBOX_NOT_READY, seconds=0.3)
    in_threads(wait)
    before = used()
    in_threads(wait)
    in_threads(wait)

    # The proxy has a thread and two sockets for each of the ten connections that the client keeps.
    for now, old, more in zip(used(), before, (10, 30, 3000), strict=True):
        assert now <= old + more


def test_waiting_threads_share_list_calls(box):
    calls = []
    box._client.observers.append(mock.Mock(call_succeeded=calls.append))

    def time_out(_):
        failure(lambda: box.wait_for_exit(999, timeout=1), errors.WaitTimedOut)

    time_out(0)
    one = len(calls)
    in_threads(time_out)
    assert len(calls) - one < 3 * one


@pytest.mark.parametrize("waits", [30, pytest.param(1000, marks=pytest.mark.slow)])
def test_waits_leak_no_threads_or_descriptors_whatever_a_stream_sends(waits, monkeypatch):
    monkeypatch.setattr(polling, "_NOTICED_PAUSE", 0.1)
    monkeypatch.setattr(polling, "_UNNOTICED", 0.01)
    scripts = itertools.cycle([*ENDING.values(), *ENDLESS.values(), *USELESS.values()])
    process = {}

    def answer(request):
        if request.path.endswith("/follow"):
            process.update(ended(0))
            return next(scripts)
        return reply(200, {"processes": [process]})

    with contextlib.closing(Server(answer=answer)) as server, connected(server) as box:
        before = used()
        for pid in range(1, waits + 1):
            process = raw(pid)
            box.wait_for_exit(pid, timeout=20)
        streams = [request for request in server.requests if request.path.endswith("/follow")]
        assert len(streams) >= waits
        # The client keeps one connection for lists and one for streams; the server has a thread and
        # a socket for each, and ends them a moment after the client has hung up.
        allowed = before[0] + 3, before[1] + 4
        until = time.monotonic() + 20
        while not all(now <= most for now, most in zip(used(), allowed, strict=False)):
            assert time.monotonic() < until, f"{before}, after {waits} waits {used()}"
            time.sleep(0.05)
