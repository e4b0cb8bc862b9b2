"""Suggest how to fix the cause of a failure: hints, and near misses if no process matches."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from difflib import SequenceMatcher
from typing import NamedTuple

from pytest_tlsandbox import errors
from pytest_tlsandbox.formatting.processes import command_line
from pytest_tlsandbox.formatting.text import count, shorten
from pytest_tlsandbox.history.snapshot import ProcessSnapshot, living_first
from pytest_tlsandbox.messages.explanation import Explanation, Listed
from pytest_tlsandbox.models import ProcessInfo
from pytest_tlsandbox.redact import mask_text
from pytest_tlsandbox.waiting.selectors import Selection, Selector

MORE_MEMORY = "raise memory_mb of the sandbox if this memory use is expected"
RUN_AGAIN = "run the test again: sandboxes sometimes lose an exit code (a few in 1000)"
SEE_ROWS = (
    "update pytest-tlsandbox if the sandbox is newer; to see the row, send GET /api/v1/processes"
)
_HINTS: dict[type[errors.InfrastructureError], str] = {
    errors.AuthenticationFailed: "check that TENSORLAKE_API_KEY is valid and belongs to the project of the sandbox",
    errors.SandboxNotFound: "check the id or URL of the sandbox; it may have been terminated",
    errors.ContractViolation: "use the id or URL of a sandbox, not the URL of a console or a login page",
    errors.SandboxNotRunning: "start a new sandbox; this one may have reached its time limit",
    errors.SandboxReplaced: "check the time limit of the sandbox, and use a separate sandbox for each test run",
    errors.SandboxUnreachable: "check that the sandbox is running and not out of memory",
}
_HINTS_BY_LABEL = {
    "proxy": "check HTTPS_PROXY; to reach the sandbox without a proxy, add its host to NO_PROXY",
    "TLS": (
        "check the address and the clock of this machine; if your network replaces certificates, set "
        "REQUESTS_CA_BUNDLE to a file with its certificate"
    ),
    "404 LIFECYCLE_PATH_NOT_FOUND": (
        "pass this URL with --tlsandbox-proxy-url, and the id of the sandbox with --tlsandbox"
    ),
    "no such host": "check the id or URL of the sandbox, and the name server of this machine",
}
_RESUME = "resume the sandbox before the tests; if it is already resuming, pass a longer timeout="
_ALLOW = "add the host of the sandbox to allow_hosts of pytest-socket, which blocks the connection"
MORE_LOCAL_MEMORY = "raise --tlsandbox-memory if this memory use is expected"
_REGEX_SYNTAX = re.compile(
    r"\\[dDwWsSbB.()\[\]]|\.[*+]|[\])][*+{]|\[\^?(?:a-z|A-Z|0-9)|\(\?[:=!<Pa-z]|^\^|\w\$$|\w\|\w"
)
_MOST = 3
_LONGEST_WORD = 100
_MOST_WORDS = 100
_BLANKS_AND_QUOTES = re.compile(r"[\s\"']+")
_NUMBER = re.compile(r"\d+")


def after_a_crash(row: ProcessInfo) -> str:
    """Return a hint for a crashed process, or "" if there is no hint for its language."""
    python = "python" in row.command.rpartition("/")[2]
    return "use python -X faulthandler to see where the process crashed" if python else ""


def regex_hint(text: str) -> str:
    """Return a hint if a text looks like a regular expression, or "" otherwise."""
    if not _REGEX_SYNTAX.search(text):
        return ""
    return "use re.compile(...): the text looks like a regular expression, but is matched literally"


def hint_of(fault: errors.InfrastructureError) -> str:
    """Return how to fix the cause of an infrastructure error; "" if this is not known."""
    if fault.label in _HINTS_BY_LABEL:
        return _HINTS_BY_LABEL[fault.label]
    if isinstance(fault, errors.SandboxNotRunning) and fault.transient:
        return _RESUME
    if isinstance(fault, errors.SandboxUnreachable) and not fault.transient:
        # The request did not reach the sandbox, so the hint about its memory does not apply.
        return _ALLOW if fault.label.endswith("BlockedError") else ""
    return _HINTS.get(type(fault), "")


def not_found(selector: Selector, snapshot: ProcessSnapshot, selection: Selection) -> Explanation:
    """Return an explanation for a selector that matches no process.

    The explanation lists the matches that ended before the baseline. If there are no such matches,
    the explanation lists near misses.

    Args:
        selector: the selector that matched nothing.
        snapshot: the snapshot that was searched.
        selection: the result of the selector for the snapshot.

    """
    if selection.older:
        what = f"No process of this test matches {selector.label}"
        subject = f"{count(len(selection.older), 'matching process')} ended before the test began"
        hint = "start the process in this test, or pass since=None to match earlier processes too"
        listed = tuple(map(Listed, selection.older[-_MOST:]))
        error, title = errors.ProcessNotFound, "matching processes that ended before this test"
        return Explanation(error, what, subject, listed=listed, listed_as=title, hint=hint)
    near = near_misses(selector, snapshot)
    word = _suggestion(near)
    number = count(len(snapshot), "process")
    closest = "closest match" if len(near) == 1 else "closest matches"
    extent = f"{number} listed" if len(snapshot) else "nothing is listed"
    return Explanation(
        errors.ProcessNotFound,
        f"No process matches {selector.label}",
        f'did you mean "{shorten(word, 60)}"?' if word else "",
        because="" if near else extent,
        listed=tuple(Listed(miss.row, miss.why) for miss in near)
        or tuple(map(Listed, living_first(snapshot))),
        listed_as=f"{closest} ({number} in total)" if near else "",
        remarks=tuple(("unreadable", str(row)) for row in snapshot.unreadable[:3]),
        hint=_how_to_select(selector, word, snapshot),
    )


def _suggestion(near: Sequence[NearMiss]) -> str:
    """Return the word that the message suggests: the similar word in the best near miss.

    The result is empty if the best near miss contains no similar word, or if the similar word is a
    secret.
    """
    if not near:
        return ""
    row, word = near[0].row, near[0].word
    name = (row.managed and row.managed.name) or ""
    return word if word in f"{command_line(row)[0]} {mask_text(name)}" else ""


def _how_to_select(selector: Selector, word: str, snapshot: ProcessSnapshot) -> str:
    if isinstance(selector.process, int):
        return "select by text or managed name: a restarted process has a new pid"
    literally = regex_hint(selector.text or "")
    if word or literally:
        return literally
    if not len(snapshot):
        return "start the process first, or check that this is the right sandbox"
    return "select by a part of the command line: the command and its arguments, joined by spaces"


class NearMiss(NamedTuple):
    """A process that almost matches a selector.

    Attributes:
        row: the process.
        why: how the process differs, for the message.
        word: the word of the command line that is similar to the text; empty if no word is similar.
        rank: how much the process differs; 0 is the smallest difference.

    """

    row: ProcessInfo
    why: str
    word: str = ""
    rank: int = 0


def near_misses(selector: Selector, snapshot: ProcessSnapshot) -> list[NearMiss]:
    """Return up to three processes that almost match, the best match first.

    A living process comes before an ended process that is equally similar.
    """
    rows = reversed(snapshot.processes)
    near = [miss for row in rows if (miss := _compare(selector, row)) is not None]
    return sorted(near, key=lambda miss: (miss.rank, miss.row.ended))[:_MOST]


def _compare(selector: Selector, row: ProcessInfo) -> NearMiss | None:
    text = selector.text
    if selector.may_select_others and selector.fits(row):
        return NearMiss(row, "an earlier run, replaced by another run or deployment")
    if text is None:
        return None
    if text == str(row.pid):
        return NearMiss(row, f"has pid {text}: the number {text} matches it, text does not")
    line = row.command_line[: _LONGEST_WORD * _MOST_WORDS]
    if text.lower() in line.lower():
        return NearMiss(row, "upper and lower case differ")
    if (bare := _BLANKS_AND_QUOTES.sub("", text)) and bare in _BLANKS_AND_QUOTES.sub("", line):
        return NearMiss(row, "spaces or quotes differ")
    words = _NUMBER.sub("", text).strip()
    if words and words != text and _NUMBER.sub("0", text) in _NUMBER.sub("0", line):
        found = re.search(r"\d+".join(map(re.escape, _NUMBER.split(text))), line)
        return NearMiss(row, "same command, different number", found[0] if found else "", rank=1)
    letters, word = _nearest(text, _parts(line, len(text.split()), row))
    how = "two letters swapped?" if sorted(text) == sorted(word) else "similar spelling"
    return NearMiss(row, how, word, 1 + letters) if letters else None


def _parts(line: str, size: int, row: ProcessInfo) -> Iterator[str]:
    """Yield each sequence of ``size`` adjacent words of a command line.

    If the process is managed and has a name, also yield the name.
    """
    words = line.split()[:_MOST_WORDS]
    for start in range(len(words) - size + 1):
        part = " ".join(words[start : start + size])
        yield from {part, part.rpartition("/")[2]}
    if row.managed and row.managed.name:
        yield row.managed.name


def _nearest(text: str, candidates: Iterable[str]) -> tuple[int, str]:
    """Find the candidate that is most similar to a text.

    At most a third of the letters, and at most three letters, may differ.

    Returns:
        The number of letters in which the candidate differs from the text, and the candidate. If no
        candidate is similar enough, the result is 0 and an empty text.

    """
    allowed = min(len(text) // 3, 3) if len(text) <= _LONGEST_WORD else 0
    likely = [word for word in candidates if abs(len(word) - len(text)) <= allowed]
    near = [(_letters(text, word), word) for word in likely if allowed]
    return min((one for one in near if 0 < one[0] <= allowed), default=(0, ""))


def _letters(one: str, other: str) -> int:
    """Return the number of letters in which two texts differ.

    Two swapped letters count as one difference.
    """
    blocks = SequenceMatcher(None, one, other).get_matching_blocks()
    return max(len(one), len(other)) - sum(block.size for block in blocks)
