"""``wait_for_output`` and ``output``."""

import re

import pytest

from pytest_tlsandbox import errors
from pytest_tlsandbox.types import Screen
from tests.support import T0, box_of, ended, failure, managed, polls, process, raw, unreachable

SERVER = raw(77, args=("server.py",))
ENDED = raw(77, args=("server.py",), **ended(1))
NOTHING = {0: ([], [])}


def output_box(script, written=NOTHING):
    return box_of(script, written=written, screen=Screen(columns=72))


def growing(every, times):
    """Return output that gets one more line again and again."""
    return {every * step: (["a"] * step, []) for step in range(times)}


@pytest.fixture(autouse=True)
def _no_jitter(monkeypatch):
    monkeypatch.setattr("pytest_tlsandbox.waiting.polling.with_jitter", lambda pause: pause)


# ----------------------------------------------------------------------------- matches


READY = "ready on 8080 (v1.2)"
MATCHES = [
    *((pattern, READY) for pattern in ("ready", " ", "(v1.2)", re.compile(r"n \d{4}\b"), re.compile("(?i)READY"))),
    ("INFO", "INFO: ready"),
    *((pattern, None) for pattern in ("v1x2", "READY", re.compile("^on"))),
]  # fmt: skip


@pytest.mark.parametrize("row", [SERVER, ENDED], ids=["running", "ended"])
@pytest.mark.parametrize(("pattern", "line"), MATCHES)
def test_wait_returns_the_first_line_that_matches_the_text_or_regex(pattern, line, row):
    box = output_box([row], {0: (["starting", READY, "ready 2"], ["INFO: ready"])})

    if line is None:
        failure(lambda: box.wait_for_output(77, pattern, timeout=0))
    else:
        assert box.wait_for_output("server.py", pattern) == line
    assert polls(box) == [0.0]


FIRST = raw(7, command="web", args=(), **ended(1), managed=managed("web", "backing_off"))
SECOND = raw(9, command="web", args=(), started_at=T0 + 10_000, managed=managed("web"))
LATER = {
    "written later": ([SERVER], 77, {**NOTHING, 3: (["starting"], [])}, 4),
    "written after the end": ({0: [SERVER], 1: [ENDED]}, 77, NOTHING, 1.5),
    "stored slowly after the end of a pid": ([ENDED], 77, growing(0.7, 12), 8.4),
    "stored slowly after the end of a text": ([ENDED], "server.py", growing(0.7, 12), 8.4),
    "started later": ({0: [], 2: [SERVER]}, "server.py", NOTHING, 2),
    "written by the next run": ({0: [FIRST], 3: [SECOND]}, "web", NOTHING, 4),
    "an outage": ([SERVER], 77, {0: unreachable()}, 3),
    "an outage after the end": ({0: [SERVER], 1: [ENDED]}, 77, {**NOTHING, 1: unreachable()}, 9),
}


@pytest.mark.parametrize(("script", "name", "written", "at"), LATER.values(), ids=LATER)
def test_wait_returns_a_line_that_appears_later(script, name, written, at):
    box = output_box(script, {**written, at: (["ready"], [])})

    assert box.wait_for_output(name, "ready") == "ready"
    assert at <= polls(box)[-1] < at + 0.3


def test_each_read_of_output_is_limited_by_the_deadline_of_the_wait():
    box = output_box([SERVER])

    failure(lambda: box.wait_for_output(77, "ready", timeout=6), errors.WaitTimedOut)

    searched = [(at, limit) for at, stream, limit in box._client.reads if stream == "output"]
    assert searched[0] == (0.0, 5.0)
    assert all(limit == pytest.approx(min(5.0, max(6 - at, 0.5))) for at, limit in searched)
    assert searched[-1] == (6.0, 0.5)


# -------------------------------------------------------------------------- no match


REGEXES = [r"a \d+", "up.*", "^up", "up$", "(a)+", "[a-z]+", "up|ready", r"v1\.2", "(?i)UP"]
PLAIN = ["(v1.2)", "up...", "costs $5", "[app] up", "5 % (3/6)", "a | b", "(y/n)?", "(?)", "$ "]


@pytest.mark.parametrize("row", [SERVER, ENDED], ids=["running", "ended"])
@pytest.mark.parametrize("pattern", [*REGEXES, *PLAIN, re.compile(r"port \d+")])
def test_hint_about_regexes_appears_only_if_the_text_looks_like_a_regex(pattern, row):
    box = output_box([row], {0: (["listening"], [])})
    hint = "hint use re.compile(...): the text looks like a regular expression, but is matched"

    message = str(failure(lambda: box.wait_for_output(77, pattern, timeout=0)))

    assert (hint in " ".join(message.split())) == (pattern in REGEXES)


def test_wait_fails_one_second_after_the_last_line_from_an_ended_process():
    lines = ["one", "two", "three"]
    box = output_box([ENDED], {0.9 * step: (lines[: step + 1], []) for step in range(3)})

    error = failure(lambda: box.wait_for_output(77, "ready"), errors.UnexpectedExit)

    assert "\n  none of its 3 lines of output matches\n" in str(error)
    assert 2.8 <= polls(box)[-1] < 3.2


