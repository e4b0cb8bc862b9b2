"""How the process list is read."""

import json
import time
from dataclasses import FrozenInstanceError, asdict
from datetime import datetime, timedelta, timezone

import pytest

from pytest_tlsandbox.client.parsing import describe_body, parse_list, parse_process, parse_row
from pytest_tlsandbox.errors import ContractViolation
from pytest_tlsandbox.models import ProcessInfo
from pytest_tlsandbox.types import Identity
from tests.support import T0, ended, managed, process, raw, signaled

FOUR = datetime(2024, 3, 9, 16, 0, 0, tzinfo=timezone.utc)


def listing(*rows):
    return json.dumps({"processes": rows}).encode()


def reason_of(row):
    """Why a row cannot be read. A good row beside it stays readable."""
    read, (unreadable,) = parse_list(listing(row, raw(7)))
    assert [row.pid for row in read] == [7]
    assert unreadable.position == 0
    return unreadable.reason


# Times


@pytest.mark.parametrize(
    ("value", "moment"),
    [
        pytest.param(1_710_000_000, FOUR, id="s"),
        pytest.param(1_710_000_000_123, FOUR + timedelta(milliseconds=123), id="ms"),
        pytest.param(1_710_000_000_123_456, FOUR + timedelta(microseconds=123456), id="us"),
        pytest.param(1_710_000_000_123_456_789, FOUR + timedelta(microseconds=123456), id="ns"),
        pytest.param(1_710_000_000.25, FOUR + timedelta(milliseconds=250), id="s-float"),
        pytest.param(1_710_000_000_123.0, FOUR + timedelta(milliseconds=123), id="ms-float"),
        pytest.param("1710000000", FOUR, id="s-text"),
        pytest.param("1710000000.25", FOUR + timedelta(milliseconds=250), id="s-float-text"),
        pytest.param("1710000000123", FOUR + timedelta(milliseconds=123), id="ms-text"),
        pytest.param("2024-03-09T16:00:00Z", FOUR, id="iso"),
        pytest.param("2024-03-09T16:00:00.25Z", FOUR + timedelta(milliseconds=250), id="iso-part"),
        pytest.param("2024-03-09T17:30:00+01:30", FOUR, id="iso-zone"),
        pytest.param("2024-03-09T16:00:00", FOUR, id="iso-without-zone"),
        pytest.param(0, datetime(1970, 1, 1, tzinfo=timezone.utc), id="zero"),
    ],
)
def test_a_time_is_read_in_every_form_that_was_seen(value, moment):
    seen = process(started_at=value).started_at

    assert seen == moment
    assert seen.utcoffset() == timedelta(0)


def test_a_time_that_is_none_in_utc_is_out_of_range():
    assert reason_of(raw(41, started_at="0001-01-01T00:00:00+14:00")) == (
        "started_at: a time out of range"
    )


