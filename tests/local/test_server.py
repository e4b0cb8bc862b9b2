"""The life of the embedded sandbox: how it comes up, and that it leaves nothing behind."""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import freezegun
import psutil
import pytest

from pytest_tlsandbox.errors import LocalSandboxError
from pytest_tlsandbox.local import server
from pytest_tlsandbox.local.server import LocalSandbox, start_local_sandbox

from .conftest import Api, is_gone, until

if TYPE_CHECKING:
    from collections.abc import Iterator

# A leader, a child in its group, one that left it, and an orphan that did: four ways to be missed.
FAMILY = """
sleep 600 & echo $!
setsid sleep 600 & echo $!
(setsid sh -c 'echo $$; exec sleep 600' &)
echo $$
exec sleep 600
"""


def start_family(sandbox: LocalSandbox) -> list[int]:
    api = Api(sandbox)
    pid = api.start("sh", "-c", FAMILY)
    pids = [int(line) for line in api.lines(pid, at_least=4)]
    api.close()
    assert not any(is_gone(pid) for pid in pids)
    return pids


# What stands in for pytest: starts a sandbox, tells of it, and waits to be killed.
TESTS = """
import json, os, sys, time
from pytest_tlsandbox.local.server import start_local_sandbox
sandbox = start_local_sandbox()
if "fork" in sys.argv and os.fork() == 0:
    time.sleep(600)
print(json.dumps([sandbox.url, sandbox.api_key.reveal(), sandbox.pid]), flush=True)
if "exit" not in sys.argv:
    time.sleep(600)
"""


class Elsewhere:
    """A sandbox that belongs to another process than this one."""

    def __init__(self, *args: str) -> None:
        self.tests = subprocess.Popen(
            [sys.executable, "-c", TESTS, *args], stdout=subprocess.PIPE, start_new_session=True
        )
        assert self.tests.stdout is not None
        self.url, self._key, self.pid = json.loads(self.tests.stdout.readline())

    @property
    def api_key(self) -> Any:
        return self

    def reveal(self) -> Any:
        return self._key

    def end(self) -> None:
        if self.tests.returncode is None:
            os.killpg(self.tests.pid, signal.SIGKILL)  # its fork, too
        with self.tests:
            pass


@pytest.fixture
def elsewhere(request: pytest.FixtureRequest) -> Iterator[Elsewhere]:
    elsewhere = Elsewhere(*getattr(request, "param", ()))
    yield elsewhere
    elsewhere.end()


def test_close_leaves_nothing_behind() -> None:
    sandbox = start_local_sandbox()
    pids = start_family(sandbox)
    began = time.monotonic()
    sandbox.close()
    assert time.monotonic() - began < 4
    assert [pid for pid in [*pids, sandbox.pid] if not is_gone(pid)] == []


def test_close_again_does_nothing() -> None:
    sandbox = start_local_sandbox()
    sandbox.close()
    sandbox.close()


def test_a_sandbox_that_is_forgotten_ends() -> None:
    pid = start_local_sandbox().pid
    gc.collect()
    assert is_gone(pid)


@pytest.mark.parametrize("elsewhere", [[], ["fork"]], indirect=True)
def test_sigkill_of_the_tests_leaves_nothing_behind(elsewhere: Any) -> None:
    pids = start_family(elsewhere)
    elsewhere.tests.kill()
    until(lambda: all(is_gone(pid) for pid in [*pids, elsewhere.pid]), seconds=5)


@pytest.mark.parametrize("elsewhere", [["exit"]], indirect=True)
def test_the_end_of_the_interpreter_is_the_end_of_the_sandbox(elsewhere: Elsewhere) -> None:
    assert elsewhere.tests.wait() == 0
    assert is_gone(elsewhere.pid)


def test_a_server_that_was_killed_leaves_nothing_behind_after_close() -> None:
    sandbox = start_local_sandbox()
    pids = start_family(sandbox)
    os.kill(sandbox.pid, signal.SIGKILL)
    sandbox.close()
    until(lambda: all(is_gone(pid) for pid in pids))


