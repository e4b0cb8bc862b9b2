"""Which processes a selector selects."""

import re
from types import SimpleNamespace

import pytest

from pytest_tlsandbox.errors import InvalidArgument
from pytest_tlsandbox.history.history import History
from pytest_tlsandbox.waiting.selectors import Selector, by
from tests.support import T0, ended, managed, process, raw, snapshot

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
REUSED = [raw(42, handle=2, **ended(0)), raw(42, handle=90, started_at=T0 + 60_000)]


def select(meant, rows, before=None):
    """Return what a selector selects from these rows, in a test that began with other rows."""
    history, baseline = History(lambda: 0.0), None
    if before is not None:
        baseline = snapshot(*before)
        history.fold(baseline)
    seen = snapshot(*rows)
    history.fold(seen)
    return Selector(meant, history, baseline).select(seen)


# For each selector: the handles of the selected processes, the rows, and those before the test.
@pytest.mark.parametrize(
    ("meant", "handles", "rows", "before"),
    [
        ("train.py", [41], ALL, None),
        ("python train.py --lr 0.1", [41], ALL, None),
        ("trian.py", [], ALL, None),
        ("web", [43], ALL, None),
        (41, [41], ALL, None),
        (99, [], ALL, None),
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
        # The row of an earlier process with the same name still says "running".
        ("train.py", [8], TWICE, None),
        # Only a pid selects a process that had ended before the test.
        ("train.py", [42, 43], NOW, [OVER, ALIVE]),
        ("train.py", [41, 42, 43], NOW, None),
        (41, [41], NOW, [OVER, ALIVE]),
        ("web", [8], [STOPPED, raw(8, args=("web",), started_at=T0 + 60_000)], [STOPPED]),
        ("web", [7], [BACKING_OFF], [BACKING_OFF]),
    ],
)
def test_selector_matches_the_expected_processes(meant, handles, rows, before):
    assert [row.handle for row in select(meant, rows, before).matches] == handles


def test_selection_contains_the_matches_that_ended_before_the_test():
    assert [row.pid for row in select("train.py", NOW, [OVER, ALIVE]).older] == [41]


def test_older_run_is_not_selected_even_if_handles_are_missing_and_the_clock_is_wrong():
    old = raw(41, handle=None, **ended(0))
    new = raw(41, handle=None, started_at=T0 - 3_600_000)

    [row] = select("train.py", [old, new], [old]).matches
    assert not row.ended


@pytest.mark.parametrize(
    "meant",
    [True, 4.1, re.compile(b"x"), ["train.py"], str, None, SimpleNamespace(pid=1),
     SimpleNamespace(pid=1, started_at=1_710_000_000)],
)  # fmt: skip
def test_selector_of_an_invalid_type_is_rejected(meant):
    allowed = "argument 'process' must be text, a pid, a compiled regex"
    with pytest.raises(InvalidArgument, match=allowed):
        Selector(meant, History(lambda: 0.0))


def test_label_of_a_selector_masks_secrets():
    for meant, label in (
        ("train.py --token=abc", '"train.py --token=***"'),
        (re.compile("API_KEY=abc"), "/API_KEY=***/"),
        (by(command="run", args=["--token=abc"]), "by(command='run', args=['--token=***'])"),
    ):
        assert Selector(meant, History(lambda: 0.0)).label == label
