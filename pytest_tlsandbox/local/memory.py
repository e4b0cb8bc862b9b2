"""The memory limit of the sandbox, and the evidence of who was killed by it.

One interface, four mechanisms: the kernel through cgroup v1 or v2 where their files can be written,
a watchdog elsewhere, and none where there is no limit. ``GET /info`` names the one at work.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Mechanism = Literal["none", "cgroup v1", "cgroup v2", "watchdog"]


class MemoryLimit(Protocol):
    """What the supervisor asks of a mechanism. ``handle`` is that of a process of the sandbox."""

    mechanism: Mechanism
    limit_bytes: int | None

    def entering(self, handle: int) -> AbstractContextManager[list[str]]:
        """Prepare the calling thread to start one program under the limit, inside the context.

        Gives what has to stand before the program on its command line; mostly nothing.
        """

    def kills(self) -> Mapping[int, int]:
        """Count the OOM kills among each process and its children, of those that may have had any.

        A count is there before its victim is seen to have ended.
        """

    def kills_of(self, handle: int) -> int:
        """Count the OOM kills among one process and its children."""

    def leave(self, handle: int) -> None:
        """Let go of what was set up for a process that has ended."""

    def close(self) -> None:
        """Remove everything that was set up. The processes have been killed before."""


class NoLimit:
    """No limit was asked for: nothing is set up, and an OOM kill cannot be told from another."""

    mechanism: Mechanism = "none"
    limit_bytes: int | None = None

    def entering(self, handle: int) -> AbstractContextManager[list[str]]:  # noqa: ARG002
        """Prepare nothing."""
        return nullcontext([])

    def kills(self) -> Mapping[int, int]:
        """Know of none."""
        return {}

    def kills_of(self, handle: int) -> int:  # noqa: ARG002
        """Know of none."""
        return 0

    def leave(self, handle: int) -> None:
        """Have nothing to let go of."""

    def close(self) -> None:
        """Have nothing to remove."""


def limit_memory(limit_bytes: int | None, token: str, mechanism: Mechanism | None) -> MemoryLimit:
    """Set up a limit over all processes of the sandbox together, in bytes.

    ``token`` marks them (see ``tree``). ``mechanism`` insists on one; without it, the best that
    works here is taken. Raises OSError if the one insisted on does not work here.
    """
    if limit_bytes is None:
        return NoLimit()

    from pytest_tlsandbox.local.cgroups import CgroupV1, CgroupV2, own_groups
    from pytest_tlsandbox.local.watchdog import Watchdog

    ways: list[tuple[Mechanism, Callable[[], MemoryLimit]]] = []
    groups = own_groups()
    if groups.v1 is not None:
        ways.append(("cgroup v1", partial(CgroupV1, groups.v1, limit_bytes)))
    if groups.v2 is not None:
        ways.append(("cgroup v2", partial(CgroupV2, groups.v2, limit_bytes)))
    ways.append(("watchdog", partial(Watchdog, limit_bytes, token)))
    for name, set_up in ways:
        if mechanism in (None, name):
            with suppress(OSError):
                return set_up()
    raise OSError(f"{mechanism} cannot limit memory on this machine")
