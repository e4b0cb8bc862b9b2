"""What every mechanism of the memory limit does; the base class is the sandbox without a limit."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

Mechanism = Literal["none", "cgroup v1", "cgroup v2", "watchdog"]


class MemoryLimit:
    """No limit: nothing is set up, and an OOM kill cannot be distinguished from another SIGKILL.

    ``handle`` is the handle of a process of the sandbox.
    """

    mechanism: Mechanism = "none"

    def __init__(self, limit_bytes: int | None = None) -> None:
        self.limit_bytes = limit_bytes

    def entering(self, handle: int) -> AbstractContextManager[list[str]]:  # noqa: ARG002
        """Prepare the calling thread to start one program under the limit, inside the context.

        The context provides what has to stand before the program on its command line.
        """
        return nullcontext([])

    def kills(self) -> Mapping[int, int]:
        """Count the OOM kills among each process and its children, of those that may have had any.

        A count is there before its victim is seen to have ended.
        """
        return {}

    def kills_of(self, handle: int) -> int:  # noqa: ARG002
        """Count the OOM kills among one process and its children."""
        return 0

    def leave(self, handle: int) -> None:
        """Let go of what was set up for a process that has ended."""

    def close(self) -> None:
        """Remove everything that was set up. The processes have been killed before."""
