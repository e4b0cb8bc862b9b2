"""The protocol ``Condition``, and the three results that a condition can have."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeAlias

from pytest_tlsandbox.history.snapshot import ProcessSnapshot
from pytest_tlsandbox.messages.explanation import Explanation
from pytest_tlsandbox.models import ProcessInfo

CORRECTION_TIME = 1.0
"""Settling time in seconds if an exit is uncertain, or a row vanished or cannot be read."""
SETTLING_TIME = 0.2
"""Settling time in seconds for a negative assertion while a checked process is alive."""


@dataclass(frozen=True)
class Met:
    """The condition is met.

    Attributes:
        value: the value that the helper returns.
        settling_time: the seconds for which the result must not change before it counts.
        key: a value that identifies the result; two results are the same if their types and keys
            are equal.
        longest_gap: the maximum time between two polls, in seconds; after a longer gap, the
            settling time starts again.
        unsettled: the explanation to use if the deadline passes before the settling time is over.

    """

    value: Any
    settling_time: float = 0.0
    key: Hashable = None
    longest_gap: float = math.inf
    unsettled: Explanation | None = None


@dataclass(frozen=True)
class Pending:
    """The condition may still be met.

    Attributes:
        explain: a function that returns the explanation to use if the deadline passes.
        until_end_of: the only process whose end can change the result; None if other processes can
            change it too.
        probes: whether the result can also change because of something that the condition probes,
            and that the list does not show.

    """

    explain: Callable[[], Explanation]
    until_end_of: ProcessInfo | None = None
    probes: bool = False
    settling_time: ClassVar[float] = 0.0
    key: ClassVar[Hashable] = None


@dataclass(frozen=True)
class Impossible:
    """The condition can no longer be met.

    Attributes:
        explanation: why the condition can no longer be met.
        settling_time: the seconds for which the result must not change before it counts.
        key: a value that identifies the result; two results are the same if their types and keys
            are equal.

    """

    explanation: Explanation
    settling_time: float = 0.0
    key: Hashable = None

    def explain(self) -> Explanation:
        """Return why the condition can no longer be met."""
        return self.explanation


Result: TypeAlias = Met | Pending | Impossible


class Condition(Protocol):
    """Evaluates a series of snapshots, and may keep state between them."""

    wanted: str
    """The expectation in words, for messages."""

    def evaluate(self, snapshot: ProcessSnapshot, /) -> Result:
        """Return the result for a snapshot."""
