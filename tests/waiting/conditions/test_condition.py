"""Conditions on the whole list: ``wait_for_count``, and ``wait_until`` with a user's function."""

from unittest.mock import call

import pytest

from pytest_tlsandbox import by, errors
from tests.support import (
    dedented,
    ended,
    failure,
    make,
    managed,
    pass_time,
    polls,
    process,
    raw,
    result_of,
)
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


@pytest.mark.parametrize(("script", "selector", "number", "expected", "at"), COUNTS)
def test_wait_ends_once_the_number_is_right_or_2_s_after_all_matches_have_ended(
    script, selector, number, expected, at
):
    box = box_of(script)

    assert result_of(lambda: box.wait_for_count(selector, number, timeout=5)) == expected
    assert at <= polls(box)[-1] < at + 0.3


def test_error_of_a_wait_for_a_number_of_processes_states_the_number():
    error = failure(lambda: box_of([ONE, TWO]).wait_for_count("worker.py", 1, timeout=0))

    assert error.wanted == "1 running"


ONLY_ONE = "a selector that can match several processes (text, a regex, by(...) or a function); got"


@pytest.mark.parametrize(
    ("invalid", "message"),
    [
        (call.wait_for_count("x", -1), "'count' must be a number >= 0, got -1"),
        (call.wait_for_count("x", 1.5), "'count' must be a number >= 0, got 1.5"),
        (call.wait_for_restart("x", 0), "'count' must be a number >= 1, got 0"),
        (call.wait_for_restart("x", True), "'count' must be a number >= 1, got True"),
        (call.wait_for_port("x", 0), "'port' must be a number from 1 to 65535, got 0"),
        (call.wait_for_port("x", 65_536), "'port' must be a number from 1 to 65535, got 65536"),
        (call.wait_for_count(41, 1), f"'process' must be {ONLY_ONE} pid 41"),
        (call.wait_for_count(process(41), 1), f"'process' must be {ONLY_ONE} pid 41"),
        (call.wait_for_count(by(pid=41), 1), f"'process' must be {ONLY_ONE} by(pid=41)"),
    ],
)
def test_invalid_number_or_selector_is_rejected_before_the_first_poll(invalid, message):
    box = box_of([ONE])

    error = failure(lambda: make(invalid, box), errors.InvalidArgument)

    assert str(error) == f"argument {message}"
    assert polls(box) == []


# -------------------------------------------------------------------------- wait_until


def test_wait_returns_the_result_of_its_condition_function():
    box = box_of([ONE])

    assert box.wait_until(lambda seen: seen.find(seen.processes[0].identity)).pid == 41


def test_failed_wait_lists_only_living_processes_and_processes_that_started_in_the_test():
    def two_passed(seen):
        return len([row for row in seen if row.exit_code == 0]) > 1 and "--token=abc"

    before = [raw(1), raw(2, **ended(0))]
    box = pass_time(box_of({0: before, 1: [*before, raw(3, **ended(1))]}).from_now())

    assert str(failure(lambda: box.wait_until(two_passed, timeout=1))) == dedented("""
        Condition not met after 1 s: two_passed returned False

          processes alive now or started in this test
            pid 1  running        python train.py
            pid 3  exited 1  9 s  python train.py
          condition  len([row for row in seen if row.exit_code == 0]) > 1 and '--token=***'
    """)


class Never:
    """A callable without a name, whose result is falsy and has a long repr with a secret."""

    def __init__(self, length):
        self.length = length

    def __call__(self, seen):
        return self

    def __bool__(self):
        return False

    def __repr__(self):
        return "--token=abc " + "x" * self.length


def returns_twice(seen):
    if len(seen) == 2:
        return True
    return len(seen) == 3


@pytest.mark.parametrize(
    ("function", "told", "details"),
    [
        (returns_twice, "returns_twice returned False", ""),
        (lambda seen: len(seen) == 3, "the lambda returned False", ""),
        (eval("lambda seen: len(seen) == 3"), "the lambda returned False", ""),  # it has no source
        (Never(28), f"Never returned --token=*** {'x' * 28}", ""),
        (Never(60), f"Never returned --token=*** {'x' * 27}…", f"  returned  --token=*** {'x' * 60}"),
    ],
)  # fmt: skip
def test_failed_wait_shows_a_long_result_but_no_source_of_several_lines(function, told, details):
    error = failure(lambda: box_of([ONE]).wait_until(function, timeout=0), errors.WaitTimedOut)

    assert error.first_line == f"Condition not met after 0 s: {told}"
    assert str(error).partition("python worker.py\n")[2] == details
    assert error.wanted == f"{told.partition(' returned')[0]} to be true"


@pytest.mark.parametrize(
    "error", [ZeroDivisionError(), errors.SandboxUnreachable("x", transient=True)]
)
def test_exception_in_a_user_function_ends_the_wait(error):
    box = box_of([ONE])

    def ask(_seen):
        raise error

    assert failure(lambda: box.wait_until(ask), type(error)) is error
    assert polls(box) == [0.0]
