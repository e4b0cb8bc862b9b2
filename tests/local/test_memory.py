"""Test that the sandbox distinguishes real OOM kills from every other SIGKILL."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from pytest_tlsandbox.errors import LocalSandboxError
from pytest_tlsandbox.local.memory_cgroup import CgroupV1, CgroupV2, own_groups
from pytest_tlsandbox.local.sandbox import start_local_sandbox

from .conftest import HOG, Api, is_gone, new_sandbox, outcome, refusal, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LIMIT = 64 << 20
# This program runs for six polls of the watchdog.
HOLDER = "import time; b = bytearray(20 << 20); time.sleep(0.3)"
SHARERS = """
import os, time
b = bytearray(40 << 20)
child = os.fork()
time.sleep(0.3)
if child:
    os.wait()
"""


def hold(megabytes: int) -> str:
    return f"b = bytearray({megabytes} << 20); print('held', flush=True); input()"


def kernel_limits() -> bool:
    """Return whether this kernel can limit memory (needs root and cgroup v1)."""
    try:
        above = own_groups().v1
        return above is not None and CgroupV1(above, LIMIT).close() is None
    except OSError:
        return False


KERNEL = pytest.mark.skipif(not kernel_limits(), reason="no writable memory cgroup v1")


@pytest.fixture(scope="module", params=[pytest.param("cgroup v1", marks=KERNEL), "watchdog"])
def limited(request: pytest.FixtureRequest) -> Iterator[Api]:
    with new_sandbox(memory_limit=LIMIT, mechanism=request.param) as api:
        yield api


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["python", "-c", HOG], ("oom_killed", None, 9, True)),
        (["python", "-c", HOLDER], ("exited", 0, None, False)),
        (["sh", "-c", 'python -c "$1"; exit 7', "sh", HOG], ("exited", 7, None, True)),
        (["python", "-c", SHARERS], ("exited", 0, None, False)),
        (["sh", "-c", "kill -9 $$"], ("signaled", None, 9, False)),
        (["true"], ("exited", 0, None, False)),
    ],
    ids=["over", "under", "a child over", "over if shared memory counts twice", "killed", "ended"],
)
def test_only_a_process_above_the_memory_limit_is_oom_killed(
    limited: Api, command: list[str], expected: Any
) -> None:
    answer = limited.call("POST", "/processes", json={"command": "no-such-program"})
    assert refusal(answer) == (500, "Failed to spawn process", None)  # must leave no process behind
    assert outcome(limited.run(*command)) == expected


@pytest.mark.parametrize("how", ["signal", "delete", "neighbour"])
def test_sigkill_from_outside_is_not_an_oom_kill(limited: Api, how: str) -> None:
    pid = limited.start("sleep", "600")
    if how == "signal":
        limited.send(pid, "signal", json={"signal": 9})
    elif how == "delete":
        limited.kill(pid)
    else:
        limited.start("kill", "-9", str(pid))
    assert outcome(limited.ended(pid)) == ("signaled", None, 9, False)


def test_oom_kill_of_a_child_is_shown_only_after_the_parent_has_ended(limited: Api) -> None:
    pid = limited.start("sh", "-c", 'python -c "$1"; echo gone; sleep 600', "sh", HOG)
    assert limited.lines(pid, at_least=1) == ["gone"]
    assert outcome(limited.get(pid)) == ("running", None, None, False)
    limited.kill(pid)
    assert outcome(limited.ended(pid)) == ("signaled", None, 9, True)


def test_oom_kill_is_reported_only_for_the_killed_process(limited: Api) -> None:
    large = limited.python(hold(36), stdin_mode="pipe")
    limited.lines(large, at_least=1)
    small = limited.python(hold(24), stdin_mode="pipe")
    assert outcome(limited.ended(large)) == ("oom_killed", None, 9, True)
    assert limited.lines(small, at_least=1) == ["held"]
    assert outcome(limited.get(small)) == ("running", None, None, False)
    limited.kill(small)
    limited.ended(small)


def test_every_oom_killed_process_is_reported(limited: Api) -> None:
    pids = [limited.python(HOG) for _ in range(4)]
    assert [limited.ended(pid)["status"] for pid in pids] == ["oom_killed"] * 4


# ------------------------------------------------------------------- cgroup v1


@pytest.fixture
def above() -> Path:
    """Return the cgroup of this process, which is the parent of the group of a sandbox."""
    above = own_groups().v1
    assert above is not None
    return above


@KERNEL
@pytest.mark.parametrize("server_is_killed", [False, True])
def test_sandbox_limits_memory_with_a_cgroup_and_removes_the_cgroup_on_close(
    above: Path, server_is_killed: bool
) -> None:
    with new_sandbox(memory_limit=LIMIT) as api:
        memory = api.call("GET", "/info").json()["memory"]
        assert memory == {"mechanism": "cgroup v1", "limit_bytes": LIMIT}
        api.start("sh", "-c", "setsid sleep 600 & sleep 600")
        group = above / f"tlsandbox-{api.sandbox.pid}"
        assert (group / "1").is_dir()
        if server_is_killed:
            psutil.Process(api.sandbox.pid).kill()
    assert not group.exists()


@KERNEL
def test_cgroup_is_removed_if_the_kernel_rejects_the_limit(above: Path) -> None:
    with pytest.raises(OSError, match="Invalid argument"):
        CgroupV1(above, -5)
    assert not list(above.glob(f"tlsandbox-{os.getpid()}"))


@KERNEL
def test_cgroup_is_removed_after_its_last_process_has_ended(above: Path) -> None:
    with new_sandbox(memory_limit=LIMIT, mechanism="cgroup v1") as api:
        leaf = above / f"tlsandbox-{api.sandbox.pid}" / "1"
        parent = api.run("sh", "-c", "sleep 600 & echo $!")["pid"]
        child = int(api.lines(parent)[0])
        assert leaf.is_dir()
        psutil.Process(child).kill()
        until(lambda: is_gone(child))
        api.run("true")
        until(lambda: not leaf.exists())


def test_start_fails_if_the_requested_mechanism_cannot_limit_memory() -> None:
    with pytest.raises(LocalSandboxError, match=r"did not start: none cannot limit"):
        start_local_sandbox(memory_limit=LIMIT, mechanism="none")


def test_cgroups_of_the_current_process_are_found_in_the_mount_table(tmp_path: Path) -> None:
    assert own_groups(tmp_path) == (None, None)
    (tmp_path / "cgroup").write_text("4:memory:/box/a\n2:cpu,cpuacct:/\n0::/user/b\n")
    (tmp_path / "mountinfo").write_text(
        "30 25 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n"
        "31 30 0:27 /box /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory\n"
        "32 30 0:28 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"
        "33 30 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
    )
    found = [str(group) for group in own_groups(tmp_path)]
    assert found == ["/sys/fs/cgroup/memory/a", "/sys/fs/cgroup/unified/user/b"]


# ------------------------------------------------------------------- cgroup v2


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Return a folder with the files of a cgroup v2 that passes on the memory controller.

    The folder is a fake, because the kernel of this machine has its memory controller in v1. It
    shows which files are written and read, not that the kernel behaves as documented.
    """
    own = tmp_path / "slice" / "scope"
    own.mkdir(parents=True)
    own.parent.joinpath("cgroup.subtree_control").write_text("cpu memory\n")
    return own


