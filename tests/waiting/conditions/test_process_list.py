"""Conditions on the whole list: ``wait_for_count``, and ``wait_until`` with a user's function."""

import pytest

from pytest_tlsandbox import errors
from tests.rows import ended, managed, raw
from tests.support import failure, polls, result_of, unreachable
from tests.support import silent_box as box_of

WORKER = {"args": ("worker.py",)}
ONE, TWO, THREE = (raw(40 + number, **WORKER) for number in (1, 2, 3))
EXITED, FAILED = (raw(pid, **WORKER, **ended(1)) for pid in (42, 43))
KILLED = raw(42, **WORKER, status="oom_killed")
CHILD_KILLED = raw(42, **WORKER, **ended(1, oom_killed=True))
OTHER = raw(50, command="sleep", args=("60",))
WEB = raw(41, command="web", args=(), managed=managed("web"))
BACKING_OFF = raw(41, command="web", args=(), **ended(1), managed=managed("web", "backing_off"))
STARTS = {0: [OTHER], 1: [ONE, OTHER], 2: [ONE, EXITED, OTHER], 3: [ONE, EXITED, THREE, OTHER]}
NONE_RUNS = '0 processes running, wanted 2: "worker.py"; 1 not running'

# For each wait for a number of processes: what is listed, the number, the result, and when it ends.
# fmt: off
COUNTS = [
    (STARTS, "worker.py", 2, "pids [41, 43]", 3),
    (STARTS, lambda row: "worker.py" in row.args, 2, "pids [41, 43]", 3),
    ({0: [ONE, TWO], 2: [ONE, EXITED]}, "worker.py", 1, "pids [41]", 2),
    ([], "worker.py", 0, "pids []", 0),
    ([OTHER, EXITED], "worker.py", 0, "pids []", 0),
    # A process that backs off does not run.
    ({0: [BACKING_OFF], 2: [WEB]}, "web", 1, "pids [41]", 2),
    # A successor starts within the grace period.
    ({0: [EXITED], 1.8: [EXITED, ONE], 3: [EXITED, ONE, THREE]},
     "worker.py", 2, "pids [41, 43]", 3),
    ({0: [TWO], 1: [EXITED]}, "worker.py", 2, f"UnexpectedExit: {NONE_RUNS} (exited 1)", 3),
    ({0: [TWO], 1: [KILLED]}, "worker.py", 2, f"ProcessOOMKilled: {NONE_RUNS} (OOM-killed)", 3),
    ({0: [TWO], 1: [CHILD_KILLED]}, "worker.py", 2,
     f"ProcessOOMKilled: {NONE_RUNS} (OOM-killed)", 3),
    # The grace period begins again when another process has ended.
    ({0: [EXITED], 1.5: [EXITED, FAILED]}, "worker.py", 2,
     'UnexpectedExit: 0 processes running, wanted 2: "worker.py"; 2 not running (2x exited 1)', 3.5),
    ([ONE, TWO], "worker.py", 1,
     'WaitTimedOut: 2 processes running after 5 s, wanted 1: "worker.py"', 5),
    ([ONE], "woker.py", 1,
     'ProcessNotFound: No process matches "woker.py" after 5 s: did you mean "worker.py"?', 5),
]
# fmt: on


@pytest.mark.parametrize(("script", "who", "number", "expected", "at"), COUNTS)
def test_wait_for_a_number_ends_as_soon_as_it_is_certain(script, who, number, expected, at):
    box = box_of(script)

    assert result_of(lambda: box.wait_for_count(who, number, timeout=5)) == expected
    assert at <= polls(box)[-1] < at + 0.3


# -------------------------------------------------------------------------- wait_until


def test_wait_returns_the_result_of_its_condition_function():
    box = box_of([ONE])

    assert box.wait_until(lambda seen: seen.find(seen.processes[0].identity)).pid == 41


class Never(list):
    """A callable without a name, whose result is falsy and has a long repr with a secret."""

    def __init__(self, length):
        self.length = length

    def __call__(self, seen):
        return self

    def __repr__(self):
        return "--token=abc " + "x" * self.length


def returns_twice(seen):
    if len(seen) == 2:
        return True
    return len(seen) == 3


FALSY = [
    (returns_twice, "returns_twice returned False", ""),
    (lambda seen: len(seen) == 3, "the lambda returned False", ""),
    (eval("lambda seen: len(seen) == 3"), "the lambda returned False", ""),  # it has no source
    (Never(28), f"Never returned --token=*** {'x' * 28}", ""),
    (Never(60), f"Never returned --token=*** {'x' * 27}…", f"  returned  --token=*** {'x' * 60}"),
]  # fmt: skip


@pytest.mark.parametrize(("function", "told", "details"), FALSY)
def test_failed_wait_shows_a_long_result_but_no_source_of_several_lines(function, told, details):
    box = box_of([ONE]).from_now()
    error = failure(lambda: box.wait_until(function, timeout=0), errors.WaitTimedOut)

    assert error.first_line == f"Condition not met after 0 s: {told}"
    assert str(error).partition("python worker.py\n")[2] == details
    assert error.wanted == f"{told.partition(' returned')[0]} to be true"


@pytest.mark.parametrize("error", [ZeroDivisionError(), unreachable()])
def test_exception_in_a_user_function_ends_the_wait(error):
    box = box_of([ONE])

    def ask(_seen):
        raise error

    assert failure(lambda: box.wait_until(ask), type(error)) is error
    assert polls(box) == [0.0]
