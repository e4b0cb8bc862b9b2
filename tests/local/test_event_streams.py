"""Test what the contract does not state about follow streams and run requests."""

import asyncio

from pytest_tlsandbox.local import event_streams
from tests.contract.sandbox_api import events, until

from .conftest import is_gone, unstarted


def run(api, script, **fields):
    body = {"command": "sh", "args": ["-c", script], **fields}
    return api.call("POST", "/processes/run", json=body, stream=True)


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
    answer = run(api, script, env={"A": "b"}, working_dir="/", stdin_mode="pipe")
    assert answer.headers["cache-control"] == "no-cache"
    names, (start, *lines, end) = zip(*events(answer), strict=True)
    assert {*names} == {None}
    row = api.get(start["pid"])
    assert start == {key: row[key] for key in ("handle", "pid", "started_at")}
    assert all(start["started_at"] <= line.pop("timestamp") <= row["ended_at"] for line in lines)
    printed = [{"line": "/", "stream": "stderr"}, {"line": "b", "stream": "stdout"}]
    assert sorted(lines, key=str) == printed
    assert end == {"exit_code": 3, "oom_killed": False, "reason": "exited"}


def test_timeout_kills_the_program_and_all_descendants_even_after_the_client_disconnects(api):
    script = "setsid sleep 600 & echo $!; sleep 600 & echo $!; exec sleep 600"
    answer = run(api, script, timeout=0.5)
    stream = events(answer)
    _, start = next(stream)
    children = [int(next(stream)[1]["line"]) for _ in range(2)]  # while the program is running
    answer.close()
    assert api.get(start["pid"])["status"] == "running"
    row = api.ended(start["pid"])
    assert (row["signal"], row["ended_at"] - row["started_at"] >= 500) == (9, True)
    until(lambda: all(is_gone(pid) for pid in children))
