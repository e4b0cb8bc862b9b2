"""Whole messages of failures, and the names and durations in them."""

from __future__ import annotations

import pytest

from pytest_tlsandbox import errors
from pytest_tlsandbox.formatting.processes import named, short_name
from pytest_tlsandbox.formatting.text import seconds
from pytest_tlsandbox.types import Screen
from pytest_tlsandbox.waiting.selectors import by
from tests.support import box_of, dedented, failure, managed, process, raw

TRAIN = {"args": ("train.py", "--lr", "0.1", "--token=abc")}


def told(script, ask, verbosity=0) -> str:
    box = box_of(script, latency=0.06, screen=Screen(verbosity, 100))
    return str(failure(lambda: ask(box)))


def test_message_of_a_blocked_socket_suggests_to_allow_the_host():
    fault = errors.SandboxUnreachable(
        "my-sandbox cannot be reached: SocketBlockedError: no socket", label="SocketBlockedError"
    )

    message = told({0: fault}, lambda box: box.list_processes())

    assert message == dedented("""
        my-sandbox cannot be reached: SocketBlockedError: no socket

          sandbox  my-sandbox
          try      pytest-socket blocks it: allow the host of the sandbox, as in allow_hosts
    """)


def test_unknown_error_has_no_hint():
    fault = errors.SandboxUnreachable("my-sandbox cannot be reached: TLS failed", label="TLS")

    assert "try" not in told({0: fault}, lambda box: box.list_processes())


@pytest.mark.parametrize(
    "ask",
    [
        lambda box: box.assert_process(41, args=["--token=abc"]),
        lambda box: box.assert_process("train.py", args=["x", "--token", "abc"]),
        lambda box: box.wait_for_exit("--token=abc", timeout=0),
        lambda box: box.wait_for_process("tokn --token=abc", timeout=0),
        lambda box: box.assert_not_running("--token=abc"),
        lambda box: box.assert_process(41, name="web --token=abc2"),
        lambda box: box.wait_for_exit(by(name="web --token=abc"), timeout=0),
        lambda box: box.wait_for_process("web --token=abcd", timeout=0),
        lambda box: box.assert_no_restart(),
    ],
)
def test_secrets_in_arguments_and_managed_names_are_masked(ask):
    row = raw(41, **TRAIN, managed=managed("web --token=abc", restart_count=1))

    message = told({0: [row]}, ask, verbosity=2)

    assert "web --token=***" in message
    assert "abc" not in message


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, "0 s"),
        (0.004, "4 ms"),
        (0.31, "0.31 s"),
        (8.24, "8.2 s"),
        (30, "30 s"),
        (120.4, "120 s"),
    ],
)
def test_duration_has_a_suitable_precision(value, expected):
    assert seconds(value) == expected


@pytest.mark.parametrize(
    ("command", "args", "expected"),
    [
        ("python", ("train.py",), "train.py"),
        ("/usr/bin/python3.11", ("/srv/train.py", "x"), "train.py"),
        ("python", ("-m", "http.server"), "http.server"),
        ("python", ("-c", "print(1)"), "python -c"),
        ("sh", ("-c", "exit 1"), "sh -c"),
        ("/usr/bin/sleep", ("60",), "sleep"),
        ("x" * 40, (), "x" * 23 + "…"),
    ],
)
def test_short_name_is_the_script_module_or_program(command, args, expected):
    assert short_name(process(1, command=command, args=args)) == expected


def test_managed_process_is_named_by_its_managed_name():
    assert named(process(7, managed=managed("web"))) == "web (pid 7)"
