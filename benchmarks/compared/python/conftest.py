import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

LAB = Path(__file__).resolve().parent.parent


def pytest_addoption(parser):
    parser.addoption("--port", type=int, default=9803)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.when == "call":
        item.config.get_terminal_writer().line(
            f"\nTIME {item.name}: {report.duration:.2f} s, {report.outcome}"
        )
    return report


@pytest.fixture(scope="session")
def box_url(pytestconfig):
    port = pytestconfig.getoption("port")
    server = subprocess.Popen(
        [sys.executable, str(LAB / "fakes/fakebox.py"), str(port)], stderr=subprocess.DEVNULL
    )
    time.sleep(0.7)
    yield f"http://127.0.0.1:{port}"
    server.kill()
    server.wait()


@pytest.fixture
def scenario(box_url):
    def start(name):
        urllib.request.urlopen(
            urllib.request.Request(f"{box_url}/_scenario/{name}", method="POST", data=b"")
        ).read()

    return start
