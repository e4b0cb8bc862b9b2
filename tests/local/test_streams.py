"""The follow streams, and a run: their frames as they come over the wire."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import time
from typing import TYPE_CHECKING, Any

import pytest

from pytest_tlsandbox.local import streams
from pytest_tlsandbox.local.bodies import StartRequest
from pytest_tlsandbox.local.process import Pipes, Process, now_ms
from pytest_tlsandbox.local.server import start_local_sandbox

from .conftest import HOG, Api, is_gone, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    import requests

SSE = "text/event-stream"


class Events:
    """The events of a stream, one after the other: name (None if it has none) and data."""

    def __init__(self, answer: requests.Response) -> None:
        assert answer.status_code == 200
        assert answer.headers["content-type"] == SSE
        assert answer.headers["cache-control"] == "no-cache"
        self._answer = answer
        self._lines = answer.iter_lines(chunk_size=None, delimiter=b"\n")

    def __iter__(self) -> Iterator[tuple[str | None, Any]]:
        name = None
        for line in self._lines:
            field, _, value = line.partition(b": ")
            if field == b"event":
                name = value.decode()
            elif field == b"data":
                yield name, json.loads(value)
                name = None
            else:
                assert line in (b"", b":")

    def close(self) -> None:
        self._answer.close()


def follow(api: Api, pid: int | str, stream: str) -> Events:
    return Events(api.call("GET", f"/processes/{pid}/{stream}/follow", stream=True))


def run(api: Api, command: str, *args: str, **fields: Any) -> list[Any]:
    body = {"command": command, "args": args, **fields}
    events = list(Events(api.call("POST", "/processes/run", json=body, stream=True)))
    assert {name for name, _ in events} == {None}
    return [data for _, data in events]


def end_of(frames: list[Any]) -> Any:
    return frames[-1]


def lines_of(frames: list[Any]) -> list[tuple[str, str]]:
    return [(frame["stream"], frame["line"]) for frame in frames[1:-1]]


# ---------------------------------------------------------------------- follow


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_finished_process_is_replayed_with_timestamp_0(api: Api, stream: str) -> None:
    to = ">&2" if stream == "stderr" else ""
    pid = api.start("sh", "-c", f"printf 'a\\nb\\r\\nrest' {to}")
    api.ended(pid)
    assert list(follow(api, pid, stream)) == [
        ("output", {"line": "a", "timestamp": 0}),
        ("output", {"line": "b", "timestamp": 0}),
        ("output", {"line": "rest", "timestamp": 0}),
        ("eof", {}),
    ]


def test_both_streams_tell_where_a_line_came_from(api: Api) -> None:
    pid = api.start("sh", "-c", "echo err >&2; echo out")
    api.ended(pid)
    assert list(follow(api, pid, "output")) == [
        ("output", {"line": "out", "timestamp": 0, "stream": "stdout"}),
        ("output", {"line": "err", "timestamp": 0, "stream": "stderr"}),
        ("eof", {}),
    ]


def test_after_the_replay_lines_come_as_they_are_written(api: Api) -> None:
    pid = api.start("cat", stdin_mode="pipe")
    api.call("POST", f"/processes/{pid}/stdin", data=b"before\n")
    api.lines(pid, at_least=1)
    events = iter(follow(api, pid, "stdout"))
    assert next(events) == ("output", {"line": "before", "timestamp": 0})
    for number in range(3):
        began = time.time_ns() // 1_000_000
        api.call("POST", f"/processes/{pid}/stdin", data=b"line %d\n" % number)
        name, data = next(events)
        assert (name, data["line"]) == ("output", f"line {number}")
        assert began <= data["timestamp"] <= time.time_ns() // 1_000_000
    api.call("POST", f"/processes/{pid}/stdin/close")
    assert list(events) == [("eof", {})]


def test_a_line_without_an_end_comes_with_the_end(api: Api) -> None:
    pid = api.start("sh", "-c", "printf part; read line; printf ial", stdin_mode="pipe")
    events = iter(follow(api, pid, "stdout"))
    api.call("POST", f"/processes/{pid}/stdin/close")
    name, data = next(events)
    assert (name, data["line"]) == ("output", "partial")
    assert list(events) == [("eof", {})]


def test_several_followers_each_get_every_line(api: Api) -> None:
    pid = api.start("sh", "-c", "read go; seq 20000", stdin_mode="pipe")
    apis = [Api(api.sandbox) for _ in range(3)]
    followers = [follow(other, pid, "stdout") for other in apis]
    api.call("POST", f"/processes/{pid}/stdin", data=b"\n")
    wanted = [str(number) for number in range(1, 20001)]
    for follower in followers:
        *lines, eof = follower
        assert [data["line"] for _, data in lines] == wanted
        assert eof == ("eof", {})
    for other in apis:
        other.close()


def test_a_grandchild_that_holds_the_pipe_does_not_delay_the_end_of_the_stream(api: Api) -> None:
    pid = api.start("sh", "-c", "sleep 600 & echo $!")
    (_, data), eof = follow(api, pid, "stdout")
    assert eof == ("eof", {})
    os.kill(int(data["line"]), signal.SIGKILL)


@pytest.mark.parametrize("stream", ["stdout", "stderr", "output"])
def test_an_unknown_pid_has_no_lines_and_an_end(api: Api, stream: str) -> None:
    answer = api.call("GET", f"/processes/999999/{stream}/follow")
    assert (answer.status_code, answer.headers["content-type"]) == (200, SSE)
    assert answer.text == "event: eof\ndata: {}\n\n"


def test_a_managed_process_is_followed_by_name_until_its_run_ends(api: Api) -> None:
    api.start("sh", "-c", "echo $$; exec sleep 600", name="followed")
    events = iter(follow(api, "followed", "stdout"))
    _, data = next(events)
    pid = api.call("POST", "/processes/followed/restart").json()["pid"]
    assert pid != int(data["line"])
    assert list(events) == [("eof", {})]
    api.call("DELETE", "/processes/followed")
    api.ended(pid)


def test_a_follower_that_hangs_up_leaves_the_process_alone(api: Api, sleeper: int) -> None:
    other = Api(api.sandbox)
    events = follow(other, sleeper, "output")
    events.close()
    other.close()
    assert api.get(sleeper)["status"] == "running"


def test_the_sandbox_ends_in_time_while_it_is_followed() -> None:
    with start_local_sandbox() as sandbox:
        api = Api(sandbox)
        pid = api.start("sleep", "600")
        follow(api, pid, "stdout")
        began = time.monotonic()
        sandbox.close()
        assert time.monotonic() - began < 3
        assert is_gone(pid)
        api.close()


# ------------------------------------------------------------------------- run


def test_the_frames_of_a_run_are_its_start_its_lines_and_its_end(api: Api) -> None:
    before = time.time_ns() // 1_000_000
    frames = run(api, "sh", "-c", "echo out; echo err >&2; exit 3")
    after = time.time_ns() // 1_000_000
    start, end = frames[0], frames[-1]
    row = api.get(start["pid"])
    assert start == {key: row[key] for key in ("handle", "pid", "started_at")}
    assert sorted(lines_of(frames)) == [("stderr", "err"), ("stdout", "out")]
    for frame in frames[1:-1]:
        assert set(frame) == {"line", "timestamp", "stream"}
        assert before <= frame["timestamp"] <= after
    assert end == {"exit_code": 3, "oom_killed": False, "reason": "exited"}


def test_a_run_that_a_signal_ended_tells_which(api: Api) -> None:
    frames = run(api, "sh", "-c", "kill -SEGV $$")
    assert end_of(frames) == {"signal": 11, "oom_killed": False, "reason": "signaled"}


def test_a_run_has_its_env_and_folder_and_no_stdin(api: Api) -> None:
    frames = run(api, "sh", "-c", "echo $A; pwd; cat", env={"A": "b"}, working_dir="/")
    assert lines_of(frames) == [("stdout", "b"), ("stdout", "/")]
    assert end_of(frames)["exit_code"] == 0


def test_a_run_over_its_time_is_killed_with_its_whole_tree(api: Api) -> None:
    began = time.monotonic()
    script = "setsid sleep 600 & echo $!; sleep 600 & echo $!; exec sleep 600"
    frames = run(api, "sh", "-c", script, timeout=0.3)
    assert 0.3 <= time.monotonic() - began < 2
    assert end_of(frames) == {"signal": 9, "oom_killed": False, "reason": "timed_out"}
    children = [int(line) for _, line in lines_of(frames)]
    assert len(children) == 2
    until(lambda: all(is_gone(pid) for pid in children))
    row = api.get(frames[0]["pid"])
    assert (row["status"], row["signal"]) == ("signaled", 9)


def test_a_run_within_its_time_is_left_alone(api: Api) -> None:
    assert end_of(run(api, "true", timeout=60))["reason"] == "exited"


def test_the_time_of_a_run_holds_also_if_the_client_hangs_up(api: Api) -> None:
    other = Api(api.sandbox)
    body = {"command": "sleep", "args": ["600"], "timeout": 0.3}
    events = Events(other.call("POST", "/processes/run", json=body, stream=True))
    _, start = next(iter(events))
    events.close()
    other.close()
    assert api.get(start["pid"])["status"] == "running"
    assert api.ended(start["pid"])["signal"] == 9


def test_a_run_that_is_oom_killed_tells_so() -> None:
    with start_local_sandbox(memory_limit=64 << 20) as sandbox:
        api = Api(sandbox)
        frames = run(api, "python", "-c", HOG)
        api.close()
    assert end_of(frames) == {"signal": 9, "oom_killed": True, "reason": "oom_killed"}


def test_a_run_that_cannot_be_started_is_500(api: Api) -> None:
    answer = api.call("POST", "/processes/run", json={"command": "/no/such/program"})
    assert (answer.status_code, answer.json()) == (500, {"error": "Failed to spawn process"})


@pytest.mark.parametrize("timeout", ['"1"', "-1", "-0.5", "true", "[]"])
def test_a_time_that_is_none_is_422(api: Api, timeout: str) -> None:
    body = f'{{"command":"true","timeout":{timeout}}}'
    headers = {"Content-Type": "application/json"}
    answer = api.call("POST", "/processes/run", data=body, headers=headers)
    assert answer.status_code == 422
    assert "timeout: invalid" in answer.text


def test_lines_come_while_the_run_goes_on(api: Api) -> None:
    body = {"command": "sh", "args": ["-c", "echo up; exec sleep 600"]}
    other = Api(api.sandbox)
    events = iter(Events(other.call("POST", "/processes/run", json=body, stream=True)))
    _, start = next(events)
    _, line = next(events)
    assert line["line"] == "up"
    api.call("DELETE", f"/processes/{start['pid']}")
    assert [data for _, data in events] == [
        {"signal": 9, "oom_killed": False, "reason": "signaled"}
    ]
    other.close()


def test_a_run_that_prints_much_loses_no_line(api: Api) -> None:
    frames = run(api, "seq", "200000")
    assert [int(line) for _, line in lines_of(frames)] == list(range(1, 200_001))


def test_a_reader_that_does_not_read_does_not_stop_the_program(api: Api) -> None:
    body = json.dumps({"command": "seq", "args": ["1000000"]}).encode()
    address = api.sandbox.url.removeprefix("http://").split(":")
    with socket.create_connection((address[0], int(address[1]))) as client:
        key = api.sandbox.api_key.reveal()
        client.sendall(
            b"POST /api/v1/processes/run HTTP/1.1\r\nHost: local.local\r\n"
            b"Authorization: Bearer %s\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%s" % (key.encode(), len(body), body)
        )
        until(
            lambda: [
                row
                for row in api.call("GET", "/processes").json()["processes"]
                if row["args"] == ["1000000"] and row["exit_code"] == 0
            ]
        )


def test_a_quiet_stream_is_kept_alive_by_comments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "_KEEP_ALIVE_SECONDS", 0.01)

    async def follow_a_quiet_one() -> list[bytes]:
        pipes = Pipes(None, None, None)
        request = StartRequest("sleep")
        process = Process(1, 2, request, now_ms(), pipes, output_changed=lambda more: None)
        sent = []
        async for event in streams.follow(process, "output"):
            sent.append(event)
            if len(sent) == 3:
                process.end(wait_status=0, oom_kills=0)
        return sent

    assert asyncio.run(follow_a_quiet_one()) == [b":\n\n"] * 3 + [b"event: eof\ndata: {}\n\n"]
