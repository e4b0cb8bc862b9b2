"""Messages have a limited size and are rendered quickly, however much there is to report."""

from __future__ import annotations

import statistics
import time

import pytest

from pytest_tlsandbox import errors
from pytest_tlsandbox.redact import mask_text
from pytest_tlsandbox.types import Screen
from pytest_tlsandbox.waiting.conditions.status_and_fields import HasExited, HasStatus
from pytest_tlsandbox.waiting.outcome_to_error import error_of, error_of_several
from pytest_tlsandbox.waiting.polling import Wait
from pytest_tlsandbox.waiting.selectors import Selector
from tests.support import FakeClock, ScriptedLister, ended, raw

LINE = "step {} of 100000: loss 0.1234 accuracy 0.9876 token=abc lr 0.1" + " padding" * 5
# 10 MB in 100,000 lines, and in one line.
MANY_LINES = [LINE.format(number) for number in range(100_000)]
ONE_LINE = ["x" * 10_000_000]
MANY_ROWS = [
    raw(pid, args=(f"worker-{pid}.py", "--queue", "low", "--token=abc")) for pid in range(1, 200)
]


def client_of(rows, lines=()) -> ScriptedLister:
    """Return a client for these rows; each process has written these lines to stderr."""
    return ScriptedLister(FakeClock(), {0: rows}, written={0: ([], [*lines])})


def running(text: str, client) -> HasStatus:
    return HasStatus(Selector(text, client.history), ("running",))


def exits(pid: int, client) -> HasExited:
    return HasExited(Selector(pid, client.history), (0,))


def waited(condition, client) -> Wait:
    return Wait(condition, client, 0.0).run()


def timed(make):
    """Return the result of a function and its median processor time in milliseconds.

    Processor time does not depend on other programs on this machine.
    """
    times = []
    for _ in range(5):
        start = time.thread_time()
        made = make()
        times.append((time.thread_time() - start) * 1000)
    return made, statistics.median(times)


@pytest.mark.parametrize("verbosity", [-1, 0, 1, 2])
@pytest.mark.parametrize(
    ("rows", "lines", "condition", "first_line"),
    [
        (
            [*MANY_ROWS, raw(999, args=("train.py",), **ended(3))],
            lines,
            lambda client: exits(999, client),
            "Exited 3, wanted 0: train.py",
        )
        for lines in (MANY_LINES, ONE_LINE)
    ]
    + [
        (
            [*MANY_ROWS, raw(999)],
            [],
            lambda client: running("trian.pyx", client),
            'No process matches "trian.pyx" after 0 s: did you mean "train.py"?',
        ),
        (
            MANY_ROWS,
            [],
            lambda client: running("worker", client),
            '199 processes match "worker", wanted exactly one',
        ),
        (
            [raw(41, args=("train.py", *["--option=" + "v" * 90] * 1000))],
            MANY_LINES,
            lambda client: exits(41, client),
            "Still running after 0 s, wanted exit code 0: train.py",
        ),
    ],
    ids=["many lines", "one line", "none matches", "all match", "command line of 100 KB"],
)
def test_message_is_short_and_created_quickly_for_200_processes_or_10_mb_of_output(
    rows, lines, condition, first_line, verbosity
):
    client = client_of(rows, lines)
    wait = waited(condition(client), client)

    error, took = timed(lambda: error_of(wait, Screen(verbosity, 72)))

    message = str(error)
    assert took < 50
    assert message.splitlines()[0] == first_line
    assert len(message) < 100_000
    assert len(message.splitlines()) < {-1: 30, 0: 120, 1: 250, 2: 1000}[verbosity]
    assert "abc" not in message


def test_message_about_200_failed_checks_is_short_and_created_quickly():
    client = client_of(MANY_ROWS)
    conditions = [(f"check {number}", exits(number, client)) for number in range(1, 200)]
    wait = waited(conditions[0][1], client)
    told = [(name, 1, condition.evaluate(wait.timeline.last)) for name, condition in conditions]

    error, took = timed(lambda: error_of_several(told, wait, Screen(0, 72)))

    assert isinstance(error, errors.ChecksFailed)
    assert len(error.failures) == 199
    assert took < 50
    assert len(str(error).splitlines()) < 120


UNITS = ["token", "token=", "token='", "a", "://x@", "key-", '"', "Bearer ", "pass: ", "-pass"]
UNITS += ["tl_apiKey_", "--token ", '--token", ', "pass ", " ", "\\", "\\a"]


@pytest.mark.parametrize("before", ["", "--token ", "--token --", "--token \\", "pass"])
@pytest.mark.parametrize("unit", UNITS)
def test_masking_secrets_in_any_text_takes_less_than_half_a_second(unit, before):
    text = before + unit * (100_000 // len(unit))

    start = time.thread_time()
    mask_text(text)

    assert time.thread_time() - start < 0.5
