"""OOM kills: real ones by the kernel and by the watchdog, told from every other SIGKILL."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from pytest_tlsandbox.errors import LocalSandboxError
from pytest_tlsandbox.local.cgroups import CgroupV1, CgroupV2, own_groups
from pytest_tlsandbox.local.server import start_local_sandbox

from .conftest import HOG, Api, is_gone, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytest_tlsandbox.local.memory import Mechanism

MIB = 1 << 20
LIMIT = 64 * MIB


def hold(megabytes: int) -> str:
    return f"b = bytearray({megabytes} << 20); print('held', flush=True); input()"


def kernel_limits() -> bool:
    """Whether the kernel itself can be asked for a limit here: root, and cgroup v1."""
    above = own_groups().v1
    if above is None:
        return False
    try:
        CgroupV1(above, LIMIT).close()
    except OSError:
        return False
    return True


KERNEL = pytest.mark.skipif(not kernel_limits(), reason="no writable memory cgroup v1")


@pytest.fixture(
    scope="module", params=[pytest.param("cgroup v1", marks=KERNEL), pytest.param("watchdog")]
)
def limited(request: pytest.FixtureRequest) -> Iterator[Api]:
    with start_local_sandbox(memory_limit=LIMIT, mechanism=request.param) as sandbox:
        api = Api(sandbox)
        yield api
        api.close()


@pytest.fixture
def mechanism(limited: Api) -> Any:
    return limited.call("GET", "/info").json()["memory"]["mechanism"]


@KERNEL
def test_the_kernel_is_preferred_where_it_can_be_asked() -> None:
    with start_local_sandbox(memory_limit=LIMIT) as sandbox:
        api = Api(sandbox)
        memory = api.call("GET", "/info").json()["memory"]
        api.close()
    assert memory == {"mechanism": "cgroup v1", "limit_bytes": LIMIT}


def test_a_process_over_the_limit_is_oom_killed(limited: Api) -> None:
    row = limited.ended(limited.python(HOG))
    assert (row["status"], row["signal"], row["exit_code"]) == ("oom_killed", 9, None)
    assert row["oom_killed"] is True


def test_a_process_under_the_limit_is_left_alone(limited: Api) -> None:
    pid = limited.python(hold(20), stdin_mode="pipe")
    assert limited.lines(pid, at_least=1) == ["held"]
    limited.call("POST", f"/processes/{pid}/stdin", data=b"\n")
    row = limited.ended(pid)
    assert (row["status"], row["exit_code"], row["oom_killed"]) == ("exited", 0, False)


@pytest.mark.parametrize("how", ["signal", "delete", "itself", "neighbour"])
def test_a_plain_sigkill_is_no_oom_kill(limited: Api, how: str) -> None:
    pid = limited.start("sh", "-c", "kill -9 $$" if how == "itself" else "sleep 600")
    if how == "signal":
        limited.call("POST", f"/processes/{pid}/signal", json={"signal": 9})
    if how == "delete":
        limited.call("DELETE", f"/processes/{pid}")
    if how == "neighbour":
        limited.start("kill", "-9", str(pid))
    row = limited.ended(pid)
    assert (row["status"], row["signal"], row["oom_killed"]) == ("signaled", 9, False)


def test_a_child_that_is_the_victim_sets_the_flag_and_not_the_status(limited: Api) -> None:
    pid = limited.start("sh", "-c", 'python -c "$1"; exit 7', "sh", HOG)
    row = limited.ended(pid)
    assert (row["status"], row["exit_code"], row["oom_killed"]) == ("exited", 7, True)


def test_the_flag_of_a_childs_kill_shows_when_the_process_itself_has_ended(limited: Api) -> None:
    pid = limited.start("sh", "-c", 'python -c "$1"; echo gone; sleep 600', "sh", HOG)
    assert limited.lines(pid, at_least=1) == ["gone"]
    row = limited.get(pid)
    assert (row["status"], row["oom_killed"]) == ("running", False)
    limited.call("DELETE", f"/processes/{pid}")
    row = limited.ended(pid)
    assert (row["status"], row["oom_killed"]) == ("signaled", True)


def test_a_neighbour_that_is_the_victim_is_the_one_that_is_told(limited: Api) -> None:
    large = limited.python(hold(36), stdin_mode="pipe")
    limited.lines(large, at_least=1)
    small = limited.python(hold(24), stdin_mode="pipe")
    row = limited.ended(large)
    assert (row["status"], row["oom_killed"]) == ("oom_killed", True)
    assert limited.lines(small, at_least=1) == ["held"]
    row = limited.get(small)
    assert (row["status"], row["oom_killed"]) == ("running", False)
    limited.call("DELETE", f"/processes/{small}")
    limited.ended(small)


def test_each_of_several_victims_is_told(limited: Api) -> None:
    pids = [limited.python(HOG) for _ in range(4)]
    assert [limited.ended(pid)["status"] for pid in pids] == ["oom_killed"] * 4


def test_memory_that_forks_share_counts_once(limited: Api) -> None:
    program = """
import os, time
b = bytearray(40 << 20)
child = os.fork()
time.sleep(0.3)  # six looks of the watchdog
if child:
    os.wait()
