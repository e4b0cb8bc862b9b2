"""Which processes came near where none was meant, and why."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_tlsandbox.history.snapshot import differences
from pytest_tlsandbox.waiting.selectors import By

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pytest_tlsandbox.history.snapshot import ProcessSnapshot
    from pytest_tlsandbox.models import ProcessInfo

_MOST = 3
_LONGEST_WORD = 100
_MOST_WORDS = 100
_EARLIER = "an earlier run; another run or deployment took its place"
_BLANKS_AND_QUOTES = re.compile(r"[\s\"']+")
_NUMBER = re.compile(r"\d+")


class Near(NamedTuple):
    """A process that may have been meant, why, and what it is called where only the spelling differs."""

    row: ProcessInfo
    why: str
    word: str = ""


def near_misses(
    process: Any, snapshot: ProcessSnapshot, older: Sequence[ProcessInfo]
) -> list[Near]:
    """Give the processes that may have been meant, the nearest first.

    ``older`` are those that fit, and had ended before the test.
    """
    near = [Near(row, "ended before this test; since=None sees it") for row in older[-_MOST:]]
    known = {row.identity for row in older}
    ranked = []
    for row in reversed(snapshot.processes):
        if row.identity not in known:
            rank, miss = _compare(process, row)
            if miss is not None:
                ranked.append((rank, miss))
    ranked.sort(key=lambda pair: pair[0])
    return near + [miss for _, miss in ranked[:_MOST]]


def _compare(process: Any, row: ProcessInfo) -> tuple[int, Near | None]:
    """Give how far off a process is, the nearest 0, and what it is near by, if it is near at all."""
    if isinstance(process, str):
        return _compare_text(process, row)
    if isinstance(process, int):
        return 0, Near(row, f"handle {process}; by(handle={process}) finds it") if (
            row.handle == process
        ) else None
    if isinstance(process, re.Pattern):
        return _compare_pattern(process, row)
    if isinstance(process, By):
        return _compare_fields(dict(process.fields), row)
    return 0, None


def _compare_text(text: str, row: ProcessInfo) -> tuple[int, Near | None]:
    if text == str(row.pid):
        return 0, Near(row, f"pid {text}; the number {text} finds it, text does not")
    line = row.command_line[: _LONGEST_WORD * _MOST_WORDS]
    if text in line or (row.managed is not None and row.managed.name == text):
        return 0, Near(row, _EARLIER)
    if text.lower() in line.lower():
        return 0, Near(row, "other upper and lower case")
    if (bare := _BLANKS_AND_QUOTES.sub("", text)) and bare in _BLANKS_AND_QUOTES.sub("", line):
        return 0, Near(row, "the same but for spaces or quotes")
    words = _NUMBER.sub("", text).strip()
    if words and words != text and _NUMBER.sub("0", text) in _NUMBER.sub("0", line):
        port = re.search(r"(?<![\d.])\d{4,5}(?![\d.])", text)
        return 1, Near(row, f"same command, other {'port' if port else 'number'}")
    distance, word = min(_distances(text, row), default=(_allowed(text) + 1, ""))
    if distance <= _allowed(text):
        return 1 + distance, Near(row, _how(text, word, distance), word)
    parts = text.split()
    if len(parts) > 1 and all(part in line for part in parts):
        return 5, Near(row, "has all of these words, not side by side")
    return 0, None


def _compare_pattern(pattern: re.Pattern[str], row: ProcessInfo) -> tuple[int, Near | None]:
    line = row.command_line
    if pattern.search(line):
        return 0, Near(row, _EARLIER)
    if pattern.pattern in line:
        return 0, Near(row, "has it as plain text; re.escape(...) takes it so")
    if re.compile(pattern.pattern, pattern.flags | re.IGNORECASE).search(line):
        return 0, Near(row, "other upper and lower case")
    return 0, None


def _compare_fields(wanted: dict[str, object], row: ProcessInfo) -> tuple[int, Near | None]:
    wrong = differences(row, wanted)
    if not wrong:
        return 0, Near(row, _EARLIER)
    for field in wrong:
        was, meant = wrong[field], wanted[field]
        if isinstance(was, str) and isinstance(meant, str):
            if was.rpartition("/")[2] == meant.rpartition("/")[2]:
                return len(wrong), Near(row, f"same {field}, other path")
            distance = _distance(meant, was, _allowed(meant))
            if distance <= _allowed(meant):
                return len(wrong) + distance, Near(row, f"{field}: {_how(meant, was, distance)}")
    if len(wrong) < len(wanted):
        return len(wrong), Near(row, f"same but for {' and '.join(wrong)}")
    return 0, None


def _distances(text: str, row: ProcessInfo) -> Iterator[tuple[int, str]]:
    """Compare a text with all runs of as many words in a command line, and with a managed name."""
    words = " ".join((row.command, *row.args))[: _LONGEST_WORD * _MOST_WORDS].split()[:_MOST_WORDS]
    size = max(len(text.split()), 1)
    for start in range(len(words) - size + 1):
        run = " ".join(words[start : start + size])
        for candidate in {run, run.rpartition("/")[2]}:
            yield _distance(text, candidate, _allowed(text)), candidate
    if row.managed and row.managed.name:
        yield _distance(text, row.managed.name, _allowed(text)), row.managed.name


def _allowed(text: str) -> int:
    """Count the letters that may differ: a third, three at most."""
    return min(len(text) // 3, 3) if len(text) <= _LONGEST_WORD else 0


def _distance(one: str, other: str, most: int) -> int:
    """Count the letters to change, add, drop or swap with a neighbour; more than ``most`` is no matter."""
    if abs(len(one) - len(other)) > most:
        return most + 1
    left, right = Counter(one), Counter(other)
    if (left - right).total() > most or (right - left).total() > most:
        return most + 1
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        before, last, row = row, before, [i]
        for j, b in enumerate(other, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (a != b))
            if i > 1 and j > 1 and a == other[j - 2] and b == one[i - 2]:
                cost = min(cost, last[j - 2] + 1)
            row.append(cost)
        if min(row) > most:
            return most + 1
    return row[-1]


def _how(text: str, word: str, distance: int) -> str:
    if distance > 1:
        return f"{'two' if distance == 2 else 'three'} letters differ?"
    if len(text) != len(word):
        return "one letter missing?" if len(text) < len(word) else "one letter too many?"
    return "two letters swapped?" if Counter(text) == Counter(word) else "one letter differs?"
