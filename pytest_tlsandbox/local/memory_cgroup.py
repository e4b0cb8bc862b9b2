"""The memory limit by the kernel: cgroup v1 and v2.

The sandbox gets one group with the limit, below the group we are in ourselves; each process gets a
leaf of its own below that. The kernel counts the kills of a leaf's members in the leaf, so that the
count is evidence of who the victim was, also where a child or a neighbour was.

``Documentation/admin-guide/cgroup-v1/memory.rst`` and ``.../cgroup-v2.rst`` of the kernel are the
reference for the files.
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

# A kill follows the event of a shortage within milliseconds; this is in seconds.
_KILL_FOLLOWS = 1.0


class OwnGroups(NamedTuple):
    """The groups that this process is in, where they are mounted and have a memory controller."""

    v1: Path | None
    v2: Path | None


def own_groups(proc: Path = Path("/proc/self")) -> OwnGroups:
    """Find our own memory groups. Both are None where there are no cgroups (macOS)."""
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
            # In a container, the mount may show only a part of the tree that the paths refer to.
            inside = own[kind].removeprefix(root.rstrip("/")).lstrip("/")
            found[kind] = Path(mount_point, inside)
    return OwnGroups(found.get("cgroup"), found.get("cgroup2"))


def remove_group_of(server: int) -> None:
    """Remove the group that a server with that pid has left behind, where it was killed."""
    for own in filter(None, own_groups()):
        for above in (own, own.parent):
            group = above / _group_name(server)
            if group.is_dir():
                _remove_with_leaves(group)


class _Cgroup(MemoryLimit):
    """What both versions share: a group with a leaf for each process."""

    # The file of a group that counts the OOM kills, in a line that begins with oom_kill.
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
        """Read the kernel's counts, if there may be new ones."""
        if not self._may_have_killed():
            return {}
        return {handle: self.kills_of(handle) for handle in list(self._leaves)}

    def kills_of(self, handle: int) -> int:
        """Read the kernel's count for one process and its children."""
        return self._read_kills(self._leaves[handle])

    def leave(self, handle: int) -> None:
        """Remove the leaf as soon as it has no member left; children may outlive their process."""
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
    """The memory controller of cgroup v1."""

    mechanism: Mechanism = "cgroup v1"
    _counts = "memory.oom_control"
    _last_shortage = -_KILL_FOLLOWS

    @contextmanager
    def entering(self, handle: int) -> Iterator[list[str]]:
        """Take the calling thread into the leaf, and out again.

        In v1 a thread can be in another group than the rest of its process, and what it forks is
        born there: no moment outside the limit, and a tenth of the cost of a ``preexec_fn``, which
        would also forbid vfork. The memory of our own process stays where it is charged: to the
        group of its main thread, which is why the main thread must not be the one to do this.
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
        """Remove the group and its leaves, and stop listening for shortages."""
        os.close(self._shortages)
        super().close()

    def _may_have_killed(self) -> bool:
        """Return whether the kernel has reported a shortage, which it does just before it kills.

        v1 counts the kills of each group by itself, and a thousand leaves are not read at each poll
        for nothing. ``memory.failcnt`` does not help: Linux 6.18 leaves it at 0.
        """
        now = time.monotonic()
        with suppress(BlockingIOError):
            os.eventfd_read(self._shortages)
            self._last_shortage = now
        return now - self._last_shortage < _KILL_FOLLOWS


class CgroupV2(_Cgroup):
    """The memory controller of cgroup v2.

    A group with processes in it cannot hand the controller on, and ours has us in it; where it has
    not been enabled there, the group of the sandbox is made beside ours (as systemd's delegation
    allows). Never tried against a kernel by the project: its machines have v1.
    """

    mechanism: Mechanism = "cgroup v2"
    _counts = "memory.events"
    _seen_kills = 0

    def __init__(self, own: Path, limit_bytes: int) -> None:
        super().__init__(_nearest_with_memory(own), limit_bytes)

    @contextmanager
    def entering(self, handle: int) -> Iterator[list[str]]:
        """Provide a launcher that enters the leaf and becomes the program.

        v2 moves whole processes only, so the thread cannot go ahead as in v1.
        """
        with self._new_leaf(handle) as leaf:
            yield _launcher(leaf)

    def _set_up(self, limit_bytes: int) -> None:
        (self._group / "memory.max").write_text(str(limit_bytes))
        _write_if_there(self._group / "memory.swap.max", "0")
        (self._group / "cgroup.subtree_control").write_text("+memory")
        # Entering needs rights above the group as well: find out now, not at each start.
        trial = self._group / "trial"
        trial.mkdir()
        try:
            launched = subprocess.run([*_launcher(trial), "true"], check=False, capture_output=True)
        finally:
            _remove(trial)
        if launched.returncode != 0:
            raise OSError(f"{self._group} cannot be entered")

    def _may_have_killed(self) -> bool:
        """Return whether the count of the whole group has changed; a leaf is counted before it."""
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
    raise OSError(f"neither {own} nor its parent hands on the memory controller")


def _write_if_there(file: Path, text: str) -> None:
    if file.exists():
        file.write_text(text)


def _launcher(leaf: Path) -> list[str]:
    script = 'echo 0 > "$0" && exec "$@"'
    return ["/bin/sh", "-c", script, str(leaf / "cgroup.procs")]


def _remove_with_leaves(group: Path) -> None:
    """Remove a group whose members have been killed; waits up to 1 s for them to be gone."""
    rest = [entry for entry in group.iterdir() if entry.is_dir()]
    for _ in range(100):  # by count: a test may have stopped the clock
        rest = [leaf for leaf in rest if not _remove(leaf)]
        if not rest and _remove(group):
            return
        time.sleep(0.01)


def _remove(group: Path) -> bool:
    """Remove a group; return False if it still has members."""
    with suppress(OSError):
        group.rmdir()
    return not group.exists()
