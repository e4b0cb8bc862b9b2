"""Details of the messages of failures, and the names and durations in them."""

from unittest.mock import call

import pytest

from pytest_tlsandbox.formatting.processes import short_name
from pytest_tlsandbox.formatting.text import seconds
from pytest_tlsandbox.waiting.selectors import by
from tests.rows import OOM, ended, managed, process, raw, signaled
from tests.support import box_of, failure

from .shapes import Shape, error_of

FAILED = raw(41, **ended(1))


def told(script, ask, verbosity=0, columns=108, output=()) -> str:
    return str(error_of(Shape(script, ask, stdout=output), columns, verbosity))


CALLS = [
    call.assert_process(41, args=["--token=abc"]),
    call.assert_process("train.py", args=["x", "--token", "abc"]),
    call.wait_for_exit("--token=abc", timeout=0),
    call.wait_for_process("tokn --token=abc", timeout=0),
    call.assert_not_running("--token=abc"),
    call.assert_process(41, name="web --token=abc2"),
    call.wait_for_exit(by(name="web --token=abc"), timeout=0),
    call.wait_for_process("web --token=abcd", timeout=0),
    call.assert_no_restart(),
]


@pytest.mark.parametrize("ask", CALLS)
def test_secrets_in_arguments_and_managed_names_are_masked(ask):
    supervised = managed("web --token=abc", restart_count=1)
    row = raw(41, args=("train.py", "--lr", "0.1", "--token=abc"), managed=supervised)

    message = told([row], ask, verbosity=2)

    assert "web --token=***" in message
    assert "abc" not in message


@pytest.mark.parametrize("text", ["hunetr22", "hunter23"])
def test_suggestions_never_contain_part_of_a_secret(text):
    row = raw(41, args=("train.py", "--password", "hunter22"))

    message = told([row], call.wait_for_exit(text, timeout=0), columns=50)

    assert "--password ***" in message
    assert "hunter22" not in message


LAST_LINES = [
    (("x" * 70,), f": {'x' * 70}"),
    (("x" * 71,), ""),
    (("数" * 35,), f": {'数' * 35}"),
    (("数" * 36,), ""),
    (("first", "  login with --token=abc  ", " "), ": login with --token=***"),
    (("\x1b[31mred",), r": \x1b[31mred"),
    ((), ""),
]


@pytest.mark.parametrize(("lines", "appended"), LAST_LINES)
def test_last_output_line_is_appended_to_the_first_line_if_both_fit_in_100_columns(lines, appended):
    message = told([FAILED], call.wait_for_exit(41), output=lines)

    assert message.partition("\n")[0] == f"Exited 1, wanted 0: train.py{appended}"


KILLED = [
    (call.wait_for_exit(41), OOM, "OOM-killed{}, wanted exit code 0: train.py"),
    (call.assert_no_oom(), ended(1, oom_killed=True), "A child was OOM-killed{}: train.py"),
    ([call.assert_no_oom()], OOM, "1 of 1 check failed: OOM-killed{}: train.py"),
    (call.wait_for_exit(41), signaled(11), "Crashed with SIGSEGV, wanted exit code 0: train.py"),
]  # fmt: skip


@pytest.mark.parametrize(("calls", "end", "first_line"), KILLED)
def test_oom_kill_message_shows_the_memory_limit_if_it_is_known(calls, end, first_line):
    box = box_of([raw(41, **end)], written={0: ([], [])})
    box._client.memory_limit = 128 * 2**20

    error = failure(lambda: Shape([], calls).fail(box))

    assert error.first_line == first_line.format(" at a limit of 128 MiB")
    hint = "hint     raise --tlsandbox-memory if this memory use is expected"
    assert (hint in str(error)) == ("OOM-killed" in first_line)


# ------------------------------------------------------------------ names and durations


DURATIONS = {0: "0 s", 0.004: "4 ms", 0.31: "0.31 s", 8.24: "8.2 s", 30: "30 s", 120.4: "120 s"}


def test_duration_is_formatted_with_a_suitable_precision():
    assert {value: seconds(value) for value in DURATIONS} == DURATIONS


NAMES = [
    ("python", ("train.py",), "train.py"),
    ("/usr/bin/python3.11", ("/srv/train.py", "x"), "train.py"),
    ("python", ("-m", "http.server"), "http.server"),
    ("python", ("-c", "print(1)"), "python -c"),
    ("sh", ("-c", "exit 1"), '"exit 1"'),
    ("/bin/bash", ("-lc", 'exec "$@"', "serve", "--port=80"), "serve"),
    ("bash", ("-x",), "bash -x"),
    ("sh", ("-c", "curl --token=abc example.com"), '"curl --token=*** exampl…"'),
    ("/usr/bin/sleep", ("60",), "sleep"),
    ("x" * 40, (), "x" * 23 + "…"),
]


@pytest.mark.parametrize(("command", "args", "expected"), NAMES)
def test_short_name_of_a_process_is_its_script_or_module_or_program(command, args, expected):
    assert short_name(process(1, command=command, args=args)) == expected