def test_a_time_is_in_utc_wherever_the_tests_run(monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        seen = process(started_at="2024-03-09T17:30:00+01:30").started_at
    finally:
        monkeypatch.undo()
        time.tzset()

    assert seen.utcoffset() == timedelta(0)


@pytest.mark.parametrize("field", ["started_at", "ended_at"])
@pytest.mark.parametrize(
    "value",
    [True, [], {}, "", "soon", "1e9", "nan", "9" * 400, 1e300],
    ids=["flag", "list", "object", "empty", "word", "e9", "nan", "digits", "huge"],
)
def test_what_is_no_time_spoils_its_row(field, value):
    assert reason_of(raw(**{field: value})).startswith(f"{field}: ")


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_a_number_without_end_is_no_time(word):
    body = listing(raw(started_at=12321)).replace(b"12321", word.encode())

    read, (unreadable,) = parse_list(body)

    assert read == ()
    assert str(unreadable) == "row 0 (pid 41): started_at: a time out of range"


# Absent, null, new


@pytest.mark.parametrize(
    "field",
    [
        "handle",
        "exit_code",
        "signal",
        "oom_killed",
        "stdin_writable",
        "args",
        "ended_at",
        "managed",
    ],
)
def test_null_is_what_absent_is(field):
    row = raw(args=())
    absent = {name: value for name, value in row.items() if name != field}

    (with_null, without), unreadable = parse_list(listing({**row, field: None}, absent))

    assert unreadable == ()
    assert with_null == without


@pytest.mark.parametrize(
    "field",
    [
        "name",
        "restart_count",
        "restart",
        "health_check",
        "health_status",
        "consecutive_health_failures",
        "last_exit",
        "last_error",
        "next_restart_at",
    ],
)
def test_null_is_what_absent_is_in_a_managed_process(field):
    whole = managed()
    absent = {name: value for name, value in whole.items() if name != field}

    rows, unreadable = parse_list(listing(raw(managed={**whole, field: None}), raw(managed=absent)))

    assert [str(row) for row in unreadable] == []
    assert rows[0] == rows[1]


@pytest.mark.parametrize("field", ["exit_code", "signal", "oom_killed", "ended_at"])
def test_null_is_what_absent_is_in_a_last_exit(field):
    whole = {"exit_code": None, "signal": 9, "oom_killed": True, "ended_at": T0}
    absent = {name: value for name, value in whole.items() if name != field}

    with_null, without = (
        process(managed=managed(last_exit=last)) for last in ({**whole, field: None}, absent)
    )

    assert with_null == without


def test_a_minimal_row_is_enough():
    body = listing({"pid": 42, "status": "running", "command": "python", "started_at": T0})

    (row,), unreadable = parse_list(body)

    assert unreadable == ()
    assert asdict(row) == {
        "handle": None,
        "pid": 42,
        "status": "running",
        "exit_code": None,
        "signal": None,
        "oom_killed": False,
        "stdin_writable": False,
        "command": "python",
        "args": [],
        "started_at": FOUR,
        "ended_at": None,
        "managed": None,
    }


def test_every_field_is_read():
    row = process(
        77,
        "sh",
        ("-c", "x"),
        handle=2**40,
        status="oom_killed",
        exit_code=137,
        signal=9,
        oom_killed=True,
        stdin_writable=True,
        ended_at=T0 + 9000,
        managed=managed(
            "web",
            "backing_off",
            restart_count=3,
            health_status="unhealthy",
            consecutive_health_failures=4,
            last_exit={"exit_code": 1, "signal": 2, "oom_killed": True, "ended_at": T0},
            last_error="no",
            next_restart_at=T0 + 10_000,
        ),
    )

    assert asdict(row) == {
        "handle": 2**40,
        "pid": 77,
        "status": "oom_killed",
        "exit_code": 137,
        "signal": 9,
        "oom_killed": True,
        "stdin_writable": True,
        "command": "sh",
        "args": ["-c", "x"],
        "started_at": FOUR,
        "ended_at": FOUR + timedelta(seconds=9),
        "managed": {
            "id": "web",
            "name": "web",
            "status": "backing_off",
            "restart_count": 3,
            "restart": {"policy": "on_failure", "max_restarts": 5},
            "health_status": "unhealthy",
            "consecutive_health_failures": 4,
            "last_exit": {"exit_code": 1, "signal": 2, "oom_killed": True, "ended_at": FOUR},
            "last_error": "no",
            "next_restart_at": FOUR + timedelta(seconds=10),
        },
    }


def test_fields_that_are_new_are_passed_over():
    row = raw(colour="blue", managed=managed(mood={"is": "good"}))

    read, unreadable = parse_list(json.dumps({"processes": [row], "next": None}).encode())

    assert len(read) == 1
    assert unreadable == ()


def test_words_that_are_new_are_kept_in_lower_case():
    row = process(
        status="Paused",
        managed=managed(status="Draining", health_status="Odd", restart={"policy": "Sometimes"}),
    )

    assert row.managed is not None
    assert row.managed.restart is not None
    words = (row.status, row.managed.status, row.managed.health_status, row.managed.restart.policy)
    assert words == ("paused", "draining", "odd", "sometimes")


def test_rows_keep_the_order_of_the_server():
    read, _ = parse_list(listing(raw(3), raw(1), raw(2)))

    assert [row.pid for row in read] == [3, 1, 2]


def test_a_list_of_nothing_is_read():
    assert parse_list(b'{"processes": []}') == ((), ())


def test_a_byte_order_mark_is_passed_over():
    read, _ = parse_list(b"\xef\xbb\xbf" + listing(raw()))

    assert len(read) == 1


# Rows that cannot be read

SECRET = "hunter2"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        pytest.param(raw(handle=SECRET), "handle: not a valid integer", id="handle-text"),
        pytest.param(raw(exit_code=0.5), "exit_code: not a valid integer", id="code-half"),
        pytest.param(raw(exit_code=SECRET), "exit_code: not a valid integer", id="code-text"),
        pytest.param(raw(stdin_writable=SECRET), "stdin_writable: not a valid boolean", id="flag"),
        pytest.param(raw(command=None), "command: not a valid string", id="command-null"),
        pytest.param(raw(status=None), "status: not a valid string", id="status-null"),
        pytest.param(raw(args=[SECRET, 1]), "args.1: not a valid string", id="arg-number"),
        pytest.param(raw(args=SECRET), "args: not a valid array", id="args-text"),
        pytest.param(raw(managed=SECRET), "managed: not an object", id="managed-text"),
        pytest.param(
            raw(managed={"id": SECRET}), "managed.status: missing", id="managed-without-status"
        ),
        pytest.param(
            raw(managed=managed(restart_count=-1)),
            "managed.restart_count: not greater than or equal to 0",
            id="restarts-below-zero",
        ),
        pytest.param(
            {"pid": 41, "command": SECRET},
            "status: missing, started_at: missing",
            id="several-fields",
        ),
        pytest.param(SECRET, "row: not an object", id="text"),
        pytest.param(None, "row: not an object", id="null"),
        pytest.param([SECRET], "row: not an object", id="list"),
    ],
)
def test_a_row_that_cannot_be_read_says_why_and_shows_no_value(row, reason):
    read, (unreadable,) = parse_list(listing(raw(7), row))

    pid = 41 if isinstance(row, dict) else None
    assert [row.pid for row in read] == [7]
    assert unreadable.reason == reason
    assert str(unreadable) == f"row 1{' (pid 41)' if pid else ''}: {reason}"
    assert repr(unreadable) == f"UnreadableRow(position=1, reason={reason!r}, pid={pid})"


