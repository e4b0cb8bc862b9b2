"""The condition on the fields of one process, and ``wait_until`` with a function of the user."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_tlsandbox import errors
from tests.support import OOM, dedented, ended, failure, managed, outcome, pass_time, raw
from tests.support import silent_box as box_of

if TYPE_CHECKING:
    from collections.abc import Callable


def text_of(row, **expected) -> str:
    name = "web" if "managed" in row else 41
    return str(failure(lambda: box_of([row]).assert_process(name, **expected)))


A_SECRET = "args was a secret, wanted another secret: python --token=***"


@pytest.mark.parametrize(
    ("args", "wanted", "line"),
    [
        (("a", "b"), ["a"], "args[1] was b, wanted (absent): a"),
        (("a", "b"), ["a", "b", "c"], "args[2] was (absent), wanted c: a"),
        (("a", "b"), ["a", "x"], "args[1] was b, wanted x: a"),
        (("--token=a",), ["--token=b"], A_SECRET),
        (("a", "b"), ["c"], "args[0] was a, wanted c (1 more field differs): a"),
    ],
)
def test_error_about_unexpected_command_arguments_masks_secrets(args, wanted, line):
    assert text_of(raw(41, args=args), args=wanted).startswith(f"{line}\n\n")


def test_field_condition_matches_any_of_several_values():
    box = box_of([raw(1, **ended(1))])

    assert box.assert_process(1, status=["running", "exited"], exit_code=(0, 1)).pid == 1
    assert outcome(lambda: box.assert_process(1, exit_code=[0, 2])) == (
        "AssertionFailed",
        "Exited 1, wanted 0 or 2: train.py",
    )


def test_error_about_several_fields_mentions_the_exit_first():
    row = raw(41, **OOM)

    assert text_of(row, status="exited", exit_code=0).startswith(
        "OOM-killed, wanted status=exited and exit_code=0: train.py\n"
    )
    assert text_of(row, status="exited", command="sh").startswith(
        "status was oom_killed, wanted exited (1 more field differs): train.py\n"
    )


RESTARTING = raw(41, **ended(3), managed=managed(status="backing_off", restart_count=1))
OTHER_PROCESS = "use by(...) or longer text to select another process"
WAIT = "use wait_for_process() or wait_for_exit(), which wait for a change"


@pytest.mark.parametrize(
    ("row", "expected", "hint"),
    [
        (raw(41), {"command": "sh"}, ""),
        (raw(41, managed=managed()), {"command": "sh"}, OTHER_PROCESS),
        (raw(41), {"status": "exited"}, WAIT),
        (RESTARTING, {"status": "running"}, WAIT),
    ],
)
def test_hint_for_a_wrong_field_depends_on_whether_the_field_can_still_change(row, expected, hint):
    assert text_of(row, **expected).partition("\n  hint ")[2].strip() == hint


# -------------------------------------------------------------------------- wait_until


def test_wait_returns_the_result_of_its_condition_function():
    box = box_of([raw(1)])

    assert box.wait_until(lambda seen: seen.find(seen.processes[0].identity)).pid == 1


def test_wait_error_shows_the_class_of_a_callable_without_a_name():
    class Never:
        def __call__(self, seen):
            return 0

    error = failure(lambda: box_of([raw(1)]).wait_until(Never(), timeout=0), errors.WaitTimedOut)

    assert error.first_line == "Condition not met after 0 s: Never returned 0"
    assert error.wanted == "Never to be true"


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


def compares_a_secret(seen):
    return seen[0].command == "--token=hunter2"


def returns_twice(seen):
    if len(seen) == 2:
        return True
    return len(seen) == 3


without_source: dict[str, Callable[..., bool]] = {}
exec("def without_source(seen): return len(seen) == 3", without_source)


@pytest.mark.parametrize(
    ("function", "source"),
    [
        (compares_a_secret, "  condition  seen[0].command == '--token=***'"),
        (returns_twice, ""),
        (lambda seen: len(seen) == 3, ""),
        (without_source["without_source"], ""),
    ],
)
def test_failed_wait_shows_the_only_expression_of_a_function(function, source):
    box = box_of([raw(41)])

    error = failure(lambda: box.wait_until(function, timeout=0))

    assert str(error).partition("python train.py\n")[2] == source


def test_failed_wait_shows_a_long_value_below_the_first_line():
    class Loss(list):
        def __repr__(self):
            return "--token=abc " + "x" * 60

    error = failure(lambda: box_of([raw(1)]).wait_until(lambda _seen: Loss(), timeout=0))

    assert error.first_line == (
        f"Condition not met after 0 s: the lambda returned --token=*** {'x' * 27}…"
    )
    assert f"\n  returned  --token=*** {'x' * 60}\n" in f"{error}\n"


@pytest.mark.parametrize(
    "error", [ZeroDivisionError(), errors.SandboxUnreachable("x", transient=True)]
)
def test_exception_in_a_user_function_ends_the_wait(error):
    box = box_of([raw(1)])

    def ask(_seen):
        raise error

    assert failure(lambda: box.wait_until(ask), type(error)) is error
    assert box._client.polls == [0.0]
