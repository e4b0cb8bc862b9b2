"""The helpers on the embedded sandbox: real processes, HTTP, ports and time."""

from __future__ import annotations

import re
import sys
import time

import pytest

from pytest_tlsandbox import ProcessInfo, errors
from pytest_tlsandbox.local.sandbox import start_local_sandbox
from tests.client.servers import connected
from tests.local.conftest import free_port
from tests.support import failure

SOON = {"initial_backoff_ms": 20, "max_backoff_ms": 20}


@pytest.fixture(scope="module")
def local():
    with start_local_sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def box(local):
    with connected(local) as first:
        yield first.from_now()
        # Kills what was started through the other object.
        assert first.kill_started() == []
        assert not first.list_processes().alive


# ---------------------------------------------------------------- waits for an end


def test_exit_of_the_process_ends_a_wait_immediately(box, monkeypatch):
    monkeypatch.setattr("pytest_tlsandbox.waiting.polling._NOTICED_PAUSE", 60.0)
    process = box.start_process("sleep", ["0.5"])

    begun = time.monotonic()
    box.wait_for_exit(process, timeout=100)
    assert time.monotonic() - begun < 30


# ------------------------------------------------------------------------ ports

LISTENS = """
import socket, sys, time
time.sleep(float(sys.argv[2]))
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print(time.time(), flush=True)
while True:
    server.accept()
"""


def listen(box, port, *, after=0.0):
    return box.start_process("python", ["-u", "-c", LISTENS, str(port), str(after)])


def test_waiting_for_a_port_ends_within_100_ms_after_the_server_starts_to_listen(box):
    def delay():
        port = free_port()
        server = listen(box, port, after=0.5)
        assert box.wait_for_port(server, port).pid == server.pid
        noticed = time.time()
        return noticed - float(box.output(server)[0])

    # A busy machine may delay some of the waits.
    assert any(delay() < 0.1 for _ in range(6))


def test_waiting_for_a_port_ends_within_100_ms_after_the_process_has_ended(box):
    port = free_port()

    def delay():
        server = box.start_process("sh", ["-c", "sleep 0.4; echo no database; exit 3"])
        error = failure(lambda: box.wait_for_port(server, port), errors.UnexpectedExit)
        noticed = time.time()
        line = rf"Exited 3 after 0.\d+ s, wanted connections on port {port}: .*: no database"
        assert re.fullmatch(line, error.first_line)
        return noticed - error.run.end.ended_at.timestamp()

    assert any(delay() < 0.1 for _ in range(6))


def test_waiting_for_a_port_succeeds_only_if_the_process_or_a_child_of_it_listens(box):
    port = free_port()
    shell = box.start_process("sh", ["-c", f"python -c '{LISTENS}' {port} 0; true"])
    assert box.wait_for_port(shell, port).pid == shell.pid

    waits = listen(box, port, after=60)
    error = failure(lambda: box.wait_for_port(waits, port, timeout=0.3), errors.WaitTimedOut)
    line = f"Another process uses port {port} after 0.3 s: python -u, still running"
    assert error.first_line == line


# ---------------------------------------------------------------- start, run, stop

NOT_FOUND = "no such program on PATH"
TOO_LONG = (
    "an argument or variable is longer than the 131,071 bytes that Linux accepts, so pass the text "
    "in a file"
)
FAILED_STARTS = {
    "no program": ("/no", {}, NOT_FOUND),
    "no folder": ("/no", {"working_dir": "/none"}, f"{NOT_FOUND}, or no folder '/none'"),
    "long argument": ("true", {"args": ["-n", "a" * 131_072]}, TOO_LONG),
    "long in bytes": ("true", {"args": ["é" * 65_536]}, TOO_LONG),
    "long variable": ("true", {"env": {"TEXT": "a" * 131_067}}, TOO_LONG),
}


