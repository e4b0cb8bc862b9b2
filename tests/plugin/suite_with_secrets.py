"""Tests that fail, in a sandbox whose processes, output and errors contain secrets."""

import logging
import os
import warnings
from functools import partial

import pytest

from pytest_tlsandbox import Secret, by, process_control
from pytest_tlsandbox.client import retry
from tests.fault_proxy import FaultProxy, faults
from tests.support import ended, managed, raw, signaled

# Each test has a separate outage, which ends soon.
retry.OUTAGE_BUDGET = retry.TRY_AFTER_THE_BUDGET = 0.01
process_control._LONGEST_FAREWELL = 0.01


# Functions, because pytest --debug prints the value of each name of a module.
key, flag, url, own = (partial(os.getenv, name) for name in ("KEY", "FLAG", "URL", "OWN"))


def rows():
    """Return a running server, a failed job and a managed process, with secrets in their names."""
    login = ["-c", f"login --token {flag()}", "--pass", f"-{flag()}"]
    web = managed(f"web --token={flag()}", last_error=f"DB_PASS={flag()}")
    server = [f"--token={flag()}", "--password", flag(), own(), f"https://me:{url()}@host/path"]
    job = [f"API_KEY={flag()}", f"x{own()}"]
    return [
        raw(41, "server", server),
        raw(42, "job", job, **ended(3)),
        raw(43, "web", login, managed=web),
    ]


def told_back(status):
    """Return a fault: a server may show the key that it rejects."""
    return faults.answer(status, {"error": f"unknown key {key()}"}, name=f"{status} shows the key")


def end_all_with_secrets_in_the_output(proxy):
    for row in proxy.processes:
        row.update(ended(1))
    lines = [key(), f"--token {flag()}", f"http://me:{url()}@host/", own()]
    proxy.fail(faults.answer(200, {"lines": lines}, name="output"), only="/stderr")


# One of each kind that is ridden out, for it takes time, and all that are final.
FAULTS = [
    None, faults.REFUSED, faults.RESET_BEFORE_HEADERS, faults.LENGTH_TOO_LARGE, faults.CUT_JSON,
    faults.LENGTH_TOO_SMALL, faults.BROKEN_GZIP, faults.HTML, faults.NO_CONTENT, faults.EMPTY,
    faults.redirected("http://127.0.0.1:9/"), faults.KEY_REFUSED, faults.KEY_NOT_ALLOWED,
    faults.SANDBOX_NOT_FOUND, faults.LIFECYCLE_PATH_NOT_FOUND, faults.PROCESS_NOT_FOUND,
    faults.TERMINATED, faults.TOO_MANY_NONSENSE, faults.INTERNAL_ERROR, faults.SANDBOX_NOT_READY,
    faults.DAEMON_RESTARTED, *map(told_back, (200, 400, 401, 403, 500, 503)),
]  # fmt: skip


@pytest.fixture
def proxy():
    with FaultProxy(processes=rows()) as proxy:
        proxy.api_key = Secret(key())
        yield proxy


@pytest.fixture
def box(proxy, tlsandbox_connect):
    return tlsandbox_connect(proxy)


@pytest.fixture(params=FAULTS, ids=str)
def faulty(request, proxy, box, caplog):
    caplog.set_level(logging.DEBUG)
    if request.param is not None:
        proxy.fail(request.param)
    return box


@pytest.fixture
def failing_setup(box):
    box.wait_for_exit("job", timeout=0)


def test_setup(failing_setup):
    pass


@pytest.fixture
def failing_teardown(box):
    yield
    box.wait_for_exit("job", timeout=0)


def test_teardown(failing_teardown):
    pytest.fail("and its teardown fails too")


def test_start(faulty):
    faulty.start_process("no-such-program", [f"--token={flag()}"], env={"TOKEN": flag()})
    pytest.fail("it was started")


def test_own_error(faulty):
    try:
        faulty.wait_for_process(f"--token={flag()}!", timeout=0)
    except Exception as error:
        warnings.warn(str(error), stacklevel=1)
        logging.getLogger("suite").error("failed", exc_info=True)
        print(error)
        raise RuntimeError(str(error)) from error


def test_snapshot(box):
    snapshot = box.list_processes()
    server, job, web = snapshot
    assert [str(snapshot), server, web.managed, snapshot.rows] == job


def test_what_cannot_be_killed_is_warned_of(box, proxy):
    server, _, web = box.list_processes()
    box._started += [server, web]
    proxy.fail(faults.INTERNAL_ERROR, only="DELETE")
    warnings.warn(f"left: {box.kill_started()}", stacklevel=1)
    pytest.fail(f"left: {server}")


def test_managed(box, proxy):
    web = box.list_processes()[2]
    proxy.fail(faults.answer(404, b"", name="no such call"), only="POST")
    box.restart_process(web)


@pytest.mark.parametrize(
    "ask",
    [
        lambda box: box.wait_for_exit("job", timeout=0),
        lambda box: box.wait_for_process(by(command="no such"), timeout=0.05),
        lambda box: box.wait_for_port("server", 80, timeout=0),
        lambda box: box.wait_for_restart("server", timeout=0),
        lambda box: box.wait_for_restart(43, timeout=0),
        lambda box: box.wait_for_count("e", 9, timeout=0),
        lambda box: box.wait_for_count(f"--token={flag()}!", 9, timeout=0),
        lambda box: box.stop_process("server"),
        lambda box: box.stop_process(43),
        lambda box: box.run_process("job", [f"--token={flag()}"]),
    ],
)
def test_helper(box, ask):
    ask(box)


def test_own_failure_after_processes_with_secrets_ended(box, proxy):
    box.list_processes()
    end_all_with_secrets_in_the_output(proxy)
    pytest.fail("by itself")


@pytest.mark.tlsandbox_guard("crash")
def test_finding(box, proxy):
    box.list_processes()
    proxy.processes[2].update(signaled(11))


@pytest.mark.tlsandbox_guard("crash")
def test_gap(box, proxy):
    proxy.fail(told_back(403))
    box.list_processes()


@pytest.mark.parametrize("target", ["https://my-sandbox.invalid", "text", "unusable"])
def test_key_of_the_hook(tlsandbox_connect, target):
    """The first is reached through a proxy of the environment, the others are rejected."""
    tlsandbox_connect(target).wait_for_process("x", timeout=0)
