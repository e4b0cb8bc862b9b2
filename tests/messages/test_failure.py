"""What a failure says, whole."""

from __future__ import annotations

from textwrap import dedent

import pytest

from pytest_tlsandbox import errors
from pytest_tlsandbox.formatting.processes import named, short_name
from pytest_tlsandbox.formatting.text import seconds
from pytest_tlsandbox.sandbox import Sandbox
from pytest_tlsandbox.types import Screen
from pytest_tlsandbox.waiting.selectors import by
from tests.support import T0, FakeClock, ScriptedLister, ended, managed, process, raw, signaled

TRAIN = {"args": ("train.py", "--lr", "0.1", "--token=abc")}
OOM = signaled(9, status="oom_killed", oom_killed=True)


def told(script, ask, verbosity=0, columns=100, **options) -> str:
    lister = ScriptedLister(FakeClock(), script, latency=0.06)
    box = Sandbox(lister, screen=Screen(verbosity, columns), **options)
    with pytest.raises(errors.TLSandboxError) as caught:
        ask(box)
    return str(caught.value)


def text(indented: str) -> str:
    return dedent(indented).strip()


@pytest.fixture(autouse=True)
def _no_jitter(monkeypatch):
    monkeypatch.setattr("pytest_tlsandbox.client.retry.with_jitter", lambda pause: pause)


def test_an_oom_kill_instead_of_an_exit():
    message = told(
        {0: [raw(41, **TRAIN)], 0.05: [raw(41, **TRAIN, **OOM)]},
        lambda box: box.wait_for_exit(41, timeout=120),
    )

    assert message == text("""
        OOM-killed: train.py (pid 41), wanted exit code 0

          stopped after 0.17 s of 120 s: it has ended
                       wanted  was
            status     exited  oom_killed   <
            exit code  0       none         <
            signal             9 (SIGKILL)
          process   python train.py --lr 0.1 --token=***
          lived     9 s, 16:00:00.000 to 16:00:09.000 (sandbox clock, UTC)
          timeline  +0 s running, 1 look | +0.11 s oom_killed, 1 look
          looks     2, 60 ms each
          stderr    4 lines
                    | first
                    | second
                    | third
                    | Traceback: no memory
          sandbox   my-sandbox
          try       more memory for the sandbox (memory_mb; of local, --tlsandbox-memory), or less for the
                    process
    """)


def test_quiet_leaves_out_how_it_was_looked_at():
    message = told(
        {0: [raw(41, **TRAIN, **OOM)]},
        lambda box: box.wait_for_exit(41, timeout=120),
        verbosity=-1,
    )

    assert message == text("""
        OOM-killed: train.py (pid 41), wanted exit code 0

          stopped after 60 ms of 120 s: it has ended
                       wanted  was
            status     exited  oom_killed   <
            exit code  0       none         <
            signal             9 (SIGKILL)
          stderr  last 3 of 4 lines
                  | second
                  | third
                  | Traceback: no memory
          try     more memory for the sandbox (memory_mb; of local, --tlsandbox-memory), or less for the
                  process
    """)


def test_very_verbose_adds_the_whole_table():
    message = told(
        {0: [raw(41, **ended(3)), raw(42, command="bash", args=("-lc", "./serve.sh"))]},
        lambda box: box.wait_for_exit(41),
        verbosity=2,
    )

    assert message.endswith(
        "\n  all 2 processes"
        "\n    pid 41  exited 3  9 s  python train.py"
        "\n    pid 42  running        bash -lc ./serve.sh"
    )


def test_not_found_names_what_is_near():
    message = told(
        {0: [raw(41, **TRAIN, **ended(0)), raw(40, command="bash", args=("-lc", "./serve.sh"))]},
        lambda box: box.wait_for_process("trian.py", timeout=0),
    )

    assert message == text("""
        No process "trian.py" in my-sandbox after 60 ms

          2 processes listed
          nearest
            pid 41  exited 0  9 s  python train.py --lr 0.1 --token=***    two letters swapped?
          looks    1, 60 ms each
          sandbox  my-sandbox
          try      "train.py", if that was meant; a text is looked for in command and arguments, joined by
                   one space
    """)


def test_ended_already():
    message = told(
        {0: [raw(77, args=("server.py",), **ended(0))]},
        lambda box: box.wait_for_process(77),
        verbosity=-1,
    )

    assert message == text("""
        Ended already: server.py (pid 77) ran 9 s and exited 0, wanted running

          stopped after 60 ms of 30 s: it has ended
                    wanted   was
            status  running  exited 0  <
          stderr  last 3 of 4 lines
                  | second
                  | third
                  | Traceback: no memory
          try     wait_for_exit(process), if it is to end
    """)


