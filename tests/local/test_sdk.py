"""Test that the official SDK works with the embedded sandbox."""

import signal
import socket
from contextlib import closing, suppress
from datetime import datetime, timedelta, timezone

import pytest
from tensorlake.sandbox import Sandbox
from tensorlake.sandbox.exceptions import RemoteAPIError
from tensorlake.sandbox.models import CommandExitReason, ProcessStatus, StdinMode

from tests.contract.sandbox_api import until

from .conftest import free_port, port_of


def connect(sandbox, url):
    return closing(Sandbox(sandbox.identifier, url, api_key=sandbox.api_key.reveal()))


@pytest.fixture(scope="module")
def sdk(sandbox):
    with connect(sandbox, sandbox.url) as sdk:
        yield sdk


def ended(sdk, process):
    running = ProcessStatus.RUNNING
    return until(lambda: (info := sdk.get_process(process)).status != running and info)


def refused(call):
    with pytest.raises(RemoteAPIError) as caught:
        call()
    return caught.value.status_code, caught.value.code


def test_sdk_can_read_the_health_and_the_facts_of_the_daemon(sdk):
    before = sdk.daemon_info()
    pid = sdk.start_process("sleep", ["600"]).pid
    info = sdk.daemon_info()
    assert (sdk.health().healthy, info.version) == (True, before.version)
    assert info.total_processes == before.total_processes + 1 >= info.running_processes >= 1
    sdk.kill_process(pid)


def test_sdk_can_start_and_list_and_get_processes(sdk):
    before = datetime.now(timezone.utc)
    script = "echo $A; pwd; read go; exit 3"
    options = {"env": {"A": "b"}, "working_dir": "/", "stdin_mode": StdinMode.PIPE}
    started = sdk.start_process("sh", ["-c", script], user="root", **options)
    assert (started.status, started.args) == (ProcessStatus.RUNNING, ["-c", script])
    assert abs(started.started_at - before) < timedelta(seconds=30)
    assert started.value.model_dump() in [info.model_dump() for info in sdk.list_processes()]
    sdk.close_stdin(started.pid)
    info = ended(sdk, started.pid)
    assert (info.status, info.exit_code, info.signal) == (ProcessStatus.EXITED, 3, None)
    assert info.ended_at >= info.started_at
    assert sdk.get_stdout(started.pid).lines == ["b", "/"]
    assert refused(lambda: sdk.get_process(999_999)) == (404, "NOT_FOUND")


def test_sdk_can_kill_and_signal_processes(sdk):
    killed, signaled = (sdk.start_process("sleep", ["600"]).pid for _ in range(2))
    sdk.kill_process(killed)
    assert sdk.send_signal(signaled, signal.SIGTERM).success is True
    for pid, number in ((killed, signal.SIGKILL), (signaled, signal.SIGTERM)):
        info = ended(sdk, pid)
        assert (info.status, info.signal) == (ProcessStatus.SIGNALED, number)
    assert refused(lambda: sdk.send_signal(signaled, 15)) == (400, None)


def test_sdk_can_restart_a_managed_process(sdk):
    first = sdk.start_process("sleep", ["600"], name="sdk web 1%", restart={"policy": "always"})
    assert first.managed.name == first.managed.id == "sdk web 1%"
    second = sdk.restart_process("sdk web 1%")
    assert second.pid != first.pid
    assert second.managed.restart_count == 1
    assert second.managed.last_exit.signal == signal.SIGTERM
    assert sdk.get_process("sdk web 1%").model_dump() == second.value.model_dump()
    sdk.kill_process("sdk web 1%")
    assert ended(sdk, "sdk web 1%").managed.status == "stopped"
    unmanaged = sdk.start_process("sleep", ["600"]).pid
    assert refused(lambda: sdk.restart_process(unmanaged)) == (400, "NOT_MANAGED")
    sdk.kill_process(unmanaged)


