"""Test that the embedded sandbox starts, and leaves no process or file behind when it ends."""

import gc
import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import freezegun
import psutil
import pytest

from pytest_tlsandbox.errors import LocalSandboxError
from pytest_tlsandbox.local import sandbox as sandbox_module
from pytest_tlsandbox.local import server_process
from pytest_tlsandbox.local.sandbox import start_local_sandbox
from tests.contract.sandbox_api import SandboxApi, until

from .conftest import Api, is_gone, new_sandbox

# Starts a group leader, a child in its group, and a child and an orphan outside the group.
FAMILY = """
sleep 600 & echo $!
setsid sleep 600 & echo $!
(setsid sh -c 'echo $$; exec sleep 600' &)
echo $$
exec sleep 600
"""


def start_family(url, key):
    with closing(SandboxApi(url, key)) as api:
        pid = api.start("sh", "-c", FAMILY)
        pids = [int(line) for line in api.lines(pid, at_least=4)]
    assert not any(is_gone(pid) for pid in pids)
    return pids


# Acts like pytest: starts a sandbox, prints its URL and key, and waits to be killed.
TESTS = """
import json, os, sys, time
from pytest_tlsandbox.local.sandbox import start_local_sandbox
sandbox = start_local_sandbox()
if "fork" in sys.argv and os.fork() == 0:
    time.sleep(600)
print(json.dumps([sandbox.url, sandbox.api_key.reveal(), sandbox.pid]), flush=True)
time.sleep(600)
"""


EXIT_CODES = {0: 0, signal.SIGTERM: 0, signal.SIGKILL: -9, signal.SIGSTOP: -9}


@pytest.mark.parametrize(("number", "code"), EXIT_CODES.items())
def test_close_ends_all_processes_even_if_the_server_was_killed_or_hangs(number, code, monkeypatch):
    monkeypatch.setattr(sandbox_module, "_CLOSE_SECONDS", 0.5 if number == signal.SIGSTOP else 5)
    sandbox = start_local_sandbox()
    pids = [*start_family(sandbox.url, sandbox.api_key.reveal()), sandbox.pid]
    os.kill(sandbox.pid, number)
    if number == signal.SIGTERM:
        until(lambda: all(is_gone(pid) for pid in pids))
    for _ in range(2):  # the second call does nothing
        sandbox.close()
    assert sandbox._server.returncode == code
    until(lambda: all(is_gone(pid) for pid in pids))


def test_garbage_collection_of_the_sandbox_ends_it_and_closes_its_files():
    gc.collect()
    before = psutil.Process().num_fds()
    pid = start_local_sandbox().pid
    gc.collect()
    assert is_gone(pid)
    assert psutil.Process().num_fds() <= before  # files of earlier tests may be closed as well


