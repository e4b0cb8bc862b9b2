"""The code of a user, checked by mypy and pyright and never run.

A wrong line has a ``type: ignore``; both tools report a ``type: ignore`` that is not needed.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable

from typing_extensions import assert_type

import pytest_tlsandbox as tls
from pytest_tlsandbox import AsyncSandbox, ProcessInfo, Sandbox, by, start_local_sandbox
from pytest_tlsandbox.testing import FakeClock, ScriptedLister, no_sleep, row


def waits_return_what_they_waited_for(tlsandbox: Sandbox) -> None:
    process = tlsandbox.start_process("python", ["-m", "http.server"], env={"A": "b"}, name="web")
    assert_type(process, ProcessInfo)
    assert_type(tlsandbox.wait_for_process("web", stable_for=1, timeout=10), ProcessInfo)
    assert_type(tlsandbox.wait_for_process(re.compile("web"), status=["exited"]), ProcessInfo)
    assert_type(tlsandbox.wait_for_exit(process, exit_code=(0, 1), pick="newest"), ProcessInfo)
    assert_type(tlsandbox.wait_for_exit(by(name="web"), exit_code="any", since=None), ProcessInfo)
    assert_type(tlsandbox.wait_for_exit(lambda seen: seen.pid > 1), ProcessInfo)
    assert_type(tlsandbox.wait_until(lambda seen: len(seen)), int)
    assert_type(tlsandbox.wait_for_output(process, re.compile("ready")), str)
    assert_type(tlsandbox.wait_for_port(process, 8080, timeout=5, pick="newest"), ProcessInfo)
    assert_type(tlsandbox.wait_for_restart("web", 2, since=None), ProcessInfo)
    assert_type(tlsandbox.wait_for_count("worker", 4, timeout=5), list[ProcessInfo])
    assert_type(tlsandbox.stop_process(process, grace=1), ProcessInfo)
    job = tlsandbox.run_process("make", ["test"], exit_code=[0, 2], timeout=60, env={"A": "b"})
    assert_type(job, tls.CompletedProcess)
    assert_type(job.stdout + job.stderr, str)
    assert_type(tlsandbox.assert_process(41, status="running"), ProcessInfo)
    assert_type(tlsandbox.assert_process(41, exit_code=[0, 3], signal=None), ProcessInfo)
    assert_type(tlsandbox.assert_stays(process, stable_for=2), ProcessInfo)


def first(seen: tls.ProcessSnapshot) -> ProcessInfo | None:
    return seen.processes[0] if len(seen) else None


def wait_until_never_returns_none(tlsandbox: Sandbox) -> None:
    assert_type(tlsandbox.wait_until(first, timeout=1), ProcessInfo)


def invalid_arguments_are_rejected(tlsandbox: Sandbox) -> None:
    tlsandbox.wait_for_exit(None)  # type: ignore[arg-type]
    tlsandbox.wait_for_process(["a", "b"])  # type: ignore[arg-type]
    tlsandbox.wait_for_exit("web", pick="first")  # type: ignore[arg-type]
    tlsandbox.wait_for_port("web", "80")  # type: ignore[arg-type]
    tlsandbox.wait_for_count("web", 4, pick="newest")  # type: ignore[call-arg]
    tlsandbox.run_process("web", cwd="/tmp")  # type: ignore[call-arg]
    tlsandbox.run_process("web", env=["A"])  # type: ignore[arg-type]
    tlsandbox.assert_process("web", exit_kode=0)  # type: ignore[call-arg]
    tlsandbox.assert_process("web", exit_code="0")  # type: ignore[arg-type]
    tlsandbox.list_processes().where(state="running")  # type: ignore[call-arg]
    tlsandbox.start_process("web", cwd="/tmp")  # type: ignore[call-arg]
    tlsandbox.wait_for_proces("web")  # type: ignore[attr-defined]


def options_of_a_managed_process_are_checked(tlsandbox: Sandbox) -> None:
    restart: tls.RestartOptions = {"policy": "always", "max_restarts": None}
    check: tls.HealthCheckOptions = {"type": "http", "port": 8080, "path": "/ready"}
    tlsandbox.start_process("web", name="web", restart=restart, health_check=check)
    tlsandbox.start_process("web", restart={"max_restarts": 3})
    tlsandbox.start_process("web", health_check={"type": "tcp", "port": 1})
    tlsandbox.start_process("web", restart="always")  # type: ignore[arg-type]
    tlsandbox.start_process("web", restart={"polcy": "always"})  # type: ignore[arg-type]
    tlsandbox.start_process("web", restart={"policy": "alway"})  # type: ignore[arg-type]
    tlsandbox.start_process("web", health_check={"type": "tcp"})  # type: ignore[arg-type]


def a_snapshot_is_a_collection_of_processes(tlsandbox: Sandbox, lister: tls.ProcessLister) -> None:
    seen = tlsandbox.list_processes()
    assert_type(seen, tls.ProcessSnapshot)
    assert_type(lister.list(), tls.ProcessSnapshot)
    assert_type([row.exit_code for row in seen], "list[int | None]")
    assert_type(seen.where(status="running"), "tuple[ProcessInfo, ...]")
    tlsandbox.assert_no_oom("web", suspected=True, since=seen)


def soft_checks_take_the_same_arguments(tlsandbox: Sandbox) -> None:
    with tlsandbox.soft() as check:
        check.assert_process("web", status="running", pick="newest")
        check.assert_no_restart("web", since=None)
        check.assert_process("web", exit_kode=0)  # type: ignore[call-arg]


async def methods_of_the_async_sandbox_have_the_same_types(tlsandbox_async: AsyncSandbox) -> None:
    process = await tlsandbox_async.start_process("python", ["train.py"], stdout_mode="discard")
    assert_type(process, ProcessInfo)
    assert_type(await tlsandbox_async.wait_until(first), ProcessInfo)
    assert_type(await tlsandbox_async.output("web", "stderr"), "list[str]")
    assert_type(await tlsandbox_async.from_now(), AsyncSandbox)
    is_up = tlsandbox_async.assert_process("web", status="running")
    both = await asyncio.gather(is_up, tlsandbox_async.wait_for_output("web", "ready"))
    assert_type(both, "tuple[ProcessInfo, str]")
    tlsandbox_async.assert_no_oom()  # type: ignore[unused-coroutine]
    async with tlsandbox_async.soft() as check:
        check.assert_process("web", status="running")
    await tlsandbox_async.wait_for_proces("web")  # type: ignore[attr-defined]
    await tlsandbox_async.assert_process("web", exit_kode=0)  # type: ignore[call-arg]


def other_sandboxes_have_the_same_type(tlsandbox_connect: Callable[[object], Sandbox]) -> None:
    with start_local_sandbox(memory_limit=2**28) as local:
        assert_type(local.api_key, tls.Secret)
        assert_type(tlsandbox_connect(local).output("web", "stderr"), "list[str]")
        assert_type(AsyncSandbox(tlsandbox_connect(local)), AsyncSandbox)


def test_scripted_test_doubles_can_replace_a_sandbox() -> None:
    fault = tls.SandboxUnreachable("reset", label="reset", transient=True)
    script = ScriptedLister(
        {0: [row(41, "python", ["a.py"])], 1.5: fault, 2: [row(41, status="exited")], 3: b"{"},
        clock=FakeClock(),
        output={41: {"stderr": ["no memory"]}},
    )
    assert_type(script.clock.slept, "list[float]")
    box = Sandbox(script)
    with no_sleep():
        assert_type(box.wait_for_exit(41), ProcessInfo)


def errors_have_builtin_base_classes(
    error: tls.ProcessOOMKilled | tls.SuspectedOOMKill, usage: tls.InvalidArgument
) -> None:
    failure: AssertionError = error
    bad: ValueError = usage
    print(failure, bad)
