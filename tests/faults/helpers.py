"""Call every helper through a proxy that fails, and return the outcomes."""

import contextlib
import os
import re
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any, NamedTuple

from pytest_tlsandbox import Sandbox, TLSandboxError, start_local_sandbox
from pytest_tlsandbox.connections import Connection
from pytest_tlsandbox.formatting.processes import named
from pytest_tlsandbox.guard.plugin import Guard
from pytest_tlsandbox.monitoring.monitor import Monitor
from pytest_tlsandbox.process_control import kill_and_wait
from pytest_tlsandbox.settings import Settings
from pytest_tlsandbox.types import Screen
from tests.client.servers import connected
from tests.client.streams import STREAMS
from tests.fault_proxy import FaultProxy, make_certificate

PASS = "pass"
LISTENER = """
import socket
server = socket.create_server(("127.0.0.1", 0), backlog=1000)
print(server.getsockname()[1])
while True:
    server.accept()
"""


@dataclass(frozen=True)
class Helper:
    """One helper, how it is called, and which of its requests are to fail ("": all)."""

    name: str
    call: Callable[[Sandbox, Any, float], object]
    only: str = ""
    warns: bool = False
    """Whether it returns a warning and raises no error."""
    stream: str = ""
    """What the stream does that the helper follows, from the begin of the fault on."""


def _soft(box, world, _timeout):
    with box.soft() as check:
        check.assert_process(world.server, status="running")
        check.assert_no_oom()


def _stop(box, world, _timeout):
    box._timeout = 0.5
    box.stop_process(world.direct.start_process("sleep", ["600"]), grace=0.5)


def _wait_for_end(box, world, timeout):
    job = world.direct.start_process("sh", ["-c", "trap 'exit 0' TERM; sleep 600 & wait"])
    # The fault begins when the wait opens a stream, and must last long enough before the deadline.
    box.wait_for_exit(job, timeout=timeout + 2)


def _kill(box, world, _timeout):
    box.kill_process(world.direct.start_process("sleep", ["600"]))


def _restart(box, world, _timeout):
    box.restart_process(world.direct.start_process("sleep", ["600"], restart={"policy": "always"}))


def _kill_started(box, world, _timeout):
    box._started.append(world.direct.start_process("sleep", ["600"]))
    left = box.kill_started()
    return f"{named(left[0])} is left running" if left else None


def _guard(box, _world, _timeout):
    """Guard a test that began before the fault."""
    monitor = Monitor(box._client.clock)
    guard = Guard(Settings(), monitor, Screen)
    monitor.add(Connection(box._client, shared=False))
    [sandbox] = monitor.sandboxes
    sandbox.baseline, sandbox.position = box.baseline, box._client.history.position
    guard.begin_test(("oom",), {})  # other helpers do the rest meanwhile
    monitor.begin_test("test_it", 1)
    monitor.end_phase("call")
    monitor.end_phase("teardown")
    monitor.end_test()
    assert not guard.failing(), "nothing has happened"
    gaps = monitor.take_data().get("gaps")
    return f"not monitored: {gaps[0]['why']}" if gaps else None


# fmt: off
HELPERS = [
    Helper("list_processes", lambda box, _world, _t: box.list_processes()),
    Helper("wait_for_process", lambda box, world, t: box.wait_for_process(world.server, timeout=t)),
    Helper("wait_for_exit", lambda box, world, t: box.wait_for_exit(world.job, timeout=t)),
    *(Helper(f"wait_for_exit, stream {name}", _wait_for_end, stream=name) for name in STREAMS),
    Helper("wait_for_output", lambda box, world, t: box.wait_for_output(world.job, "ready", timeout=t)),
    Helper("wait_for_output, reading", lambda box, world, t: box.wait_for_output(world.job, "ready", timeout=t), only="/output"),
    Helper("wait_for_port", lambda box, world, t: box.wait_for_port(world.listener, world.port, timeout=t)),
    Helper("wait_for_restart", lambda box, world, t: box.wait_for_restart(world.web, timeout=t, since=None)),
    Helper("wait_for_count", lambda box, _world, t: box.wait_for_count("socket.create_server", 1, timeout=t)),
    Helper("wait_until", lambda box, _world, t: box.wait_until(bool, timeout=t)),
    Helper("assert_process", lambda box, world, _t: box.assert_process(world.server, status="running")),
    Helper("assert_stays", lambda box, world, _t: box.assert_stays(world.server, stable_for=0.3)),
    Helper("assert_not_running", lambda box, world, _t: box.assert_not_running(world.job)),
    Helper("assert_no_oom", lambda box, _world, _t: box.assert_no_oom()),
    Helper("assert_no_crash", lambda box, _world, _t: box.assert_no_crash()),
    Helper("assert_no_restart", lambda box, world, _t: box.assert_no_restart(world.web)),
    Helper("assert_no_incidents", lambda box, world, _t: box.assert_no_incidents(world.server)),
    Helper("soft", _soft),
    Helper("start_process", lambda box, _world, _t: box.start_process("true"), only="POST"),
    Helper("run_process", lambda box, _world, t: box.run_process("true", timeout=t), only="POST"),
    Helper("send_signal", lambda box, world, _t: box.send_signal(world.server, 18), only="/signal"),
    Helper("restart_process", _restart, only="/restart"),
    Helper("stop_process", _stop, only="/signal"),
    Helper("kill_process", _kill, only="DELETE"),
    Helper("end of the test", _kill_started, warns=True),
    Helper("the guard", _guard, warns=True),
    Helper("output", lambda box, world, _t: box.output(world.job), only="/output"),
]
# fmt: on


