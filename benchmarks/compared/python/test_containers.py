"""testcontainers-python: its own strategies, its own container class and docker-py, on a made-up Docker Engine API."""

import os
import subprocess
import sys
import time

import pytest

PORT = 9806
os.environ.update(DOCKER_HOST=f"tcp://127.0.0.1:{PORT}", TESTCONTAINERS_RYUK_DISABLED="true")
FAKES = os.path.join(os.path.dirname(__file__), "..", "fakes")

from testcontainers.compose import DockerCompose  # noqa: E402
from testcontainers.core.container import DockerContainer  # noqa: E402
from testcontainers.core.wait_strategies import (  # noqa: E402
    CompositeWaitStrategy,
    ContainerStatusWaitStrategy,
    HttpWaitStrategy,
    LogMessageWaitStrategy,
)


@pytest.fixture(scope="module", autouse=True)
def engine():
    server = subprocess.Popen(
        [sys.executable, f"{FAKES}/fakedocker.py", str(PORT)], stderr=subprocess.DEVNULL
    )
    time.sleep(0.7)
    yield
    server.kill()
    server.wait()


def done():
    return LogMessageWaitStrategy("training done").with_startup_timeout(10)


def test_1_oom():
    with DockerContainer("job-oom:1").waiting_for(done()):
        pass


def test_1_oom_container_wait():
    with DockerContainer("job-oom:1") as job:
        assert job.wait() == 0


def test_2_exit3():
    with DockerContainer("job-exit3:1").waiting_for(done()):
        pass


def test_2_exit3_container_wait():
    with DockerContainer("job-exit3:1") as job:
        assert job.wait() == 0


def test_3_typo_in_the_awaited_text():
    with DockerContainer("job-runs:1").waiting_for(
        LogMessageWaitStrategy("shrad 2/8 loaded").with_startup_timeout(10)
    ):
        pass


def test_3_typo_in_a_compose_service(monkeypatch):
    monkeypatch.setenv("PATH", os.path.abspath(f"{FAKES}/bin"), prepend=":")
    DockerCompose(context=".").get_container("trian")


def test_4_running():
    with DockerContainer("job-runs:1").waiting_for(done()):
        pass


def test_5_ended():
    with DockerContainer("server-ended:1").waiting_for(
        ContainerStatusWaitStrategy().with_startup_timeout(10)
    ):
        pass


def test_6_vanished():
    with DockerContainer("job-vanishes:1").waiting_for(done()):
        pass


def test_7_several_compose_service(monkeypatch):
    monkeypatch.setenv("PATH", os.path.abspath(f"{FAKES}/bin"), prepend=":")
    assert DockerCompose(context=".").get_container("train").State == "running"


def test_7_several_compose_no_name(monkeypatch):
    monkeypatch.setenv("PATH", os.path.abspath(f"{FAKES}/bin"), prepend=":")
    DockerCompose(context=".").get_container()


def test_8_502_of_the_engine():
    with DockerContainer("job-502:1").waiting_for(done()):
        pass


def test_8_502_of_http_endpoint(scenario, box_url):
    """HttpWaitStrategy on the made-up sandbox's list: needs a host and a port of a container, so those two are stubbed."""
    scenario("8-502")

    class Target:
        def get_container_host_ip(self):
            return "127.0.0.1"

        def get_exposed_port(self, port):
            return port

    HttpWaitStrategy(int(box_url.rsplit(":", 1)[1]), "/api/v1/processes").with_startup_timeout(
        10
    ).wait_until_ready(Target())


def test_9_restart():
    with DockerContainer("web-restarts:1") as web:
        time.sleep(1.2)  # the rest of the test
        ContainerStatusWaitStrategy().with_startup_timeout(10).wait_until_ready(web)


def test_10_composite():
    strategy = CompositeWaitStrategy(
        ContainerStatusWaitStrategy(),
        LogMessageWaitStrategy("listening"),
        LogMessageWaitStrategy("training done"),
    )
    with DockerContainer("job-runs:1").waiting_for(strategy.with_startup_timeout(10)):
        pass
