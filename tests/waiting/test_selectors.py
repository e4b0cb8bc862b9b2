"""Which processes a selector selects."""

import re
from functools import partial
from types import SimpleNamespace

import pytest

from pytest_tlsandbox.errors import InvalidArgument
from pytest_tlsandbox.history.history import History
from pytest_tlsandbox.waiting.selectors import Selector, by, is_over
from tests.rows import T0, ended, managed, process, raw, snapshot

TRAIN = raw(41, args=("train.py", "--lr", "0.1"))
SERVE = raw(42, command="bash", args=("-lc", "./serve.sh"), started_at=T0 + 1000)
WEB = raw(43, command="gunicorn", args=("app",), started_at=T0 + 2000, managed=managed("web"))
ALL = [TRAIN, SERVE, WEB]

OVER, ALIVE = raw(41, **ended(0)), raw(42)
NOW = [OVER, raw(42, **ended(0)), raw(43, started_at=T0 + 10_000)]
SUPERVISED = managed(restart_count=1, last_exit={"exit_code": 1, "ended_at": T0 + 9000})
RESTARTED = [
    raw(7, **ended(1), managed=SUPERVISED),
    raw(8, started_at=T0 + 9500, managed=SUPERVISED),
]
TWICE = [raw(pid, started_at=T0 + pid, managed=managed()) for pid in (7, 8)]
STOPPED = raw(7, **ended(0), managed=managed(status="stopped"))
BACKING_OFF = raw(7, **ended(1), managed=managed(status="backing_off"))
OTHER = raw(8, args=("train.py", "-v"), started_at=T0 + 9500, managed=managed())
REUSED = [raw(42, handle=2, **ended(0)), raw(42, handle=90, started_at=T0 + 60_000)]


def listed(history, rows):
    """Return a snapshot of these rows, which is recorded in the history."""
    seen = snapshot(*rows)
    history.fold(seen)
    return seen


def select(meant, rows, before=None):
    """Return what a selector selects from these rows, in a test that began with other rows."""
    history = History(lambda: 0.0)
    baseline = None if before is None else listed(history, before)
    seen = listed(history, rows)
    return Selector(meant, history, baseline).select(seen)


# For each selector: the handles of the selected processes, the rows, and those before the test.
SELECTED = [
    ("train.py", [41], ALL, None),
    ("python train.py --lr 0.1", [41], ALL, None),
    ("trian.py", [], ALL, None),
    ("web", [43], ALL, None),
    (41, [41], ALL, None),
    (99, [], ALL, None),
    (0, [], ALL, None),
    (re.compile(r"serve\.sh$"), [42], ALL, None),
    (by(command="bash"), [42], ALL, None),
    (by(command="bas"), [], ALL, None),
    (by(args=["-lc", "./serve.sh"]), [42], ALL, None),
    (by(args=("-lc", "./serve.sh")), [42], ALL, None),
    (by(name="web"), [43], ALL, None),
    (by(handle=41), [41], ALL, None),
    (by(pid=42, command="bash"), [42], ALL, None),
    (by(name="web", command="other"), [], ALL, None),
    (lambda row: row.pid > 41, [42, 43], ALL, None),
    (process(42, started_at=T0 + 1000), [42], ALL, None),
    (process(42, started_at=T0), [], ALL, None),
    (process(99, managed=managed("web")), [43], ALL, None),
    # A managed name takes precedence over text of a command line.
    ("web", [43], [WEB, raw(50, command="curl", args=("web",))], None),
    # A managed process stays selected when it is restarted.
    *((meant, [8], RESTARTED, None) for meant in ("web", "train.py", by(name="web"))),
    (process(7, managed=managed("web")), [8], RESTARTED, None),
    (42, [90], REUSED, None),
    (by(handle=7), [7], [raw(41, handle=7, **ended(0)), raw(42, handle=7)], None),
    # The row of an earlier process with the same name still says "running".
    ("train.py", [8], TWICE, None),
    ("train.py", [8], [raw(7, managed=managed()), OTHER], None),
    # A name selects the newest process with this name, and a text selects all processes.
    ("web", [8], [STOPPED, OTHER], None),
    ("train.py", [7, 8], [STOPPED, OTHER], None),
    # Only a pid selects a process that had ended before the test.
    ("train.py", [42, 43], NOW, [OVER, ALIVE]),
    ("train.py", [41, 42, 43], NOW, None),
    (41, [41], NOW, [OVER, ALIVE]),
    ("web", [8], [STOPPED, raw(8, args=("web",), started_at=T0 + 60_000)], [STOPPED]),
    ("web", [7], [BACKING_OFF], [BACKING_OFF]),
]


