"""Progress reports of long waits, and the log."""

import contextlib
import logging
from unittest.mock import call

import pytest

from pytest_tlsandbox import errors
from pytest_tlsandbox.types import Screen
from tests.support import box_of, ended, failure, make, raw, unreachable

pytestmark = pytest.mark.usefixtures("no_jitter")

RUNNING = raw(41)


@pytest.fixture
def log(caplog):
    caplog.set_level(logging.DEBUG, logger="pytest_tlsandbox")
    return caplog


def logged(caplog, level):
    return [record.getMessage() for record in caplog.records if record.levelno == level]


# --------------------------------------------------------------- every fifteen seconds


def soft(box):
    with box.soft() as check:
        check.assert_process(41, status="running")


def exits(timeout):
    return call.wait_for_exit(41, timeout=timeout)


WROTE = ([], ["shard 1/8 loaded", "shard 2/8 loaded --token=abc123", "  "])
LAST = ": train.py: shard 2/8 loaded --token=***"
UNAVAILABLE = {0: [RUNNING], 10: unreachable(), 38: [RUNNING]}
EXPECTED = ", wanted exit code 0: train.py"
# For each wait: what is listed, what the process has written, the call, and what is said.
SAID = [
    ([RUNNING], WROTE, exits(20), [f"15 of 20 s: Still running{LAST}"]),
    ([RUNNING], ([], []), exits(20), [f"15 of 20 s: Still running{EXPECTED}"]),
    ([RUNNING], unreachable(), exits(20), [f"15 of 20 s: Still running{EXPECTED}"]),
    ([RUNNING], WROTE, exits(14.9), []),
    # No time is left to read output.
    ([RUNNING], WROTE, exits(15), [f"15 of 15 s: Still running{EXPECTED}"]),
    (UNAVAILABLE, WROTE, exits(50), [
        "15 of 50 s: no answer since +10 s (502 x7), wanted exit code 0",
        "31 of 50 s: no answer since +10 s (502 x15), wanted exit code 0",
        f"46 of 50 s: Still running{LAST}",
    ]),
    ([RUNNING], WROTE, call.wait_for_process("--token=abc123", timeout=20),
     ['15 of 20 s: No process matches "--token=***"']),
    ([RUNNING], WROTE, call.wait_for_process(41, stable_for=20, timeout=30),
     [f"15 of 30 s: as expected so far{LAST}"]),
    ([RUNNING], WROTE, call.assert_stays(41, stable_for=20),
     ["15 s: as expected so far, wanted a run time of 20 s"]),
    ({0: unreachable(), 20: [RUNNING]}, WROTE, soft,
     ["15 s: no answer since +0 s (502 x12), wanted status=running"]),
]  # fmt: skip


@pytest.mark.parametrize(("script", "written", "awaited", "expected"), SAID)
def test_wait_reports_the_current_state_and_the_last_line_of_output_every_15_s(
    script, written, awaited, expected
):
    lines = []
    box = box_of(script, written={0: written}, screen=Screen(say=lines.append))

    with contextlib.suppress(errors.TLSandboxError):
        make(awaited, box)

    assert lines == expected


def test_progress_report_reads_output_for_at_most_half_a_second():
    box = box_of([RUNNING], latency=0.05, screen=Screen(say=lambda _: None))
    failure(lambda: box.wait_for_exit(41, timeout=30.6), errors.WaitTimedOut)

    [(first, limit), (second, rest)] = [
        (at, limit) for at, stream, limit in box._client.reads if stream == "output"
    ]
    assert limit == 0.5
    assert 15 <= first < 15.5
    assert rest == pytest.approx(30.6 - second, abs=1e-5)  # reads are noted to the microsecond


# ------------------------------------------------------------------------------ the log


def test_log_shows_progress_with_the_sandbox_name_even_if_the_terminal_does_not(log):
    box = box_of({0: [RUNNING]})
    failure(lambda: box.wait_for_exit(41, timeout=50), errors.WaitTimedOut)

    said = [f"my-sandbox: waiting {at} of 50 s: Still running{EXPECTED}" for at in (15, 30, 45)]
    assert logged(log, logging.INFO) == said
    assert {record.name for record in log.records} == {"pytest_tlsandbox"}


def test_state_changes_are_logged_at_info_level_and_polls_at_debug_level(log):
    paused, exited = raw(42, status="\x1b[31mpaused"), raw(41, **ended(0))
    box = box_of({0: unreachable(), 0.1: [RUNNING], 0.2: [RUNNING, paused], 0.3: [exited]})
    box.wait_for_exit(41)

    assert logged(log, logging.INFO) == [
        "my-sandbox: train.py (pid 42): \\x1b[31mpaused",
        "my-sandbox: train.py (pid 41): exited 0",
        "my-sandbox: train.py (pid 42): not listed",
        "my-sandbox: exit code 0: yes, after 5 polls",
    ]
    answers = ["1 process", "1 process", "2 processes", "2 processes", "1 process"]
    assert logged(log, logging.DEBUG) == [
        "poll of my-sandbox failed: 502",
        *(f"poll of my-sandbox: {answer}" for answer in answers),
    ]