@pytest.mark.parametrize(("command", "options", "cause"), FAILED_STARTS.values(), ids=FAILED_STARTS)
def test_error_of_a_failed_start_names_the_probable_cause(box, command, options, cause):
    if cause == TOO_LONG and sys.platform != "linux":
        pytest.skip("a limit of Linux")

    error = failure(lambda: box.start_process(command, **options), errors.RequestRefused)

    response = "(local answered 500: Failed to spawn process)"
    assert str(error) == f"Cannot start '{command}': {cause} {response}"


def test_argument_and_variable_of_the_maximum_length_are_accepted(box):
    box.run_process("true", ["a" * 131_071], env={"TEXT": "a" * 131_066})


def test_running_a_process_to_completion_returns_it_with_its_complete_output(box, tmp_path):
    script = "seq 3000; echo almost done >&2; printf 'no line break '"

    args = ["-c", f"{script}; pwd; exit 3", "--token=abc"]
    result = box.run_process("sh", args, exit_code=[0, 3], working_dir=str(tmp_path))

    assert result.stdout == "\n".join([*map(str, range(1, 3001)), f"no line break {tmp_path}"])
    assert (result.stderr, result.exit_code, result.status) == ("almost done", 3, "exited")
    assert isinstance(result, ProcessInfo)
    assert repr(result) == repr(box.assert_process(result, exit_code=3))


def test_running_a_process_waits_through_restarts_until_a_run_succeeds(box, tmp_path):
    job = f"echo try; test -e {tmp_path}/done || {{ touch {tmp_path}/done; exit 1; }}"

    result = box.run_process("sh", ["-c", job], restart=SOON)

    assert (result.exit_code, result.managed.restart_count) == (0, 1)


STOPPED = {
    "obeys": ("exit 7", 30, {"status": "exited", "exit_code": 7}),
    "ignores SIGTERM": ("", 0.3, {"status": "signaled", "signal": 9}),
    "has no grace period": ("", 0, {"status": "signaled", "signal": 9}),
}


@pytest.mark.parametrize("options", [{}, {"name": "web", "restart": {"policy": "always", **SOON}}])
@pytest.mark.parametrize("case", STOPPED.values(), ids=STOPPED)
def test_stopping_a_process_sends_sigkill_if_sigterm_does_not_end_it(box, options, case):
    action, grace, end = case
    script = f"trap '{action}' TERM; echo ready; while :; do sleep 0.01; done"
    server = box.start_process("sh", ["-c", script], **options)
    box.wait_for_output(server, "ready")

    begun = time.monotonic()
    stopped = box.stop_process(server, grace=grace)

    assert (time.monotonic() - begun >= grace) == ("signal" in end)
    box.assert_process(stopped, pid=server.pid, **end)
    box.assert_not_running(server)
    box.assert_no_incidents()
    box.assert_no_oom(suspected=True)


# --------------------------------------------------------------- managed processes


def test_stopped_process_is_not_restarted_even_if_it_keeps_failing(box):
    box.start_process("false", name="web", restart={"initial_backoff_ms": 30_000})
    box.wait_until(lambda seen: any(row.ended for row in seen.where(name="web")))

    assert box.stop_process("web").managed.status == "stopped"


# ------------------------------------------------------------------ objects of the SDK


def test_each_kind_of_helper_accepts_the_process_objects_of_the_sdk(local, box):
    from tensorlake.sandbox import Sandbox as SDKSandbox

    sdk = SDKSandbox(identifier="local", proxy_url=local.url, api_key=local.api_key.reveal())
    traced = sdk.start_process("sh", ["-c", "echo ready; exec sleep 60"])
    (listed,) = (process for process in sdk.list_processes() if process.pid == traced.pid)
    for job in (traced, traced.value, listed):
        assert box.wait_for_process(job).pid == traced.pid
        assert box.wait_for_output(job, "ready") == "ready"
        box.assert_stays(job, stable_for=0.1)
        box.assert_no_incidents(job)
        with box.soft() as check:
            check.assert_process(job, status="running")
    box.send_signal(traced, 15)
    assert box.wait_for_process(traced.value, status="signaled").signal == 15
    box.assert_not_running(listed)
    sdk.close()
