"""Test that the sandbox distinguishes real OOM kills from every other SIGKILL."""

import os
import re
import subprocess
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from pytest_tlsandbox.errors import LocalSandboxError
from pytest_tlsandbox.local.memory_cgroup import CgroupV1, CgroupV2, own_groups
from pytest_tlsandbox.local.sandbox import start_local_sandbox
from tests.contract.sandbox_api import outcome

from .conftest import HOG, new_sandbox

LIMIT = 64 << 20
# These programs run for six polls of the watchdog.
HOLDER = "import time; b = bytearray(20 << 20); time.sleep(0.3)"
SHARERS = "import os, time; b = bytearray(40 << 20); os.fork(); time.sleep(0.3)"


def hold(megabytes):
    return f"b = bytearray({megabytes} << 20); print('held', flush=True); input()"


def parameter(cgroup):
    """Return a parameter that is skipped if this machine cannot use the version of cgroups.

    In the virtual machine of `make kernel`, TEST_CGROUP names the version that must work.
    """
    mechanism, works = cgroup.mechanism, False
    with suppress(KeyError, OSError):
        cgroup(own_groups()[mechanism], LIMIT).close()
        works = True
    skip = not works and mechanism != os.environ.get("TEST_CGROUP")
    mark = pytest.mark.skipif(skip, reason=f"no writable memory controller of {mechanism}")
    return pytest.param(mechanism, marks=mark)


CGROUPS = [parameter(CgroupV1), parameter(CgroupV2)]


@pytest.fixture(scope="module", params=[*CGROUPS, "watchdog"])
def limited(request):
    with new_sandbox(memory_limit=LIMIT, mechanism=request.param) as api:
        yield api


CHILD_OVER = 'python -c "$1"; '
"""Starts a child above the limit from a shell."""


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["python", "-c", HOG], ("oom_killed", None, 9, True)),
        (["python", "-c", HOLDER], ("exited", 0, None, False)),
        (["sh", "-c", f"{CHILD_OVER} exit 7", "sh", HOG], ("exited", 7, None, True)),
        (["python", "-c", SHARERS], ("exited", 0, None, False)),
        (["sh", "-c", "kill -9 $$"], ("signaled", None, 9, False)),
        (["true"], ("exited", 0, None, False)),
    ],
    ids=["over", "under", "a child over", "over if shared memory counts twice", "killed", "ended"],
)
def test_only_a_process_above_the_memory_limit_is_oom_killed(limited, command, expected):
    answer = limited.call("POST", "/processes", json={"command": "no-such-program"})
    assert answer.status_code == 500  # the next start uses the same handle
    assert outcome(limited.run(*command)) == expected


KILLS = {
    "signal": lambda api, pid: api.send(pid, "signal", json={"signal": 9}),
    "delete": lambda api, pid: api.kill(pid),
    "neighbour": lambda api, pid: api.start("kill", "-9", str(pid)),
}


@pytest.mark.parametrize("kill", KILLS.values(), ids=KILLS)
def test_sigkill_from_outside_is_not_an_oom_kill(limited, kill):
    pid = limited.start("sleep", "600")
    kill(limited, pid)
    assert outcome(limited.ended(pid)) == ("signaled", None, 9, False)


def start_parent(api):
    """Start a shell, and wait until its child has been OOM-killed."""
    pid = api.start("sh", "-c", f"{CHILD_OVER} echo gone; sleep 600", "sh", HOG)
    assert api.lines(pid, at_least=1) == ["gone"]
    return pid


def test_oom_kill_of_a_child_is_shown_only_after_the_parent_has_ended(limited):
    pid = start_parent(limited)
    assert outcome(limited.get(pid)) == ("running", None, None, False)
    limited.kill(pid)
    assert outcome(limited.ended(pid)) == ("signaled", None, 9, True)


def test_sandbox_counts_each_oom_kill_in_its_own_proc_vmstat(limited):
    def kills():
        text = limited.call("GET", "/files?path=/proc/vmstat").text
        return int(re.fullmatch("oom_kill ([0-9]+)\nsandbox_only 1\n", text)[1])

    before = kills()
    pid = start_parent(limited)
    assert kills() == before + 1  # while the shell runs
    limited.run("python", "-c", HOG)
    limited.run("sh", "-c", "kill -9 $$")
    limited.kill(pid)
    limited.ended(pid)
    assert kills() == before + 2


def test_sandbox_without_a_memory_limit_counts_no_oom_kills(api):
    assert api.call("GET", "/files?path=/proc/vmstat").content == b""


def test_sandbox_reports_an_oom_kill_only_for_the_killed_process(limited):
    large = limited.start("python", "-c", hold(36), stdin_mode="pipe")
    limited.lines(large, at_least=1)
    small = limited.start("python", "-c", hold(24), stdin_mode="pipe")
    assert outcome(limited.ended(large)) == ("oom_killed", None, 9, True)
    assert limited.lines(small, at_least=1) == ["held"]
    assert outcome(limited.get(small)) == ("running", None, None, False)
    limited.kill(small)
    limited.ended(small)


