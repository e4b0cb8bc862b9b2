"""Which processes a selector selects."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest

from pytest_tlsandbox.errors import InvalidArgument
from pytest_tlsandbox.history.history import History
from pytest_tlsandbox.waiting.selectors import Selector, by, label_of
from tests.support import T0, ended, managed, process, raw, snapshot

TRAIN = raw(41, args=("train.py", "--lr", "0.1"))
SERVE = raw(42, command="bash", args=("-lc", "./serve.sh"), started_at=T0 + 1000)
WEB = raw(43, command="gunicorn", args=("app",), started_at=T0 + 2000, managed=managed("web"))
ALL = snapshot(TRAIN, SERVE, WEB)


def restarted() -> tuple[dict, dict]:
    """Return the rows of a failed run and of the run after it."""
    last_exit = {"exit_code": 1, "signal": None, "oom_killed": False, "ended_at": T0 + 9000}
    supervised = {"managed": managed("web", restart_count=1, last_exit=last_exit)}
    return raw(7, **ended(1), **supervised), raw(8, started_at=T0 + 9500, **supervised)


def history_of(*snapshots) -> History:
    history = History(lambda: 0.0)
    for seen in snapshots:
        history.fold(seen)
    return history


def selected(meant, seen, baseline=None):
    history = history_of(seen) if baseline is None else history_of(baseline, seen)
    return Selector(meant, history, baseline).select(seen)


def pids(meant, seen=ALL, baseline=None):
    return [row.pid for row in selected(meant, seen, baseline).matches]


@pytest.mark.parametrize(
    ("meant", "expected"),
    [
        ("train.py", [41]),
        ("python train.py --lr 0.1", [41]),
        ("trian.py", []),
        ("web", [43]),
        (41, [41]),
        (99, []),
        (re.compile(r"serve\.sh$"), [42]),
        (by(command="bash"), [42]),
        (by(command="bas"), []),
        (by(args=["-lc", "./serve.sh"]), [42]),
        (by(args=("-lc", "./serve.sh")), [42]),
        (by(name="web"), [43]),
        (by(handle=41), [41]),
        (by(pid=42, command="bash"), [42]),
        (by(name="web", command="other"), []),
        (lambda row: row.pid > 41, [42, 43]),
        (process(42, started_at=T0 + 1000), [42]),
        (process(42, started_at=T0), []),
        (process(99, managed=managed("web")), [43]),
    ],
)
def test_selector_matches_the_expected_processes(meant, expected):
    assert pids(meant) == expected


def test_text_that_equals_a_managed_name_selects_only_the_process_with_that_name():
    other = raw(50, command="curl", args=("web",))

    assert pids("web", snapshot(WEB, other)) == [43]


def test_managed_process_stays_selected_across_restarts():
    first, second = restarted()
    object_of_the_first = process(7, managed=managed("web"))

    for meant in ("web", "train.py", by(name="web"), object_of_the_first):
        assert pids(meant, snapshot(first, second)) == [8]


def test_pid_selects_the_newest_row_with_that_pid():
    old = raw(42, handle=2, **ended(0))
    new = raw(42, handle=90, started_at=T0 + 60_000)

    (match,) = selected(42, snapshot(old, new)).matches
    assert match.handle == 90


def test_text_selector_ignores_processes_that_ended_before_the_baseline():
    old = raw(41, **ended(0))
    alive = raw(42)
    baseline = snapshot(old, alive)
    later = snapshot(old, raw(42, **ended(0)), raw(43, started_at=T0 + 10_000))

    selection = selected("train.py", later, baseline)

    assert [row.pid for row in selection.matches] == [42, 43]
    assert [row.pid for row in selection.older] == [41]
    assert pids("train.py", later) == [41, 42, 43]
    assert pids(41, later, baseline) == [41]


def test_older_run_is_not_selected_even_if_handles_are_missing_and_the_clock_is_wrong():
    old = raw(41, handle=None, **ended(0))
    new = raw(41, handle=None, started_at=T0 - 3_600_000)

    selection = selected("train.py", snapshot(old, new), snapshot(old))

    assert [row.started_at for row in selection.matches] == [
        process(41, started_at=T0 - 3_600_000).started_at
    ]


@pytest.mark.parametrize(
    "meant",
    [True, 4.1, re.compile(b"x"), ["train.py"], str, None, SimpleNamespace(pid=1),
     SimpleNamespace(pid=1, started_at=1_710_000_000)],
)  # fmt: skip
def test_selector_of_an_invalid_type_is_rejected(meant):
    with pytest.raises(
        InvalidArgument, match="argument 'process' must be text, a pid, a compiled regex"
    ):
        Selector(meant, history_of())


def test_label_of_a_selector_masks_secrets():
    assert label_of("train.py --token=abc") == '"train.py --token=***"'
    assert label_of(re.compile("API_KEY=abc")) == "/API_KEY=***/"
    assert label_of(by(command="run", args=["--token=abc"])) == (
        "by(command='run', args=['--token=***'])"
    )


def test_stopped_process_from_an_earlier_test_does_not_hide_a_running_process():
    dead = raw(7, **ended(0), managed=managed("web", status="stopped"))
    new = raw(8, args=("web",), started_at=T0 + 60_000)

    assert pids("web", snapshot(dead, new), snapshot(dead)) == [8]


def test_selector_matches_a_process_that_was_waiting_for_a_restart_at_the_baseline():
    row = raw(7, **ended(1), managed=managed("web", status="backing_off"))

    assert pids("web", snapshot(row), snapshot(row)) == [7]
