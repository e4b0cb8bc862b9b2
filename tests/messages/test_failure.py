"""Whole messages of failures, and the names and durations in them."""

from __future__ import annotations

import pytest

from pytest_tlsandbox import errors
from pytest_tlsandbox.formatting.processes import named, short_name
from pytest_tlsandbox.formatting.text import seconds
from pytest_tlsandbox.sandbox import Sandbox
from pytest_tlsandbox.testing.scripted_lister import ScriptedLister
from pytest_tlsandbox.types import Screen
from pytest_tlsandbox.waiting.selectors import by
from tests.messages.shapes import SHAPES, soft
from tests.support import (
    OOM,
    T0,
    box_of,
    dedented,
    ended,
    failure,
    managed,
    process,
    raw,
    signaled,
    silent_box,
)

TRAIN = {"args": ("train.py", "--lr", "0.1", "--token=abc")}


def told(script, ask, verbosity=0, columns=100, output=()) -> str:
    screen = Screen(verbosity, columns)
    box = box_of(script, latency=0.06, screen=screen, written={0: ([*output], [])})
    return str(failure(lambda: ask(box)))


BLOCKED = "  hint  add the host of the sandbox to allow_hosts of pytest-socket, which blocks the connection"


@pytest.mark.parametrize(
    ("cause", "hint"), [("SocketBlockedError", f"\n\n{BLOCKED}"), ("OSError", "")]
)
def test_message_of_a_permanent_connection_error_has_a_hint_if_the_cause_is_known(cause, hint):
    text = f"my-sandbox cannot be reached: {cause}"
    fault = errors.SandboxUnreachable(text, label=cause)

    assert told({0: fault}, lambda box: box.list_processes()) == text + hint


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


@pytest.mark.parametrize("text", ["hunetr22", "hunter23"])
def test_suggestions_never_contain_part_of_a_secret(text):
    row = raw(41, args=("train.py", "--password", "hunter22"))

    message = told([row], lambda box: box.wait_for_exit(text, timeout=0))

    assert "--password ***" in message
    assert "hunter22" not in message


# ---------------------------------------------------------------------- the first line


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
    message = told([raw(41, **ended(1))], lambda box: box.wait_for_exit(41), output=lines)

    assert message.partition("\n")[0] == f"Exited 1, wanted 0: train.py{appended}"


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("verbosity", [-1, 0, 1, 2])
@pytest.mark.parametrize(
    "ask", [lambda box: box.wait_for_exit(41), SHAPES["several_at_once_one_fails"].ask]
)
def test_message_names_the_sandbox_in_verbose_mode_or_with_several_sandboxes(
    ask, verbosity, several
):
    screen = Screen(verbosity, several_sandboxes=lambda: several)

    message = str(failure(lambda: ask(box_of([raw(41, **ended(1))], screen=screen))))

    assert ("my-sandbox" in message) == (several or verbosity > 0)


# ------------------------------------------------------------------------- the details


@pytest.mark.parametrize(
    ("fields", "first_line", "table"),
    [
        ({"exit_code": 3}, "Exited 1, wanted 3", []),
        (
            {"command": "sh"},
            f"command was {'x' * 25}… +15, wanted sh",
            ["wanted was", f"command sh {'x' * 40}"],
        ),
    ],
)
def test_table_for_a_single_wrong_field_is_shown_only_if_the_table_adds_information(
    fields, first_line, table
):
    row = raw(41, command="x" * 40, args=(), **ended(1))

    first, _, *rest = told([row], lambda box: box.assert_process(41, **fields)).splitlines()

    assert first == f"{first_line}: {'x' * 23}…"
    assert [" ".join(line.split()) for line in rest[: len(table)]] == table
    assert rest[len(table)].startswith("  process  ")


def test_message_shows_the_health_check_that_failed():
    check = {"type": "tcp", "port": 9, "interval_ms": 50}
    row = raw(41, managed=managed(health_status="unhealthy", health_check=check))

    message = told([row], lambda box: box.assert_no_incidents())

    assert message.startswith("Unhealthy (tcp port 9): web\n")
    assert "\n  managed  running, health: unhealthy (tcp port 9)\n" in message


