"""The results of the helpers for 18 unusual response bodies, in a table (see api-notes)."""

import json
import re

import pytest

from pytest_tlsandbox import errors
from tests.support import box_of

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
}
# fmt: on

QUESTIONS = {
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

# For each body and process, the questions by their result: "ok" or the name of the error.
# fmt: off
ANSWERS = {
    (1, "app.py"): "ProcessNotFound: running exit_0 no_oom_of_it; ok: not_running no_oom no_incidents",
    (2, "app.py"): "ok: running no_oom no_oom_of_it no_incidents; AssertionFailed: healthy not_running; WaitTimedOut: exit_0",
    (3, "train"): "ProcessOOMKilled: running exit_0 exit_any no_oom no_incidents; ok: not_running no_crash",
    (4, "train"): "ProcessOOMKilled: running exit_0 signaled no_oom; ok: no_crash",
    (5, "train"): "ProcessOOMKilled: running exit_0 no_oom",
    (6, "train"): "UnexpectedExit: running exit_0; ok: exit_137 exit_any no_oom; SuspectedOOMKill: no_suspected_oom",
    (7, "true"): "UnexpectedExit: running; Inconclusive: exit_0 exit_any; ok: no_oom not_running; SuspectedOOMKill: no_suspected_oom",
    (8, "job"): "UnexpectedExit: running; Inconclusive: exit_0 exit_any; ok: no_oom",
    (9, "job"): "UnexpectedExit: running; Inconclusive: exit_0 exit_any; ok: signaled no_crash no_suspected_oom",
    (10, "job"): "UnexpectedExit: running; ok: exit_0 not_running no_oom",
    (10, "web"): "ok: running; WaitTimedOut: exit_0; AssertionFailed: not_running",
    (11, "web"): "WaitTimedOut: running exit_0; AssertionFailed: not_running; ok: no_incidents",
    (12, "web"): "UnexpectedExit: running exit_0; ok: exit_1 not_running",
    (13, "web"): "ok: running; WaitTimedOut: exit_0; ProcessOOMKilled: no_oom no_oom_of_it no_incidents; Inconclusive: no_crash; ProcessRestarted: no_restart",
    # There may be one end or two: some sandboxes count a restart before it happens.
    (14, "web"): "WaitTimedOut: running exit_0; ok: exit_1; AssertionFailed: not_running; Inconclusive: no_oom no_crash no_restart",
    (15, "web"): "ok: running no_restart no_crash; WaitTimedOut: healthy; ProcessUnhealthy: no_incidents",
    (16, "web"): "UnexpectedExit: running exit_0; ok: exit_1 not_running; Inconclusive: no_oom; ProcessCrashed: no_crash; ProcessRestarted: no_restart",
    (17, 42): "ok: running; WaitTimedOut: exit_0; AssertionFailed: not_running",
    (17, "setup"): "UnexpectedExit: running; ok: exit_0 not_running",
    (18, "db"): "ok: running; WaitTimedOut: exit_0; Inconclusive: no_oom",
    (18, "web"): "ProcessNotFound: running; Inconclusive: not_running no_incidents",
}
# fmt: on

CASES = [
    pytest.param(number, who, question, result, id=f"{number}-{who}-{question}")
    for (number, who), answers in ANSWERS.items()
    for result, questions in re.findall(r"(\w+): ([\w ]+)", answers)
    for question in questions.split()
]


@pytest.mark.parametrize(("number", "who", "question", "result"), CASES)
def test_each_helper_returns_the_result_listed_in_the_table(number, who, question, result):
    try:
        QUESTIONS[question](box_of(json.loads(BODIES[number])["processes"]), who)
        was = "ok"
    except errors.TLSandboxError as error:
        was = type(error).__name__
    assert was == result
