"""Test the output, the options and the exit of ``python -m pytest_tlsandbox.local``."""

import os
import shlex
import signal
import socket
import subprocess
import sys
from contextlib import closing, contextmanager

import psutil
import pytest
from tensorlake.sandbox import Sandbox

from .conftest import free_port, port_of

COMMAND = [sys.executable, "-m", "pytest_tlsandbox.local"]


@contextmanager
def running(*options):
    """Run the command as a terminal does; yield its process, and what it prints by the first word."""
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([*COMMAND, *options], **output, start_new_session=True) as process:
        lines = [process.stdout.readline().rstrip("\n") for _ in range(4)]
        try:
            yield process, dict(line.split(maxsplit=1) for line in lines)
        finally:
            process.kill()


def sdk_of(printed):
    """Return the SDK sandbox that the printed SDK line creates."""
    return closing(eval(printed["SDK"], {"Sandbox": Sandbox}))


def test_printed_examples_for_the_sdk_and_curl_work():
    with running() as (_, printed):
        url, key = printed["URL"], printed["key"]
        sdk_line = f'Sandbox(identifier="local", proxy_url="{url}", api_key="{key}")'
        curl_line = f'curl -H "Authorization: Bearer {key}" {url}/api/v1/processes'
        assert printed == {"URL": url, "key": key, "SDK": sdk_line, "curl": curl_line}
        with sdk_of(printed) as sdk:
            assert list(sdk.list_processes()) == []
        command = [*shlex.split(curl_line), "--silent"]
        assert subprocess.check_output(command) == b'{"processes":[]}'


def test_sandbox_command_applies_its_options_and_frees_the_port_when_it_ends():
    port = free_port()
    with running("--port", str(port), "--memory", "64M", "--id", "mine") as (process, printed):
        assert printed["URL"] == f"http://127.0.0.1:{port}"
        assert 'identifier="mine"' in printed["SDK"]
        with sdk_of(printed) as sdk:
            assert sdk.run("python", ["-c", "b = bytearray(2**30)"]).reason == "oom_killed"
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(10) == 0
    socket.create_server(("127.0.0.1", port)).close()


NOT_STARTED = "The embedded sandbox did not start:"
IN_USE = "[Errno 98] Address already in use (while attempting to bind on address ('127.0.0.1', {}))"
SIZES = "a memory size of at least 1M, in bytes or with a unit (256M, 1.5G)"


@pytest.mark.parametrize(
    ("option", "value", "error"),
    [
        ("--port", None, f"{NOT_STARTED} {IN_USE}"),
        ("--port", "65536", f"{NOT_STARTED} bind(): port must be 0-65535."),
        ("--memory", "much", f"--memory: expected {SIZES}, got 'much'"),
    ],
)
def test_sandbox_command_reports_a_port_in_use_or_an_invalid_option(service, option, value, error):
    port = str(port_of(service))
    ended = subprocess.run([*COMMAND, option, value or port], capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == f"{error.format(port)}\n"


def test_sandbox_command_exits_when_its_server_exits():
    with running() as (process, _):
        (server,) = psutil.Process(process.pid).children()
        server.kill()
        _, stderr = process.communicate(timeout=10)
    assert stderr == "The embedded sandbox has ended unexpectedly\n"
    assert process.returncode == 1
