"""The sandbox does not answer as expected, or the test is wrong."""

import pytest

LIFECYCLE = {"code": "SANDBOX_NOT_RUNNING", "error": "sandbox is not running (status: {})"}


def test_unknown_end(front, far):
    """The sandbox lost the exit code, so the result is inconclusive."""
    job = far.start_process("python", ["train.py", "--done"])

    def lose_exit_codes(status, body):
        for row in body.get("processes", []):
            row["exit_code"] = -1 if row["status"] == "exited" else None
        return status, body

    front.spoil = lose_exit_codes
    far.wait_for_exit(job, timeout=60)


def test_gone(front, far):
    """A process is no longer listed."""
    job = far.start_process("python", ["train.py", "--endless"])
    far.wait_for_process(job)

    def forget(status, body):
        if "processes" in body:
            body["processes"] = [row for row in body["processes"] if row["pid"] != job.pid]
        return status, body

    front.spoil = forget
    far.wait_for_exit(job, timeout=60)


def test_not_checked(front, far):
    """The sandbox answers 502 until the deadline."""
    job = far.start_process("python", ["train.py", "--endless"])
    front.answer(502, {"code": "SANDBOX_UPSTREAM_ERROR", "error": "reset"})
    far.wait_for_exit(job, timeout=1)


def test_outage_during_a_wait(front, far):
    """The wait survives an outage, and the timeline shows the gap."""
    job = far.start_process("sh", ["-c", "sleep 1; exit 3"])
    polls = iter(range(10**6))

    def fail_some_polls(status, body):
        return (503, {"error": "busy"}) if 2 <= next(polls) <= 4 else (status, body)

    front.spoil = fail_some_polls
    far.wait_for_exit(job, timeout=10)


def test_suspended(front, far):
    """The sandbox is suspended and does not resume in time."""
    asleep = {key: text.format("suspended") for key, text in LIFECYCLE.items()}
    front.answer(409, asleep)
    far.wait_for_process("train.py", timeout=1)


def test_terminated(front, far):
    """The sandbox was terminated, so the wait stops immediately."""
    over = {key: text.format("terminated") for key, text in LIFECYCLE.items()}
    front.answer(409, over)
    far.wait_for_process("train.py", timeout=60)


def test_replaced(front, far):
    """Another sandbox answers under the same name."""
    far.start_process("python", ["train.py", "--endless"])
    later = far.from_now()

    def replace_sandbox(status, body):
        rows = body["processes"][:1]
        return status, {
            "processes": [{**row, "pid": 7, "started_at": row["started_at"] + 9000} for row in rows]
        }

    front.spoil = replace_sandbox
    later.assert_no_oom()


def test_key_rejected(front, tlsandbox_connect):
    """The API key is not valid."""
    front.answer(401, {"code": "UNAUTHORIZED", "message": "invalid credentials"})
    tlsandbox_connect(front).list_processes()


def test_no_such_sandbox(front, tlsandbox_connect):
    """No sandbox has this name."""
    front.answer(404, {"code": "SANDBOX_NOT_FOUND", "error": "not found"})
    tlsandbox_connect(front).list_processes()


def test_not_the_api(front, tlsandbox_connect):
    """The URL leads to something other than a sandbox."""
    front.answer(200, b"<!doctype html><title>Log in</title>")
    tlsandbox_connect(front).list_processes()


def test_row_that_cannot_be_read(front, far):
    """A row does not follow the API, so it might be a process that was OOM-killed."""

    def garble(status, body):
        body["processes"].append({"pid": 77, "status": 3, "command": "train.py"})
        return status, body

    front.spoil = garble
    far.assert_no_oom()


def test_cannot_start(tlsandbox):
    """The program does not exist."""
    tlsandbox.start_process("trian --shards 8")


def test_unknown_status(tlsandbox):
    """The status does not exist, so the call fails immediately."""
    tlsandbox.wait_for_process("train.py", status="runing")


@pytest.mark.usefixtures("tlsandbox_target")
def test_no_target():
    """Without --tlsandbox, the fixture says what to set (this one ran without pytest.ini)."""
    pytest.skip("the tool runs this one by itself")
