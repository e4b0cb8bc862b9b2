"""How the process list is read: times, missing fields, invalid rows."""

import json
import math
import time
from dataclasses import asdict
from datetime import datetime, timedelta, timezone

import pytest
from pydantic import TypeAdapter

from pytest_tlsandbox.client.list_cache import ListReader
from pytest_tlsandbox.models import LastExit, ManagedProcess, ProcessInfo, RestartPolicy
from pytest_tlsandbox.types import Identity
from tests.support import T0, ended, managed, process, raw, signaled, snapshot

FOUR = datetime(2024, 3, 9, 16, 0, 0, tzinfo=timezone.utc)


# Times


MOMENTS = {
    FOUR: [1_710_000_000, "1710000000", "2024-03-09T16:00:00Z", "2024-03-09T17:30:00+01:30",
           "2024-03-09T16:00:00"],
    FOUR + timedelta(milliseconds=123): [1_710_000_000_123, 1_710_000_000_123.0, "1710000000123"],
    FOUR + timedelta(milliseconds=250): [1_710_000_000.25, "1710000000.25", "2024-03-09T16:00:00.25Z"],
    datetime(1970, 1, 1, tzinfo=timezone.utc): [0],
}  # fmt: skip


@pytest.fixture
def in_tokyo(monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("in_tokyo")
@pytest.mark.parametrize("moment", MOMENTS, ids=str)
def test_every_known_time_format_is_parsed(moment):
    seen = [process(started_at=value).started_at for value in MOMENTS[moment]]

    assert seen == [moment] * len(seen)
    assert {each.utcoffset() for each in seen} == {timedelta(0)}


INVALID = [
    True, [], {}, "", "soon", "1e9", "nan", "9" * 400, 1e300, math.nan, math.inf, -math.inf,
    1_710_000_000_123_456, "0001-01-01T00:00:00+14:00",
]  # fmt: skip


@pytest.mark.parametrize("field", ["started_at", "ended_at"])
@pytest.mark.parametrize("value", INVALID)
def test_row_with_an_invalid_time_is_unreadable_but_other_rows_are_readable(field, value):
    seen = snapshot(raw(**{field: value}), raw(7))

    assert [row.pid for row in seen] == [7]
    assert seen.unreadable[0].reason.startswith(f"{field}: ")


# Absent, null, new

MINIMAL = {"pid": 42, "status": "running", "command": "python", "started_at": T0}
MODELS = [
    (ProcessInfo, MINIMAL), (ManagedProcess, {"id": "web", "status": "running"}), (LastExit, {}),
    (RestartPolicy, {"policy": "never"}),
]  # fmt: skip


@pytest.mark.parametrize(("model", "minimal"), MODELS)
def test_field_with_value_null_is_treated_like_an_absent_field(model, minimal):
    nulls = {**dict.fromkeys(model.__dataclass_fields__), **minimal}
    read = TypeAdapter(model).validate_json

    assert read(json.dumps(nulls)) == read(json.dumps(minimal))


def test_missing_fields_of_a_minimal_row_get_default_values():
    [row] = snapshot(MINIMAL)

    assert asdict(row) == {
        **MINIMAL, "args": [], "started_at": FOUR, "handle": None, "exit_code": None, "signal": None,
        "oom_killed": False, "stdin_writable": False, "ended_at": None, "managed": None,
    }  # fmt: skip


def test_every_field_of_a_row_is_parsed():
    last_exit = {"exit_code": 1, "signal": 2, "oom_killed": True, "ended_at": T0}
    supervisor = managed(
        status="backing_off", restart_count=3, health_status="unhealthy", last_error="no",
        consecutive_health_failures=4, last_exit=last_exit, next_restart_at=T0 + 10_000,
        health_check={"type": "http", "port": 80, "path": "/ready"},
    )  # fmt: skip
    row = raw(
        77, "sh", ["-c", "x"], handle=2**40, status="oom_killed", exit_code=137, signal=9,
        oom_killed=True, stdin_writable=True, ended_at=T0 + 9000, managed=supervisor,
    )  # fmt: skip

    [read] = snapshot(row)

    last_exit["ended_at"] = FOUR
    supervisor["next_restart_at"] = FOUR + timedelta(seconds=10)
    supervisor["health_check"] = "http port 80 GET /ready"
    assert asdict(read) == {**row, "started_at": FOUR, "ended_at": FOUR + timedelta(seconds=9)}


@pytest.mark.parametrize("check", [9, [9], "tcp", True, {}, {"port": 9}])
def test_unexpected_health_check_value_does_not_make_the_row_unreadable(check):
    assert process(managed=managed(health_check=check)).managed.health_check is None


def test_unknown_fields_and_a_byte_order_mark_are_ignored_but_unknown_words_are_kept():
    web = managed(mood={"is": "good"}, status="Odd", health_status="Bad", restart={"policy": "New"})
    row = raw(3, colour="blue", status="Paused", managed=web)
    body = json.dumps({"processes": [row], "next": None}).encode()

    [read] = ListReader("my-sandbox").read(b"\xef\xbb\xbf" + body)

    words = (read.managed.status, read.managed.health_status, read.managed.restart.policy)
    assert (read.status, *words) == ("paused", "odd", "bad", "new")


# Rows that cannot be read

SECRET = "hunter2"


UNREADABLE = [
    (raw(handle=SECRET), "handle: not a valid integer"),
    (raw(exit_code=0.5), "exit_code: not a valid integer"),
    (raw(exit_code=SECRET), "exit_code: not a valid integer"),
    (raw(stdin_writable=SECRET), "stdin_writable: not a valid boolean"),
    *((raw() | {"pid": pid}, "pid: not a valid integer") for pid in (None, SECRET, 41.0, True)),
    (raw(command=None), "command: not a valid string"),
    (raw(status=None), "status: not a valid string"),
    (raw(args=[SECRET, 1]), "args.1: not a valid string"),
    (raw(args=SECRET), "args: not a valid array"),
    (raw(managed=SECRET), "managed: not an object"),
    (raw(managed={"id": SECRET}), "managed.status: missing"),
    (raw(managed=managed(restart_count=-1)),
     "managed.restart_count: not greater than or equal to 0"),
    ({"pid": 41, "command": SECRET}, "status: missing, started_at: missing"),
    (SECRET, "row: not an object"),
    (None, "row: not an object"),
    ([SECRET], "row: not an object"),
    (raw(command="hunter2 \ud800"), "row: cannot be read"),
]  # fmt: skip


@pytest.mark.parametrize(("row", "reason"), UNREADABLE)
def test_reason_why_a_row_is_unreadable_does_not_contain_the_invalid_value(row, reason):
    seen = snapshot(raw(7), row)

    pid = 41 if isinstance(row, dict) and type(row["pid"]) is int else None
    assert [row.pid for row in seen] == [7]
    assert [str(row) for row in seen.unreadable] == [f"row 1{' (pid 41)' if pid else ''}: {reason}"]


# The state of a process


STATES = {
    "running": [{}],
    "paused": [{"status": "paused"}],
    "exited": [
        ended(0), ended(None), ended(-1), ended(1, oom_killed=True),
        {"status": "completed", "exit_code": 0}, {"status": "gone", "ended_at": T0},
        {"exit_code": 1, "ended_at": T0}, {"signal": 9, "exit_code": 137},
    ],
    "signaled": [signaled(9), {"status": "dead", "signal": 15}, {"signal": 9}],
    "oom_killed": [{"status": "oom_killed"}, signaled(9, oom_killed=True), {"oom_killed": True}],
}  # fmt: skip


@pytest.mark.parametrize("state", STATES)
def test_process_counts_as_ended_if_any_field_shows_that_it_ended(state):
    for fields in STATES[state]:
        row = process(**fields)
        assert (row.state, row.ended) == (state, state not in ("running", "paused")), fields


def test_identity_and_lifetime_of_a_run_come_from_the_fields_of_its_row():
    assert process(41, handle=3).identity == Identity(3, 41, FOUR)
    assert process(**ended()).lifetime == timedelta(seconds=9)
    assert process().lifetime is None


def test_printed_process_shows_its_command_with_masked_secrets():
    row = process(args=("train.py", "--token", "hunter2"), managed=managed("web --token=hunter2"))

    text = "<ProcessInfo pid 41 'web --token=***' running: python train.py --token ***>"
    assert repr(row) == str(row) == f"{row}" == text
    assert repr(row.managed) == "<ManagedProcess web --token=*** running>"
    unnamed = process(managed=managed(None))
    assert repr(unnamed) == repr(process()) == "<ProcessInfo pid 41 running: python train.py>"
    assert repr(unnamed.managed) == "<ManagedProcess p-7f running>"
    assert row.command_line == "python train.py --token hunter2"


def test_validation_error_of_a_model_does_not_quote_the_input():
    with pytest.raises(ValueError, match="started_at") as raised:
        ProcessInfo(pid=1, status="running", command="hunter2")

    assert "hunter2" not in str(raised.value)
