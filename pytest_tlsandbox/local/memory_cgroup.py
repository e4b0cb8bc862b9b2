"""Limit memory with the kernel's cgroup v1 or cgroup v2.

The limit applies to the group of the sandbox, which is below the group of the server. Below the
group of the sandbox, each process has its own group, which is called its leaf. The kernel counts
OOM kills for each leaf. The count includes every OOM kill of the process or one of its children.

The kernel's ``Documentation/admin-guide/cgroup-v1/memory.rst`` and ``.../cgroup-v2.rst`` describe
the files.
"""

import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path

from pytest_tlsandbox.local.memory_limit import Mechanism, MemoryLimit

_KILLS = re.compile(rb"^oom_kill (\d+)", re.MULTILINE)


def own_groups(
    memberships: Path = Path("/proc/self/cgroup"), mount: Path = Path("/sys/fs/cgroup")
) -> dict[Mechanism, Path]:
    """Return the folder of this process's cgroup, for each version of cgroups.

    In a container, the mounted folders may show only the group of the container and the groups
    below this group. On a system without cgroups, such as macOS, the result is empty.

    Args:
        memberships: the file that lists the groups of this process.
        mount: the folder below which the cgroups are mounted.

    """
    found: dict[Mechanism, Path] = {}
    with suppress(OSError):
        for line in memberships.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            version: Mechanism = "cgroup v1" if controllers else "cgroup v2"
            if controllers == "" or "memory" in controllers.split(","):
                top = mount / "memory" if controllers else mount
                own = top / path.lstrip("/")
                found[version] = own if own.is_dir() else top
    return found


def remove_group_of(server: int) -> None:
    """Remove the group that a killed server left behind.

    Args:
        server: the pid of the server.

    """
    for own in own_groups().values():
        for above in (own, own.parent):
            _remove_with_leaves(above / _group_name(server))


class _Cgroup(MemoryLimit):
    """The base class for cgroup v1 and cgroup v2.

    The group of the sandbox contains a leaf for each process.
    """

    # The file that counts the OOM kills of a leaf, in a line that begins with oom_kill.
    _counts: str

    def __init__(self, above: Path, limit_bytes: int) -> None:
        super().__init__(limit_bytes)
        self._kills_in_removed = 0
        self._counters: dict[int, int] = {}
        """The open file that counts the OOM kills of each leaf."""
        self._group = above / _group_name(os.getpid())
        self._group.mkdir()
        try:
            self._set_up(limit_bytes)
        except OSError:
            self.close()
            raise

    def kills_of(self, handle: int) -> int:
        """Return how many times a process or one of its children was OOM-killed."""
        found = _KILLS.search(os.pread(self._counters[handle], 1024, 0))
        return int(found[1]) if found else 0

    def kills(self) -> int:
        """Return the number of OOM kills in the sandbox."""
        return self._kills_in_removed + sum(map(self.kills_of, [*self._counters]))

    def leave(self, handle: int) -> None:
        """Remove the leaf of an ended process.

        If the leaf still contains children of the process, ``close`` removes the leaf later.
        """
        kills = self.kills_of(handle)
        if _remove(self._leaf(handle)):
            self._kills_in_removed += kills
            os.close(self._counters.pop(handle))

    def close(self) -> None:
        """Remove the group and its leaves."""
        for counter in self._counters.values():
            os.close(counter)
        _remove_with_leaves(self._group)

    def _leaf(self, handle: int) -> Path:
        """Return the leaf of a process, and create it if necessary."""
        leaf = self._group / str(handle)
        if handle not in self._counters:
            leaf.mkdir()
            # The file stays open, because a guarded test waits until all counters are read.
            self._counters[handle] = os.open(leaf / self._counts, os.O_RDONLY)
        return leaf

    def _set_up(self, limit_bytes: int) -> None:
        raise NotImplementedError


