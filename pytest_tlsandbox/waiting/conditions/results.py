"""The three answers a condition can give of one snapshot, and what they all can say."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from pytest_tlsandbox.errors import Inconclusive, ProcessNotFound, WaitTimedOut
from pytest_tlsandbox.formatting.states import describe_state
from pytest_tlsandbox.formatting.text import shorten
from pytest_tlsandbox.formatting.words import count, named
from pytest_tlsandbox.messages.failure import Explanation, Listed
from pytest_tlsandbox.redact import mask_text
from pytest_tlsandbox.waiting.suggestions import near_misses

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Hashable

    from pytest_tlsandbox.history.snapshot import ProcessSnapshot
    from pytest_tlsandbox.models import ProcessInfo
    from pytest_tlsandbox.waiting.selectors import Selection, Selector

SUCCESSOR_TIME = 2.0
"""Seconds in which another process may still come to be meant by text, once all have ended."""
CORRECTION_TIME = 1.0
"""Seconds for which a doubtful end, a vanished row or an unreadable one is looked at again."""
SETTLING_TIME = 0.2
"""Seconds for which a negative assertion looks again while anything in question is alive."""
MORE_MEMORY = (
    "more memory for the sandbox (memory_mb; of local, --tlsandbox-memory), or less for the process"
)
WHY_IT_ENDS = "what it wrote last says why it ends"
_REGEX_SYNTAX = re.compile(
    r"\\[dDwWsSbB.()\[\]]|\.[*+]|[\])][*+{]|\[\^?(?:a-z|A-Z|0-9)|\(\?[:=!<Pa-z]|^\^|\w\$$|\w\|\w"
)


@dataclass(frozen=True)
class Met:
    """It is so. ``unsettled`` is what to say where it did not stand for long enough."""

    value: Any
    stands_for: float = 0.0
    key: Hashable = None
    longest_gap: float | None = None
    """Seconds between two polls after which it has to stand anew; None: it need not be continuous."""
    unsettled: Explanation | None = None


@dataclass(frozen=True)
class Pending:
    """It may yet come. ``tell`` gives what to say if the deadline comes first."""

    tell: Callable[[], Explanation]


@dataclass(frozen=True)
class Impossible:
    """It cannot come any more."""

    finding: Explanation
    stands_for: float = 0.0
    key: Hashable = None


Verdict: TypeAlias = Met | Pending | Impossible


def finding_of(verdict: Pending | Impossible) -> Explanation:
    """Give what a verdict has to say."""
    return verdict.tell() if isinstance(verdict, Pending) else verdict.finding


class Condition(Protocol):
    """Judges one look."""

    wanted: str
    """What is asked for, in words."""

    def judge(self, snapshot: ProcessSnapshot, /) -> Verdict:
        """Give the verdict on a snapshot."""


class Listing:
    """Anything that was listed will do."""

    wanted = "a list of processes"

    def judge(self, snapshot: ProcessSnapshot) -> Verdict:
        """Give the verdict on a snapshot."""
        return Met(snapshot)


class Until:
    """A function of the user's gives something truthy."""

    def __init__(self, function: Callable[[ProcessSnapshot], Any]) -> None:
        self._function = function
        self._name = getattr(function, "__name__", type(function).__name__)
        self.wanted = f"{self._name} to be true"

    def judge(self, snapshot: ProcessSnapshot) -> Verdict:
        """Give the verdict on a snapshot. What the function raises is the user's own, and ends the wait."""
        value = self._function(snapshot)
        return Met(value) if value else Pending(lambda: self._never(value, snapshot))

    def _never(self, value: object, snapshot: ProcessSnapshot) -> Explanation:
        return Explanation(
            WaitTimedOut,
            f"Never true: {self._name}",
            remarks=(("last", f"it gave {value!r}"),),
            listed=tuple(Listed(row) for row in living_first(snapshot)),
            listed_as=f"of {count(len(snapshot), 'process')}",
            hint="a longer timeout=, if it only needs more time",
        )


def still(row: ProcessInfo) -> str:
    """Say that a process, or its supervisor, goes on."""
    state = row.managed.status if row.managed and row.ended else describe_state(row)
    return f"Still {state}: {named(row)}"


def not_found(selector: Selector, snapshot: ProcessSnapshot, selection: Selection) -> Explanation:
    """Say that no process is meant, and which were near."""
    near = near_misses(selector.process, snapshot, selection.older)
    unreadable = tuple(("unreadable", str(row)) for row in snapshot.unreadable[:3])
    return Explanation(
        ProcessNotFound,
        f"No process {selector.label} in {snapshot.sandbox}",
        because=f"{count(len(snapshot), 'process')} listed" if len(snapshot) else "none is listed",
        listed=tuple(Listed(miss.row, miss.why) for miss in near)
        or tuple(Listed(row) for row in living_first(snapshot)),
        listed_as="nearest" if near else "",
        remarks=unreadable,
        hint="since=None, if what ended before this test is meant"
        if selection.older
        else _where_it_is_looked_for(selector, next((miss.word for miss in near), "")),
    )


def _where_it_is_looked_for(selector: Selector, word: str) -> str:
    if isinstance(selector.process, int):
        return "a restarted process has another pid: mean it by text, or by its managed name"
    if selector.text is None:
        return "list_processes() prints all there is; a text finds a part of a command line"
    meant = f'"{shorten(mask_text(word), 60)}", if that was meant; ' if word else ""
    meant += regex_hint(selector.text)
    return f"{meant}a text is looked for in command and arguments, joined by one space"


def regex_hint(text: str) -> str:
    """Return what to try for a text that looks like a regular expression, before any other hint."""
    if not _REGEX_SYNTAX.search(text):
        return ""
    return (
        "re.compile(...): the text looks like a regular expression, but is searched for literally; "
    )


def living_first(snapshot: ProcessSnapshot) -> list[ProcessInfo]:
    """Order processes for one who looks for his own: the living first, the newest first."""
    newest_first = snapshot.processes[::-1]
    return sorted(newest_first, key=lambda row: row.ended)


def unreadable_rows(
    snapshot: ProcessSnapshot,
    baseline: ProcessSnapshot | None,
    pids: Container[int | None] | None = None,
) -> Impossible | None:
    """Refuse to say "nothing happened" over rows that cannot be read, but for those from before.

    ``pids``: only a row with one of these, or with a pid that cannot be read, is of interest.
    """
    known = {row.fingerprint for row in baseline.unreadable} if baseline is not None else set()
    rows = [
        row
        for row in snapshot.unreadable
        if row.fingerprint not in known and (pids is None or row.pid is None or row.pid in pids)
    ]
    if not rows:
        return None
    return Impossible(
        Explanation(
            Inconclusive,
            f"Not observed: {count(len(rows), 'row')} of {snapshot.sandbox} cannot be read",
            because="a process that cannot be read may be the one",
            remarks=tuple(("unreadable", str(row)) for row in rows[:5]),
            hint="a newer plugin, if the sandbox is newer; GET /api/v1/processes shows the row",
        ),
        stands_for=CORRECTION_TIME,
    )
