"""The hand-written loop over the real Tensorlake SDK, pointed at the made-up sandbox. pytest-timeout ends what never ends."""

import time

import pytest
from tensorlake.sandbox import Sandbox

pytestmark = pytest.mark.timeout(10, func_only=True)


@pytest.fixture
def sandbox(box_url):
    return Sandbox(identifier="my-sandbox", proxy_url=box_url, api_key="test")


def find(sandbox, text):
    return next(p for p in sandbox.list_processes() if text in " ".join(p.args))


def wait_for_exit(sandbox, text):
    process = find(sandbox, text)
    while process.status == "running":
        time.sleep(1)
        process = find(sandbox, text)
    return process


def wait_for_running(sandbox, text):
    while not any(
        text in " ".join(p.args) and p.status == "running" for p in sandbox.list_processes()
    ):
        time.sleep(1)


def test_1_oom(sandbox, scenario):
    scenario("1-oom")
    assert wait_for_exit(sandbox, "train.py").exit_code == 0


def test_2_exit3(sandbox, scenario):
    scenario("2-exit3")
    assert wait_for_exit(sandbox, "train.py").exit_code == 0


def test_3_typo(sandbox, scenario):
    scenario("3-typo")
    wait_for_running(sandbox, "trian.py")


def test_3_typo_of_a_job(sandbox, scenario):
    scenario("3-typo")
    assert wait_for_exit(sandbox, "trian.py").exit_code == 0


def test_4_running(sandbox, scenario):
    scenario("4-running")
    assert wait_for_exit(sandbox, "train.py").exit_code == 0


def test_5_ended(sandbox, scenario):
    scenario("5-ended")
    wait_for_running(sandbox, "server.py")


def test_6_vanished(sandbox, scenario):
    scenario("6-vanished")
    assert wait_for_exit(sandbox, "train.py").exit_code == 0


def test_6_vanished_by_pid(sandbox, scenario):
    scenario("6-vanished")
    while sandbox.get_process(41).status == "running":
        time.sleep(1)


def test_7_several(sandbox, scenario):
    scenario("7-several")
    assert wait_for_exit(sandbox, "train.py").exit_code == 0


def test_8_502(sandbox, scenario):
    scenario("8-502")
    assert wait_for_exit(sandbox, "train.py").exit_code == 0


def test_9_restart(sandbox, scenario):
    scenario("9-restart")
    time.sleep(1.2)  # the rest of the test
    assert find(sandbox, "web.py").status == "running"


def test_10_soft(sandbox, scenario):
    scenario("10-soft")
    assert find(sandbox, "api.py").status == "running"
    assert find(sandbox, "worker.py").status == "running"
    assert find(sandbox, "train.py").exit_code == 0


def test_10_subtests(sandbox, scenario, subtests):
    scenario("10-soft")
    for name, wanted in (("api.py", "running"), ("worker.py", "running"), ("train.py", "exited")):
        with subtests.test(name):
            assert find(sandbox, name).status == wanted
