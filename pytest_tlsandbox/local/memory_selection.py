"""Which mechanism limits the memory of the sandbox: the best one that works on this machine."""

from __future__ import annotations

from contextlib import suppress

from pytest_tlsandbox.local.memory_cgroup import CgroupV1, CgroupV2, own_groups
from pytest_tlsandbox.local.memory_limit import Mechanism, MemoryLimit
from pytest_tlsandbox.local.memory_watchdog import Watchdog


def limit_memory(limit_bytes: int | None, token: str, mechanism: Mechanism | None) -> MemoryLimit:
    """Set up a limit over all processes of the sandbox together, in bytes.

    ``token`` marks them (see ``process_tree``). ``mechanism`` insists on one. Raises OSError if the
    one insisted on does not work here.
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