@pytest.mark.parametrize("pid", [None, "41", 41.0, True], ids=["null", "text", "float", "flag"])
def test_a_pid_that_is_no_whole_number_is_not_shown(pid):
    _, (unreadable,) = parse_list(listing(raw(handle=1) | {"pid": pid}))

    assert str(unreadable) == "row 0: pid: not a valid integer"


def test_half_of_a_surrogate_pair_spoils_its_row_only():
    assert "hunter2" not in reason_of(raw(command="hunter2 \ud800"))


def test_a_broken_row_keeps_its_fingerprint_from_look_to_look():
    one, again, other = (
        parse_list(listing(*rows))[1][0].fingerprint
        for rows in (
            (raw(7), raw(41, command=None)),
            (raw(41, command=None, args=None), raw(7)),
            (raw(41, command=None, started_at=T0 + 1),),
        )
    )

    assert one == again
    assert one != other


# Bodies that are no list


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "Not a process list: an empty answer (0 bytes)"),
        (b" \n", "Not a process list: an empty answer (2 bytes)"),
        (b"<!DOCTYPE html><p>hunter2", "Not a process list: an HTML page (25 bytes)"),
        (b"hunter2", "Not a process list: text that is not JSON (7 bytes)"),
        (
            b'{"processes": [{"pid": 4',
            "Not a process list: JSON of another shape, or cut short (24 bytes)",
        ),
        (b"[" * 100_000, "Not a process list: JSON of another shape, or cut short (100000 bytes)"),
        (b'{"data": []}', "Not a process list: the answer has no list 'processes'"),
        (b'{"processes": null}', "Not a process list: the answer has no list 'processes'"),
        (b'{"processes": {}}', "Not a process list: the answer has no list 'processes'"),
        (b"[]", "Not a process list: the answer has no list 'processes'"),
        (b"null", "Not a process list: the answer has no list 'processes'"),
    ],
    ids=["empty", "blank", "html", "text", "cut", "deep", "data", "null", "object", "array", "nil"],
)
def test_a_body_that_is_no_list_is_described_and_not_quoted(body, message):
    with pytest.raises(ContractViolation) as raised:
        parse_list(body)

    assert str(raised.value) == message
    assert raised.value.label == ("no list" if "no list" in message else "not JSON")
    assert not raised.value.transient


