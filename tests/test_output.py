"""Waiting for a line that a process writes."""

from __future__ import annotations

import re
from textwrap import dedent

import pytest

from pytest_tlsandbox import errors
from pytest_tlsandbox.sandbox import Sandbox
from pytest_tlsandbox.types import Screen
from tests.support import T0, FakeClock, ScriptedLister, ended, managed, raw, signaled

SERVER = raw(77, args=("server.py",))
ENDED = raw(77, args=("server.py",), **ended(1))


class WritingLister(ScriptedLister):
    """Has each process write what a script says, by the seconds since the first look.

    ``written`` maps a time to the lines on stdout and stderr from then on, or to a fault that
    reading them meets.
    """

    def __init__(self, script, written):
        super().__init__(FakeClock(), script)
        self._written = written
        self.reads: list[tuple[float, str, float | None]] = []

    def output(self, pid, stream="output", *, limit=None):
        at = self.clock.monotonic() - self._start
        self.reads.append((round(at, 6), stream, limit))
        answer = self._written[max(time for time in self._written if time <= at + 1e-9)]
        if isinstance(answer, errors.InfrastructureError):
            raise answer
        stdout, stderr = answer
        return {"stdout": stdout, "stderr": stderr, "output": [*stdout, *stderr]}[stream]


def box_of(script, written) -> tuple[Sandbox, WritingLister]:
    lister = WritingLister(script, written)
    return Sandbox(lister, screen=Screen(columns=72)), lister


def fault(text="my-sandbox answered 502", label="502", *, transient=True):
    return errors.SandboxUnreachable(text, label=label, transient=transient)


def told(call, error) -> str:
    with pytest.raises(error) as caught:
        call()
    return str(caught.value)


def text(indented: str) -> str:
    return dedent(indented).strip()


@pytest.fixture(autouse=True)
def _no_jitter(monkeypatch):
    monkeypatch.setattr("pytest_tlsandbox.waiting.polling.with_jitter", lambda pause: pause)


# --------------------------------------------------------------------------- it matches


def test_a_line_that_is_there_is_found_at_the_first_look():
    box, lister = box_of({0: [SERVER]}, {0: (["starting", "ready on 8080"], [])})

    assert box.wait_for_output("server.py", "ready") == "ready on 8080"
    assert lister.polls == [0.0]


def test_a_line_that_comes_later_is_waited_for():
    box, lister = box_of(
        {0: [SERVER]}, {0: ([], []), 3: (["starting"], []), 4: (["starting", "ready"], [])}
    )

    assert box.wait_for_output(77, "ready", timeout=10) == "ready"
    assert 4 <= lister.polls[-1] < 4.3


def test_the_first_of_the_lines_that_match_is_given():
    box, _ = box_of({0: [SERVER]}, {0: (["ready 1", "ready 2"], ["ready 0"])})

    assert box.wait_for_output(77, "ready") == "ready 1"


def test_a_line_on_stderr_counts_too():
    box, _ = box_of({0: [SERVER]}, {0: (["starting"], ["INFO: ready"])})

    assert box.wait_for_output(77, "ready") == "INFO: ready"


def test_a_text_is_taken_as_it_is_and_a_regex_as_a_regex():
    written = {0: (["listening on 0.0.0.0:8080 (v1.2)"], [])}

    assert box_of({0: [SERVER]}, written)[0].wait_for_output(77, "(v1.2)")
    assert box_of({0: [SERVER]}, written)[0].wait_for_output(77, re.compile(r":\d{4}\b"))
    assert box_of({0: [SERVER]}, written)[0].wait_for_output(
        77, re.compile("LISTEN", re.IGNORECASE)
    )
    for pattern in ("v1x2", "LISTENING", re.compile("^on")):
        told(
            lambda pattern=pattern: box_of({0: [SERVER]}, written)[0].wait_for_output(
                77, pattern, timeout=0
            ),
            errors.WaitTimedOut,
        )


def test_a_line_is_found_whether_the_process_still_runs_or_not():
    box, lister = box_of({0: [ENDED]}, {0: (["ready"], [])})

    assert box.wait_for_output("server.py", "ready") == "ready"
    assert lister.polls == [0.0]


def test_the_last_words_of_a_process_may_come_a_moment_after_its_end():
    box, _ = box_of({0: [SERVER], 1: [ENDED]}, {0: ([], []), 1.5: (["ready"], [])})

    assert box.wait_for_output(77, "ready") == "ready"


