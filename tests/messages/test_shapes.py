"""The stored messages of every kind of failure, and the rules for all of them."""

import functools
import re
from itertools import chain

import pytest
from _pytest._io.wcwidth import wcswidth

from pytest_tlsandbox import errors

from .shapes import FOLDER, MARGIN, SHAPES, VERBOSITIES, WIDTHS, error_of, kept

AGAIN = "if it was changed on purpose: python -m tests.messages.shapes, and read what it wrote"
ALL_PROCESSES = re.compile(r"\n  all \d+ process(?:es)?(?:\n|\Z)")
# In this scope the tests of one shape run one after another, and render its messages once.
every_shape = pytest.mark.parametrize("name", SHAPES, scope="module")


@functools.cache
def messages(name: str) -> dict[int, list[str]]:
    """Return the messages of a shape at each terminal width, the least verbose first."""
    return {
        columns: [str(error_of(SHAPES[name], columns, verbosity)) for verbosity in VERBOSITIES]
        for columns in WIDTHS
    }


@every_shape
def test_each_failure_message_equals_its_stored_text(name):
    assert kept(name) == (FOLDER / f"{name}.txt").read_text("utf-8"), AGAIN


def test_every_stored_message_file_is_used_by_a_test():
    assert sorted(path.stem for path in FOLDER.iterdir()) == sorted(SHAPES), AGAIN


def test_every_error_class_that_a_check_can_raise_has_a_stored_message():
    # Calls that start or stop something, wrong URLs, settings and the guard raise these errors.
    others = {
        errors.ContractViolation, errors.GuardFailure, errors.InvalidArgument,
        errors.InvalidSetting, errors.LocalSandboxError, errors.SandboxNotFound,
    }  # fmt: skip
    kinds = {errors.TLSandboxError}
    while more := {sub for kind in kinds for sub in kind.__subclasses__()} - kinds:
        kinds |= more
    raised = {kind for kind in kinds if not kind.__subclasses__()} | {errors.AssertionFailed}

    assert {type(error_of(shape, 80, 0)) for shape in SHAPES.values()} == raised - others


@every_shape
def test_first_line_of_a_message_contains_no_pid_and_is_the_same_at_every_terminal_width(name):
    """Short summaries, JUnit messages and annotations show it, and tools group failures by it."""
    every_size = [*chain(*messages(name).values())]
    assert len({message.partition("\n")[0] for message in every_size}) == 1
    first, _, rest = every_size[0].partition("\n")
    assert first == first.strip()
    assert not first.endswith((":", ","))
    assert not re.search(r"\bpid \d", first)
    assert not rest or rest.startswith("\n  ")


@every_shape
def test_lines_after_the_first_fit_the_terminal_width_unless_a_single_word_is_longer(name):
    for columns, sizes in messages(name).items():
        for message in sizes:
            parts = ALL_PROCESSES.split(message.partition("\n")[2])
            lines = [line for part in parts for line in part.splitlines()]
            wide = [line for line in lines if wcswidth(line) > columns - MARGIN]
            assert not [line for line in wide if " " in re.sub(r"^ *(\w+  +)?", "", line)]


@every_shape
def test_message_contains_only_printable_characters_and_no_secret(name):
    for message in chain(*messages(name).values()):
        assert message.replace("\n", "").isprintable()
        assert "abc" not in message


@every_shape
def test_message_is_never_shorter_at_higher_verbosity_and_has_at_most_50_lines_by_default(name):
    for sizes in messages(name).values():
        lengths = [len(message.splitlines()) for message in sizes]
        assert lengths == sorted(lengths)
        assert lengths[[*VERBOSITIES].index(0)] <= 50