class Outcome(NamedTuple):
    """The outcome of a helper, "pass" or the error with its first line, and its seconds."""

    text: str
    seconds: float


@contextlib.contextmanager
def world() -> Iterator[SimpleNamespace]:
    """Start an embedded sandbox with a server, a job that exited with 0, and a managed process.

    ``other`` is another sandbox, in which something was started too. ``certificates`` maps each
    flaw to a file and the context of a server that shows it.
    """
    with (
        tempfile.TemporaryDirectory() as folder,
        start_local_sandbox() as local,
        start_local_sandbox() as other,
        connected(local) as direct,
        connected(other) as elsewhere,
    ):
        elsewhere.start_process("sleep", ["600"])
        server = direct.start_process("sleep", ["600"])
        job = direct.start_process("sh", ["-c", "echo ready"])
        web = direct.start_process("sleep", ["600"], name="web", restart={"initial_backoff_ms": 0})
        direct.send_signal(web, 9)
        listener = direct.start_process("python", ["-u", "-c", LISTENER])
        certificates = {}
        for flaw in ("self-signed", "expired", "for another host"):
            file = f"{folder}/{flaw}.pem"
            certificates[flaw] = file, make_certificate(file, flaw)
        yield SimpleNamespace(
            local=local, direct=direct, other=other, server=server, job=direct.wait_for_exit(job),
            web=direct.wait_for_restart(web), certificates=certificates,
            listener=listener, port=int(direct.wait_for_output(listener, re.compile(r"^\d+$"))),
        )  # fmt: skip


def play(row, here, helper, *, timeout):
    """Call one helper through its own proxy, while the fault of a row of the table is played."""
    certificate, context = here.certificates[row.flaw] if row.flaw else ("", None)
    with FaultProxy(here.local, tls=context) as proxy:
        # The client trusts the certificate, so that it has no other flaw.
        trusted = "" if row.flaw == "self-signed" else certificate
        with connected(row.address(proxy), verify=trusted) as box:
            box.baseline = copy(here.direct.list_processes())
            box.baseline.position = None  # the history of this client has other positions
            box._client.history.fold(box.baseline)
            if helper.stream:
                proxy.follow = _follow(helper, partial(row.begin, proxy, helper, here))
            else:
                row.begin(proxy, helper, here)
            begun = time.monotonic()
            try:
                returned = helper.call(box, here, timeout)
                text = str(returned) if helper.warns and returned else PASS
            except TLSandboxError as error:
                text = f"{type(error).__name__}: {error.first_line}"
            return Outcome(without_numbers(text), time.monotonic() - begun)


def _follow(helper, begin):
    """Return a function that plays the stream of a helper.

    The first stream begins the fault, and ends the process a little later.
    """
    first = [begin]

    def end(pid):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGTERM)

    def follow(request, forwarded):
        while first:
            first.pop()()
            threading.Timer(0.5, end, [int(request.path.split("/")[4])]).start()
        return STREAMS[helper.stream](request, forwarded)

    return follow


def play_all(row: Any, here: SimpleNamespace, *, timeout: float) -> dict[str, Outcome]:
    """Call every helper at the same time, because most of the time is waiting."""
    with ThreadPoolExecutor(len(HELPERS)) as pool:
        outcomes = pool.map(lambda helper: play(row, here, helper, timeout=timeout), HELPERS)
        played = {helper.name: outcome for helper, outcome in zip(HELPERS, outcomes, strict=True)}
    # Only after all are done, because a kill is an incident for the other helpers.
    kill_and_wait(here.direct._started[4:], here.direct._client)
    del here.direct._started[4:]
    return played


def without_numbers(text):
    """Remove text that differs from run to run: times, counts, ports, pids."""
    text = re.sub(r"\d+(\.\d+)?( ms| s)\b", "N s", text)
    text = re.sub(r" x\d+", "", text)
    text = re.sub(r"\d+ bytes", "N bytes", text)
    return re.sub(r"(pid |127\.0\.0\.1:)\d+", r"\1N", text)