@pytest.mark.parametrize("process", [77, "server.py"])
def test_output_that_is_stored_more_than_a_second_after_the_end_is_waited_for(process):
    growing = {0.7 * step: (["a"] * step, []) for step in range(12)}
    box, lister = box_of({0: [ENDED]}, {**growing, 8.4: ([*["a"] * 12, "THE END"], [])})

    assert box.wait_for_output(process, "THE END") == "THE END"
    assert 8.4 <= lister.polls[-1] < 8.7


def test_a_process_that_is_yet_to_come_is_waited_for():
    box, lister = box_of({0: [], 2: [SERVER]}, {0: (["ready"], [])})

    assert box.wait_for_output("server.py", "ready", timeout=10) == "ready"
    assert 2 <= lister.polls[-1] < 2.3


def test_a_managed_process_is_read_over_its_restarts():
    first = raw(7, command="web", args=(), **ended(1), managed=managed("web", "backing_off"))
    second = raw(9, command="web", args=(), started_at=T0 + 10_000, managed=managed("web"))
    box, _ = box_of({0: [first], 3: [second]}, {0: ([], []), 4: (["ready"], [])})

    assert box.wait_for_output("web", "ready", timeout=10) == "ready"


def test_each_read_has_as_long_as_the_wait_has_and_half_a_second_at_its_end():
    box, lister = box_of({0: [SERVER]}, {0: ([], [])})

    told(lambda: box.wait_for_output(77, "ready", timeout=6), errors.WaitTimedOut)

    searched = [(at, limit) for at, stream, limit in lister.reads if stream == "output"]
    assert searched[0] == (0.0, 5.0)
    assert all(limit == pytest.approx(min(5.0, max(6 - at, 0.5))) for at, limit in searched)
    assert searched[-1] == (6.0, 0.5)


# -------------------------------------------------------------------------- it does not


def test_a_line_that_never_comes_is_told_with_the_lines_that_came():
    box, _ = box_of({0: [SERVER]}, {0: (["starting", "migrating"], [])})

    assert told(lambda: box.wait_for_output(77, "ready", timeout=5), errors.WaitTimedOut) == text(
        """
        Not written: "ready" by server.py (pid 77) after 5 s

          2 lines so far, and none has it
          process  python server.py
          lived    since 16:00:00.000 (sandbox clock, UTC)
          looks    54, 0 ms each
          stdout   2 lines
                   | starting
                   | migrating
          sandbox  my-sandbox
          try      a longer timeout=, if it only needs more time
        """
    )


def test_where_nothing_was_written_buffering_is_a_guess():
    box, _ = box_of({0: [SERVER]}, {0: ([], [])})

    message = told(
        lambda: box.wait_for_output(77, re.compile("rea.y"), timeout=1), errors.WaitTimedOut
    )

    assert message == text(
        """
        Not written: /rea.y/ by server.py (pid 77) after 1 s

          it has written nothing
          process  python server.py
          lived    since 16:00:00.000 (sandbox clock, UTC)
          looks    20, 0 ms each
          output   none on stderr or stdout
          sandbox  my-sandbox
          try      is its output buffered? python -u and PYTHONUNBUFFERED=1
                   write at once; a longer timeout=, if it only needs more time
        """
    )


@pytest.mark.parametrize("row", [SERVER, ENDED], ids=["running", "ended"])
@pytest.mark.parametrize(
    "pattern",
    [
        r"port \d+",
        "ready.*",
        "^ready",
        "ready$",
        "(ready)+",
        "[a-z]+",
        "up|ready",
        r"v1\.2",
        "(?i)UP",
    ],
)
def test_text_that_looks_like_a_regex_is_reported_as_such(pattern, row):
    box, _ = box_of({0: [row]}, {0: (["listening on port 80"], [])})

    message = told(
        lambda: box.wait_for_output(77, pattern, timeout=2),
        (errors.WaitTimedOut, errors.UnexpectedExit),
    )

    assert (
        "re.compile(...): the text looks like a regular expression, but is searched for literally; "
        in " ".join(message.split())
    )


def test_a_regex_given_as_text_is_reported_with_what_makes_it_a_regex():
    box, _ = box_of({0: [SERVER]}, {0: (["listening on port 80"], [])})

    message = told(lambda: box.wait_for_output(77, r"port \d+", timeout=1), errors.WaitTimedOut)

    assert message == text(
        r"""
        Not written: "port \d+" by server.py (pid 77) after 1 s

          1 line so far, and none has it
          process  python server.py
          lived    since 16:00:00.000 (sandbox clock, UTC)
          looks    20, 0 ms each
          stdout   1 line
                   | listening on port 80
          sandbox  my-sandbox
          try      re.compile(...): the text looks like a regular expression,
                   but is searched for literally; a longer timeout=, if it only
                   needs more time
        """
    )


