"""The stored messages of every kind of failure, and the rules for all of them."""

from __future__ import annotations

import functools
import re

import pytest
from _pytest._io.wcwidth import wcswidth

from pytest_tlsandbox import errors

from .shapes import FOLDER, MARGIN, SHAPES, VERBOSITIES, WIDTHS, failure, kept

AGAIN = "if it was changed on purpose: python -m tests.messages.shapes, and read what it wrote"
ALL_PROCESSES = re.compile(r"\n  all \d+ process(?:es)?(?:\n|\Z)")
# In this scope the tests of one shape run one after another, and render its messages once.
every_shape = pytest.mark.parametrize("name", SHAPES, scope="module")


@functools.cache
def messages(name: str) -> list[tuple[int, int, str]]:
    """Return the width, the verbosity and the message of a shape in every size."""
    return [
        (columns - MARGIN, verbosity, str(failure(SHAPES[name], columns, verbosity)))
        for columns in WIDTHS
        for verbosity in VERBOSITIES
    ]


def too_wide(lines: str, room: int) -> set[str]:
    """Return the lines that do not fit, except those with a single long word."""
    return {
        f"{wcswidth(line)} of {room}: {line}"
        for line in lines.splitlines()
        if wcswidth(line) > room and " " in re.sub(r"^ *(\w+  +)?", "", line)
    }


@every_shape
def test_each_failure_message_equals_its_stored_text(name):
    assert kept(name) == (FOLDER / f"{name}.txt").read_text("utf-8"), AGAIN


def test_every_stored_message_file_is_used_by_a_test():
    assert sorted(path.stem for path in FOLDER.iterdir()) == sorted(SHAPES), AGAIN


def test_every_error_class_that_a_check_can_raise_has_a_stored_message():
    # Calls that start or stop something, wrong URLs, settings and the guard raise these errors.
    others = {
        errors.ContractViolation,
        errors.GuardFailure,
        errors.SandboxNotFound,
        errors.InvalidArgument,
        errors.InvalidSetting,
        errors.LocalSandboxError,
    }
    kinds = {errors.TLSandboxError}
    while more := {sub for kind in kinds for sub in kind.__subclasses__()} - kinds:
        kinds |= more
    told = {kind for kind in kinds if not kind.__subclasses__()} | {errors.AssertionFailed}

    assert {type(failure(shape, 80, 0)) for shape in SHAPES.values()} == told - others


@every_shape
def test_first_line_of_a_message_contains_no_pid_and_is_the_same_at_every_terminal_width(name):
    """Short summaries, JUnit messages and annotations show it, and tools group failures by it."""
    first_lines = set()
    for _, _, message in messages(name):
        first, _, rest = message.partition("\n")
        assert first == first.strip()
        assert not rest or rest.startswith("\n  ")
        first_lines.add(first)
    assert len(first_lines) == 1
    first = first_lines.pop()
    assert not first.endswith((":", ","))
    assert not re.search(r"\bpid \d", first)


@every_shape
def test_all_lines_of_a_message_except_the_first_fit_the_terminal_width(name):
    wide = set()
    for room, _, message in messages(name):
        for part in ALL_PROCESSES.split(message.partition("\n")[2]):
            wide |= too_wide(part, room)
    assert not wide, "\n".join(sorted(wide))


@every_shape
def test_message_contains_only_printable_characters(name):
    for _, _, message in messages(name):
        odd = {char for char in message if not char.isprintable()} - {"\n"}
        assert not odd


@every_shape
def test_no_message_shows_a_secret(name):
    assert not [message for _, _, message in messages(name) if "abc" in message]


@every_shape
def test_message_is_never_shorter_at_higher_verbosity(name):
    sizes = [len(message.splitlines()) for _, _, message in messages(name)]
    half = len(VERBOSITIES)
    assert sizes[:half] == sorted(sizes[:half])
    assert sizes[half:] == sorted(sizes[half:])


@every_shape
def test_message_has_at_most_50_lines_at_the_default_verbosity(name):
    sizes = [len(text.splitlines()) for _, verbosity, text in messages(name) if verbosity == 0]
    assert max(sizes) <= 50