class CgroupV1(_Cgroup):
    """Limit memory with the memory controller of cgroup v1."""

    mechanism: Mechanism = "cgroup v1"
    _counts = "memory.oom_control"

    @contextmanager
    def entering(self, handle: int) -> Iterator[list[str]]:
        """Keep the calling thread in the leaf until the ``with`` block ends.

        In cgroup v1, one thread of a process can be in a different group from the other threads. If
        the calling thread forks a process, the new process starts in the group of the thread. As a
        result, the limit applies to the program from the beginning. A ``preexec_fn`` would take ten
        times as long, and would prevent the use of vfork. The kernel charges the memory of a
        process to the group of its main thread, so the main thread must not call this method.

        Yields:
            An empty command, because no launcher is necessary.

        """
        (self._leaf(handle) / "tasks").write_text("0")
        try:
            yield []
        finally:
            (self._group.parent / "tasks").write_text("0")

    def _set_up(self, limit_bytes: int) -> None:
        (self._group / "memory.use_hierarchy").write_text("1")
        (self._group / "memory.limit_in_bytes").write_text(str(limit_bytes))
        _write_if_there(self._group / "memory.memsw.limit_in_bytes", str(limit_bytes))


class CgroupV2(_Cgroup):
    """Limit memory with the memory controller of cgroup v2.

    A group that contains processes cannot enable the memory controller for groups below it. The
    server's group contains the server. For this reason, if the controller is not yet enabled below
    the server's group, the sandbox's group is created beside the server's group. The delegation
    rules of systemd allow this.
    """

    mechanism: Mechanism = "cgroup v2"
    _counts = "memory.events"

    def __init__(self, own: Path, limit_bytes: int) -> None:
        super().__init__(_nearest_with_memory(own), limit_bytes)

    def entering(self, handle: int) -> AbstractContextManager[list[str]]:
        """Provide a launcher that enters the leaf and then executes the program.

        In cgroup v1, a single thread can enter a leaf. In cgroup v2, only a whole process can enter
        a leaf. For this reason, cgroup v2 needs a launcher.

        Returns:
            A context that provides the command of the launcher.

        """
        return nullcontext(_launcher(self._leaf(handle)))

    def _set_up(self, limit_bytes: int) -> None:
        (self._group / "memory.max").write_text(str(limit_bytes))
        _write_if_there(self._group / "memory.swap.max", "0")
        (self._group / "cgroup.subtree_control").write_text("+memory")
        # Entering a leaf also needs permissions above the group: check them now, not at each start.
        # The handles of processes start at 1, so leaf 0 is free.
        command = [*_launcher(self._leaf(0)), "true"]
        if subprocess.run(command, check=False, capture_output=True).returncode != 0:
            raise OSError(f"a process cannot join the cgroup {self._group}")


def _group_name(server: int) -> str:
    return f"tlsandbox-{server}"


def _nearest_with_memory(own: Path) -> Path:
    for above in (own, own.parent):
        with suppress(OSError):
            handed_on = above / "cgroup.subtree_control"
            if "memory" not in handed_on.read_text().split():
                handed_on.write_text("+memory")
            return above
    raise OSError(f"neither {own} nor its parent delegates the memory controller to child groups")


def _write_if_there(file: Path, text: str) -> None:
    if file.exists():
        file.write_text(text)


def _launcher(leaf: Path) -> list[str]:
    return ["/bin/sh", "-c", 'echo 0 > "$0" && exec "$@"', str(leaf / "cgroup.procs")]


def _remove_with_leaves(group: Path) -> None:
    """Remove a group and its leaves, if the group exists.

    This function waits up to 1 s until all killed members of the group are gone.
    """
    for _ in range(100):  # a count, because a test may have frozen the clock
        for leaf in group.glob("*/"):
            _remove(leaf)
        if _remove(group):
            return
        time.sleep(0.01)


def _remove(group: Path) -> bool:
    """Remove a group that has no members, and return whether the group is gone."""
    with suppress(OSError):
        group.rmdir()
    return not group.exists()
