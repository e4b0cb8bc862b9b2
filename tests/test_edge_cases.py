"""The results of every helper for 26 unusual response bodies, in a table (see api-notes)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pytest_tlsandbox import errors
from pytest_tlsandbox.client.address import Address
from pytest_tlsandbox.client.http_errors import error_of_response
from tests.support import box_of, failure, pass_time

# fmt: off
BODIES = {
    1: '{"processes":[]}',
    2: '{"processes":[{"pid":42,"status":"running","stdin_writable":false,"command":"python","args":["app.py"],"started_at":1710000000000}]}',
    3: '{"processes":[{"handle":3,"pid":77,"status":"oom_killed","exit_code":null,"signal":9,"oom_killed":true,"stdin_writable":false,"command":"train","args":[],"started_at":1710000000000,"ended_at":1710000009000}]}',
    4: '{"processes":[{"handle":3,"pid":77,"status":"signaled","signal":9,"oom_killed":true,"stdin_writable":false,"command":"train","args":[],"started_at":1710000000000,"ended_at":1710000009000}]}',
    5: '{"processes":[{"handle":3,"pid":77,"status":"oom_killed","exit_code":null,"signal":null,"stdin_writable":false,"command":"train","args":[],"started_at":1710000000000,"ended_at":1710000009000}]}',
    6: '{"processes":[{"handle":4,"pid":80,"status":"exited","exit_code":137,"signal":null,"stdin_writable":false,"command":"sh","args":["-c","train; echo done"],"started_at":1710000000000,"ended_at":1710000009000}]}',
    7: '{"processes":[{"pid":81,"status":"exited","exit_code":-1,"signal":null,"stdin_writable":false,"command":"true","args":[],"started_at":1710000000000,"ended_at":1710000000005}]}',
    8: '{"processes":[{"handle":5,"pid":82,"status":"exited","exit_code":null,"signal":null,"stdin_writable":false,"command":"job","args":[],"started_at":1710000000000,"ended_at":1710000000500}]}',
    9: '{"processes":[{"handle":6,"pid":83,"status":"signaled","exit_code":null,"signal":1,"stdin_writable":false,"command":"job","args":[],"started_at":1710000000000,"ended_at":1710000000500}]}',
    10: '{"processes":[{"handle":7,"pid":84,"status":"completed","exit_code":0,"stdin_writable":false,"command":"job","args":[],"started_at":1710000000000,"ended_at":1710000000500},{"handle":8,"pid":85,"status":"running","stdin_writable":false,"command":"web","args":[],"started_at":1710000000000}]}',
    11: '{"processes":[{"handle":9,"pid":86,"status":"paused","exit_code":null,"signal":null,"stdin_writable":false,"command":"web","args":[],"started_at":1710000000000,"ended_at":null}]}',
    12: '{"processes":[{"handle":10,"pid":87,"status":"running","exit_code":1,"signal":null,"stdin_writable":false,"command":"web","args":[],"started_at":1710000000000,"ended_at":1710000003000}]}',
    13: '{"processes":[{"handle":14,"pid":120,"status":"running","exit_code":null,"signal":null,"stdin_writable":false,"command":"web","args":[],"started_at":1710000060000,"ended_at":null,"managed":{"id":"web","name":"web","status":"running","restart_count":3,"restart":{"policy":"on_failure","max_restarts":null,"initial_backoff_ms":500,"max_backoff_ms":30000},"health_check":null,"health_status":"disabled","consecutive_health_failures":0,"last_exit":{"exit_code":null,"signal":9,"oom_killed":true,"ended_at":1710000055000},"last_error":null,"next_restart_at":null}}]}',
    14: '{"processes":[{"handle":13,"pid":111,"status":"exited","exit_code":1,"signal":null,"stdin_writable":false,"command":"web","args":[],"started_at":1710000000000,"ended_at":1710000010000,"managed":{"id":"web","name":"web","status":"backing_off","restart_count":1,"restart":{"policy":"always","max_restarts":5,"initial_backoff_ms":500,"max_backoff_ms":30000},"health_check":null,"health_status":"disabled","consecutive_health_failures":0,"last_exit":{"exit_code":1,"signal":null,"oom_killed":false,"ended_at":1710000010000},"last_error":null,"next_restart_at":1710000011000}}]}',
    15: '{"processes":[{"handle":15,"pid":130,"status":"running","stdin_writable":false,"command":"web","args":[],"started_at":1710000000000,"managed":{"id":"web","name":"web","status":"running","restart_count":0,"restart":{"policy":"never"},"health_check":{"type":"http","port":8080,"path":"/ready"},"health_status":"unhealthy","consecutive_health_failures":4,"last_exit":null}}]}',
    16: '{"processes":[{"handle":16,"pid":140,"status":"exited","exit_code":1,"signal":null,"stdin_writable":false,"command":"web","args":[],"started_at":1710000000000,"ended_at":1710000010000,"managed":{"id":"p-7f","name":null,"status":"stopped","restart_count":5,"restart":{"policy":"on_failure","max_restarts":5,"initial_backoff_ms":500,"max_backoff_ms":30000},"health_check":null,"health_status":"disabled","consecutive_health_failures":0,"last_exit":{"exit_code":1,"ended_at":1710000010000},"last_error":"restart limit reached"}}]}',
    17: '{"processes":[{"handle":2,"pid":42,"status":"exited","exit_code":0,"signal":null,"stdin_writable":false,"command":"setup","args":[],"started_at":1710000000000,"ended_at":1710000001000},{"handle":90,"pid":42,"status":"running","exit_code":null,"signal":null,"stdin_writable":false,"command":"web","args":[],"started_at":1710009000000,"ended_at":null}]}',
    18: '{"processes":[{"handle":1,"pid":42,"status":"running","stdin_writable":false,"command":"web","args":null,"started_at":null},{"handle":2,"pid":43,"status":"running","stdin_writable":false,"command":"db","args":[],"started_at":1710000000000}]}',
    19: '{"error":"Sandbox \'abc123\' not found or not running"}',
    20: '{"error":"Process 42 not found","code":"NOT_FOUND"}',
    21: '{"error":"path not found","code":"LIFECYCLE_PATH_NOT_FOUND"}',
    22: '{"error":"Sandbox \'abc123\' is not running (status: suspending).","code":"SANDBOX_NOT_RUNNING"}',
    23: '{"error":"sandbox is not ready","code":"SANDBOX_NOT_READY"}',
    24: '{"sandbox_id":"abc123","status":"terminated","reason":"Timeout"}',
    25: '{"error":"Failed to proxy request","code":"PROXY_ERROR"}',
    26: '{"message":"invalid credentials","code":"UNAUTHORIZED","timestamp":1710000000000,"trace_id":"0af7","details":null}',
}
# fmt: on

OK = "ok"

Q = {
    "running": lambda box, who: box.wait_for_process(who, timeout=5),
    "healthy": lambda box, who: box.wait_for_process(who, healthy=True, timeout=5),
    "signaled": lambda box, who: box.wait_for_process(who, status="signaled", timeout=5),
    "exit_0": lambda box, who: box.wait_for_exit(who, timeout=5),
    "exit_1": lambda box, who: box.wait_for_exit(who, exit_code=1, timeout=5),
    "exit_137": lambda box, who: box.wait_for_exit(who, exit_code=137, timeout=5),
    "exit_any": lambda box, who: box.wait_for_exit(who, exit_code="any", timeout=5),
    "not_running": lambda box, who: box.assert_not_running(who),
    "no_oom": lambda box, _who: box.assert_no_oom(),
    "no_oom_of_it": lambda box, who: box.assert_no_oom(who),
    "no_suspected_oom": lambda box, _who: box.assert_no_oom(suspected=True),
    "no_crash": lambda box, _who: box.assert_no_crash(),
    "no_restart": lambda box, _who: box.assert_no_restart(),
    "no_incidents": lambda box, _who: box.assert_no_incidents(),
}

# Body, process, the result ("ok" or the name of the error), and the questions with this result.
ANSWERS = [
    (1, "app.py", "ProcessNotFound", "running exit_0 no_oom_of_it"),
    (1, "app.py", OK, "not_running no_oom no_incidents"),
    (2, "app.py", OK, "running no_oom no_oom_of_it no_incidents"),
    (2, "app.py", "AssertionFailed", "healthy not_running"),
    (2, "app.py", "WaitTimedOut", "exit_0"),
    (3, "train", "ProcessOOMKilled", "running exit_0 exit_any no_oom no_incidents"),
    (3, "train", OK, "not_running no_crash"),
    (4, "train", "ProcessOOMKilled", "running exit_0 signaled no_oom"),
    (4, "train", OK, "no_crash"),
    (5, "train", "ProcessOOMKilled", "running exit_0 no_oom"),
    (6, "train", "UnexpectedExit", "running exit_0"),
    (6, "train", OK, "exit_137 exit_any no_oom"),
    (6, "train", "ProcessOOMKilled", "no_suspected_oom"),
    (7, "true", "UnexpectedExit", "running"),
    (7, "true", "Inconclusive", "exit_0 exit_any"),
    (7, "true", OK, "no_oom not_running"),
    (7, "true", "ProcessOOMKilled", "no_suspected_oom"),
    (8, "job", "UnexpectedExit", "running"),
    (8, "job", "Inconclusive", "exit_0 exit_any"),
    (8, "job", OK, "no_oom"),
    (9, "job", "UnexpectedExit", "running"),
    (9, "job", "Inconclusive", "exit_0 exit_any"),
    (9, "job", OK, "signaled no_crash no_suspected_oom"),
    (10, "job", "UnexpectedExit", "running"),
    (10, "job", OK, "exit_0 not_running no_oom"),
    (10, "web", OK, "running"),
    (10, "web", "WaitTimedOut", "exit_0"),
    (10, "web", "AssertionFailed", "not_running"),
    (11, "web", "WaitTimedOut", "running exit_0"),
    (11, "web", "AssertionFailed", "not_running"),
    (11, "web", OK, "no_incidents"),
    (12, "web", "UnexpectedExit", "running exit_0"),
    (12, "web", OK, "exit_1 not_running"),
    (13, "web", OK, "running"),
    (13, "web", "WaitTimedOut", "exit_0"),
    (13, "web", "ProcessOOMKilled", "no_oom no_oom_of_it no_incidents"),
    (13, "web", "Inconclusive", "no_crash"),
    (13, "web", "ProcessRestarted", "no_restart"),
    (14, "web", "WaitTimedOut", "running exit_0"),
    (14, "web", OK, "exit_1"),
    (14, "web", "AssertionFailed", "not_running"),
    # There may be one end or two: some sandboxes count a restart before it happens.
    (14, "web", "Inconclusive", "no_oom no_crash no_restart"),
    (15, "web", OK, "running no_restart no_crash"),
    (15, "web", "WaitTimedOut", "healthy"),
    (15, "web", "ProcessUnhealthy", "no_incidents"),
    (16, "web", "UnexpectedExit", "running exit_0"),
    (16, "web", OK, "exit_1 not_running"),
    (16, "web", "Inconclusive", "no_oom"),
    (16, "web", "ProcessCrashed", "no_crash"),
    (16, "web", "ProcessRestarted", "no_restart"),
    (17, 42, OK, "running"),
    (17, 42, "WaitTimedOut", "exit_0"),
    (17, 42, "AssertionFailed", "not_running"),
    (17, "setup", "UnexpectedExit", "running"),
    (17, "setup", OK, "exit_0 not_running"),
    (18, "db", OK, "running"),
    (18, "db", "WaitTimedOut", "exit_0"),
    (18, "db", "Inconclusive", "no_oom"),
    (18, "web", "ProcessNotFound", "running"),
    (18, "web", "Inconclusive", "not_running no_incidents"),
]

CASES = [
    pytest.param(body, who, question, answer, id=f"{body}-{who}-{question}")
    for body, who, answer, questions in ANSWERS
    for question in questions.split()
]


@pytest.mark.parametrize(("number", "who", "question", "answer"), CASES)
def test_helper_returns_the_result_in_the_table_for_each_body(number, who, question, answer):
    box = box_of(rows(number))
    result = OK
    try:
        Q[question](box, who)
    except errors.TLSandboxError as error:
        result = type(error).__name__
    assert result == answer


# Body, status of the response, the error, and whether a retry may succeed.
FAULTS = [
    (19, 404, errors.SandboxNotFound, False),
    (20, 404, errors.RequestRefused, False),
    (21, 404, errors.SandboxNotFound, False),
    (22, 400, errors.SandboxNotRunning, True),
    (23, 503, errors.SandboxUnreachable, True),
    (24, 409, errors.SandboxNotRunning, False),
    (25, 502, errors.SandboxUnreachable, True),
    (25, 504, errors.SandboxUnreachable, True),
    (26, 401, errors.AuthenticationFailed, False),
]


@pytest.mark.parametrize(("number", "status", "error", "transient"), FAULTS)
def test_error_body_raises_the_error_in_the_table(number, status, error, transient):
    address = Address("my-sandbox", "https://my-sandbox.sandbox.tensorlake.ai")

    fault = error_of_response("GET", status, {}, BODIES[number].encode(), address)

    assert type(fault) is error
    assert fault.transient is transient


def test_every_body_is_in_a_table():
    asked = {number for number, *_ in ANSWERS} | {number for number, *_ in FAULTS}

    assert asked == BODIES.keys() == set(range(1, 27))


def rows(number: int) -> list[dict[str, Any]]:
    return json.loads(BODIES[number])["processes"]


def test_corrected_end_counts():
    lost = rows(7)
    box = box_of({0: lost, 0.5: [{**lost[0], "exit_code": 0}]})

    assert box.wait_for_exit("true").exit_code == 0


def test_oom_kill_hidden_by_a_restart_counts_only_if_it_is_new():
    (row,) = rows(13)
    before = {**row, "managed": {**row["managed"], "restart_count": 2, "last_exit": None}}
    box = pass_time(box_of({0: [before], 1: [row]}).from_now())

    failure(box.assert_no_oom, errors.ProcessOOMKilled)
    box.from_now().assert_no_oom()
