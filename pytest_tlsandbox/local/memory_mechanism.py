"""Select the best mechanism that can limit the memory of the sandbox on this machine."""

from __future__ import annotations

from contextlib import suppress

from pytest_tlsandbox.local.memory_cgroup import CgroupV1, CgroupV2, own_groups
from pytest_tlsandbox.local.memory_limit import Mechanism, MemoryLimit
from pytest_tlsandbox.local.memory_watchdog import Watchdog


def limit_memory(limit_bytes: int | None, token: str, mechanism: Mechanism | None) -> MemoryLimit:
    """Set up a memory limit for all processes of the sandbox together.

    Args:
        limit_bytes: the limit in bytes; None for no limit.
        token: the token of the sandbox, which marks its processes (see ``process_tree``).
        mechanism: the only mechanism to use; None for the best mechanism that works on this
            machine.

    Returns:
        The memory limit.

    Raises:
        OSError: the requested mechanism does not work on this machine.

    """
    if limit_bytes is None:
        return MemoryLimit()
    groups = own_groups()
    for cgroup, own in ((CgroupV1, groups.v1), (CgroupV2, groups.v2)):
        if own is not None and mechanism in (None, cgroup.mechanism):
            with suppress(OSError):
                return cgroup(own, limit_bytes)
    if mechanism in (None, Watchdog.mechanism):
        return Watchdog(limit_bytes, token)
    raise OSError(f"{mechanism} cannot limit memory on this machine")
