"""Define the interface of the memory limit; the base class sets no limit."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

Mechanism = Literal["none", "cgroup v1", "cgroup v2", "watchdog"]


class MemoryLimit:
    """No limit: nothing is set up, and an OOM kill looks like any other SIGKILL.

    Subclasses set a limit. ``handle`` is the handle of a process of the sandbox.

    Attributes:
        mechanism: how the memory is limited.
        limit_bytes: the limit for all processes together, in bytes; None for no limit.

    """

    mechanism: Mechanism = "none"

    def __init__(self, limit_bytes: int | None = None) -> None:
        self.limit_bytes = limit_bytes

    def entering(self, handle: int) -> AbstractContextManager[list[str]]:  # noqa: ARG002
        """Return a context in which the calling thread starts one program under the limit.

        The context provides the arguments that must precede the program on its command line.
        """
        return nullcontext([])

    def kills(self) -> Mapping[int, int]:
        """Return the number of OOM kills among each process and its children, by handle.

        Processes without new kills may be missing. The kill of a process is counted before its end
        becomes visible.
        """
        return {}

    def kills_of(self, handle: int) -> int:  # noqa: ARG002
        """Return the number of OOM kills among a process and its children."""
        return 0

    def leave(self, handle: int) -> None:
        """Release what was set up for a process that has ended."""

    def close(self) -> None:
        """Remove everything that was set up; all processes must have been killed before."""
