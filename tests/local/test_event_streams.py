"""Test the events that a client receives from follow streams and run requests."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest

from pytest_tlsandbox.local import event_streams
from tests.contract.sandbox_api import until

from .conftest import HOG, Api, is_gone, new_sandbox, unstarted

if TYPE_CHECKING:
    from collections.abc import Iterator

    import requests

EOF = ("eof", {})


def events_of(answer: requests.Response) -> Iterator[tuple[str | None, Any]]:
    """Yield the name (None without a name) and the data of each event as it arrives."""
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/event-stream"
    assert answer.headers["cache-control"] == "no-cache"
    name = None
    for line in answer.iter_lines(chunk_size=None, delimiter=b"\n"):
        field, _, value = line.partition(b": ")
        if field == b"event":
            name = value.decode()
        elif field == b"data":
            yield name, json.loads(value)
            name = None
        else:
            assert line in (b"", b":")


def follow(api: Api, pid: int | str, stream: str = "stdout") -> Iterator[tuple[str | None, Any]]:
    return events_of(api.call("GET", f"/processes/{pid}/{stream}/follow", stream=True))


def start_run(api: Api, command: str, *args: str, **fields: Any) -> requests.Response:
    body = {"command": command, "args": args, **fields}
    return api.call("POST", "/processes/run", json=body, stream=True)


def run(api: Api, command: str, *args: str, **fields: Any) -> tuple[Any, list[Any], Any]:
    """Return the start event, the output lines and the end event of a run request."""
    events = list(events_of(start_run(api, command, *args, **fields)))
    assert {name for name, _ in events} == {None}
    start, *lines, end = [data for _, data in events]
    return start, [(frame["stream"], frame["line"]) for frame in lines], end


# ---------------------------------------------------------------------- follow


def line(text: str, **fields: Any) -> tuple[str, Any]:
    return "output", {"line": text, "timestamp": 0, **fields}


def test_each_new_line_is_streamed_as_soon_as_the_process_writes_the_line(api: Api) -> None:
    pid = api.start("cat", stdin_mode="pipe")
    api.send(pid, "stdin", data=b"before\n")
    api.lines(pid, at_least=1)
    events = follow(api, pid)
    assert next(events) == line("before")
    for number in range(3):
        began = time.time_ns() // 1_000_000
        api.send(pid, "stdin", data=b"line %d\n" % number)
        name, data = next(events)
        assert (name, data["line"]) == ("output", f"line {number}")
        assert began <= data["timestamp"] <= time.time_ns() // 1_000_000
    api.send(pid, "stdin/close")
    assert list(events) == [EOF]


def test_last_line_without_a_newline_arrives_when_the_process_ends(api: Api) -> None:
    pid = api.start("sh", "-c", "printf part; read line; printf ial", stdin_mode="pipe")
    events = follow(api, pid)
    api.send(pid, "stdin/close")
    (_, data), end = events
    assert (data["line"], end) == ("partial", EOF)


def test_every_client_that_follows_the_output_receives_every_line(api: Api) -> None:
    pid = api.start("sh", "-c", "read go; seq 20000", stdin_mode="pipe")
    followers = [follow(api, pid) for _ in range(3)]
    api.send(pid, "stdin", data=b"\n")
    for follower in followers:
        *lines, end = follower
        assert [data["line"] for _, data in lines] == [str(n) for n in range(1, 20001)]
        assert end == EOF


def test_stream_ends_with_its_process_even_if_a_grandchild_keeps_the_pipe_open(api: Api) -> None:
    pid = api.start("sh", "-c", "sleep 600 & echo $!; exit 4")
    (_, data), end = follow(api, pid)
    assert (end, api.get(pid)["exit_code"], is_gone(int(data["line"]))) == (EOF, 4, False)
    os.kill(int(data["line"]), signal.SIGKILL)


def test_output_stream_of_a_managed_process_ends_with_the_current_run(api: Api) -> None:
    api.start("sh", "-c", "echo $$; exec sleep 600", name="followed")
    events = follow(api, "followed")
    _, data = next(events)
    pid = api.call("POST", "/processes/followed/restart").json()["pid"]
    assert pid != int(data["line"])
    assert list(events) == [EOF]
    api.call("DELETE", "/processes/followed")
    api.ended(pid)


def test_sandbox_can_be_closed_while_a_client_follows_process_output() -> None:
    with new_sandbox() as api:
        pid = api.start("sleep", "600")
        follow(api, pid)
        api.sandbox.close()
        assert api.sandbox._server.returncode == 0  # the server was not killed
        assert is_gone(pid)


# ------------------------------------------------------------------------- run


def test_response_to_a_run_request_has_a_start_event_then_output_lines_then_an_end_event(
    api: Api,
) -> None:
    before = time.time_ns() // 1_000_000
    answer = start_run(api, "sh", "-c", "echo out; echo err >&2; exit 3")
    start, *lines, end = [data for _, data in events_of(answer)]
    after = time.time_ns() // 1_000_000
    row = api.get(start["pid"])
    assert start == {key: row[key] for key in ("handle", "pid", "started_at")}
    assert all(before <= frame.pop("timestamp") <= after for frame in lines)
    assert sorted(lines, key=str) == [
        {"line": "err", "stream": "stderr"},
        {"line": "out", "stream": "stdout"},
    ]
    assert end == {"exit_code": 3, "oom_killed": False, "reason": "exited"}


def test_program_of_a_run_request_has_the_given_environment_and_folder_but_no_stdin(
    api: Api,
) -> None:
    _, lines, end = run(api, "sh", "-c", "echo $A; pwd; cat", env={"A": "b"}, working_dir="/")
    assert (lines, end["exit_code"]) == ([("stdout", "b"), ("stdout", "/")], 0)


def test_timeout_kills_the_program_and_all_descendants(api: Api) -> None:
    script = "setsid sleep 600 & echo $!; sleep 600 & echo $!; exec sleep 600"
    start, lines, end = run(api, "sh", "-c", script, timeout=0.3)
    assert end == {"signal": 9, "oom_killed": False, "reason": "timed_out"}
    children = [int(text) for _, text in lines]
    assert len(children) == 2
    until(lambda: all(is_gone(pid) for pid in children))
    row = api.get(start["pid"])
    assert (row["status"], row["signal"]) == ("signaled", 9)
    assert row["ended_at"] - row["started_at"] >= 300


def test_timeout_kills_the_program_even_after_the_client_disconnects(api: Api) -> None:
    answer = start_run(api, "sleep", "600", timeout=0.3)
    _, start = next(events_of(answer))
    answer.close()
    assert api.get(start["pid"])["status"] == "running"
    assert api.ended(start["pid"])["signal"] == 9


def test_end_event_of_an_oom_killed_run_reports_the_oom_kill() -> None:
    with new_sandbox(memory_limit=64 << 20) as api:
        _, _, end = run(api, "python", "-c", HOG)
    assert end == {"signal": 9, "oom_killed": True, "reason": "oom_killed"}


def test_response_to_a_run_request_contains_each_line_while_the_program_is_running(
    api: Api,
) -> None:
    events = events_of(start_run(api, "sh", "-c", "echo up; exec sleep 600"))
    _, start = next(events)
    _, up = next(events)
    assert up["line"] == "up"
    api.kill(start["pid"])
    assert list(events) == [(None, {"signal": 9, "oom_killed": False, "reason": "signaled"})]


def test_response_to_a_run_request_contains_every_line_of_a_large_output(api: Api) -> None:
    _, lines, _ = run(api, "seq", "200000")
    assert [int(text) for _, text in lines] == list(range(1, 200_001))


def test_comments_keep_a_silent_stream_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_streams, "_KEEP_ALIVE_SECONDS", 0.01)

    async def follow_a_quiet_one() -> list[bytes]:
        process = unstarted()
        sent = []
        async for event in event_streams.follow(process, "output"):
            sent.append(event)
            if len(sent) == 3:
                process.end(wait_status=0, oom_kills=0)
        return sent

    assert asyncio.run(follow_a_quiet_one()) == [b":\n\n"] * 3 + [b"event: eof\ndata: {}\n\n"]