"""
    row = limited.ended(limited.python(program))
    assert (row["status"], row["exit_code"], row["oom_killed"]) == ("exited", 0, False)


def test_a_program_that_cannot_be_started_leaves_nothing_behind(
    limited: Api, mechanism: Mechanism
) -> None:
    for _ in range(2):
        answer = limited.call("POST", "/processes", json={"command": "no-such-program"})
        assert answer.json() == {"error": "Failed to spawn process"}
    row = limited.ended(limited.start("true"))
    assert (row["status"], row["exit_code"]) == ("exited", 0)


@KERNEL
def test_the_group_is_gone_after_the_sandbox() -> None:
    above = own_groups().v1
    assert above is not None
    with start_local_sandbox(memory_limit=LIMIT, mechanism="cgroup v1") as sandbox:
        api = Api(sandbox)
        api.start("sh", "-c", "setsid sleep 600 & sleep 600")
        group = above / f"tlsandbox-{sandbox.pid}"
        assert (group / "1").is_dir()
        api.close()
    assert not group.exists()


@KERNEL
def test_the_group_is_gone_also_after_a_server_that_was_killed() -> None:
    above = own_groups().v1
    assert above is not None
    with start_local_sandbox(memory_limit=LIMIT, mechanism="cgroup v1") as sandbox:
        api = Api(sandbox)
        api.start("sleep", "600")
        api.close()
        psutil.Process(sandbox.pid).kill()
    assert not (above / f"tlsandbox-{sandbox.pid}").exists()


@KERNEL
def test_a_limit_that_the_kernel_refuses_leaves_no_group() -> None:
    above = own_groups().v1
    assert above is not None
    with pytest.raises(OSError, match="Invalid argument"):
        CgroupV1(above, -5)
    assert not list(above.glob(f"tlsandbox-{os.getpid()}"))


@KERNEL
def test_a_leaf_goes_with_the_last_member_of_a_process(api: Api) -> None:
    above = own_groups().v1
    assert above is not None
    with start_local_sandbox(memory_limit=LIMIT, mechanism="cgroup v1") as sandbox:
        api = Api(sandbox)
        group = above / f"tlsandbox-{sandbox.pid}"
        parent = api.start("sh", "-c", "sleep 600 & echo $!")
        api.ended(parent)
        child = int(api.lines(parent, at_least=1)[0])
        assert (group / "1").is_dir()
        psutil.Process(child).kill()
        until(lambda: is_gone(child))
        api.ended(api.start("true"))
        until(lambda: not (group / "1").exists())
        api.close()


def test_a_mechanism_that_does_not_work_here_is_told() -> None:
    with pytest.raises(LocalSandboxError, match=r"did not start: none cannot limit"):
        start_local_sandbox(memory_limit=LIMIT, mechanism="none")


def test_own_groups_are_found_where_they_are_mounted(tmp_path: Path) -> None:
    (tmp_path / "cgroup").write_text("4:memory:/box/a\n2:cpu,cpuacct:/\n0::/user/b\n")
    (tmp_path / "mountinfo").write_text(
        "30 25 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n"
        "31 30 0:27 /box /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory\n"
        "32 30 0:28 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"
        "33 30 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
    )
    v1, v2 = own_groups(tmp_path)
    assert str(v1) == "/sys/fs/cgroup/memory/a"
    assert str(v2) == "/sys/fs/cgroup/unified/user/b"


def test_no_groups_are_found_where_there_are_none(tmp_path: Path) -> None:
    assert own_groups(tmp_path) == (None, None)


class FakeTree:
    """A folder with the files of a cgroup v2 that hands the memory controller on.

    A fake: this machine's kernel has its memory controller in v1. It shows which files are written
    and read, and not that the kernel does with them what its documentation says.
    """

    def __init__(self, folder: Path) -> None:
        self.own = folder / "slice" / "scope"
        self.own.mkdir(parents=True)
        self.own.parent.joinpath("cgroup.subtree_control").write_text("cpu memory\n")

    @property
    def group(self) -> Path:
        (group,) = self.own.parent.glob("tlsandbox-*")
        return group

    def count(self, group: Path, kills: int) -> None:
        group.joinpath("memory.events").write_text(f"low 0\noom {kills}\noom_kill {kills}\n")


@pytest.fixture
def fake(tmp_path: Path) -> FakeTree:
    return FakeTree(tmp_path)


def test_v2_fake_sets_the_limit_beside_our_own_group(fake: FakeTree) -> None:
    CgroupV2(fake.own, LIMIT)
    assert fake.group.joinpath("memory.max").read_text() == str(LIMIT)
    assert fake.group.joinpath("cgroup.subtree_control").read_text() == "+memory"


def test_v2_fake_enters_the_leaf_before_it_becomes_the_program(fake: FakeTree) -> None:
    limit = CgroupV2(fake.own, LIMIT)
    procs = fake.group / "1" / "cgroup.procs"
    with limit.entering(1) as launcher:
        program = ["sh", "-c", 'echo "$0 $@"; cat "$PROCS"', "a b", "c"]
        told = subprocess.run(
            [*launcher, *program], env={"PROCS": str(procs)}, capture_output=True, check=True
        )
    assert told.stdout == b"a b c\n0\n"


def test_v2_fake_reads_the_kills_of_each_leaf_when_the_groups_count_rises(fake: FakeTree) -> None:
    limit = CgroupV2(fake.own, LIMIT)
    for handle, kills in {1: 0, 2: 3}.items():
        with limit.entering(handle):
            fake.count(fake.group / str(handle), kills)
    fake.count(fake.group, 0)
    assert limit.kills() == {}
    fake.count(fake.group, 3)
    assert limit.kills() == {1: 0, 2: 3}
    assert limit.kills() == {}
    assert limit.kills_of(2) == 3


def test_v2_fake_is_refused_where_the_controller_is_not_handed_on(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="hands on the memory controller"):
        CgroupV2(tmp_path, LIMIT)
    assert list(tmp_path.iterdir()) == []


def test_v2_fake_is_refused_where_a_leaf_cannot_be_entered(
    fake: FakeTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "pytest_tlsandbox.local.cgroups._launcher", lambda leaf: ["/bin/sh", "-c", "exit 2"]
    )
    with pytest.raises(OSError, match="cannot be entered"):
        CgroupV2(fake.own, LIMIT)
