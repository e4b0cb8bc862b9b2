"""``wait_for_output`` and ``output``."""

import re

import pytest

from pytest_tlsandbox import errors
from pytest_tlsandbox.types import Screen
from tests.support import T0, box_of, ended, failure, managed, polls, process, raw, unreachable

pytestmark = pytest.mark.usefixtures("no_jitter")

SERVER = raw(77, args=("server.py",))
ENDED = raw(77, args=("server.py",), **ended(1))
NOTHING, ONE = {0: ([], [])}, {0: (["one"], ["up"])}


def output_box(script, written=NOTHING):
    return box_of(script, written=written, screen=Screen(columns=72))


def growing(every, times):
    """Return output that gets one more line again and again."""
    return {every * step: (["a"] * step, []) for step in range(times)}


# ----------------------------------------------------------------------------- matches


READY = "ready on 8080 (v1.2)"
FOUND = ["ready", " ", "(v1.2)", re.compile(r"n \d{4}\b"), re.compile("(?i)READY")]
MATCHES = [
    *((pattern, READY) for pattern in FOUND),
    ("INFO", "INFO: ready"),
    *((pattern, None) for pattern in ("v1x2", "READY", re.compile("^on"))),
]


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


NEXT = managed(restart_count=1, last_exit={"exit_code": 1})
EXPIRED = unreachable(text="cannot be reached: TLS\nthe certificate has expired")
REFUSED = errors.AuthenticationFailed("my-sandbox rejected the API key (401)", label="401")
BEFORE = 'UnexpectedExit: Exited 1 before the wait began without printing "ready": server.py'
AFTER = BEFORE.replace("before the wait began", "after 9 s")
FAILS = {
    "a pid ended before": ([ENDED], 77, ONE, 1, BEFORE, ""),
    "a text ended before": ([ENDED], "server.py", ONE, 2, BEFORE, ""),
    "a pid ends": ({0: [SERVER], 2: [ENDED]}, 77, ONE, 3, AFTER, ""),
    "last line at 1.8 s": ([ENDED], 77, growing(0.9, 3), 2.8, BEFORE, "none of its 2 lines"),
    # The children of an ended process can go on writing.
    "growing": ([ENDED], 77, growing(0.5, 20), 5, BEFORE, "the wait ended before this was settled"),
    "restarted": ({0: [raw(40, managed=managed())], 1: [raw(41, managed=NEXT)]}, 40, ONE, 1,
        "Inconclusive: Output lost: web", "no listed process has pid 40 now"),
    "outage": ([SERVER], 77, {0: EXPIRED}, 5, "SandboxUnreachable: "
        "Output of server.py not read after 5 s: my-sandbox cannot be reached: TLS",
        "\n  the certificate has expired\n  process  python server.py\n  run "),
    "key refused": ([SERVER], 77, {**NOTHING, 1: REFUSED}, 1,
        f"AuthenticationFailed: Output of server.py not read: {REFUSED}", ""),
}  # fmt: skip


@pytest.mark.parametrize("case", FAILS.values(), ids=FAILS)
def test_wait_fails_as_soon_as_no_line_can_match_any_more(case):
    script, name, written, at, line, why = case
    box = output_box(script, written)

    error = failure(lambda: box.wait_for_output(name, "ready", timeout=5))

    assert f"{type(error).__name__}: {error}".startswith(line)
    assert why in str(error)
    assert at <= polls(box)[-1] < at + 0.3


# ------------------------------------------------------------------------------ output()


GROWING = growing(0.05, 60)
CHANGED = {**growing(0.045, 3), 0.1: (["a"], ["b"])}  # the last one is as long as the one before
READINGS = {
    "running": (SERVER, 77, ONE, None, "stderr", 1, ["up"]),
    "ended": (ENDED, 77, ONE, None, "stderr", 2, ["up"]),
    "backing off": (FIRST, "web", ONE, None, "output", 2, ["one", "up"]),
    "changed": (ENDED, 77, CHANGED, None, "output", 4, ["a", "b"]),
    "growing": (ENDED, 77, GROWING, None, "stdout", 21, ["a"] * 20),
    "little time": (ENDED, 77, GROWING, 1000.45, "stdout", 5, ["a"] * 4),
}


@pytest.mark.parametrize("case", READINGS.values(), ids=READINGS)
def test_output_of_an_ended_process_is_read_until_it_no_longer_changes_or_for_one_second(case):
    row, who, written, deadline, stream, readings, lines = case
    box = output_box([row], written)
    box._client.test_deadline = lambda: deadline

    assert box.output(who, stream) == lines
    times = [round(0.05 * reading, 6) for reading in range(readings)]
    assert box._client.reads == [(at, stream, None) for at in times]


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
