"""``wait_for_count``: exactly so many processes match and run."""

import re

import pytest

from pytest_tlsandbox import by, errors
from tests.support import OOM, box_of, ended, failure, managed, polls, process, raw

ONE, TWO, THREE = (raw(40 + number, args=("worker.py",)) for number in (1, 2, 3))
EXITED = raw(42, args=("worker.py",), **ended(1))
KILLED = raw(43, args=("worker.py",), **OOM)
OTHER = raw(50, command="sleep", args=("60",))


SELECTORS = ["worker.py", re.compile("worker"), by(args=["worker.py"])]
SELECTORS += [lambda row: "worker.py" in row.args]


@pytest.mark.parametrize("selector", SELECTORS)
def test_wait_returns_the_running_processes(selector):
    box = box_of(
        {0: [OTHER], 1: [ONE, OTHER], 2: [ONE, EXITED, OTHER], 3: [ONE, EXITED, THREE, OTHER]}
    )

    assert [row.pid for row in box.wait_for_count(selector, 2)] == [41, 43]
    assert 3 <= polls(box)[-1] < 3.3


def test_waiting_for_fewer_processes_continues_until_enough_have_ended():
    box = box_of({0: [ONE, TWO], 2: [ONE, EXITED]})

    assert [row.pid for row in box.wait_for_count("worker.py", 1)] == [41]
    assert polls(box)[-1] >= 2


@pytest.mark.parametrize("rows", [[], [OTHER], [EXITED]])
def test_waiting_for_a_count_of_0_succeeds_at_once_if_no_process_runs(rows):
    box = box_of(rows)

    assert box.wait_for_count("worker.py", 0) == []
    assert polls(box) == [0.0]


def test_managed_process_between_two_runs_is_not_counted_as_running():
    web = raw(41, command="web", args=(), managed=managed("web"))
    waits = raw(41, command="web", args=(), **ended(1), managed=managed("web", "backing_off"))
    box = box_of({0: [waits], 2: [web]})

    assert len(box.wait_for_count("web", 1)) == 1
    assert polls(box)[-1] >= 2


def test_wait_times_out_if_too_many_processes_run():
    box = box_of([ONE, TWO])

    error = failure(lambda: box.wait_for_count("worker.py", 1, timeout=5), errors.WaitTimedOut)
    assert error.first_line == '2 processes running after 5 s, wanted 1: "worker.py"'


@pytest.mark.parametrize(
    ("end", "error", "how"),
    [(EXITED, errors.UnexpectedExit, "exited 1"), (KILLED, errors.ProcessOOMKilled, "OOM-killed")],
)
def test_wait_ends_2_s_after_all_matches_have_ended(end, error, how):
    box = box_of({0: [raw(end["pid"], args=("worker.py",))], 1: [end]})

    line = f'0 processes running, wanted 2: "worker.py"; 1 not running ({how})'
    assert failure(lambda: box.wait_for_count("worker.py", 2), error).first_line == line
    assert 3 <= polls(box)[-1] < 3.5


def test_waiting_for_a_count_continues_if_a_successor_starts_within_the_grace_period():
    box = box_of({0: [EXITED], 1.8: [EXITED, ONE], 3: [EXITED, ONE, THREE]})

    assert len(box.wait_for_count("worker.py", 2)) == 2


def test_wait_without_a_match_fails_at_its_deadline_and_suggests_near_misses():
    box = box_of([ONE])

    error = failure(lambda: box.wait_for_count("woker.py", 1, timeout=1), errors.ProcessNotFound)
    assert error.first_line == 'No process matches "woker.py" after 1 s: did you mean "worker.py"?'


@pytest.mark.parametrize("count", [-1, "4", None, 1.5])
def test_invalid_count_is_rejected(count):
    box = box_of([ONE])

    error = failure(lambda: box.wait_for_count("worker.py", count), errors.InvalidArgument)

    assert str(error).startswith(f"argument 'count' must be a number >= 0, got {count!r}")
    assert not polls(box)


@pytest.mark.parametrize("selector", [41, process(41), by(pid=41)])
def test_waiting_for_a_count_rejects_a_selector_that_can_match_only_one_process(selector):
    box = box_of([ONE])

    error = failure(lambda: box.wait_for_count(selector, 1), errors.InvalidArgument)

    label = "by(pid=41)" if "by" in repr(selector) else "pid 41"
    assert str(error) == (
        "argument 'process' must be a selector that can match several processes (text, a regex, "
        f"by(...) or a function); got {label}"
    )
