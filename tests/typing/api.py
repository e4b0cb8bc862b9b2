"""What a user writes, as type checkers see it: checked by mypy, never run."""

from __future__ import annotations

import re
from collections.abc import Callable

from typing_extensions import assert_type

from pytest_tlsandbox import (
    InvalidArgument,
    ProcessInfo,
    ProcessLister,
    ProcessOOMKilled,
    ProcessSnapshot,
    Sandbox,
    Secret,
    by,
    start_local_sandbox,
)


def waits_give_what_they_waited_for(tlsandbox: Sandbox) -> None:
    process = tlsandbox.start_process("python", ["-m", "http.server"], env={"A": "b"}, name="web")
    assert_type(process, ProcessInfo)
    assert_type(tlsandbox.wait_for_process("web", stable_for=1, timeout=10), ProcessInfo)
    assert_type(tlsandbox.wait_for_process(re.compile("web"), status=["exited"]), ProcessInfo)
    assert_type(tlsandbox.wait_for_exit(process, exit_code=(0, 1), pick="newest"), ProcessInfo)
    assert_type(tlsandbox.wait_for_exit(by(name="web"), exit_code=None, since=None), ProcessInfo)
    assert_type(tlsandbox.wait_until(lambda seen: len(seen)), int)
    assert_type(tlsandbox.wait_until(first_pid, timeout=1), "int | None")
    assert_type(tlsandbox.assert_process(41, status="running"), ProcessInfo)
    assert_type(tlsandbox.assert_stays(process, seconds=2), ProcessInfo)


def first_pid(seen: ProcessSnapshot) -> int | None:
    return seen.processes[0].pid if len(seen) else None


def a_snapshot_is_a_collection_of_processes(
    tlsandbox: Sandbox, tlsandbox_lister: ProcessLister
) -> None:
    seen = tlsandbox.list_processes()
    assert_type(seen, ProcessSnapshot)
    assert_type(tlsandbox_lister.list(), ProcessSnapshot)
    assert_type([row.exit_code for row in seen], "list[int | None]")
    assert_type(seen.where(status="running"), "tuple[ProcessInfo, ...]")
    tlsandbox.assert_no_oom("web", suspected=True, since=seen)


def other_sandboxes(tlsandbox_connect: Callable[[object], Sandbox]) -> None:
    with start_local_sandbox(memory_limit=2**28) as local:
        assert_type(local.api_key, Secret)
        assert_type(tlsandbox_connect(local).output("web", "stderr"), "list[str]")


def errors_are_of_the_kinds_they_mean(error: ProcessOOMKilled, usage: InvalidArgument) -> None:
    failure: AssertionError = error
    assert_type(error.snapshot, "ProcessSnapshot | None")
    bad: ValueError = usage
    print(failure, bad)
