"""Near misses: which processes are suggested, why, and in which order."""

from __future__ import annotations

import re
import time

import pytest

from pytest_tlsandbox import by
from pytest_tlsandbox.waiting.suggestions import near_misses
from tests.support import T0, ended, managed, process, raw, snapshot


def near(meant, *rows, older=()) -> list[tuple[int, str]]:
    return [(miss.row.pid, miss.why) for miss in near_misses(meant, snapshot(*rows), older)]


def why(meant, command="python", args=(), **fields) -> str | None:
    """Return why the only listed process is a near miss; None if it is not."""
    found = near(meant, raw(1, command=command, args=args, **fields))
    return found[0][1] if found else None


# ------------------------------------------------------------------------ by text


@pytest.mark.parametrize(
    ("text", "command", "args", "reason"),
    [
        ("Train.py", "python", ("train.py",), "upper and lower case differ"),
        ("TRAIN.PY", "python", ("train.py",), "upper and lower case differ"),
        ("train.py  --lr", "python", ("train.py", "--lr"), "spaces or quotes differ"),
        ("sh -c 'exit 1'", "sh", ("-c", "exit 1"), "spaces or quotes differ"),
        (
            "http.server 8080",
            "python",
            ("-m", "http.server", "8081"),
            "same command, different port",
        ),
        ("--port=80801", "web", ("--port=8080",), "same command, different port"),
        ("worker.py 3", "python", ("worker.py", "12"), "same command, different number"),
        ("worker-3.log", "tail", ("-f", "worker-4.log"), "same command, different number"),
        ("trian.py", "python", ("train.py",), "two letters swapped?"),
        ("trin.py", "python", ("train.py",), "one letter missing?"),
        ("traain.py", "python", ("train.py",), "one letter too many?"),
        ("traim.py", "python", ("train.py",), "one letter differs?"),
        ("tranin.pyx", "python", ("train.py",), "two letters differ?"),
        ("checkpointer", "checkpoinXYZ", (), "three letters differ?"),
        ("serve.hs", "bash", ("./serve.sh",), "two letters swapped?"),
        ("ngnix", "/usr/sbin/nginx", ("-g", "daemon off;"), "two letters swapped?"),
        ("http.sever 80", "python", ("-m", "http.server", "80"), "one letter missing?"),
        ("train.py 0.1", "python", ("train.py", "--lr", "0.1"), "contains these words"),
    ],
)
def test_process_with_a_slightly_different_command_line_is_suggested(text, command, args, reason):
    assert (why(text, command, args) or "none").startswith(reason)


@pytest.mark.parametrize(
    ("text", "command", "args"),
    [
        ("postgres", "python", ("train.py",)),
        ("sh", "ls", ()),
        ("8080", "python3", ("train.py",)),
        (lambda row: False, "python", ()),
        ("ab", "ba", ()),
        ("train.py", "python", ()),
        ("one two", "one", ("three",)),
        ("x" * 101, "x" * 100 + "y", ()),
        ("a" * 8, "b" * 8, ()),
    ],
)
def test_process_with_a_very_different_command_line_is_not_suggested(text, command, args):
    assert why(text, command, args) is None


def test_process_is_suggested_if_its_pid_is_given_as_text():
    assert near("41", raw(4), raw(41), raw(141)) == [
        (41, "has pid 41: the number 41 matches it, text does not")
    ]


def test_suggestion_for_a_misspelt_text_selector_shows_the_correct_spelling():
    [miss] = near_misses("http.sever 80", snapshot(raw(1, args=("-m", "http.server", "80"))), ())
    assert miss.word == "http.server 80"

    [miss] = near_misses("serve.hs", snapshot(raw(1, command="bash", args=("./serve.sh",))), ())
    assert miss.word == "serve.sh"

    [miss] = near_misses("Train.py", snapshot(raw(1)), ())
    assert miss.word == ""


def test_process_with_a_similar_managed_name_is_suggested():
    assert why("wbe-server", "gunicorn", managed=managed("web-server")) == "two letters swapped?"


def test_only_the_first_100_words_of_a_command_line_are_compared():
    assert why("trian.py", "python", ("x",) * 50 + ("train.py",)) == "two letters swapped?"
    assert why("trian.py", "python", ("x",) * 100 + ("train.py",)) is None


