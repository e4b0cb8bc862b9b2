"""Test how snapshots are queried, compared and printed."""

import copy
import dataclasses
import json
from datetime import datetime

import pytest

from pytest_tlsandbox.errors import InvalidArgument
from pytest_tlsandbox.history.snapshot import FIELDS, newest_with_pid
from pytest_tlsandbox.models import ProcessInfo
from tests.support import T0, ended, failure, managed, process, raw, signaled, snapshot

from .helpers import history_of


def test_snapshot_filter_returns_processes_with_exactly_the_given_field_values():
    seen = snapshot(raw(1), raw(2, **ended(1)), raw(3, managed=managed("web")))

    assert [row.pid for row in seen.where(status="exited", exit_code=1)] == [2]
    assert [row.pid for row in seen.where(name="web")] == [3]
    assert [row.pid for row in seen.alive] == [1, 3]
    assert len(seen) == 3


def test_newest_process_with_a_pid_is_the_one_that_started_last():
    old, new = raw(1, **ended(0)), raw(1, started_at=T0 + 5000)

    assert newest_with_pid(snapshot(new, old), 1) == process(1, started_at=T0 + 5000)
    assert newest_with_pid(snapshot(new), 2) is newest_with_pid(None, 2) is None


def test_snapshot_filter_accepts_every_process_field_and_the_managed_name():
    assert {*FIELDS} == {field.name for field in dataclasses.fields(ProcessInfo)} | {"name"}


def test_error_for_an_unknown_field_lists_all_fields():
    assert str(failure(lambda: snapshot().where(zzz=1), InvalidArgument)) == (
        "a process has no field 'zzz'; expected one of args, command, ended_at, exit_code, handle, "
        "managed, name, oom_killed, pid, signal, started_at, status, stdin_writable"
    )


@pytest.mark.parametrize("value", ["sleep", None, 41])
def test_snapshot_lookup_rejects_a_value_that_is_not_the_identity_of_a_run(value):
    assert str(failure(lambda: snapshot(raw(41)).find(value), InvalidArgument)) == (
        "argument 'identity' must be the identity of a run, as in find(process.identity), got a value "
        f"of type {type(value).__name__}; to find processes by their fields, use where(...)"
    )


def test_snapshot_prints_an_aligned_table_with_masked_arguments():
    web = raw(1234, "gunicorn", ("app",), **signaled(15), managed=managed("web --token=abc"))
    unreadable = {"pid": 9, "status": "running", "args": ["--token=abc"]}
    seen = snapshot(raw(7, args=("train.py", "--token=abc")), web, unreadable)

    assert str(seen) == (
        "pid 7     running                     python train.py --token=***\n"
        "pid 1234  signaled 15 (SIGTERM)  9 s  [web --token=***] gunicorn app\n"
        "unreadable row 2 (pid 9): command: missing, started_at: missing"
    )
    assert repr(seen) == "<ProcessSnapshot of my-sandbox: 2 processes, 1 unreadable>"
    assert str(snapshot()) == "no processes"
    assert repr(snapshot()) == "<ProcessSnapshot of my-sandbox: 0 processes>"


def test_adding_a_snapshot_to_the_history_returns_only_the_changed_runs():
    history = history_of([raw(1), raw(2)])
    again = copy.copy(history.last)

    assert history.fold(again) == []
    assert history.last is again
    (run,) = history.fold(snapshot(raw(1), raw(2, **ended()), at=2.0))
    assert (run.row.pid, run.state) == (2, "exited 0")


def test_snapshot_contains_its_own_process_objects_but_not_equal_copies():
    seen = snapshot(raw(1))

    assert seen.holds(seen[0])
    assert not seen.holds(process(1))


def test_unreadable_row_is_identified_by_handle_and_pid_and_start_time():
    def mark(*rows):
        return snapshot(*rows).unreadable[-1].fingerprint

    row = {"handle": 3, "pid": 77, "started_at": T0, "status": 3, "command": "x"}
    for field in ("handle", "pid", "started_at"):
        assert mark(row) != mark({**row, field: 4}), field
    assert mark(row) == mark(raw(7), {**row, "status": None})
    assert mark([{"b": 1, "a": 2}]) == mark([{"a": 2, "b": 1}])


def test_snapshots_are_equal_if_their_processes_and_their_unreadable_rows_are_equal():
    odd = {"pid": 9, "status": "running"}
    seen = snapshot(raw(1), odd, at=1.0)

    assert seen == snapshot(raw(1), odd, at=2.0)
    assert snapshot(raw(1)) != seen != snapshot(raw(2), odd)
    assert seen != [*seen]


def test_json_rows_contain_masked_text_and_the_corrected_status():
    web = managed("web --token=abc", last_error="DB_PASS=abc")
    texts = {"command": "DB_PASS=abc", "args": ("app", "--token=abc")}
    ended_row = raw(7, **texts, exit_code=1, ended_at=T0 + 9000, managed=web)
    row, unnamed = snapshot(ended_row, raw(8, started_at=T0 + 1, managed=managed(None))).rows

    assert json.loads(json.dumps(row)) == row
    assert (row["pid"], row["status"], row["exit_code"]) == (7, "exited", 1)
    assert (row["command"], row["args"]) == ("DB_PASS=***", ["app", "--token=***"])
    shown = [row["managed"][field] for field in ("id", "name", "last_error")]
    assert shown == ["web --token=***", "web --token=***", "DB_PASS=***"]
    assert unnamed["managed"]["name"] is None
    times = [row[name].replace("Z", "+00:00") for name in ("started_at", "ended_at")]  # Python 3.10
    started, ended_at = map(datetime.fromisoformat, times)
    assert (ended_at - started).total_seconds() == 9
