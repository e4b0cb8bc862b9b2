"""Runs of the contract on other sandboxes than ``local``: each difference is found, no secret is shown."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_tlsandbox.local.sandbox import start_local_sandbox
from tests.contract import facts
from tests.contract.wrong_daemon import Wrong, WrongDaemon
from tests.fakes.daemon import Daemon, serving
from tests.model.daemon import Daemon as SimulatedDaemon
from tests.support import sample_of

ROOT = Path(__file__).parent.parent


def run_contract(url, folder, *options, key="any-key", **environment):
    """Run the contract as a user does; return its results and all that it shows and writes."""
    command = [sys.executable, "-m", "tests.contract", url, *options]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "TENSORLAKE_API_KEY": key, **environment}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return None, done.stdout + done.stderr
    files = [(folder / "contract-results" / f"contract.{kind}") for kind in ("json", "md")]
    texts = [file.read_text() for file in files]
    return json.loads(texts[0]), "\n".join([done.stdout, done.stderr, *texts])


def by_result(results, wanted):
    return {fact["fact"] for fact in results["facts"] if fact["result"] == wanted}


@pytest.mark.parametrize(
    "only", sample_of({"all": "", "what differs": "sorted or utf8 or eof or call"}, "what differs")
)
def test_contract_finds_out_how_the_open_source_daemon_differs(tmp_path, only):
    with serving(Daemon()) as url:
        results, _ = run_contract(url, tmp_path, "-k", only)
    assert by_result(results, "different") == {
        "list is sorted by start time",
        "output continues after invalid utf8",
        "stream sends eof although a descendant keeps the pipe open",
    }
    has = {"follow", "files", "python"}
    lacks = {"key", "handles", "managed", "restart", "run", "tunnel", "oom"}
    lacks |= {"sorted", "any_bytes", "eof_on_end"}
    if not only:
        has, lacks = has | {"kernel_counter"}, lacks | {"reaps"}
    assert results["traits"] == dict.fromkeys(has, True) | dict.fromkeys(lacks, False)


# ------------------------------------------------------- a deliberately wrong daemon


WRONG = {
    "a row has no command": Wrong("row contains the documented fields", body=(b'"command":', b'"cmd":')),
    "a pid is a text": Wrong("row contains the documented fields", "GET", (rb'"pid":(\d+)', rb'"pid":"\1"')),
    "times are in seconds": Wrong(
        "times are milliseconds since 1970 by the clock of the sandbox", body=(rb'_at":(\d+)\d{3}', rb'_at":\1')
    ),
    "exit codes are lost": Wrong(
        "row of an exited process contains its exit code", body=(rb'"exit_code":\d+', b'"exit_code":-1')
    ),
    "signals are exit codes, as in a shell": Wrong(
        "row of a process that a signal ended contains the signal",
        body=(rb'"signaled","exit_code":null,"signal":9', b'"exited","exit_code":137,"signal":null'),
    ),
    "an OOM kill is an ordinary kill": Wrong(
        "row of an oom killed process has its own status and a flag", body=(b'"oom_killed",', b'"signaled",')
    ),
    "handles are not unique": Wrong(
        "handle of each process is higher than the handles of earlier processes",
        body=(rb'"handle":\d+', b'"handle":1'),
    ),
    "a list has no pids of ended processes": Wrong(
        "list keeps the rows of ended processes", "processes$", (rb'"pid":\d+(,"status":"exited")', rb'"pid":0\1')
    ),
    "a list obeys a limit": Wrong(
        "query parameters do not change the list", "limit=1", (rb'"processes":\[.*', b'"processes":[]}')
    ),
    "a start returns an ended process": Wrong(
        "response to a start request is the row of the running process", "POST", (b'"running"', b'"exited"')
    ),
    "an unknown pid has no output": Wrong(
        "output request for an unknown pid returns no lines", "output|std(out|err)", status={200: 404}
    ),
    "an error has no code": Wrong("request for an unknown pid returns 404", body=(b',"code":"NOT_FOUND"', b"")),
    "an ended process can be killed": Wrong(
        "signal and kill requests for an ended process fail", "DELETE", status={500: 204}
    ),
    "an unknown program starts": Wrong("failed start returns 500 and adds no row", "POST", status={500: 201}),
    "lines have line breaks": Wrong(
        "output consists of the lines of stdout and then of stderr", "stdout", (b'"out"', rb'"out\\n"')
    ),
    "a stream has no eof": Wrong(
        "stream of an ended process contains its lines with timestamp 0 and then eof", "follow", (b"event: eof\ndata: {}\n\n", b"")
    ),
    "a restart hides the last exit": Wrong(
        "restarted process has a new pid and shows how the last run ended", body=(rb'"last_exit":\{[^}]*\}', b'"last_exit":null')
    ),
    "restarts are not planned": Wrong(
        "row shows the last exit and the next start while the supervisor backs off",
        body=(rb'"next_restart_at":\d+', b'"next_restart_at":0'),
    ),
    "any process can be restarted": Wrong(
        "restart request for an unmanaged process is rejected", "restart", status={400: 200}
    ),
    "a file is text": Wrong("file can be written read and deleted", "GET /api/v1/files", (b"^.", b"")),
    "a folder can be read": Wrong("file request with an unusable path is rejected", "GET /api/v1/files", status={400: 200}),
    "a port is always open": Wrong(
        "tunnel to a port that no program listens on is rejected with 502", "tunnels", status={502: 200}
    ),
}  # fmt: skip


@contextlib.contextmanager
def wrong_daemon(wrong):
    with start_local_sandbox(memory_limit=64 << 20) as local, WrongDaemon(local, wrong) as daemon:
        yield daemon


def run_fact(daemon, folder, **environment):
    """Run only the tests of the fact that the daemon is wrong about."""
    key = daemon.api_key.reveal()
    only = "test_" + daemon.wrong.fact.replace(" ", "_")
    return run_contract(daemon.url, folder, "--oom", "-k", only, key=key, **environment)


@pytest.mark.parametrize(
    "wrong", sample_of(WRONG, "exit codes are lost", "a restart hides the last exit")
)
def test_contract_finds_what_is_wrong_with_a_daemon(tmp_path, wrong):
    with wrong_daemon(wrong) as daemon:
        results, _ = run_fact(daemon, tmp_path)
    assert by_result(results, "different") == {wrong.fact}


def test_results_contain_no_key_and_no_name_of_the_sandbox_or_the_user(tmp_path):
    names = {"LOGNAME": "ada-of-tests", "HOME": "/home/sentinel"}
    with wrong_daemon(WRONG["an unknown program starts"]) as daemon:
        key = daemon.api_key.reveal()
        private = [key, daemon.url, socket.gethostname(), *names.values(), "sentinel-of-tests"]
        told = f"{' '.join(private[:-1])} --token=sentinel-of-tests".encode()
        daemon.wrong = replace(daemon.wrong, body=(b"Failed to spawn process", told))
        results, text = run_fact(daemon, tmp_path, **names)
    detail = next(fact["detail"] for fact in results["facts"] if fact["result"] == "different")
    assert "<key> <target> <host> <user> <home> --token=***" in detail
    shown = text.partition("awake")[2]  # the announcement names the sandbox
    assert [secret for secret in private if secret in shown] == []


def test_run_without_a_key_explains_what_is_missing(tmp_path):
    results, text = run_contract("my-sandbox", tmp_path, key="")
    assert results is None
    assert "TENSORLAKE_API_KEY: the API key must be ASCII text" in text


def test_each_switch_of_the_simulated_daemon_is_a_trait_of_the_contract():
    switches = set(vars(SimulatedDaemon(0).layout)) - {"faults", "clock_stops"}
    assert switches <= set(facts.TRAITS)
