"""Many threads share one sandbox: each gets its own answer, and no resource leaks."""

import contextlib
import gc
import itertools
import shlex
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from unittest import mock

import psutil
import pytest

from pytest_tlsandbox import errors
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


def in_threads(count, call):
    """Call a function with each number from 1 to ``count``, in as many threads at the same time."""
    together = threading.Barrier(count)

    def run(number):
        together.wait(30)
        return call(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(1, count + 1)))


def wait_in_all_threads(box, times=1):
    """Let each thread wait for another job, and check its answers."""

    def wait(pid):
        for _ in range(times):
            job = box.wait_for_exit(f"job-{pid}.py", exit_code=pid % 200, timeout=20)
            box.assert_not_running(pid)
        failure(lambda: box.wait_for_exit(pid, exit_code=201, timeout=20), errors.UnexpectedExit)
        assert job.pid == pid

    in_threads(THREADS, wait)


def test_each_of_64_threads_receives_its_own_response_even_after_an_outage(box, proxy):
    wait_in_all_threads(box)

    proxy.fail(faults.RESET_BEFORE_HEADERS, seconds=0.3).then(faults.SANDBOX_NOT_READY, seconds=0.3)
    wait_in_all_threads(box)


def test_waiting_threads_share_list_calls(box):
    calls = []
    box._client.observers.append(mock.Mock(call_succeeded=calls.append))

    def time_out(_):
        failure(lambda: box.wait_for_exit(999, timeout=2), errors.WaitTimedOut)

    in_threads(1, time_out)
    one = len(calls)
    in_threads(THREADS, time_out)
    assert len(calls) - one <= 1.2 * one + 5


def used():
    """Return the numbers of threads, file descriptors and objects."""
    gc.collect()
    return threading.active_count(), psutil.Process().num_fds(), len(gc.get_objects())


def test_repeated_calls_do_not_leak_threads_or_file_descriptors_or_objects(box):
    wait_in_all_threads(box)
    before = used()

    wait_in_all_threads(box, times=3)

    # The proxy has a thread and two sockets for each of the ten connections that the client keeps.
    assert all(
        now <= old + more for now, old, more in zip(used(), before, (10, 30, 3000), strict=True)
    )


@pytest.mark.parametrize("waits", [30, pytest.param(1000, marks=pytest.mark.slow)])
def test_consecutive_waits_leak_no_threads_or_descriptors_whatever_a_stream_sends(waits):
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


def test_python_development_mode_reports_no_unclosed_resource_and_no_warning(tmp_path):
    (tmp_path / "test_it.py").write_text(
        """
import threading

def test_it(tlsandbox, tlsandbox_connect, tlsandbox_local):
    job = tlsandbox.start_process("sh", ["-c", "echo ready; sleep 0.2"])
    tlsandbox.wait_for_output(job, "ready")
    threads = [threading.Thread(target=tlsandbox.wait_for_exit, args=(job,)) for _ in range(8)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    tlsandbox_connect(tlsandbox_local).assert_no_oom()
    from tests.fault_proxy import FaultProxy, faults
    with FaultProxy(tlsandbox_local) as proxy:
        for fault in (faults.RESET_AFTER_HEADERS, faults.CHUNKED_AND_CUT, faults.HANG_BEFORE_HEADERS):
            proxy.fail(fault, times=1)
            tlsandbox_connect(proxy).wait_until(bool, timeout=0.5)
""",
        encoding="utf-8",
    )
    options = shlex.split("-X dev -W error -m pytest -q -p no:asyncio -p no:cacheprovider -W error")
    done = subprocess.run(
        [sys.executable, *options, "--tlsandbox=local", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout
    assert "ResourceWarning" not in done.stdout + done.stderr
    assert "Exception ignored" not in done.stderr