def test_a_process_is_read_alone():
    assert parse_process(json.dumps(raw()).encode()) == process()


def test_a_body_that_is_no_process_is_described_and_not_quoted():
    with pytest.raises(ContractViolation) as raised:
        parse_process(b'{"pid": 41, "command": "hunter2"}')

    assert str(raised.value) == "Not a process: JSON of another shape, or cut short (33 bytes)"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"<html>", "an HTML page (6 bytes)"),
        (b"\n\n<!doctype HTML>", "an HTML page (17 bytes)"),
        (b"{", "JSON of another shape, or cut short (1 bytes)"),
        (b"\x1f\x8b\x00", "text that is not JSON (3 bytes)"),
    ],
    ids=["html", "doctype", "json", "binary"],
)
def test_a_body_is_described(body, words):
    assert describe_body(body) == words


# What a row says


@pytest.mark.parametrize(
    ("fields", "state", "over"),
    [
        pytest.param({}, "running", False, id="running"),
        pytest.param({"status": "paused"}, "paused", False, id="new word"),
        pytest.param(ended(0), "exited", True, id="exited"),
        pytest.param(ended(None), "exited", True, id="exited without code"),
        pytest.param(ended(-1), "exited", True, id="exited -1"),
        pytest.param(signaled(9), "signaled", True, id="signaled"),
        pytest.param({"status": "oom_killed"}, "oom_killed", True, id="oom by status"),
        pytest.param(signaled(9, oom_killed=True), "oom_killed", True, id="oom by flag"),
        pytest.param({"oom_killed": True}, "oom_killed", True, id="oom by flag, running"),
        pytest.param(ended(1, oom_killed=True), "exited", True, id="a child was oom-killed"),
        pytest.param({"status": "completed", "exit_code": 0}, "exited", True, id="new end, code"),
        pytest.param({"status": "gone", "ended_at": T0}, "exited", True, id="new end, time"),
        pytest.param({"status": "dead", "signal": 15}, "signaled", True, id="new end, signal"),
        pytest.param({"exit_code": 1, "ended_at": T0}, "exited", True, id="running with code"),
        pytest.param({"signal": 9}, "signaled", True, id="running with signal"),
        pytest.param({"signal": 9, "exit_code": 137}, "exited", True, id="running with both"),
    ],
)
def test_any_evidence_of_an_end_is_an_end(fields, state, over):
    row = process(**fields)

    assert (row.state, row.ended) == (state, over)


def test_a_lifetime_is_that_of_the_sandbox_clock():
    assert process(**ended()).lifetime == timedelta(seconds=9)
    assert process().lifetime is None


def test_a_run_is_known_by_handle_pid_and_start():
    assert process(41, handle=3).identity == Identity(3, 41, FOUR)


def test_a_process_shows_its_command_masked():
    row = process(
        args=("train.py", "--token", "hunter2", "--api-key=hunter2", "--max-tokens=5"),
        managed=managed("web"),
    )

    text = "<ProcessInfo pid 41 'web' running: python train.py --token *** --api-key=*** --max-tokens=5>"
    assert repr(row) == str(row) == f"{row}" == text
    assert row.command_line == ("python train.py --token hunter2 --api-key=hunter2 --max-tokens=5")


def test_a_secret_in_a_managed_name_is_masked():
    row = process(args=("app",), managed=managed("web --token=hunter2"))

    assert repr(row) == "<ProcessInfo pid 41 'web --token=***' running: python app>"
    assert repr(row.managed) == "<ManagedProcess web --token=*** running>"


def test_a_process_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        process().pid = 1


def test_an_error_of_a_model_does_not_quote_its_input():
    with pytest.raises(ValueError, match="started_at") as raised:
        ProcessInfo(pid=1, status="running", command="hunter2")

    assert "hunter2" not in str(raised.value)


def test_the_text_of_one_row_is_read_as_it_is_within_a_list():
    good, bad = json.dumps(raw(41)).encode(), json.dumps(raw(42, started_at=[])).encode()

    assert parse_row(0, good) == process(41)
    assert str(parse_row(7, bad)) == "row 7 (pid 42): started_at: not a valid datetime"