def test_a_server_that_hangs_is_killed_by_close(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_CLOSE_SECONDS", 0.2)
    sandbox = start_local_sandbox()
    pids = start_family(sandbox)
    os.kill(sandbox.pid, signal.SIGSTOP)
    sandbox.close()
    until(lambda: all(is_gone(pid) for pid in [*pids, sandbox.pid]))


def test_sigterm_ends_the_server_with_all_it_started() -> None:
    with start_local_sandbox() as sandbox:
        pids = start_family(sandbox)
        os.kill(sandbox.pid, signal.SIGTERM)
        until(lambda: all(is_gone(pid) for pid in [*pids, sandbox.pid]))


def test_a_fork_of_the_tests_does_not_close_it(sandbox: LocalSandbox, api: Api) -> None:
    pid = os.fork()
    if pid == 0:
        sandbox.close()
        os._exit(0)
    os.waitpid(pid, 0)
    assert api.call("GET", "/health").status_code == 200


def test_it_lives_in_a_session_of_its_own(sandbox: LocalSandbox) -> None:
    assert os.getsid(sandbox.pid) == sandbox.pid


def test_it_comes_up_and_ends_under_a_frozen_clock() -> None:
    with freezegun.freeze_time("2020-01-01"), start_local_sandbox() as sandbox:
        api = Api(sandbox)
        started_at = api.call("POST", "/processes", json={"command": "true"}).json()["started_at"]
        api.close()
    assert started_at > 1_600_000_000_000


def test_what_is_set_up_for_the_interpreter_of_the_tests_does_not_reach_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("sitecustomize", "json"):
        (tmp_path / f"{name}.py").write_text("import os; os._exit(3)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with start_local_sandbox():
        pass


def test_signals_that_the_tests_block_or_ignore_reach_the_programs() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        sandbox = start_local_sandbox()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        signal.signal(signal.SIGHUP, before)
    with sandbox:
        api = Api(sandbox)
        pid = api.start("grep", "-E", "SigBlk|SigIgn", "/proc/self/status")
        api.ended(pid)
        assert api.lines(pid) == [f"SigBlk:\t{0:016x}", f"SigIgn:\t{0:016x}"]
        api.close()


# fmt: off
SECRET_NAMES = [
    "TENSORLAKE_API_KEY", "GITHUB_TOKEN", "GITHUB_TOKEN_2", "AUTHTOKEN", "AUTH_TOKEN2",
    "npm_config_//host/:_authToken", "DB_PASSWORD", "DB_PASSWORD1", "PGPASSWORD", "dbPassword",
    "REDIS_PASSWD", "KEY_PASSPHRASE", "DB_PASS", "DBPASS", "SSHPASS", "PASS", "MYSQL_PWD",
    "DBPWD", "GH_PAT", "CLIENTSECRET", "APIKEY", "OPENAI_API_KEYS", "AUTHKEY",
    "AWS_SECRET_ACCESS_KEY", "GITHUB_OAUTH", "DB_CREDS",
]
OTHER_NAMES = [
    "KEYBOARD", "MONKEY", "PUBLIC_KEYS", "SSH_AUTH_SOCK", "XAUTHORITY",
    "TOKENIZERS_PARALLELISM", "SECRETARY", "COMPASS", "BYPASS", "PASSES", "GIT_ASKPASS",
    "PGPASSFILE", "OLDPWD", "PATTERN", "SACRED",
]
# fmt: on


def test_secrets_of_the_tests_reach_neither_server_nor_programs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in SECRET_NAMES:
        monkeypatch.setenv(name, "s3cr3t")
    for name in OTHER_NAMES:
        monkeypatch.setenv(name, "no secret")
    with start_local_sandbox() as sandbox:
        api = Api(sandbox)
        pid = api.start("env", env={"MY_TOKEN": "asked for", "PGPASSWORD": "asked for"})
        api.ended(pid)
        environment = [line.partition("=") for line in api.lines(pid)]
        with open(f"/proc/{sandbox.pid}/environ") as file:
            assert "s3cr3t" not in file.read()
        api.close()
    assert [name for name, _, value in environment if value == "s3cr3t"] == []
    assert {name for name, _, value in environment if value == "no secret"} == set(OTHER_NAMES)
    asked_for = {name for name, _, value in environment if value == "asked for"}
    assert asked_for == {"MY_TOKEN", "PGPASSWORD"}


def test_its_repr_does_not_show_the_key(sandbox: LocalSandbox) -> None:
    assert repr(sandbox) == f"<LocalSandbox 'local' at {sandbox.url}>"
    assert str(sandbox.api_key) == "***"


def test_its_identifier_is_the_one_asked_for() -> None:
    with start_local_sandbox(identifier="ci-7") as sandbox:
        api = Api(sandbox)
        statuses = [
            api.call("GET", "/health", headers={"Host": f"{name}.local"}).status_code
            for name in ("ci-7", "local")
        ]
        api.close()
    assert (sandbox.identifier, statuses) == ("ci-7", [200, 404])


def test_it_works_where_only_sys_path_leads_to_the_package(tmp_path: Path) -> None:
    program = f"import sys; sys.path[:0] = {sys.path!r}\n{TESTS}"
    told = subprocess.run(
        [sys.executable, "-I", "-c", program, "exit"], cwd=tmp_path, capture_output=True, check=True
    )
    assert b"http://127.0.0.1:" in told.stdout


def test_a_test_module_does_not_stand_in_for_the_standard_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "socket.py").write_text("raise SystemExit('wrong one')")
    monkeypatch.syspath_prepend(tmp_path)
    with start_local_sandbox():
        pass


def test_a_missing_extra_is_told_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(LocalSandboxError) as caught:
        start_local_sandbox()
    assert str(caught.value) == (
        'The embedded sandbox needs uvicorn: pip install "pytest-tlsandbox[local]"'
    )


def test_a_server_that_does_not_come_up_is_told_with_its_last_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server, "_BOOTSTRAP", "raise SystemExit('no room')")
    with pytest.raises(LocalSandboxError) as caught:
        start_local_sandbox()
    assert str(caught.value) == "The embedded sandbox did not start\n\nno room"


