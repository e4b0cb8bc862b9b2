"""Limit memory with cgroup v1 or cgroup v2 of the kernel.

The limit applies to the group of the sandbox, which is below the group of the server. Below the
group of the sandbox, each process has its own group, which is called its leaf. The kernel counts
OOM kills for each leaf. A leaf's count includes the kills of its process and of the children of
this process.

The kernel's ``Documentation/admin-guide/cgroup-v1/memory.rst`` and ``.../cgroup-v2.rst`` describe
the files.
"""

from __future__ import annotations

import os
import subprocess
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pytest_tlsandbox.local.memory_limit import Mechanism, MemoryLimit

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# Maximum time in seconds from a memory shortage to the kill; it usually takes milliseconds.
_KILL_FOLLOWS = 1.0


class OwnGroups(NamedTuple):
    """The folders of the cgroups of this process.

    If a version of cgroups is not mounted, the field for this version is None.

    Attributes:
        v1: the folder of the group in the memory controller of cgroup v1.
        v2: the folder of the group in cgroup v2, which may lack a memory controller.

    """

    v1: Path | None
    v2: Path | None


def own_groups(proc: Path = Path("/proc/self")) -> OwnGroups:
    """Return the cgroups of this process.

    On a system without cgroups, such as macOS, both fields of the result are None.

    Args:
        proc: the folder of the process in ``/proc``.

    """
    try:
        memberships = (proc / "cgroup").read_text().splitlines()
        mounts = (proc / "mountinfo").read_text().splitlines()
    except OSError:
        return OwnGroups(None, None)
    own: dict[str, str] = {}
    for line in memberships:
        _, controllers, path = line.split(":", 2)
        if controllers == "" or "memory" in controllers.split(","):
            own["cgroup" if controllers else "cgroup2"] = path
    found: dict[str, Path] = {}
    for line in mounts:
        fields, _, options = line.partition(" - ")
        root, mount_point = fields.split()[3:5]
        kind, _, super_options = options.split(" ", 2)
        if kind in own and (kind == "cgroup2" or "memory" in super_options.split(",")):
            # In a container, the mount may show only a part of the tree of these paths.
            inside = own[kind].removeprefix(root.rstrip("/")).lstrip("/")
            found[kind] = Path(mount_point, inside)
    return OwnGroups(found.get("cgroup"), found.get("cgroup2"))


def remove_group_of(server: int) -> None:
    """Remove the group that a killed server left behind.

    Args:
        server: the pid of the server.

    """
    for own in filter(None, own_groups()):
        for above in (own, own.parent):
            group = above / _group_name(server)
            if group.is_dir():
                _remove_with_leaves(group)


class _Cgroup(MemoryLimit):
    """The base class for cgroup v1 and cgroup v2.

    The group of the sandbox contains a leaf for each process.
    """

    # The file that counts the OOM kills of a group, in a line that begins with oom_kill.
    _counts: str

    def __init__(self, above: Path, limit_bytes: int) -> None:
        super().__init__(limit_bytes)
        self._group = above / _group_name(os.getpid())
        self._leaves: dict[int, Path] = {}
        self._left: set[int] = set()
        self._group.mkdir()
        try:
            self._set_up(limit_bytes)
        except OSError:
            _remove(self._group)
            raise

    def kills(self) -> Mapping[int, int]:
        """Return the number of OOM kills for each handle.

        If it is certain that there was no new kill, the result is empty.
        """
        if not self._may_have_killed():
            return {}
        return {handle: self.kills_of(handle) for handle in list(self._leaves)}

    def kills_of(self, handle: int) -> int:
        """Return how many times a process or one of its children was OOM-killed."""
        return self._read_kills(self._leaves[handle])

    def leave(self, handle: int) -> None:
        """Remove the leaf of an ended process, unless the leaf still contains children.

        If such a leaf becomes empty later, the next call of this method removes the leaf, even if
        that call is for another process.
        """
        self._left.add(handle)
        for left in list(self._left):
            if _remove(self._leaves[left]):
                del self._leaves[left]
                self._left.remove(left)

    def close(self) -> None:
        """Remove the group and its leaves."""
        _remove_with_leaves(self._group)

    @contextmanager
    def _new_leaf(self, handle: int) -> Iterator[Path]:
        leaf = self._group / str(handle)
        leaf.mkdir()
        try:
            yield leaf
        except BaseException:
            _remove(leaf)
            raise
        self._leaves[handle] = leaf

    def _read_kills(self, group: Path) -> int:
        counts = (group / self._counts).read_text().splitlines()
        return sum(int(line.split()[1]) for line in counts if line.startswith("oom_kill "))

    def _set_up(self, limit_bytes: int) -> None:
        raise NotImplementedError

    def _may_have_killed(self) -> bool:
        raise NotImplementedError