# -------------------------------------------------------------- by other selectors


def test_process_is_suggested_if_its_handle_is_given_instead_of_a_pid():
    assert why(7, handle=7) == "has handle 7: by(handle=7) matches it"
    assert why(8, handle=7) is None


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        (re.compile(r"server (v1)"), "contains it as plain text: use re.escape(...)"),
        (re.compile(r"SERVER \(V\d"), "upper and lower case differ"),
        (re.compile(r"^server"), None),
    ],
)
def test_suggestion_for_a_regex_mentions_a_missing_escape_or_a_difference_in_case(pattern, reason):
    assert why(pattern, "./server", ("(v1)",)) == reason


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"command": "/usr/bin/python"}, "same command, other path"),
        ({"command": "/usr/local/bin/pyhton"}, "command: two letters swapped?"),
        ({"name": "wbe"}, "name: two letters swapped?"),
        ({"name": "web", "pid": 9}, "differs only in pid"),
        ({"name": "web", "pid": 9, "handle": 9}, "differs only in pid and handle"),
        ({"name": "web", "args": ["x"]}, "differs only in args"),
        ({"pid": 9}, None),
        ({"args": ["x"]}, None),
        ({"name": "db"}, None),
    ],
)
def test_process_with_a_similar_field_is_suggested_for_a_selector_with_fields(fields, reason):
    row = {"command": "/usr/local/bin/python", "args": ("serve.py",), "managed": managed("web")}

    assert why(by(**fields), **row) == reason


# ------------------------------------------------------------------------------ order


def test_at_most_three_suggestions_are_returned_with_the_best_first():
    rows = [
        raw(1, command="tranin.pyx", args=()),
        raw(2, command="Train.py", args=()),
        raw(3, command="trani.py", args=()),
        raw(4, command="tranie.pyxx", args=()),
        raw(5, command="something else", args=()),
    ]

    assert near("train.py", *rows) == [
        (2, "upper and lower case differ"),
        (3, "two letters swapped?"),
        (1, "two letters differ?"),
    ]


def test_ended_process_is_not_suggested_if_a_living_process_is_equally_similar():
    def pids(*rows):
        return [pid for pid, _ in near("trian.py", *rows)]

    swapped, differs = {"args": ("train.py",)}, {"args": ("trxxn.py",)}

    assert pids(raw(1, **swapped, **ended(1))) == [1]
    assert pids(raw(1, **swapped, **ended(1)), raw(2, **swapped)) == [2]
    assert pids(raw(1, **swapped, **ended(1)), raw(2, **differs)) == [1, 2]


def test_newest_of_equally_similar_processes_is_suggested_first():
    rows = [raw(pid, command="trian.py", args=(), started_at=T0 + pid) for pid in range(1, 6)]

    assert [pid for pid, _ in near("train.py", *rows)] == [5, 4, 3]


def test_suggestions_start_with_the_last_three_matches_that_ended_before_the_test():
    older = [process(pid, **ended(0), started_at=T0 + pid) for pid in range(1, 6)]
    rows = [raw(pid, **ended(0), started_at=T0 + pid) for pid in range(1, 6)]
    why = "ended before this test"

    assert near("train.py", *rows, raw(9, command="trian.py", args=()), older=older) == [
        (3, why),
        (4, why),
        (5, why),
        (9, "two letters swapped?"),
    ]


def test_comparing_ten_thousand_processes_takes_at_most_two_seconds_of_cpu_time():
    many = snapshot(
        *(raw(pid, args=(f"worker-{pid}.py", "--queue", "low")) for pid in range(1, 10_001))
    )
    for meant in ("trian.py --queue", "w" * 100, re.compile("TRAIN"), by(command="/bin/pyhton")):
        start = time.thread_time()
        near_misses(meant, many, ())
        took = time.thread_time() - start

        assert took < 2, meant


@pytest.mark.parametrize("meant", ["train.py", "web", re.compile("train"), by(name="web")])
def test_unselected_process_that_matches_the_selector_is_suggested_as_an_earlier_run(meant):
    reason = "an earlier run, replaced by another run or deployment"
    assert why(meant, args=("train.py",), managed=managed()) == reason
