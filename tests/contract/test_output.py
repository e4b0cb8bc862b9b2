"""What the API returns of the output of a process, and how its stdin is written."""

import time

import pytest

from .facts import assumed, documented, measured
from .sandbox_api import events, refusal

EOF = ("eof", {})


LINES = {"stdout": ["out"], "stderr": ["err"], "output": ["out", "err"]}


@documented("doc")
@pytest.mark.parametrize(("stream", "lines"), LINES.items())
def test_output_consists_of_the_lines_of_stdout_and_then_of_stderr(api, stream, lines):
    pid = api.run("sh", "-c", "echo err >&2; echo out")["pid"]
    answer = api.call("GET", f"/processes/{pid}/{stream}")
    assert answer.status_code == 200
    assert answer.json() == {"pid": pid, "lines": lines, "line_count": len(lines)}


@documented("doc")
def test_discarded_stream_has_no_lines(api):
    pid = api.run("sh", "-c", "echo hidden; echo shown >&2", stdout_mode="discard")["pid"]
    assert (api.lines(pid), api.lines(pid, "stderr")) == ([], ["shown"])


@measured("old daemon")
def test_line_becomes_visible_when_it_is_complete_and_has_no_line_break(api):
    script = r"printf 'whole\r\npart'; read go; echo ial"
    pid = api.start("sh", "-c", script, stdin_mode="pipe")
    assert api.lines(pid, at_least=1) == ["whole"]
    api.send(pid, "stdin", data=b"\n")
    api.ended(pid)
    assert api.lines(pid) == ["whole", "partial"]


@measured("old daemon", trait="any_bytes")
def test_output_continues_after_invalid_utf8(api):
    pid = api.run("printf", r"a\n\377\376\nb\n")["pid"]
    assert api.lines(pid)[::2] == ["a", "b"]


@documented("doc")
def test_stdin_can_be_written_and_closed(api):
    pid = api.start("wc", "-c", stdin_mode="pipe")
    assert api.get(pid)["stdin_writable"] is True
    written = b"x" * 2**17  # more than the pipe holds
    assert api.send(pid, "stdin", data=written).status_code == 204
    assert api.send(pid, "stdin/close").status_code == 204
    row = api.ended(pid)
    assert (row["exit_code"], row["stdin_writable"]) == (0, False)
    assert [line.strip() for line in api.lines(pid)] == [str(2**17)]
    assert api.send(pid, "stdin/close").status_code == 204


@measured("old daemon")
def test_write_to_the_stdin_of_an_ended_process_is_rejected(api):
    pid = api.run("true", stdin_mode="pipe")["pid"]
    closed = (400, "Process stdin is closed", "STDIN_NOT_WRITABLE")
    assert refusal(api.send(pid, "stdin", data=b"x")) == closed


@measured("old daemon")
def test_write_to_a_process_without_a_stdin_pipe_is_rejected(api, sleeper):
    error = "Process stdin is not writable"
    assert refusal(api.send(sleeper, "stdin", data=b"x")) == (400, error, "STDIN_NOT_WRITABLE")
    assert refusal(api.send(sleeper, "stdin/close")) == (400, error, None)


# ----------------------------------------------------------------------- streams


@measured("old daemon", needs="follow")
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_stream_of_an_ended_process_contains_its_lines_with_timestamp_0_and_then_eof(api, stream):
    pid = api.run("sh", "-c", r"printf 'a\nrest'; printf 'a\nrest' >&2")["pid"]
    lines = [("output", {"line": line, "timestamp": 0}) for line in ("a", "rest")]
    assert list(api.follow(pid, stream)) == [*lines, EOF]


@measured("old daemon", needs="follow")
def test_stream_of_both_outputs_names_the_output_of_each_line(api):
    pid = api.run("sh", "-c", "echo err >&2; echo out")["pid"]
    *lines, eof = api.follow(pid, "output")
    found = [(data["stream"], data["line"]) for _, data in lines]
    assert (found, eof) == ([("stdout", "out"), ("stderr", "err")], EOF)


@documented("doc", needs="follow")
def test_stream_contains_each_new_line_with_its_time(api):
    pid = api.start("sh", "-c", "echo first; read go; echo second", stdin_mode="pipe")
    api.lines(pid, at_least=1)
    follower = api.follow(pid, "stdout")
    assert next(follower)[1]["line"] == "first"
    api.send(pid, "stdin", data=b"\n")
    (_, second), eof = follower
    row = api.get(pid)
    assert row["started_at"] <= second["timestamp"] <= row["ended_at"] + 1000
    assert (second["line"], eof) == ("second", EOF)


@measured("old daemon", needs="follow")
def test_stream_of_an_unknown_pid_contains_only_eof(api):
    assert list(api.follow(999999, "stdout")) == [EOF]


@measured("old daemon", needs="follow")
def test_process_has_ended_when_its_stream_sends_eof(api):
    for _ in range(10):
        pid = api.start("sleep", "0.02")
        assert list(api.follow(pid, "stderr")) == [EOF]
        assert api.get(pid)["status"] == "exited"


@measured("old daemon", needs="follow", trait="eof_on_end")
def test_stream_sends_eof_although_a_descendant_keeps_the_pipe_open(api):
    pid = api.start("sh", "-c", "sleep 0.2; sleep 4 & exit 3")
    list(api.follow(pid, "stderr"))
    row = api.get(pid)
    assert row["exit_code"] == 3
    assert time.time() * 1000 - row["ended_at"] < 1500


@assumed("sdk", needs="managed")
def test_stream_of_a_managed_process_ends_with_its_current_run(api):
    restart = {"policy": "always", "initial_backoff_ms": 60_000}
    row = api.start_row("sleep", "0.2", name=api.new_name(), restart=restart)
    assert list(api.follow(row["pid"], "stderr")) == [EOF]


# --------------------------------------------------------------------- run calls


RUNS = {"exit 3": {"exit_code": 3}, "kill -9 $$": {"signal": 9}}


@documented("doc", needs="run")
@pytest.mark.parametrize(("script", "end"), RUNS.items())
def test_run_call_streams_the_output_and_then_the_end(api, script, end):
    body = {"command": "sh", "args": ["-c", f"echo out; {script}"]}
    answer = api.call("POST", "/processes/run", json=body, stream=True)
    start, *lines, last = [data for _, data in events(answer)]
    assert (start["pid"] > 1, [frame["line"] for frame in lines]) == (True, ["out"])
    assert last.items() >= end.items()
