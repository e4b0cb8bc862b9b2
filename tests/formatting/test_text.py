"""Text is escaped, measured, cut and wrapped for a terminal."""

import random

import pytest
from _pytest._io.wcwidth import wcswidth

from pytest_tlsandbox.formatting.text import (
    align,
    cut,
    fold,
    printable,
    shorten,
    width,
    wrap,
)

E_ACUTE = "e\u0301"


ESCAPED = [
    ("", ""), ("python train.py", "python train.py"), ("résumé 训练", "résumé 训练"),
    (E_ACUTE, E_ACUTE), ("back\\slash", "back\\slash"), ("\x00\x7f\x9b", r"\x00\x7f\x9b"),
    ("two\nlines\r\tand a tab", r"two\nlines\r\tand a tab"),
    ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"), ("\u202egnp.exe", r"\u202egnp.exe"),
    ("\u2028\u2029\u00a0\ufeff", r"\u2028\u2029\xa0\ufeff"), ("\udcff", r"\udcff"),
    ("\U000e0001", r"\U000e0001"), ("שלום", "שלום"), ("مرحبا 1", "مرحبا 1"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), ESCAPED)
def test_control_characters_and_text_direction_overrides_are_escaped(text, expected):
    assert printable(text) == expected


def test_columns_are_aligned_even_with_wide_or_combining_or_right_to_left_characters():
    wide, accented = ("训练", "0", "x"), (E_ACUTE, "训", "שלום")

    assert align([("", "wanted", "was"), wide, accented, ("a", "", "")]) == [
        "      wanted  was",
        "训练  0       x",
        f"{E_ACUTE}     训      שלום",
        "a",
    ]
    assert align([]) == []


CUT = [
    ("", 10, ""), ("0123456789", -3, "0… +9"), ("0123456789", 4, "0… +9"),
    ("0123456789", 10, "0123456789"), ("0123456789a", 10, "01234… +6"),
    ("x" * 1000, 20, "x" * 13 + "… +987"), ("训" * 6, 12, "训" * 6),
    ("训" * 7, 12, "训训训训… +3"), ("训" * 7, 13, "训训训训… +3"),
    (E_ACUTE * 10, 10, E_ACUTE * 10), (E_ACUTE * 11, 10, E_ACUTE * 5 + "… +12"),
    ("\x1b[31m" * 2, 18, r"\x1b[31m\x1b[31m"), ("\x1b[31m" * 3, 20, r"\x1b[31m\x1b[31" + "… +6"),
    ("שלום" * 3, 10, "שלוםש… +7"), ("\udcff" * 3, 12, r"\udcff… +2"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "columns", "expected"), CUT)
def test_truncated_text_ends_with_the_number_of_omitted_characters(text, columns, expected):
    assert cut(text, columns) == expected
    assert width(expected) <= max(columns, 5)


def test_count_of_omitted_characters_includes_those_that_the_caller_omitted():
    assert cut("0123456789", 20, beyond=100_000) == "0123456789… +100000"
    assert cut("0123456789", 16, beyond=100_000) == "0123456… +100003"
    assert fold("0123456789" * 2, 10, 3, beyond=5) == ["0123456789", "01234… +10"]


SHORTENED = [
    ("gunicorn", 8, "gunicorn"), ("gunicorn", 7, "gunico…"), ("训练脚本", 7, "训练脚…"),
    ("训练脚本", 6, "训练…"), (E_ACUTE * 4, 3, E_ACUTE * 2 + "…"), ("a\nb", 10, r"a\nb"), ("", 3, ""),
]  # fmt: skip


@pytest.mark.parametrize(("text", "columns", "expected"), SHORTENED)
def test_long_name_is_shortened_to_the_given_width(text, columns, expected):
    assert shorten(text, columns) == expected
    assert width(expected) <= columns


FOLDED = [
    ("", 3, [""]), ("0123456789", 3, ["0123456789"]), ("0123456789a", 3, ["0123456789", "a"]),
    ("one two three", 3, ["one two ", "three"]), ("a 0123456789", 3, ["a 01234567", "89"]),
    ("0123456789" * 3, 3, ["0123456789"] * 3), ("0123456789abcdef", 1, ["01234… +11"]),
    ("a" + "训" * 7, 3, ["a" + "训" * 4, "训" * 3]),
    ("\x1b[31mred and more", 3, [r"\x1b[31mre", "d and more"]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "most", "expected"), FOLDED)
def test_command_line_is_wrapped_between_words_if_possible(text, most, expected):
    assert fold(text, 10, most) == expected


WRAPPED = [
    ("", [""]), ("it has ended", ["it has", "ended"]), ("0123456789 ab", ["0123456789", "ab"]),
    ("a 0123456789ab c", ["a", "0123456789ab", "c"]), ("a\nb c\td", [r"a\nb c\td"]),
    ("训练 脚本 文件", ["训练 脚本", "文件"]), ("שלום שלום שלום", ["שלום שלום", "שלום"]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), WRAPPED)
def test_prose_is_wrapped_only_between_words(text, expected):
    assert wrap(text, 10) == expected


def test_text_beyond_the_last_allowed_line_is_truncated():
    assert wrap("word " * 100, 20, most=2) == ["word word word word", "word word word… +466"]


ALPHABET = [*"ab -\n\x1b训éשع\u202e🙂\udcff…\uff46", E_ACUTE, "กำ"]


def mixed_texts():
    dice = random.Random(7)
    for _ in range(500):
        yield "".join(dice.choices(ALPHABET, k=dice.randrange(80))), dice.randrange(14, 50)


def test_formatted_text_fits_the_width_and_states_how_many_characters_it_omits():
    # wcswidth is how pytest measures the width of a text.
    for text, columns in mixed_texts():
        whole = printable(text)
        assert all(char.isprintable() for char in whole)
        assert width(whole) == wcswidth(whole)

        head, _, left_out = cut(text, columns).partition("… +")
        assert wcswidth(cut(text, columns)) <= columns
        assert whole.startswith(head)
        rest = text[len(text) - int(left_out or 0) :]
        assert head + printable(rest) == whole

        lines = fold(text, columns, 1000)
        assert "".join(lines) == whole
        assert all(wcswidth(line) <= columns for line in lines)

        assert wcswidth(shorten(text, columns)) <= columns
