"""The main features on the embedded sandbox: real processes, HTTP, time and OOM kills."""

from __future__ import annotations

import contextlib
import gc
import json
import re
import sys
import threading
import time
from dataclasses import replace

import psutil
import pytest
from freezegun import freeze_time

from pytest_tlsandbox import errors
from pytest_tlsandbox.client.address import Address
from pytest_tlsandbox.local.sandbox import start_local_sandbox
from tests.client.servers import connected
from tests.fault_proxy import FaultProxy
from tests.support import failure


@pytest.fixture(scope="module")
def local():
    with start_local_sandbox(memory_limit=256 * 2**20) as sandbox:
        yield sandbox


@pytest.fixture
def box(local):
    with connected(local) as box:
        box = box.from_now()
        yield box
        assert box.kill_started() == []


DIES_AT_ONCE = ("sh", ["-c", "echo no such module: x >&2; exit 1"])
CHECK = {"type": "tcp", "port": 8642}
EATER = ("python", ["-c", "taken = [bytearray(10_000_000) for _ in range(100)]"])


# ------------------------------------------------- waits that are woken by an end


def test_exit_of_the_process_ends_a_wait_immediately(box, monkeypatch):
    monkeypatch.setattr("pytest_tlsandbox.waiting.polling._NOTICED_PAUSE", 60.0)
    process = box.start_process("sleep", ["1"])

    assert timed(lambda: box.wait_for_exit(process, timeout=100)) < 30


WAITS = [50, pytest.param(1000, marks=pytest.mark.slow)]


@pytest.mark.parametrize("waits", WAITS)
def test_many_waits_leave_no_thread_running_and_no_file_open(box, waits, monkeypatch):
    monkeypatch.setattr("pytest_tlsandbox.waiting.polling._UNNOTICED", 0.0)
    box.wait_for_exit(box.start_process("sleep", ["0.01"]))
    me = psutil.Process()
    before = me.num_threads(), me.num_fds()

    for _ in range(waits):
        box.wait_for_exit(box.start_process("sleep", ["0.01"]))

    for thread in threading.enumerate():
        if thread.name == "tlsandbox-end-notice":
            thread.join(10)
    gc.collect()
    assert (me.num_threads(), me.num_fds()) <= before


# ------------------------------------------------ waits that end before their deadline


@pytest.mark.parametrize("by_text", [True, False], ids=["text", "object"])
def test_waiting_for_an_ended_process_fails_early_and_states_the_reason(box, by_text):
    process = box.start_process(*DIES_AT_ONCE)
    if by_text:
        process = "module: x"

    assert timed(lambda: failure(lambda: box.wait_for_exit(process), errors.UnexpectedExit)) < 20
    error = failure(lambda: box.wait_for_process(process), errors.UnexpectedExit)
    assert error.first_line.startswith("Exited 1 before the wait began, wanted running: ")
    assert "| no such module: x" in str(error)
    error = failure(lambda: box.wait_for_output(process, "ready"), errors.UnexpectedExit)
    assert "| no such module: x" in str(error)


# ----------------------------------------------------------------------- output


@pytest.mark.parametrize(
    "script", ["seq 1 50000; echo THE END; sleep 600", "yes a | head -n 32000; echo THE END"]
)
def test_matching_line_is_found_among_many_lines_of_output(box, script):
    job = box.start_process("sh", ["-c", script])

    assert box.wait_for_output(job, re.compile("^THE END$"), timeout=60) == "THE END"


def test_all_output_can_be_read_and_searched_after_the_exit(box):
    job = box.start_process("sh", ["-c", "seq 1 5000; echo done >&2; exit 3"])
    box.wait_for_exit(job, exit_code=3)

    assert box.output(job) == [*map(str, range(1, 5001)), "done"]
    assert [box.wait_for_output(job, text) for text in ("5000", "done")] == ["5000", "done"]


# ---------------------------------------------------------------------- deadlines


def timed(call) -> float:
    """Return the duration of a call in seconds, by a clock that freezegun does not stop."""
    start = time.clock_gettime(time.CLOCK_MONOTONIC)
    call()
    return time.clock_gettime(time.CLOCK_MONOTONIC) - start


@pytest.mark.parametrize("frozen", [False, True])
def test_wait_ends_at_its_deadline_even_if_freezegun_stops_the_clock(box, frozen):
    process = box.start_process("sleep", ["60"])

    def wait():
        failure(lambda: box.wait_for_exit(process, timeout=1), errors.WaitTimedOut)

    with freeze_time("2020-01-01") if frozen else contextlib.nullcontext():
        assert 1 <= timed(wait) < 15


