"""The condition on the fields of one process, and ``wait_until`` with a function of the user."""

from __future__ import annotations

import re

import pytest

from pytest_tlsandbox import errors
from tests.support import box_of, ended, failure, managed, outcome, raw


def text_of(row, **expected) -> str:
    name = "web" if "managed" in row else 41
    return str(failure(lambda: box_of([row]).assert_process(name, **expected)))


@pytest.mark.parametrize(
    ("args", "wanted", "line"),
    [
        (("a", "b"), ["a"], r"args\[1\] +none +b"),
        (("a", "b"), ["a", "b", "c"], r"args\[2\] +c +none"),
        (("a", "b"), ["a", "x"], r"args\[1\] +x +b"),
        (("--token=a",), ["--token=b"], "args +other values +masked"),
    ],
)
def test_different_arguments_are_reported_individually_and_masked(args, wanted, line):
    text = text_of(raw(41, args=args), args=wanted)

    assert re.search(rf"^ +{line} +<$", text, re.MULTILINE), text


def test_field_matches_any_of_several_values():
    box = box_of([raw(1, **ended(1))])

    assert box.assert_process(1, status=["running", "exited"], exit_code=(0, 1)).pid == 1
    assert outcome(lambda: box.assert_process(1, exit_code=[0, 2])) == (
        "AssertionFailed",
        "train.py (pid 1) differs in exit_code",
    )


@pytest.mark.parametrize(
    ("row", "expected", "hint"),
    [
        (raw(41), {"command": "sh"}, "by(...) or a longer text, if another process was meant"),
        (raw(41), {"status": "exited"}, "wait_for_process or wait_for_exit, if it only needs"),
        (
            raw(41, **ended(3), managed=managed(status="backing_off", restart_count=1)),
            {"status": "running"},
            "wait_for_process or wait_for_exit, if it only needs",
        ),
    ],
)
def test_hint_for_a_field_depends_on_whether_its_value_can_change(row, expected, hint):
    assert re.search(rf"^  try +{re.escape(hint)}", text_of(row, **expected), re.MULTILINE)


# -------------------------------------------------------------------------- wait_until


def test_wait_until_returns_the_result_of_its_function():
    box = box_of([raw(1)])

    assert box.wait_until(lambda seen: seen.find(seen.processes[0].identity)).pid == 1


def test_callable_without_a_name_is_reported_by_its_type():
    class Never:
        def __call__(self, seen):
            return 0

    error = failure(lambda: box_of([raw(1)]).wait_until(Never(), timeout=0), errors.WaitTimedOut)

    assert error.first_line == "Never true: Never after 0 s"
    assert error.wanted == "Never to be true"
    assert re.search(r"^  last +it gave 0$", str(error), re.MULTILINE)


@pytest.mark.parametrize("error", [ZeroDivisionError(), errors.SandboxUnreachable("x", label="x")])
def test_exception_in_the_users_function_ends_the_wait(error):
    box = box_of([raw(1)])

    def ask(_seen):
        raise error

    assert failure(lambda: box.wait_until(ask), type(error)) is error
    assert box._client.polls == [0.0]
