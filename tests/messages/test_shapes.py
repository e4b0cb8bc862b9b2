"""What every kind of failure says: whole, and what holds for all of them."""

from __future__ import annotations

import functools
import re

import pytest
from _pytest._io.wcwidth import wcswidth

from pytest_tlsandbox import errors

from .shapes import FOLDER, MARGIN, SHAPES, VERBOSITIES, WIDTHS, failure, kept

AGAIN = "if it was changed on purpose: python -m tests.messages.shapes, and read what it wrote"
LEFT_TO_RIGHT_MARK = "\u200e"
ALL_PROCESSES = re.compile(r"\n  all \d+ process(?:es)?(?:\n|\Z)")
every_shape = pytest.mark.parametrize("name", SHAPES)


@functools.cache
def messages(name: str) -> list[tuple[int, int, str]]:
    """Give what a shape says in each size, with the columns there are and the verbosity."""
    return [
        (columns - MARGIN, verbosity, str(failure(SHAPES[name], columns, verbosity)))
        for columns in WIDTHS
        for verbosity in VERBOSITIES
    ]


def too_wide(lines: str, room: int) -> set[str]:
    """Give the lines that do not fit, but for a single word that would not be read when broken."""
    lines = lines.replace(LEFT_TO_RIGHT_MARK, "")
    return {
        f"{wcswidth(line)} of {room}: {line}"
        for line in lines.splitlines()
        if wcswidth(line) > room and " " in re.sub(r"^ *(\w+  +)?", "", line)
    }


@every_shape
def test_a_failure_says_what_it_said_before(name):
    assert kept(name) == (FOLDER / f"{name}.txt").read_text("utf-8"), AGAIN


def test_every_text_that_is_kept_is_that_of_a_shape():
    assert sorted(path.stem for path in FOLDER.iterdir()) == sorted(SHAPES), AGAIN


def test_there_is_a_shape_for_every_error_that_a_check_can_end_with():
    # These come of a call that arranges, of a wrong URL, before anything is asked for, or of the guard.
    others = {
        errors.ContractViolation,
        errors.GuardFailure,
        errors.RequestRefused,
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
def test_the_first_line_stands_alone(name):
    """It is all that a short summary, a JUnit message or an annotation shows."""
    first_lines = set()
    for _, _, message in messages(name):
        verdict, gap, rest = message.split("\n", 2)
        assert verdict == verdict.strip()
        assert not gap
        assert rest.startswith("  ")
        first_lines.add(verdict)
    assert len(first_lines) == 1
    assert not first_lines.pop().endswith((":", ","))


@every_shape
def test_no_line_but_the_headline_is_wider_than_the_terminal(name):
    wide = set()
    for room, _, message in messages(name):
        for part in ALL_PROCESSES.split(message.partition("\n")[2]):
            wide |= too_wide(part, room)
    assert not wide, "\n".join(sorted(wide))


@every_shape
def test_a_message_says_what_to_try_at_its_end(name):
    """Before the table of all processes; where several checks failed, with each of them."""
    mute = set()
    for _, _, message in messages(name):
        told = ALL_PROCESSES.split(message)[0]
        if re.match(r"\d+ of \d+ checks failed", told):
            parts = re.split(r"\n(?=  \d+  )|\n  passed  ", told)[1:]
            parts = [part for part in parts if re.match(r"  \d+  ", part)]
            mute |= {part for part in parts if not re.search(r"\n +try  +\S", part)}
        elif not re.search(r"\n  try  +\S.*(?:\n {7,}\S.*)*\Z", told):
            mute.add(told)
    assert not mute, "\n".join(mute)


@every_shape
def test_no_character_moves_the_cursor_or_turns_the_line(name):
    for _, _, message in messages(name):
        odd = {char for char in message if not char.isprintable()} - {"\n", LEFT_TO_RIGHT_MARK}
        assert not odd


@every_shape
def test_no_secret_is_shown(name):
    assert not [message for _, _, message in messages(name) if "abc" in message]


@every_shape
def test_more_verbose_is_never_shorter(name):
    sizes = [len(message.splitlines()) for _, _, message in messages(name)]
    half = len(VERBOSITIES)
    assert sizes[:half] == sorted(sizes[:half])
    assert sizes[half:] == sorted(sizes[half:])


def test_at_the_default_size_no_message_has_more_than_50_lines():
    sizes = {
        name: len(message.splitlines())
        for name in SHAPES
        for _, verbosity, message in messages(name)
        if verbosity == 0
    }
    assert {name: size for name, size in sizes.items() if size > 50} == {}