@pytest.mark.parametrize(("meant", "handles", "rows", "before"), SELECTED)
def test_selector_matches_the_expected_processes(meant, handles, rows, before):
    assert [row.handle for row in select(meant, rows, before).matches] == handles


def test_selection_contains_the_matches_that_ended_before_the_test():
    assert [row.pid for row in select("train.py", NOW, [OVER, ALIVE]).older] == [41]


@pytest.mark.parametrize("meant", [41, by(handle=41), process(41), process(7, managed=managed())])
def test_process_that_is_no_longer_listed_counts_as_gone(meant):
    history = History(lambda: 0.0)
    selector = Selector(meant, history)

    assert not selector.select(listed(history, [raw(41), raw(7, managed=managed())])).gone
    assert selector.select(listed(history, [raw(42)])).gone


# For each selector: the processes before it selects one, the processes after that, and the pid of
# the selected run if its row vanished before a list call showed how the run ended.
VANISHED = [
    (42, [raw(42), raw(43)], [raw(43)], 42),
    (process(42), [raw(42), raw(43)], [raw(43)], 42),
    ("train.py", [raw(42), raw(43)], [raw(43)], None),
    (43, [raw(42), raw(43)], [raw(43)], None),
    (42, [raw(42, **ended(0)), raw(43)], [raw(43)], None),
    # A later process has the same pid.
    (42, [raw(42), raw(43)], [raw(42, started_at=T0 + 60_000), raw(43)], None),
]


@pytest.mark.parametrize(("meant", "first", "then", "pid"), VANISHED)
def test_selected_run_counts_as_vanished_only_if_its_end_was_not_seen(meant, first, then, pid):
    history = History(lambda: 0.0)
    listed(history, first)
    selector = Selector(meant, history)
    selector.select(listed(history, then))

    run = selector.vanished()
    assert (run and run.row.pid) == pid


def test_older_run_is_not_selected_even_if_handles_are_missing_and_the_clock_is_wrong():
    old = raw(41, handle=None, **ended(0))
    new = raw(41, handle=None, started_at=T0 - 3_600_000)

    [row] = select("train.py", [old, new], [old]).matches
    assert not row.ended


INVALID = [
    True, 4.1, re.compile(b"x"), ["train.py"], str, None, SimpleNamespace(pid=1),
    SimpleNamespace(pid=1, started_at=1_710_000_000),
]  # fmt: skip


@pytest.mark.parametrize("meant", INVALID)
def test_selector_of_an_invalid_type_is_rejected(meant):
    allowed = "argument 'process' must be text, a pid, a compiled regex"
    with pytest.raises(InvalidArgument, match=allowed):
        Selector(meant, History(lambda: 0.0))


def test_label_of_a_selector_is_short_and_masks_secrets():
    for meant, label in (
        (41, "pid 41"),
        (process(41), "pid 41"),
        (by(name="web", handle=3), "by(name='web', handle=3)"),
        (is_over, "where is_over"),
        (partial(is_over), "where partial"),
        ("x" * 60, f'"{"x" * 60}"'),
        ("x" * 61, f'"{"x" * 59}…"'),
        ("train.py --token=abc", '"train.py --token=***"'),
        (re.compile("API_KEY=abc"), "/API_KEY=***/"),
        (by(command="run", args=["--token=abc"]), "by(command='run', args=['--token=***'])"),
    ):
        assert Selector(meant, History(lambda: 0.0)).label == label
