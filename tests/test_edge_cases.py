"""The 26 bodies of the fact sheet (section 8), and what each helper answers to them, in one table."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from pytest_tlsandbox import errors
from pytest_tlsandbox.client.address import Address
from pytest_tlsandbox.client.http_errors import error_of_response
from pytest_tlsandbox.sandbox import Sandbox
from tests.support import FakeClock, ScriptedLister

if TYPE_CHECKING:
    from collections.abc import Callable

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
    "exit 0": lambda box, who: box.wait_for_exit(who, timeout=5),
    "exit 1": lambda box, who: box.wait_for_exit(who, exit_code=1, timeout=5),
    "exit 137": lambda box, who: box.wait_for_exit(who, exit_code=137, timeout=5),
    "exit any": lambda box, who: box.wait_for_exit(who, exit_code="any", timeout=5),
    "not running": lambda box, who: box.assert_not_running(who),
    "no oom": lambda box, _who: box.assert_no_oom(),
    "no oom of it": lambda box, who: box.assert_no_oom(who),
    "no suspected oom": lambda box, _who: box.assert_no_oom(suspected=True),
    "no crash": lambda box, _who: box.assert_no_crash(),
    "no restart": lambda box, _who: box.assert_no_restart(),
    "all well": lambda box, _who: box.assert_no_incidents(),
}

# Body, process, and the answer to each question: "ok", or the error.
ANSWERS: list[tuple[int, str | int, dict[str, str]]] = [
    (
        1,
        "app.py",
        {
            "running": "ProcessNotFound",
            "exit 0": "ProcessNotFound",
            "not running": OK,
            "no oom": OK,
            "no oom of it": "ProcessNotFound",
            "all well": OK,
        },
    ),
    (
        2,
        "app.py",
        {
            "running": OK,
            "healthy": "AssertionFailed",
            "exit 0": "WaitTimedOut",
            "not running": "AssertionFailed",
            "no oom": OK,
            "no oom of it": OK,
            "all well": OK,
        },
    ),
    (
        3,
        "train",
        {
            "running": "ProcessOOMKilled",
            "exit 0": "ProcessOOMKilled",
            "exit any": "ProcessOOMKilled",
            "not running": OK,
            "no oom": "ProcessOOMKilled",
            "no crash": OK,
            "all well": "ProcessOOMKilled",
        },
    ),
    (
        4,
        "train",
        {
            "running": "ProcessOOMKilled",
            "exit 0": "ProcessOOMKilled",
            "signaled": "ProcessOOMKilled",
            "no oom": "ProcessOOMKilled",
            "no crash": OK,
        },
    ),
    (
        5,
        "train",
        {
            "running": "ProcessOOMKilled",
            "exit 0": "ProcessOOMKilled",
            "no oom": "ProcessOOMKilled",
        },
    ),
    (
        6,
        "train",
        {
            "running": "UnexpectedExit",
            "exit 0": "UnexpectedExit",
            "exit 137": OK,
            "exit any": OK,
            "no oom": OK,
            "no suspected oom": "ProcessOOMKilled",
        },
    ),
    (
        7,
        "true",
        {
            "running": "UnexpectedExit",
            "exit 0": "Inconclusive",
            "exit any": "Inconclusive",
            "no oom": OK,
            "no suspected oom": "ProcessOOMKilled",
            "not running": OK,
        },
    ),
    (
        8,
        "job",
        {
            "running": "UnexpectedExit",
            "exit 0": "Inconclusive",
            "exit any": "Inconclusive",
            "no oom": OK,
        },
    ),
    (
        9,
        "job",
        {
            "running": "UnexpectedExit",
            "exit 0": "Inconclusive",
            "exit any": "Inconclusive",
            "signaled": OK,
            "no crash": OK,
            "no suspected oom": OK,
        },
    ),
    (10, "job", {"running": "UnexpectedExit", "exit 0": OK, "not running": OK, "no oom": OK}),
    (10, "web", {"running": OK, "exit 0": "WaitTimedOut", "not running": "AssertionFailed"}),
    (
        11,
        "web",
        {
            "running": "WaitTimedOut",
            "exit 0": "WaitTimedOut",
            "not running": "AssertionFailed",
            "all well": OK,
        },
    ),
    (
        12,
        "web",
        {
            "running": "UnexpectedExit",
            "exit 0": "UnexpectedExit",
            "exit 1": OK,
            "not running": OK,
        },
    ),
    (
        13,
        "web",
        {
            "running": OK,
            "exit 0": "WaitTimedOut",
            "no oom": "ProcessOOMKilled",
            "no oom of it": "ProcessOOMKilled",
            "no crash": "Inconclusive",
            "no restart": "ProcessRestarted",
            "all well": "ProcessOOMKilled",
        },
    ),
    (
        14,
        "web",
        {
            "running": "WaitTimedOut",
            "exit 0": "WaitTimedOut",
            "exit 1": OK,
            "not running": "AssertionFailed",
            # One end or two: some sandboxes count a restart before it happens.
            "no oom": "Inconclusive",
            "no crash": "Inconclusive",
            "no restart": "Inconclusive",
        },
    ),
    (
        15,
        "web",
        {
            "running": OK,
            "healthy": "WaitTimedOut",
            "no restart": OK,
            "no crash": OK,
            "all well": "ProcessUnhealthy",
        },
    ),
    (
        16,
        "web",
        {
            "running": "UnexpectedExit",
            "exit 0": "UnexpectedExit",
            "exit 1": OK,
            "not running": OK,
            "no oom": "Inconclusive",
            "no crash": "ProcessCrashed",
            "no restart": "ProcessRestarted",
        },
    ),
    (17, 42, {"running": OK, "exit 0": "WaitTimedOut", "not running": "AssertionFailed"}),
    (17, "setup", {"running": "UnexpectedExit", "exit 0": OK, "not running": OK}),
    (18, "db", {"running": OK, "exit 0": "WaitTimedOut", "no oom": "Inconclusive"}),
    (
        18,
        "web",
        {
            "running": "ProcessNotFound",
            "not running": "Inconclusive",
            "all well": "Inconclusive",
        },
    ),
]

CASES = [
    pytest.param(body, who, question, answer, id=f"{body}-{who}-{question.replace(' ', '_')}")
    for body, who, answers in ANSWERS
    for question, answer in answers.items()
]


def ask(body: str, question: Callable[[Sandbox, Any], Any], who: str | int) -> str:
    clock = FakeClock()
    rows = json.loads(body)["processes"]
    box = Sandbox(ScriptedLister(clock, {0.0: rows}))
    try:
        question(box, who)
    except errors.TLSandboxError as error:
        return type(error).__name__
    return OK


@pytest.mark.parametrize(("number", "who", "question", "answer"), CASES)
def test_each_body_gets_the_answer_of_the_table(number, who, question, answer):
    assert ask(BODIES[number], Q[question], who) == answer


# Body, the status it comes with, the error, and whether it is worth asking again.
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
def test_each_body_of_a_fault_is_told_by_meaning(number, status, error, transient):
    address = Address("my-sandbox", "https://my-sandbox.sandbox.tensorlake.ai")

    fault = error_of_response("GET", status, {}, BODIES[number].encode(), address)

    assert type(fault) is error
    assert fault.transient is transient


def test_every_body_of_the_fact_sheet_is_in_a_table():
    asked = {number for number, _, _ in ANSWERS} | {number for number, *_ in FAULTS}

    assert asked == BODIES.keys() == set(range(1, 27))


def test_a_sighup_and_a_lost_exit_code_are_looked_at_again_for_a_second():
    for number, who in ((9, "job"), (7, "true"), (8, "job")):
        clock = FakeClock()
        lister = ScriptedLister(clock, {0.0: json.loads(BODIES[number])["processes"]})
        pid = json.loads(BODIES[number])["processes"][0]["pid"]

        with pytest.raises(errors.Inconclusive):
            Sandbox(lister).wait_for_exit(pid)

        assert 1.0 <= lister.polls[-1] <= 1.1, who


def test_an_end_that_corrects_itself_is_believed():
    clock = FakeClock()
    lost = json.loads(BODIES[7])["processes"]
    found = [{**lost[0], "exit_code": 0}]
    box = Sandbox(ScriptedLister(clock, {0.0: lost, 0.5: found}))

    assert box.wait_for_exit("true").exit_code == 0


def test_an_oom_behind_a_restart_counts_only_when_it_is_new():
    (row,) = json.loads(BODIES[13])["processes"]
    before = {**row, "managed": {**row["managed"], "restart_count": 2, "last_exit": None}}
    clock = FakeClock()
    box = Sandbox(ScriptedLister(clock, {0.0: [before], 1.0: [row]})).from_now()

    clock.sleep(1.0)
    with pytest.raises(errors.ProcessOOMKilled):
        box.assert_no_oom()
    box.from_now().assert_no_oom()