def test_an_unknown_end():
    message = told({0: [raw(41, **ended(-1))]}, lambda box: box.wait_for_exit(41), verbosity=-1)

    assert message == text("""
        Unknown end: train.py (pid 41) exited -1

          stopped after 1.1 s of 30 s: the sandbox does not say how it really ended, and did not within 1 s
                       wanted  was
            status     exited  exited
            exit code  0       -1      <
          stderr  last 3 of 4 lines
                  | second
                  | third
                  | Traceback: no memory
          try     run it again: the sandbox loses the end of a few processes in a thousand
    """)


def test_a_block_on_this_side_is_not_held_against_the_sandbox():
    fault = errors.SandboxUnreachable(
        "my-sandbox cannot be reached: SocketBlockedError: no socket", label="SocketBlockedError"
    )

    message = told({0: fault}, lambda box: box.list_processes())

    assert message == text("""
        my-sandbox cannot be reached: SocketBlockedError: no socket

          sandbox  my-sandbox
          try      pytest-socket blocks it: allow the host of the sandbox, as in allow_hosts
    """)


def test_no_advice_is_better_than_a_wrong_one():
    fault = errors.SandboxUnreachable("my-sandbox cannot be reached: TLS failed", label="TLS")

    assert "try" not in told({0: fault}, lambda box: box.list_processes())


def test_not_checked():
    fault = errors.SandboxUnreachable("my-sandbox answered 502", label="502", transient=True)
    reset = errors.SandboxUnreachable("my-sandbox: reset", label="reset", transient=True)

    message = told({0: fault, 0.3: reset}, lambda box: box.wait_for_exit(41, timeout=0.5))

    assert message == text("""
        Not checked: no listing of my-sandbox succeeded in 0.56 s (502 x2, then reset)

          stopped after 0.56 s of 0.5 s: my-sandbox: reset
          gaps     +0 s to +0.56 s no listing (502 x2, then reset)
          looks    none good, 3 failed (502, reset)
          sandbox  my-sandbox
          try      is the sandbox up? much memory in use can take its daemon down as well
    """)


def test_several_oom_kills_one_of_them_behind_a_restart():
    last_exit = {"exit_code": None, "signal": 9, "oom_killed": True, "ended_at": T0}
    web = raw(120, command="web", args=(), managed=managed(restart_count=1, last_exit=last_exit))

    message = told({0: [web, raw(41, **OOM)]}, lambda box: box.assert_no_oom())

    assert message == text("""
        OOM-killed: train.py (pid 41) and 1 more

            pid 41   oom_killed             9 s  python train.py    the sandbox lists it as OOM-killed
            pid 120  running, restarted 1x       [web] web
                first run: it was OOM-killed, restarted as pid 120
          looks    1, 60 ms each
          checked  2 processes
          sandbox  my-sandbox
          try      more memory for the sandbox (memory_mb; of local, --tlsandbox-memory), or less for the
                   process
    """)


def test_secrets_in_arguments_are_masked_wherever_they_may_be_shown():
    row = raw(41, **TRAIN)
    for ask in (
        lambda box: box.assert_process(41, args=["--token=abc"]),
        lambda box: box.assert_process("train.py", args=["x", "--token", "abc"]),
        lambda box: box.wait_for_exit("--token=abc", timeout=0),
        lambda box: box.wait_for_process("tokn --token=abc", timeout=0),
        lambda box: box.assert_not_running("--token=abc"),
    ):
        assert "abc" not in told({0: [row]}, ask, verbosity=2)


def test_secrets_in_managed_names_are_masked_wherever_they_may_be_shown():
    row = raw(41, args=("app",), managed=managed("web --token=abc", restart_count=1))
    for ask in (
        lambda box: box.assert_process(41, name="web --token=abc2"),
        lambda box: box.wait_for_exit(by(name="web --token=abc"), timeout=0),
        lambda box: box.wait_for_process("web --token=abcd", timeout=0),
        lambda box: box.assert_not_running(41),
        lambda box: box.assert_no_restart(),
    ):
        message = told({0: [row]}, ask, verbosity=2)
        assert "web --token=***" in message
        assert "abc" not in message


def test_control_characters_are_escaped_and_long_lines_are_cut():
    row = raw(41, args=("a\x1b[31mb\nc\u202e" + "x" * 1000,))

    message = told({0: [row]}, lambda box: box.wait_for_exit(41, timeout=0), verbosity=2)

    assert "a\\x1b[31mb\\nc\\u202e" in message
    assert "\x1b" not in message
    assert "\u202e" not in message
    assert all(len(line) < 1100 for line in message.splitlines())


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
def test_a_time_is_given_with_the_precision_it_is_worth(value, expected):
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
def test_a_process_is_called_by_what_it_runs(command, args, expected):
    assert short_name(process(1, command=command, args=args)) == expected


def test_a_managed_process_is_called_by_its_name():
    assert named(process(7, managed=managed("web"))) == "web (pid 7)"