def test_sdk_can_write_to_stdin_and_close_stdin(sdk):
    pid = sdk.start_process("cat", stdin_mode=StdinMode.PIPE).pid
    for part in (b"hello\n", b"world"):
        sdk.write_stdin(pid, part)
    sdk.close_stdin(pid)
    assert ended(sdk, pid).exit_code == 0
    assert sdk.get_stdout(pid).lines == ["hello", "world"]
    assert refused(lambda: sdk.write_stdin(pid, b"x")) == (400, "STDIN_NOT_WRITABLE")


OUTPUT = {
    "stdout": [("out", None), ("more", None)],
    "stderr": [("err", None)],
    "output": [("out", "stdout"), ("more", "stdout"), ("err", "stderr")],
}


@pytest.mark.parametrize(("stream", "wanted"), OUTPUT.items())
def test_sdk_can_read_and_follow_the_output_of_a_process(sdk, stream, wanted):
    pid = sdk.start_process("sh", ["-c", "echo out; echo err >&2; sleep 0.2; echo more"]).pid
    events = getattr(sdk, f"follow_{stream}")(pid)
    assert {(event.line, event.stream and str(event.stream)) for event in events} == {*wanted}
    output = getattr(sdk, f"get_{stream}")(pid)
    assert (output.pid, output.lines) == (pid, [line for line, _ in wanted])
    assert output.line_count == len(wanted)


@pytest.mark.parametrize(
    ("script", "code", "reason"),
    [("exit 3", 3, "exited"), ("kill $$", -15, "signaled"), ("exec sleep 600", -9, "timed_out")],
)
def test_sdk_can_run_commands(sdk, script, code, reason):
    timeout = 0.3 if reason == "timed_out" else 60
    result = sdk.run("sh", ["-c", f"echo out; echo err >&2; {script}"], timeout=timeout)
    assert (result.exit_code, result.reason) == (code, CommandExitReason(reason))
    assert (result.stdout, result.stderr) == ("out", "err")


def test_sdk_can_read_and_write_files(sdk, tmp_path):
    content = bytes(range(256)) * 2**15
    (tmp_path / "local").write_bytes(content)
    folder = str(tmp_path / "new folder")
    sdk.write_file(f"{folder}/written", b"written")
    sdk.upload_file(tmp_path / "local", f"{folder}/uploaded")
    assert sdk.read_file(f"{folder}/written").value == b"written"
    assert sdk.read_file(f"{folder}/uploaded").value == content
    listed = sdk.list_directory(folder)
    entries = [(entry.name, entry.is_dir, entry.size) for entry in listed.entries]
    assert listed.path == folder
    assert entries == [("uploaded", False, len(content)), ("written", False, 7)]
    assert abs(listed.entries[0].modified_at - datetime.now(timezone.utc)) < timedelta(seconds=30)
    sdk.delete_file(f"{folder}/written")
    for call in (sdk.read_file, sdk.delete_file):
        assert refused(lambda call=call: call(f"{folder}/written")) == (404, "NOT_FOUND")
    assert refused(lambda: sdk.write_file("/written", b"")) == (403, "WRITE_NOT_ALLOWED")
    assert refused(lambda: sdk.list_directory("../..")) == (403, "PATH_TRAVERSAL")


def connect_to(tunnel):
    """Return a connection to the local end of a tunnel."""
    return socket.create_connection((tunnel.local_host, tunnel.local_port), 10)


def test_sdk_can_open_a_tunnel(sdk, service):
    port = port_of(service)
    with sdk.create_tunnel(port, local_port=0) as tunnel, connect_to(tunnel) as client:
        accepted, _ = service.accept()
        with accepted:
            client.sendall(b"request")
            assert accepted.recv(100) == b"request"
            accepted.sendall(b"response")
        assert (client.recv(100), client.recv(100)) == (b"response", b"")


def test_tunnel_to_a_port_without_a_listener_closes_the_connection(sdk):
    with (
        sdk.create_tunnel(free_port(), local_port=0) as tunnel,
        connect_to(tunnel) as client,
        suppress(ConnectionResetError),
    ):
        assert client.recv(100) == b""


def test_sdk_connects_to_localhost_and_to_an_address_with_a_slash(sandbox):
    for url in (sandbox.url.replace("127.0.0.1", "localhost"), f"{sandbox.url}/"):
        with connect(sandbox, url) as sdk:
            assert sdk.health().healthy is True
