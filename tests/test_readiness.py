"""Waits for ports, restarts and counts, and running and stopping programs, on the embedded sandbox."""

from __future__ import annotations

import re
import socket
import time

import pytest

from pytest_tlsandbox import ProcessInfo, errors
from pytest_tlsandbox.local.sandbox import start_local_sandbox
from tests.client.servers import connected
from tests.support import failure

LISTENS = """
import socket, sys, time
time.sleep(float(sys.argv[2]))
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print(time.time(), flush=True)
while True:
    server.accept()
"""
SOON = {"initial_backoff_ms": 20, "max_backoff_ms": 20}


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


@pytest.fixture
def unused_ports():
    """Return three ports that nothing listens on."""
    with socket.socket() as one, socket.socket() as two, socket.socket() as three:
        for unused in (one, two, three):
            unused.bind(("127.0.0.1", 0))
        return [unused.getsockname()[1] for unused in (one, two, three)]


@pytest.fixture
def port(unused_ports):
    return unused_ports[0]


def listen(box, port, *, after=0.0, **options):
    return box.start_process("python", ["-u", "-c", LISTENS, str(port), str(after)], **options)


# ------------------------------------------------------------------------ ports


def fastest(times, *, within):
    """Return the first of three times that is short enough; a busy machine may delay two of them."""
    return next((seconds for seconds in times if seconds < within), None)


@pytest.mark.parametrize("after", [0, 0.5, 2])
def test_waiting_for_a_port_ends_within_100_ms_after_the_server_starts_to_listen(
    box, after, unused_ports
):
    def delays():
        for port in unused_ports:
            server = listen(box, port, after=after)
            waited = box.wait_for_port(server, port)
            noticed = time.time()
            assert waited.pid == server.pid
            yield noticed - float(box.output(server)[0])

    assert fastest(delays(), within=0.1)


def test_waiting_for_a_port_succeeds_every_time_and_so_does_the_next_call(box, port):
    server = listen(box, port)

    for _ in range(20):
        box.wait_for_port(server, port)
        box.assert_process(server, status="running")


def test_waiting_for_a_port_succeeds_if_a_child_of_the_process_listens(box, port):
    shell = box.start_process("sh", ["-c", f"python -c '{LISTENS}' {port} 0; true"])

    assert box.wait_for_port(shell, port).pid == shell.pid


OVER = {
    "exits": ("sh", ["-c", "sleep 0.4; echo no database; exit 3"], {}, errors.UnexpectedExit, r"Exited 3 after 0.\d+ s, wanted connections on port N: .*: no database"),
    "is OOM-killed": ("python", ["-c", "import time; time.sleep(0.4); b = bytearray(2**30)"], {}, errors.ProcessOOMKilled, r"OOM-killed, wanted connections on port N: python -c"),
    "is restarted": ("sh", ["-c", "sleep 0.4; exit 3"], {"name": "web", "restart": SOON}, errors.AssertionFailed, r"Exited 3( after 0.\d+ s|, then restarted), wanted connections on port N: web"),
}  # fmt: skip


@pytest.mark.parametrize(("program", "args", "options", "error", "line"), OVER.values(), ids=OVER)
def test_waiting_for_a_port_ends_within_100_ms_after_the_process_has_ended(
    box, unused_ports, program, args, options, error, line
):
    def delays():
        for port in unused_ports:
            server = box.start_process(program, args, **options)
            failed = failure(lambda: box.wait_for_port(server, port), error)  # noqa: B023
            noticed = time.time()
            assert re.fullmatch(line.replace("N", str(port)), failed.first_line)
            box.stop_process(server, grace=0)
            yield noticed - failed.run.end.ended_at.timestamp()

    assert fastest(delays(), within=0.1)


def test_waiting_for_a_port_reports_that_another_process_uses_the_port(box, port):
    box.wait_for_port(listen(box, port), port)

    waits = listen(box, port, after=60)
    error = failure(lambda: box.wait_for_port(waits, port, timeout=0.3), errors.WaitTimedOut)
    assert (
        error.first_line
        == f"Another process uses port {port} after 0.3 s: python -u, still running"
    )

    fails = listen(box, port, after=0.2)
    error = failure(lambda: box.wait_for_port(fails, port), errors.UnexpectedExit)
    assert f"s: python -u; another process uses port {port}" in error.first_line


# -------------------------------------------------------------- run to completion


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