def test_sandbox_reports_every_oom_killed_process(limited):
    pids = [limited.start("python", "-c", HOG) for _ in range(4)]
    assert [limited.ended(pid)["status"] for pid in pids] == ["oom_killed"] * 4


# --------------------------------------------------------------------- cgroups


def groups_of(server, mechanism):
    """Return the existing cgroups of a sandbox: below the cgroup of this process, or beside it."""
    own = own_groups()[mechanism]
    return [*own.glob(f"tlsandbox-{server}"), *own.parent.glob(f"tlsandbox-{server}")]


@pytest.mark.parametrize("server_is_killed", [False, True])
@pytest.mark.parametrize("mechanism", CGROUPS)
def test_sandbox_limits_memory_with_a_cgroup_and_removes_it_on_close(mechanism, server_is_killed):
    with new_sandbox(memory_limit=LIMIT) as api:
        memory = api.call("GET", "/info").json()["memory"]
        assert memory == {"mechanism": mechanism, "limit_bytes": LIMIT}
        api.run("true")
        api.run("sh", "-c", "setsid sleep 600 &")
        (group,) = groups_of(api.sandbox.pid, mechanism)
        assert [(group / leaf).is_dir() for leaf in ("1", "2")] == [False, True]
        if server_is_killed:
            psutil.Process(api.sandbox.pid).kill()
    assert not group.exists()


@pytest.mark.parametrize("mechanism", CGROUPS)
def test_cgroup_is_removed_if_the_kernel_rejects_the_limit(mechanism):
    cgroup = CgroupV1 if mechanism == "cgroup v1" else CgroupV2
    with pytest.raises(OSError, match="Invalid argument"):
        cgroup(own_groups()[mechanism], -5)
    assert groups_of(os.getpid(), mechanism) == []


def test_start_fails_if_the_requested_mechanism_cannot_limit_memory():
    with pytest.raises(LocalSandboxError, match=r"did not start: none cannot limit"):
        start_local_sandbox(memory_limit=LIMIT, mechanism="none")


def test_cgroups_of_the_current_process_are_found_below_the_mounted_folder(tmp_path):
    memberships = tmp_path / "memberships"
    assert own_groups(memberships, tmp_path) == {}
    memberships.write_text("4:hugetlb,memory:/box/a\n2:cpu,cpuacct:/\n0::/user/b\n")
    (tmp_path / "user/b").mkdir(parents=True)
    found = {"cgroup v1": tmp_path / "memory", "cgroup v2": tmp_path / "user/b"}
    assert own_groups(memberships, tmp_path) == found


# -------------------------------------------------------------- fake cgroup v2


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Return a folder with the files of a cgroup v2 that passes on the memory controller.

    The folder is a fake, so that these tests run on every machine. They check which files are
    written and read. `make kernel` checks how a real kernel behaves.
    """
    own = tmp_path / "slice" / "scope"
    own.mkdir(parents=True)
    own.parent.joinpath("cgroup.subtree_control").write_text("cpu memory\n")
    mkdir = Path.mkdir

    def make_group(folder, **options):
        mkdir(folder, **options)
        folder.joinpath("memory.events").write_text("low 0\noom_kill 0\n")

    monkeypatch.setattr(Path, "mkdir", make_group)
    return own


def test_program_runs_in_a_leaf_of_a_fake_cgroup_which_counts_its_oom_kills(own):
    limit = CgroupV2(own, LIMIT)
    (group,) = own.parent.glob("tlsandbox-*")
    assert group.joinpath("memory.max").read_text() == str(LIMIT)
    assert group.joinpath("cgroup.subtree_control").read_text() == "+memory"
    with limit.entering(1) as launcher:
        script = f'echo "$0 $@"; cat {group}/1/cgroup.procs'
        command = [*launcher, "sh", "-c", script, "a b", "c"]
        assert subprocess.run(command, capture_output=True).stdout == b"a b c\n0\n"
    group.joinpath("1/memory.events").write_text("low 0\noom 7\noom_kill 3\n")
    assert [limit.kills_of(0), limit.kills_of(1)] == [0, 3]


def test_fake_cgroup_without_an_enabled_memory_controller_is_rejected(tmp_path):
    with pytest.raises(OSError, match="delegates the memory controller to child groups"):
        CgroupV2(tmp_path, LIMIT)
    assert list(tmp_path.iterdir()) == []


def test_fake_cgroup_that_the_launcher_cannot_enter_is_rejected(own, monkeypatch):
    launcher = "pytest_tlsandbox.local.memory_cgroup._launcher"
    monkeypatch.setattr(launcher, lambda leaf: ["/bin/sh", "-c", "exit 2"])
    # Unlike a cgroup, a folder that contains files cannot be removed, so do not wait for that.
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    with pytest.raises(OSError, match="cannot join the cgroup"):
        CgroupV2(own, LIMIT)
