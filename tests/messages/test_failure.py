"""Details of the messages of failures, and the names and durations in them."""

from __future__ import annotations

from unittest.mock import call

import pytest

from pytest_tlsandbox import errors
from pytest_tlsandbox.formatting.processes import short_name
from pytest_tlsandbox.formatting.text import seconds
from pytest_tlsandbox.waiting.selectors import by
from tests.support import OOM, box_of, dedented, ended, failure, managed, process, raw, signaled

from .shapes import Shape, error_of

FAILED = raw(41, **ended(1))


def told(script, ask, verbosity=0, columns=108, output=()) -> str:
    return str(error_of(Shape(script, ask, stdout=output), columns, verbosity))


BLOCKED = "  hint  add the host of the sandbox to allow_hosts of pytest-socket, which blocks the connection"


@pytest.mark.parametrize(
    ("cause", "hint"), [("SocketBlockedError", f"\n\n{BLOCKED}"), ("OSError", "")]
)
def test_message_of_a_permanent_connection_error_has_a_hint_if_the_cause_is_known(cause, hint):
    text = f"my-sandbox cannot be reached: {cause}"
    fault = errors.SandboxUnreachable(text, label=cause)

    assert told({0: fault}, call.list_processes()) == text + hint


@pytest.mark.parametrize(
    "ask",
    [
        call.assert_process(41, args=["--token=abc"]),
        call.assert_process("train.py", args=["x", "--token", "abc"]),
        call.wait_for_exit("--token=abc", timeout=0),
        call.wait_for_process("tokn --token=abc", timeout=0),
        call.assert_not_running("--token=abc"),
        call.assert_process(41, name="web --token=abc2"),
        call.wait_for_exit(by(name="web --token=abc"), timeout=0),
        call.wait_for_process("web --token=abcd", timeout=0),
        call.assert_no_restart(),
    ],
)
def test_secrets_in_arguments_and_managed_names_are_masked(ask):
    supervised = managed("web --token=abc", restart_count=1)
    row = raw(41, args=("train.py", "--lr", "0.1", "--token=abc"), managed=supervised)

    message = told([row], ask, verbosity=2)

    assert "web --token=***" in message
    assert "abc" not in message


@pytest.mark.parametrize("text", ["hunetr22", "hunter23"])
def test_suggestions_never_contain_part_of_a_secret(text):
    row = raw(41, args=("train.py", "--password", "hunter22"))

    message = told([row], call.wait_for_exit(text, timeout=0))

    assert "--password ***" in message
    assert "hunter22" not in message


@pytest.mark.parametrize(
    ("lines", "appended"),
    [
        (("x" * 70,), f": {'x' * 70}"),
        (("x" * 71,), ""),
        (("数" * 35,), f": {'数' * 35}"),
        (("数" * 36,), ""),
        (("first", "  login with --token=abc  ", " "), ": login with --token=***"),
        (("\x1b[31mred",), r": \x1b[31mred"),
        ((), ""),
    ],
)
def test_last_output_line_is_appended_to_the_first_line_if_both_fit_in_100_columns(lines, appended):
    message = told([FAILED], call.wait_for_exit(41), output=lines)

    assert message.partition("\n")[0] == f"Exited 1, wanted 0: train.py{appended}"


def test_table_for_a_single_wrong_field_is_shown_only_if_the_first_line_truncates_its_value():
    row = raw(41, command="x" * 40, args=(), **ended(1))

    message = told([row], call.assert_process(41, exit_code=3), output=["no data"])
    assert message.startswith(f"Exited 1, wanted 3: {'x' * 23}…: no data\n")
    assert "wanted  was" not in message
    message = told([row], call.assert_process(41, command="sh"), output=["no data"])
    assert message.startswith(f"command was {'x' * 25}… +15, wanted sh: {'x' * 23}…\n")
    assert f"\n  command  sh      {'x' * 40}\n" in message


def test_long_command_line_is_shown_on_separate_lines_below_the_state():
    rows = [raw(41, args=("train.py",)), raw(42, args=("train.py", *["--lr=0.1"] * 9))]

    assert told(rows, call.assert_not_running("train.py"), columns=68) == dedented("""
        2 processes unexpectedly running: train.py

            pid 41  running  python train.py
            pid 42  running
                python train.py --lr=0.1 --lr=0.1 --lr=0.1 --lr=0.1
                --lr=0.1 --lr=0.1 --lr=0.1 --lr=0.1 --lr=0.1
          hint  call wait_for_exit() first if the process should end
                by itself
    """)


LIMIT, HINT = 128 * 2**20, "raise {} if this memory use is expected"


@pytest.mark.parametrize(
    ("calls", "end", "first_line"),
    [
        (call.wait_for_exit(41), OOM, "OOM-killed{}, wanted exit code 0: train.py"),
        (call.assert_no_oom(), ended(1, oom_killed=True), "A child was OOM-killed{}: train.py"),
        ([call.assert_no_oom()], OOM, "1 of 1 check failed: OOM-killed{}: train.py"),
        (
            call.wait_for_exit(41),
            signaled(11),
            "Crashed with SIGSEGV, wanted exit code 0: train.py",
        ),
    ],
)
@pytest.mark.parametrize(
    ("limit", "told_limit", "hint"),
    [
        (None, "", HINT.format("memory_mb of the sandbox")),
        (LIMIT, " at a limit of 128 MiB", HINT.format("--tlsandbox-memory")),
    ],
)
def test_oom_kill_message_shows_the_memory_limit_if_it_is_known(
    calls, end, first_line, limit, told_limit, hint
):
    box = box_of([raw(41, **end)], written={0: ([], [])})
    box._client.memory_limit = limit

    error = failure(lambda: Shape([], calls).fail(box))

    assert error.first_line == first_line.format(told_limit)
    assert (hint in str(error)) == ("OOM-killed" in first_line)


# ------------------------------------------------------------------ names and durations


DURATIONS = {0: "0 s", 0.004: "4 ms", 0.31: "0.31 s", 8.24: "8.2 s", 30: "30 s", 120.4: "120 s"}


def test_duration_is_formatted_with_a_suitable_precision():
    assert {value: seconds(value) for value in DURATIONS} == DURATIONS


@pytest.mark.parametrize(
    ("command", "args", "expected"),
    [
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
    ],
)
def test_short_name_of_a_process_is_its_script_or_module_or_program(command, args, expected):
    assert short_name(process(1, command=command, args=args)) == expected