@pytest.mark.parametrize(
    "pattern",
    [
        "(v1.2)",
        "ready...",
        "costs $5",
        "[my-app] up",
        "50 % (3/6)",
        "a | b",
        "Sure (y/n)?",
        "Is it (?)",
        "$ ",
    ],
)
def test_text_with_punctuation_does_not_look_like_a_regex(pattern):
    box, _ = box_of({0: [SERVER]}, {0: (["starting"], [])})

    message = told(lambda: box.wait_for_output(77, pattern, timeout=0), errors.WaitTimedOut)

    assert "re.compile" not in message


def test_a_compiled_regex_that_does_not_match_is_not_reported_as_text():
    box, _ = box_of({0: [SERVER]}, {0: (["starting"], [])})

    message = told(
        lambda: box.wait_for_output(77, re.compile(r"port \d+"), timeout=0), errors.WaitTimedOut
    )

    assert "re.compile" not in message


def test_a_process_that_ends_without_it_ends_the_wait():
    box, lister = box_of(
        {0: [SERVER], 2: [ENDED]}, {0: (["starting"], ["OSError: address in use"])}
    )

    message = told(lambda: box.wait_for_output(77, "ready", timeout=60), errors.UnexpectedExit)

    assert 3 <= lister.polls[-1] < 3.3
    assert message == text(
        """
        Ended already: server.py (pid 77) ran 9 s and exited 1, wanted a line with "ready"

          stopped after 3.1 s of 60 s: it has ended, and wrote no such line in 2
          lines
          process   python server.py
          lived     9 s, 16:00:00.000 to 16:00:09.000 (sandbox clock, UTC)
          timeline  +0 s running, 35 looks | +2.1 s exited 1, 10 looks
          looks     45, 0 ms each
          stderr    1 line
                    | OSError: address in use
          sandbox   my-sandbox
          try       the rest of its output: output(process)
        """
    )


def test_one_that_was_killed_for_memory_is_told_as_that():
    oom = raw(77, args=("server.py",), **signaled(9, status="oom_killed", oom_killed=True))
    box, _ = box_of({0: [SERVER], 1: [oom]}, {0: (["starting"], [])})

    message = told(lambda: box.wait_for_output(77, "ready"), errors.ProcessOOMKilled)

    assert message.startswith('OOM-killed: server.py (pid 77), wanted a line with "ready"\n')
    assert "more memory for the sandbox" in message


def test_how_many_lines_it_wrote_is_counted_at_the_last_look():
    box, _ = box_of({0: [ENDED]}, {0: ([], []), 0.5: (["one", "two", "three"], [])})

    message = told(lambda: box.wait_for_output(77, "ready"), errors.UnexpectedExit)

    assert "wrote no such line in 3 lines" in " ".join(message.split())


def test_the_wait_ends_a_second_after_the_stored_output_last_grew():
    written = {0: (["one"], []), 0.9: (["one", "two"], []), 1.8: (["one", "two", "three"], [])}
    box, lister = box_of({0: [ENDED]}, written)

    message = told(lambda: box.wait_for_output(77, "ready"), errors.UnexpectedExit)

    assert "wrote no such line in 3 lines" in " ".join(message.split())
    assert 2.8 <= lister.polls[-1] < 3.2


def test_output_that_grows_without_end_is_read_until_the_deadline():
    """As that of a process whose children go on writing."""
    box, lister = box_of({0: [ENDED]}, {0.5 * step: (["a"] * step, []) for step in range(20)})

    message = told(lambda: box.wait_for_output(77, "ready", timeout=5), errors.UnexpectedExit)

    assert lister.polls[-1] == 5.0
    assert "5 s: the deadline came before it could change" in " ".join(message.split())


def test_a_process_that_is_not_there_is_not_found():
    box, _ = box_of({0: [SERVER]}, {0: ([], [])})

    message = told(lambda: box.wait_for_output("sevrer.py", "x", timeout=1), errors.ProcessNotFound)

    assert message.startswith('No process "sevrer.py" in my-sandbox after 1 s\n')


# ------------------------------------------------------------------------------ output()


