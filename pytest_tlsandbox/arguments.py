"""Checks of what a helper was called with; each error says what is allowed."""

from __future__ import annotations

import difflib
import math
from typing import TYPE_CHECKING

from pytest_tlsandbox.errors import InvalidArgument
from pytest_tlsandbox.status import STATUSES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_tlsandbox.conditions.one import Pick


def check_statuses(status: str | Iterable[str]) -> tuple[str, ...]:
    """Give one or several statuses as a tuple.

    Raises:
        InvalidArgument: a word is no status; the message suggests the nearest.

    """
    statuses = (status,) if isinstance(status, str) else tuple(status)
    for word in statuses:
        if word not in STATUSES:
            near = difflib.get_close_matches(str(word), STATUSES, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise InvalidArgument(f"status: {word!r} is none of {', '.join(STATUSES)}{hint}")
    if not statuses:
        raise InvalidArgument(f"status: give one or several of {', '.join(STATUSES)}")
    return statuses


def check_seconds(name: str, value: object) -> float:
    """Give a time in seconds, from 0 up."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidArgument(f"{name}: {value!r} is no number of seconds")
    if not 0 <= value < math.inf:
        raise InvalidArgument(f"{name}: {value!r} is no time; give seconds from 0 up")
    return float(value)


def check_codes(exit_code: int | Iterable[int] | None) -> tuple[int, ...] | None:
    """Give one or several exit codes as a tuple; None stands for any."""
    if exit_code is None:
        return None
    codes = (exit_code,) if isinstance(exit_code, int) else tuple(exit_code)
    for code in codes:
        if isinstance(code, bool) or not isinstance(code, int) or not 0 <= code <= 255:
            raise InvalidArgument(
                f"exit_code: {code!r} is no exit code (0 to 255); an end by a signal is "
                'wait_for_process(process, status="signaled")'
            )
    if not codes:
        raise InvalidArgument("exit_code: give one, several, or None for any")
    return codes


def check_pick(pick: Pick | None) -> Pick | None:
    """Give which of several processes is meant."""
    if pick not in (None, "newest", "oldest"):
        raise InvalidArgument(f'pick: {pick!r} is neither "newest" nor "oldest"')
    return pick
