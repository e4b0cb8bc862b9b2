"""Define the interface for memory limits. The base class does not limit memory."""

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

Mechanism = Literal["none", "cgroup v1", "cgroup v2", "watchdog"]


class MemoryLimit:
    """The base class of memory limits. The base class itself does not limit memory.

    Without a limit, an OOM kill looks like any other SIGKILL. In each method, the argument
    ``handle`` is the handle of a process in the sandbox.

    Attributes:
        mechanism: how the memory is limited.
        limit_bytes: the limit for all processes together, in bytes; None for no limit.

    """

    mechanism: Mechanism = "none"

    def __init__(self, limit_bytes: int | None = None) -> None:
        self.limit_bytes = limit_bytes

    def entering(self, handle: int) -> AbstractContextManager[list[str]]:  # noqa: ARG002
        """Return a context manager for starting one program under the limit.

        The calling thread must start the program in the ``with`` block. The context manager
        provides the arguments that must precede the program on its command line.
        """
        return nullcontext([])

    def kills_of(self, handle: int) -> int:  # noqa: ARG002
        """Return how many times a process or one of its children was OOM-killed.

        As soon as an OOM-killed process is seen as ended, the result includes this OOM kill.
        """
        return 0

    def kills(self) -> int | None:
        """Return the number of OOM kills in the sandbox, or None if nothing counts them."""
        return None

    def leave(self, handle: int) -> None:
        """Release the resources of a process that has ended."""

    def close(self) -> None:
        """Release all resources. The caller must kill all processes before calling this method."""