def test_long_command_line_is_shown_on_separate_lines_below_the_state():
    rows = [raw(41, args=("train.py",)), raw(42, args=("train.py", *["--lr=0.1"] * 9))]

    message = told(rows, lambda box: box.assert_not_running("train.py"), columns=60)

    assert message == dedented("""
        2 processes unexpectedly running: train.py

            pid 41  running  python train.py
            pid 42  running
                python train.py --lr=0.1 --lr=0.1 --lr=0.1 --lr=0.1
                --lr=0.1 --lr=0.1 --lr=0.1 --lr=0.1 --lr=0.1
          hint  call wait_for_exit() first if the process should end
                by itself
    """)


# ----------------------------------------------------------------------- OOM kills


@pytest.mark.parametrize(
    ("end", "happened"),
    [
        (signaled(9), "Killed by SIGKILL (not by this test), possibly an OOM kill"),
        (ended(137), "Exited 137, possibly an OOM kill"),
        (ended(-1), "End not known, possibly an OOM kill"),
    ],
)
def test_suspected_oom_kill_raises_a_specific_error(end, happened):
    box = silent_box([raw(41, **end)])

    error = failure(lambda: box.assert_no_oom(suspected=True))

    assert type(error) is errors.SuspectedOOMKill
    assert not issubclass(errors.SuspectedOOMKill, errors.ProcessOOMKilled)
    assert error.first_line == f"{happened}: train.py"


@pytest.mark.parametrize(
    ("ask", "end", "first_line"),
    [
        (lambda box: box.wait_for_exit(41), OOM, "OOM-killed{}, wanted exit code 0: train.py"),
        (
            lambda box: box.assert_no_oom(),
            ended(1, oom_killed=True),
            "A child was OOM-killed{}: train.py",
        ),
        (
            soft(lambda check: check.assert_no_oom()),
            OOM,
            "1 of 1 check failed: OOM-killed{}: train.py",
        ),
        (
            lambda box: box.wait_for_exit(41),
            signaled(11),
            "Crashed with SIGSEGV, wanted exit code 0: train.py",
        ),
    ],
)
def test_oom_kill_message_shows_the_memory_limit_if_it_is_known(ask, end, first_line):
    box = silent_box([raw(41, **end)])
    unlimited = failure(lambda: ask(box))

    box._client.memory_limit = 128 * 2**20
    limited = failure(lambda: ask(box))

    assert unlimited.first_line == first_line.format("")
    assert limited.first_line == first_line.format(" at a limit of 128 MiB")
    if end != signaled(11):
        hint = "raise {} if this memory use is expected"
        assert hint.format("memory_mb of the sandbox") in str(unlimited)
        assert hint.format("--tlsandbox-memory") in str(limited)


def test_message_about_several_oom_kills_shows_the_last_output_of_each_process():
    last = {"exit_code": None, "signal": 9, "oom_killed": True, "ended_at": T0 + 4000}
    survivor = raw(131, "web", (), managed=managed("web", restart_count=1, last_exit=last))
    output = {
        41: {"stdout": ["shard 1", "shard 7 --token=abc", ""]},
        42: {"stderr": ["x" * 10_000_000]},
        131: {"stdout": ["listening"]},
    }
    rows = [raw(41, **OOM), raw(42, **OOM), survivor]
    box = Sandbox(ScriptedLister({0: rows}, output=output), screen=Screen(columns=80))

    assert str(failure(box.assert_no_oom)) == dedented(f"""
        3 processes OOM-killed: train.py, web

            pid 41   oom_killed             9 s  python train.py
                last line: shard 7 --token=***
            pid 42   oom_killed             9 s  python train.py
                last line:
                {"x" * 119}…
            pid 131  running, restarted 1x       [web] web
                first run: OOM-killed, restarted as pid 131
          hint  raise memory_mb of the sandbox if this memory use is expected
    """)


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


def test_messages_use_the_managed_name_of_a_process_if_it_has_one():
    assert named(process(7, managed=managed("web"))) == "web (pid 7)"
