"""Assertion messages show the differences between two processes or two snapshots."""

import pytest
from _pytest._io.wcwidth import wcswidth

from pytest_tlsandbox.messages.equality_diff import compare
from tests.rows import T0, ended, managed, process, raw, signaled, snapshot

SUPERVISED = managed(None, restart_count=2, last_exit={"exit_code": 1, "ended_at": T0})


def args(*options):
    return {"args": ("train.py", *options)}


# fmt: off
DIFFERENCES = {
    "corrected status": (ended(1), ended(1) | {"status": "completed"}, ["  no field differs"]),
    "supervisor": ({"managed": managed(None)}, {"managed": SUPERVISED}, [
        "                         left  right",
        "  managed.restart_count  0     2",
        "  managed.last_exit      none  exited 1",
    ]),
    "secrets": (args("--token", "abc"), args("--token=abc", "x"), [
        "        left                            right",
        "  args  ['train.py', '--token', '***']  ['train.py', '--token=***', 'x']",
    ]),
    "another secret": (args("--token=abc"), args("--token=def"), [
        "        left                         right",
        "  args  ['train.py', '--token=***']  another, masked",
    ]),
}
# fmt: on


@pytest.mark.parametrize(("left", "right", "lines"), DIFFERENCES.values(), ids=DIFFERENCES)
def test_only_fields_that_differ_are_shown(left, right, lines):
    told = compare(process(**left), process(**right), 100)

    assert told == ["train.py (pid 41) == train.py (pid 41)", *lines]


def test_process_with_a_supervisor_differs_from_a_process_without_one_in_single_fields():
    lines = compare(process(managed=managed()), process(), 100)

    assert {line.split()[0] for line in lines[2:]} >= {"name", "managed.status"}
    assert "id=" not in "".join(lines)  # the message does not show a repr


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_long_or_hostile_values_are_escaped_and_truncated_to_the_terminal_width(columns):
    left = process(command="\x1b[31m训练" * 50, args=("x" * 100_000,))
    right = process(command="שלום\n" * 50, args=("y" * 100_000,))

    lines = compare(left, right, columns)

    assert max(map(wcswidth, lines[1:])) <= columns
    assert all(map(str.isprintable, lines))
    assert lines[2].startswith(r"  args     ['xxx")
    assert lines[3].startswith(r"  command  \x1b[31m训练")


# ------------------------------------------------------------------ two snapshots

DIFFER = "left == right, snapshots of my-sandbox differ:"


def test_comparison_of_snapshots_shows_added_and_removed_and_changed_processes():
    left = snapshot(raw(40, command="bash", args=("-lc", "./serve.sh")), raw(41), raw(42))
    right = snapshot(raw(41, **ended(3)), raw(42), raw(43, command="sleep", args=("60",)))

    assert compare(left, right, 100) == [
        f"{DIFFER} 1 changed, 1 only left, 1 only right",
        "only left:",
        "  pid 40  running  bash -lc ./serve.sh",
        "only right:",
        "  pid 43  running  sleep 60",
        "changed: train.py (pid 41)",
        "             left     right",
        "  ended_at   none     2024-03-09 16:00:09.000",
        "  exit_code  none     3",
        "  status     running  exited",
    ]


def test_comparison_of_snapshots_says_that_unreadable_rows_differ():
    unreadable = snapshot(raw(41), {"pid": 9})
    assert compare(unreadable, snapshot(raw(41)), 100) == [f"{DIFFER} unreadable rows differ"]


def test_comparison_of_snapshots_lists_at_most_20_processes():
    """The message must fit on one or two screens."""
    left, right = (snapshot(*(raw(pid, **end) for pid in range(200))) for end in ({}, signaled(9)))

    first, *lines = compare(left, snapshot(), 100)
    assert first == f"{DIFFER} 200 only left"
    assert lines[21:] == ["  ... and 180 more"]
    assert len(compare(left, right, 100)) < 120


OTHERS = [(process(), snapshot()), (process(), 41), (snapshot(), []), (1, 2)]


@pytest.mark.parametrize(("left", "right"), OTHERS)
def test_comparison_of_other_objects_is_left_to_pytest(left, right):
    assert compare(left, right, 100) is None