def test_output_after_the_end_is_read_until_two_readings_agree():
    one, two, three = ["one"], ["one", "two"], ["one", "two", "three"]
    box, lister = box_of(
        {0: [ENDED]}, {0: (one, ["up"]), 0.04: (two, ["up"]), 0.09: (three, ["up"])}
    )

    assert box.output(77) == [*three, "up"]
    assert lister.reads == [(at, "output", None) for at in (0, 0.05, 0.1, 0.15)]


@pytest.mark.parametrize(("row", "readings"), [(SERVER, 1), (ENDED, 2)], ids=["running", "ended"])
def test_output_that_does_not_grow_is_read_once_and_after_the_end_once_more(row, readings):
    box, lister = box_of({0: [row]}, {0: (["one"], ["up"])})

    assert box.output(77, "stderr") == ["up"]
    assert lister.reads == [(0.05 * reading, "stderr", None) for reading in range(readings)]


def test_output_that_goes_on_growing_after_the_end_is_read_for_one_second():
    box, lister = box_of({0: [ENDED]}, {0.05 * step: (["a"] * step, []) for step in range(60)})

    assert box.output(77) == ["a"] * 20
    assert lister.reads[-1][0] == 1


def test_output_is_not_read_again_when_the_test_is_about_to_be_killed():
    box, lister = box_of({0: [ENDED]}, {0.05 * step: (["a"] * step, []) for step in range(60)})
    lister.test_deadline = lambda: 1000.45

    assert box.output(77) == ["a"] * 4
    assert lister.reads[-1][0] == 0.2


# ------------------------------------------------------------------------------ faults


def test_a_fault_that_passes_while_it_is_read_is_ridden_out():
    box, lister = box_of({0: [SERVER]}, {0: fault(), 3: (["ready"], [])})

    assert box.wait_for_output(77, "ready", timeout=10) == "ready"
    assert 3 <= lister.polls[-1] < 3.3


def test_output_that_could_not_be_read_to_the_end_is_a_fault_and_no_judgement():
    box, _ = box_of({0: [SERVER]}, {0: fault()})

    with pytest.raises(errors.SandboxUnreachable) as caught:
        box.wait_for_output(77, "ready", timeout=2)

    assert not isinstance(caught.value, AssertionError)
    assert caught.value.first_line == "Not read: the output of server.py (pid 77) after 2 s"
    assert "my-sandbox answered 502" in str(caught.value)


def test_a_fault_while_the_output_of_one_that_has_ended_is_read_is_ridden_out_too():
    """What it wrote can be read when the sandbox answers again."""
    box, _ = box_of({0: [SERVER], 1: [ENDED]}, {0: ([], []), 1: fault(), 9: (["ready"], [])})

    assert box.wait_for_output(77, "ready", timeout=20) == "ready"


def test_a_fault_that_is_final_ends_the_wait_at_once():
    refused = errors.AuthenticationFailed("my-sandbox: the API key was refused (401)", label="401")
    box, lister = box_of({0: [SERVER]}, {0: ([], []), 1: refused})

    with pytest.raises(errors.AuthenticationFailed) as caught:
        box.wait_for_output(77, "ready", timeout=60)

    assert lister.polls[-1] < 1.2
    assert caught.value.first_line == "Not read: the output of server.py (pid 77)"
    assert "my-sandbox: the API key was refused (401)" in str(caught.value)


# --------------------------------------------------------------------- called wrongly


@pytest.mark.parametrize(
    ("pattern", "got"),
    [
        (None, "None"),
        (3, "3"),
        (b"ready", "a value of type bytes"),
        (re.compile(b"ready"), "a regex of bytes"),
        (["ready"], "['ready']"),
    ],
)
def test_what_is_no_text_and_no_regex_is_an_error_before_anything_is_asked(pattern, got):
    box, lister = box_of({0: [SERVER]}, {0: ([], [])})

    message = told(lambda: box.wait_for_output(77, pattern), errors.InvalidArgument)

    assert message == f"pattern must be text from one line or a compiled regex, got {got}"
    assert lister.polls == []


def test_a_secret_in_a_pattern_is_masked_and_so_it_is_in_the_lines():
    box, _ = box_of({0: [SERVER]}, {0: (["TOKEN=abc123"], [])})

    message = told(lambda: box.wait_for_output(77, "TOKEN=xyz789", timeout=0), errors.WaitTimedOut)

    assert "abc123" not in message
    assert "xyz789" not in message
    assert "| TOKEN=***" in message
