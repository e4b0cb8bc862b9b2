"""Near misses: which processes are suggested, why, and in which order."""

import re

import pytest

from pytest_tlsandbox import by
from pytest_tlsandbox.history.history import History
from pytest_tlsandbox.waiting.selectors import Selector
from pytest_tlsandbox.waiting.suggestions import near_misses
from tests.rows import T0, ended, managed, raw, snapshot


def near(meant, *rows) -> list[tuple[int, str, str]]:
    """Return the pid, the difference and the similar word of each near miss."""
    found = near_misses(Selector(meant, History(lambda: 0.0)), snapshot(*rows))
    return [(miss.row.pid, miss.why, miss.word) for miss in found]


def of_line(line, **fields):
    command, *args = line.split()
    return raw(1, command=command, args=args, handle=7, **fields)


SWAPPED, SIMILAR = "two letters swapped?", "similar spelling"
CASE, BLANKS = "upper and lower case differ", "spaces or quotes differ"
NUMBER = "same command, different number"
EARLIER = "an earlier run, replaced by another run or deployment"


SUGGESTED = [
    ("TRAIN.py", "python train.py", CASE, ""),
    ("train.py  --lr", "python train.py --lr", BLANKS, ""),
    ("sh -c 'exit 1'", "sh -c exit 1", BLANKS, ""),
    ("http.server 8080", "python -m http.server 8081", NUMBER, "http.server 8081"),
    ("--port=80801", "web --port=8080", NUMBER, "--port=8080"),
    ("worker.py 3", "python worker.py 12", NUMBER, "worker.py 12"),
    ("worker-3.log", "tail -f worker-4.log", NUMBER, "worker-4.log"),
    ("trian.py", "python train.py", SWAPPED, "train.py"),
    ("trin.py", "python train.py", SIMILAR, "train.py"),
    ("traain.py", "python train.py", SIMILAR, "train.py"),
    ("traim.py", "python train.py", SIMILAR, "train.py"),
    ("tranin.pyx", "python train.py", SIMILAR, "train.py"),
    ("checkpointer", "checkpoinXYZ", SIMILAR, "checkpoinXYZ"),
    ("serve.hs", "bash ./serve.sh", SWAPPED, "serve.sh"),
    ("ngnix", "/usr/sbin/nginx -g", SWAPPED, "nginx"),
    ("http.sever 80", "python -m http.server 80", SIMILAR, "http.server 80"),
    ("trian.py", "python" + " x" * 50 + " train.py", SWAPPED, "train.py"),
    ("wbe-server", "gunicorn", SWAPPED, "web-server"),
    ("1", "sh", "has pid 1: the number 1 matches it, text does not", ""),
    *((meant, "train.py", EARLIER, "") for meant in (
        "train.py", "web-server", re.compile("train"), by(name="web-server"))),
]  # fmt: skip


@pytest.mark.parametrize(("meant", "line", "reason", "word"), SUGGESTED)
def test_process_with_a_similar_command_line_or_name_is_suggested(meant, line, reason, word):
    named = reason == EARLIER or word == "web-server"
    row = of_line(line, **({"managed": managed("web-server")} if named else {}))
    assert near(meant, row) == [(1, reason, word)]


DIFFERENT = [
    ("postgres", "python train.py"), ("sh", "ls"), ("8080", "python3 train.py"),
    (lambda row: False, "python"), (by(command="pyhton"), "python"), ("ab", "ba"),
    ("train.py", "python"), ("one two", "one three"), ("x" * 101, "x" * 100 + "y"),
    ("a" * 8, "b" * 8), ("trian.py", "python" + " x" * 100 + " train.py"),
    (re.compile("^server"), "./server"), (8, "sh"),
]  # fmt: skip


@pytest.mark.parametrize(("meant", "line"), DIFFERENT)
def test_process_with_a_very_different_command_line_is_not_suggested(meant, line):
    assert near(meant, of_line(line)) == []


def test_at_most_three_suggestions_are_returned_and_the_best_comes_first():
    names = ["tranin.pyx", "Train.py", "trani.py", "tranie.pyxx", "something else"]
    rows = [raw(pid, command=name, args=()) for pid, name in enumerate(names, 1)]

    assert [pid for pid, _, _ in near("train.py", *rows)] == [2, 3, 1]


def test_living_and_newer_processes_come_first_among_equally_similar_processes():
    rows = [raw(pid, started_at=T0 + pid, **(ended() if pid == 4 else {})) for pid in range(1, 5)]

    assert [pid for pid, _, _ in near("trian.py", *rows)] == [3, 2, 1]
    assert [pid for pid, _, _ in near("trian.py", *rows[2:])] == [3, 4]
