"""Messages have a limited size and are rendered quickly, however much there is to report."""

import statistics
import time
import timeit

import pytest

from pytest_tlsandbox.redact import mask_text
from pytest_tlsandbox.types import Screen
from pytest_tlsandbox.waiting.conditions.status_and_fields import HasExited, HasStatus
from pytest_tlsandbox.waiting.outcome_to_error import error_of, error_of_several
from pytest_tlsandbox.waiting.polling import Wait
from pytest_tlsandbox.waiting.selectors import Selector
from tests.rows import ended, raw
from tests.support import FakeClock, ScriptedLister

LINE = "step {} of 100000: loss 0.1234 accuracy 0.9876 token=abc lr 0.1" + " padding" * 5
# 10 MB in 100,000 lines, and in one line.
MANY_LINES = [LINE.format(number) for number in range(100_000)]
ONE_LINE = ["x" * 10_000_000]
MANY_ROWS = [raw(pid, args=(f"worker-{pid}.py", "--token=abc")) for pid in range(1, 200)]
LONG_ROW = raw(41, args=("train.py", *["--option=" + "v" * 90] * 1000))


def waited(condition, rows, lines=()) -> Wait:
    """Return a wait for a condition on processes that have written these lines to stderr."""
    client = ScriptedLister(FakeClock(), {0: rows}, written={0: ([], [*lines])})
    return Wait(condition(client.history), client, 0.0).run()


def runs(text: str):
    return lambda history: HasStatus(Selector(text, history), ("running",))


def exits(pid: int):
    return lambda history: HasExited(Selector(pid, history), (0,))


def median_time(make) -> float:
    """Return the median processor time of a function, in milliseconds.

    Processor time does not depend on other programs on this machine.
    """
    return statistics.median(timeit.repeat(make, timer=time.thread_time, number=1, repeat=5)) * 1000


# fmt: off
CASES = {
    "Exited 3, wanted 0: train.py": (
        exits(999), [*MANY_ROWS, raw(999, **ended(3))], MANY_LINES),
    "Exited 3, wanted 0: job.py": (
        exits(999), [*MANY_ROWS, raw(999, args=("job.py",), **ended(3))], ONE_LINE),
    'No process matches "trian.pyx" after 0 s: did you mean "train.py"?': (
        runs("trian.pyx"), [*MANY_ROWS, raw(999)], []),
    '199 processes match "worker", wanted exactly one': (runs("worker"), MANY_ROWS, []),
    "Still running after 0 s, wanted exit code 0: train.py": (exits(41), [LONG_ROW], MANY_LINES),
}
# fmt: on


@pytest.mark.parametrize(("line", "case"), CASES.items())
def test_message_about_200_processes_or_10_mb_of_output_is_short_and_created_quickly(line, case):
    wait = waited(*case)

    for verbosity, most_lines in {-1: 30, 0: 120, 1: 250, 2: 1000}.items():
        error = error_of(wait, Screen(verbosity, 72))
        lines = str(error).splitlines()
        assert lines[0] == line
        assert len(lines) < most_lines
        assert len(str(error)) < 100_000
        assert "abc" not in str(error)
    assert median_time(lambda: error_of(wait, Screen(2, 72))) < 50


def test_message_about_200_failed_checks_is_short_and_created_quickly():
    wait = waited(exits(1), MANY_ROWS)
    conditions = [exits(pid)(wait.client.history) for pid in range(1, 200)]
    checks = [("check", "1", condition.evaluate(wait.timeline.last)) for condition in conditions]

    error = error_of_several(checks, wait, Screen(0, 72))

    assert len(error.failures) == 199
    assert len(str(error).splitlines()) < 120
    assert median_time(lambda: error_of_several(checks, wait, Screen(0, 72))) < 50


UNITS = ["token", "token=", "token='", "a", "://x@", "key-", '"', "Bearer ", "pass: ", "-pass"]
UNITS += ["tl_apiKey_", "--token ", '--token", ', "pass ", " ", "\\", "\\a"]


@pytest.mark.parametrize("before", ["", "--token ", "--token --", "--token \\", "pass"])
@pytest.mark.parametrize("unit", UNITS)
def test_masking_secrets_in_any_text_takes_less_than_half_a_second(unit, before):
    text = before + unit * (100_000 // len(unit))

    start = time.thread_time()
    mask_text(text)

    assert time.thread_time() - start < 0.5