def group_beside(own: Path) -> Path:
    (group,) = own.parent.glob("tlsandbox-*")
    return group


def test_memory_limit_is_set_in_a_sibling_of_the_current_fake_cgroup(own: Path) -> None:
    CgroupV2(own, LIMIT)
    assert group_beside(own).joinpath("memory.max").read_text() == str(LIMIT)
    assert group_beside(own).joinpath("cgroup.subtree_control").read_text() == "+memory"


def test_launcher_enters_the_fake_cgroup_and_executes_the_program(own: Path) -> None:
    limit = CgroupV2(own, LIMIT)
    procs = group_beside(own) / "1" / "cgroup.procs"
    with limit.entering(1) as launcher:
        command = [*launcher, "sh", "-c", f'echo "$0 $@"; cat {procs}', "a b", "c"]
        assert subprocess.run(command, capture_output=True).stdout == b"a b c\n0\n"


def test_oom_kills_are_counted_per_fake_cgroup_and_each_kill_is_reported_once(own: Path) -> None:
    limit = CgroupV2(own, LIMIT)
    group = group_beside(own)

    def count(group: Path, kills: int) -> None:
        group.joinpath("memory.events").write_text(f"low 0\noom {kills}\noom_kill {kills}\n")

    for handle, kills in {1: 0, 2: 3}.items():
        with limit.entering(handle):
            count(group / str(handle), kills)
    count(group, 0)
    assert limit.kills() == {}
    count(group, 3)
    assert [limit.kills(), limit.kills()] == [{1: 0, 2: 3}, {}]
    assert limit.kills_of(2) == 3


def test_fake_cgroup_without_an_enabled_memory_controller_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="delegates the memory controller to child groups"):
        CgroupV2(tmp_path, LIMIT)
    assert list(tmp_path.iterdir()) == []


def test_fake_cgroup_that_the_launcher_cannot_enter_is_rejected(
    own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launcher = "pytest_tlsandbox.local.memory_cgroup._launcher"
    monkeypatch.setattr(launcher, lambda leaf: ["/bin/sh", "-c", "exit 2"])
    with pytest.raises(OSError, match="cannot be entered"):
        CgroupV2(own, LIMIT)
