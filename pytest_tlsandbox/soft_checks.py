"""Soft checks, which are evaluated together on the same snapshots and reported in one error."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from pytest_tlsandbox.assertions import Assertions, Since
from pytest_tlsandbox.errors import InvalidArgument
from pytest_tlsandbox.history.snapshot import Fields, ProcessSnapshot
from pytest_tlsandbox.types import Pick
from pytest_tlsandbox.waiting.conditions.condition import Condition, Impossible, Met, Result
from pytest_tlsandbox.waiting.conditions.process_condition import ProcessCondition
from pytest_tlsandbox.waiting.selectors import Process

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack


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


class Soft(Assertions):
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

    def __init__(self, evaluate: Callable[[Together], object], *state: Any) -> None:
        super().__init__(*state)
        self._evaluate = evaluate
        self._checks: list[Check] | None = None

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

    def assert_process(
        self,
        /,
        process: Process,
        *,
        pick: Pick | None = None,
        since: Since = "test",
        **expected: Unpack[Fields],
    ) -> None:
        """Add a check: when the block ends, the fields of a process must have the expected values.

        Args:
            process: the process, selected by text, pid, compiled regex, process object, ``by(...)``
                or function.
            pick: the process to use if several match, "newest" or "oldest"; with None, the check
                fails in this case.
            since: which ended processes to ignore. Pass "test" to ignore processes that ended
                before the test began, or a snapshot to ignore processes that ended before the
                snapshot was taken. Pass None to consider all processes. The argument has no effect
                on a process that is selected by pid, handle or object.
            expected: at least one field with its expected value, such as ``exit_code=0``. To
                accept several values, pass a tuple, list, set or range. The fields are args,
                command, ended_at, exit_code, handle, managed, name, oom_killed, pid, signal,
                started_at, status and stdin_writable.

        Raises:
            InvalidArgument: an argument has the wrong type or value, or the call is outside the
                block.

        """
        condition = self._has_fields(process, expected, pick, since)
        self._check(condition, f"{condition.selector.label}: {condition.wanted}")

    def _check(self, condition: Condition, name: str = "") -> None:
        if self._checks is None:
            raise InvalidArgument(
                "soft(): a check was called outside the block; call each check inside the block `with "
                "tlsandbox.soft() as check:`, which evaluates all checks when the block ends"
            )
        self._checks.append((name or condition.wanted, _place_in_the_test(), condition))


def _place_in_the_test() -> str:
    frame = inspect.currentframe()
    while frame and frame.f_globals.get("__name__", "").partition(".")[0] == __package__:
        frame = frame.f_back
    return f"{os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno}" if frame else "?"