def test_a_start_that_fails_shows_the_key_in_no_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secrets.token_urlsafe", lambda _: "the-key-itself")
    monkeypatch.setattr(server, "_BOOTSTRAP", "raise SystemExit('no room')")
    with pytest.raises(LocalSandboxError) as caught:
        start_local_sandbox()
    ours = [entry for entry in caught.traceback if entry.path == Path(server.__file__)]
    assert len(ours) >= 2
    assert "the-key-itself" not in repr([entry.locals for entry in ours])


@pytest.mark.parametrize("limit", [0, -1])
def test_a_memory_limit_that_is_none_is_refused(limit: int) -> None:
    with pytest.raises(LocalSandboxError, match=f"above 0, not {limit}$"):
        start_local_sandbox(memory_limit=limit)


def test_starting_one_imports_nothing_of_the_extra() -> None:
    program = """
import sys
from pytest_tlsandbox.local.server import start_local_sandbox
start_local_sandbox().close()
print(sorted({"starlette", "uvicorn", "psutil", "pydantic", "requests"} & set(sys.modules)))
"""
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert told.stdout == b"[]\n"


def test_no_open_file_of_the_sandbox_stays_with_the_tests() -> None:
    before = psutil.Process().num_fds()
    start_local_sandbox().close()
    assert psutil.Process().num_fds() == before


def test_a_test_with_a_very_long_name_can_start_a_sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_CURRENT_TEST", "x" * 200_000)

    with start_local_sandbox() as sandbox:
        assert sandbox.url
