"""The official SDK against the embedded sandbox, with nothing between them."""

from __future__ import annotations

import signal
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
from tensorlake.sandbox import Sandbox
from tensorlake.sandbox.exceptions import RemoteAPIError
from tensorlake.sandbox.models import CommandExitReason, ProcessStatus, StdinMode

from pytest_tlsandbox.local.server import start_local_sandbox

from .conftest import HOG, is_gone, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_tlsandbox.local.server import LocalSandbox


def connect(local: LocalSandbox) -> Sandbox:
    return Sandbox(identifier=local.identifier, proxy_url=local.url, api_key=local.api_key.reveal())


@pytest.fixture(scope="module")
def sdk(sandbox: LocalSandbox) -> Iterator[Sandbox]:
    sdk = connect(sandbox)
    yield sdk
    sdk.close()


def ended(sdk: Sandbox, process: int | str) -> Any:
    def look() -> Any:
        info = sdk.get_process(process)
        return info.status != ProcessStatus.RUNNING and info

    return until(look)


def refused(call: Any) -> tuple[int, str | None]:
    with pytest.raises(RemoteAPIError) as caught:
        call()
    return caught.value.status_code, caught.value.code


def test_health(sdk: Sandbox) -> None:
    assert sdk.health().healthy is True


def test_info(sdk: Sandbox) -> None:
    before = sdk.daemon_info()
    pid = sdk.start_process("sleep", ["600"]).pid
    info = sdk.daemon_info()
    assert info.version
    assert info.uptime_secs >= 0
    assert info.total_processes == before.total_processes + 1
    assert info.running_processes >= 1
    sdk.kill_process(pid)


def test_start(sdk: Sandbox) -> None:
    before = datetime.now(timezone.utc)
    info = sdk.start_process(
        "sh", ["-c", "echo $A; pwd"], env={"A": "b"}, working_dir="/", user="root"
    )
    assert (info.status, info.command) == (ProcessStatus.RUNNING, "sh")
    assert info.args == ["-c", "echo $A; pwd"]
    assert abs(info.started_at - before) < timedelta(seconds=5)
    assert ended(sdk, info.pid).exit_code == 0
    assert sdk.get_stdout(info.pid).lines == ["b", "/"]


def test_list(sdk: Sandbox) -> None:
    started = sdk.start_process("sleep", ["600"])
    listed = {info.pid: info for info in sdk.list_processes()}
    assert listed[started.pid].model_dump() == started.value.model_dump()
    sdk.kill_process(started.pid)


def test_get(sdk: Sandbox) -> None:
    pid = sdk.start_process("sh", ["-c", "exit 3"]).pid
    info = ended(sdk, pid)
    assert (info.status, info.exit_code, info.signal) == (ProcessStatus.EXITED, 3, None)
    assert info.ended_at >= info.started_at
    assert refused(lambda: sdk.get_process(999_999)) == (404, "NOT_FOUND")


def test_kill(sdk: Sandbox) -> None:
    pid = sdk.start_process("sleep", ["600"]).pid
    sdk.kill_process(pid)
    info = ended(sdk, pid)
    assert (info.status, info.signal) == (ProcessStatus.SIGNALED, signal.SIGKILL)


def test_signal(sdk: Sandbox) -> None:
    pid = sdk.start_process("sleep", ["600"]).pid
    assert sdk.send_signal(pid, signal.SIGTERM).success is True
    assert ended(sdk, pid).signal == signal.SIGTERM
    assert refused(lambda: sdk.send_signal(pid, 15)) == (400, None)


def test_restart(sdk: Sandbox) -> None:
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


def test_stdin(sdk: Sandbox) -> None:
    pid = sdk.start_process("cat", stdin_mode=StdinMode.PIPE).pid
    sdk.write_stdin(pid, b"hello\n")
    sdk.write_stdin(pid, b"world")
    sdk.close_stdin(pid)
    assert ended(sdk, pid).exit_code == 0
    assert sdk.get_stdout(pid).lines == ["hello", "world"]
    assert refused(lambda: sdk.write_stdin(pid, b"x")) == (400, "STDIN_NOT_WRITABLE")


def test_output(sdk: Sandbox) -> None:
    pid = sdk.start_process("sh", ["-c", "echo err >&2; echo out"]).pid
    ended(sdk, pid)
    assert sdk.get_stdout(pid).lines == ["out"]
    assert sdk.get_stderr(pid).lines == ["err"]
    output = sdk.get_output(pid)
    assert (output.pid, output.lines, output.line_count) == (pid, ["out", "err"], 2)


@pytest.mark.parametrize(
    ("stream", "wanted"),
    [
        ("stdout", [("out", None), ("more", None)]),
        ("stderr", [("err", None)]),
        ("output", [("out", "stdout"), ("more", "stdout"), ("err", "stderr")]),
    ],
)
def test_follow(sdk: Sandbox, stream: str, wanted: Any) -> None:
    script = "echo out; echo err >&2; sleep 0.2; echo more"
    pid = sdk.start_process("sh", ["-c", script]).pid
    events = list(getattr(sdk, f"follow_{stream}")(pid))
    assert sorted((event.line, str(event.stream)) for event in events) == sorted(
        (line, str(source)) for line, source in wanted
    )


def test_run_gives_the_exit_code_and_the_output(sdk: Sandbox) -> None:
    result = sdk.run("sh", ["-c", "echo out; echo err >&2; exit 3"])
    assert (result.exit_code, result.reason) == (3, CommandExitReason.EXITED)
    assert (result.stdout, result.stderr) == ("out", "err")


def test_run_gives_the_signal(sdk: Sandbox) -> None:
    result = sdk.run("sh", ["-c", "kill -TERM $$"])
    assert (result.exit_code, result.reason) == (-15, CommandExitReason.SIGNALED)


def test_run_is_killed_with_all_it_started_when_its_time_is_up(sdk: Sandbox) -> None:
    result = sdk.run("sh", ["-c", "setsid sleep 600 & echo $!; exec sleep 600"], timeout=0.3)
    assert (result.exit_code, result.reason) == (-9, CommandExitReason.TIMED_OUT)
    until(lambda: is_gone(int(result.stdout)))


def test_run_tells_an_oom_kill() -> None:
    with start_local_sandbox(memory_limit=64 << 20) as local:
        sdk = connect(local)
        result = sdk.run("python", ["-c", HOG])
        row = next(iter(sdk.list_processes()))
        sdk.close()
    assert (result.exit_code, result.reason) == (-9, CommandExitReason.OOM_KILLED)
    assert (row.status, row.signal) == (ProcessStatus.OOM_KILLED, 9)


def test_either_spelling_of_the_loopback_address_leads_to_it(sandbox: LocalSandbox) -> None:
    port = sandbox.url.rpartition(":")[2]
    for host in ("localhost", "127.0.0.1"):
        sdk = Sandbox("local", f"http://{host}:{port}/", api_key=sandbox.api_key.reveal())
        assert sdk.health().healthy is True
        sdk.close()


def test_a_wrong_key_is_refused(sandbox: LocalSandbox) -> None:
    sdk = Sandbox("local", sandbox.url, api_key="wrong")
    assert refused(sdk.list_processes) == (401, "UNAUTHORIZED")
    sdk.close()