# ---------------------------------------------------------------------- memory


def test_oom_kill_is_reported_and_does_not_fail_a_later_test(box):
    job = box.start_process(*EATER)
    killed = failure(lambda: box.wait_for_exit(job, timeout=30), errors.ProcessOOMKilled)
    found = failure(lambda: box.assert_no_oom(), errors.ProcessOOMKilled)
    assert killed.first_line == "OOM-killed, wanted exit code 0: python -c"
    assert found.first_line == "OOM-killed: python -c"
    row = box.list_processes().find(job.identity)
    assert (row.status, row.signal, row.oom_killed) == ("oom_killed", 9, True)

    later = box.from_now()
    later.assert_no_oom()

    again = later.start_process(*EATER)
    failure(lambda: later.wait_for_exit(again, timeout=30), errors.ProcessOOMKilled)
    error = failure(lambda: later.assert_no_oom(), errors.ProcessOOMKilled)
    assert error.first_line == "OOM-killed: python -c"
    assert f"run      pid {again.pid}, " in str(error)


def test_sigkill_is_a_suspected_oom_kill_only_if_the_test_did_not_send_it(box):
    ours = box.start_process("sleep", ["60"])
    box.kill_process(ours)
    box.wait_for_process(ours, status="signaled")
    box.assert_no_oom(suspected=True)

    theirs = box.start_process("sh", ["-c", "kill -KILL $$"])
    box.wait_for_process(theirs, status="signaled")
    box.assert_no_oom()
    error = failure(lambda: box.assert_no_oom(suspected=True), errors.SuspectedOOMKill)
    assert f"run      pid {theirs.pid}, " in str(error)


# ---------------------------------------------------------------- managed processes

LEAKY = ("python", ["-c", "import time; time.sleep(0.3); b = bytearray(2**30)"])
QUICK = {"initial_backoff_ms": 10, "max_backoff_ms": 10}


def test_assertions_report_the_oom_kills_and_restarts_of_earlier_runs(box):
    first = box.start_process(*LEAKY, name="leaky", restart=QUICK)
    box.wait_until(lambda rows: any(row.managed and row.managed.restart_count >= 2 for row in rows))

    row = box.wait_for_process("leaky", timeout=30)
    oom = failure(lambda: box.assert_no_oom(), errors.ProcessOOMKilled)
    assert oom.first_line == "OOM-killed twice: leaky"
    restart = failure(lambda: box.assert_no_restart(), errors.ProcessRestarted)
    assert restart.first_line == "Restarted twice (last run: OOM-killed): leaky"
    assert (row.status, row.oom_killed, row.pid == first.pid) == ("running", False, False)
    assert row.managed.last_exit.oom_killed


def test_healthy_managed_process_passes_every_assertion_after_a_requested_restart(box):
    first = box.start_process("sleep", ["60"], name="calm", restart=QUICK)
    for restart_count in range(2):
        row = box.wait_for_process("calm")
        assert row.managed.restart_count == restart_count
        box.assert_no_oom(suspected=True)
        box.assert_no_restart()
        box.assert_no_incidents()
        if restart_count == 0:
            assert box.restart_process(first).pid != first.pid


def test_oom_kill_fails_waits_and_assertions_even_after_the_supervisor_has_given_up(box):
    job = box.start_process(*LEAKY, restart={"max_restarts": 1, **QUICK})

    failure(lambda: box.wait_for_exit(job, timeout=30), errors.ProcessOOMKilled)
    failure(lambda: box.assert_no_oom(), errors.ProcessOOMKilled)


# ---------------------------------------------------------------- process control


def test_signal_reaches_the_process_and_the_exit_code_is_reported(box):
    script = "trap 'exit 7' TERM; echo ready; while :; do sleep 0.05; done"
    process = box.start_process("sh", ["-c", script])
    box.wait_for_output(process, "ready")

    box.send_signal(process, 15)

    box.wait_for_exit(process, exit_code=7, timeout=10)
    box.kill_process(process)  # succeeds, although it has ended


def test_cleanup_helper_kills_all_processes_that_the_test_left_running(box):
    later = box.from_now()
    process = later.start_process("sleep", ["60"])

    assert later.kill_started() == []

    assert later.list_processes().find(process.identity).ended
    later.assert_no_oom(suspected=True)


HINTS = [({}, ""), ({"working_dir": "/no/such/folder"}, ", or no folder '/no/such/folder'")]


