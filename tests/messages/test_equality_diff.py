"""Assertion messages show the differences between two processes or two snapshots."""

from __future__ import annotations

import pytest
from _pytest._io.wcwidth import wcswidth

from pytest_tlsandbox.messages.equality_diff import compare
from tests.support import T0, ended, managed, process, raw, signaled, snapshot


def told(left, right, columns=100) -> list[str]:
    lines = compare(left, right, columns)
    assert lines is not None
    return lines


# ----------------------------------------------------------------- two processes


def test_only_fields_that_differ_are_shown():
    assert told(process(41), process(41, **ended(3))) == [
        "train.py (pid 41) == train.py (pid 41)",
        "             left     right",
        "  ended_at   none     2024-03-09 16:00:09.000",
        "  exit_code  none     3",
        "  status     running  exited",
    ]


def test_process_comparison_uses_the_corrected_status():
    same = told(process(41, **ended(1)), process(41, **{**ended(1), "status": "completed"}))

    assert same[1:] == ["  no field differs"]


def test_fields_of_the_supervisor_are_compared_individually():
    last = {"exit_code": 1, "signal": None, "oom_killed": False, "ended_at": T0}
    left = process(7, managed=managed("web"))

    assert told(left, process(7, managed=managed("web", restart_count=2, last_exit=last)))[2:] == [
        "  managed.restart_count  0     2",
        "  managed.last_exit      none  exited 1",
    ]
    lines = told(left, process(7))
    assert {line.split()[0] for line in lines[2:]} >= {"name", "managed.status"}
    assert "id=" not in "".join(lines)  # the message does not show a repr


def test_failed_comparison_masks_secrets_in_the_arguments_of_both_processes():
    lines = told(
        process(41, args=("train.py", "--token", "abc")),
        process(41, args=("train.py", "--token=abc", "x")),
    )

    assert lines == [
        "train.py (pid 41) == train.py (pid 41)",
        "        left                            right",
        "  args  ['train.py', '--token', '***']  ['train.py', '--token=***', 'x']",
    ]


def test_arguments_that_differ_only_in_a_masked_secret_are_shown_as_different():
    lines = told(process(41, args=("x", "--token=abc")), process(41, args=("x", "--token=def")))

    assert len(lines) > 2
    left, _, right = lines[-1].partition("  args  ")[2].partition("]  ")
    assert left + "]" != right
    assert "abc" not in str(lines)
    assert "def" not in str(lines)


def test_long_or_hostile_values_are_escaped_and_truncated_to_the_terminal_width():
    left = process(41, command="\x1b[31m训练" * 50, args=("x" * 100_000,))
    right = process(41, command="שלום\n" * 50, args=("y" * 100_000,))

    for columns in (60, 80, 120):
        lines = told(left, right, columns)
        assert max(map(wcswidth, lines[1:])) <= columns
        assert all(map(str.isprintable, lines))
        assert lines[2].startswith(r"  args     ['xxx")
        assert lines[3].startswith(r"  command  \x1b[31m训练")


# ------------------------------------------------------------------ two snapshots


def test_comparison_of_snapshots_shows_added_and_removed_and_changed_processes():
    left = snapshot(raw(40, command="bash", args=("-lc", "./serve.sh")), raw(41), raw(42))
    right = snapshot(raw(41, **ended(1)), raw(42), raw(43, command="sleep", args=("60",)))

    assert told(left, right) == [
        "left == right, snapshots of my-sandbox differ: 1 changed, 1 only left, 1 only right",
        "only left:",
        "  pid 40  running  bash -lc ./serve.sh",
        "only right:",
        "  pid 43  running  sleep 60",
        "changed: train.py (pid 41)",
        "             left     right",
        "  ended_at   none     2024-03-09 16:00:09.000",
        "  exit_code  none     1",
        "  status     running  exited",
    ]


def test_comparison_of_snapshots_says_that_unreadable_rows_differ():
    assert told(snapshot(raw(41), {"pid": 9}), snapshot(raw(41))) == [
        "left == right, snapshots of my-sandbox differ: unreadable rows differ",
    ]


def test_comparison_of_snapshots_ignores_the_order_of_the_processes():
    rows = [raw(1), raw(2, started_at=T0 + 1000)]

    assert snapshot(*rows) == snapshot(*rows[::-1])


def test_comparison_of_snapshots_lists_at_most_20_processes():
    """The message must fit on one or two screens."""
    many = range(1, 201)
    left = snapshot(*(raw(pid) for pid in many))

    first, *lines = told(left, snapshot())
    assert first == "left == right, snapshots of my-sandbox differ: 200 only left"
    assert lines[21:] == ["  ... and 180 more"]
    assert len(told(left, snapshot(*(raw(pid, **signaled(9)) for pid in many)))) < 120


@pytest.mark.parametrize(
    ("left", "right"), [(process(41), snapshot()), (process(41), 41), (snapshot(), []), (1, 2)]
)
def test_comparison_of_other_objects_is_left_to_pytest(left, right):
    assert compare(left, right, 100) is None