def test_wait_reads_output_until_the_deadline_if_the_output_keeps_growing():
    """The children of an ended process can go on writing."""
    box = output_box([ENDED], growing(0.5, 20))

    error = failure(lambda: box.wait_for_output(77, "ready", timeout=5), errors.UnexpectedExit)

    assert polls(box)[-1] == 5.0
    assert "\n  the wait ended before this was settled\n" in str(error)


LOST = [([ENDED], 77, 1), ([ENDED], "server.py", 2), ({0: [SERVER], 2: [ENDED]}, 77, 3)]


@pytest.mark.parametrize(("script", "name", "seconds"), LOST)
def test_waiting_for_output_fails_one_or_two_seconds_after_the_process_has_ended(
    script, name, seconds
):
    box = output_box(script, {0: (["one"], [])})

    failure(lambda: box.wait_for_output(name, "ready", timeout=60), errors.UnexpectedExit)

    assert seconds <= polls(box)[-1] < seconds + 0.3


# ------------------------------------------------------------------------------ output()


def test_output_of_an_ended_process_is_read_until_it_no_longer_changes():
    written = {0: (["a"], ["up"]), 0.04: (["a", "b"], ["up"]), 0.09: (["a", "b", "c"], ["up"])}
    box = output_box({0: [ENDED]}, written)

    assert box.output(77) == ["a", "b", "c", "up"]
    assert box._client.reads == [(at, "output", None) for at in (0, 0.05, 0.1, 0.15)]


READINGS = {"running": (SERVER, 77, 1), "ended": (ENDED, 77, 2), "backing off": (FIRST, "web", 2)}


@pytest.mark.parametrize(("row", "who", "readings"), READINGS.values(), ids=READINGS)
def test_output_is_read_twice_if_the_process_has_ended_and_otherwise_once(row, who, readings):
    box = output_box({0: [row]}, {0: (["one"], ["up"])})

    assert box.output(who, "stderr") == ["up"]
    assert box._client.reads == [(0.05 * reading, "stderr", None) for reading in range(readings)]


@pytest.mark.parametrize(("deadline", "lines", "at"), [(None, 20, 1), (1000.45, 4, 0.2)])
def test_output_of_an_ended_process_is_read_for_at_most_one_second(deadline, lines, at):
    box = output_box([ENDED], growing(0.05, 60))
    box._client.test_deadline = lambda: deadline

    assert box.output(77) == ["a"] * lines
    assert box._client.reads[-1][0] == at


def test_reading_the_output_of_a_process_that_is_not_listed_fails_at_the_first_poll():
    box = output_box([SERVER])

    failure(lambda: box.output("none"), errors.ProcessNotFound)

    assert polls(box) == [0.0]


READS = [lambda box, job: box.wait_for_output(job, "one"), lambda box, job: box.output(job)]


@pytest.mark.parametrize("read", READS)
def test_output_from_another_process_with_the_same_pid_is_not_returned(read):
    """The API returns output by pid, and the kernel reuses pids."""
    web = raw(77, handle=90, command="web", args=(), started_at=T0 + 60_000)
    box = output_box([ENDED, web], {0: (["one"], [])})

    error = failure(lambda: read(box, process(77)), errors.Inconclusive)

    assert error.first_line == "Output lost: server.py"
    assert "another process has pid 77 now, and output is requested by pid" in str(error)
    assert "\n  process  python server.py\n" in str(error)
    assert "\n  hint     read the output before the process ends" in str(error)


def test_output_of_a_run_whose_supervisor_started_the_next_run_is_lost():
    runs = [
        raw(pid, started_at=T0 + pid, managed=managed(restart_count=count, last_exit=last))
        for pid, count, last in [(40, 0, None), (41, 1, {"exit_code": 1})]
    ]
    box = output_box({0: runs[:1], 0.5: runs[1:]})

    error = failure(lambda: box.wait_for_output(40, "ready"), errors.Inconclusive)

    assert error.first_line == "Output lost: web"
    assert "no listed process has pid 40 now" in str(error)


# --------------------------------------------------------------- infrastructure errors


def test_error_from_output_calls_at_the_deadline_is_reported_with_its_cause():
    fault = unreachable(text="cannot be reached: TLS\nthe certificate has expired")
    box = output_box([SERVER], {0: fault})

    error = failure(lambda: box.wait_for_output(77, "ready", timeout=2), errors.SandboxUnreachable)

    first, _, *rest = str(error).splitlines()
    assert first == "Output of server.py not read after 2 s: my-sandbox cannot be reached: TLS"
    run = "  run      pid 77, started 16:00:00.000 UTC"
    assert rest == ["  the certificate has expired", "  process  python server.py", run]


def test_permanent_error_from_an_output_call_ends_the_wait_immediately():
    refused = errors.AuthenticationFailed("my-sandbox rejected the API key (401)", label="401")
    box = output_box([SERVER], {**NOTHING, 1: refused})

    error = failure(lambda: box.wait_for_output(77, "ready"), errors.AuthenticationFailed)

    assert polls(box)[-1] < 1.2
    assert error.first_line == "Output of server.py not read: my-sandbox rejected the API key (401)"
