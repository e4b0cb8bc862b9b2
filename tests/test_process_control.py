"""How a process is stopped, and how the end of a test kills the processes that it started."""

from unittest import mock

import pytest

from pytest_tlsandbox import errors
from tests.support import T0, box_of, ended, failure, managed, process, raw, result_of, signaled

PROGRAM = ("python", ["train.py"])
SERVER, TERMINATED = raw(41), raw(41, **signaled(15))
FAULTS = [
    (errors.SandboxNotFound("No sandbox my-sandbox"), []),
    (errors.SandboxNotRunning("Sandbox my-sandbox is terminated"), []),
    # It keeps its processes, and goes on with them.
    (errors.SandboxNotRunning("Sandbox my-sandbox is suspended", transient=True), [41]),
    (errors.SandboxUnreachable("nobody listens", label="refused", transient=True), []),
    (errors.SandboxUnreachable("502", label="502", transient=True), [41]),
]


@pytest.mark.parametrize(("fault", "left"), FAULTS, ids=str)
def test_plugin_reports_a_process_that_it_could_not_kill_unless_the_sandbox_has_ended(fault, left):
    box = box_of({0: fault}, started=[process(41)])
    box._client.list = lambda patience: box._client.poll()

    assert [row.pid for row in box.kill_started()] == left


def test_plugin_kills_a_process_that_was_started_after_a_new_baseline():
    box = box_of([SERVER])
    box.from_now().start_process(*PROGRAM)

    assert [row.pid for row in box.kill_started()] == [41]  # the script lists it as alive
    assert "DELETE /processes/41" in box._client.requests


IGNORED = [
    ({"name": "web"}, "name="),
    ({"restart": {}, "health_check": {"type": "tcp", "port": 80}}, "restart=, health_check="),
]


@pytest.mark.parametrize(("options", "ignored"), IGNORED)
def test_start_fails_if_the_sandbox_ignores_the_requested_options(options, ignored):
    box = box_of([SERVER])

    error = failure(lambda: box.start_process(*PROGRAM, **options), errors.RequestRefused)

    assert str(error) == (
        "'python' is not managed: my-sandbox does not support managed processes and ignored "
        f"{ignored}\n"
        "the program is still running, as pid 41; the plugin will kill it at teardown, with "
        "everything else that this fixture started"
    )
    assert [row.pid for row in box.kill_started()] == [41]


def test_process_that_is_not_managed_cannot_be_restarted():
    error = failure(lambda: box_of([SERVER]).restart_process(41), errors.InvalidArgument)

    assert str(error).startswith("restart_process: train.py (pid 41) is not a managed process; ")


def test_process_that_has_the_pid_of_an_ended_one_gets_neither_its_signal_nor_its_kill():
    lost = ended(-1)  # the sandbox may still correct this end
    ended_one = process(41, **lost)
    box = box_of([raw(41, **lost), raw(41, started_at=T0 + 20_000)])
    line = "RequestRefused: Signal not sent: train.py has ended, and another process has pid 41 now"

    box.kill_process(ended_one)
    assert box.stop_process(ended_one, grace=0).ended
    assert result_of(lambda: box.send_signal(ended_one, 9)) == line
    assert {*box._client.requests} == {"GET /processes"}


# ------------------------------------------------------------------------- stop

WEB = raw(41, managed=managed("web"))
STOPPED = raw(41, **signaled(9), managed=managed("web", "stopped"))
SIGNAL = "POST /processes/41/signal"
SURVIVES = "Still running after 30 s, wanted its end: train.py; last output: Traceback: no memory"
STOPS = {
    "ignores SIGTERM": ({0: [SERVER], 7: [raw(41, **signaled(9))]}, [SIGNAL, SIGNAL], "pid 41", 7),
    "ends in time": ({0: [SERVER], 4.5: [TERMINATED]}, [SIGNAL], "pid 41", 4.5),
    "is removed": ({0: [SERVER], 2: []}, [SIGNAL], "pid 41", 3),
    # Another process may have its pid.
    "has ended": ([TERMINATED], [], "pid 41", 0),
    "is managed": ({0: [WEB], 7: [STOPPED]},
                   ["DELETE /processes/web", "POST /processes/web/signal"], "pid 41", 7),
    "survives": ([SERVER], [SIGNAL, SIGNAL], f"WaitTimedOut: {SURVIVES}", 35),
}  # fmt: skip


@pytest.mark.parametrize(("script", "sent", "result", "at"), STOPS.values(), ids=STOPS)
def test_stopping_a_process_sends_only_the_signals_that_are_needed(script, sent, result, at):
    box = box_of(script)

    assert result_of(lambda: box.stop_process(41)) == result
    assert [each for each in box._client.requests if each != "GET /processes"] == sent
    assert at <= box._client.polls[-1] < at + 0.5


def test_lost_exit_code_of_a_stopped_process_is_not_an_incident():
    box = box_of({0: [SERVER], 2: [raw(41, **ended(-1))]}, started=[process()])

    assert box.stop_process(41).exit_code == -1
    box.assert_no_incidents()


@pytest.mark.parametrize("number", [15, 9])
def test_stopping_a_process_fails_if_the_sandbox_rejects_the_signal(number):
    box = box_of([SERVER])
    refusal = errors.RequestRefused("my-sandbox answered 400: not permitted", label="400")
    box._client.signal = mock.Mock(side_effect=[None, refusal] if number == 9 else refusal)

    assert failure(lambda: box.stop_process(41), errors.RequestRefused) is refusal


def test_external_sigkill_before_the_stop_is_not_attributed_to_the_stop():
    box = box_of({0: [SERVER], 0.01: [raw(41, **signaled(9))]}, latency=0.02)
    text = "my-sandbox answered 400: Process 41 is not running"
    box._client.signal = mock.Mock(side_effect=errors.RequestRefused(text, label="400"))

    assert box.stop_process(41).signal == 9
    assert not box._client.history.run_of(process()).ended_here
