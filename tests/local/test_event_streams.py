"""Test what the contract does not state about follow streams and run requests."""

import asyncio

from pytest_tlsandbox.local import event_streams
from tests.contract.sandbox_api import events, until

from .conftest import is_gone, unstarted


def start_run(api, script, **fields):
    body = {"command": "sh", "args": ["-c", script], **fields}
    answer = api.call("POST", "/processes/run", json=body, stream=True)
    assert answer.headers["cache-control"] == "no-cache"
    return answer


def run(api, script, **fields):
    """Return the start event, the output events and the end event of a run request."""
    names, data = zip(*events(start_run(api, script, **fields)), strict=True)
    assert {*names} == {None}
    start, *lines, end = data
    return start, lines, end


# ---------------------------------------------------------------------- follow


def test_every_client_that_follows_the_output_receives_every_line_when_it_is_complete(api):
    script = r"printf part; read go; printf 'ial\n\377\376\n'; seq 20000; printf end"
    pid = api.start("sh", "-c", script, stdin_mode="pipe")
    followers = [api.follow(pid) for _ in range(3)]
    api.send(pid, "stdin", data=b"\n")
    wanted = ["partial", "\ufffd\ufffd", *map(str, range(1, 20001)), "end"]
    for follower in followers:
        *lines, eof = follower
        assert ([data["line"] for _, data in lines], eof) == (wanted, ("eof", {}))
    assert api.lines(pid) == wanted


def test_comments_keep_a_silent_stream_alive(monkeypatch):
    monkeypatch.setattr(event_streams, "_KEEP_ALIVE_SECONDS", 0.01)

    async def follow_a_quiet_one():
        process = unstarted()
        sent = []
        async for event in event_streams.follow(process, "output"):
            sent.append(event)
            if len(sent) == 3:
                process.end(wait_status=0, oom_kills=0)
        return sent

    assert asyncio.run(follow_a_quiet_one()) == [b":\n\n"] * 3 + [b"event: eof\ndata: {}\n\n"]


# ------------------------------------------------------------------------- run


def test_response_to_a_run_request_has_a_start_event_then_output_lines_then_an_end_event(api):
    script = "echo $A; pwd >&2; cat; exit 3"  # stdin is closed, whatever the request asks for
    start, lines, end = run(api, script, env={"A": "b"}, working_dir="/", stdin_mode="pipe")
    row = api.get(start["pid"])
    assert start == {key: row[key] for key in ("handle", "pid", "started_at")}
    assert all(start["started_at"] <= line.pop("timestamp") <= row["ended_at"] for line in lines)
    printed = [{"line": "/", "stream": "stderr"}, {"line": "b", "stream": "stdout"}]
    assert sorted(lines, key=str) == printed
    assert end == {"exit_code": 3, "oom_killed": False, "reason": "exited"}


def test_timeout_kills_the_program_and_all_descendants(api):
    script = "setsid sleep 600 & echo $!; sleep 600 & echo $!; exec sleep 600"
    start, lines, end = run(api, script, timeout=0.3)
    assert end == {"signal": 9, "oom_killed": False, "reason": "timed_out"}
    child, grandchild = (int(data["line"]) for data in lines)
    until(lambda: is_gone(child) and is_gone(grandchild))
    row = api.get(start["pid"])
    assert (row["status"], row["signal"]) == ("signaled", 9)
    assert row["ended_at"] - row["started_at"] >= 300


def test_timeout_kills_the_program_even_after_the_client_disconnects(api):
    answer = start_run(api, "echo up; exec sleep 600", timeout=0.3)
    stream = events(answer)
    _, start = next(stream)
    assert next(stream)[1]["line"] == "up"  # while the program is running
    answer.close()
    assert api.get(start["pid"])["status"] == "running"
    assert api.ended(start["pid"])["signal"] == 9