@pytest.mark.parametrize(("options", "hint"), HINTS, ids=["program", "folder"])
def test_starting_a_program_that_does_not_exist_raises_an_error(box, options, hint):
    error = failure(lambda: box.start_process("/no/such/program", **options), errors.RequestRefused)

    assert error.first_line == (
        f"Cannot start '/no/such/program': no such program on PATH{hint} (local answered 500: "
        "Failed to spawn process)"
    )


TOO_LONG = [
    {"args": ["-n", "a" * 131_072]}, {"args": ["é" * 65_536]}, {"env": {"TEXT": "a" * 131_067}},
]  # fmt: skip


@pytest.mark.skipif(sys.platform != "linux", reason="a limit of Linux")
@pytest.mark.parametrize("options", TOO_LONG, ids=["argument", "bytes", "variable"])
def test_error_says_that_an_argument_is_too_long(box, options):
    error = failure(lambda: box.start_process("true", **options), errors.RequestRefused)

    assert str(error) == (
        "Cannot start 'true': an argument or variable is longer than the 131,071 bytes that Linux "
        "accepts, so pass the text in a file (local answered 500: Failed to spawn process)"
    )


LONGEST = [{"args": ["a" * 131_071]}, {"env": {"TEXT": "a" * 131_066}}]


@pytest.mark.parametrize("options", LONGEST, ids=["argument", "variable"])
def test_argument_of_the_maximum_length_is_accepted(box, options):
    assert box.wait_for_exit(box.start_process("true", **options)).exit_code == 0


class OlderDaemon(FaultProxy):
    """A daemon that ignores the options of managed processes."""

    def _ask(self, request):
        if request.method == "POST" and request.path == "/api/v1/processes":
            options = json.loads(request.body)
            body = json.dumps({key: options[key] for key in ("command", "args")}).encode()
            headers = {**request.headers, "content-length": str(len(body))}
            request = replace(request, body=body, headers=headers)
        return super()._ask(request)


@pytest.fixture
def older_box(local):
    with (
        OlderDaemon(local) as proxy,
        connected(Address("older", proxy.url, key=proxy.api_key)) as box,
    ):
        yield box


IGNORED = [
    ({"name": "web"}, "name="),
    ({"restart": {}}, "restart="),
    ({"name": "web", "restart": {"policy": "always"}, "health_check": CHECK},
     "name=, restart=, health_check="),
]  # fmt: skip


@pytest.mark.parametrize(("options", "ignored"), IGNORED, ids=["name", "restart", "all"])
def test_start_fails_if_the_sandbox_ignores_the_requested_options(older_box, box, options, ignored):
    error = failure(
        lambda: older_box.start_process("sleep", ["600"], **options), errors.RequestRefused
    )

    process = box.list_processes()[-1]
    assert str(error) == (
        f"'sleep' is not managed: older does not support managed processes and ignored {ignored}\n"
        f"the program is still running, as pid {process.pid}; the plugin will kill it at teardown, "
        "with everything else that this fixture started"
    )
    box.assert_process(process, status="running", managed=None)
    assert older_box.kill_started() == []
    box.assert_process(process, status="signaled")


@pytest.mark.parametrize("wrapped", [True, False], ids=["in a trace", "bare"])
def test_sdk_objects_are_accepted_by_every_helper(local, box, wrapped):
    from tensorlake.sandbox import Sandbox as SDKSandbox

    sdk = SDKSandbox(identifier="local", proxy_url=local.url, api_key=local.api_key.reveal())
    name = f"web-{wrapped}"
    web = sdk.start_process(
        "sh", ["-c", "echo ready; exec sleep 60"], name=name, restart={"policy": "always"}
    )
    job = sdk.start_process("sleep", ["60"])
    (listed,) = [process for process in sdk.list_processes() if process.pid == job.pid]
    assert box.assert_process(listed, status="running").handle == listed.handle
    if not wrapped:
        web, job = web.value, job.value

    assert box.wait_for_process(web, stable_for=0.1).pid == web.pid
    assert box.wait_for_output(web, "ready") == "ready"
    assert box.output(web) == ["ready"]
    assert box.assert_process(job, status="running").pid == job.pid
    assert box.assert_stays(job, stable_for=0.2).pid == job.pid
    for check in ("assert_no_oom", "assert_no_crash", "assert_no_restart", "assert_no_incidents"):
        getattr(box, check)(web, job)
    with box.soft() as check:
        check.assert_process(web, name=name)
        check.assert_no_oom(job)
    assert box.restart_process(web).pid != web.pid
    box.kill_process(web)
    box.send_signal(job, 15)
    assert box.wait_for_process(job, status="signaled").signal == 15
    box.assert_not_running(job)
    box.assert_not_running(web)
    sdk.close()
