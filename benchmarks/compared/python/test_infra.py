"""pytest-testinfra's host.process on local://, with real processes. It has no waiting: the loops are the user's."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import testinfra

WORK = Path(__file__).parent / "work"


@pytest.fixture
def start():
    """Starts `python SCRIPT`, ends it after a while by `how` (a signal), reaps it as a sandbox's daemon does."""
    running = []

    def start(args, after=None, how=signal.SIGKILL):
        p = subprocess.Popen(
            ["python", *args.split()], executable=os.path.realpath(sys.executable), cwd=WORK
        )
        running.append(p)
        threading.Thread(target=p.wait, daemon=True).start()
        if after is not None:
            t = threading.Timer(after, p.send_signal, [how])
            t.daemon = True
            t.start()
        time.sleep(0.05)
        return p

    yield start
    for p in running:
        p.kill()


def gone(host, args, timeout=10):
    deadline = time.monotonic() + timeout
    while host.process.filter(args=args) and time.monotonic() < deadline:
        time.sleep(0.1)
    return not host.process.filter(args=args)


def get(host, timeout=10, **filters):
    deadline = time.monotonic() + timeout
    while True:
        try:
            return host.process.get(**filters)
        except RuntimeError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def test_1_oom_awaited_as_gone(host, start):
    start("train.py", after=0.3)
    assert gone(host, "python train.py")  # no exit code to ask for


def test_2_exit3_awaited_as_gone(host, start):
    start("exit3.py")
    assert gone(host, "python exit3.py")


def test_3_typo(host, start):
    start("train.py")
    get(host, args="python trian.py")


def test_4_running(host, start):
    start("train.py")
    assert gone(host, "python train.py")


def test_4_running_filter(host, start):
    start("train.py")
    time.sleep(1)
    assert not host.process.filter(args="python train.py")


def test_5_ended(host, start):
    start("server.py", after=0.01)
    time.sleep(0.3)
    host.process.get(args="python server.py")


def test_6_vanished(host, start):
    start("train.py", after=0.6)
    train = host.process.get(args="python train.py")
    time.sleep(1)
    assert train.state == "S"


def test_7_several(host, start):
    start("train.py --lr 0.1")
    start("train.py --lr 0.01")
    host.process.get(comm="python3.11", ppid=os.getpid())


def test_8_transport_fails():
    host = testinfra.get_host("ssh://127.0.0.1:9")
    host.process.get(args="python train.py")


def test_9_restart(host, start):
    start("web.py", after=0.3)
    time.sleep(0.8)
    start("web.py")
    time.sleep(0.4)
    assert host.process.get(args="python web.py").state == "S"


def test_10_three_checks(host, start):
    start("api.py")
    start("worker.py", after=0.1)
    start("train.py", after=0.1)
    time.sleep(0.5)
    assert host.process.get(args="python api.py")
    assert host.process.get(args="python worker.py")
    assert host.process.get(args="python train.py")


def test_10_subtests(host, start, subtests):
    start("api.py")
    start("worker.py", after=0.1)
    start("train.py", after=0.1)
    time.sleep(0.5)
    for name in ("api.py", "worker.py", "train.py"):
        with subtests.test(name):
            assert host.process.get(args=f"python {name}")