def test_running_a_process_raises_the_same_errors_as_waiting_for_its_exit(box):
    error = failure(
        lambda: box.run_process("sh", ["-c", "echo no database >&2; exit 3"]), errors.UnexpectedExit
    )
    line = 'Exited 3, wanted 0: "echo no database >&2; e…": no database'
    assert error.first_line == line


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"exit_code": -1}, "argument 'exit_code' must be from 0 to 255, got -1; to wait for a signal that ends "
         'the process, use wait_for_process(process, status="signaled")'),
        ({"timeout": -1}, "argument 'timeout' must be >= 0 seconds, got -1"),
        ({"name": 3}, "argument 'name' must be text, got 3; write '3'"),
    ],
)  # fmt: skip
def test_running_a_process_with_an_invalid_argument_does_not_start_the_process(
    box, options, message
):
    before = box.list_processes()

    error = failure(lambda: box.run_process("true", **options), errors.InvalidArgument)

    assert str(error) == message
    assert box.list_processes() == before


# ------------------------------------------------------------------------- stop

IGNORES = "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf'); time.sleep(600)"
SAYS_BYE = "trap 'echo bye; exit 7' TERM; echo ready; while :; do sleep 0.01; done"


@pytest.mark.parametrize("options", [{}, {"name": "web", "restart": {"policy": "always", **SOON}}])
def test_stopping_a_process_returns_the_process_after_sigterm_has_ended_it(box, options):
    server = box.start_process("sh", ["-c", SAYS_BYE], **options)
    box.wait_for_output(server, "ready")

    stopped = box.stop_process(server)

    assert (stopped.pid, stopped.exit_code) == (server.pid, 7)
    assert box.output(stopped, "stdout") == ["ready", "bye"]
    box.assert_not_running(server)


@pytest.mark.parametrize("options", [{}, {"name": "web", "restart": {"policy": "always", **SOON}}])
@pytest.mark.parametrize("grace", [0, 0.3])
def test_process_that_ignores_sigterm_is_killed_after_the_grace_period(box, options, grace):
    server = box.start_process("python", ["-u", "-c", IGNORES], **options)
    box.wait_for_output(server, "deaf")

    begun = time.monotonic()
    stopped = box.stop_process(server, grace=grace)

    assert grace <= time.monotonic() - begun < grace + 2
    assert (stopped.pid, stopped.status, stopped.signal) == (server.pid, "signaled", 9)
    box.assert_no_incidents()
    box.assert_no_oom(suspected=True)


def test_stopped_process_is_not_restarted_even_if_it_keeps_failing(box):
    box.start_process("false", name="web", restart={"initial_backoff_ms": 30_000})
    box.wait_until(lambda seen: any(row.ended for row in seen.where(name="web")))

    assert box.stop_process("web").managed.status == "stopped"


def test_ended_process_is_returned_at_once(box):
    job = box.run_process("sh", ["-c", "exit 0"])

    begun = time.monotonic()
    assert box.stop_process(job).exit_code == 0
    assert box.stop_process(job.pid, grace=60).exit_code == 0
    assert time.monotonic() - begun < 2


@pytest.mark.parametrize("grace", [-1, "5", None])
def test_process_keeps_running_if_the_call_to_stop_it_has_an_invalid_argument(box, grace):
    server = box.start_process("sleep", ["60"])

    error = failure(lambda: box.stop_process(server, grace=grace), errors.InvalidArgument)
    assert str(error).startswith("argument 'grace' must be ")

    box.assert_process(server, status="running")
    failure(lambda: box.stop_process("no such server"), errors.ProcessNotFound)


# ----------------------------------------------------------- restarts and counts


def test_supervisor_restarts_a_process_that_the_test_killed(box):
    server = box.start_process("sleep", ["60"], name="web", restart=SOON)
    box.send_signal(server, 9)

    first = box.wait_for_restart(server)
    box.send_signal(first, 9)
    second = box.wait_for_restart(server, 2)

    assert len({server.pid, first.pid, second.pid}) == 3
    assert second.managed.restart_count == 2


# ----------------------------------------------------------------------- health


def test_waiting_for_a_healthy_process_continues_after_an_unhealthy_one_is_restarted(
    box, port, tmp_path
):
    serve = f"exec python -c '{LISTENS}' {port} 0"
    script = f"[ -e {tmp_path}/ran ] && {serve}; touch {tmp_path}/ran; exec sleep 600"
    check = {"type": "tcp", "port": port, "initial_delay_ms": 200, "interval_ms": 20}
    first = box.start_process("sh", ["-c", script], name="web", restart=SOON, health_check=check)

    healthy = box.wait_for_process("web", healthy=True)

    assert (healthy.managed.health_status, healthy.managed.restart_count) == ("healthy", 1)
    assert healthy.pid != first.pid
    assert box.wait_for_restart("web").pid == healthy.pid
    box.wait_for_port("web", port)
