"""Soft checks, which are evaluated together on the same snapshots and reported in one error."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from pytest_tlsandbox.assertions import Assertions
from pytest_tlsandbox.errors import InvalidArgument
from pytest_tlsandbox.history.snapshot import ProcessSnapshot
from pytest_tlsandbox.waiting.conditions.process_condition import ProcessCondition
from pytest_tlsandbox.waiting.results import Condition, Impossible, Met, Result

if TYPE_CHECKING:
    from typing_extensions import Self


Check: TypeAlias = "tuple[str, str, Condition]"
"""What a check expects, in words; its line in the test, such as "test_jobs.py:12"; its condition."""


class Together:
    """A condition that is met if all conditions of a ``soft()`` block are met on the same snapshot.

    Args:
        checks: the checks.

    Attributes:
        results: the name, the place and the result of each check for the last snapshot.
        wanted: what all checks together expect, in words.

    """

    def __init__(self, checks: list[Check]) -> None:
        self._checks = checks
        self.results: list[tuple[str, str, Result]] = []
        self.wanted = " and ".join(condition.wanted for *_, condition in checks)

    def evaluate(self, snapshot: ProcessSnapshot) -> Result:
        """Evaluate all conditions on one snapshot.

        The result is ``Met`` or ``Impossible``. ``Impossible`` contains the explanation of the
        first condition that is not met. The settling time of the result is the longest settling
        time of all conditions.

        Args:
            snapshot: the snapshot to evaluate.

        Returns:
            The result of all conditions together. If all conditions are met, the value of this
            result is the list of the conditions' values.

        """
        self.results = [
            (name, place, condition.evaluate(snapshot)) for name, place, condition in self._checks
        ]
        results = [result for *_, result in self.results]
        settling_time = max(result.settling_time for result in results)
        key = tuple((type(result), result.key) for result in results)
        values = []
        for result in results:
            if not isinstance(result, Met):
                return Impossible(result.explain(), settling_time, key)
            values.append(result.value)
        return Met(values, settling_time, key)

    def declare(self, values: list[Any]) -> None:
        """Record which incidents the checks expect, so that the guard does not report them."""
        for (*_, condition), value in zip(self._checks, values, strict=True):
            if isinstance(condition, ProcessCondition):
                condition.declare(value)


@dataclass(eq=False, repr=False)
class Soft(Assertions[None]):
    """Collects checks in a ``with`` block and evaluates them together when the block ends.

    ``Sandbox.soft()`` returns an object of this class. In the block, each assertion only records
    its check and returns None. When the block ends, all checks are evaluated on the same
    snapshots::

        with tlsandbox.soft() as check:
            check.assert_process("train.py", exit_code=0)
            check.assert_no_oom()

    If the code in the block raises an error, that error propagates, and no check is evaluated.

    Raises:
        ChecksFailed: at the end of the block, if at least one check failed. The attribute
            ``failures`` lists the errors that the failed checks would have raised outside a block.
        InfrastructureError: the processes could not be listed at the end of the block, or every
            failed check is inconclusive.
        InvalidArgument: the block contains no check, or a check is called outside a block. If an
            argument is invalid, a check raises this error at once.

    """

    _evaluate: Callable[[Together], object]
    _checks: list[Check] | None = field(default=None, init=False)

    def __enter__(self) -> Self:
        self._checks = []
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        checks, self._checks = self._checks, None
        if error is not None:
            return
        if not checks:
            raise InvalidArgument(
                "soft(): the block contains no check; write `with tlsandbox.soft() as check:`, and call "
                "check.assert_process(...) in the block"
            )
        self._evaluate(Together(checks))

    def _check(self, condition: Condition) -> None:
        if self._checks is None:
            raise InvalidArgument(
                "soft(): a check was called outside the block; call each check inside the block `with "
                "tlsandbox.soft() as check:`, which evaluates all checks when the block ends"
            )
        name = condition.wanted
        if isinstance(condition, ProcessCondition):
            name = f"{condition.selector.label}: {name}"
        self._checks.append((name, _place_in_the_test(), condition))


def _place_in_the_test() -> str:
    frame = inspect.currentframe()
    while frame and frame.f_globals.get("__name__", "").partition(".")[0] == __package__:
        frame = frame.f_back
    return f"{os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno}" if frame else "?"