class CgroupV1(_Cgroup):
    """Limit memory with the memory controller of cgroup v1."""

    mechanism: Mechanism = "cgroup v1"
    _counts = "memory.oom_control"
    _last_shortage = -_KILL_FOLLOWS

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
        with self._new_leaf(handle) as leaf:
            (leaf / "tasks").write_text("0")
            try:
                yield []
            finally:
                (self._group.parent / "tasks").write_text("0")

    def _set_up(self, limit_bytes: int) -> None:
        (self._group / "memory.use_hierarchy").write_text("1")
        (self._group / "memory.limit_in_bytes").write_text(str(limit_bytes))
        _write_if_there(self._group / "memory.memsw.limit_in_bytes", str(limit_bytes))
        self._shortages = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        with (self._group / "memory.oom_control").open() as control:
            event = f"{self._shortages} {control.fileno()}"
            (self._group / "cgroup.event_control").write_text(event)

    def close(self) -> None:
        """Remove the group and its leaves, and close the descriptor that reports shortages."""
        os.close(self._shortages)
        super().close()

    def _may_have_killed(self) -> bool:
        """Return whether the kernel reported a memory shortage within the last second.

        The kernel reports a shortage just before it kills a process. This method does not read
        the numbers of kills. cgroup v1 counts the kills of each leaf separately, and reading a
        thousand leaves at each poll would take too long. ``memory.failcnt`` does not help, because
        Linux 6.18 leaves this file at 0.
        """
        now = time.monotonic()
        with suppress(BlockingIOError):
            os.eventfd_read(self._shortages)
            self._last_shortage = now
        return now - self._last_shortage < _KILL_FOLLOWS


class CgroupV2(_Cgroup):
    """Limit memory with the memory controller of cgroup v2.

    A group that contains processes cannot enable the memory controller for groups below it. The
    group of the server contains the server. So if the controller is not yet enabled below the group
    of the server, the group of the sandbox is created beside the group of the server. systemd's
    rules for delegation allow this. The project has not tested this class on a real kernel, because
    its machines use cgroup v1.
    """

    mechanism: Mechanism = "cgroup v2"
    _counts = "memory.events"
    _seen_kills = 0

    def __init__(self, own: Path, limit_bytes: int) -> None:
        super().__init__(_nearest_with_memory(own), limit_bytes)

    @contextmanager
    def entering(self, handle: int) -> Iterator[list[str]]:
        """Provide a launcher that enters the leaf and then executes the program.

        In cgroup v1, a single thread can enter a leaf. In cgroup v2, only a whole process can enter
        a leaf. For this reason, cgroup v2 needs a launcher.

        Yields:
            The command of the launcher.

        """
        with self._new_leaf(handle) as leaf:
            yield _launcher(leaf)

    def _set_up(self, limit_bytes: int) -> None:
        (self._group / "memory.max").write_text(str(limit_bytes))
        _write_if_there(self._group / "memory.swap.max", "0")
        (self._group / "cgroup.subtree_control").write_text("+memory")
        # Entering a leaf also needs permissions above the group: check them now, not at each start.
        trial = self._group / "trial"
        trial.mkdir()
        try:
            launched = subprocess.run([*_launcher(trial), "true"], check=False, capture_output=True)
        finally:
            _remove(trial)
        if launched.returncode != 0:
            raise OSError(f"{self._group} cannot be entered")

    def _may_have_killed(self) -> bool:
        """Return whether the number of kills in the whole group has changed since the last call.

        The kernel first increases the number of kills in the leaf, and then the number in the
        group.
        """
        kills = self._read_kills(self._group)
        seen, self._seen_kills = self._seen_kills, kills
        return kills != seen


def _group_name(server: int) -> str:
    return f"tlsandbox-{server}"


def _nearest_with_memory(own: Path) -> Path:
    for above in (own, own.parent):
        try:
            handed_on = above / "cgroup.subtree_control"
            if "memory" not in handed_on.read_text().split():
                handed_on.write_text("+memory")
        except OSError:
            continue
        return above
    raise OSError(f"neither {own} nor its parent delegates the memory controller to child groups")


def _write_if_there(file: Path, text: str) -> None:
    if file.exists():
        file.write_text(text)


def _launcher(leaf: Path) -> list[str]:
    script = 'echo 0 > "$0" && exec "$@"'
    return ["/bin/sh", "-c", script, str(leaf / "cgroup.procs")]


def _remove_with_leaves(group: Path) -> None:
    """Wait up to 1 s until the killed members of a group are gone, and remove the group."""
    rest = [entry for entry in group.iterdir() if entry.is_dir()]
    for _ in range(100):  # a count, because a test may have frozen the clock
        rest = [leaf for leaf in rest if not _remove(leaf)]
        if not rest and _remove(group):
            return
        time.sleep(0.01)


def _remove(group: Path) -> bool:
    """Remove a group that has no members, and return whether the group is gone."""
    with suppress(OSError):
        group.rmdir()
    return not group.exists()
