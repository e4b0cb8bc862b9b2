"""Test which answers of a sandbox contain a counter of OOM kills, and whose kills it counts."""

import threading
import time

import pytest

from pytest_tlsandbox.client.kernel_counter import KernelCounter
from pytest_tlsandbox.types import KernelCount
from tests.client.servers import CLOSE, HANG, chunk, reply

VMSTAT = b"nr_free_pages 12\noom_kill 7\nswpin_zero 0\n"
NO_FILE = reply(404, {"error": "File not found", "code": "NOT_FOUND"})
KERNEL_THREAD = reply(200, b"kthreadd\n")


@pytest.fixture
def counter(serve, connect, request):
    """Return a function that makes a counter, and the server that plays scripts to it."""

    def make(*scripts):
        server = serve(*scripts)
        counting = KernelCounter(connect(server))
        request.addfinalizer(counting.close)
        return counting, server

    return make


def read(counter, limit=5.0):
    return counter.start(limit)()


COMMS = [(KERNEL_THREAD, True), (reply(200, b"sh\n"), False), (NO_FILE, False)]


@pytest.mark.parametrize(("comm", "own"), COMMS)
def test_kernel_belongs_to_the_sandbox_if_process_2_is_a_thread_of_the_kernel(counter, comm, own):
    counting, _ = counter(reply(200, VMSTAT), comm, reply(200, VMSTAT.replace(b"7", b"9")))

    assert read(counting) == KernelCount(7, own)
    assert read(counting) == KernelCount(9, own)  # the third request is for the counter again


def test_embedded_sandbox_counts_only_its_own_processes(counter):
    counting, server = counter(reply(200, b"oom_kill 3\nsandbox_only 1\n"))

    assert read(counting) == KernelCount(3, own=True)
    assert [request.path for request in server.requests] == ["/api/v1/files?path=/proc/vmstat"]


NO_COUNTER = {
    "no route": reply(404),
    "no file": NO_FILE,
    "forbidden": reply(403, {"error": "no", "code": "FORBIDDEN"}),
    "a folder": reply(400, {"error": "a directory", "code": "IS_DIRECTORY"}),
    "empty": reply(200, b""),
    "no such line": reply(200, b"nr_free_pages 12\n"),
    "not a number": reply(200, b"oom_kill many\n"),
    "negative": reply(200, b"oom_kill -1\n"),
    "too large": reply(200, b"oom_kill " + b"9" * 30 + b"\n"),
    "a page": reply(200, b"<html>oom_kill 7</html>", Content_Type="text/html"),
    "a redirect": reply(302, Location="https://example.com/"),
}


@pytest.mark.parametrize("answer", NO_COUNTER.values(), ids=NO_COUNTER)
def test_sandbox_without_a_counter_is_asked_only_once(counter, answer):
    counting, server = counter(answer)

    assert [read(counting), read(counting)] == [None, None]
    assert counting.unknown.startswith("/proc/vmstat of the sandbox ")
    assert len(server.requests) == 1


TRANSIENT = {
    "unavailable": reply(503, {"error": "not ready", "code": "SANDBOX_NOT_READY"}),
    "cut short": [reply(200, b"oom_kill", Content_Length=100), CLOSE],
    "cut in a chunk": [reply(200, Content_Length=None, Transfer_Encoding="chunked"), chunk(b"oom"), CLOSE],
}  # fmt: skip


@pytest.mark.parametrize("answer", TRANSIENT.values(), ids=TRANSIENT)
def test_counter_is_read_again_after_a_transient_error(counter, answer):
    counting, _ = counter(answer, reply(200, VMSTAT), KERNEL_THREAD)

    assert [read(counting), counting.unknown] == [None, ""]
    assert read(counting) == KernelCount(7, own=True)


def test_counter_that_does_not_answer_is_given_up_after_three_calls(counter):
    counting, server = counter([HANG])

    assert [read(counting, limit=0.1) for _ in range(2)] == [None, None]
    began = time.monotonic()
    assert [read(counting) for _ in range(3)] == [None] * 3
    assert 0.9 < time.monotonic() - began < 3
    assert counting.unknown.endswith("my-sandbox did not answer within 1 s")
    assert len(server.requests) == 3


def test_many_reads_use_one_thread(counter):
    counting, _ = counter(reply(200, b"oom_kill 3\nsandbox_only 1\n"))

    for _ in range(20):
        read(counting)
    names = [thread.name for thread in threading.enumerate()]
    assert sum(name.startswith("tlsandbox-kernel-counter") for name in names) == 1