@pytest.mark.parametrize("options", [[], ["fork"]])
def test_sigkill_of_the_test_process_leaves_no_processes_behind(options):
    command = [sys.executable, "-c", TESTS, *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as tests:
        url, key, server = json.loads(tests.stdout.readline())
        pids = [*start_family(url, key), server]
        tests.kill()
        try:
            until(lambda: all(is_gone(pid) for pid in pids))
        finally:
            os.killpg(tests.pid, signal.SIGKILL)  # the fork


def test_exit_of_a_forked_child_does_not_close_the_sandbox(sandbox, api):
    pid = os.fork()
    if pid == 0:
        sandbox.close()
        os._exit(0)
    os.waitpid(pid, 0)
    assert api.call("GET", "/health").status_code == 200


def test_server_process_runs_in_a_new_session_so_that_ctrl_c_reaches_only_the_tests(sandbox):
    assert os.getsid(sandbox.pid) == sandbox.pid


def test_sandbox_starts_and_ends_even_if_the_clock_is_frozen():
    with freezegun.freeze_time("2020-01-01"), new_sandbox() as api:
        started_at = api.get(api.start("true"))["started_at"]
    assert started_at > 1_600_000_000_000


@pytest.mark.parametrize("module", ["sitecustomize", "json", "socket"])
def test_modules_of_the_tests_do_not_shadow_modules_of_the_server(module, tmp_path, monkeypatch):
    (tmp_path / f"{module}.py").write_text("import os; os._exit(3)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(tmp_path)
    with start_local_sandbox():
        pass


def test_programs_receive_signals_even_if_the_test_process_blocks_or_ignores_them():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        sandbox = start_local_sandbox()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        signal.signal(signal.SIGHUP, before)
    with sandbox, closing(Api(sandbox)) as api:
        masks = api.printed("grep", "-E", "SigBlk|SigIgn", "/proc/self/status")
    assert [int(mask.split()[1], 16) for mask in masks] == [0, 0]


SECRET_NAMES = """
TENSORLAKE_API_KEY GITHUB_TOKEN GITHUB_TOKEN_2 AUTHTOKEN AUTH_TOKEN2 npm_config_//host/:_authToken
DB_PASSWORD DB_PASSWORD1 PGPASSWORD dbPassword REDIS_PASSWD KEY_PASSPHRASE DB_PASS DBPASS SSHPASS
PASS MYSQL_PWD DBPWD GH_PAT CLIENTSECRET APIKEY OPENAI_API_KEYS AUTHKEY AWS_SECRET_ACCESS_KEY
GITHUB_OAUTH DB_CREDS
"""
OTHER_NAMES = """
KEYBOARD MONKEY PUBLIC_KEYS SSH_AUTH_SOCK XAUTHORITY TOKENIZERS_PARALLELISM SECRETARY COMPASS BYPASS
PASSES GIT_ASKPASS PGPASSFILE OLDPWD PATTERN SACRED
"""


def test_server_and_programs_do_not_inherit_secrets_of_the_test_process(monkeypatch):
    for name in SECRET_NAMES.split():
        monkeypatch.setenv(name, "s3cr3t")
    for name in OTHER_NAMES.split():
        monkeypatch.setenv(name, "no secret")
    monkeypatch.setenv("PYTEST_CURRENT_TEST", "x" * 200_000)  # with it, no program could start
    with new_sandbox() as api:
        requested = {"MY_TOKEN": "requested", "PGPASSWORD": "requested"}
        lines = api.printed("env", env=requested)
        assert b"s3cr3t" not in Path(f"/proc/{api.sandbox.pid}/environ").read_bytes()
    found = {name: value for name, _, value in (line.partition("=") for line in lines)}
    assert [name for name, value in found.items() if value == "s3cr3t"] == []
    assert {name for name, value in found.items() if value == "no secret"} == {*OTHER_NAMES.split()}
    assert requested.items() <= found.items()


def test_server_imports_pydantic_only_when_it_receives_the_first_body():
    with new_sandbox() as api:
        files = Path(f"/proc/{api.sandbox.pid}/maps")
        assert api.rows() == []
        assert "pydantic" not in files.read_text()
        api.start("true")
        assert "pydantic" in files.read_text()


def test_server_disables_the_nagle_algorithm():
    with server_process._listen(0) as listening, socket.create_connection(listening.getsockname()):
        accepted, _ = listening.accept()
        with accepted:  # with Nagle's algorithm, each request would take 44 ms
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


def test_error_for_a_failed_start_shows_stderr_but_not_the_key(monkeypatch):
    monkeypatch.setattr("secrets.token_urlsafe", lambda _: "the-key-itself")
    monkeypatch.setattr(sandbox_module, "_BOOTSTRAP", "raise SystemExit('no room')")
    with pytest.raises(LocalSandboxError) as caught:
        start_local_sandbox()
    assert str(caught.value) == "The embedded sandbox did not start: no room"
    ours = [entry for entry in caught.traceback if entry.path == Path(sandbox_module.__file__)]
    assert len(ours) >= 2
    assert "the-key-itself" not in repr([entry.locals for entry in ours])


def test_memory_limit_of_0_bytes_is_rejected():
    with pytest.raises(LocalSandboxError, match=r"must be > 0 bytes, got 0$"):
        start_local_sandbox(memory_limit=0)


def test_package_on_sys_path_starts_a_sandbox_without_importing_what_its_server_needs(tmp_path):
    program = f"""
import sys
sys.path[:0] = {sys.path!r}
from pytest_tlsandbox.local.sandbox import start_local_sandbox
start_local_sandbox().close()
print(sorted({{"uvicorn", "wsproto", "psutil", "pydantic", "requests"}} & set(sys.modules)))
"""
    command = [sys.executable, "-I", "-c", program]
    assert subprocess.check_output(command, cwd=tmp_path) == b"[]\n"


# A fake of Windows: Python, without the modules and functions that are missing there.
WINDOWS = """
import select, sys
for name in ("poll", "POLLIN", "POLLHUP"):
    delattr(select, name)
sys.modules |= dict.fromkeys(["fcntl", "pwd", "resource", "termios"])
import pytest_tlsandbox.connections, pytest_tlsandbox.doctor
pytest_tlsandbox.start_local_sandbox()
"""


def test_without_what_windows_lacks_only_the_start_of_the_embedded_sandbox_fails():
    command = [sys.executable, "-c", WINDOWS]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1] == (
        "pytest_tlsandbox.LocalSandboxError: The embedded sandbox requires Linux or macOS"
    )
